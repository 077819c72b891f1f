// Package broker is the role Broker: it builds the modules and services, introduces them to each other, holds the
// request table and registers with every NameServer. It decides nothing but its own place among the brokers of its name.
package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/clientmgr"
	"rocketd/cold"
	"rocketd/delay"
	"rocketd/dispatch"
	"rocketd/filter"
	"rocketd/ha"
	"rocketd/index"
	"rocketd/internal/vfs"
	"rocketd/lite"
	"rocketd/longpoll"
	"rocketd/manage"
	"rocketd/member"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/metasync"
	"rocketd/offset"
	"rocketd/pop"
	"rocketd/protocol"
	"rocketd/pull"
	"rocketd/put"
	"rocketd/query"
	"rocketd/remoting"
	"rocketd/rpc"
	"rocketd/send"
	"rocketd/stats"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/timer"
	"rocketd/transaction"
)

// Broker is one broker. New opens its store and binds its ports, Run serves, Close is for one that never ran.
type Broker struct {
	cfg  Config
	log  *slog.Logger
	id   identity
	live *live

	store      *store.Store
	index      *index.Index // nil without messageIndexEnable
	topics     *meta.Topics
	mappings   *meta.Mappings // of static topics
	groups     *meta.Groups
	offsets    *offset.Table
	broadcasts *offset.Broadcast
	clients    *clientmgr.Clients
	board      *stats.Board
	room       *longpoll.Room[*consumequeue.Queue, pull.Waiter]
	pop        *pop.Service
	popRoom    *longpoll.Room[pop.Key, pop.Waiter]
	lite       *lite.Service
	liteRoom   *longpoll.Room[string, lite.Waiter] // by client
	put        *put.Service
	send       *send.Service
	delay      *delay.Service
	pull       *pull.Service
	cold       *cold.Control
	query      *query.Service
	keys       *query.Keys
	member     *member.Service
	manage     *manage.Service
	table      *dispatch.Table
	others     *dispatch.Table // no table, but the pool of those that wait for other brokers
	replies    *dispatch.Table // no table, but the pool of those that wait for a producer to take a reply
	server     *remoting.Server
	outgoing   *remoting.Client
	registrar  *registrar
	closed     sync.Once

	syncFlush    bool
	began        int64         // where the log ended when this broker was opened
	whole        chan struct{} // closed when the log is as long as it can be: others may have it
	wholeOnce    func()        // closes it
	taking       atomic.Bool   // messages are taken: not on a slave, not before a master is ready, not when it leaves
	brokers      *rpc.Broker
	carried      *meta.Carried
	filters      *meta.Filters
	tables       *metasync.Service
	ha           *ha.Master
	copies       *copies   // nil on a slave
	copier       *ha.Slave // nil on a master
	place        atomic.Pointer[pull.Place]
	onDuty       atomic.Bool // has the duties of the master
	duties       *duties
	timers       *timer.Service // nil without timerWheelEnable
	fled         atomic.Uint64  // messages that an acting slave brought elsewhere, or tried to
	refuges      *refuges
	sets         *rpc.Elsewhere // others, by name
	levels       message.DelayLevels
	transactions *transaction.Service

	masterFlush atomic.Int64 // what RESET_MASTER_FLUSH_OFFSET said

	placeMu      sync.Mutex // guards, on a slave:
	said, master place      // what NameServers say, and what is followed
	toldAt       time.Time  // when a master said it itself
	resignedAt   time.Time  // when a master said that it is about to come back
}

// New opens the store, which recovers what a crash left, loads the tables and binds the ports. It fails early and
// starts nothing. A *vfs.LockedError says that another process has the store, a *PortError that one has a port.
func New(cfg Config) (_ *Broker, err error) {
	if cfg.FS == nil {
		cfg.FS = vfs.OS
	}
	b := &Broker{cfg: cfg, log: cfg.Log, live: newLive(cfg.Settings), whole: make(chan struct{}), syncFlush: cfg.Settings.String("flushDiskType") == "SYNC_FLUSH"}
	b.wholeOnce = sync.OnceFunc(func() { close(b.whole) })
	b.duties = newDuties(b.onDuty.Load)
	if err := checkRole(cfg.Settings, b.log); err != nil {
		return nil, err
	}
	if b.id, err = newIdentity(cfg.Settings); err != nil {
		return nil, err
	}
	if err := checkPorts(cfg.FS, newDirs(cfg.Settings).root, b.id); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.openState(); err != nil {
		return nil, err
	}
	b.outgoing = remoting.NewClient(remoting.ClientConfig{MaxFrame: metasync.MaxAnswer, Log: b.component("outgoing")})
	if err := b.openReplica(); err != nil {
		return nil, err
	}
	if err := b.buildServices(); err != nil {
		return nil, err
	}
	if err := b.openTimers(); err != nil {
		return nil, err
	}
	b.server, err = remoting.Listen(remoting.ServerConfig{
		Addrs:      []string{b.id.listen, b.id.fast},
		Loops:      loops(cfg.Settings),
		Idle:       time.Duration(cfg.Settings.Int64("serverChannelMaxIdleTimeSeconds")) * time.Second,
		NewHandler: func() remoting.Handler { return b.table },
		NewTurn:    func() *protocol.Turn { return &protocol.Turn{Appends: b.put.NewBatch()} },
		Log:        b.component("remoting"),
	})
	warnUnasked(cfg.Settings, b.log)
	return b, err
}

func (b *Broker) component(name string) *slog.Logger { return b.log.With("component", name) }

// openState opens what is on disk. The topics come first: the store asks them for the kind of a queue.
func (b *Broker) openState() (err error) {
	s, d := b.cfg.Settings, newDirs(b.cfg.Settings)
	b.registrar = newRegistrar(b.id, s, b.live, b.component("registration"))
	b.topics, err = meta.OpenTopics(meta.Config{FS: b.cfg.FS, Dir: d.config, Log: b.component("topics"), Changed: b.registrar.mark, Light: s.Bool("enableLmq")})
	if err != nil {
		return err
	}
	for _, key := range []string{"timerRocksDBEnable", "transRocksDBEnable", "indexRocksDBEnable", "popConsumerKVServiceEnable"} {
		if s.Bool(key) {
			return fmt.Errorf("%s=true: this broker keeps nothing in RocksDB; messages that Java keeps there would be missing", key)
		}
	}
	if err := b.openMappings(d.config); err != nil {
		return err
	}
	if b.levels, err = message.ParseDelayLevels(s.String("messageDelayLevel")); err != nil {
		return fmt.Errorf("messageDelayLevel: %w", err)
	}
	retention, err := retentionOf(s)
	if err != nil {
		return err
	}
	b.store, err = store.Open(store.Config{
		Dir:           d.root,
		CommitLogDir:  d.commitLog,
		ReadOnlyDirs:  s.String("readOnlyCommitLogStorePaths"),
		FileSize:      s.Int64("mappedFileSizeCommitLog"),
		QueueFileSize: s.Int64("mappedFileSizeConsumeQueue"),
		BatchFileSize: s.Int64("mapperFileSizeBatchConsumeQueue"),
		QueueKind:     b.queueKind,
		Compaction:    b.compaction(),
		Ext:           s.Bool("enableConsumeQueueExt"),
		ExtFileSize:   s.Int64("mappedFileSizeConsumeQueueExt"),
		Bits:          b.filterBits,
		MultiDispatch: s.Bool("enableLmq") && s.Bool("enableMultiDispatch"),
		PropCRC:       s.Bool("enabledAppendPropCRC"),
		VerifyPropCRC: s.Bool("forceVerifyPropCRC"),
		SyncFlush:     b.syncFlush,
		FlushInterval: s.Duration("flushIntervalCommitLog"),
		Tag:           b.levels.Tag,
		Appended:      b.appended,
		IndexMs:       b.indexMs,
		Flushed:       b.flushed,
		Confirm:       b.confirmed,
		Learn:         b.learn,
		Arrived:       b.arrived,
		Cut:           b.cut,
		HotPercent:    s.Int("accessMessageInMemoryMaxRatio"),
		Retention:     retention,
		Dropped:       b.dropped,
		FS:            b.cfg.FS,
		Log:           b.component("store"),
	})
	if err != nil {
		return err
	}
	if err := checkOrigin(b.cfg.FS, d.root, b.id, b.log); err != nil {
		return err
	}
	b.store.SetReadAhead(s.Bool("dataReadAheadEnable"))
	b.followTransfer()
	b.began = b.store.MaxPhysical()
	b.placed()
	s.OnChange("slaveReadEnable", b.placed)
	s.OnChange("offsetCheckInSlave", b.placed)
	b.followRetention()
	if err := b.openIndex(d.root); err != nil {
		return err
	}
	b.groups, err = meta.OpenGroups(meta.Config{FS: b.cfg.FS, Dir: d.config, Log: b.component("groups"), Light: s.Bool("enableLmq")})
	if err != nil {
		return err
	}
	b.offsets, err = offset.Open(offset.Config{FS: b.cfg.FS, Dir: d.config, Interval: s.Duration("flushConsumerOffsetInterval"), VersionStep: s.Int64("consumerOffsetUpdateVersionStep"), Light: s.Bool("enableLmq"), Log: b.component("offsets")})
	if err != nil {
		return err
	}
	if b.carried, err = meta.OpenCarried(meta.Config{FS: b.cfg.FS, Dir: d.config, Log: b.component("tables")}); err != nil {
		return err
	}
	bloom, err := filter.NewBloom(s.Int("maxErrorRateOfBloomFilter"), s.Int("expectConsumerNumUseFilter"))
	if err != nil {
		return err
	}
	if b.filters, err = meta.OpenFilters(meta.Config{FS: b.cfg.FS, Dir: d.config, Log: b.component("filters")}, bloom, time.Now()); err != nil {
		return err
	}
	return b.ensureSystem()
}

// compaction says for the store which topics keep only the last message of each key, and how.
func (b *Broker) compaction() (c store.Compaction) {
	s := b.cfg.Settings
	if !s.Bool("enableCompaction") {
		return c
	}
	return store.Compaction{
		Of: func(name string) bool {
			cfg := b.topics.Get([]byte(name))
			return cfg != nil && cfg.Compacts()
		},
		FileSize:     s.Int64("compactionMappedFileSize"),
		UnitFileSize: s.Int64("compactionCqMappedFileSize"),
		Every:        s.Duration("compactionScheduleInternal"),
		Memory:       s.Int64("maxOffsetMapSize"),
	}
}

// queueKind says for the store what kind of queue a topic has.
func (b *Broker) queueKind(name string) (kind consumequeue.Kind, known bool) {
	cfg := b.topics.Get([]byte(name))
	if cfg == nil {
		return 0, false
	}
	if cfg.Attributes["queue.type"] == "BatchCQ" {
		return consumequeue.Batch, true
	}
	return consumequeue.Simple, true
}

// Package pop leases messages to consumers: a pop takes what comes next in any queue and nobody else gets it until it is
// acknowledged or its invisible time ends. What is out is kept in memory and, as Java's check points and acknowledgements,
// in the log: so another process, ours or Java's, can go on from there.
package pop

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Topics is what pop needs of the topic table. Ensure makes topics that are missing; it may block.
type Topics interface {
	Get(name []byte) *topic.Config
	Ensure(configs ...*topic.Config) error
}

// Groups finds subscription groups. Create makes an unknown one where that is allowed (nil where not); it may block.
type Groups interface {
	Get(name []byte) *topic.GroupConfig
	Create(ctx context.Context, name string) (*topic.GroupConfig, error)
}

// Queues finds and reads consume queues. Get with NoWait does not block.
type Queues interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Queue(topic string, id int32) *consumequeue.Queue
	Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult)
	InMemory(q *consumequeue.Queue, offset int64) bool
}

// Offsets keeps consumer offsets. Commit is ignored while a reset is pending, and says so.
type Offsets interface {
	Get(group, topic []byte, queue int32) (offset int64, ok bool)
	Commit(group, topic []byte, queue int32, offset int64) bool
	TakeReset(group, topic []byte, queue int32) (int64, bool)
	Pending(group, topic []byte, queue int32) (offset int64, ok bool)
}

// Room is where pops and notifications wait, a longpoll.Room by the topic and group they wait for.
type Room interface {
	Park(t *protocol.Turn, key *shelf, peer protocol.Peer, deadline time.Time, w Waiter) bool
	Wake(t *protocol.Turn, key *shelf)
	Has(key *shelf) bool
	Each(key *shelf, fn func(w *Waiter))
}

// Config of a Service. The keys of the configuration are asked for each time, where Java lets them change.
type Config struct {
	Topics  Topics
	Groups  Groups
	Queues  Queues
	Offsets Offsets
	// OffsetsSaved is when the offsets were written that Offsets began with; zero if that is not known.
	OffsetsSaved time.Time
	FS           vfs.FS
	Dir          string // the config directory of the store, where consumerOrderInfo.json is
	Log          *slog.Logger
	// Offload hands a call to the pool; an error that run returns is answered. Again has a call of the pool served from
	// the start, in a turn of its peer.
	Offload func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	Again   func(c *protocol.Call)
	// Got counts what a group was given.
	Got func(group, topic string, messages, bytes int)

	Cluster, Broker  string
	StoreHost        func() netip.AddrPort
	Readable         func() bool // brokerPermission has the read bit
	Slave            func() bool // its log is its master's: nothing is popped here,
	Acting           func() bool // unless it acts for its master: what Stage and couriers take goes to other sets then
	Taking           func() bool // messages are taken: not before a master is ready, nor when it leaves
	PropertyFilter   bool        // enablePropertyFilter
	TimerWheel       bool        // timerWheelEnable, without which nothing can be popped
	TimerPrecisionMs int64       // timerPrecisionMs
	TimerMaxDelay    time.Duration
	// TimerBehind tells whether timed messages that are due have not all been delivered yet.
	TimerBehind func() bool

	// Fetch reads a message of another set, whose check point an acting slave there has brought here: its record, or nil if it
	// is nowhere any more. An error says that it may be there later.
	Fetch func(ctx context.Context, set, topic string, queue int32, offset int64) ([]byte, error)

	// NewCourier makes a way into the store for one goroutine outside of turns.
	NewCourier func() Courier

	ReviveQueues   int32         // reviveQueueNum
	ReviveInterval time.Duration // reviveInterval: between two looks at the revive topic
	MaxLeases      int           // popCkMaxBufferSize: check points in memory; those beyond are revived from the log
	Choices
}

// Choices are the settings that may change while the service runs (Choose).
type Choices struct {
	RetryV2        bool // enableRetryTopicV2: name new retry topics so
	RetryV1Too     bool // retrieveMessageFromPopRetryTopicV1: read the older ones all the same
	RetryFirst     int  // popFromRetryProbability, percent
	RetryPriority  int  // popFromRetryProbabilityForPriority, percent: the same of topics with priorities
	RetryQueues    bool // useSeparateRetryQueue: new retry topics have as many queues as their topic
	FirstInMemory  bool // initPopOffsetByCheckMsgInMem
	ActualTopic    bool // popResponseReturnActualRetryTopic
	Downwards      bool // priorityOrderAsc: walk through queues from the last to the first
	PollingSize    int  // popPollingSize: pops that wait for one queue, topic and group
	SkipManyRePuts bool // skipWhenCKRePutReachMaxTimes
}

// Service serves POP_MESSAGE and what belongs to it.
type Service struct {
	cfg      Config
	room     Room
	shelves  *shelves
	schedule *schedule
	revives  atomic.Uint32 // number of the next pop, for the queue of its check points
	live     atomic.Int64  // leases in memory
	replies  sync.Pool     // *reply
	journals sync.Pool     // *journal
	acks     sync.Pool     // *acking
	orders   orders
	choices  atomic.Pointer[Choices]
}

// Choose changes the choices from the next request on.
func (s *Service) Choose(c Choices) { s.choices.Store(&c) }

// New makes a service and loads consumerOrderInfo.json. A missing file is an empty table; a broken one falls back to its
// backup. Its Answer goes into the room, the room into UseRoom. A master calls Recover before the first pop.
func New(cfg Config, now time.Time) (*Service, error) {
	s := &Service{cfg: cfg, shelves: newShelves(), schedule: newSchedule(now.UnixMilli())}
	s.Choose(cfg.Choices)
	s.journals.New = func() any { return newJournal(&s.cfg) }
	s.acks.New = func() any {
		a := &acking{svc: s}
		a.staged = a.answer
		return a
	}
	s.replies.New = func() any {
		r := &reply{svc: s}
		r.staged = r.answer
		return r
	}
	if err := s.loadOrders(); err != nil {
		return nil, err
	}
	return s, nil
}

// UseRoom names the waiting room; it is called once, before the first pop.
func (s *Service) UseRoom(r Room) { s.room = r }

// shelf returns what a group pops of a topic.
func (s *Service) shelf(group, name []byte) *shelf {
	if x := s.shelves.find(group, name); x != nil {
		if topic.IsLMQ(x.waits.name) {
			x.waits.used.Store(true)
		}
		return x
	}
	var waits *shelf
	if normal := topic.OfPopRetry(string(name), string(group)); normal != string(name) {
		waits = s.shelf(group, []byte(normal))
	}
	return s.shelves.get(string(group), string(name), waits)
}

// retryShelves are those of the retry topics of a shelf, by the choices that named them.
type retryShelves struct {
	chosen   *Choices
	versions [2]*shelf
}

// retries returns the shelves of the retry topics of a shelf that are there, first the one that is written.
func (s *Service) retries(x *shelf) (list [2]*shelf) {
	var versions [2]*shelf
	chosen := s.choices.Load()
	if r := x.retryShelves.Load(); r != nil && r.chosen == chosen {
		versions = r.versions
	} else {
		for i, v2 := range [2]bool{chosen.RetryV2, false} {
			if i == 0 || chosen.RetryV2 && chosen.RetryV1Too {
				versions[i] = s.shelves.get(x.groupName, topic.PopRetryTopic(x.name, x.groupName, v2), x)
			}
		}
		x.retryShelves.Store(&retryShelves{chosen, versions})
	}
	n := 0
	for _, r := range versions {
		if r != nil && s.cfg.Topics.Get(r.topic) != nil {
			list[n] = r
			n++
		}
	}
	return list
}

// queue returns a consume queue, nil if it never had a message.
func (s *Service) queue(x *shelf, id int32) *consumequeue.Queue {
	return s.cfg.Queues.Find(x.topic, id)
}

func refuse(code int32, format string, args ...any) error {
	return protocol.Errorf(code, format, args...)
}

func noTopic(name []byte) error {
	return refuse(protocol.TopicNotExist, "topic[%s] not exist, apply first please! %s", name, topic.FAQ)
}

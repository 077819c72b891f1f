package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"rocketd/ha"
	"rocketd/metasync"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/rpc"
	"rocketd/store/consumequeue"
)

// openReplica makes what connects this broker to the others of its name. Every broker ships its log to those who ask for
// it, as in Java: a slave has slaves, too, and a master that comes back can ask a slave for what it has lost.
func (b *Broker) openReplica() (err error) {
	s := b.cfg.Settings
	ms := func(key string) time.Duration { return s.Duration(key) }
	flow := int64(0)
	if s.Bool("haFlowControlEnable") {
		flow = s.Int64("maxHaTransferByteInSecond")
	}
	b.ha, err = ha.Listen(ha.MasterConfig{
		Log:           b.store,
		Addr:          b.id.listenHA,
		TransferBatch: s.Int("haTransferBatchSize"),
		Heartbeat:     ms("haSendHeartbeatInterval"),
		Housekeeping:  ms("haHousekeepingInterval"),
		FlowControl:   flow,
		FromLastFile:  s.Bool("syncFromLastFile"),
		Admit:         b.admits,
		Progress:      b.progress,
		Logger:        b.component("ha"),
	})
	if err != nil {
		return err
	}
	b.brokers = rpc.NewBroker(b.outgoing)
	b.tables = metasync.New(metasync.Config{
		Master: b.brokers, Topics: b.topics, Mappings: b.mappings, Groups: b.groups, Offsets: b.offsets, Carried: b.carried,
		Self: b.id.addr.String(), Timers: s.Bool("timerWheelEnable"), Log: b.component("tables"),
	})
	if b.isSlave() {
		b.copier = ha.NewSlave(ha.SlaveConfig{
			Log:          b.store,
			MasterMin:    func(ctx context.Context) (int64, error) { return b.minOf(ctx, b.tables.Status().Master) },
			LastFile:     s.Bool("syncFromLastFile"),
			SyncFlush:    b.syncFlush,
			Heartbeat:    ms("haSendHeartbeatInterval"),
			Housekeeping: ms("haHousekeepingInterval"),
			Logger:       b.component("ha"),
		})
		b.registrar.heard = b.heard
		s.OnChange("haMasterAddress", b.heard)
		return nil
	}
	b.copies = &copies{master: b.ha, end: b.store.MaxPhysical}
	b.registrar.heard = b.counted
	return nil
}

// followCopies has put wait for slaves as the settings want, now and after each update.
func (b *Broker) followCopies() {
	if b.isSlave() {
		return
	}
	b.copies.follow(b.cfg.Settings, func(sync bool) {
		if sync {
			b.put.SetReplicas(b.copies)
		} else {
			b.put.SetReplicas(nil)
		}
	}, b.put.Flushed)
}

// replicas is whom put waits for at the start.
func (b *Broker) replicas() put.Replicas {
	if !b.isSlave() && b.cfg.Settings.String("brokerRole") == roleSync {
		return b.copies
	}
	return nil
}

// admits tells whether a slave may have the log: whether its host has the topics that it could get wrong.
func (b *Broker) admits(addr net.Addr, empty bool, connected time.Time) bool {
	host, err := netip.ParseAddrPort(addr.String())
	return err != nil || b.manage.Follows(host.Addr(), empty, connected)
}

// progress is the bell of ha: slaves have more of the log.
func (b *Broker) progress() { b.put.Flushed() }

// flushed is the bell of the store: more of the log is on the disk.
func (b *Broker) flushed(int64) {
	if b.put != nil { // else it is the store's Close after a start that failed
		b.put.Flushed()
	}
	if b.copier != nil {
		b.copier.Flushed()
	}
}

// confirmed is how far consumers may read, as far as other brokers are concerned. What a slave has of its master's log has
// two copies; what else it holds when it starts, perhaps as a master's that was, may be nowhere else and be cut off.
func (b *Broker) confirmed() int64 {
	if b.isSlave() && (b.copier == nil || !b.copier.Follows()) {
		return 0
	}
	return b.put.Confirmed()
}

// arrived is the bell of the store: the master's log brought messages.
func (b *Broker) arrived(q *consumequeue.Queue, physical int64) { b.put.Arrived(q, physical) }

// learn asks the master for a topic that came with its log before its table did.
func (b *Broker) learn(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return b.tables.Learn(ctx, name)
}

// cut has offsets and index follow when the end of the log was cut off. What a group had consumed of it is gone, and other
// messages get those offsets: the group must not pass over them. If the master knows better, it says so within seconds.
func (b *Broker) cut(physical int64) error {
	for _, name := range b.store.Topics() {
		for _, group := range b.offsets.Groups(name) {
			committed := b.offsets.Queues(group, name)
			for _, q := range b.store.Queues(name) {
				if committed[q.ID()] > q.Max() {
					b.offsets.Commit([]byte(group), []byte(name), q.ID(), q.Max())
				}
			}
		}
	}
	if b.timers != nil {
		b.timers.Cut(physical)
	}
	if b.index == nil {
		return nil
	}
	return b.index.Cut(physical)
}

// minOf asks a broker where its log begins. That of a Java broker which has none yet begins at -1.
func (b *Broker) minOf(ctx context.Context, addr string) (int64, error) {
	at, err := b.positionOf(ctx, addr, "commitLogMinOffset")
	return max(0, at), err
}

// positionOf asks a broker for a position of its log.
func (b *Broker) positionOf(ctx context.Context, addr, which string) (int64, error) {
	if addr == "" {
		return 0, errors.New("no master is known to ask")
	}
	info, err := b.brokers.RuntimeInfo(ctx, addr)
	if err != nil {
		return 0, err
	}
	at, err := strconv.ParseInt(info[which], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s of %s: %w", which, addr, err)
	}
	return at, nil
}

// heard is the bell of the registrar on a slave: it may know better where the master is.
func (b *Broker) heard() {
	b.placeMu.Lock()
	defer b.placeMu.Unlock()
	p := b.registrar.master(b.said)
	if b.registrar.acting {
		members, ok := b.registrar.members(time.Now())
		if !ok {
			return
		}
		p = b.lookAround(members, p)
	}
	b.setMaster(p)
}

// setMaster follows a master; placeMu is held. haMasterAddress, where it is set, wins over the address that others say;
// Java loses it at the start and follows nobody then. Where nobody says anything, its remoting port is taken for the
// usual one.
func (b *Broker) setMaster(p place) {
	b.said = p
	if fixed := b.cfg.Settings.String("haMasterAddress"); len(fixed) >= 6 {
		p.ha = fixed
		if p.addr == "" {
			p.addr = before(fixed)
		}
	}
	if p == b.master {
		return
	}
	b.log.Info("master", "addr", p.addr, "ha", p.ha, "before", b.master.addr)
	b.master = p
	b.tables.SetMaster(p.addr)
	b.copier.SetMaster(p.ha)
}

// before is the remoting port of a master whose HA port is the usual one.
func before(haAddr string) string {
	host, text, err := net.SplitHostPort(haAddr)
	port, e := strconv.Atoi(text)
	if err != nil || e != nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port-1))
}

// runCopier copies the master's log. It begins when the topics are the master's: a topic says what kind its queues are.
func (b *Broker) runCopier(ctx context.Context) error {
	select {
	case <-b.tables.Synced():
	case <-ctx.Done():
		return nil
	}
	return b.copier.Run(ctx)
}

// counted is the bell of the registrar on a master: NameServers say who is in the set.
func (b *Broker) counted() {
	if members, ok := b.registrar.members(time.Now()); ok {
		delete(members, b.id.id)
		b.copies.alive.Store(int64(len(members)))
		b.copies.count()
		b.put.Flushed()
	}
}

// exchange serves EXCHANGE_BROKER_HA_INFO (906): a master that comes back tells a slave where its log is; without that,
// a master is asked. A master of ours tells first that it is about to come, by its address alone: a slave has then given the
// duties back when it answers; Java's takes no notice. Fields: ExchangeHAInfoRequestHeader. Source: Java
// AdminBrokerProcessor.exchangeBrokerHaInfo.
func (b *Broker) exchange(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.ExchangeHAInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	out := new(protocol.ExchangeHAInfoResponse)
	switch {
	case h.MasterHaAddress != "" && b.isSlave():
		b.told(place{h.MasterAddress, h.MasterHaAddress})
	case h.MasterAddress != "" && b.isSlave():
		if err := b.resign(ctx); err != nil {
			return nil, nil, err
		}
	case h.MasterHaAddress == "" && !b.isSlave():
		out.MasterHaAddress, out.MasterAddress = b.id.haAddr.String(), b.id.addr.String()
		out.MasterFlushOffset = protocol.Some(b.began)
	}
	return out, nil, nil
}

// told takes the word of a master.
func (b *Broker) told(p place) {
	b.placeMu.Lock()
	defer b.placeMu.Unlock()
	b.toldAt = time.Now()
	b.resignedAt = b.toldAt
	if b.isSlave() && b.registrar.acting {
		b.setDuty(false)
	}
	b.setMaster(p)
}

// resetFlushOffset serves RESET_MASTER_FLUSH_OFFSET (908): a slave keeps how far its master's log was on the disk, for
// tools that ask. Fields: ResetMasterFlushOffsetHeader.
func (b *Broker) resetFlushOffset(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.ResetMasterFlushOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	if b.isSlave() {
		b.masterFlush.Store(h.MasterFlushOffset)
	}
	return nil, nil, nil
}

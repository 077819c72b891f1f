package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"rocketd/ha"
	"rocketd/internal/rungroup"
	"rocketd/protocol"
	"rocketd/store"
)

// Times of a start among others of the set.
const (
	comeBackPatience = 10 * time.Second // without progress, or a state change, until the start goes on without
	memberPatience   = 10 * time.Second // for any NameServer to answer, where a slave may have what this log has lost
	progressTick     = 20 * time.Millisecond
)

// errOwnLog says that a slave has something else than its master.
var errOwnLog = errors.New("the slave's log is no continuation of this master's, which is not cut")

// ownLog is the log of a master that takes what it lacks from a slave: it is continued, and never cut.
type ownLog struct{ *store.Store }

func (ownLog) CutLog(int64) error { return errOwnLog }

func (l ownLog) RestartLog(physical int64) error {
	if l.MinPhysical() != l.MaxPhysical() {
		return errOwnLog
	}
	return l.Store.RestartLog(physical)
}

// comeBack is the start of a master among others of its name: nobody is told of it, and nothing is written, before it has
// what its slaves have. A power cut may have taken the end of its log, of which slaves have a copy and producers an
// answer; and while it was away clients have committed offsets at its slaves. A slave that cannot be reached is gone
// without: it must not keep a master from starting. Source of the order of things: Java BrokerPreOnlineService, which
// does this with an acting master only, and takes no log.
func (b *Broker) comeBack(ctx context.Context) {
	log := b.component("start")
	members, err := b.otherMembers(ctx)
	if err != nil {
		log.Warn("cannot ask for the slaves of this master; it starts without what they may have", "err", err)
		return
	}
	slaves := b.reached(ctx, members)
	if b.registrar.acting {
		b.relieve(ctx, slaves)
	}
	best, end := "", b.store.MaxPhysical()
	for _, addr := range slices.Sorted(maps.Keys(slaves)) {
		if slaves[addr] > end {
			best, end = addr, slaves[addr]
		}
	}
	if best != "" {
		log.Warn("a slave has more of the log than this master; it is taken from there before anything is served", "slave", best, "slaveEnd", end, "end", b.store.MaxPhysical())
		if err := b.takeTail(ctx, best, end); err != nil {
			log.Error("cannot take the end of the log from a slave; the start goes on without", "slave", best, "err", err)
		} else {
			log.Info("the log is complete", "end", b.store.MaxPhysical())
		}
	}
	for addr := range slaves {
		if err := b.tables.TakeOver(ctx, addr); err != nil {
			log.Warn("cannot take the consumer offsets of a slave", "slave", addr, "err", err)
		}
	}
	b.wholeOnce() // slaves may come
	if b.registrar.acting {
		b.callSlaves(ctx, slaves)
	}
}

// relieveTimeout is how long a slave may take to give the duties back: a part of them may be at work for another set.
const relieveTimeout = 10 * time.Second

// relieve has the slave that acts for this master end that, before what it did is taken over: what it did afterwards would be
// done twice.
func (b *Broker) relieve(ctx context.Context, slaves map[string]int64) {
	var wg sync.WaitGroup
	for addr := range slaves {
		wg.Go(func() {
			ask, cancel := context.WithTimeout(ctx, relieveTimeout)
			defer cancel()
			if _, err := b.brokers.ExchangeHAInfo(ask, addr, &protocol.ExchangeHAInfoRequest{MasterAddress: b.id.addr.String()}); err != nil {
				b.component("start").Warn("a slave may go on acting for this master for some seconds; what it delivers then may come twice", "addr", addr, "err", err)
			}
		})
	}
	wg.Wait()
}

// otherMembers asks who else is in the set. Where the log may have lost what slaves have acknowledged, it asks for some
// time.
func (b *Broker) otherMembers(ctx context.Context) (map[int64]string, error) {
	until := time.Now()
	if !b.store.Clean() && b.cfg.Settings.String("brokerRole") == roleSync {
		until = until.Add(memberPatience)
	}
	for {
		members, err := b.registrar.ask(ctx)
		delete(members, b.id.id)
		if err == nil || errors.Is(err, errNoServer) || time.Now().After(until) || rungroup.Sleep(ctx, time.Second) != nil {
			if errors.Is(err, errNoServer) {
				err = nil
			}
			return members, err
		}
	}
}

// reached returns the slaves that answer, with the ends of their logs.
func (b *Broker) reached(ctx context.Context, members map[int64]string) map[string]int64 {
	ends := make(map[string]int64)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id, addr := range members {
		wg.Go(func() {
			ask, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			end, err := b.positionOf(ask, addr, "commitLogMaxOffset")
			if err != nil {
				b.component("start").Warn("cannot ask a slave for the end of its log", "id", id, "addr", addr, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ends[addr] = end
		})
	}
	wg.Wait()
	return ends
}

// takeTail copies the log of a slave up to its end. An empty master, with a new disk, takes the tables first.
func (b *Broker) takeTail(ctx context.Context, slave string, end int64) error {
	haAddr, err := b.haAddrOf(ctx, slave)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	b.tables.SetMaster(slave) // also for topics that come with the log
	defer b.tables.SetMaster("")
	if b.store.MaxPhysical() == b.store.MinPhysical() {
		wg.Go(func() { _ = b.tables.Run(ctx) })
		if err := b.follows(ctx, func() int64 { return 0 }, func() bool { return !b.tables.Status().Since.IsZero() }); err != nil {
			return fmt.Errorf("cannot get the tables: %w", errors.Join(err, b.tables.Status().Err))
		}
	}
	k := ha.NewSlave(ha.SlaveConfig{
		Log:       ownLog{b.store},
		MasterMin: func(ctx context.Context) (int64, error) { return b.minOf(ctx, slave) },
		Logger:    b.component("ha"),
	})
	k.SetMaster(haAddr)
	wg.Go(func() { _ = k.Run(ctx) })
	if err := b.follows(ctx, b.store.MaxPhysical, func() bool { return b.store.MaxPhysical() >= end }); err != nil {
		return errors.Join(err, errors.New(k.Status().Err))
	}
	return nil
}

// errNoProgress says that something has not moved for comeBackPatience.
var errNoProgress = errors.New("there is no progress")

// follows waits until something is done, as long as it makes progress.
func (b *Broker) follows(ctx context.Context, progress func() int64, done func() bool) error {
	at, since := progress(), time.Now()
	for !done() {
		if err := rungroup.Sleep(ctx, progressTick); err != nil {
			return err
		}
		switch now := progress(); {
		case now != at:
			at, since = now, time.Now()
		case time.Since(since) > comeBackPatience:
			return errNoProgress
		}
	}
	return nil
}

// haAddrOf asks a broker where it ships its log; a slave tells that in its configuration only.
func (b *Broker) haAddrOf(ctx context.Context, addr string) (string, error) {
	keys, err := b.brokers.Config(ctx, addr)
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(keys["haListenPort"])
	if err == nil && port <= 0 {
		port, err = strconv.Atoi(keys["listenPort"])
		port++
	}
	if err != nil || keys["brokerIP2"] == "" {
		return "", fmt.Errorf("%s does not say where it ships its log (haListenPort %q, brokerIP2 %q)", addr, keys["haListenPort"], keys["brokerIP2"])
	}
	return net.JoinHostPort(keys["brokerIP2"], strconv.Itoa(port)), nil
}

// callSlaves tells the slaves where the log of their master is, and waits until they copy it, before this master takes the
// place of the one that acts for it.
func (b *Broker) callSlaves(ctx context.Context, slaves map[string]int64) {
	called := 0
	for addr := range slaves {
		ask, cancel := context.WithTimeout(ctx, lookTimeout)
		_, err := b.brokers.ExchangeHAInfo(ask, addr, &protocol.ExchangeHAInfoRequest{
			MasterHaAddress: b.id.haAddr.String(), MasterFlushOffset: protocol.Some(b.began), MasterAddress: b.id.addr.String(),
		})
		cancel()
		if err != nil {
			b.component("start").Warn("cannot tell a slave where its master is", "addr", addr, "err", err)
			continue
		}
		called++
	}
	joined := func() int64 { return int64(len(b.ha.Slaves())) }
	defer func() { // until NameServers tell
		b.copies.alive.Store(joined())
		b.copies.count()
	}()
	if err := b.follows(ctx, joined, func() bool { return joined() >= int64(called) }); err != nil && ctx.Err() == nil {
		b.component("start").Warn("not every slave has come to its master", "called", called, "came", joined())
	}
}

// join is the start of a slave in a set with an acting master: it is not shown to clients before it copies the master that
// is there. Source: Java BrokerPreOnlineService.prepareForSlaveOnline.
func (b *Broker) join(ctx context.Context) {
	log := b.component("start")
	members, err := b.registrar.ask(ctx)
	if err != nil || members[0] == "" {
		return
	}
	ask, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	info, err := b.brokers.ExchangeHAInfo(ask, members[0], new(protocol.ExchangeHAInfoRequest))
	if err != nil || info.MasterHaAddress == "" {
		log.Warn("the master does not say where its log is", "addr", members[0], "err", err)
		return
	}
	if b.cfg.Settings.Bool("syncMasterFlushOffsetWhenStartup") {
		b.masterFlush.CompareAndSwap(0, info.MasterFlushOffset.V)
	}
	b.told(place{members[0], info.MasterHaAddress})
	state := func() int64 { return int64(b.copier.Status().State) }
	if err := b.follows(ctx, state, func() bool { return b.copier.Status().State == ha.Copying }); err != nil && ctx.Err() == nil {
		log.Warn("this slave does not copy its master yet", "master", members[0], "err", b.copier.Status().Err)
	}
}

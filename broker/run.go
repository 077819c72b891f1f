package broker

import (
	"context"
	"errors"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/internal/vfs"
	"rocketd/longpoll"
)

// How long a planned stop waits for the NameServers to hear of it, and for the slaves to get the end of the log.
const (
	stopGrace  = 3 * time.Second
	drainGrace = 10 * time.Second
)

// Run serves until the context ends, or something fails that the broker cannot live without. Then it stops in order,
// top down: end the master's duties, take no messages, give the slaves the end of the log, answer held requests, leave
// the NameServers, stop serving, stop the services, flush and close the store.
func (b *Broker) Run(ctx context.Context) error {
	life := context.WithoutCancel(ctx)
	below := rungroup.New(life) // what requests stand on: ends last
	below.Go(rungroup.Part{Name: "store", Run: b.store.Run})
	if b.index != nil {
		below.Go(rungroup.Part{Name: "index", Run: b.runIndex})
	}
	if b.timers != nil {
		below.Go(rungroup.Part{Name: "timer wheel", Run: b.timers.Run})
	}
	below.Go(rungroup.Part{Name: "offsets", Run: b.offsets.Run})
	below.Go(rungroup.Part{Name: "order of pops", Run: b.pop.RunOrders})
	below.Go(rungroup.Part{Name: "stats", Run: b.board.Run})
	below.Go(rungroup.Part{Name: "put", Run: b.put.Run})
	below.Go(rungroup.Part{Name: "pool", Run: b.table.Run})
	below.Go(rungroup.Part{Name: "replies", Run: b.replies.Run})
	below.Go(rungroup.Part{Name: "others", Run: b.others.Run})
	below.Go(rungroup.Part{Name: "ha", Run: b.runHA})
	serving := rungroup.New(life)
	serving.Go(rungroup.Part{Name: "remoting", Run: b.server.Run})
	serving.Go(rungroup.Part{Name: "long polls", Run: b.expirePolls})
	serving.Go(rungroup.Part{Name: "clients", Run: b.expireClients})
	serving.Go(rungroup.Part{Name: "filters", Run: b.runFilters})
	serving.Go(rungroup.Part{Name: "broadcasts", Run: b.runBroadcasts})
	serving.Go(rungroup.Part{Name: "cold reads", Run: b.cold.Run})
	serving.Go(rungroup.Part{Name: "lite", Run: b.lite.Run})
	onDuty := rungroup.New(life)
	onDuty.Go(rungroup.Part{Name: "duties", Run: b.duties.Run})
	announcing := rungroup.New(ctx)
	announcing.Go(rungroup.Part{Name: "name servers", Run: b.registrar.servers.Run})
	announcing.Go(rungroup.Part{Name: "registration", Run: b.announce})
	if b.isSlave() {
		announcing.Go(rungroup.Part{Name: "tables", Run: b.tables.Run})
		announcing.Go(rungroup.Part{Name: "copier", Run: b.runCopier})
		b.heard()
	}

	select {
	case <-ctx.Done():
	case <-below.Done():
	case <-serving.Done():
	case <-onDuty.Done():
	case <-announcing.Done():
	}
	b.log.Info("stopping")
	err := errors.Join(announcing.Stop(), onDuty.Stop())
	b.drain(life)
	b.room.Close(nil)
	b.popRoom.Close(nil)
	b.liteRoom.Close(nil)
	last, cancel := context.WithTimeout(life, stopGrace)
	b.registrar.leave(last)
	cancel()
	err = errors.Join(err, serving.Stop())
	b.server = nil // its Run has closed it
	err = errors.Join(err, below.Stop(), b.Close())
	b.log.Info("stopped")
	return err
}

// announce makes this broker one that can be shown, then keeps registering it, and says that it is ready when every
// NameServer was tried once.
func (b *Broker) announce(ctx context.Context) error {
	switch skip := b.cfg.Settings.Bool("skipPreOnline"); {
	case skip:
	case !b.isSlave():
		b.comeBack(ctx)
	case b.registrar.acting:
		b.join(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	b.wholeOnce()
	if !b.isSlave() {
		b.loadTransactions(ctx)
		b.pop.Recover(time.Now())
	}
	b.taking.Store(!b.isSlave())
	if !b.isSlave() {
		b.setDuty(true)
	}
	return b.registrar.Run(ctx, func(registered int) {
		if b.cfg.Ready != nil && ctx.Err() == nil {
			b.cfg.Ready(Ready{Name: b.id.name, Addr: b.id.addr.String(), Namesrv: b.cfg.Settings.String("namesrvAddr"), Registered: registered})
		}
	})
}

// drain makes a master one that nobody needs any more: producers are sent elsewhere, and the slaves have all of its log.
func (b *Broker) drain(ctx context.Context) {
	if !b.taking.Swap(false) {
		return
	}
	last, cancel := context.WithTimeout(ctx, stopGrace)
	b.registrar.wipe(last)
	cancel()
	last, cancel = context.WithTimeout(ctx, drainGrace)
	defer cancel()
	end := b.store.MaxPhysical()
	if err := b.ha.Drain(last, end); err != nil {
		b.log.Warn("not every slave has the end of the log", "end", end, "slaves", len(b.ha.Slaves()), "after", drainGrace)
	}
}

// runHA ships the log, as soon as it is whole.
func (b *Broker) runHA(ctx context.Context) error {
	select {
	case <-b.whole:
	case <-ctx.Done():
		return b.ha.Close()
	}
	return b.ha.Run(ctx)
}

// expirePolls answers held requests whose time is up.
func (b *Broker) expirePolls(ctx context.Context) error {
	return every(ctx, longpoll.Tick, func(now time.Time) {
		b.room.Expire(nil, now)
		b.popRoom.Expire(nil, now)
		b.liteRoom.Expire(nil, now)
	})
}

// expireClients removes clients that stopped sending heartbeats. Source of the period: Java ClientHousekeepingService.
func (b *Broker) expireClients(ctx context.Context) error {
	return every(ctx, 10*time.Second, func(now time.Time) { b.clients.Expire(nil, now) })
}

func every(ctx context.Context, d time.Duration, run func(now time.Time)) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			run(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// Close releases everything; it may be called again. Run does it at its end.
func (b *Broker) Close() (err error) {
	b.closed.Do(func() {
		if b.server != nil {
			err = errors.Join(err, b.server.Close())
		}
		if b.outgoing != nil {
			b.outgoing.Close()
		}
		if b.ha != nil {
			err = errors.Join(err, b.ha.Close())
		}
		if b.offsets != nil {
			e := b.offsets.Close()
			if vfs.IsFull(e) && b.store != nil && b.store.DropBallast() { // the store keeps some room for this
				e = b.offsets.Close()
			}
			err = errors.Join(err, e)
		}
		if b.pop != nil {
			err = errors.Join(err, b.pop.Persist(time.Now()))
		}
		if b.index != nil { // it reads the store
			err = errors.Join(err, b.index.Close())
		}
		if b.timers != nil { // so do they
			err = errors.Join(err, b.timers.Close())
		}
		if b.store != nil {
			err = errors.Join(err, b.store.Close())
		}
	})
	return err
}

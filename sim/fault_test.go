package sim

import (
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
)

// fault does one bad thing. What it needs may not be there: then nothing happens.
func (w *world) fault() error {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	p := n.proc.Load()
	switch k := w.rng.IntN(100); {
	case k < 20:
		w.kill(n, false)
	case k < 32:
		w.kill(n, true)
	case k < 40:
		if p != nil {
			w.strike(&w.stops, "%s is stopped", n.name)
			n.back = w.soon(500)
			return n.stop()
		}
	case k < 50:
		if p != nil && !n.paused.Load() {
			w.freeze(n, w.length())
		}
	case k < 62:
		w.partition()
	case k < 66:
		m := w.nodes[w.rng.IntN(len(w.nodes))]
		if m != n {
			d := time.Duration(w.rng.IntN(50)) * time.Millisecond
			w.strike(&w.lags, "from %s to %s it takes %v more", n.name, m.name, d)
			w.net.lag(n.host, m.host, d)
			time.AfterFunc(w.length(), func() { w.net.lag(n.host, m.host, 0) })
		}
	case k < 80:
		return w.takeOver()
	case k < 88:
		room := w.rng.Int64N(6) * crashfs.Sector
		w.strike(&w.full, "the disk of %s has only %d bytes left", n.name, room)
		n.disk.SetCapacity(n.disk.Used() + room)
		time.AfterFunc(w.length(), n.enlarge)
	case k < 92:
		ops := []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpAllocate, vfs.OpOpen, vfs.OpZero, vfs.OpRemove, crashfs.OpTruncate}
		op := ops[w.rng.IntN(len(ops))]
		w.strike(&w.broken, "the next %s of %s's disk fails", op, n.name)
		n.fault.fail(op, 1+w.rng.IntN(3))
	case k < 96:
		d := time.Duration(w.rng.Int64N(int64(2*w.plan.clocks))) - w.plan.clocks
		w.strike(&w.clocks, "the clock of %s goes %v off", n.name, d)
		n.skew.Store(int64(d))
	case k < 98:
		if !n.master && w.spare(n) {
			return w.wipe(n)
		}
	}
	return nil
}

// length is how long a fault lasts.
func (w *world) length() time.Duration {
	if w.rng.IntN(10) == 0 {
		return time.Duration(w.rng.IntN(3000)) * time.Millisecond
	}
	return time.Duration(w.rng.IntN(150)) * time.Millisecond
}

func (w *world) soon(ms int) time.Time {
	return time.Now().Add(time.Duration(w.rng.IntN(ms)) * time.Millisecond)
}

// kill ends a process, at once or in the midst of what it does to its disk next.
func (w *world) kill(n *node, power bool) {
	p := n.proc.Load()
	if p == nil || power && !w.plan.power {
		return
	}
	what := "is killed"
	if power {
		what = "loses power"
	}
	if w.rng.IntN(2) == 0 {
		if w.rng.IntN(2) == 0 {
			what += " before a sync"
			n.slow.Store(true)
			defer n.slow.Store(false)
			n.fault.die(vfs.OpSync, 1+w.rng.IntN(2))
		} else {
			what += " in the midst of a write"
			n.fault.die("", 1+w.rng.IntN(12))
		}
		select {
		case <-p.ended:
		case <-time.After(50 * time.Millisecond):
		}
		n.fault.heal()
	}
	if power {
		w.strike(&w.cuts, "%s %s", n.name, what)
	} else {
		w.strike(&w.kills, "%s %s", n.name, what)
	}
	n.crash(power, w.rng.Uint64())
	n.back = w.soon(300)
}

// freeze stops a process for a while: nothing reaches it, nothing leaves it.
func (w *world) freeze(n *node, d time.Duration) {
	w.strike(&w.pauses, "%s is paused for %v", n.name, d)
	n.paused.Store(true)
	hosts := w.others(n)
	for _, h := range hosts {
		w.net.hold(n.host, h, true)
		w.net.hold(h, n.host, true)
	}
	time.AfterFunc(d, func() {
		n.paused.Store(false)
		for _, h := range hosts {
			w.net.hold(n.host, h, false)
			w.net.hold(h, n.host, false)
		}
	})
}

// partition cuts the ways between two, or one of them.
func (w *world) partition() {
	a := w.nodes[w.rng.IntN(len(w.nodes))]
	hosts := w.others(a)
	b := hosts[w.rng.IntN(len(hosts))]
	d := w.length()
	both := w.rng.IntN(2) == 0
	w.strike(&w.partitions, "nothing goes from %s to %v for %v, nor back: %v", a.name, b, d, both)
	w.net.hold(a.host, b, true)
	if both {
		w.net.hold(b, a.host, true)
	}
	time.AfterFunc(d, func() {
		w.net.hold(a.host, b, false)
		w.net.hold(b, a.host, false)
	})
}

// spare tells whether a node's disk can be replaced: everything it has must be on enough others.
func (w *world) spare(n *node) bool {
	for _, o := range w.nodes {
		if o != n && o.owes > 0 {
			return false
		}
	}
	return n.owes == 0 && n.proc.Load() != nil
}

// wipe gives a slave an empty disk. It must not become a master before it has all that its master had then.
func (w *world) wipe(n *node) error {
	m := w.route.Load().proc.Load()
	if m == nil {
		return nil
	}
	w.strike(&w.wipes, "%s gets a new disk", n.name)
	n.crash(false, 0)
	n.owes = max(m.store.MaxPhysical(), 1)
	opt := w.plan.disk
	opt.Seed = w.rng.Uint64()
	n.insert(crashfs.New(opt))
	n.term.Store(0)
	return w.start(n)
}

// takeOver makes a slave the master. All others must be there, so that the one with the longest log of the newest term can
// be found: it has everything that was acknowledged. A careful operator takes none that was never seen to have all that the
// present master began with: it may lack what consumers have seen there. The old master is dead, or does not know yet.
func (w *world) takeOver() error {
	old := w.route.Load()
	for _, n := range w.nodes {
		if n != old && n.owes > 0 {
			return nil
		}
	}
	how := "is dead"
	switch w.rng.IntN(3) {
	case 0:
		if old.proc.Load() != nil {
			old.crash(false, 0)
		}
		old.back = w.soon(500)
	case 1:
		if old.proc.Load() != nil {
			if err := old.stop(); err != nil {
				return err
			}
		}
		old.back = w.soon(500)
	default:
		how = "still believes that it is the master"
		old.back = w.soon(400)
	}
	var best *node
	for _, n := range w.nodes {
		if n == old {
			continue
		}
		if n.proc.Load() == nil {
			if err := w.start(n); err != nil {
				return err
			}
		}
		p := n.proc.Load()
		if p.slave == nil { // an older master that does not know yet
			if err := w.end1(n); err != nil {
				return err
			}
			if err := w.start(n); err != nil {
				return err
			}
			p = n.proc.Load()
		}
		p.slave.SetMaster("")
	}
	w.settled()
	for _, n := range w.nodes {
		if n == old || n.proc.Load().dead.Load() {
			continue
		}
		if best == nil || w.newer(n, best) {
			best = n
		}
	}
	if best == nil || w.anyDead(old) || w.plan.careful && best.term.Load() != w.term.Load() {
		return w.reattach(old)
	}
	w.strike(&w.takeovers, "%s takes over at %d, %s %s", best.name, best.proc.Load().store.MaxPhysical(), old.name, how)
	if err := w.end1(best); err != nil {
		return err
	}
	term := w.term.Add(1)
	w.route.Store(best)
	if err := w.start(best); err != nil {
		return err
	}
	best.term.Store(term)
	w.least.Store(best.proc.Load().store.MaxPhysical())
	return w.reattach(best)
}

func (w *world) anyDead(but *node) bool {
	for _, n := range w.nodes {
		if n != but && n.proc.Load().dead.Load() {
			return true
		}
	}
	return false
}

// newer tells whether a's log is the better one to go on with.
func (w *world) newer(a, b *node) bool {
	if w.plan.bug == wrongSlave {
		return a.proc.Load().store.MaxPhysical() < b.proc.Load().store.MaxPhysical()
	}
	if x, y := a.term.Load(), b.term.Load(); x != y {
		return x > y
	}
	return a.proc.Load().store.MaxPhysical() > b.proc.Load().store.MaxPhysical()
}

// reattach has all slaves follow a master.
func (w *world) reattach(m *node) error {
	for _, n := range w.nodes {
		if p := n.proc.Load(); p != nil && p.slave != nil {
			p.follow(m)
		}
	}
	return nil
}

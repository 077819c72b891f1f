package sim

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/e2e/history"
)

// others are all hosts but a node's.
func (w *world) others(n *node) []netip.Addr {
	hosts := []netip.Addr{clients}
	for _, o := range w.nodes {
		if o != n {
			hosts = append(hosts, o.host)
		}
	}
	return hosts
}

// settled waits until everybody waits.
func (w *world) settled() { synctest.Wait() }

// heal ends all faults and waits until everything works again.
func (w *world) heal() error {
	w.note("heal")
	w.net.mu.Lock()
	clear(w.net.slow)
	w.net.mu.Unlock()
	for _, n := range w.nodes {
		n.paused.Store(false)
		n.disk.SetCapacity(0)
		n.fault.heal()
		n.back = time.Time{}
		for _, h := range w.others(n) {
			w.net.hold(n.host, h, false)
			w.net.hold(h, n.host, false)
		}
	}
	if err := w.settle("healed"); err != nil {
		return err
	}
	w.quiet.Store(true)
	m := w.route.Load().proc.Load().store
	for end := time.Now().Add(healLimit); ; w.pause(50 * time.Millisecond) {
		same := m.Visible() == m.MaxPhysical()
		for _, n := range w.nodes {
			same = same && n.proc.Load().store.MaxPhysical() == m.MaxPhysical()
		}
		if same && time.Until(end) < healLimit-time.Second { // answers that are on their way
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("healed and quiet, and after %v the logs are not the same: %s", healLimit, w.state())
		}
	}
}

// check compares the logs of all nodes, reads all queues, and looks for broken promises.
func (w *world) check() error {
	m := w.route.Load().proc.Load()
	for _, n := range w.nodes {
		p := n.proc.Load()
		if err := sameLog(m, p); err != nil {
			return fmt.Errorf("%s and %s: %w", m.n.name, n.name, err)
		}
	}
	for q := range queues {
		var bodies [][]byte
		first := int64(-1)
		if c := m.store.Find([]byte(topic), int32(q)); c != nil {
			first = c.Min()
			for at := first; at < c.Max(); {
				got := m.read(q, at, 32)
				if len(got) == 0 {
					return fmt.Errorf("%s: queue %d goes from %d to %d and cannot be read at %d", m.n.name, q, c.Min(), c.Max(), at)
				}
				for _, g := range got {
					if g.offset != at {
						return fmt.Errorf("%s: queue %d has offset %d at %d", m.n.name, q, g.offset, at)
					}
					bodies = append(bodies, g.body)
					at++
				}
			}
		}
		w.h.Final(history.Queue{Broker: "s", Topic: topic, ID: q}, max(first, 0), bodies)
	}
	safe := w.plan.safe()
	found := w.h.Check(history.Promise{Acked: safe, Reads: safe && (w.plan.careful || w.plan.slaves == 0)})
	if len(found) == 0 {
		return nil
	}
	var b strings.Builder
	for _, v := range found[:min(len(found), 5)] {
		fmt.Fprintf(&b, "\n  %v", v)
	}
	return fmt.Errorf("%d broken promises:%s", len(found), &b)
}

// sameLog compares two logs and what queues say about them.
func sameLog(a, b *process) error {
	from, to := max(a.store.MinPhysical(), b.store.MinPhysical()), a.store.MaxPhysical()
	if end := b.store.MaxPhysical(); end != to {
		return fmt.Errorf("one log ends at %d, one at %d", to, end)
	}
	x, y := make([]byte, 4096), make([]byte, 4096)
	for at := from; at < to; {
		n, err := a.store.ReadLog(at, x)
		if err != nil || n == 0 {
			return fmt.Errorf("cannot read at %d: %w", at, err)
		}
		k, err := b.store.ReadLog(at, y[:n])
		if err != nil || k != n || !bytes.Equal(x[:n], y[:n]) {
			return fmt.Errorf("the logs differ between %d and %d (%w)", at, at+int64(n), err)
		}
		at += int64(n)
	}
	for q := range queues {
		i, j := a.store.Find([]byte(topic), int32(q)), b.store.Find([]byte(topic), int32(q))
		if (i == nil) != (j == nil) || i != nil && i.Max() != j.Max() {
			return fmt.Errorf("queue %d ends differently", q)
		}
	}
	return nil
}

// env is a number from the environment.
func env(name string, or uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return or
	}
	return n
}

// TestCluster knows
//
//	SIM_FAULTS  how many faults to do; default 3,000, but no longer than 8 s
//	SIM_SEED    the first seed; a failure names the one that shows it
//	SIM_WORLDS  how many worlds at most
//	SIM_LENGTH  faults in one world; default 60
//
// Whatever happens to a master and its slaves, what was acknowledged is there in the end, once, in order, and what
// consumers were given too; and when nothing happens any more, everything works again and all logs are the same.
func TestCluster(t *testing.T) {
	want, first, worlds, length := env("SIM_FAULTS", 3000), env("SIM_SEED", 1), env("SIM_WORLDS", 1<<40), env("SIM_LENGTH", 60)
	limit := 24 * time.Hour
	if os.Getenv("SIM_FAULTS") == "" {
		limit = 8 * time.Second
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	began := time.Now()
	var mu sync.Mutex
	var sum counts
	var all history.Counts
	var next, done atomic.Uint64
	next.Store(first)
	t.Run("worlds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					mu.Lock()
					enough := uint64(sum.faults()) >= want || time.Since(began) > limit
					mu.Unlock()
					seed := next.Add(1) - 1
					if enough || seed >= first+worlds {
						return
					}
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(seed, func(p *plan) { p.faults = int(length) })
						err := w.run()
						mu.Lock()
						defer mu.Unlock()
						sum.add(w.counts)
						c := w.h.Counts()
						all.Sent, all.Acked, all.Read = all.Sent+c.Sent, all.Acked+c.Acked, all.Read+c.Read
						done.Add(1)
						if testing.Verbose() && worlds == 1 {
							fmt.Println(strings.Join(w.trace, "\n"))
							_ = w.h.Dump(os.Stdout)
						}
						if err != nil {
							tail := w.trace[max(0, len(w.trace)-40):]
							t.Errorf("seed %d, %+v: %v\n\nlast events:\n%s\n\nAgain with:\nSIM_SEED=%d SIM_WORLDS=1 SIM_LENGTH=%d go test ./sim -run TestCluster -v",
								seed, w.plan, err, strings.Join(tail, "\n"), seed, length)
						}
					})
				}
			})
		}
	})
	took := time.Since(began)
	t.Logf("%v in %d worlds, %d messages sent, %d acknowledged, %d read, %v, %.0f faults a second", sum, done.Load(), all.Sent, all.Acked, all.Read,
		took.Round(time.Second/10), float64(sum.faults())/took.Seconds())
}

// TestCluster_Finds wires each thing wrong once, in worlds where that matters: the simulation must see it soon.
func TestCluster_Finds(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	pair := func(p *plan) { p.slaves, p.acks = max(p.slaves, 1), 1 }
	safe := func(p *plan) { pair(p); p.careful = true }
	power := func(p *plan) { p.acks, p.syncFlush, p.power, p.fast, p.slaves = 1, true, true, true, 1 }
	alone := func(p *plan) { p.slaves, p.acks, p.syncFlush, p.power = 0, 0, true, true }
	for _, c := range []struct {
		bug    bug
		worlds func(*plan)
	}{
		{acksAlone, safe}, {acksUnsynced, alone}, {slaveUnsynced, power}, {showsAll, safe}, {believesOwn, safe},
		{wrongSlave, pair}, {writesAsSlave, safe},
	} {
		t.Run(string(c.bug), func(t *testing.T) {
			t.Parallel()
			const worlds = 1000
			for seed := range uint64(worlds) {
				var err error
				synctest.Test(t, func(*testing.T) {
					w := newWorld(seed, func(p *plan) {
						p.bug, p.faults = c.bug, 60
						c.worlds(p)
					})
					err = w.run()
				})
				if err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("%d worlds are well", worlds)
		})
	}
}

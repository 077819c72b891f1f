package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"rocketd/e2e/history"
	"rocketd/ha"
	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
)

// world is a master, its slaves, and those who use them, in a bubble of virtual time. The goroutine of run is the
// operator: it strikes the nodes, starts and stops them, and says who is the master.
type world struct {
	seed  uint64
	rng   *rand.Rand
	plan  plan
	net   *network
	nodes []*node
	h     *history.History
	began time.Time

	term   atomic.Int64
	least  atomic.Int64         // end of the master's log when it became the master
	route  atomic.Pointer[node] // where clients find the master
	quiet  atomic.Bool          // no more sends
	over   chan struct{}        // closed at the end
	actors sync.WaitGroup
	acked  [producers]atomic.Int64

	counts
	traceMu sync.Mutex
	trace   []string
}

// plan is what a seed says about the whole.
type plan struct {
	slaves    int
	acks      int // slaves that must have a message
	syncFlush bool
	fileSize  int64
	body      int // largest, bytes
	faults    int
	bug       bug
	careful   bool          // the operator is, see world.takeOver
	fast      bool          // the network is faster than the disks
	power     bool          // it may fail
	clocks    time.Duration // they go off by at most so much
	disk      crashfs.Options
}

// safe tells whether what is acknowledged must survive: a slave has it too, or there is no slave that could take over
// without it.
func (p *plan) safe() bool { return p.acks > 0 || p.slaves == 0 }

// bug is something that is wired wrong on purpose.
type bug string

const (
	acksAlone     bug = "answers wait for no slave"
	acksUnsynced  bug = "answers do not wait for the disk"
	slaveUnsynced bug = "slaves acknowledge what is not on the disk"
	showsAll      bug = "consumers are shown what slaves do not have"
	believesOwn   bug = "a slave that starts shows all that it has"
	wrongSlave    bug = "the slave with the shorter log takes over"
	writesAsSlave bug = "a slave takes messages"
)

// counts is what was done.
type counts struct {
	kills, cuts, pauses, partitions, lags, takeovers, full, broken, clocks, stops, wipes, recoveries int
}

func (c counts) faults() int {
	return c.kills + c.cuts + c.pauses + c.partitions + c.lags + c.takeovers + c.full + c.broken + c.clocks + c.stops + c.wipes
}

func (c *counts) add(d counts) {
	c.kills += d.kills
	c.cuts += d.cuts
	c.pauses += d.pauses
	c.partitions += d.partitions
	c.lags += d.lags
	c.takeovers += d.takeovers
	c.full += d.full
	c.broken += d.broken
	c.clocks += d.clocks
	c.stops += d.stops
	c.wipes += d.wipes
	c.recoveries += d.recoveries
}

func (c counts) String() string {
	return fmt.Sprintf("%d faults (%d kills, %d power cuts, %d pauses, %d partitions, %d slow links, %d take-overs, %d full disks, %d broken disks, %d clock steps, %d stops, %d new disks), %d recoveries",
		c.faults(), c.kills, c.cuts, c.pauses, c.partitions, c.lags, c.takeovers, c.full, c.broken, c.clocks, c.stops, c.wipes, c.recoveries)
}

const (
	producers = 3
	consumers = 2
	queues    = 2
	topic     = "T"
)

var clients = clientHost.Addr()

// newWorld makes the world of a seed; change may change its plan.
func newWorld(seed uint64, change func(*plan)) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(n ...int64) int64 { return n[rng.IntN(len(n))] }
	w := &world{seed: seed, rng: rng, net: newNetwork(seed), began: time.Now(), over: make(chan struct{})}
	w.plan = plan{
		slaves: 1 + rng.IntN(2), acks: 1, syncFlush: rng.IntN(2) == 0, fileSize: pick(1024, 2048, 4096, 16384), body: 200,
		disk: crashfs.Options{Map: rng.IntN(2) == 0, Ordered: rng.IntN(2) == 0},
	}
	switch rng.IntN(12) {
	case 0, 1:
		w.plan.acks = 0
	case 2: // nobody else has what its disk loses
		w.plan.slaves, w.plan.acks = 0, 0
	}
	if rng.IntN(8) == 0 { // logs that are longer than a slave looks back at first
		w.plan.fileSize, w.plan.body = 512<<10, 40<<10
	}
	// A power cut takes what was not synced: where a message counts as stored before that, it is no fault that anybody
	// promised to bear.
	w.plan.power = (w.plan.syncFlush || w.plan.acks == 0 && w.plan.slaves > 0) && rng.IntN(4) > 0
	w.plan.careful = rng.IntN(3) > 0
	w.plan.fast = rng.IntN(3) == 0
	change(&w.plan)
	w.plan.clocks = []time.Duration{time.Second, 2 * time.Hour}[rng.IntN(2)]
	w.net.fast = w.plan.fast
	w.h = history.New(func() time.Duration { return time.Since(w.began) })
	for i := range w.plan.slaves + 1 {
		opt := w.plan.disk
		opt.Seed = seed*10 + uint64(i)
		w.nodes = append(w.nodes, &node{w: w, name: string(rune('A' + i)), host: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}),
			disk: crashfs.New(opt), rng: rand.New(rand.NewPCG(seed, uint64(i)+100))})
	}
	return w
}

func (w *world) note(format string, args ...any) {
	w.traceMu.Lock()
	defer w.traceMu.Unlock()
	w.trace = append(w.trace, fmt.Sprintf("%10.4f ", time.Since(w.began).Seconds())+fmt.Sprintf(format, args...))
}

// strike notes a fault.
func (w *world) strike(count *int, format string, args ...any) {
	*count++
	w.h.Fault(format, args...)
	w.note("FAULT "+format, args...)
}

// deliver calls fn after the way from one host to another, once it is free.
func (w *world) deliver(from, to netip.Addr, fn func()) {
	w.net.mu.Lock()
	d := w.net.delay(way{from, to})
	w.net.mu.Unlock()
	time.AfterFunc(d, func() { w.arrive(from, to, fn) })
}

func (w *world) arrive(from, to netip.Addr, fn func()) {
	w.net.mu.Lock()
	held := w.net.held[way{from, to}]
	w.net.mu.Unlock()
	if held {
		time.AfterFunc(10*time.Millisecond, func() { w.arrive(from, to, fn) })
		return
	}
	fn()
}

// ask has fn run in a turn of the process that a node has when the question arrives; fn calls answer, once, then or
// later, and it is heard if the process lives. It returns false after a while, or when there is no process.
func ask[T any](w *world, from netip.Addr, n *node, limit time.Duration, fn func(p *process, answer func(T))) (res T, ok bool) {
	reply := make(chan T, 1)
	refused := make(chan struct{}, 1)
	w.deliver(from, n.host, func() {
		p := n.proc.Load()
		if p == nil || p.dead.Load() {
			w.deliver(n.host, from, func() { refused <- struct{}{} })
			return
		}
		p.post(func(*protocol.Turn) {
			fn(p, func(v T) {
				if !p.dead.Load() {
					w.deliver(n.host, from, func() { reply <- v })
				}
			})
		})
	})
	select {
	case res = <-reply:
		return res, true
	case <-refused:
	case <-time.After(limit):
	}
	return res, false
}

// masterMin asks a slave's master where its log begins.
func (w *world) masterMin(ctx context.Context, n *node, p *process) (int64, error) {
	at := netip.MustParseAddrPort(p.slave.Status().Master).Addr()
	for _, m := range w.nodes {
		if m.host == at {
			low, ok := ask(w, n.host, m, 100*time.Millisecond, func(p *process, answer func(int64)) { answer(p.store.MinPhysical()) })
			if !ok {
				return 0, errors.New("no answer")
			}
			return low, ctx.Err()
		}
	}
	return 0, errors.New("no master")
}

// produce sends one message after the other.
func (w *world) produce(i int) {
	rng := rand.New(rand.NewPCG(w.seed, uint64(i)+200))
	target := w.route.Load()
	for n := 1; ; n++ {
		if !w.pause(time.Duration(rng.IntN(16000)) * time.Microsecond) {
			return
		}
		if w.quiet.Load() {
			return
		}
		q := history.Queue{Broker: "s", Topic: topic, ID: rng.IntN(queues)}
		body := history.Body(history.ID{Producer: fmt.Sprintf("p%d", i), N: n}, rng.IntN(w.plan.body))
		s := w.h.Send(history.ID{Producer: fmt.Sprintf("p%d", i), N: n}, q)
		o, ok := ask(w, clients, target, time.Second, func(p *process, answer func(put.Outcome)) { p.send(topic, q.ID, body, answer) })
		if ok && o.Status == put.OK {
			s.Acked(o.Offset)
			w.acked[i].Add(1)
		}
		if !ok || o.Status != put.OK || rng.IntN(50) == 0 {
			target = w.route.Load()
		}
	}
}

// pause waits; false says that it is all over.
func (w *world) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.over:
		return false
	}
}

type piece struct {
	offset int64
	body   []byte
}

// consume reads queues on and on.
func (w *world) consume(i int) {
	rng := rand.New(rand.NewPCG(w.seed, uint64(i)+300))
	var next [queues]int64
	for w.pause(time.Duration(rng.IntN(30)) * time.Millisecond) {
		q := rng.IntN(queues)
		from := next[q] // who hears it late hears what was asked
		got, ok := ask(w, clients, w.route.Load(), time.Second, func(p *process, answer func([]piece)) { answer(p.read(q, from, 8)) })
		if !ok {
			continue
		}
		for _, m := range got {
			w.h.Read(fmt.Sprintf("c%d", i), history.Queue{Broker: "s", Topic: topic, ID: q}, m.offset, m.body)
			next[q] = m.offset + 1
		}
	}
}

// read reads some messages of a queue.
func (p *process) read(queue int, from int64, n int32) []piece {
	b, res := p.store.Get(p.store.Find([]byte(topic), int32(queue)), store.Read{From: from, Max: n}, nil)
	if res.Status != store.Found {
		return nil
	}
	var list []piece
	for len(b) > 0 {
		r, err := message.Decode(b)
		if err != nil {
			p.n.w.note("%s: cannot decode: %v", p.n.name, err)
			return list
		}
		list = append(list, piece{r.QueueOffset, append([]byte(nil), r.Body...)})
		b = b[r.Size:]
	}
	return list
}

// run is the whole. The error is a broken promise.
func (w *world) run() (err error) {
	defer w.end()
	defer func() {
		if err != nil { // nobody waits for what does not come
			w.note("failed: %v", err)
		}
	}()
	if err := w.begin(); err != nil {
		return err
	}
	for w.faults() < w.plan.faults {
		w.pause(time.Duration(w.rng.IntN(40)) * time.Millisecond)
		if w.rng.IntN(15) == 0 { // things that take longer come to an end
			w.pause(time.Duration(w.rng.IntN(600)) * time.Millisecond)
		}
		if err := w.care(); err != nil {
			return err
		}
		if err := w.fault(); err != nil {
			return err
		}
	}
	if err := w.heal(); err != nil {
		return err
	}
	return w.check()
}

// begin starts all nodes, and waits until the slaves have a first message.
func (w *world) begin() error {
	w.term.Store(1)
	w.nodes[0].term.Store(1)
	w.route.Store(w.nodes[0])
	for _, n := range w.nodes {
		if err := n.start(w.nodes[0]); err != nil {
			return err
		}
	}
	for i := range producers {
		w.actors.Go(func() { w.produce(i) })
	}
	for i := range consumers {
		w.actors.Go(func() { w.consume(i) })
	}
	return w.settle("at the beginning")
}

// settle waits until producers get answers and all slaves have all there is.
func (w *world) settle(when string) error {
	var before [producers]int64
	for i := range before {
		before[i] = w.acked[i].Load()
	}
	ok := func() bool {
		for i := range before {
			if w.acked[i].Load() == before[i] {
				return false
			}
		}
		for _, n := range w.nodes {
			if p := n.proc.Load(); p.slave != nil && (p.slave.Status().State != ha.Copying || n.term.Load() != w.term.Load()) {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(healLimit); !ok(); w.pause(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s: after %v it still does not work again: %s", when, healLimit, w.state())
		}
		if err := w.care(); err != nil {
			return err
		}
	}
	return nil
}

const healLimit = 3 * time.Minute

// state describes all nodes.
func (w *world) state() string {
	var b strings.Builder
	for i := range w.acked {
		fmt.Fprintf(&b, "p%d: %d acked; ", i, w.acked[i].Load())
	}
	for _, n := range w.nodes {
		p := n.proc.Load()
		switch {
		case p == nil:
			fmt.Fprintf(&b, "%s is down; ", n.name)
		case p.master != nil:
			fmt.Fprintf(&b, "%s is master, %d to %d, flushed %d, visible %d, writable %v, slaves %+v; ", n.name, p.store.MinPhysical(), p.store.MaxPhysical(),
				p.store.Flushed(), p.store.Visible(), p.store.Writable(), p.master.Slaves())
		default:
			fmt.Fprintf(&b, "%s is slave, %d to %d, flushed %d, writable %v, %+v; ", n.name, p.store.MinPhysical(), p.store.MaxPhysical(), p.store.Flushed(),
				p.store.Writable(), p.slave.Status())
		}
	}
	return b.String()
}

// care is what an operator does all the time: starts what is down, restarts what is fenced, gives a new disk to what has
// nothing in common with the master, tells an old master that it is a slave.
func (w *world) care() error {
	now := time.Now()
	for _, n := range w.nodes {
		p := n.proc.Load()
		current := w.route.Load()
		switch {
		case p == nil && now.After(n.back):
			if err := w.start(n); err != nil {
				return err
			}
		case p == nil:
		case p.dead.Load():
			w.note("%s has died", n.name)
			n.crash(false, 0)
		case p.master != nil && n != current && now.After(n.back):
			w.note("%s hears that it is a slave", n.name)
			if err := w.end1(n); err != nil {
				return err
			}
			if err := w.start(n); err != nil {
				return err
			}
		case errors.Is(p.store.Writable(), store.ErrFenced):
			w.note("%s is fenced: %v", n.name, p.store.Writable())
			if err := w.end1(n); err != nil {
				return err
			}
		case p.slave != nil && p.slave.Status().State == ha.Foreign:
			if err := w.wipe(n); err != nil {
				return err
			}
		case p.slave != nil && n.owes > 0 && n.term.Load() == w.term.Load() && p.store.MaxPhysical() >= n.owes:
			n.owes = 0
		}
	}
	return nil
}

// end1 ends a node, in order or not.
func (w *world) end1(n *node) error {
	if w.rng.IntN(2) == 0 || n.paused.Load() {
		n.crash(false, 0)
		return nil
	}
	return n.stop()
}

// start starts a node in its role. It may die or meet a broken disk while it recovers; then it is started again.
func (w *world) start(n *node) error {
	if w.rng.IntN(4) == 0 {
		n.fault.die("", 1+w.rng.IntN(30))
	}
	for i := 0; ; i++ {
		w.recoveries++
		w.net.rise(n.host)
		err := n.start(w.route.Load())
		if i > 0 || err == nil {
			n.fault.heal()
			if err == nil {
				w.note("%s started: %s", n.name, w.state())
			}
			return err
		}
		w.note("%s: %v", n.name, err)
		if vfs.IsFull(err) {
			n.disk.SetCapacity(0)
		}
		w.net.die(n.host, false)
		n.disk.Stop()
		n.insert(n.disk.Kill())
		n.disk.SetCapacity(0)
		n.fault.heal()
	}
}

// end stops everybody, whatever state they are in.
func (w *world) end() {
	close(w.over)
	w.actors.Wait()
	for _, n := range w.nodes {
		if n.proc.Load() != nil {
			n.crash(false, 0)
		}
	}
	synctest.Wait()
}

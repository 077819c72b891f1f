package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
)

// world is one store on a disk in memory, the ledger beside it, and whoever does random things to them. Everything
// happens in one goroutine: what the goroutines of Run would do is done step by step, and what could happen between
// two operations on the disk happens inside of Before. So a seed says all.
type world struct {
	seed uint64
	rng  *rand.Rand
	plan plan
	cfg  Config
	disk *crashfs.Disk
	s    *Store
	led  *ledger
	now  time.Time

	inflight *Batch
	copying  *copying // the store is the copy of another one
	nested   bool     // an append inside of a flush
	stopAt   int      // changes until the process ends; 0: it does not
	fault    failing
	quiet    bool // no crash states are tried
	fenced   bool
	spoiled  bool               // what was refused may be in the log all the same
	written  int                // messages, for their bodies
	next     map[queueKey]int64 // offsets that must be given next

	counts
	trace []string
}

// counts is what was done.
type counts struct {
	states                                   int // crash states looked at
	kills, cuts, inRecovery, after, afterNew int // how they came to be
	fences, fulls, appends                   int
}

func (n *counts) add(m counts) {
	n.states += m.states
	n.kills += m.kills
	n.cuts += m.cuts
	n.inRecovery += m.inRecovery
	n.after += m.after
	n.afterNew += m.afterNew
	n.fences += m.fences
	n.fulls += m.fulls
	n.appends += m.appends
}

func (n counts) String() string {
	return fmt.Sprintf("%d crash states (%d kills, %d power cuts, %d crashes in recovery, %d right after it, %d after new messages), %d appends, %d fences, %d full disks",
		n.states, n.kills, n.cuts, n.inRecovery, n.after, n.afterNew, n.appends, n.fences, n.fulls)
}

// plan is what a seed says about the whole.
type plan struct {
	opt   crashfs.Options
	cfg   Config
	share float64 // of changes on the disk at which crash states are tried
	each  int     // how many there
}

// failing makes the n-th operation of a kind fail; 0 is none.
type failing struct {
	op vfs.Op
	n  int
}

// crashFailure is what a world panics with.
type crashFailure struct{ what string }

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(n ...int64) int64 { return n[rng.IntN(len(n))] }
	p := plan{
		opt: crashfs.Options{Seed: seed, Map: rng.IntN(2) == 0, Ordered: rng.IntN(2) == 0},
		cfg: Config{
			Dir: "/data/store", FileSize: pick(300, 512, 700, 1024, 2048, 4096), QueueFileSize: pick(20, 60, 200, 200, 1000),
			SyncFlush: rng.IntN(3) > 0, OpenFiles: int(pick(1, 2, 20)), HotBytes: 1 << 20,
		},
		share: 0.3, each: 3,
	}
	return worldOf(seed, p, rng)
}

func worldOf(seed uint64, p plan, rng *rand.Rand) *world {
	w := &world{seed: seed, rng: rng, plan: p, disk: crashfs.New(p.opt), now: time.UnixMilli(1_000_000), next: make(map[queueKey]int64),
		led: &ledger{refused: make(map[int64][]*rec), deleted: make(map[string]int64)}}
	w.cfg = p.cfg
	w.disk.Before = w.before
	return w
}

func (w *world) fail(format string, args ...any) { panic(crashFailure{fmt.Sprintf(format, args...)}) }

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// complaints is a log handler that remembers errors.
type complaints struct{ list []string }

func (c *complaints) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (c *complaints) WithAttrs([]slog.Attr) slog.Handler           { return c }
func (c *complaints) WithGroup(string) slog.Handler                { return c }
func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	c.list = append(c.list, text)
	return nil
}

// open opens a store on a disk. Whatever a crash left, it must open, and find nothing strange, but for topics that were
// deleted: of those anything may be left.
func (w *world) open(d *crashfs.Disk) (*Store, error) {
	var c complaints
	cfg := w.cfg
	cfg.FS, cfg.Log = d, slog.New(&c)
	s, err := Open(cfg)
	for _, text := range c.list {
		strange := err == nil
		for topic := range w.led.deleted {
			strange = strange && !strings.Contains(text, "topic="+topic)
		}
		if strange {
			return s, errors.New(text)
		}
	}
	return s, err
}

// before is what happens at each operation on the disk.
func (w *world) before(op vfs.Op, name string) error {
	if op == vfs.OpOpen {
		return w.inject(op)
	}
	if !w.quiet && w.s != nil && w.rng.Float64() < w.plan.share {
		w.explore(op, name)
	}
	if w.nested && w.copying == nil && (op == vfs.OpSync || op == vfs.OpWrite) && w.rng.IntN(3) == 0 {
		w.nested = false
		w.append()
		w.nested = true
	}
	if w.stopAt > 0 {
		if w.stopAt--; w.stopAt == 0 {
			w.note("  the process ends in %s %s", op, name)
			w.disk.Stop()
			return crashfs.ErrStopped
		}
	}
	return w.inject(op)
}

func (w *world) inject(op vfs.Op) error {
	if w.fault.n > 0 && w.fault.op == op {
		if w.fault.n--; w.fault.n == 0 {
			w.note("  %s fails", op)
			return syscall.EIO
		}
	}
	return nil
}

// demand is what must survive a crash now.
func (w *world) demand(killed bool) demand {
	d := demand{inflight: recsOf(w.inflight), bound: w.s.Flushed(), durable: w.s.Flushed(), where: "power cut"}
	if killed {
		d.where, d.exact = "kill", !w.spoiled
		d.bound = w.led.end()
	}
	if c := w.copying; c != nil {
		d.inflight = c.arriving
		if c.cutting {
			d.bound, d.durable, d.exact = min(d.bound, c.cut), min(d.durable, c.cut), false
		}
	}
	return d
}

// explore tries what crashes at this moment leave.
func (w *world) explore(op vfs.Op, name string) {
	for i := range w.plan.each {
		killed := i == 0 && w.rng.IntN(3) == 0
		seed := w.rng.Uint64()
		d := w.disk.Kill
		if !killed {
			d = func() *crashfs.Disk { return w.disk.PowerCut(seed) }
		}
		if killed {
			w.kills++
		} else {
			w.cuts++
		}
		if err := w.try(d(), w.led, w.demand(killed), rand.New(rand.NewPCG(seed, 2)), 0); err != nil {
			w.fail("crash state %d, %s before %s %s: %v", w.states, w.demand(killed).where, op, name, err)
		}
	}
}

// try opens a store on what a crash left, checks it, and goes on from there.
func (w *world) try(d *crashfs.Disk, led *ledger, want demand, rng *rand.Rand, depth int) error {
	d.SetCapacity(0)
	if depth < 3 && rng.IntN(4) == 0 { // a second crash while the first is recovered
		stop := 1 + rng.IntN(25)
		d.Before = func(op vfs.Op, _ string) error {
			if stop--; stop <= 0 {
				d.Stop()
				return crashfs.ErrStopped
			}
			return nil
		}
		s, err := w.open(d)
		d.Before = nil
		if errors.Is(err, crashfs.ErrStopped) {
			w.inRecovery++
			seed := rng.Uint64()
			if rng.IntN(3) == 0 {
				return wrap("kill in recovery", w.try(d.Kill(), led, want, rng, depth+1))
			}
			want.bound, want.exact = want.durable, false
			return wrap("power cut in recovery", w.try(d.PowerCut(seed), led, want, rng, depth+1))
		}
		if err != nil {
			return fmt.Errorf("does not open: %w", err)
		}
		return w.tried(d, s, led, want, rng, depth)
	}
	s, err := w.open(d)
	if err != nil {
		return fmt.Errorf("does not open: %w", err)
	}
	return w.tried(d, s, led, want, rng, depth)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (w *world) tried(d *crashfs.Disk, s *Store, led *ledger, want demand, rng *rand.Rand, depth int) error {
	w.states++
	got, err := led.check(s, want)
	if err != nil || depth >= 3 {
		return err
	}
	now := led.recovered(got, s.Flushed())
	next := demand{bound: s.Flushed(), durable: s.Flushed(), exact: s.Flushed() == got.end}
	switch rng.IntN(12) {
	case 0: // what was recovered stays
		w.after++
		return wrap("power cut after recovery", w.try(d.PowerCut(rng.Uint64()), now, next, rng, depth+1))
	case 1, 2: // nothing that was cut comes back beside what is new
		w.afterNew++
		for range 1 + rng.IntN(3) {
			b := w.batch(s, rng)
			if err := s.Append(b, w.now); errors.Is(err, ErrTooLarge) {
				continue
			} else if err != nil {
				return fmt.Errorf("append after recovery: %w", err)
			}
			now.take(recsOf(b))
		}
		if rng.IntN(3) > 0 {
			if err := s.flush(); err != nil {
				return fmt.Errorf("flush after recovery: %w", err)
			}
		}
		next.bound, next.durable, next.exact = s.Flushed(), s.Flushed(), false
		return wrap("power cut after an append", w.try(d.PowerCut(rng.Uint64()), now, next, rng, depth+1))
	case 3:
		if err := s.Close(); err != nil {
			return fmt.Errorf("close after recovery: %w", err)
		}
		next, now = demand{bound: got.end, durable: got.end, exact: true}, led.recovered(got, got.end)
		return wrap("clean end after recovery", w.try(d.PowerCut(rng.Uint64()), now, next, rng, depth+1))
	}
	return nil
}

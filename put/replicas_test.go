package put

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// fakeReplicas are slaves as the test wants them.
type fakeReplicas struct {
	acked  atomic.Int64
	refuse atomic.Pointer[error]
	asked  atomic.Int64 // times Admit was
}

func (f *fakeReplicas) Admit() error {
	f.asked.Add(1)
	if err := f.refuse.Load(); err != nil {
		return *err
	}
	return nil
}
func (f *fakeReplicas) Replicated() int64 { return f.acked.Load() }

// withSlaves opens a room whose answers wait for slaves, and for the disk too if sync is true.
func withSlaves(t *testing.T, sync bool, change ...func(*Config)) (*room, *fakeReplicas) {
	f := new(fakeReplicas)
	return open(t, func(c *Config) {
		c.SyncFlush, c.Replicas = sync, f
		for _, fn := range change {
			fn(c)
		}
	}), f
}

// ack moves what slaves have and rings, as the HA service does.
func (r *room) ack(f *fakeReplicas, to int64) {
	f.acked.Store(to)
	r.svc.Flushed()
}

// wake does what a bell asked the context for.
func (r *room) wake(what func()) {
	what()
	r.run()
}

// An answer waits for as many slaves as the policy wants, and so does the bell; WAIT=false does not wait, but what it
// brought cannot be read before.
func TestBatch_Replicas(t *testing.T) {
	r, f := withSlaves(t, false)
	r.stage(1, "a", true)
	r.stage(2, "b", false)
	r.stage(3, "a", true)
	r.commit()
	r.want("stored 1 in a", "stored 1 in b", "stored 1 in a", "2: ok b/0 at 100 uniq u2")
	r.ack(f, 99)
	if len(r.peer.posts) != 0 {
		t.Error("a context is woken for nothing")
	}
	r.wake(func() { r.ack(f, 200) })
	r.want("1: ok a/0 at 0 uniq u1", "bell a max 2", "bell b max 1")
	r.ack(f, 0) // the slave is gone; what it has it has
	r.stage(4, "a", true)
	r.commit()
	r.want("stored 1 in a")
	r.wake(func() { r.ack(f, 400) })
	r.want("3: ok a/1 at 200 uniq u3", "4: ok a/2 at 300 uniq u4", "bell a max 3", "bell a max 3")
	if len(r.svc.waiting) != 0 {
		t.Error("a batch without parked answers still waits")
	}
	r.ack(f, math.MaxInt64) // the policy wants nobody
	r.stage(5, "a", true)
	r.commit()
	r.want("stored 1 in a", "bell a max 4", "5: ok a/3 at 400 uniq u5")
}

// Under SYNC_FLUSH and SYNC_MASTER an answer waits for both, whichever is first.
func TestBatch_Replicas_SyncFlush(t *testing.T) {
	r, f := withSlaves(t, true)
	for i := range int32(4) {
		r.stage(i, "a", true)
		r.commit()
	}
	r.events = nil
	r.wake(func() { r.flush(200) })
	r.want()
	r.wake(func() { r.ack(f, 100) })
	r.want("0: ok a/0 at 0 uniq u0", "bell a max 4")
	r.wake(func() { r.ack(f, 400) })
	r.want("1: ok a/1 at 100 uniq u1", "bell a max 4")
	r.wake(func() { r.flush(400) })
	r.want("2: ok a/2 at 200 uniq u2", "3: ok a/3 at 300 uniq u3", "bell a max 4", "bell a max 4")
}

// Which timeout an answer says, and when, in each mode: Java waits for disk and slaves both, and the slaves win. The time is
// looked at every 200 ms.
func TestBatch_Replicas_Timeout(t *testing.T) {
	for _, c := range []struct {
		name            string
		sync            bool
		flushed, acked  int64 // of 100
		flushAt, ackAt  time.Duration
		want            string
		atLeast, atMost time.Duration
	}{
		{"async flush, slaves late", false, 0, 0, 0, 0, "1: slave timeout", 3 * time.Second, 3200 * time.Millisecond},
		{"async flush, slaves in time", false, 0, 100, 0, 2900 * time.Millisecond, "1: ok", 2900 * time.Millisecond, 2900 * time.Millisecond},
		{"both late", true, 0, 0, 0, 0, "1: slave timeout", 5 * time.Second, 5200 * time.Millisecond},
		{"slaves late, disk there", true, 100, 0, 0, 0, "1: slave timeout", 3 * time.Second, 3200 * time.Millisecond},
		{"slaves late, disk after them", true, 100, 0, 4 * time.Second, 0, "1: slave timeout", 4 * time.Second, 4 * time.Second},
		{"disk late, slaves there", true, 0, 100, 0, 0, "1: disk timeout", 5 * time.Second, 5200 * time.Millisecond},
		{"slaves too late, disk in time", true, 100, 100, time.Second, 4 * time.Second, "1: slave timeout", 3 * time.Second, 3200 * time.Millisecond},
		{"disk just in time", true, 100, 100, 4900 * time.Millisecond, time.Second, "1: ok", 4900 * time.Millisecond, 4900 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := withSlaves(t, c.sync)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- r.svc.Run(ctx) }()
				began := time.Now()
				at := func(after time.Duration, do func()) {
					if after == 0 {
						do()
					} else {
						time.AfterFunc(after, do)
					}
				}
				r.stage(1, "a", true)
				r.commit()
				r.events = nil
				at(c.flushAt, func() { r.flush(c.flushed) })
				at(c.ackAt, func() { r.ack(f, c.acked) })
				for len(r.events) == 0 && time.Since(began) < time.Minute {
					synctest.Wait()
					r.run()
					if len(r.events) == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				if took := time.Since(began); took < c.atLeast || took > c.atMost {
					t.Errorf("answered after %v, want %v to %v", took, c.atLeast, c.atMost)
				}
				if want := c.want + " a/0 at 0 uniq u1"; len(r.events) == 0 || r.events[0] != want {
					t.Errorf("got %q, want %q first", r.events, want)
				}
				time.Sleep(time.Minute) // all timers have rung
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Where too few replicas are in sync, who waits for them is refused before anything is written, also within a batch; WAIT=false
// is stored. The policy is asked once in a turn.
func TestBatch_Replicas_NotEnough(t *testing.T) {
	for _, sync := range []bool{false, true} {
		r, f := withSlaves(t, sync)
		lost := errors.New("1 of 2")
		f.refuse.Store(&lost)
		r.stage(1, "a", true)
		r.stage(2, "b", false)
		r.batch.StageAll(r.queue("a"), []message.Draft{draft("a"), draft("a")}, make([]int64, 2), true, nil, protocol.Ticket{Peer: r.peer, Opaque: 3}, r.answer)
		r.commit()
		r.want("stored 1 in b", "1: refused: in-sync replicas not enough: 1 of 2 uniq u1", "2: ok b/0 at 0 uniq u2",
			"3: refused: in-sync replicas not enough: 1 of 2 uniq ")
		if n := f.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		if e := Refusal(fmt.Errorf("%w: %w", ErrNotEnoughReplicas, lost)); e.Code != protocol.SystemError || e.Remark != "in-sync replicas not enough: 1 of 2" {
			t.Errorf("%d %q", e.Code, e.Remark)
		}
		f.refuse.Store(nil)
		r.stage(4, "a", true)
		r.commit()
		r.want("stored 1 in a")
		r.wake(func() { r.flush(200) })
		r.wake(func() { r.ack(f, 200) })
		r.events = slices.DeleteFunc(r.events, func(e string) bool { return strings.HasPrefix(e, "bell") })
		r.want("4: ok a/0 at 100 uniq u4")
	}
}

// Only so many answers wait; one more is told at once that nobody knows yet, and the others are not touched.
func TestBatch_Replicas_Many(t *testing.T) {
	for _, mode := range []string{"slave", "disk"} {
		r, f := withSlaves(t, true)
		if mode == "disk" {
			r = open(t, syncFlush)
		}
		for range maxParked / 1024 {
			for range 1024 {
				r.stage(0, "a", true)
			}
			r.commit()
		}
		r.events = nil
		r.stage(1, "a", true)
		r.commit()
		r.want("stored 1 in a", fmt.Sprintf("1: %s timeout a/%d at %d uniq u1", mode, maxParked, 100*maxParked))
		f.acked.Store(100)
		r.wake(func() { r.flush(100) })
		r.events = nil
		r.stage(2, "a", true)
		r.commit()
		r.want("stored 1 in a")
	}
}

// A policy that comes to want less lets those go who wait, and the messages be read.
func TestBatch_Replicas_PolicyRelaxes(t *testing.T) {
	r, f := withSlaves(t, false)
	r.stage(1, "a", true)
	r.commit()
	r.want("stored 1 in a")
	r.wake(func() { r.ack(f, math.MaxInt64) })
	r.want("1: ok a/0 at 0 uniq u1", "bell a max 1")
}

// When the store is read-only, nobody waits any more: neither for a sync that will not come nor for slaves.
func TestBatch_Replicas_Fence(t *testing.T) {
	for _, sync := range []bool{false, true} {
		r, f := withSlaves(t, sync)
		for i := range int32(3) {
			r.stage(i, "a", true)
			r.commit()
		}
		r.events = nil
		r.wake(func() { r.flush(100) })
		r.wake(func() { r.ack(f, 100) })
		r.want("0: ok a/0 at 0 uniq u0", "bell a max 3")
		f.acked.Store(200)
		r.log.mu.Lock()
		r.log.writable = fmt.Errorf("%w: broken disk", store.ErrFenced)
		r.log.mu.Unlock()
		r.wake(r.svc.Flushed)
		if sync {
			r.want("1: disk timeout a/1 at 100 uniq u1", "2: slave timeout a/2 at 200 uniq u2")
		} else {
			r.want("1: ok a/1 at 100 uniq u1", "2: slave timeout a/2 at 200 uniq u2", "bell a max 3")
		}
	}
}

// When the broker's role changes, answers that wait say that nobody knows, even where the log gets beyond their place later:
// something else may stand there then. What comes afterwards follows the new role.
func TestService_SetReplicas(t *testing.T) {
	r, f := withSlaves(t, false)
	r.stage(1, "a", true)
	r.commit()
	r.want("stored 1 in a")
	r.svc.SetReplicas(nil)
	r.ack(f, 1000)
	if len(r.peer.posts) != 1 {
		t.Errorf("%d turns were asked for", len(r.peer.posts))
	}
	r.run()
	r.want("1: slave timeout a/0 at 0 uniq u1", "bell a max 1")
	r.stage(2, "a", true)
	r.commit()
	r.want("stored 1 in a", "bell a max 2", "2: ok a/1 at 100 uniq u2")

	g := new(fakeReplicas)
	r.svc.SetReplicas(g)
	r.stage(3, "a", true)
	r.commit()
	r.want("stored 1 in a")
	r.wake(func() { r.ack(g, 300) })
	r.want("3: ok a/2 at 200 uniq u3", "bell a max 3")

	// The change comes between the turn that parked and the next one of the same context, which comes before the bell's.
	r.stage(4, "a", true)
	r.commit()
	r.events = nil
	r.svc.SetReplicas(f)
	r.stage(5, "a", false)
	r.commit()
	r.want("4: slave timeout a/3 at 300 uniq u4", "bell a max 4", "stored 1 in a", "bell a max 5", "5: ok a/4 at 400 uniq u5")
	r.run()
	r.want()

	r = open(t, syncFlush)
	r.stage(1, "a", true)
	r.commit()
	r.svc.SetReplicas(g)
	r.events = nil
	r.flush(100)
	r.run()
	r.want("1: disk timeout a/0 at 0 uniq u1", "bell a max 1")
}

// What the log held before and slaves did not have rings once, for all queues, when it can be read.
func TestService_Revealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		revealed := 0
		r, f := withSlaves(t, false, func(c *Config) { c.Revealed = func() { revealed++ } })
		r.stage(1, "a", false)
		r.commit()
		r.svc = New(r.svc.cfg) // a restart
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.svc.Run(ctx) }()
		check := func(want int) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if revealed != want {
				t.Errorf("revealed %d times, want %d", revealed, want)
			}
		}
		check(0)
		r.ack(f, 100)
		check(1)
		r.svc.SetReplicas(f) // all is there
		check(1)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// On a slave a queue rings when the log can be read so far, in order, also when the log is cut meanwhile.
func TestService_Arrived(t *testing.T) {
	r := open(t, syncFlush)
	for i, name := range []string{"a", "b", "c"} {
		r.log.end = int64(100 * (i + 1))
		r.svc.Arrived(r.queue(name), r.log.end)
	}
	r.want()
	r.flush(200)
	r.want("bell a max 0", "bell b max 0")
	r.log.end = 250 // cut
	r.svc.Arrived(r.queue("a"), 250)
	r.flush(250)
	r.want("bell c max 0", "bell a max 0")
	r.svc.Arrived(r.queue("b"), 250)
	r.want("bell b max 0")
}

// Couriers that appended one after the other may tell of it the other way round. No queue rings before it can be read: it would
// not ring again.
func TestService_Arrived_Overtaken(t *testing.T) {
	r := open(t, syncFlush)
	r.log.end = 300
	r.svc.Arrived(r.queue("b"), 200)
	r.svc.Arrived(r.queue("c"), 300)
	r.svc.Arrived(r.queue("a"), 100)
	r.flush(100)
	r.want("bell a max 0")
	r.flush(200)
	r.want("bell b max 0")
	r.flush(300)
	r.want("bell c max 0")
}

// Many contexts stage while bells ring from everywhere, slaves come and go, the disk goes on and the role changes: each is
// answered once, in order, and none with OK whose record was not safe.
func TestService_BellStorm(t *testing.T) {
	const contexts, turns = 4, 400
	f := new(fakeReplicas)
	log := &fakeLog{sync: true}
	var svc *Service
	log.confirm = func() int64 { return svc.Confirmed() }
	var safe atomic.Int64 // what disk and slaves have had at least, before they said so
	svc = New(Config{Log: log, SyncFlush: true, Replicas: f, SlaveTimeout: time.Hour, FlushTimeout: time.Hour,
		Grew:   func(*protocol.Turn, *consumequeue.Queue) {},
		Stored: func(*consumequeue.Queue, int, int) {}})
	set := consumequeue.NewSet(vfs.OS, t.TempDir(), 20000, 1)

	done := make(chan struct{})
	var bells sync.WaitGroup
	bell := func(fn func(rng *rand.Rand)) {
		bells.Add(1)
		go func() {
			defer bells.Done()
			rng := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-done:
					return
				default:
					fn(rng)
				}
			}
		}()
	}
	var mu sync.Mutex // guards:
	var flushed, acked int64
	raise := func(rng *rand.Rand, at *int64, publish func()) {
		mu.Lock()
		to := log.MaxPhysical()
		if rng.IntN(4) > 0 {
			to = rng.Int64N(to + 1)
		}
		*at = max(*at, to)
		safe.Store(min(flushed, acked))
		publish()
		mu.Unlock()
		svc.Flushed()
	}
	for range 2 {
		bell(func(rng *rand.Rand) {
			raise(rng, &flushed, func() { log.mu.Lock(); log.flushed = flushed; log.mu.Unlock() })
		})
		bell(func(rng *rand.Rand) { raise(rng, &acked, func() { f.acked.Store(acked) }) })
	}
	bell(func(rng *rand.Rand) {
		if svc.Flushed(); rng.IntN(1000) == 0 {
			svc.SetReplicas(f)
		}
	})

	var all sync.WaitGroup
	for c := range contexts {
		p := &loop{posts: make(chan func(*protocol.Turn), 1000)}
		b := svc.NewBatch()
		q := set.New(fmt.Sprint(c), 0)
		all.Add(1)
		go func() {
			defer all.Done()
			next, staged := int32(0), int32(0)
			answer := func(_ *protocol.Turn, k protocol.Ticket, o *Outcome) {
				if k.Opaque != next {
					t.Errorf("answer %d, want %d", k.Opaque, next)
				}
				next++
				if o.Status == OK && o.Physical+100 > safe.Load() {
					t.Errorf("ok at %d, safe is %d", o.Physical, safe.Load())
				}
			}
			for staged < 16*turns || next < staged {
				turn := &protocol.Turn{Now: time.Now()}
				for more := true; more; {
					select {
					case fn := <-p.posts:
						fn(turn)
					default:
						more = false
					}
				}
				if staged < 16*turns {
					for range 16 {
						d := draft("a")
						b.Stage(q, &d, 0, true, nil, protocol.Ticket{Peer: p, Opaque: staged}, answer)
						staged++
					}
					b.Commit(turn)
				} else if next < staged { // idle until a bell
					(<-p.posts)(turn)
				}
			}
		}()
	}
	all.Wait()
	close(done)
	bells.Wait()
	svc.mu.Lock()
	n := len(svc.waiting)
	svc.mu.Unlock()
	if n != 0 {
		t.Errorf("%d batches wait for nothing", n)
	}
}

// loop is an I/O context that runs what is posted in its own goroutine.
type loop struct {
	peer
	posts chan func(*protocol.Turn)
}

func (l *loop) Post(fn func(*protocol.Turn)) { l.posts <- fn }

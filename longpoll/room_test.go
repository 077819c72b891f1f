package longpoll

import (
	"context"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/protocol"
)

// peer is a connection without a socket. Posted functions wait in posts.
type peer struct {
	closed atomic.Bool
	mu     sync.Mutex
	posts  []func(*protocol.Turn)
}

func (p *peer) RemoteAddr() netip.AddrPort       { return netip.AddrPort{} }
func (p *peer) LocalAddr() netip.AddrPort        { return netip.AddrPort{} }
func (p *peer) LockOut() []byte                  { return nil }
func (p *peer) UnlockOut(*protocol.Turn, []byte) {}
func (p *peer) Flush()                           {}
func (p *peer) Post(fn func(*protocol.Turn)) {
	p.mu.Lock()
	p.posts = append(p.posts, fn)
	p.mu.Unlock()
}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return p.closed.Load() }
func (p *peer) Close()                                 { p.closed.Store(true) }

// run runs what was posted and tells whether there was anything.
func (p *peer) run() bool {
	p.mu.Lock()
	posts := p.posts
	p.posts = nil
	p.mu.Unlock()
	for _, fn := range posts {
		fn(&protocol.Turn{})
	}
	return len(posts) > 0
}

// queue grows, as a consume queue does.
type queue struct{ max atomic.Int64 }

// pull waits until queue has something at next; with odd set, the filter wants odd offsets only.
type pull struct {
	name  string
	queue *queue
	next  int64
	odd   bool
}

// desk is a room with a record of who was answered.
type desk struct {
	*Room[*queue, pull]
	answered []string
}

var start = time.Unix(1_700_000_000, 0)

func newDesk(max int) *desk {
	d := &desk{}
	d.Room = New[*queue](Config[pull]{Max: max, Answer: func(_ *protocol.Turn, w *pull, expired bool) bool {
		if expired {
			d.answered = append(d.answered, w.name+" expired")
			return false
		}
		for ; w.next < w.queue.max.Load(); w.next++ {
			if !w.odd || w.next%2 == 1 {
				d.answered = append(d.answered, w.name)
				return false
			}
		}
		return true
	}}, start)
	return d
}

func (d *desk) park(t *testing.T, p *peer, w pull, hold time.Duration) {
	t.Helper()
	if !d.Park(nil, w.queue, p, start.Add(hold), w) {
		t.Fatalf("%s may not park", w.name)
	}
}

func (d *desk) want(t *testing.T, names ...string) {
	t.Helper()
	slices.Sort(d.answered)
	if !slices.Equal(d.answered, names) {
		t.Errorf("answered %q, want %q", d.answered, names)
	}
	d.answered = d.answered[:0]
}

func (d *desk) wantLen(t *testing.T, n int) {
	t.Helper()
	linked := 0
	for i := range d.shard {
		s := &d.shard[i]
		for _, p := range s.places {
			for x := p.waiting.head; x != nil; x = x.next[byKey] {
				linked++
			}
		}
	}
	if d.Len() != n || linked != n {
		t.Errorf("%d wait and %d are linked, want %d", d.Len(), linked, n)
	}
}

// All requests of a key are answered when it is woken, those of other keys stay.
func TestRoom_Wake(t *testing.T) {
	d, p, q, other := newDesk(0), &peer{}, &queue{}, &queue{}
	d.park(t, p, pull{name: "a", queue: q}, time.Second)
	d.park(t, p, pull{name: "b", queue: q}, time.Second)
	d.park(t, p, pull{name: "c", queue: other}, time.Second)
	d.want(t)
	if !d.Has(q) || !d.Has(other) || d.Has(&queue{}) {
		t.Error("Has is wrong")
	}
	q.max.Store(1)
	d.Wake(nil, q)
	d.want(t, "a", "b")
	d.wantLen(t, 1)
	if d.Has(q) {
		t.Error("nobody waits any more")
	}
	d.Wake(nil, q)
	d.want(t)
}

// What arrived between the caller's read and Park is seen by Park.
func TestRoom_Park_LooksOnceMore(t *testing.T) {
	d, q := newDesk(0), &queue{}
	q.max.Store(1)
	d.park(t, &peer{}, pull{name: "a", queue: q}, time.Second)
	d.want(t, "a")
	d.wantLen(t, 0)
}

// A request whose filter wants nothing of the news stays, and does not look at them again.
func TestRoom_Wake_FilterMismatch(t *testing.T) {
	d, q := newDesk(0), &queue{}
	d.park(t, &peer{}, pull{name: "odd", queue: q, odd: true}, time.Second)
	d.park(t, &peer{}, pull{name: "any", queue: q}, time.Second)
	q.max.Store(1)
	d.Wake(nil, q)
	d.want(t, "any")
	d.wantLen(t, 1)
	q.max.Store(2)
	d.Wake(nil, q)
	d.want(t, "odd")
	d.wantLen(t, 0)
}

// Never before the deadline, at most one tick late; longer than a turn of the wheel, or overdue at once, works too.
func TestRoom_Expire(t *testing.T) {
	for _, hold := range []time.Duration{-time.Hour, 0, 1, Tick, time.Second, 15*time.Second + 7, 3 * slots * Tick, 2 * time.Minute} {
		d, q := newDesk(0), &queue{}
		d.Expire(nil, start.Add(3*Tick))
		d.park(t, &peer{}, pull{name: "a", queue: q}, hold)
		for now := start.Add(3 * Tick); ; now = now.Add(Tick) {
			d.Expire(nil, now)
			early := now.Before(start.Add(hold))
			if n := len(d.answered); early && n > 0 {
				t.Fatalf("hold %v: answered %v early", hold, start.Add(hold).Sub(now))
			} else if n > 0 {
				break
			} else if now.After(start.Add(max(hold, 4*Tick) + Tick)) {
				t.Fatalf("hold %v: not answered", hold)
			}
		}
		d.want(t, "a expired")
		d.wantLen(t, 0)
	}
}

// A caller that comes much too late, after a pause of the machine, misses nobody.
func TestRoom_Expire_AfterPause(t *testing.T) {
	d, q := newDesk(0), &queue{}
	d.park(t, &peer{}, pull{name: "a", queue: q}, time.Second)
	d.park(t, &peer{}, pull{name: "b", queue: q}, 15*time.Second)
	d.park(t, &peer{}, pull{name: "c", queue: q}, 2*time.Hour)
	d.Expire(nil, start.Add(time.Hour))
	d.want(t, "a expired", "b expired")
	d.Expire(nil, start.Add(30*time.Minute)) // a clock that went back changes nothing
	d.wantLen(t, 1)
}

// A request that is kept keeps its deadline.
func TestRoom_Expire_AfterMismatch(t *testing.T) {
	d, q := newDesk(0), &queue{}
	d.park(t, &peer{}, pull{name: "odd", queue: q, odd: true}, time.Second)
	q.max.Store(1)
	d.Wake(nil, q)
	d.Expire(nil, start.Add(time.Second-1))
	d.want(t)
	d.Expire(nil, start.Add(time.Second))
	d.want(t, "odd expired")
}

func TestRoom_Closed(t *testing.T) {
	d, p, other := newDesk(0), &peer{}, &peer{}
	for range 20 {
		d.park(t, p, pull{name: "gone", queue: &queue{}}, time.Second)
	}
	q := &queue{}
	d.park(t, other, pull{name: "stays", queue: q}, time.Second)
	p.Close()
	d.Closed(p)
	d.wantLen(t, 1)
	// A call that was on its way when the connection went is not kept.
	if !d.Park(nil, q, p, start.Add(time.Second), pull{name: "late", queue: q}) {
		t.Error("the room is not full")
	}
	d.wantLen(t, 1)
	d.Expire(nil, start.Add(time.Minute))
	d.want(t, "stays expired")
}

func TestRoom_Close(t *testing.T) {
	d, q := newDesk(0), &queue{}
	d.park(t, &peer{}, pull{name: "a", queue: q}, time.Second)
	d.park(t, &peer{}, pull{name: "b", queue: &queue{}}, time.Hour)
	d.Close(nil)
	d.want(t, "a expired", "b expired")
	d.wantLen(t, 0)
	if d.Park(nil, q, &peer{}, start.Add(time.Second), pull{queue: q}) {
		t.Error("parked in a closed room")
	}
}

func TestRoom_Full(t *testing.T) {
	d, p, q := newDesk(2), &peer{}, &queue{}
	d.park(t, p, pull{queue: q}, time.Second)
	d.park(t, p, pull{queue: q}, time.Second)
	if d.Park(nil, q, p, start.Add(time.Second), pull{queue: q}) {
		t.Error("three in a room for two")
	}
	d.Closed(p)
	d.park(t, p, pull{queue: q}, time.Second)
	d.wantLen(t, 1)
}

// While one context looks at a key, others leave word and go; if word keeps coming, the looker lets its own
// connections be served first and goes on in a later turn.
func TestRoom_Wake_HandsOver(t *testing.T) {
	q, p := &queue{}, &peer{}
	looks := 0
	var r *Room[*queue, pull]
	r = New[*queue](Config[pull]{Answer: func(*protocol.Turn, *pull, bool) bool {
		looks++
		if looks > 1 && looks < 10 {
			r.Wake(nil, q) // as another context would
		}
		return true
	}}, start)
	r.Park(nil, q, p, start.Add(time.Second), pull{queue: q})
	r.Wake(nil, q)
	if looks != 1+rounds {
		t.Errorf("looked %d times in one go, want %d", looks, 1+rounds)
	}
	for p.run() {
	}
	if looks != 10 || r.Len() != 1 {
		t.Errorf("looked %d times, %d wait; want 10 and 1", looks, r.Len())
	}
}

// Whatever producers, consumers, expiry and hang-ups do at the same time: every request is answered exactly once,
// none is forgotten.
func TestRoom_Race(t *testing.T) {
	type call struct {
		queue *queue
		next  int64
		done  *atomic.Int32
	}
	r := New[*queue](Config[call]{Answer: func(_ *protocol.Turn, w *call, expired bool) bool {
		if !expired && w.queue.max.Load() <= w.next {
			return true
		}
		w.done.Add(1)
		return false
	}}, start)
	queues := make([]queue, 4)
	peers := make([]peer, 4)
	const producers, calls = 3, 3000
	var producing, consuming sync.WaitGroup
	for range producers {
		producing.Go(func() {
			for i := range calls {
				q := &queues[i%len(queues)]
				q.max.Add(1)
				r.Wake(nil, q)
				if i%64 == 0 {
					peers[i/64%len(peers)].run()
				}
			}
		})
	}
	dones := make([][]atomic.Int32, len(queues))
	for i := range queues {
		dones[i] = make([]atomic.Int32, calls)
		consuming.Go(func() {
			for n := range dones[i] {
				q := &queues[rand.IntN(len(queues))]
				next := q.max.Load()
				if !r.Park(nil, q, &peers[n%len(peers)], start.Add(time.Hour), call{q, next, &dones[i][n]}) {
					t.Error("not parked")
				}
				if n%100 == 0 {
					r.Expire(nil, start.Add(time.Duration(n)*time.Millisecond))
				}
			}
		})
	}
	producing.Wait()
	consuming.Wait()
	for i := range queues {
		queues[i].max.Add(1)
		r.Wake(nil, &queues[i])
	}
	for ran := true; ran; {
		ran = false
		for i := range peers {
			ran = peers[i].run() || ran
		}
	}
	if r.Len() != 0 {
		t.Errorf("%d requests were forgotten", r.Len())
	}
	for i := range dones {
		for n := range dones[i] {
			if got := dones[i][n].Load(); got != 1 {
				t.Fatalf("request %d/%d was answered %d times", i, n, got)
			}
		}
	}
}

func TestRoom_NoAllocation(t *testing.T) {
	d, p, q := newDesk(0), &peer{}, &queue{}
	w := pull{name: "a", queue: q}
	deadline := start.Add(15 * time.Second)
	if n := testing.AllocsPerRun(1000, func() {
		w.next = q.max.Load()
		d.Park(nil, q, p, deadline, w)
		q.max.Add(1)
		d.Wake(nil, q)
		d.answered = d.answered[:0]
	}); n != 0 {
		t.Errorf("%v allocations per park and wake", n)
	}
}

// One request is parked and woken, as with a consumer that keeps up.
func BenchmarkRoom_ParkWake(b *testing.B) {
	r, p, q := benchRoom(), &peer{}, &queue{}
	b.ReportAllocs()
	for b.Loop() {
		r.Park(nil, q, p, start.Add(time.Hour), pull{queue: q, next: q.max.Load()})
		q.max.Add(1)
		r.Wake(nil, q)
	}
}

// What a producer pays where nobody waits for its queue, but 100,000 wait for others.
func BenchmarkRoom_Wake_Nobody(b *testing.B) {
	r, p, q := benchRoom(), &peer{}, &queue{}
	for range 100_000 {
		other := &queue{}
		r.Park(nil, other, p, start.Add(time.Hour), pull{queue: other})
	}
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		r.Wake(nil, q)
	}
}

// What it pays where nobody waits at all.
func BenchmarkRoom_Wake_Empty(b *testing.B) {
	r, q := benchRoom(), &queue{}
	b.ReportAllocs()
	for b.Loop() {
		r.Wake(nil, q)
	}
}

func benchRoom() *Room[*queue, pull] {
	return New[*queue](Config[pull]{Answer: func(_ *protocol.Turn, w *pull, expired bool) bool {
		return !expired && w.next >= w.queue.max.Load()
	}}, start)
}

// A request waits by the clock of its client, at most a day, and whoever sets our clock changes nothing.
func TestDeadline(t *testing.T) {
	now := time.Now()
	ms := now.UnixMilli()
	for _, c := range []struct {
		born, poll int64
		want       time.Duration
	}{
		{0, 5000, 5 * time.Second}, {ms, 5000, 5 * time.Second}, {ms - 2000, 5000, 3 * time.Second}, {ms - 9000, 5000, -4 * time.Second},
		{ms, -1, 0}, {ms, math.MaxInt64, MaxHold},
	} {
		got := Deadline(now, c.born, c.poll)
		if d := got.Sub(now) - c.want; d > 0 || d <= -time.Millisecond || !strings.Contains(got.String(), " m=") {
			t.Errorf("born %d, poll %d: in %v, want %v: %v", c.born-ms, c.poll, got.Sub(now), c.want, got)
		}
	}
}

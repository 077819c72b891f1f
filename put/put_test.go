package put

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// fakeLog gives records their places and says how far the disk is. Everything else is up to the test.
type fakeLog struct {
	mu       sync.Mutex
	end      int64
	flushed  int64
	visible  int64 // high-water mark
	sync     bool  // only what is flushed is visible
	confirm  func() int64
	refuse   error  // of Append
	writable error  // of Writable
	appended func() // called at the end of Append
}

func (l *fakeLog) Append(b *store.Batch, now time.Time) error {
	l.mu.Lock()
	if l.refuse != nil {
		l.mu.Unlock()
		return l.refuse
	}
	for i := range b.Len() {
		e := b.At(i)
		e.Physical, e.Offset, e.StoreMs = l.end, e.Queue.Next(), now.UnixMilli()
		e.Queue.Put(consumequeue.Unit{Physical: e.Physical, Size: e.Size, Tag: e.Tag})
		l.end += int64(e.Size)
	}
	l.mu.Unlock()
	if l.appended != nil {
		l.appended()
	}
	return nil
}

func (l *fakeLog) Flushed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flushed
}

func (l *fakeLog) MaxPhysical() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (l *fakeLog) Visible() int64 {
	confirm := l.confirm()
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.end
	if l.sync {
		end = l.flushed
	}
	l.visible = max(l.visible, min(end, confirm))
	return min(l.visible, end)
}

func (l *fakeLog) Writable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writable
}

// peer is a connection without a socket. What is posted waits in posts, or runs here and now when the I/O context
// has ended.
type peer struct {
	ended bool
	mu    sync.Mutex
	posts []func(*protocol.Turn)
}

func (p *peer) RemoteAddr() netip.AddrPort       { return netip.AddrPort{} }
func (p *peer) LocalAddr() netip.AddrPort        { return netip.AddrPort{} }
func (p *peer) LockOut() []byte                  { panic("answers go through Answer") }
func (p *peer) UnlockOut(*protocol.Turn, []byte) {}
func (p *peer) Flush()                           {}
func (p *peer) Post(fn func(*protocol.Turn)) {
	if p.ended {
		fn(&protocol.Turn{Now: time.Now()})
		return
	}
	p.mu.Lock()
	p.posts = append(p.posts, fn)
	p.mu.Unlock()
}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return p.ended }
func (p *peer) Close()                                 {}

// room is an I/O context with a batch, and a record of what came of it.
type room struct {
	t      *testing.T
	log    *fakeLog
	svc    *Service
	batch  *Batch
	peer   *peer
	set    *consumequeue.Set
	queues map[string]*consumequeue.Queue
	events []string
}

func open(t *testing.T, change func(*Config)) *room {
	r := &room{t: t, log: &fakeLog{}, peer: &peer{}, queues: make(map[string]*consumequeue.Queue)}
	r.set = consumequeue.NewSet(vfs.OS, t.TempDir(), 20000, 1)
	cfg := Config{
		Log: r.log,
		Grew: func(_ *protocol.Turn, q *consumequeue.Queue) {
			r.events = append(r.events, fmt.Sprintf("bell %s max %d", q.Topic(), q.Max()))
		},
		Stored: func(q *consumequeue.Queue, messages, _ int) {
			r.events = append(r.events, fmt.Sprintf("stored %d in %s", messages, q.Topic()))
		},
	}
	if change != nil {
		change(&cfg)
	}
	r.log.sync = cfg.SyncFlush
	r.log.confirm = func() int64 { return r.svc.Confirmed() }
	r.svc = New(cfg)
	r.batch = r.svc.NewBatch()
	return r
}

func syncFlush(c *Config) { c.SyncFlush = true }

func (r *room) queue(name string) *consumequeue.Queue {
	if r.queues[name] == nil {
		r.queues[name] = r.set.New(name, 0)
	}
	return r.queues[name]
}

func (r *room) answer(_ *protocol.Turn, k protocol.Ticket, o *Outcome) {
	e := fmt.Sprintf("%d:", k.Opaque)
	switch o.Status {
	case Refused:
		e += fmt.Sprintf(" refused: %v", o.Err)
	default:
		e += []string{" ok", " disk timeout", " slave timeout"}[o.Status] + fmt.Sprintf(" %s/%d at %d", o.Queue.Topic(), o.Offset, o.Physical)
	}
	if len(o.More) > 0 {
		e += fmt.Sprintf(" more %v", o.More)
	}
	r.events = append(r.events, e+" uniq "+string(o.Uniq))
}

// draft is a message whose record has 100 bytes.
func draft(name string) message.Draft {
	return message.Draft{Topic: []byte(name), Body: make([]byte, 9-len(name))}
}

// stage stages one message under an opaque.
func (r *room) stage(opaque int32, name string, wait bool) {
	d := draft(name)
	r.batch.Stage(r.queue(name), &d, 0, wait, []byte(fmt.Sprint("u", opaque)), protocol.Ticket{Peer: r.peer, Opaque: opaque}, r.answer)
}

// commit ends a turn.
func (r *room) commit() { r.batch.Commit(&protocol.Turn{Now: time.Now()}) }

// flush moves the flushed offset and rings, as the store does after a sync.
func (r *room) flush(to int64) {
	r.log.mu.Lock()
	r.log.flushed = to
	r.log.mu.Unlock()
	r.svc.Flushed()
}

// run runs what was posted to the context.
func (r *room) run() {
	r.peer.mu.Lock()
	posts := r.peer.posts
	r.peer.posts = nil
	r.peer.mu.Unlock()
	for _, fn := range posts {
		fn(&protocol.Turn{Now: time.Now()})
	}
}

// want checks what has happened since it was last asked.
func (r *room) want(events ...string) {
	r.t.Helper()
	if !slices.Equal(r.events, events) {
		r.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(r.events, "\n\t"), strings.Join(events, "\n\t"))
	}
	r.events = nil
}

// Answers may be parked when their I/O context has ended: a ring of the store then runs the context's turn in the
// goroutine of the store, which may not hold what the turn needs.
func TestService_Flushed_AfterEndOfContext(t *testing.T) {
	r := open(t, syncFlush)
	r.stage(1, "a", true)
	r.commit()
	r.want("stored 1 in a")
	r.peer.ended = true
	r.flush(100)
	r.want("1: ok a/0 at 0 uniq u1", "bell a max 1")
	if len(r.svc.waiting) != 0 {
		t.Error("a batch without parked answers still waits")
	}
}

// Without sync flush, the end of the turn answers everybody under his own opaque, in order, and rings once per run
// of records of a queue, when they can be read.
func TestBatch_Commit(t *testing.T) {
	r := open(t, nil)
	r.commit() // nothing staged
	r.want()
	r.stage(7, "a", true)
	r.stage(3, "a", false)
	r.stage(9, "b", true)
	r.stage(4, "a", true)
	r.want()
	r.commit()
	r.want("stored 2 in a", "bell a max 3", "stored 1 in b", "bell b max 1", "stored 1 in a", "bell a max 3",
		"7: ok a/0 at 0 uniq u7", "3: ok a/1 at 100 uniq u3", "9: ok b/0 at 200 uniq u9", "4: ok a/2 at 300 uniq u4")
	r.commit()
	r.want()
	r.stage(8, "b", true)
	r.commit()
	r.want("stored 1 in b", "bell b max 2", "8: ok b/1 at 400 uniq u8")
}

// What a stager puts together at the end of a turn is appended with it, and only with it.
func TestBatch_Before(t *testing.T) {
	r := open(t, nil)
	stager := new(int)
	if r.batch.Kept(stager) != nil {
		t.Error("something was kept before")
	}
	r.batch.Keep(stager, "mine")
	if r.batch.Kept(stager) != "mine" || r.batch.Kept(new(int)) != nil {
		t.Error("not kept for its stager")
	}
	r.batch.Before(func(*protocol.Turn) { r.stage(2, "b", false) })
	r.stage(1, "a", false)
	r.commit()
	first := r.events
	r.events = nil
	if len(first) < 2 || !slices.ContainsFunc(first, func(e string) bool { return strings.HasPrefix(e, "2: ok b/0 at 100") }) {
		t.Errorf("events %q", first)
	}
	r.stage(3, "a", false)
	r.commit()
	if slices.ContainsFunc(r.events, func(e string) bool { return strings.HasPrefix(e, "2:") }) {
		t.Errorf("asked again: %q", r.events)
	}
}

// When the store takes nothing, all are told why, nothing is counted and nobody is woken; the next turn starts anew.
func TestBatch_Commit_Refused(t *testing.T) {
	for _, cfg := range []func(*Config){nil, syncFlush} {
		r := open(t, cfg)
		r.log.refuse = store.ErrDiskFull
		r.stage(1, "a", true)
		r.stage(2, "b", false)
		r.commit()
		r.want("1: refused: disk is full uniq u1", "2: refused: disk is full uniq u2")
		r.log.refuse = nil
		r.stage(3, "a", false)
		r.commit()
		if got := r.events[len(r.events)-1]; !strings.HasPrefix(got, "3: ok a/0 at 0") && cfg == nil {
			t.Errorf("got %q", got)
		}
	}
}

// What does not fit into a file of the log is refused by itself; the others of the turn are stored.
func TestBatch_Commit_TooLarge(t *testing.T) {
	r := open(t, func(c *Config) { c.MaxGroup = 299 })
	r.stage(1, "a", true)
	k := protocol.Ticket{Peer: r.peer, Opaque: 2}
	r.batch.StageAll(r.queue("a"), []message.Draft{draft("a"), draft("a"), draft("a")}, make([]int64, 3), true, nil, k, r.answer)
	big := message.Draft{Topic: []byte("a"), Body: make([]byte, 300)}
	r.batch.Stage(r.queue("a"), &big, 0, true, nil, protocol.Ticket{Peer: r.peer, Opaque: 3}, r.answer)
	r.stage(4, "b", true)
	r.commit()
	r.want("stored 1 in a", "bell a max 1", "stored 1 in b", "bell b max 1", "1: ok a/0 at 0 uniq u1",
		"2: refused: record is larger than a commit log file uniq ", "3: refused: record is larger than a commit log file uniq ",
		"4: ok b/0 at 100 uniq u4")
}

// The records of a client batch get adjoining places and one answer.
func TestBatch_StageAll(t *testing.T) {
	for _, mode := range []struct {
		name   string
		change func(*Config)
	}{{"async", nil}, {"sync", syncFlush}} {
		t.Run(mode.name, func(t *testing.T) {
			r := open(t, mode.change)
			k := protocol.Ticket{Peer: r.peer, Opaque: 5}
			r.stage(1, "a", true)
			r.batch.StageAll(r.queue("a"), []message.Draft{draft("a"), draft("a"), draft("a")}, make([]int64, 3), true, []byte("u5"), k, r.answer)
			r.commit()
			// A second turn uses the buffers of the first one again.
			r.batch.StageAll(r.queue("b"), []message.Draft{draft("b"), draft("b"), draft("b")}, make([]int64, 3), true, []byte("xx"), k, r.answer)
			r.commit()
			r.flush(r.log.end)
			r.run()
			r.events = slices.DeleteFunc(r.events, func(e string) bool { return strings.HasPrefix(e, "bell") })
			slices.SortStableFunc(r.events, func(a, b string) int { return strings.Index(a, "stored") - strings.Index(b, "stored") })
			r.want("1: ok a/0 at 0 uniq u1", "5: ok a/1 at 100 more [200 300] uniq u5", "5: ok b/0 at 400 more [500 600] uniq xx",
				"stored 4 in a", "stored 3 in b")
		})
	}
}

// With sync flush an answer waits until its record is on the disk, and so does the bell. WAIT=false does not wait,
// but its record cannot be read before.
func TestBatch_SyncFlush(t *testing.T) {
	r := open(t, syncFlush)
	r.stage(1, "a", true)
	r.stage(2, "b", false)
	r.stage(3, "a", true)
	r.commit()
	r.want("stored 1 in a", "stored 1 in b", "stored 1 in a", "2: ok b/0 at 100 uniq u2")
	r.flush(99)
	r.run()
	r.want()
	r.flush(200)
	r.want() // in a turn of the context, not in the store's goroutine
	r.flush(200)
	if len(r.peer.posts) != 1 {
		t.Errorf("%d turns were asked for, one is enough", len(r.peer.posts))
	}
	r.run()
	r.want("1: ok a/0 at 0 uniq u1", "bell a max 2", "bell b max 1")
	r.stage(4, "a", true)
	r.commit()
	r.want("stored 1 in a")
	r.flush(400)
	r.run()
	r.want("3: ok a/1 at 200 uniq u3", "4: ok a/2 at 300 uniq u4", "bell a max 3", "bell a max 3")
	if len(r.svc.waiting) != 0 {
		t.Error("a batch without parked answers still waits")
	}
	r.flush(400)
	if len(r.peer.posts) != 0 {
		t.Error("a context is woken for nothing")
	}
}

// A sync that ends before the batch waits for it rings for nobody; the batch looks by itself.
func TestBatch_SyncFlush_AtOnce(t *testing.T) {
	r := open(t, syncFlush)
	r.log.appended = func() { r.flush(r.log.end) }
	r.stage(1, "a", true)
	r.commit()
	r.want("stored 1 in a", "bell a max 1", "1: ok a/0 at 0 uniq u1")
	if len(r.svc.waiting) != 0 {
		t.Error("the batch waits for nothing")
	}
}

// Many parked answers come out once each, in order, with what belongs to them, however the flushed offset moves.
func TestBatch_SyncFlush_Many(t *testing.T) {
	r := open(t, syncFlush)
	var want []string
	opaque := int32(0)
	for step := range 200 {
		for range 50 {
			r.stage(opaque, "a", true)
			want = append(want, fmt.Sprintf("%d: ok a/%d at %d uniq u%d", opaque, opaque, opaque*100, opaque))
			opaque++
		}
		r.commit()
		if step%7 == 6 {
			r.flush(r.log.end - int64(100*(step%1500)))
			r.run()
		}
	}
	if len(r.batch.parked) > 8000 {
		t.Errorf("%d answers are kept", len(r.batch.parked))
	}
	r.flush(r.log.end)
	r.run()
	r.events = slices.DeleteFunc(r.events, func(e string) bool { return strings.HasPrefix(e, "bell") || strings.HasPrefix(e, "stored") })
	r.want(want...)
}

// Who has waited for the disk too long is told so, and the others wait on.
func TestBatch_SyncFlush_Timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, func(c *Config) { c.SyncFlush, c.FlushTimeout = true, time.Second })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.svc.Run(ctx) }()
		r.stage(1, "a", true)
		r.commit()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		r.run()
		r.stage(2, "a", true)
		r.commit()
		r.want("stored 1 in a", "stored 1 in a")
		time.Sleep(700 * time.Millisecond)
		synctest.Wait()
		r.run()
		r.want("1: disk timeout a/0 at 0 uniq u1")
		r.flush(200)
		r.run()
		r.want("2: ok a/1 at 100 uniq u2", "bell a max 2", "bell a max 2")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// After a failed sync nobody waits: what is not on the disk by then never will be.
func TestBatch_SyncFlush_Fence(t *testing.T) {
	r := open(t, syncFlush)
	r.stage(1, "a", true)
	r.commit()
	r.stage(2, "a", true)
	r.commit()
	r.want("stored 1 in a", "stored 1 in a")
	r.log.writable = fmt.Errorf("%w: broken disk", store.ErrFenced)
	r.log.refuse = r.log.writable
	r.flush(100)
	r.run()
	r.want("1: ok a/0 at 0 uniq u1", "2: disk timeout a/1 at 100 uniq u2", "bell a max 2")
	r.stage(3, "a", true)
	r.commit()
	r.want("3: refused: commit log is read-only after a disk error: broken disk uniq u3")
}

// Each error of the store has its answer.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int32
	}{
		{fmt.Errorf("%w: no space left", store.ErrDiskFull), protocol.ServiceNotAvailable},
		{fmt.Errorf("%w: I/O error", store.ErrFenced), protocol.ServiceNotAvailable},
		{store.ErrClosed, protocol.ServiceNotAvailable},
		{store.ErrTooLarge, protocol.MessageIllegal},
		{errors.New("anything else"), protocol.SystemError},
	} {
		if e := Refusal(c.err); e.Code != c.code || e.Remark == "" {
			t.Errorf("%v: code %d %q, want %d", c.err, e.Code, e.Remark, c.code)
		}
	}
}

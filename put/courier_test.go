package put

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/message"
	"rocketd/store"
)

// carry stages messages for queues of those names and commits them in a goroutine; what Commit said comes when it is done.
func (r *room) carry(ctx context.Context, names ...string) <-chan string {
	c := r.svc.NewCourier()
	for _, name := range names {
		d := draft(name)
		c.Stage(r.queue(name), &d, 7)
	}
	done := make(chan string, 1)
	go func() {
		placed, err := c.Commit(ctx, time.Now())
		said := ""
		for _, p := range placed {
			said += fmt.Sprintf("%s/%d at %d ", p.Queue.Topic(), p.Offset, p.Physical)
		}
		done <- said + fmt.Sprint(err)
	}()
	return done
}

func (r *room) said(done <-chan string, want string) {
	r.t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		if got != want {
			r.t.Errorf("got %q, want %q", got, want)
		}
	default:
		r.t.Errorf("Commit still waits, want %q", want)
	}
}

func (r *room) waits(done <-chan string) {
	r.t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		r.t.Errorf("Commit did not wait and said %q", got)
	default:
	}
}

// Without somebody to wait for, Commit appends all with one write, counts and rings once per run, and returns the places.
func TestCourier_Commit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, nil)
		r.said(r.carry(t.Context()), "<nil>")
		r.said(r.carry(t.Context(), "a", "a", "b"), "a/0 at 0 a/1 at 100 b/0 at 200 <nil>")
		r.want("stored 2 in a", "bell a max 2", "stored 1 in b", "bell b max 1")
	})
}

// A courier is ready for the next batch after each Commit, and after one that was refused nothing of it is left.
func TestCourier_Commit_Again(t *testing.T) {
	r := open(t, func(c *Config) { c.MaxGroup = 150 })
	c := r.svc.NewCourier()
	commit := func(name string, body int, want error) {
		t.Helper()
		d := draft(name)
		d.Body = make([]byte, body)
		c.Stage(r.queue(name), &d, 0)
		if placed, err := c.Commit(t.Context(), time.Now()); !errors.Is(err, want) || (err == nil) != (len(placed) == 1) {
			t.Errorf("%d placed, %v; want %v", len(placed), err, want)
		}
	}
	for _, want := range []error{store.ErrDiskFull, store.ErrFenced, store.ErrClosed} {
		r.log.refuse = want
		commit("a", 8, want)
	}
	r.log.refuse = nil
	d := draft("b")
	c.Stage(r.queue("b"), &d, 0)
	commit("a", 100, store.ErrTooLarge)
	r.want()
	commit("a", 8, nil)
	r.want("stored 1 in a", "bell a max 1")
	if c.log.Len() != 0 || c.Bytes() != 0 {
		t.Error("something is staged after Commit")
	}
}

// With SYNC_FLUSH, Commit and the bell wait for the disk.
func TestCourier_SyncFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, syncFlush)
		done := r.carry(t.Context(), "a", "a")
		r.waits(done)
		r.want("stored 2 in a")
		r.flush(100)
		r.waits(done)
		r.flush(200)
		r.said(done, "a/0 at 0 a/1 at 100 <nil>")
		r.want("bell a max 2")
		if len(r.svc.couriers) != 0 {
			t.Error("a courier that is done still waits")
		}
	})
}

// What was there before the courier stood in the table rang for nobody, and is seen all the same.
func TestCourier_SyncFlush_Overtaken(t *testing.T) {
	r := open(t, syncFlush)
	r.log.appended = func() { r.flush(100) }
	c, d := r.svc.NewCourier(), draft("a")
	c.Stage(r.queue("a"), &d, 0)
	if _, err := c.Commit(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
}

// Too slow a disk, too slow slaves, a fenced store, another role and a context that ends all leave the records stored, and
// say that nobody knows more.
func TestCourier_Unsafe(t *testing.T) {
	const at = "a/0 at 0 stored, but not known to be safe: "
	for _, c := range []struct {
		name string
		sync bool
		do   func(r *room, cancel func())
		want string
	}{
		{"disk", true, func(*room, func()) { time.Sleep(5 * time.Second) }, at + "the disk is late"},
		{"slaves", false, func(*room, func()) { time.Sleep(3 * time.Second) }, at + "the slaves are late"},
		{"fenced", true, func(r *room, _ func()) { r.log.writable = store.ErrFenced; r.svc.Flushed() }, at + "the slaves are late"},
		{"role", false, func(r *room, _ func()) { r.svc.SetReplicas(nil) }, at + "the slaves are late"},
		{"ended", false, func(_ *room, cancel func()) { cancel() }, at + "context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := withSlaves(t, c.sync)
				ctx, cancel := context.WithCancel(t.Context())
				run, stop := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan struct{})
				go func() { defer close(ended); _ = r.svc.Run(run) }()
				defer func() { stop(); <-ended }()
				if c.name == "disk" {
					f.acked.Store(100)
				}
				done := r.carry(ctx, "a")
				r.waits(done)
				c.do(r, cancel)
				time.Sleep(200 * time.Millisecond) // Run looks at the clock
				r.said(done, c.want)
			})
		})
	}
}

// Commit waits for slaves, and writes nothing if there are too few to wait for.
func TestCourier_Replicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := withSlaves(t, false)
		done := r.carry(t.Context(), "a")
		r.waits(done)
		r.ack(f, 100)
		r.said(done, "a/0 at 0 <nil>")
		r.want("stored 1 in a", "bell a max 1")
		refuse := errors.New("one of two")
		f.refuse.Store(&refuse)
		r.said(r.carry(t.Context(), "a"), "in-sync replicas not enough: one of two")
		r.want()
	})
}

// taker is another broker that takes so many records, and then none.
type taker struct {
	left  int
	taken []string
}

func (k *taker) take(_ context.Context, records [][]byte) (int, error) {
	for i, b := range records {
		r, err := message.Decode(b)
		if err != nil {
			return i, err
		}
		if k.left == 0 {
			return i, errors.New("no more")
		}
		k.left--
		k.taken = append(k.taken, string(r.Topic))
	}
	return len(records), nil
}

// What goes elsewhere is in no log, and who gave it learns how much of it was taken.
func TestCourier_Elsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &taker{left: 3}
		r := open(t, func(c *Config) { c.Elsewhere = k.take })
		r.said(r.carry(t.Context(), "a", "b"), "a/-1 at -1 b/-1 at -1 <nil>")
		r.said(r.carry(t.Context(), "c", "d"), "c/-1 at -1 no more")
		r.want()
		if got := fmt.Sprint(k.taken, r.log.end); got != "[a b c] 0" {
			t.Error(got)
		}
	})
}

// What turns stage goes there, too, and is answered in a later turn: what was not taken is refused. Where too much is under way
// it is refused at once.
func TestBatch_Elsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &taker{left: 2}
		r := open(t, func(c *Config) { c.Elsewhere = k.take })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.svc.Run(ctx) }()
		r.stage(1, "a", true)
		r.commit()
		r.want()
		synctest.Wait()
		if n := r.svc.Away(); n != 1 {
			t.Errorf("%d are away", n)
		}
		r.run()
		if n := r.svc.Away(); n != 0 {
			t.Errorf("%d are away", n)
		}
		r.want("1: ok a/-1 at -1 uniq u1")
		r.stage(2, "b", true)
		r.stage(3, "c", true)
		r.commit()
		synctest.Wait()
		r.run()
		r.want("2: ok b/-1 at -1 uniq u2", "3: refused: no more uniq u3")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for i := range maxAway {
			r.stage(int32(i), "a", true)
			r.commit()
		}
		r.want()
		r.stage(4, "a", true)
		r.commit()
		r.want("4: refused: this broker is a slave uniq u4")
	})
}

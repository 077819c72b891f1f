package pop

import (
	"context"
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// faulty are queues whose records of topic T are on the disk only until somebody waits for them, or cannot be read.
type faulty struct {
	Queues
	cold, unreadable bool
}

func (f *faulty) Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult) {
	dst, res := f.Queues.Get(q, r, dst)
	if q == nil || q.Topic() != "T" || res.Count == 0 {
		return dst, res
	}
	status := store.Unreadable
	switch {
	case !r.NoWait && f.cold:
		f.cold = false
		return dst, res
	case f.cold:
		status = store.OnDisk
	case !f.unreadable:
		return dst, res
	}
	return dst[:0], store.ReadResult{Status: status, Next: r.From, Min: res.Min, Max: res.Max}
}

func newFaulty(t *testing.T, cfg func(*Config)) (*desk, *faulty) {
	f := new(faulty)
	return newDesk(t, func(c *Config) {
		f.Queues, c.Queues = c.Queues, f
		if cfg != nil {
			cfg(c)
		}
	}), f
}

// What is on the disk only is read on the pool, and the pop is served then. Who waits is told to ask again.
func TestService_Pop_OnDisk(t *testing.T) {
	d, f := newFaulty(t, nil)
	d.send("T", 0, "a", "b")
	f.cold = true
	want(t, "pop", bodies(d.pop()), "a b")
	want(t, "read", f.cold, false)
	if a := d.ask("pollTime=5000"); a != nil {
		t.Fatalf("not held: %+v", a)
	}
	f.cold = true
	held := d.opaque
	d.send("T", 0, "c")
	if a := d.answer(held); a == nil || a.Code != protocol.PollingTimeout {
		t.Fatalf("who waits: %+v", a)
	}
	want(t, "who asks again", bodies(d.pop()), "c")
}

// A message that cannot be read is tried again later, after ever longer waits.
func TestService_Revive_Unreadable(t *testing.T) {
	d, f := newFaulty(t, nil)
	d.send("T", 0, "a", "b")
	list := d.pop()
	d.ack(list[0])
	f.unreadable = true
	d.pass(15 * time.Second)
	want(t, "unreadable", bodies(d.pop()), "")
	f.unreadable = false
	d.pass(4900 * time.Millisecond)
	want(t, "before 10 s more", bodies(d.pop()), "")
	d.pass(300 * time.Millisecond)
	want(t, "after them", bodies(d.pop()), "b")
	d.pass(5 * time.Second)
	want(t, "once", bodies(d.pop()), "")
}

// After the last wait a message that cannot be read is given up where that is wanted.
func TestService_Revive_GivenUp(t *testing.T) {
	for _, skip := range []bool{false, true} {
		d, f := newFaulty(t, func(c *Config) { c.SkipManyRePuts = skip })
		d.send("T", 0, "a")
		d.pop()
		f.unreadable = true
		for i := range len(rePutAfter) + 3 {
			d.now = d.now.Add(3 * time.Hour)
			d.revive.expire(context.Background(), d.now)
			left := int64(1)
			if skip && i >= len(rePutAfter) {
				left = 0
			}
			want(t, "in memory", d.svc.live.Load(), left)
		}
	}
}

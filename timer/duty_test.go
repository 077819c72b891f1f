package timer

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/message"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// A slave reads the topic as far as its master has, and delivers nothing. When it gets the duty it delivers what its master
// had not, and no longer when the duty goes.
func TestService_Duty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(5), options{slave: true})
		want := make(map[string]expected)
		send := func(from, n int) {
			for i := from; i < from+n; i++ {
				at := time.Now().UnixMilli() + 1500 + int64(i%40)*97
				must(t, w.timed(keyOf(i), at))
				want[keyOf(i)] = expected{at, true, false}
			}
		}
		send(0, 50)
		wire := make([]byte, 56)
		binary.BigEndian.PutUint64(wire, uint64(time.Now().UnixMilli()))
		binary.BigEndian.PutUint64(wire[24:], 30)
		must(t, w.carried.TimerCheckpoint.Put(wire))
		time.Sleep(10 * time.Second)
		if st := w.timers.Status(); st.Behind != 20 || st.ReadMs != 0 || len(w.arrivals()) != 0 {
			t.Fatalf("%+v, %d delivered", st, len(w.arrivals()))
		}
		if word := binary.BigEndian.Uint64(w.carried.TimerCheckpoint.Bytes()[16:]); word != 30 {
			t.Errorf("the slave says that it has read up to %d", word)
		}
		w.serve()
		time.Sleep(10 * time.Second)
		check(t, "after the duty came", want, w.arrivals(), 11_000)
		must(t, w.duty.Stop())
		n := len(w.arrivals())
		send(100, 40)
		time.Sleep(10 * time.Second)
		if len(w.arrivals()) != n {
			t.Fatal("delivered without a duty")
		}
		w.serve()
		time.Sleep(10 * time.Second)
		check(t, "after it came again", want, w.arrivals(), 11_000)
	})
}

// moody is a courier that fails.
type moody struct {
	Courier
	svc    *put.Service
	full   atomic.Bool
	staged [][]byte
}

func (m *moody) Stage(q *consumequeue.Queue, d *message.Draft, tag int64) {
	key, _ := message.Property(d.Properties, message.PropUniqKey)
	m.staged = append(m.staged, key)
	m.Courier.Stage(q, d, tag)
}

func (m *moody) Commit(ctx context.Context, now time.Time) ([]put.Placed, error) {
	staged := m.staged
	m.staged = nil
	if m.full.Load() {
		m.drop()
		return nil, store.ErrDiskFull
	}
	for _, key := range staged {
		if string(key) == "BAD" {
			m.drop()
			return nil, fmt.Errorf("%w: for a test", store.ErrTooLarge)
		}
	}
	return m.Courier.Commit(ctx, now)
}

// drop leaves what is staged.
func (m *moody) drop() { m.Courier = m.svc.NewCourier() }

// While nothing can be stored, messages wait, and come when it can; one that never can is dropped alone.
func TestService_Failures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(6), options{slave: true})
		m := &moody{Courier: w.put.NewCourier(), svc: w.put}
		m.full.Store(true)
		w.timers.cfg.Courier = m
		w.serve()
		want := make(map[string]expected)
		at := time.Now().UnixMilli() + 1500
		for _, key := range []string{"A", "B", "BAD", "C", "D"} {
			must(t, w.timed(key, at))
			want[key] = expected{at, key != "BAD", false}
		}
		time.Sleep(5 * time.Second)
		if n := len(w.arrivals()); n != 0 {
			t.Fatal(n)
		}
		m.full.Store(false)
		time.Sleep(time.Second)
		check(t, "after the failure", want, w.arrivals(), 5000)
		w.stop()
		if len(w.logs.list) != 2 {
			t.Error(w.logs.list)
		}
	})
}

// The end of a duty does not wait for a service that has ended meanwhile.
func TestService_EndsWhileDutyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(7), options{})
		second := (time.Now().UnixMilli()/1000 + 3) * 1000
		must(t, w.timed("A", second+100))
		must(t, w.timed("B", second+900))
		time.Sleep(time.Until(time.UnixMilli(second + 500)))
		if n := len(w.arrivals()); n != 1 {
			t.Fatal(n)
		}
		ended := make(chan error, 1)
		go func() { ended <- w.duty.Stop() }()
		time.Sleep(100 * time.Millisecond) // halfway through a moment, the duty goes on
		if len(ended) != 0 {
			t.Fatal("ended at once")
		}
		must(t, w.below.Stop())
		synctest.Wait()
		if len(ended) != 1 {
			t.Fatal("the duty did not end")
		}
	})
}

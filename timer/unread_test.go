package timer

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/put"
)

// While the disk does not give the commit log, timed messages that are due wait, whether it fails before or after they are made
// ready. When it does again they come, once, and what was recalled does not. It is said once.
func TestService_Unreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		disk := &vfs.Faulty{FS: newDisk(8), NoMap: true, Fail: func(op vfs.Op, name string) error {
			if op == vfs.OpRead && broken.Load() && strings.Contains(name, "commitlog") {
				return syscall.EIO
			}
			return nil
		}}
		w := open(t, disk, options{hot: 1})
		want := make(map[string]expected)
		at := (time.Now().UnixMilli()/1000 + 10) * 1000
		for i := range 30 {
			ms := at + int64(i)*100
			must(t, w.timed(keyOf(i), ms))
			want[keyOf(i)] = expected{ms, true, false}
		}
		out := at + 1500
		must(t, w.timed("RECALLED", out))
		want["RECALLED"] = expected{out, true, true}
		must(t, w.timed("RECALL", out, message.PropTimerDelUniqkey, "RECALLED"))
		time.Sleep(time.Until(time.UnixMilli(at - 3000)))
		broken.Store(true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(w.logs.list); n != 1 {
			t.Errorf("%d complaints: %q", n, w.logs.list)
		}
		broken.Store(false)
		if n := len(w.arrivals()); n != 0 {
			t.Fatalf("%d came from a broken disk", n)
		}
		time.Sleep(20 * time.Second)
		check(t, "after the outage", want, w.arrivals(), 40_000)
	})
}

// A log that is another broker's is asked a few times only, and the duty ends at once all the same.
func TestService_Copy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(9), options{slave: true})
		m := &refusing{Courier: w.put.NewCourier(), svc: w.put}
		w.timers.cfg.Courier = m
		w.serve()
		must(t, w.timed("A", time.Now().UnixMilli()+1500))
		time.Sleep(time.Minute)
		if n := m.tries.Load(); n < 2 || n > 7 {
			t.Errorf("%d tries in a minute", n)
		}
		before := time.Now()
		must(t, w.duty.Stop())
		if took := time.Since(before); took > leaveGrace+time.Second {
			t.Errorf("the duty ended after %v", took)
		}
		if len(w.arrivals()) != 0 {
			t.Error("something was stored")
		}
	})
}

// refusing is the courier of a slave for which nobody takes anything.
type refusing struct {
	Courier
	svc   *put.Service
	tries atomic.Int32
}

func (r *refusing) Commit(context.Context, time.Time) ([]put.Placed, error) {
	r.tries.Add(1)
	r.Courier = r.svc.NewCourier()
	return nil, put.ErrCopy
}

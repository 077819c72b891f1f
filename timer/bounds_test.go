package timer

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/message"
	"rocketd/timer/wheel"
)

// Messages that are overdue and recalled take no memory, how ever many they are.
func TestService_Recalled_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(9), options{slave: true, slots: 64, window: 4, fileLen: 1 << 20, logLen: 16 << 20})
		at := time.Now().UnixMilli() + 1500
		const n, size = 3000, 2000
		for i := range n {
			must(t, w.timed(keyOf(i), at, "fill", string(make([]byte, size))))
			must(t, w.timed("recall of "+keyOf(i), at, message.PropTimerDelUniqkey, keyOf(i)))
		}
		must(t, w.timed("GOOD", at))
		time.Sleep(5 * time.Second)
		w.serve()
		time.Sleep(5 * time.Second)
		check(t, "beside recalled ones", map[string]expected{"GOOD": {at, true, false}}, w.arrivals(), 10_000)
		w.stop()
		if c := cap(w.timers.scratch); c > 10*size {
			t.Errorf("%d bytes are held", c)
		}
	})
}

// What a damaged wheel says of how many messages a slot has costs nothing.
func TestPlan_Load_Count(t *testing.T) {
	l, err := wheel.OpenLog(crashfs.New(crashfs.Options{Map: true}), "log", 1000, 0, func(int64, *wheel.Unit) bool { return true })
	must(t, err)
	defer l.Close()
	w := wheel.New(64, 1000)
	w.Add(12_500, 0, 1<<30)
	p := newPlan(w, l, 4000, 10_000, 0)
	for i := range int64(3) {
		p.Take(&Timed{Offset: i, Physical: i * 100, Size: 100, OutMs: 12_500}, 10_000, true)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p.Load(12_000)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; len(p.items) != 3 || n > 1<<20 {
		t.Errorf("%d messages, %d bytes", len(p.items), n)
	}
}

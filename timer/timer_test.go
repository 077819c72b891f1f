package timer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/message"
	"rocketd/timer/wheel"
)

// Messages come at their millisecond, whether they are near or beyond the wheel's window, and carry Java's properties.
func TestService_Delivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(1), options{window: 60})
		rng := newRand(1)
		want := make(map[string]expected)
		for i := range 500 {
			at := time.Now().UnixMilli() + 1 + rng.Int64N(200_000)
			if i%2 == 0 {
				at = time.Now().UnixMilli() + 1 + rng.Int64N(3000)
			}
			must(t, w.timed(keyOf(i), at))
			want[keyOf(i)] = expected{at, true, false}
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		}
		time.Sleep(210 * time.Second)
		got := w.arrivals()
		check(t, "all", want, got, 5)
		for _, a := range got {
			for _, name := range []string{"REAL_TOPIC\x01T\x02", "REAL_QID\x010\x02", "TIMER_OUT_MS\x01", "TIMER_ENQUEUE_MS\x01", "TIMER_DEQUEUE_MS\x01", "TIMER_DELIVER_MS\x01"} {
				if strings.Count(a.props, name) != 1 {
					t.Fatalf("%q", a.props)
				}
			}
			if rolled := strings.Contains(a.props, "TIMER_ROLL_TIMES"); rolled && strings.Count(a.props, "TIMER_ROLL_TIMES\x01") != 1 {
				t.Fatalf("%q", a.props)
			}
		}
		if counts := string(w.carried.TimerMetrics.Bytes()); !strings.Contains(counts, `"T":{"count":0,`) {
			t.Error(counts)
		}
		time.Sleep(idle - time.Millisecond) // nobody has looked since
		if st := w.timers.Status(); st.ReadMs < time.Now().UnixMilli() || st.Behind != 0 || st.Waiting != 0 || st.Delivered < 500 || st.Taken < 500 {
			t.Errorf("%+v", st)
		}
		w.stop()
		if len(w.logs.list) != 0 {
			t.Error(w.logs.list)
		}
	})
}

// What Java rounded down to its moment is not early: it comes at the end of the moment.
func TestService_Rounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(1), options{})
		at := time.Now().UnixMilli() + 5000
		props := message.AppendProperty(nil, message.PropUniqKey, []byte("J"))
		must(t, w.raw(message.AppendTimed(nil, props, []byte("T"), 0, at)))
		time.Sleep(10 * time.Second)
		check(t, "rounded", map[string]expected{"J": {at + 1000, true, false}}, w.arrivals(), 5)
		w.stop()
	})
}

// A recall takes back its message, in both forms of its key, and no other; it is never delivered, nor if it finds nothing.
func TestService_Recalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(1), options{window: 60})
		start := time.Now().UnixMilli()
		want := make(map[string]expected)
		send := func(key string, after int64, recall string) {
			must(t, w.timed(key, start+after))
			want[key] = expected{start + after, true, recall != ""}
			if recall != "" {
				must(t, w.timed("recall of "+key, start+after, message.PropTimerDelUniqkey, recall))
			}
		}
		send("A", 700, "A")
		send("B", 700, "")
		send("C", 20_500, "T+C")
		send("D", 20_500, "")
		send("E", 150_100, "E") // rolled, and its recall too
		send("F", 150_100, "")
		must(t, w.timed("recall of nothing", start+30_000, message.PropTimerDelUniqkey, "nobody"))
		send("G", 40_000, "")
		time.Sleep(39_990 * time.Millisecond) // G is at hand
		must(t, w.timed("recall of G", start+40_000, message.PropTimerDelUniqkey, "G"))
		want["G"] = expected{start + 40_000, true, true}
		time.Sleep(200 * time.Second)
		check(t, "recalls", want, w.arrivals(), 5)
		if counts := string(w.carried.TimerMetrics.Bytes()); !strings.Contains(counts, `"T":{"count":0,`) {
			t.Error(counts)
		}
		w.stop()
	})
}

// A clean stop ends between two moments, and the next start goes on there, whoever makes it.
func TestService_Restart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(3)
		want := make(map[string]expected)
		rng := newRand(3)
		for round := range 8 {
			w := open(t, disk, options{window: 60})
			for i := range 100 {
				key := keyOf(round*100 + i)
				at := time.Now().UnixMilli() + 1 + rng.Int64N(20_000)
				must(t, w.timed(key, at))
				want[key] = expected{at, true, false}
				time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
			}
			w.stop()
			if len(w.logs.list) != 0 {
				t.Error(w.logs.list)
			}
			if w.timers.plan.Halfway() && w.timers.plan.doneMs != -1 {
				t.Error("stopped in the middle of a moment")
			}
		}
		w := open(t, disk, options{window: 60})
		time.Sleep(30 * time.Second)
		check(t, "restarts", want, w.arrivals(), 3000)
		w.stop()
	})
}

// After eight days everything that waited comes, and so does what is sent then.
func TestService_DownForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newDisk(4)
		o := options{slots: wheel.Slots / 90, window: 4000} // a wheel of less than two hours, down for two turns of it
		o.slots -= o.slots % 64
		w := open(t, disk, o)
		want := make(map[string]expected)
		for i := range 200 {
			at := time.Now().UnixMilli() + int64(i)*15_000 + 1500
			must(t, w.timed(keyOf(i), at))
			want[keyOf(i)] = expected{at, true, false}
		}
		time.Sleep(100 * time.Millisecond)
		w.stop()
		time.Sleep(8 * 24 * time.Hour)
		w = open(t, disk, o)
		for i := range 50 {
			at := time.Now().UnixMilli() + int64(i)*70_000 + 500
			must(t, w.timed(keyOf(1000+i), at))
			want[keyOf(1000+i)] = expected{at, true, false}
		}
		time.Sleep(2 * time.Hour)
		check(t, "after days", want, w.arrivals(), 9*24*3600_000)
		w.stop()
	})
}

// A message that says no time or no place is dropped with a word, and holds up nothing.
func TestService_Nowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(1), options{})
		at := time.Now().UnixMilli() + 2500
		must(t, w.raw([]byte("UNIQ_KEY\x01X\x02REAL_TOPIC\x01T\x02REAL_QID\x010\x02")))
		must(t, w.raw([]byte("UNIQ_KEY\x01Y\x02TIMER_OUT_MS\x015\x02")))
		must(t, w.timed("A", at))
		time.Sleep(5 * time.Second)
		check(t, "behind them", map[string]expected{"A": {at, true, false}}, w.arrivals(), 5)
		w.stop()
		if n := strings.Count(strings.Join(w.logs.list, "\n"), "timed message dropped"); n != 2 || len(w.logs.list) != 2 {
			t.Error(w.logs.list)
		}
	})
}

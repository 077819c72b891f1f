package timer

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/topic"
)

// stage stores n messages of 128 bytes that are due at the times of due.
func (w *world) stage(n int, due func(i int) int64) {
	body := make([]byte, 128)
	q := w.store.Queue(topic.Timer, 0)
	var buf []byte
	for i := range n {
		d := message.Draft{Topic: []byte("T"), Body: body, Properties: append([]byte("UNIQ_KEY\x01"), keyOf(i)...), BornMs: 1, BornHost: host, StoreHost: host, QueueID: int32(i % 8)}
		_, buf = message.DivertTimed(&d, due(i), 1000, buf[:0])
		w.send.Stage(q, &d, 0)
		if i%1000 == 999 || i == n-1 {
			_, err := w.send.Commit(context.Background(), time.Now())
			must(w.t, err)
		}
	}
}

func (w *world) wait(what string, done func() bool) {
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: %+v", what, w.timers.Status())
		}
	}
}

func openOS(t testing.TB, dir string) *world {
	return open(t, vfs.OS, options{dir: dir, slots: 7 * 86400, window: 172800, fileLen: 100 << 20, logLen: 1 << 30, hot: 2 << 30})
}

// How many messages a second come from the topic into the wheel.
func BenchmarkService_Enqueue(b *testing.B) {
	w := openOS(b, b.TempDir())
	later := time.Now().Add(time.Hour).UnixMilli()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		w.stage(1000, func(i int) int64 { return later + int64(n*7+i) })
		n += 1000
		w.wait("taken", func() bool { return w.timers.Status().Taken >= int64(n) })
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
}

// How late messages are of which 100,000 are due within one second, and at one moment.
func BenchmarkService_Lateness(b *testing.B) {
	for name, spread := range map[string]int64{"second": 1000, "moment": 1} {
		b.Run(name, func(b *testing.B) {
			const n = 100_000
			var late []int64
			for b.Loop() {
				w := openOS(b, b.TempDir())
				at := time.Now().Add(4*time.Second).UnixMilli()/1000*1000 + 1
				w.stage(n, func(i int) int64 { return at + int64(i)%spread })
				w.wait("delivered", func() bool { return w.timers.Status().Delivered >= n })
				late = late[:0]
				for id := range int32(8) {
					for _, a := range w.messages("T", id, 0) {
						out, _ := message.Property([]byte(a.props), message.PropTimerOutMs)
						ms, err := strconv.ParseInt(string(out), 10, 64)
						must(b, err)
						late = append(late, a.ms-message.TimerDue(ms, 1000))
					}
				}
				w.stop()
			}
			slices.Sort(late)
			if late[0] < 0 {
				b.Fatalf("%d ms early", -late[0])
			}
			for name, at := range map[string]int{"p50-ms": n / 2, "p99-ms": n * 99 / 100, "max-ms": n - 1} {
				b.ReportMetric(float64(late[at]), name)
			}
		})
	}
}

// A million messages wait: what they take in memory, and how long a start takes.
func BenchmarkService_Million(b *testing.B) {
	dir := b.TempDir()
	w := openOS(b, dir)
	later := time.Now().Add(time.Hour).UnixMilli()
	w.stage(1_000_000, func(i int) int64 { return later + int64(i)*80 })
	w.wait("taken", func() bool { return w.timers.Status().Taken >= 1_000_000 })
	w.stop()
	w = nil
	for b.Loop() {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		w := openOS(b, dir)
		w.wait("serving", func() bool { return w.timers.Status().ReadMs > 0 })
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/start")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e6, "MB")
		if n := w.timers.Status().Waiting; n != 1_000_000 {
			b.Fatal(n)
		}
		w.stop()
	}
}

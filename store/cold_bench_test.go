package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rocketd/store/consumequeue"
)

// BenchmarkCold reads 1 GiB of 1 KB messages in 4 queues, 32 at a time and one read of each queue on its way, after the
// system was told to drop them from its memory, while an I/O loop appends 100,000 a second. As in the broker, the loop
// asks with NoWait and other goroutines read what the loop would have to wait for. One op is the whole; read-MB/s is the
// readers' rate, and disk-MB/s that of plain reads of 1 MiB of the same files before; alone-/beside-msg/s is what the
// loop appends without and with the readers, and the times are those of its turns.
//
//	go test ./store -run '^$' -bench Cold -benchtime 3x
func BenchmarkCold(b *testing.B) {
	const size, total = 1024, 1 << 20
	dir := b.TempDir()
	cfg := Config{Dir: dir, FileSize: 256 << 20, Log: slog.New(slog.DiscardHandler)}
	s, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	var qs [5]*consumequeue.Queue
	for i := range qs {
		qs[i] = s.Queue("topic", int32(i))
	}
	d := draft("topic", 0, string(make([]byte, size)))
	var batch Batch
	send := func(first, n int, now time.Time) {
		for i := range n {
			d.QueueID = int32(first + i%4*(4-first)/4)
			batch.Add(qs[d.QueueID], d, 7)
		}
		if err := s.Append(&batch, now); err != nil {
			b.Fatal(err)
		}
		batch.Reset()
	}
	for range total / 64 {
		send(0, 64, time.Now())
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var disk, read, alone, beside float64
	var lapsAlone, lapsBeside []time.Duration
	for b.Loop() {
		drop(b, dir)
		disk += plainRead(b, dir)
		drop(b, dir)
		if s, err = Open(cfg); err != nil {
			b.Fatal(err)
		}
		for i := range qs {
			qs[i] = s.Queue("topic", int32(i))
		}
		stop := run(b, s)
		// The loop appends to queue 4, and looks at what the readers want.
		type pull struct {
			queue  int
			from   int64
			answer chan ReadResult
		}
		pulls, offload := make(chan pull, 4), make(chan pull, 4)
		loop := func(until func() bool) (rate float64, laps []time.Duration) {
			began, n := time.Now(), 0
			var dst []byte
			for !until() {
				turn := time.Now()
				if due := int(turn.Sub(began) * 100_000 / time.Second); due-n >= 16 {
					send(4, 16, turn)
					n += 16
				}
				for len(pulls) > 0 {
					p := <-pulls
					var res ReadResult
					if dst, res = s.Get(qs[p.queue], Read{From: p.from, Max: 32, NoWait: true}, dst[:0]); res.Status == OnDisk {
						offload <- p
					} else {
						p.answer <- res
					}
				}
				laps = append(laps, time.Since(turn))
				runtime.Gosched()
			}
			return float64(n) / time.Since(began).Seconds(), laps
		}
		for range 4 {
			go func() {
				var dst []byte
				var res ReadResult
				for p := range offload {
					dst, res = s.Get(qs[p.queue], Read{From: p.from, Max: 32}, dst[:0])
					p.answer <- res
				}
			}()
		}
		start := time.Now()
		rate, laps := loop(func() bool { return time.Since(start) > 2*time.Second })
		alone += rate
		lapsAlone = append(lapsAlone, laps...)

		var bytes, busy atomic.Int64
		busy.Store(4)
		began := time.Now()
		for q := range 4 {
			go func() {
				defer busy.Add(-1)
				answer := make(chan ReadResult, 1)
				for from := int64(0); from < total/4; {
					pulls <- pull{q, from, answer}
					res := <-answer
					if res.Status != Found {
						b.Errorf("queue %d at %d: %+v", q, from, res)
						return
					}
					bytes.Add(int64(res.Bytes))
					from = res.Next
				}
			}()
		}
		rate, laps = loop(func() bool { return busy.Load() == 0 })
		beside += rate
		lapsBeside = append(lapsBeside, laps...)
		read += float64(bytes.Load()) / time.Since(began).Seconds() / 1e6
		close(offload)
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N)
	b.ReportMetric(disk/n, "disk-MB/s")
	b.ReportMetric(read/n, "read-MB/s")
	b.ReportMetric(alone/n, "alone-msg/s")
	b.ReportMetric(beside/n, "beside-msg/s")
	for name, laps := range map[string][]time.Duration{"alone": lapsAlone, "beside": lapsBeside} {
		slices.Sort(laps)
		b.ReportMetric(float64(laps[len(laps)*9999/10000].Microseconds()), name+"-p9999-µs")
		b.ReportMetric(float64(laps[len(laps)-1].Microseconds()), name+"-max-µs")
	}
}

// logFiles are those that were written first.
func logFiles(b *testing.B, dir string) []string {
	names, err := filepath.Glob(filepath.Join(dir, "commitlog", "0*"))
	if err != nil || len(names) < 4 {
		b.Fatal(names, err)
	}
	return names[:4]
}

// drop has the system forget the files of a store.
func drop(b *testing.B, dir string) {
	syscall.Sync()
	for _, name := range logFiles(b, dir) {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		const dontNeed = 4
		if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); e != 0 {
			b.Fatal(e)
		}
		_ = f.Close()
	}
}

// plainRead returns the rate at which the files can be read.
func plainRead(b *testing.B, dir string) float64 {
	buf := make([]byte, 1<<20)
	began, bytes := time.Now(), 0
	for _, name := range logFiles(b, dir) {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		for {
			n, err := f.Read(buf)
			if bytes += n; err != nil {
				break
			}
		}
		_ = f.Close()
	}
	return float64(bytes) / time.Since(began).Seconds() / 1e6
}

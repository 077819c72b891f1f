package ha

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/store"
)

// benchPair is a master and a slave with stores on the disk, in one process, over loopback.
type benchPair struct {
	from, to *store.Store
	master   *Master
	slave    *Slave
	progress chan struct{}
	end      func()
}

func newBenchPair(b *testing.B, fileSize int64, fill func(s *store.Store)) *benchPair {
	b.Helper()
	quiet := slog.New(slog.DiscardHandler)
	open := func() *store.Store {
		s, err := store.Open(store.Config{Dir: b.TempDir(), FileSize: fileSize, Log: quiet})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	p := &benchPair{from: open(), to: open(), progress: make(chan struct{}, 1)}
	var err error
	p.master, err = Listen(MasterConfig{Log: p.from, Addr: "127.0.0.1:0", Logger: quiet, Progress: func() {
		select {
		case p.progress <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	p.slave = NewSlave(SlaveConfig{Log: p.to, Logger: quiet, MasterMin: func(context.Context) (int64, error) { return p.from.MinPhysical(), nil }})
	if fill != nil {
		fill(p.from)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{p.from.Run, p.to.Run, p.master.Run, p.slave.Run} {
		wg.Go(func() { _ = run(ctx) })
	}
	p.end = func() {
		cancel()
		wg.Wait()
		if err := p.from.Close(); err != nil {
			b.Error(err)
		}
		if err := p.to.Close(); err != nil {
			b.Error(err)
		}
	}
	return p
}

// wait waits until the slave has acknowledged the log up to a position.
func (p *benchPair) wait(end int64) {
	for p.master.Acked(1) < end {
		<-p.progress
	}
}

// benchDraft is a message with a body of 1 KiB.
func benchDraft() message.Draft {
	return message.Draft{Topic: []byte("topic"), Body: bytes.Repeat([]byte{'x'}, 1024),
		Properties: []byte("UNIQ_KEY\x017F00000100002A139A\x02TAGS\x01a\x02"), BornHost: testHost, StoreHost: testHost}
}

// Each operation is a message that the slave has acknowledged, with so many on the way at once: what was acknowledged is
// followed by as many new ones, as one batch.
func BenchmarkSync(b *testing.B) {
	for _, inFlight := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(inFlight), func(b *testing.B) {
			p := newBenchPair(b, 1<<30, nil)
			defer p.end()
			p.slave.SetMaster(p.master.Addr().String())
			q := p.from.Queue("topic", 0)
			d := benchDraft()
			var batch store.Batch
			type sent struct {
				end int64
				at  time.Time
			}
			var window []sent
			var took []time.Duration
			send := func(n int) {
				batch.Reset()
				for range n {
					batch.Add(q, &d, 1)
				}
				now := time.Now()
				if err := p.from.Append(&batch, now); err != nil {
					b.Fatal(err)
				}
				p.master.Grew()
				for i := range n {
					window = append(window, sent{batch.At(i).Physical + int64(batch.At(i).Size), now})
				}
			}
			send(1)
			p.wait(p.from.MaxPhysical())
			window = window[:0]
			b.ResetTimer()
			b.SetBytes(int64(d.Size()))
			for done := 0; done < b.N; {
				if n := min(inFlight-len(window), b.N-done-len(window)); n > 0 {
					send(n)
				}
				p.wait(window[0].end)
				acked, now := p.master.Acked(1), time.Now()
				for len(window) > 0 && window[0].end <= acked {
					took = append(took, now.Sub(window[0].at))
					window = window[1:]
					done++
				}
			}
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// An empty slave gets a log that is there.
func BenchmarkCatchUp(b *testing.B) {
	const total = 512 << 20
	for b.Loop() {
		b.StopTimer()
		p := newBenchPair(b, 128<<20, func(s *store.Store) {
			var batch store.Batch
			d := benchDraft()
			for s.MaxPhysical() < total {
				batch.Reset()
				for i := range 1000 {
					d.QueueID = int32(i % 4)
					batch.Add(s.Queue("topic", d.QueueID), &d, 1)
				}
				if err := s.Append(&batch, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.SetBytes(p.from.MaxPhysical())
		b.StartTimer()
		p.slave.SetMaster(p.master.Addr().String())
		p.wait(p.from.MaxPhysical())
		b.StopTimer()
		p.end()
		b.StartTimer()
	}
}

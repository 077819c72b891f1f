package put

import (
	"fmt"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// benchLog gives records their places and does nothing else.
type benchLog struct {
	end, flushed int64
	sync         bool
	confirm      func() int64
}

func (l *benchLog) Append(b *store.Batch, _ time.Time) error {
	for i := range b.Len() {
		e := b.At(i)
		e.Physical = l.end
		l.end += int64(e.Size)
	}
	return nil
}
func (l *benchLog) MaxPhysical() int64 { return l.end }
func (l *benchLog) Flushed() int64     { return l.flushed }
func (l *benchLog) Writable() error    { return nil }
func (l *benchLog) Visible() int64 {
	end := l.end
	if l.sync {
		end = l.flushed
	}
	return min(end, l.confirm())
}

// What put costs a message, from Stage to its answer, with n in flight in turns of 16: with nobody to wait for, and where the
// answers are parked until a bell.
func BenchmarkBatch(b *testing.B) {
	for _, mode := range []struct {
		name         string
		sync, slaves bool
	}{{"async", false, false}, {"flush", true, false}, {"slaves", false, true}, {"both", true, true}} {
		for _, n := range []int{16, 256} {
			b.Run(fmt.Sprintf("%s/inflight=%d", mode.name, n), func(b *testing.B) {
				f, log := new(fakeReplicas), &benchLog{sync: mode.sync}
				var svc *Service
				log.confirm = func() int64 { return svc.Confirmed() }
				cfg := Config{Log: log, SyncFlush: mode.sync, Grew: func(*protocol.Turn, *consumequeue.Queue) {},
					Stored: func(*consumequeue.Queue, int, int) {}}
				if mode.slaves {
					cfg.Replicas = f
				}
				svc = New(cfg)
				batch, p := svc.NewBatch(), &peer{posts: make([]func(*protocol.Turn), 0, 8)}
				q := consumequeue.NewSet(vfs.OS, b.TempDir(), 20000, 1).New("a", 0)
				answers := 0
				answer := func(*protocol.Turn, protocol.Ticket, *Outcome) { answers++ }
				turn, d, uniq := &protocol.Turn{Now: time.Now()}, draft("a"), make([]byte, 32)
				round := func() {
					for range n / 16 {
						for range 16 {
							batch.Stage(q, &d, 0, true, uniq, protocol.Ticket{Peer: p}, answer)
						}
						batch.Commit(turn)
					}
					log.flushed = log.end
					svc.Flushed()
					f.acked.Store(log.end)
					svc.Flushed()
					for _, fn := range p.posts {
						fn(turn)
					}
					p.posts = p.posts[:0]
				}
				round()
				answers = 0
				b.ReportAllocs()
				rounds := 0
				for b.Loop() {
					round()
					rounds++
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*n), "ns/msg")
				if answers != rounds*n {
					b.Fatalf("%d answers to %d messages", answers, rounds*n)
				}
			})
		}
	}
}

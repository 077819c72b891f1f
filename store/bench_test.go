package store

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"rocketd/store/consumequeue"
)

func benchStore(b *testing.B) *Store {
	cfg := Config{Dir: b.TempDir(), FileSize: 256 << 20, Log: slog.New(slog.DiscardHandler)}
	s, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	stop := run(b, s)
	b.Cleanup(func() {
		if err := stop(); err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// Append of 16 messages to 8 queues: encode, checksum, one write, units. One op is one message.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := benchStore(b)
			var qs [8]*consumequeue.Queue
			for i := range qs {
				qs[i] = s.Queue("topic", int32(i))
			}
			d := draft("topic", 0, string(make([]byte, size)))
			var batch Batch
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				d.QueueID = int32(n % 8)
				batch.Add(qs[n%8], d, 7)
				if batch.Len() == 16 {
					if err := s.Append(&batch, time.Now()); err != nil {
						b.Fatal(err)
					}
					batch.Reset()
				}
			}
		})
	}
}

// Get of 32 messages that are in memory, from the tail of the queue and from its file. One op is one Get.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{128, 1024} {
		for _, where := range []string{"tail", "file"} {
			b.Run(fmt.Sprintf("%d/%s", size, where), func(b *testing.B) {
				s := benchStore(b)
				q := s.Queue("topic", 0)
				d := draft("topic", 0, string(make([]byte, size)))
				var batch Batch
				for range 3200 {
					batch.Add(q, d, 7)
				}
				if err := s.Append(&batch, time.Now()); err != nil {
					b.Fatal(err)
				}
				from := int64(3200 - 512)
				if where == "file" {
					from = 0
					s.writing.Lock()
					if err := s.writeDirty(); err != nil {
						b.Fatal(err)
					}
					s.queues.Quiet(q, 0)
					s.writing.Unlock()
				}
				dst := make([]byte, 0, 64<<10)
				b.SetBytes(32 * int64(batch.At(0).Size))
				b.ReportAllocs()
				for n := int64(0); b.Loop(); n++ {
					out, res := s.Get(q, Read{From: from + n%16*32, Max: 32, MaxBytes: 256 << 10}, dst[:0])
					if res.Count != 32 {
						b.Fatalf("%+v", res)
					}
					dst = out
				}
			})
		}
	}
}

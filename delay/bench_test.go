package delay

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// What a message costs from its queue of the delay topic to its own topic, many being due.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{128, 4096} {
		b.Run(fmt.Sprint("body=", size), func(b *testing.B) {
			levels, _ := message.ParseDelayLevels("1s")
			s, err := store.Open(store.Config{Dir: b.TempDir(), FileSize: 1 << 30, Tag: levels.Tag, Log: slog.New(slog.DiscardHandler),
				QueueKind: func(string) (consumequeue.Kind, bool) { return consumequeue.Simple, true }})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			p := put.New(put.Config{Log: s, Grew: func(*protocol.Turn, *consumequeue.Queue) {}, Stored: func(*consumequeue.Queue, int, int) {}})
			svc := New(Config{Store: s, Levels: levels, Progress: &kept{wire: []byte(`{"offsetTable":{}}`)}, Log: slog.New(slog.DiscardHandler)})
			l := svc.levels[0]
			l.courier, l.head = p.NewCourier(), -1
			const batch = 1000
			c, past := p.NewCourier(), time.Now().Add(-time.Hour)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			left := 0
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					for i := range batch {
						d := draft("T", fmt.Sprint(i))
						d.Body = make([]byte, size)
						tag, _ := levels.Divert(&d, 1, nil)
						c.Stage(s.Queue(topic.Schedule, 0), &d, tag)
					}
					if _, err := c.Commit(context.Background(), past); err != nil {
						b.Fatal(err)
					}
					left = batch
					b.StartTimer()
					for l.queue().Max() > l.next {
						l.deliver(context.Background(), time.Now())
					}
				}
				left--
			}
		})
	}
}

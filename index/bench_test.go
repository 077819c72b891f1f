package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// records returns n records with a unique key of 32 characters, a key and tags, as a client sends them, from physical on.
func records(n int, physical int64) (data []byte) {
	body := make([]byte, 100)
	for i := range n {
		var p []byte
		p = message.AppendProperty(p, message.PropMsgRegion, []byte("DefaultRegion"))
		p = message.AppendProperty(p, message.PropUniqKey, fmt.Appendf(nil, "7F0000014B974E0E2F2A7BD9%08X", i))
		p = message.AppendProperty(p, message.PropKeys, fmt.Appendf(nil, "order-%d", i))
		p = message.AppendProperty(p, message.PropWaitStoreMsgOK, []byte("true"))
		p = message.AppendProperty(p, message.PropTags, []byte("TagA"))
		at := len(data)
		data = message.AppendRecord(data, &message.Draft{Topic: []byte("BenchmarkTopic"), Body: body, Properties: p, BornHost: host, StoreHost: host})
		message.Patch(data[at:], 0, physical+int64(at), 1_700_000_000_000)
	}
	return data
}

// What an appender pays for a message, in batches of 1 and of 32; and what the builder pays.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1, 32} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := open(b, b.TempDir(), new(memLog))
			x.feed.start(0, true)
			data := records(n, 0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x.Put(0, data)
				if i%(feedItems/n/2) == 0 {
					x.feed.mu.Lock()
					x.feed.pending.items, x.feed.pending.text = x.feed.pending.items[:0], x.feed.pending.text[:0]
					x.feed.mu.Unlock()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	x := open(b, b.TempDir(), new(memLog), func(c *Config) { c.Slots, c.Entries = 5_000_000, 20_000_000 })
	const n = 1000
	var in batch
	for data := records(n, 0); len(data) > 0; {
		size := in.add(data)
		if size == 0 {
			b.Fatal("no room")
		}
		data = data[size:]
	}
	b.ReportAllocs()
	for physical := int64(1); b.Loop(); physical += 1 << 20 {
		for i := range in.items {
			in.items[i].physical = physical + int64(i)
		}
		// Other keys each time, so that the slots are hit as they are in life.
		text := in.text
		for _, it := range in.items {
			binary.BigEndian.PutUint64(text[52:], rand.Uint64()&0x0f0f0f0f0f0f0f0f|0x3030303030303030)
			text = text[it.topic+2+it.props:]
		}
		if err := x.batch(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
}

// A search for a unique key among n messages with three keys each, in files as they are by default.
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 1_000_000 && testing.Short() {
				b.Skip("takes a gigabyte of disk")
			}
			x := open(b, b.TempDir(), new(memLog), func(c *Config) {
				c.Slots, c.Entries, c.FS = 5_000_000, 20_000_000, &vfs.Faulty{FS: vfs.OS, NoSync: true}
			})
			key := func(i int) string { return fmt.Sprintf("7F0000014B974E0E2F2A7BD9%08X", i) }
			began := time.Now()
			for i := range n {
				for _, h := range []int32{
					hashOf("BenchmarkTopic", key(i), false),
					hashOf("BenchmarkTopic", fmt.Sprint("order-", i), false),
					hashOf("BenchmarkTopic", "TagA", true),
				} {
					if err := x.key(h, int64(i)*300, 1_700_000_000_000+int64(i)/10); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.Logf("built in %v", time.Since(began))
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(n)
				t := time.Now()
				found, err := x.Find(context.Background(), Query{Topic: "BenchmarkTopic", Key: key(i), Max: 32, End: 1<<63 - 1})
				took = append(took, time.Since(t))
				if err != nil || !slices.Contains(found.Physical, int64(i)*300) {
					b.Fatal(i, found, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

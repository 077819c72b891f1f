package index

import (
	"context"
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
				if i%(feedKeys/n/4) == 0 {
					x.feed.mu.Lock()
					x.feed.pending = x.feed.pending[:0]
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
	var keys []key
	for data := records(n, 0); len(data) > 0; {
		r, err := message.Decode(data)
		if err != nil {
			b.Fatal(err)
		}
		keys, data = collect(keys, &r), data[r.Size:]
	}
	b.ReportAllocs()
	for physical := int64(1); b.Loop(); physical += 1 << 20 {
		for i := range keys {
			keys[i].physical = physical + int64(i/3)
			if i%3 < 2 { // other keys each time, so that the slots are hit as they are in life
				keys[i].hash = rand.Int32()
			}
		}
		if err := x.build(context.Background(), keys); err != nil {
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
			uniq := func(i int) string { return fmt.Sprintf("7F0000014B974E0E2F2A7BD9%08X", i) }
			began := time.Now()
			var keys []key
			for i := range n {
				var p []byte
				p = message.AppendProperty(p, message.PropUniqKey, []byte(uniq(i)))
				p = message.AppendProperty(p, message.PropKeys, fmt.Appendf(nil, "order-%d", i))
				p = message.AppendProperty(p, message.PropTags, []byte("TagA"))
				keys = appendKeys(keys, []byte("BenchmarkTopic"), p, int64(i)*300, 1_700_000_000_000+int64(i)/10)
				if i%100 == 0 || i == n-1 {
					if err := x.build(context.Background(), keys); err != nil {
						b.Fatal(err)
					}
					keys = keys[:0]
				}
			}
			b.Logf("built in %v", time.Since(began))
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(n)
				t := time.Now()
				found, err := x.Find(context.Background(), Query{Topic: "BenchmarkTopic", Key: uniq(i), Max: 32, End: 1<<63 - 1})
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

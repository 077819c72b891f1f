package store

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// FuzzOpen opens stores with any bytes in a log file and a queue file, as after a crash and as after a clean end. What
// opens can be read to its end, appended to, and opened again with the same content.
func FuzzOpen(f *testing.F) {
	const size = 1024
	rec := message.AppendRecord(nil, draft("t", 0, "body"))
	f.Add([]byte{}, []byte{}, true)
	f.Add(rec, []byte{}, false)
	two := append([]byte(nil), rec...)
	next := append([]byte(nil), rec...)
	message.Patch(next, 1, int64(len(rec)), 5)
	two = append(two, next...)
	f.Add(two, make([]byte, 200), false)
	f.Add(two, append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(rec))}, make([]byte, 8)...), true)
	f.Add(append([]byte{0, 0, 4, 0}, 0xcb, 0xd4, 0x31, 0x94), []byte{1}, false)
	f.Fuzz(func(t *testing.T, log, queue []byte, clean bool) {
		dir := t.TempDir()
		put := func(name string, data []byte, n int) {
			full := make([]byte, n)
			copy(full, data)
			name = filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, full, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		put(firstLog, log, size)
		put("consumequeue/t/0/00000000000000000000", queue, 200)
		if !clean {
			put("abort", nil, 0)
		}
		cfg := Config{Dir: dir, FileSize: size, QueueFileSize: 200, FS: &vfs.Faulty{FS: vfs.OS, NoSync: true},
			Log: slog.New(slog.DiscardHandler)}
		var end int64
		for round := range 2 {
			s, err := Open(cfg)
			if foreign := new(ForeignError); errors.As(err, &foreign) && round == 0 {
				return // it is told what to do
			}
			if err != nil {
				t.Fatal(err)
			}
			if round == 1 && s.MaxPhysical() != end {
				t.Fatalf("log ended at %d, now at %d", end, s.MaxPhysical())
			}
			for _, topic := range s.Topics() {
				for _, q := range s.Queues(topic) {
					for at := q.Min(); at < q.Max(); {
						_, res := s.Get(q, Read{From: at, Max: 32}, nil)
						if res.Next <= at {
							t.Fatalf("%s/%d stands still at %d: %+v", topic, q.ID(), at, res)
						}
						at = res.Next
					}
					s.OffsetByTime(q, 5, Upper)
				}
			}
			if round == 0 {
				var b Batch
				b.Add(s.Queue("new", 0), draft("new", 0, "x"), 0)
				if err := s.Append(&b, time.Now()); err != nil {
					t.Fatal(err)
				}
				end = b.End()
				if _, res := s.Get(b.At(0).Queue, Read{From: b.At(0).Offset, Max: 1}, nil); res.Count != 1 {
					t.Fatalf("%+v", res)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

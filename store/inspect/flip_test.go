package inspect

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/store"
)

// Every bit of queue entries, index entries and slots, bodies and the numbers of records that lead to them is looked at:
// whichever is flipped, it is found in the right file, a repair makes the store clean, and a broker can use it then.
func TestVerify_RandomFlips(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	base := ownStore(t)
	for range 40 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		var file string
		var at int64
		switch rnd.IntN(3) {
		case 0: // places of the numbers that verify knows about, and the body
			var r message.Record
			file, at, r = placeOf(t, dir, 1+rnd.IntN(ownMessages))
			known := [][2]int64{{0, 16}, {20, 36}, {84, 88 + int64(len(r.Body)) + 1 + int64(len(r.Topic)) + 2}}
			k := known[rnd.IntN(len(known))]
			at += k[0] + rnd.Int64N(k[1]-k[0])
		case 1:
			dirs, err := filepath.Glob(filepath.Join(dir, "consumequeue", "topic*", "*"))
			if err != nil {
				t.Fatal(err)
			}
			file, at = filepath.Join(dirs[rnd.IntN(len(dirs))], segmentName(ownQueueFile*rnd.Int64N(2))), rnd.Int64N(ownQueueFile)
		case 2:
			file, at = indexName(t, dir, rnd.IntN(8)), indexHeader+rnd.Int64N(indexSlot*ownSlots+indexEntry*(ownEntries-1))
			if at >= indexHeader+indexSlot*ownSlots { // entry 0 is not used
				at += indexEntry
			}
		}
		bit := byte(1) << rnd.IntN(8)
		edit(t, file, at, func(b []byte) { b[0] ^= bit })
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		report := verify(t, Config{Dir: dir})
		text := show(report)
		if report.Counts[Damage] == 0 || !strings.Contains(text, filepath.Dir(rel)) && !strings.Contains(text, "the record there says") && !strings.HasPrefix(rel, "commitlog") {
			t.Fatalf("bit %#x at %d of %s: %s", bit, at, rel, text)
		}
		mend(t, dir, -2, false)
		s, err := store.Open(store.Config{Dir: dir, FileSize: ownLogFile, QueueFileSize: ownQueueFile, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("bit %#x at %d of %s, repaired: %v", bit, at, rel, err)
		}
		var b store.Batch
		b.Add(s.Queue("topicA", 0), &message.Draft{Topic: []byte("topicA"), Body: []byte("after")}, 0)
		if err := s.Append(&b, start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever bytes lie in a store, verify and repair end with an answer.
func FuzzVerify(f *testing.F) {
	for _, seed := range []struct {
		file uint8
		at   uint32
		data string
	}{{0, 0, "\x00\x00\x00\x5b\xda\xa3\x20\xa7"}, {1, 4, "\xcb\xd4\x31\x94"}, {9, 20, "\x7f\xff\xff\xff"}, {20, 0, ""}, {30, 36, "\x7f\xff\xff\xff"}, {3, 40, "{"}} {
		f.Add(seed.file, seed.at, []byte(seed.data))
	}
	base := ownStore(f)
	f.Fuzz(func(t *testing.T, n uint8, at uint32, data []byte) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		more, err2 := filepath.Glob(filepath.Join(dir, "consumequeue", "*", "*", "*"))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		names = append(append(names, more...), filepath.Join(dir, "checkpoint"))
		name := names[int(n)%len(names)]
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			return
		}
		if len(data) == 0 {
			err = os.Truncate(name, int64(at%ownLogFile))
		} else {
			var file *os.File
			if file, err = os.OpenFile(name, os.O_RDWR, 0); err == nil {
				_, err = file.WriteAt(data, int64(at%ownLogFile))
				_ = file.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Dir: dir})
		if err != nil {
			return
		}
		plan, _, err := s.Plan(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plan.Repair(context.Background(), start); err != nil {
			t.Fatal(err)
		}
	})
}

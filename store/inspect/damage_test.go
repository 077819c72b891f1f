package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/store"
)

// placeOf returns where the n-th record of the log lies: file, byte in it, and the record.
func placeOf(t testing.TB, dir string, n int) (file string, at int64, r message.Record) {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	_, err = s.scan(context.Background(), 0, visit{gap: func(gap) {}, record: func(rec *message.Record, raw []byte) error {
		if i++; i == n {
			r, err = message.Decode(append([]byte(nil), raw...))
			return errors.Join(err, errEnough)
		}
		return nil
	}})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	start := r.Physical - r.Physical%ownLogFile
	return filepath.Join(dir, "commitlog", segmentName(start)), r.Physical - start, r
}

// indexName returns the path of the n-th index file.
func indexName(t testing.TB, dir string, n int) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "index"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "index", entries[n].Name())
}

func flip(b []byte) { b[0] ^= 0x10 }

// queueFile is a file of a queue with entries of topicA.
func queueFile(dir string) string {
	return filepath.Join(dir, "consumequeue", "topicA", "1", segmentName(0))
}

// What is done to a sound store is found, with its place; a repair mends it, and loses nothing that is whole.
func TestVerify_Damage(t *testing.T) {
	var sh = indexShape{ownSlots, ownEntries}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string)
		want string // in a finding
		lost int    // messages
		left bool   // a repair cannot mend it
	}{
		{name: "nothing", do: func(*testing.T, string) {}},
		{name: "body", want: "damage commitlog commitlog/00000000000000065536+", lost: 1, do: func(t *testing.T, dir string) {
			file, at, r := placeOf(t, dir, 400)
			edit(t, file, at+int64(r.Size)-int64(len(r.Properties))-30, flip)
		}},
		{name: "body, found as", want: "body has a wrong checksum", lost: 1, do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 400)
			edit(t, file, at+8, flip)
		}},
		{name: "size", want: "lengths inside do not add up", lost: 1, do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 400)
			edit(t, file, at+3, flip)
		}},
		{name: "huge size", want: "bytes left", lost: 1, do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 400)
			edit(t, file, at, flip)
		}},
		{name: "magic", want: "magic 0x", lost: 1, do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 400)
			edit(t, file, at+4, flip)
		}},
		{name: "position", want: "record belongs to position", lost: 1, do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 400)
			edit(t, file, at+34, flip)
		}},
		{name: "page of zeros", want: "zeros where records were", lost: 23, do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 400)
			edit(t, file, at, func(b []byte) { clear(b[:4096]) })
		}},
		{name: "end of a file", want: "magic 0x", lost: 1, do: func(t *testing.T, dir string) {
			for n := 200; ; n++ { // the last record before a blank
				file, at, r := placeOf(t, dir, n)
				if next, _, _ := placeOf(t, dir, n+1); next != file {
					edit(t, file, at+4, func(b []byte) { clear(b[:int(r.Size)+8]); b[0] = 1 })
					return
				}
			}
		}},
		{name: "blank", want: "the blank at the end says", do: func(t *testing.T, dir string) {
			s, err := Open(Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			var at int64
			_, err = s.scan(context.Background(), 0, visit{gap: func(gap) {}, record: func(r *message.Record, _ []byte) error {
				if r.Physical+int64(r.Size) < ownLogFile {
					at = r.Physical + int64(r.Size)
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			edit(t, filepath.Join(dir, "commitlog", segmentName(0)), at+3, flip)
		}},
		{name: "torn end", want: "damage commitlog commitlog/00000000000000196608+", lost: 1, do: tear},
		{name: "torn end after a crash", want: "pending commitlog commitlog/00000000000000196608+", lost: 1, do: func(t *testing.T, dir string) {
			tear(t, dir)
			write(t, filepath.Join(dir, "abort"), "1")
		}},
		{name: "file of the log is gone", want: "files are missing", lost: -1, do: func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "commitlog", segmentName(ownLogFile)))
		}},
		{name: "last file of the log is short", want: "last file has 1000 bytes instead of 65536", lost: -1, do: func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "commitlog", segmentName(3*ownLogFile)), 1000); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "queue id of a record", want: "topicB/0@96: the record there says queue 1, offset 96", do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 402)
			edit(t, file, at+15, func(b []byte) { b[0] ^= 1 })
		}},
		{name: "offset of a record", want: "topicB/0@96: the record there says queue 0, offset 17592186044512", do: func(t *testing.T, dir string) {
			file, at, _ := placeOf(t, dir, 402)
			edit(t, file, at+22, flip)
		}},
		{name: "entry points elsewhere", want: "damage consumequeue consumequeue/topicA/1/00000000000000000000+200 topicA/1@10: the record has no entry: the entry points at",
			do: func(t *testing.T, dir string) { edit(t, queueFile(dir), 10*20+6, flip) }},
		{name: "size of an entry", want: "consumequeue/topicA/1/00000000000000000000+200 topicA/1@10: says ",
			do: func(t *testing.T, dir string) { edit(t, queueFile(dir), 10*20+11, flip) }},
		{name: "tag of an entry", want: "consumequeue/topicA/1/00000000000000000000+200 topicA/1@10: tag code is",
			do: func(t *testing.T, dir string) { edit(t, queueFile(dir), 10*20+19, flip) }},
		{name: "time of delivery", want: "no whole seconds behind the store time", do: func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "consumequeue", "SCHEDULE_TOPIC_XXXX", "1", segmentName(0)), 2*20+18, flip)
		}},
		{name: "entries of zeros", want: "3 records, the last at", do: func(t *testing.T, dir string) {
			edit(t, queueFile(dir), 10*20, func(b []byte) { clear(b[:60]) })
		}},
		{name: "entry twice", want: "the entry points at no record of this queue", do: func(t *testing.T, dir string) {
			edit(t, queueFile(dir), 10*20, func(b []byte) { copy(b[20:], b[:20]) })
		}},
		{name: "something behind the last entry", want: "something is written behind the last entry", do: func(t *testing.T, dir string) {
			last := filepath.Join(dir, "consumequeue", "topicA", "1", segmentName(2*ownQueueFile))
			edit(t, last, ownQueueFile-40, func(b []byte) { b[7] = 1 })
		}},
		{name: "file of a queue is gone", want: "100 records, the last at", do: func(t *testing.T, dir string) { remove(t, queueFile(dir)) }},
		{name: "middle file of a queue is gone", want: "does not follow the file before it", do: func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "consumequeue", "topicA", "1", segmentName(ownQueueFile)))
		}},
		{name: "queue is gone", want: "the queue has no files", do: func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "consumequeue", "topicA", "1")) }},
		{name: "all queues are gone", want: "the next start builds them", do: func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "consumequeue")) }},
		{name: "hash of a key", want: "entry 17 the record at", do: func(t *testing.T, dir string) { edit(t, indexName(t, dir, 1), sh.entry(17)+3, flip) }},
		{name: "position of a key", want: "where no record starts", do: func(t *testing.T, dir string) { edit(t, indexName(t, dir, 1), sh.entry(17)+11, flip) }},
		{name: "time of a key", want: "seconds, the record at", do: func(t *testing.T, dir string) { edit(t, indexName(t, dir, 1), sh.entry(17)+15, flip) }},
		{name: "chain", want: "entry 17 names entry", do: func(t *testing.T, dir string) { edit(t, indexName(t, dir, 1), sh.entry(17)+18, flip) }},
		{name: "slot", want: "slot 5 does not name the newest of its entries", do: func(t *testing.T, dir string) { edit(t, indexName(t, dir, 1), indexHeader+5*4+3, flip) }},
		{name: "slot that a crash left behind", want: "pending index index/", do: func(t *testing.T, dir string) {
			edit(t, indexName(t, dir, 1), indexHeader+5*4+3, flip)
			edit(t, filepath.Join(dir, "checkpoint"), 16, func(b []byte) { clear(b[:8]) }) // indexMs: no file is known to be whole
			write(t, filepath.Join(dir, "abort"), "1")
		}},
		{name: "count of an index file", want: "does not agree with its entries", do: func(t *testing.T, dir string) { edit(t, indexName(t, dir, 1), 39, flip) }},
		{name: "index file is gone", want: "damage index index: keys of", do: func(t *testing.T, dir string) { remove(t, indexName(t, dir, 1)) }},
		{name: "index is old", want: "have no entries; the next start builds them", do: func(t *testing.T, dir string) {
			for range 3 {
				entries, err := os.ReadDir(filepath.Join(dir, "index"))
				if err != nil {
					t.Fatal(err)
				}
				remove(t, filepath.Join(dir, "index", entries[len(entries)-1].Name()))
			}
		}},
		{name: "text for an index file", want: "which is no index file", do: func(t *testing.T, dir string) { write(t, indexName(t, dir, 1), "hello") }},
		{name: "checkpoint", want: "damage checkpoint checkpoint: has 7 bytes", do: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "checkpoint"), "1234567") }},
		{name: "checkpoint ahead", want: "damage checkpoint checkpoint: logicsPhysicalOffset is 1", do: func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "checkpoint"), 40, func(b []byte) { binary.BigEndian.PutUint64(b, 1<<40) })
		}},
		{name: "configuration", want: "pending config config/topics.json: cannot be used, its backup can", do: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "config", "topics.json"), `{"dataVersion":{},"topicCo`)
		}},
		{name: "configuration and backup", want: "damage config config/topics.json: neither it nor its backup", left: true, do: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "config", "topics.json"), "")
			write(t, filepath.Join(dir, "config", "topics.json.bak"), "{")
		}},
		{name: "a directory in the way", want: "note file commitlog/00000000000000262144: not a file of the commit log", do: func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "commitlog", segmentName(4*ownLogFile)), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := ownStore(t)
			c.do(t, dir)
			r := verify(t, Config{Dir: dir})
			if text := show(r); !strings.Contains(text, c.want) || c.want == "" && len(r.Findings) > 0 {
				t.Fatalf("want %q, found:\n%s", c.want, text)
			}
			before := hashTree(t, dir)
			mend(t, dir, c.lost, c.left)
			for name, size := range before {
				if found := findAside(t, dir, name); !found && size >= 0 {
					t.Errorf("%s is gone", name)
				}
			}
		})
	}
}

func tear(t *testing.T, dir string) {
	file, at, r := placeOf(t, dir, ownMessages)
	edit(t, file, at+int64(r.Size)/2, func(b []byte) { clear(b) })
}

func remove(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// mend repairs a store and verifies it. lost is how many messages are gone then; -1: some, -2: at most one.
func mend(t *testing.T, dir string, lost int, left bool) {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	plan, report, err := s.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if report.Clean() {
		if len(plan.Actions) > 0 {
			t.Errorf("a clean store is repaired: %+v", plan.Actions)
		}
		return
	}
	if len(plan.Actions) > 0 {
		if _, err := plan.Repair(context.Background(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	r := verify(t, Config{Dir: dir})
	if left {
		if len(plan.Left) == 0 || r.Clean() {
			t.Errorf("mended what cannot be: %q\n%s", plan.Left, show(r))
		}
		return
	}
	if !r.Clean() || len(plan.Left) > 0 {
		t.Fatalf("not clean after the repair (left %q, did %+v):\n%s", plan.Left, plan.Actions, show(r))
	}
	whole := r.Log.Records - r.Log.NoQueue
	if lost >= 0 && int(whole) != ownMessages-lost || lost == -1 && (whole < ownMessages/4 || whole >= ownMessages) || lost == -2 && whole < ownMessages-1 {
		t.Errorf("%d messages are left, %d were lost by the damage", whole, lost)
	}
	if r.Queues.Entries != whole {
		t.Errorf("%d of %d messages are in queues", r.Queues.Entries, whole)
	}
}

// hashTree returns the names of all files, with their length.
func hashTree(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	all := make(map[string]int64)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, e := d.Info()
			rel, e2 := filepath.Rel(dir, path)
			all[rel] = info.Size()
			err = errors.Join(e, e2)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// findAside tells whether a file is still in its place, or was kept aside.
func findAside(t *testing.T, dir, name string) bool {
	t.Helper()
	places, err := filepath.Glob(filepath.Join(dir, asidePrefix+"*", name))
	if err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(dir, name))
	return err == nil || len(places) > 0
}

// Index files of any number of slots and entries are read, full or not, without being told their shape.
func TestVerify_IndexShapes(t *testing.T) {
	dir := ownStore(t)
	for _, sh := range []indexShape{{100, 500}, {7, 330}, {1000, 200}, {3, 5000}} {
		if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(store.Config{Dir: dir, FileSize: ownLogFile, QueueFileSize: ownQueueFile, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		buildIndex(t, s, dir, sh.slots, sh.entries)
		if r := verify(t, Config{Dir: dir}); len(r.Findings) > 0 || r.Index.Entries < 3*ownMessages {
			t.Errorf("%d slots, %d entries: %d found, %s", sh.slots, sh.entries, r.Index.Entries, show(r))
		}
	}
}

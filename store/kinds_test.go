package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/consumequeue"
)

// batchTopics has the topics that begin with b have Batch queues.
func batchTopics(c *Config) {
	c.BatchFileSize = 4 * consumequeue.BatchUnitSize
	c.QueueKind = func(topic string) (consumequeue.Kind, bool) {
		if strings.HasPrefix(topic, "b") {
			return consumequeue.Batch, true
		}
		return consumequeue.Simple, true
	}
}

// innerDraft is an inner batch of n messages.
func innerDraft(topic string, n int) *message.Draft {
	d := draft(topic, 0, fmt.Sprintf("%d messages", n))
	d.SysFlag = message.FlagInnerBatch | message.FlagNeedUnwrap
	d.Properties = []byte(fmt.Sprintf("INNER_NUM\x01%d\x02UNIQ_KEY\x01u%d\x02", n, n))
	return d
}

// crash lets a store go as a killed process does, and opens it again.
func crash(t testing.TB, s *Store, change ...func(*Config)) *Store {
	t.Helper()
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
	return testStore(t, s.cfg.Dir, change...)
}

// inner are the numbers of messages of the records that fillBatch appends.
var inner = []int{3, 1, 5, 100, 2, 1, 7}

// fillBatch appends inner batches, plain messages and messages of another topic, in batches of several.
func fillBatch(t testing.TB, s *Store) {
	t.Helper()
	q, other := s.Queue("b", 0), s.Queue("a", 0)
	for i := 0; i < len(inner); i += 2 {
		b := new(Batch)
		for _, n := range inner[i:min(i+2, len(inner))] {
			d := innerDraft("b", n)
			if n == 1 {
				d.SysFlag = 0
			}
			at := b.Add(q, d, 0)
			b.Add(other, draft("a", 0, "x"), 0)
			b.At(at).Tag = int64(n)
		}
		if err := s.Append(b, time.UnixMilli(5000+int64(i))); err != nil {
			t.Fatal(err)
		}
		for j := 0; j < b.Len(); j++ {
			if e := b.At(j); e.Queue == q && int(e.Count) != inner[i+j/2] {
				t.Fatalf("record %d holds %d", j, e.Count)
			}
		}
	}
}

// checkInner reads every message by its own offset.
func checkInner(t testing.TB, s *Store) {
	t.Helper()
	q := s.Find([]byte("b"), 0)
	base := int64(0)
	for _, n := range inner {
		for o := base; o < base+int64(n); o++ {
			got, res := s.Get(q, Read{From: o, Max: 1}, nil)
			r, err := message.Decode(got)
			if err != nil || res.Status != Found || res.Count != n || res.Next != base+int64(n) || int(r.Size) != len(got) {
				t.Fatalf("offset %d: %+v %v", o, res, err)
			}
			value, ok := message.Property(r.Properties, message.PropInnerBase)
			if r.QueueOffset != base || string(r.Body) != fmt.Sprintf("%d messages", n) || ok != (n > 1) || ok && string(value) != fmt.Sprint(base) {
				t.Fatalf("offset %d: %+v %q", o, r, r.Properties)
			}
			if s.StoreTime(q, o) != r.StoreMs || !s.InMemory(q, o) {
				t.Fatalf("offset %d is of %d", o, s.StoreTime(q, o))
			}
		}
		base += int64(n)
	}
	if q.Min() != 0 || q.Max() != base || len(bodies(t, s, s.Find([]byte("a"), 0))) != len(inner) {
		t.Fatalf("queue is [%d, %d)", q.Min(), q.Max())
	}
	if _, res := s.Get(q, Read{From: base, Max: 1}, nil); res.Status != OffsetOverflowOne {
		t.Fatalf("%+v", res)
	}
	got, res := s.Get(q, Read{From: 4, Max: 8}, nil) // 5, but not 100 more; in front of it no room for less
	if res.Count != 5 || res.Next != 9 || len(got) == 0 {
		t.Fatalf("%+v", res)
	}
	if _, res := s.Get(q, Read{From: 0, Max: 1000}, nil); res.Next != 9 || res.Count != 9 { // 32 at once
		t.Fatalf("%+v", res)
	}
}

// Inner batches are stored as one record each, get the offsets of all their messages, and are found by any of them:
// at once, after a stop, after a crash, and when the queues are gone.
func TestStore_InnerBatch(t *testing.T) {
	s := testStore(t, t.TempDir(), batchTopics)
	fillBatch(t, s)
	checkInner(t, s)
	q := s.Find([]byte("b"), 0)
	if _, res := s.Get(q, Read{From: 0, Max: 9, Match: func(tag int64) bool { return tag == 5 }}, nil); res.Count != 5 || res.Next != q.Max() {
		t.Fatalf("%+v", res)
	}
	s = crash(t, s, batchTopics)
	checkInner(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, s.cfg.Dir, batchTopics)
	checkInner(t, s)
	if err := errors.Join(s.Close(), os.RemoveAll(s.path("batchconsumequeue"))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.path("consumequeue")); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, s.cfg.Dir, func(c *Config) { batchTopics(c); c.QueueKind = nil }) // the records say it
	checkInner(t, s)
	if _, err := os.Stat(s.path("batchconsumequeue/b/0")); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTopic("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path("batchconsumequeue/b")); err == nil {
		t.Fatal("the directory is still there")
	}
}

// A time is looked for in one file, as Java does: from its last record on, that one is the answer, even if the first of the
// next file is nearer.
func TestStore_InnerBatch_Times(t *testing.T) {
	s := testStore(t, t.TempDir(), batchTopics)
	fillBatch(t, s) // files of 4 records, stored at 5000, 5000, 5002, 5002 and 5004, 5004, 5006
	q := s.Find([]byte("b"), 0)
	for _, c := range []struct{ ms, lower, upper int64 }{
		{4000, 0, 0}, {5000, 0, 3}, {5002, 9, 9}, {5003, 9, 9}, {5004, 109, 111}, {5006, 112, 112}, {9000, 112, 112},
	} {
		if lo, up := s.OffsetByTime(q, c.ms, Lower), s.OffsetByTime(q, c.ms, Upper); lo != c.lower || up != c.upper {
			t.Errorf("%d: %d %d, not %d %d", c.ms, lo, up, c.lower, c.upper)
		}
	}
}

// Who must not wait for the disk is told so, or gets what is in memory.
func TestStore_InnerBatch_NoWait(t *testing.T) {
	s := testStore(t, t.TempDir(), batchTopics)
	fillBatch(t, s)
	read := Read{From: 5, Max: 8, NoWait: true}
	if _, res := s.Get(s.Find([]byte("b"), 0), read, nil); res.Status != Found || res.Count != 5 {
		t.Fatalf("%+v", res)
	}
	s = crash(t, s, batchTopics)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, s.cfg.Dir, batchTopics)
	if _, res := s.Get(s.Find([]byte("b"), 0), read, nil); res.Status != OnDisk {
		t.Fatalf("%+v", res)
	}
}

// A batch that is not stored takes no offsets: neither of its queues nor of further ones.
func TestStore_Append_Rewind(t *testing.T) {
	faulty := &vfs.Faulty{FS: vfs.OS}
	s := testStore(t, t.TempDir(), func(c *Config) { batchTopics(c); c.MultiDispatch, c.FS = true, faulty })
	multi := func() *message.Draft {
		d := draft("a", 0, "x")
		d.Properties = []byte("INNER_MULTI_DISPATCH\x01%LMQ%1\x02")
		return d
	}
	add := func(last *message.Draft) error {
		b := new(Batch)
		b.Add(s.Queue("b", 0), innerDraft("b", 4), 0)
		b.Add(s.Queue("a", 0), multi(), 0)
		b.Add(s.Queue("a", 0), last, 0)
		return s.Append(b, time.UnixMilli(1))
	}
	big := multi()
	big.Body = make([]byte, 5000)
	full := multi()
	full.Properties = append(full.Properties, "x\x01"+strings.Repeat("y", 32767-len(full.Properties)-3)+"\x02"...)
	full.Body = nil
	silent := innerDraft("b", 4)
	silent.Properties = nil
	if err := add(big); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if err := add(full); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	b := new(Batch)
	b.Add(s.Queue("b", 0), silent, 0)
	if err := s.Append(b, time.UnixMilli(1)); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	if err := add(multi()); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int64{"a": 2, "b": 4, "%LMQ%1": 2} {
		if q := s.Find([]byte(topic), 0); q.Max() != want {
			t.Errorf("%s ends at %d, not %d", topic, q.Max(), want)
		}
	}
}

// Queues on the disk that are not of their topic's kind stop the start, and nothing is touched.
func TestOpen_OtherKind(t *testing.T) {
	s := testStore(t, t.TempDir(), batchTopics)
	fillBatch(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := s.cfg
	for topic, other := range map[string]consumequeue.Kind{"a": consumequeue.Batch, "b": consumequeue.Simple} {
		cfg.QueueKind = func(name string) (consumequeue.Kind, bool) { return other, name == topic }
		_, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), "topic "+topic+" has queue.type="+other.String()) {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(cfg.Dir, "consumequeue/b/7")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg.QueueKind = nil
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "queues of both types") || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	checkInner(t, testStore(t, cfg.Dir, batchTopics))
}

package store

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// confirming opens a store whose slaves have the log up to at.
func confirming(t *testing.T, dir string, at *atomic.Int64, change ...func(*Config)) *Store {
	t.Helper()
	return testStore(t, dir, append(change, func(c *Config) { c.Confirm = at.Load })...)
}

// visible reads a queue as far as it can be read.
func visible(t *testing.T, s *Store, q *consumequeue.Queue) (got []string) {
	t.Helper()
	for at := int64(0); ; {
		dst, res := s.Get(q, Read{From: at, Max: 1}, nil)
		if res.Status == OffsetOverflowOne {
			return got
		}
		r, err := message.Decode(dst)
		if err != nil {
			t.Fatalf("status %d, %v", res.Status, err)
		}
		got, at = append(got, string(r.Body)), res.Next
	}
}

// What slaves do not have cannot be read, in no mode of flushing, and what could be read once can be read when they are gone.
func TestStore_Visible_Confirm(t *testing.T) {
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprint("sync=", sync), func(t *testing.T) {
			var acked atomic.Int64
			s := confirming(t, t.TempDir(), &acked, func(c *Config) { c.SyncFlush = sync })
			b := send(t, s, "a", 0, "one", "two", "three")
			q := s.Find([]byte("a"), 0)
			check := func(n int, msgs ...string) {
				t.Helper()
				equal(t, visible(t, s, q), msgs)
				if got := s.MaxVisible(q); got != int64(n) {
					t.Errorf("MaxVisible is %d, want %d", got, n)
				}
			}
			if check(0); sync {
				acked.Store(math.MaxInt64)
				check(0)
				acked.Store(0)
				if err := s.flush(); err != nil {
					t.Fatal(err)
				}
				check(0)
			}
			if _, res := s.Get(q, Read{From: 0, Max: 9}, nil); res.Status != OffsetOverflowOne || res.Next != 0 {
				t.Errorf("got %v, next %d", res.Status, res.Next)
			}
			acked.Store(b.At(1).Physical - 1)
			check(0)
			acked.Store(b.At(1).Physical)
			check(1, "one")
			acked.Store(0)
			check(1, "one")
			acked.Store(math.MaxInt64)
			check(3, "one", "two", "three")
		})
	}
}

// A restart gives out no more than could be read before, but for a store that was never asked to wait.
func TestStore_Visible_Restart(t *testing.T) {
	dir := t.TempDir()
	var acked atomic.Int64
	open := func() (*Store, *consumequeue.Queue) {
		s := confirming(t, dir, &acked)
		return s, s.Find([]byte("a"), 0)
	}
	restart := func(s *Store) (*Store, *consumequeue.Queue) {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return open()
	}
	s, _ := open()
	send(t, s, "a", 0, "one", "two")
	s, q := restart(s)
	equal(t, visible(t, s, q), nil)
	acked.Store(s.MaxPhysical())
	equal(t, visible(t, s, q), []string{"one", "two"})
	acked.Store(0)
	send(t, s, "a", 0, "three")
	s, q = restart(s)
	equal(t, visible(t, s, q), []string{"one", "two"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	q = s.Find([]byte("a"), 0)
	send(t, s, "a", 0, "four")
	equal(t, visible(t, s, q), []string{"one", "two", "three", "four"})
	s, q = restart(s)
	equal(t, visible(t, s, q), []string{"one", "two", "three", "four"})
}

// The end of what can be read is found wherever it is, in queues of both kinds.
func TestStore_MaxVisible(t *testing.T) {
	for _, kind := range []consumequeue.Kind{consumequeue.Simple, consumequeue.Batch} {
		var acked atomic.Int64
		s := confirming(t, t.TempDir(), &acked, func(c *Config) {
			c.QueueKind = func(string) (consumequeue.Kind, bool) { return kind, true }
		})
		b := send(t, s, "a", 0, numbered(0, 200)...)
		for i := range 201 {
			acked.Store(0)
			s.unconfirm(0)
			if i > 0 {
				acked.Store(b.At(i-1).Physical + int64(b.At(i-1).Size))
			}
			if got := s.MaxVisible(s.Find([]byte("a"), 0)); got != int64(i) {
				t.Fatalf("kind %v: of %d messages %d can be read", kind, i, got)
			}
		}
	}
	if got := testStore(t, t.TempDir()).MaxVisible(nil); got != 0 {
		t.Error("no queue has", got)
	}
}

// A log that was cut forgets what was confirmed of it behind the cut, on the disk too.
func TestStore_Visible_Cut(t *testing.T) {
	dir := t.TempDir()
	var acked atomic.Int64
	acked.Store(math.MaxInt64)
	s := confirming(t, dir, &acked)
	b := send(t, s, "a", 0, "one", "two")
	q := s.Find([]byte("a"), 0)
	equal(t, visible(t, s, q), []string{"one", "two"})
	if err := s.CutLog(b.At(1).Physical); err != nil {
		t.Fatal(err)
	}
	acked.Store(0)
	send(t, s, "a", 0, "other")
	equal(t, visible(t, s, q), []string{"one"})
	s = confirming(t, copyDir(t, dir), &acked)
	equal(t, visible(t, s, s.Find([]byte("a"), 0)), []string{"one"})
}

// A store that is killed before its first checkpoint gives out nothing that slaves do not have either.
func TestStore_Visible_Young(t *testing.T) {
	dir := t.TempDir()
	var acked atomic.Int64
	s := confirming(t, dir, &acked)
	send(t, s, "a", 0, "one", "two")
	s = confirming(t, copyDir(t, dir), &acked)
	equal(t, visible(t, s, s.Find([]byte("a"), 0)), nil)
}

// How far a reader is behind the end of the log is known also when its filter wants nothing.
func TestStore_Get_Behind(t *testing.T) {
	s := testStore(t, t.TempDir())
	b := send(t, s, "a", 0, "one", "two", "three")
	q := s.Find([]byte("a"), 0)
	for _, c := range []struct {
		from   int64
		match  func(int64) bool
		status Status
		want   int64
	}{
		{0, nil, Found, s.MaxPhysical() - b.At(0).Physical},
		{1, nil, Found, s.MaxPhysical() - b.At(1).Physical},
		{0, func(int64) bool { return false }, NoMatchedMessage, s.MaxPhysical() - b.At(2).Physical},
		{3, nil, OffsetOverflowOne, 0},
		{9, nil, OffsetOverflowBadly, 0},
	} {
		if _, res := s.Get(q, Read{From: c.from, Max: 1, Match: c.match}, nil); res.Behind != c.want || res.Status != c.status {
			t.Errorf("from %d: %d behind, status %v; want %d, %v", c.from, res.Behind, res.Status, c.want, c.status)
		}
	}
}

// Who reads while the end of the log is cut off gets whole records or none.
func TestStore_Get_WhileCut(t *testing.T) {
	for range 10 {
		s := testStore(t, t.TempDir(), func(c *Config) { c.FileSize, c.QueueFileSize = 4<<20, 200_000 })
		var cut int64
		for i := range 200 {
			if b := send(t, s, "a", 0, numbered(0, 50)...); i == 10 {
				cut = b.At(0).Physical
			}
		}
		q := s.Find([]byte("a"), 0)
		var stop atomic.Bool
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				for at := int64(600); !stop.Load(); {
					dst, res := s.Get(q, Read{From: at, Max: 32}, nil)
					if at = res.Next; res.Status != Found {
						at = 600
					}
					for len(dst) > 0 {
						r, err := message.Decode(dst)
						if err != nil || !r.CheckCRC() {
							t.Errorf("a broken record was given out: %v", err)
							return
						}
						dst = dst[r.Size:]
					}
				}
			})
		}
		for range 1000 {
			s.Get(q, Read{Max: 1}, nil)
		}
		if err := s.CutLog(cut); err != nil {
			t.Fatal(err)
		}
		stop.Store(true)
		readers.Wait()
	}
}

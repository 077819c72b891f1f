package consumequeue

import (
	"math"
	"testing"

	"rocketd/internal/vfs"
)

// Records that the log has lost leave fillers between messages. Whatever is cut off at either end, and loaded again,
// every whole message stays, and nothing else.
func TestSet_FillersBetween(t *testing.T) {
	const units = 40
	lost := func(i int64) bool { return i%7 == 3 || i > 20 && i < 25 }
	for cut := int64(0); cut <= units; cut++ {
		dir := t.TempDir()
		s := NewSet(vfs.OS, dir, 10*UnitSize, 8)
		q := s.New("t", 0)
		for i := range int64(units) {
			if lost(i) {
				continue
			}
			if ok, err := s.Build(q, 5+i, Unit{Physical: 100 * i, Size: 100}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if err := s.Flush(q); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		check := func(s *Set, q *Queue, from, to int64) {
			t.Helper()
			for from < to && lost(from) {
				from++
			}
			for to > from && lost(to-1) {
				to--
			}
			// After a Cut, Min may lie at the fillers in front.
			if from < to && (q.Min() > 5+from || q.Min() != 5+from && q.Min() != 0 || q.Max() != 5+to) {
				t.Fatalf("cut at %d: [%d, %d), not [%d, %d)", cut, q.Min(), q.Max(), 5+from, 5+to)
			}
			for i := from; i < to; i++ {
				if u, err := s.Unit(q, 5+i); err != nil || u.Filler() != lost(i) || !lost(i) && u.Physical != 100*i {
					t.Fatalf("cut at %d: unit %d is %+v, %v", cut, i, u, err)
				}
			}
		}
		load := func(limit int64) (*Set, *Queue) {
			t.Helper()
			s := NewSet(vfs.OS, dir, 10*UnitSize, 8)
			var found *Queue
			if err := s.Load(limit, func(q *Queue) error { found = q; return nil }); err != nil {
				t.Fatal(err)
			}
			return s, found
		}
		s, q = load(math.MaxInt64) // whole
		if err := s.Trim(q, 0); err != nil {
			t.Fatal(err)
		}
		check(s, q, 0, units)
		if cut%2 == 0 { // the end, then the front
			if err := s.Cut(q, 100*cut); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, q = load(100 * cut)
			if err := s.Trim(q, 0); err != nil {
				t.Fatal(err)
			}
		}
		check(s, q, 0, cut)
		if err := s.Trim(q, 100*cut/2); err != nil {
			t.Fatal(err)
		}
		check(s, q, (cut+1)/2, cut)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

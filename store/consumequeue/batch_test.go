package consumequeue

import (
	"math"
	"testing"

	"rocketd/internal/vfs"
)

// counts are the messages of the records of the queue that the tests make.
var counts = []int32{5, 1, 2, 1, 1, 7, 300, 1, 2, 2, 1, 9}

func putBatches(t *testing.T, s *Set, q *Queue, rounds int) {
	t.Helper()
	for range rounds {
		for _, n := range counts {
			base := q.Take(int64(n))
			_, end := q.Units()
			q.Put(Unit{Physical: end * 100, Size: 100, Tag: end, StoreMs: 1000 + end, Base: base, Count: n})
		}
	}
	if err := s.Flush(q); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
}

// checkBatches looks every offset up.
func checkBatches(t *testing.T, s *Set, q *Queue, first, end int64) {
	t.Helper()
	if f, e := q.Units(); f != first || e != end {
		t.Fatalf("units are [%d, %d), not [%d, %d)", f, e, first, end)
	}
	base := int64(0)
	for i := int64(0); i < end; i++ {
		n := counts[int(i)%len(counts)]
		if i == first && base != q.Min() {
			t.Fatalf("Min is %d, not %d", q.Min(), base)
		}
		for _, o := range []int64{base, base + int64(n)/2, base + int64(n) - 1} {
			if i < first {
				break
			}
			u, at, err := s.Find(q, o)
			if err != nil || at != i || u != (Unit{i * 100, 100, i, 1000 + i, base, n}) {
				t.Fatalf("offset %d is in unit %d: %+v %v", o, at, u, err)
			}
		}
		base += int64(n)
	}
	if q.Max() != base {
		t.Fatalf("Max is %d, not %d", q.Max(), base)
	}
	if u, _, err := s.Find(q, base); err == nil {
		t.Fatalf("offset %d is in %+v", base, u)
	}
}

// Every message is found by its offset, wherever its record stands: in memory, in one of several files, after a stop
// and a crash, after the front and the end are cut.
func TestSet_Batch(t *testing.T) {
	dir := t.TempDir()
	open := func() *Set {
		s := NewBatchSet(vfs.OS, dir, 10*BatchUnitSize, 2)
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	q := s.New("t", 3)
	if q.Kind() != Batch || q.Kind().String() != "BatchCQ" {
		t.Fatal(q.Kind())
	}
	putBatches(t, s, q, 3)
	checkBatches(t, s, q, 0, 36)
	s.Quiet(q, -1)
	checkBatches(t, s, q, 0, 36)

	s = open()
	q = loaded(t, s, math.MaxInt64)
	checkBatches(t, s, q, 0, 36)
	putBatches(t, s, q, 100)
	checkBatches(t, s, q, 0, 1236)

	s = open()
	q = loaded(t, s, 110_000) // a crash: records from there on are not believed
	checkBatches(t, s, q, 0, 1100)
	for i := int64(1090); i < 1236; i++ {
		u := Unit{Physical: i * 100, Size: 100, Tag: i, StoreMs: 1000 + i, Count: counts[i%12]}
		base := int64(0)
		for j := range i {
			base += int64(counts[j%12])
		}
		if ok, err := s.Build(q, base, u); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	checkBatches(t, s, q, 0, 1236)
	if err := s.Flush(q); err != nil {
		t.Fatal(err)
	}
	if err := s.Cut(q, 119_950); err != nil {
		t.Fatal(err)
	}
	checkBatches(t, s, q, 0, 1200)
	if err := s.Trim(q, 99_999); err != nil {
		t.Fatal(err)
	}
	checkBatches(t, s, q, 1000, 1200)
	if err := s.Trim(q, math.MaxInt64); err != nil || q.Min() != q.Max() || q.Max() == 0 {
		t.Fatal(q.Min(), q.Max(), err)
	}

	s = open()
	q = loaded(t, s, math.MaxInt64)
	if q.Max() != 33200 { // the numbers go on
		t.Fatal(q.Max())
	}
	if ok, err := s.Build(q, 40_000, Unit{Physical: 120_000, Size: 100, Count: 3}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if u, _, err := s.Find(q, 40_002); err != nil || u.Physical != 120_000 || q.Max() != 40_003 {
		t.Fatal(u, err, q.Max())
	}
	if ok, _ := s.Build(q, -1, Unit{Size: 100, Count: 3}); ok {
		t.Error("a negative offset was taken")
	}
}

package consumequeue

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

func extSet(t *testing.T, dir string, size int64) *Set {
	t.Helper()
	s := NewSet(vfs.OS, filepath.Join(dir, "cq"), 200, 10)
	s.UseExt(vfs.OS, filepath.Join(dir, "ext"), size, 10)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// loaded opens the queues of a directory again; the only one is returned.
func loaded(t *testing.T, s *Set, limit int64) (q *Queue) {
	t.Helper()
	if err := s.Load(limit, func(found *Queue) error { q = found; return nil }); err != nil {
		t.Fatal(err)
	}
	return q
}

// Units have the addresses and bytes that Java gives them.
func TestSet_AddExt_Java(t *testing.T) {
	f, err := os.Open("testdata/cqext.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	s := extSet(t, dir, 4096)
	q := s.New("t", 0)
	rows := 0
	for lines := bufio.NewScanner(f); lines.Scan(); rows++ {
		var r struct {
			TagsCode, StoreTime, Address int64
			BitMap, File, Hex            string
			Value                        *int64
			IsExt                        bool
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Value != nil {
			if IsExt(*r.Value) != r.IsExt {
				t.Errorf("%d is an address: %v", *r.Value, !r.IsExt)
			}
			continue
		}
		if r.File != "" {
			if err := s.Flush(q); err != nil {
				t.Fatal(err)
			}
			want, _ := hex.DecodeString(r.Hex)
			got, err := os.ReadFile(filepath.Join(dir, "ext/t/0", segment.Name(0)))
			if err != nil || len(want) == 0 || !bytes.HasPrefix(got, want) {
				t.Fatalf("file is\n%.1500x (%v), not\n%.1500x", got, err, want)
			}
			continue
		}
		bits, _ := hex.DecodeString(r.BitMap)
		u := Unit{Physical: int64(rows), Size: 100}
		s.AddExt(q, &u, ExtUnit{r.TagsCode, r.StoreTime, bits})
		q.Put(u)
		if u.Tag != r.Address || !IsExt(u.Tag) {
			t.Fatalf("row %d has address %d, not %d", rows, u.Tag, r.Address)
		}
		if e, err := s.Ext(q, u, true); err != nil || e.Tag != r.TagsCode || e.StoreMs != r.StoreTime || !bytes.Equal(e.Bits, bits) {
			t.Fatalf("row %d: %+v %v", rows, e, err)
		}
	}
	if rows < 60 {
		t.Fatalf("%d rows", rows)
	}
}

// What was kept is found again over files, after a stop and after a crash; what belongs to units that are cut goes with
// them, and files in front of the first unit too.
func TestSet_Ext_Reopen(t *testing.T) {
	dir := t.TempDir()
	s := extSet(t, dir, 100)
	q := s.New("t", 0)
	add := func(s *Set, q *Queue, from, to int64) {
		for i := from; i < to; i++ {
			u := Unit{Physical: 100 * i, Size: 100}
			s.AddExt(q, &u, ExtUnit{Tag: i, StoreMs: 1000 + i, Bits: make([]byte, i%7)})
			q.Put(u)
		}
		if err := s.Flush(q); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s *Set, q *Queue, from, to int64) {
		t.Helper()
		if q.Min() != from || q.Max() != to {
			t.Fatalf("queue is [%d, %d), not [%d, %d)", q.Min(), q.Max(), from, to)
		}
		for i := from; i < to; i++ {
			u, err := s.Unit(q, i)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := s.Ext(q, u, true); err != nil || e.Tag != i || e.StoreMs != 1000+i || len(e.Bits) != int(i%7) {
				t.Fatalf("offset %d at %d: %+v %v", i, extPlace(u.Tag), e, err)
			}
		}
	}
	add(s, q, 0, 30)
	check(s, q, 0, 30)

	s = extSet(t, dir, 100)
	q = loaded(t, s, math.MaxInt64)
	check(s, q, 0, 30)
	add(s, q, 30, 33)

	s = extSet(t, dir, 100)
	q = loaded(t, s, 2050) // a crash: units from 21 on are not believed
	check(s, q, 0, 21)
	add(s, q, 21, 40)
	check(s, q, 0, 40)

	if err := s.Cut(q, 3500); err != nil {
		t.Fatal(err)
	}
	check(s, q, 0, 35)
	add(s, q, 35, 41)
	if err := s.Trim(q, 2500); err != nil {
		t.Fatal(err)
	}
	check(s, q, 25, 41)
	if _, err := os.Stat(filepath.Join(dir, "ext/t/0", segment.Name(0))); err == nil {
		t.Error("the first file is still there")
	}
	s = extSet(t, dir, 100)
	q = loaded(t, s, math.MaxInt64)
	if err := s.Trim(q, 2500); err != nil {
		t.Fatal(err)
	}
	check(s, q, 25, 41)
	if err := s.Delete(q); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "ext")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// Addresses that lead nowhere, and damaged files, are answered with nothing.
func TestSet_Ext_Bad(t *testing.T) {
	s := extSet(t, t.TempDir(), 100)
	q := s.New("t", 0)
	u := Unit{Size: 100}
	s.AddExt(q, &u, ExtUnit{Tag: 1})
	q.Put(u)
	for _, tag := range []int64{0, 7, -7, math.MinInt32, math.MinInt64 + 1, math.MinInt64 + 99, math.MinInt64 + 1<<40, math.MinInt32 - 1} {
		if e, err := s.Ext(q, Unit{Tag: tag}, true); err == nil {
			t.Errorf("%d leads to %+v", tag, e)
		}
	}
	if _, err := s.Ext(s.New("other", 0), u, true); err == nil {
		t.Error("a queue without Ext has one")
	}
	if u.Tag = 5; true {
		s.AddExt(q, &u, ExtUnit{Bits: make([]byte, 100)})
		if u.Tag != 5 {
			t.Error("a unit that no file can hold has an address")
		}
	}
}

func FuzzParseExt(f *testing.F) {
	u := ExtUnit{Tag: 1, StoreMs: 2, Bits: []byte{3}}
	f.Add(u.append(nil))
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, n, ok := parseExt(b); ok && !bytes.Equal(u.append(nil), b[:n]) {
			t.Errorf("%x is %+v", b, u)
		}
	})
}

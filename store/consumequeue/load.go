package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sort"
	"strconv"

	"rocketd/segment"
)

// Load finds all queues on the disk and calls fn for each. Units whose records start at limit or behind it are left
// out and made zero: their queue must be built again from there (math.MaxInt64 leaves none out). Names that are no topic directory with a queue id
// inside are passed over.
func (s *Set) Load(limit int64, fn func(q *Queue) error) error {
	topics, err := s.files.fs.ReadDir(s.files.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, t := range topics {
		if !t.IsDir() {
			continue
		}
		ids, err := s.files.fs.ReadDir(filepath.Join(s.files.dir, t.Name()))
		if err != nil {
			return err
		}
		for _, e := range ids {
			id, err := strconv.ParseInt(e.Name(), 10, 32)
			if err != nil || id < 0 || !e.IsDir() {
				continue
			}
			q := s.New(t.Name(), int32(id))
			if err := s.load(q, limit); err != nil {
				return fmt.Errorf("cannot load consume queue %s/%d: %w", q.topic, q.id, err)
			}
			if err := fn(q); err != nil {
				return err
			}
		}
	}
	return nil
}

// load finds the ends of one queue by bisection: units are written in order, so the good ones are in front.
func (s *Set) load(q *Queue, limit int64) error {
	clean := limit == math.MaxInt64
	starts, err := segment.List(s.files.fs, s.files.queueDir(q), s.files.size)
	if err != nil && !clean {
		if err = s.mend(q); err == nil {
			starts, err = segment.List(s.files.fs, s.files.queueDir(q), s.files.size)
		}
	}
	if err != nil || len(starts) == 0 {
		return err
	}
	q.base, q.named = starts[0], clean
	// Everything is readable until the end is known.
	lo, hi := starts[0]/UnitSize, (starts[len(starts)-1]+s.files.size)/UnitSize
	q.reset(lo, hi)
	bad := func(u Unit) bool { return !u.valid() || (!u.Filler() && u.Physical >= limit) }
	end, err := s.searchPage(q, lo, bad)
	if err == nil && end < 0 {
		end, err = s.search(q, lo, hi, bad)
	}
	if err != nil {
		return err
	}
	return s.cut(q, lo, end, hi, !clean)
}

// mend removes the files of a queue from the first one on that a crash left empty or that does not follow the one
// before: not every file system keeps the order of what was not synced, and what was not synced is built again.
func (s *Set) mend(q *Queue) error {
	entries, err := s.files.fs.ReadDir(s.files.queueDir(q))
	if err != nil {
		return err
	}
	var bad []int64
	next := int64(-1)
	for _, e := range entries {
		start, ok := segment.ParseName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if len(bad) > 0 || info.Size() == 0 || next >= 0 && start != next {
			bad = append(bad, start)
		}
		next = start + s.files.size
	}
	for i := len(bad) - 1; i >= 0; i-- {
		if err := s.removeFile(q, bad[i]); err != nil {
			return err
		}
	}
	return nil
}

// Cut takes the units off the end of a queue whose records start at limit or behind it.
func (s *Set) Cut(q *Queue, limit int64) error {
	lo, hi := q.base/UnitSize, q.Max()
	if q.base < 0 || lo >= hi {
		return nil
	}
	end, err := s.search(q, lo, hi, func(u Unit) bool { return !u.Filler() && u.Physical >= limit })
	if err != nil || end == hi {
		return err
	}
	return s.cut(q, lo, end, hi, true)
}

// cut makes end the end of a queue that went up to hi, and what lies behind it zero. The first file stays, so that
// the numbers of the queue go on.
func (s *Set) cut(q *Queue, lo, end, hi int64, all bool) error {
	if end > lo {
		if u, err := s.Unit(q, end-1); err != nil {
			return err
		} else if u.Filler() { // nothing but fillers
			end = lo
		}
	}
	size := s.files.size
	keep := max(roundUp(end*UnitSize, size), q.base+size) // first byte of the first file without good units
	if keep < roundUp(hi*UnitSize, size) {
		if err := s.remove(q, keep); err != nil {
			return err
		}
	}
	if tail := end * UnitSize; tail < keep {
		if err := s.zero(q, tail-tail%size, tail, all); err != nil {
			return err
		}
	}
	q.reset(lo, end)
	return nil
}

func roundUp(n, size int64) int64 { return (n + size - 1) / size * size }

// zero makes the file that starts at start zero from byte at on; unless all is set, only if it is not so at that
// place. A crash can leave zeros first and something behind them.
func (s *Set) zero(q *Queue, start, at int64, all bool) error {
	o, err := s.files.get(fileKey{q, start}, false)
	if err != nil {
		return err
	}
	var b [UnitSize]byte
	_, err = o.file.ReadAt(b[:], at-start)
	all = all || b != [UnitSize]byte{}
	if err == nil && all {
		err = o.file.Zero(at-start, start+s.files.size-at)
	}
	return errors.Join(err, s.files.put(o, all))
}

// Trim moves Min behind the units whose records start before physical, and behind fillers, and removes files that
// hold nothing else; the last file stays.
func (s *Set) Trim(q *Queue, physical int64) error {
	lo, hi := q.Min(), q.Max()
	if lo == hi {
		return nil
	}
	first, err := s.search(q, lo, hi, func(u Unit) bool { return !u.Filler() && u.Physical >= physical })
	if err != nil {
		return err
	}
	q.min.Store(first)
	size := s.files.size
	for q.base >= 0 && q.base+size <= min(first, q.end()-1)*UnitSize {
		if err := s.removeFile(q, q.base); err != nil {
			return err
		}
		q.base += size
	}
	return nil
}

// searchPage is search over the first page from lo on, which is all that most queues have; -1 if ok is false there.
func (s *Set) searchPage(q *Queue, lo int64, ok func(u Unit) bool) (int64, error) {
	var page [4096 / UnitSize * UnitSize]byte
	n, err := s.Read(q, lo, page[:])
	if err != nil {
		return 0, err
	}
	n /= UnitSize
	if i := sort.Search(n, func(i int) bool { return ok(ParseUnit(page[i*UnitSize:])) }); i < n {
		return lo + int64(i), nil
	}
	return -1, nil
}

// search returns the first offset in [lo, hi) for which ok is true, or hi. ok must be false up to it and true from
// there on.
func (s *Set) search(q *Queue, lo, hi int64, ok func(u Unit) bool) (int64, error) {
	var failed error
	n := sort.Search(int(hi-lo), func(i int) bool {
		u, err := s.Unit(q, lo+int64(i))
		if err != nil {
			failed = err
			return true
		}
		return ok(u)
	})
	return lo + int64(n), failed
}

// Last returns the last message's unit; ok is false if the queue has none.
func (s *Set) Last(q *Queue) (u Unit, ok bool, err error) {
	if q.Min() >= q.Max() {
		return u, false, nil
	}
	u, err = s.Unit(q, q.Max()-1)
	return u, err == nil && !u.Filler(), err
}

// maxOffset is more than any queue has messages; larger numbers come from damaged records.
const maxOffset = 1 << 50

// Build adds a unit at its own offset while a log is read again: one that is there already is passed over, and one that
// begins the numbers anew takes the place of what was there. The first
// of an empty queue may have any offset. Units that are missing in front of another become fillers; if more than a file
// of them were missing, which no sound log can explain, or if the offset cannot be one, the unit is left out and false
// returned.
func (s *Set) Build(q *Queue, offset int64, u Unit) (bool, error) {
	end := q.Max()
	switch {
	case offset < 0 || offset > maxOffset:
		return false, nil
	case offset < end:
		return true, s.restart(q, offset, u)
	case q.Min() == end && offset > end:
		if q.base >= 0 {
			if err := s.remove(q, 0); err != nil {
				return false, err
			}
		}
		q.reset(offset, offset)
	case offset-end > s.files.size/UnitSize:
		return false, nil
	}
	for q.Max() < offset {
		q.Put(Unit{Size: fillerSize})
	}
	q.Put(u)
	return true, nil
}

// restart adds a unit whose offset was given before. If its record lies behind all that the queue has, the topic was
// deleted in between, and the old units from there on were built again from the log. Else the unit is there.
func (s *Set) restart(q *Queue, offset int64, u Unit) error {
	if last, ok, err := s.Last(q); err != nil || ok && last.Physical >= u.Physical {
		return err
	}
	if err := s.Flush(q); err != nil {
		return err
	}
	if offset > q.Min() {
		if err := s.cut(q, q.Min(), offset, q.Max(), true); err != nil {
			return err
		}
	} else {
		if err := s.remove(q, 0); err != nil {
			return err
		}
		q.reset(offset, offset)
	}
	q.Put(u)
	return nil
}

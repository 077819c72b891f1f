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
	starts, err := s.files.list(q, clean)
	if err == nil {
		err = s.loadExt(q, clean)
	}
	if err != nil {
		return err
	}
	if len(starts) == 0 {
		return s.cutExt(q, 0, 0, true)
	}
	q.base, q.named = starts[0], clean
	// Everything is readable until the end is known.
	lo, hi := starts[0]/s.unit, (starts[len(starts)-1]+s.files.size)/s.unit
	q.reset(lo, hi)
	if err := s.sound(q, starts[0]); err != nil {
		return err
	}
	bad := func(u Unit) bool { return !s.kind.valid(u) || (!u.Filler() && u.Physical >= limit) }
	end, err := s.searchPage(q, lo, bad)
	if err == nil && end < 0 {
		end, err = s.search(q, lo, hi, bad)
	}
	if err != nil {
		return err
	}
	return s.cut(q, lo, end, hi, !clean)
}

// sound refuses the first file of a queue if it does not begin like one: what lies behind the end of a queue is made zero.
func (s *Set) sound(q *Queue, start int64) error {
	var head [UnitSize]byte
	if _, err := s.readFile(q, start, head[:]); err != nil {
		return err
	}
	if !SoundUnit(head[:]) {
		return &segment.ForeignError{Name: filepath.Join(s.Dir(q), segment.Name(start)),
			Problem: fmt.Sprintf("is no file of a consume queue (it begins with %q)", head[:]), Remedy: buildAgain}
	}
	return nil
}

// buildAgain is what to do about a queue that cannot be used.
const buildAgain = "bring it back from a copy; or move consumequeue, batchconsumequeue and consumequeue_ext away, " +
	"all queues are built from the commit log then"

// Cut takes the units off the end of a queue whose records start at limit or behind it.
func (s *Set) Cut(q *Queue, limit int64) error {
	lo, hi := q.base/s.unit, q.endUnit()
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
	keep := max(roundUp(end*s.unit, size), q.base+size) // first byte of the first file without good units
	if keep < roundUp(hi*s.unit, size) {
		if err := s.remove(q, keep); err != nil {
			return err
		}
	}
	if tail := end * s.unit; tail < keep {
		if err := s.zero(q, tail-tail%size, tail, all); err != nil {
			return err
		}
	}
	q.reset(lo, end)
	if err := s.cutExt(q, lo, end, all); err != nil {
		return err
	}
	return s.settle(q, lo, end)
}

// settle finds the offsets of a Batch queue whose units are [first, end).
func (s *Set) settle(q *Queue, first, end int64) error {
	if s.kind != Batch {
		return nil
	}
	var lo, hi Unit
	var err error
	if first < end {
		if lo, err = s.Unit(q, first); err == nil {
			hi, err = s.Unit(q, end-1)
		}
	}
	q.setOffsets(lo.Base, hi.Base+int64(hi.Count))
	return err
}

func roundUp(n, size int64) int64 { return (n + size - 1) / size * size }

// zero makes the file that starts at start zero from byte at on; unless all is set, only if it is not so at that
// place. A crash can leave zeros first and something behind them.
func (s *Set) zero(q *Queue, start, at int64, all bool) error {
	o, err := s.files.get(fileKey{q, start}, false)
	if err != nil {
		return err
	}
	var b [BatchUnitSize]byte
	_, err = o.file.ReadAt(b[:s.unit], at-start)
	all = all || b != [BatchUnitSize]byte{}
	if err == nil && all {
		err = o.file.Zero(at-start, start+s.files.size-at)
	}
	return errors.Join(err, s.files.put(o, all))
}

// Trim moves Min behind the units whose records start before physical, and behind fillers, and removes files that
// hold nothing else; the last file stays.
func (s *Set) Trim(q *Queue, physical int64) error {
	lo, hi := q.Units()
	if lo == hi || q.oldest.Load() >= physical || q.dead() {
		return nil
	}
	first, err := s.search(q, lo, hi, func(u Unit) bool { return !u.Filler() && u.Physical >= physical })
	if err != nil {
		return err
	}
	q.oldest.Store(-1)
	for ; first < hi; first++ {
		u, err := s.Unit(q, first)
		if err != nil {
			return err
		}
		if !u.Filler() {
			q.oldest.Store(u.Physical)
			break
		}
	}
	if err := s.setFirst(q, first); err != nil {
		return err
	}
	size := s.files.size
	for q.base >= 0 && q.base+size <= min(first, q.end()-1)*s.unit {
		if err := s.files.syncFile(fileKey{q, q.base + size}); err != nil { // it tells the numbers of the queue then
			return err
		}
		if err := s.files.removeFile(q, q.base); err != nil {
			return err
		}
		q.base += size
	}
	return s.trimExt(q, first)
}

// setFirst makes a unit the first one whose record is there.
func (s *Set) setFirst(q *Queue, first int64) error {
	min := first
	if s.kind == Batch {
		min = q.Max()
		if first < q.endUnit() {
			u, err := s.Unit(q, first)
			if err != nil {
				return err
			}
			min = u.Base
		}
		q.units.first.Store(first)
	}
	q.min.Store(min)
	return nil
}

// searchPage is search over the first page from lo on, which is all that most queues have; -1 if ok is false there.
func (s *Set) searchPage(q *Queue, lo int64, ok func(u Unit) bool) (int64, error) {
	var page [4096]byte
	n, err := s.Read(q, lo, page[:])
	if err != nil {
		return 0, err
	}
	unit := int(s.unit)
	n /= unit
	if i := sort.Search(n, func(i int) bool { return ok(s.message(page[i*unit : n*unit])) }); i < n {
		return lo + int64(i), nil
	}
	return -1, nil
}

// search returns the first number in [lo, hi) for which ok is true, or hi. ok must be false up to it and true from
// there on. A filler is judged by the message behind it: there are some in front of the first message, and one in the
// place of each record that the log has lost.
func (s *Set) search(q *Queue, lo, hi int64, ok func(u Unit) bool) (int64, error) {
	var failed error
	n := sort.Search(int(hi-lo), func(i int) bool {
		u, err := s.Unit(q, lo+int64(i))
		if err == nil && u.Filler() {
			u, err = s.behind(q, lo+int64(i), min(lo+int64(i)+lookAhead, hi))
		}
		if err != nil {
			failed = err
			return true
		}
		return ok(u)
	})
	return lo + int64(n), failed
}

// lookAhead is how many fillers are passed over to find the message behind them. Those that are farther away from it are
// taken to be in front of the first.
const lookAhead = 4096

// behind returns the first unit in [from, to) that is no filler, or a filler if there is none.
func (s *Set) behind(q *Queue, from, to int64) (u Unit, err error) {
	var page [4096]byte
	for u.Size = fillerSize; u.Filler() && from < to; {
		n, err := s.Read(q, from, page[:])
		if err != nil || n == 0 {
			return u, err
		}
		u = s.message(page[:n])
		from += int64(n) / s.unit
	}
	return u, nil
}

// message returns the first unit in b that is no filler, or a filler if there is none.
func (s *Set) message(b []byte) Unit {
	for at := 0; at+int(s.unit) <= len(b); at += int(s.unit) {
		if u := s.kind.parse(b[at:]); !u.Filler() {
			return u
		}
	}
	return Unit{Size: fillerSize}
}

// Last returns the last message's unit; ok is false if the queue has none.
func (s *Set) Last(q *Queue) (u Unit, ok bool, err error) {
	first, end := q.Units()
	if first >= end {
		return u, false, nil
	}
	u, err = s.Unit(q, end-1)
	return u, err == nil && !u.Filler(), err
}

// maxOffset is more than any queue has messages; larger numbers come from damaged records.
const maxOffset = 1 << 50

// Build adds a unit at its own offset while a log is read again: one that is there already is passed over, and one that
// begins the numbers anew takes the place of what was there. The first of an empty queue may have any offset. In a Simple
// queue, units that are missing in front of another become fillers; if more than a file of them were missing, which no
// sound log can explain, or if the offset cannot be one, the unit is left out and false returned.
func (s *Set) Build(q *Queue, offset int64, u Unit) (bool, error) {
	end := q.Max()
	switch {
	case offset < 0 || offset > maxOffset:
		return false, nil
	case offset < end:
		return true, s.restart(q, offset, u)
	case s.kind == Batch:
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
	for s.kind == Simple && q.Max() < offset {
		q.Put(Unit{Size: fillerSize})
	}
	u.Base = offset
	q.Put(u)
	return true, nil
}

// Number has the first message of an empty queue that has no files get an offset.
func (s *Set) Number(q *Queue, offset int64) {
	if q.base < 0 && q.Max() == 0 {
		q.reset(offset, offset)
	}
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
		_, number, err := s.Find(q, offset)
		if err == nil {
			err = s.cut(q, q.firstUnit(), number, q.endUnit(), true)
		}
		if err != nil {
			return err
		}
	} else {
		if err := s.remove(q, 0); err != nil {
			return err
		}
		if s.kind == Batch {
			q.reset(0, 0)
			q.setOffsets(offset, offset)
		} else {
			q.reset(offset, offset)
		}
	}
	u.Base = offset
	q.Put(u)
	return nil
}

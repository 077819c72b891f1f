package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"rocketd/internal/vfs"
)

// Set is all queues of a store: one directory, one limit of open files. It holds no list of its queues; the store
// does. Files of a queue lie in <dir>/<topic>/<queue id>/ and are named as those of a segment row.
//
// Reading may be done by any goroutine. Flush, Sync, Cut, Trim and Delete are called by one at a time.
type Set struct {
	kind    Kind
	unit    int64 // bytes of a unit
	files   files
	ext     *files         // nil: not used
	made    atomic.Uint32  // queues
	keep    int32          // units of a queue that stay in memory when they are written
	scratch [64 << 10]byte // of Flush
	syncing sync.Mutex
}

// NewSet returns the set of Simple queues below dir. fileSize is in bytes, a multiple of UnitSize; budget is how many
// files may be open at the same time.
func NewSet(f vfs.FS, dir string, fileSize int64, budget int) *Set {
	return newSet(Simple, f, dir, fileSize, budget)
}

// NewBatchSet returns the set of Batch queues below dir; fileSize is a multiple of BatchUnitSize.
func NewBatchSet(f vfs.FS, dir string, fileSize int64, budget int) *Set {
	return newSet(Batch, f, dir, fileSize, budget)
}

func newSet(kind Kind, f vfs.FS, dir string, fileSize int64, budget int) *Set {
	s := &Set{kind: kind, unit: int64(kind.unit()), keep: maxKeep, files: files{fs: f, dir: dir, size: fileSize, budget: max(budget, 1)}}
	s.files.init()
	return s
}

// The memory of units that were written, and the units of one queue that it holds.
const (
	keepBytes = 128 << 20
	maxKeep   = 1024
	minKeep   = 64
)

// Share says how many queues have units in memory. Those that stay there for consumers at the tail when they are written,
// become fewer with it, so that together they have a bound. It is called by who calls Flush.
func (s *Set) Share(queues int) {
	s.keep = int32(max(min(keepBytes/s.unit/int64(max(queues, 1)), maxKeep), minKeep))
}

// New returns a queue without messages. It touches no disk.
func (s *Set) New(topic string, id int32) *Queue {
	q := &Queue{topic: topic, id: id, kind: s.kind, base: -1, keep: maxKeep, number: s.made.Add(1)}
	q.oldest.Store(-1)
	if s.kind == Batch {
		q.units = new(span)
	}
	return q
}

// Dir is the directory of a queue's files.
func (s *Set) Dir(q *Queue) string { return s.files.queueDir(q) }

// Read copies units from number from on into dst, at most up to the end, and returns how many bytes it copied: whole
// units, at least one if from is one of q.Units, and not always as many as there are. After a read error, or if a
// file is gone, it returns 0 and the error.
func (s *Set) Read(q *Queue, from int64, dst []byte) (int, error) {
	dst = dst[:int64(len(dst))/s.unit*s.unit]
	if from < 0 || from >= q.endUnit() || len(dst) == 0 {
		return 0, nil
	}
	if n := q.copyTail(from, dst); n > 0 {
		return n, nil
	}
	n := min(int64(len(dst)), (q.tailFirst()-from)*s.unit)
	return s.readFile(q, from*s.unit, dst[:max(n, 0)])
}

// ErrWouldWait is returned by ReadCached for units that are not in memory.
var ErrWouldWait = vfs.ErrWouldWait

// ReadCached is Read for who must not wait for the disk. ErrWouldWait says that the units are not in memory, or their
// file is not open.
func (s *Set) ReadCached(q *Queue, from int64, dst []byte) (int, error) {
	dst = dst[:int64(len(dst))/s.unit*s.unit]
	if from < 0 || from >= q.endUnit() || len(dst) == 0 {
		return 0, nil
	}
	if n := q.copyTail(from, dst); n > 0 {
		return n, nil
	}
	n := min(int64(len(dst)), (q.tailFirst()-from)*s.unit)
	at, size := from*s.unit, s.files.size
	start := at - at%size
	dst = dst[:min(max(n, 0), start+size-at)]
	o := s.files.opened(fileKey{q, start})
	if o == nil {
		return 0, ErrWouldWait
	}
	got, err := vfs.ReadCached(o.file, dst, at-start)
	if e := s.files.put(o, false); err == nil {
		err = e
	}
	got -= got % int(s.unit)
	if err == nil && got == 0 {
		err = ErrWouldWait
	}
	return got, err
}

// readFile reads from one file.
func (s *Set) readFile(q *Queue, at int64, dst []byte) (int, error) {
	size := s.files.size
	start := at - at%size
	dst = dst[:min(int64(len(dst)), start+size-at)]
	o, err := s.files.get(fileKey{q, start}, false)
	if err != nil {
		return 0, err
	}
	_, err = o.file.ReadAt(dst, at-start)
	if e := s.files.put(o, false); err == nil {
		err = e
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read consume queue %s/%d at %d: %w", q.topic, q.id, at/s.unit, err)
	}
	return len(dst), nil
}

// Unit returns one unit by its number, which in a Simple queue is the offset of its message.
func (s *Set) Unit(q *Queue, number int64) (Unit, error) {
	var b [BatchUnitSize]byte
	n, err := s.Read(q, number, b[:s.unit])
	if err == nil && n == 0 {
		err = fmt.Errorf("consume queue %s/%d has no unit %d: %w", q.topic, q.id, number, fs.ErrNotExist)
	}
	if err != nil {
		return Unit{}, err
	}
	return s.kind.parse(b[:]), nil
}

// Find returns the unit of the message at offset, and its number. fs.ErrNotExist says that there is none.
func (s *Set) Find(q *Queue, offset int64) (Unit, int64, error) {
	first, end := q.Units()
	return s.find(q, offset, first, end)
}

func (s *Set) find(q *Queue, offset, first, end int64) (u Unit, number int64, err error) {
	number = offset
	if s.kind == Batch {
		number, err = s.search(q, first, end, func(u Unit) bool { return u.Base+int64(u.Count) > offset })
	}
	if err == nil {
		u, err = s.Unit(q, number)
	}
	return u, number, err
}

// FindCached is Find for who must not wait for the disk. ErrWouldWait says that the unit is not in memory.
func (s *Set) FindCached(q *Queue, offset int64) (Unit, int64, error) {
	first, end := q.tailFirst(), q.endUnit()
	if s.kind == Simple {
		if offset < first {
			return Unit{}, 0, ErrWouldWait
		}
		return s.Find(q, offset)
	}
	if first == end {
		return Unit{}, 0, ErrWouldWait
	}
	if u, err := s.Unit(q, first); err != nil || u.Base > offset {
		return Unit{}, 0, errors.Join(err, ErrWouldWait)
	}
	return s.find(q, offset, first, end)
}

// Flush writes the units of a queue that wait in memory to its files. They are on the disk after Sync.
func (s *Set) Flush(q *Queue) error {
	q.quiet = 0
	for !q.dead() {
		from := q.end() // units that come in after flushExt wait for the next round
		limit := q.endUnit()
		if err := s.flushExt(q); err != nil {
			return fmt.Errorf("cannot write consume queue ext %s/%d: %w", q.topic, q.id, err)
		}
		n := q.copyTail(from, s.scratch[:min(int64(len(s.scratch))/s.unit, limit-from)*s.unit])
		if n == 0 {
			return nil
		}
		if err := s.write(q, from*s.unit, s.scratch[:n]); err != nil {
			return fmt.Errorf("cannot write consume queue %s/%d: %w", q.topic, q.id, err)
		}
		q.mu.Lock()
		q.written = from + int64(n)/s.unit
		q.keep = s.keep
		q.shed(q.endUnit())
		q.mu.Unlock()
		if n+BatchUnitSize <= len(s.scratch) {
			return nil
		}
	}
	return nil
}

// write writes whole units at byte at of the queue.
func (s *Set) write(q *Queue, at int64, b []byte) error {
	size := s.files.size
	for len(b) > 0 {
		start := at - at%size
		if q.base < 0 {
			if err := s.fill(q, start, at); err != nil {
				return err
			}
			q.base = start
		}
		part := b[:min(int64(len(b)), start+size-at)]
		if err := s.writeFile(q, start, at, part); err != nil {
			return err
		}
		at += int64(len(part))
		b = b[len(part):]
	}
	return nil
}

func (s *Set) writeFile(q *Queue, start, at int64, b []byte) error {
	o, err := s.files.get(fileKey{q, start}, true)
	if err != nil {
		return err
	}
	_, err = o.file.WriteAt(b, at-start)
	return errors.Join(err, s.files.put(o, true))
}

// fill writes units without a message in front of a first one that does not start a file.
func (s *Set) fill(q *Queue, start, at int64) error {
	if start == at {
		return nil
	}
	b := make([]byte, at-start)
	for i := 0; i < len(b); i += UnitSize {
		s.kind.put(b[i:], Unit{Size: fillerSize})
	}
	return s.writeFile(q, start, start, b)
}

// Sync returns when all that was flushed is on the disk. Flush and Read may go on meanwhile.
func (s *Set) Sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.ext != nil {
		if err := s.ext.sync(); err != nil {
			return err
		}
	}
	return s.files.sync()
}

// Quiet is called for each queue that has units in memory, once a round. After rounds without a Flush it lets go of
// the memory and of the file; then it returns true and need not be called until the next Flush.
func (s *Set) Quiet(q *Queue, rounds int) bool {
	q.quiet++
	if q.dead() {
		return true
	}
	if int(q.quiet) <= rounds || !q.release() {
		return false
	}
	if last := q.endUnit() - 1; last >= 0 {
		at := last * s.unit
		_ = s.files.close1(fileKey{q, at - at%s.files.size})
	}
	return true
}

// Delete removes a queue with its files. Who still holds it can Put and Read, but nothing is written.
func (s *Set) Delete(q *Queue) error {
	q.state.Or(dead)
	if s.ext != nil {
		if err := s.ext.remove(q, 0); err != nil {
			return err
		}
	}
	return s.remove(q, 0)
}

// remove removes the files of a queue that start at byte from or behind it; with from 0 all of it.
func (s *Set) remove(q *Queue, from int64) error {
	if from <= 0 {
		q.base = -1
	}
	return s.files.remove(q, from)
}

// Close closes all files. What was not flushed is lost to this directory and must be built again.
func (s *Set) Close() error {
	err := s.files.close()
	if s.ext != nil {
		err = errors.Join(err, s.ext.close())
	}
	return err
}

package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// Set is all queues of a store: one directory, one limit of open files. It holds no list of its queues; the store
// does. Files of a queue lie in <dir>/<topic>/<queue id>/ and are named as those of a segment row.
//
// Reading may be done by any goroutine. Flush, Sync, Cut, Trim and Delete are called by one at a time.
type Set struct {
	files   files
	scratch [64 << 10]byte // of Flush
	syncing sync.Mutex
}

// NewSet returns the set of queues below dir. fileSize is in bytes, a multiple of UnitSize; budget is how many files
// may be open at the same time.
func NewSet(f vfs.FS, dir string, fileSize int64, budget int) *Set {
	s := &Set{files: files{fs: f, dir: dir, size: fileSize, budget: max(budget, 1)}}
	s.files.init()
	return s
}

// New returns a queue without messages. It touches no disk.
func (s *Set) New(topic string, id int32) *Queue {
	return &Queue{topic: topic, id: id, base: -1}
}

// Read copies units from offset from on into dst, at most up to Max, and returns how many bytes it copied: whole
// units, at least one if from is in [Min, Max), and not always as many as there are. After a read error, or if a
// file is gone, it returns 0 and the error.
func (s *Set) Read(q *Queue, from int64, dst []byte) (int, error) {
	dst = dst[:len(dst)/UnitSize*UnitSize]
	if from < 0 || from >= q.Max() || len(dst) == 0 {
		return 0, nil
	}
	if n := q.copyTail(from, dst); n > 0 {
		return n, nil
	}
	n := min(int64(len(dst)), (q.tailFirst()-from)*UnitSize)
	return s.readFile(q, from*UnitSize, dst[:max(n, 0)])
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
		return 0, fmt.Errorf("cannot read consume queue %s/%d at %d: %w", q.topic, q.id, at/UnitSize, err)
	}
	return len(dst), nil
}

// Unit returns the unit of one message.
func (s *Set) Unit(q *Queue, offset int64) (Unit, error) {
	var b [UnitSize]byte
	n, err := s.Read(q, offset, b[:])
	if err == nil && n == 0 {
		err = fmt.Errorf("consume queue %s/%d has no offset %d: %w", q.topic, q.id, offset, fs.ErrNotExist)
	}
	if err != nil {
		return Unit{}, err
	}
	return ParseUnit(b[:]), nil
}

// Flush writes the units of a queue that wait in memory to its files. They are on the disk after Sync.
func (s *Set) Flush(q *Queue) error {
	q.quiet = 0
	for !q.dead.Load() {
		from := q.end()
		n := q.copyTail(from, s.scratch[:])
		if n == 0 {
			return nil
		}
		if err := s.write(q, from*UnitSize, s.scratch[:n]); err != nil {
			return fmt.Errorf("cannot write consume queue %s/%d: %w", q.topic, q.id, err)
		}
		q.mu.Lock()
		q.written = from + int64(n/UnitSize)
		q.mu.Unlock()
		if n < len(s.scratch) {
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
		Unit{Size: fillerSize}.put(b[i:])
	}
	return s.writeFile(q, start, start, b)
}

// Sync returns when all that was flushed is on the disk. Flush and Read may go on meanwhile.
func (s *Set) Sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	return s.files.sync()
}

// Quiet is called for each queue that has units in memory, once a round. After rounds without a Flush it lets go of
// the memory; then it returns true and need not be called until the next Flush.
func (s *Set) Quiet(q *Queue, rounds int) bool {
	q.quiet++
	return q.dead.Load() || (q.quiet > rounds && q.release())
}

// Delete removes a queue with its files. Who still holds it can Put and Read, but nothing is written.
func (s *Set) Delete(q *Queue) error {
	q.dead.Store(true)
	return s.remove(q, 0)
}

// remove removes the files of a queue that start at byte from or behind it, and the directory when it is empty.
func (s *Set) remove(q *Queue, from int64) error {
	dir := s.files.queueDir(q)
	starts, err := segment.List(s.files.fs, dir, s.files.size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := len(starts) - 1; i >= 0 && starts[i] >= from; i-- {
		if err := s.removeFile(q, starts[i]); err != nil {
			return err
		}
	}
	if from <= 0 {
		q.base = -1
		if err := s.files.fs.Remove(dir); err != nil {
			return err
		}
		topic := filepath.Dir(dir)
		err := s.files.fs.SyncDir(topic)
		_ = s.files.fs.Remove(topic) // fails while it has other queues
		return err
	}
	return nil
}

// removeFile removes one file of a queue, durably: see segment.Row.
func (s *Set) removeFile(q *Queue, start int64) error {
	if err := s.files.forget(fileKey{q, start}); err != nil {
		return err
	}
	dir := s.files.queueDir(q)
	if err := s.files.fs.Remove(filepath.Join(dir, segment.Name(start))); err != nil {
		return err
	}
	return s.files.fs.SyncDir(dir)
}

// Close closes all files. What was not flushed is lost to this directory and must be built again.
func (s *Set) Close() error { return s.files.close() }

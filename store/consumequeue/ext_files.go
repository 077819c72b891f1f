package consumequeue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// UseExt makes the set read the Ext files of its queues, in <dir>/<topic>/<queue id>/, from Load on. fileSize is in
// bytes, budget as in NewSet.
func (s *Set) UseExt(f vfs.FS, dir string, fileSize int64, budget int) {
	s.ext = &files{fs: f, dir: dir, size: fileSize, budget: max(budget, 1), nameless: true}
	s.ext.init()
}

// AddExt keeps e for the message whose unit will be u, and makes the tag of u its address. Only the appender calls it,
// in the order of Put, after UseExt.
func (s *Set) AddExt(q *Queue, u *Unit, e ExtUnit) {
	x := q.ext.Load()
	if x == nil {
		x = &ext{size: s.ext.size, base: -1}
		q.ext.Store(x)
	}
	if address, ok := x.add(&e); ok {
		u.Tag = address
	}
}

// Ext returns what was kept for the message of u. fs.ErrNotExist says that nothing was, ErrWouldWait, without wait, that it
// is not in memory.
func (s *Set) Ext(q *Queue, u Unit, wait bool) (ExtUnit, error) {
	x := q.ext.Load()
	if x == nil || !IsExt(u.Tag) {
		return ExtUnit{}, fs.ErrNotExist
	}
	at := extPlace(u.Tag)
	b, ok := x.unitInMemory(at)
	if !ok && !wait {
		return ExtUnit{}, ErrWouldWait
	}
	if !ok {
		var err error
		if b, err = s.extBytes(q, x, at, extMin); err != nil {
			return ExtUnit{}, err
		}
		if size := int(int16(binary.BigEndian.Uint16(b))); size > extMin {
			if b, err = s.extBytes(q, x, at, size); err != nil {
				return ExtUnit{}, err
			}
		}
	}
	if e, _, ok := parseExt(b); ok {
		return e, nil
	}
	return ExtUnit{}, fmt.Errorf("consume queue ext %s/%d has no unit at %d: %w", q.topic, q.id, at, fs.ErrNotExist)
}

// extBytes reads up to n bytes, not beyond the end of a file.
func (s *Set) extBytes(q *Queue, x *ext, at int64, n int) ([]byte, error) {
	if at < 0 {
		return nil, fs.ErrNotExist
	}
	if b, ok := x.inMemory(at, n); ok {
		return b, nil
	}
	start := at - at%x.size
	o, err := s.ext.get(fileKey{q, start}, false)
	if err != nil {
		return nil, err
	}
	b := make([]byte, max(min(int64(n), start+x.size-at), 2))
	_, err = o.file.ReadAt(b, at-start)
	return b, errors.Join(err, s.ext.put(o, false))
}

// flushExt writes what waits in memory.
func (s *Set) flushExt(q *Queue) error {
	x := q.ext.Load()
	if x == nil {
		return nil
	}
	b, at := x.unwritten()
	for len(b) > 0 {
		start := at - at%x.size
		part := b[:min(int64(len(b)), start+x.size-at)]
		o, err := s.ext.get(fileKey{q, start}, true)
		if err != nil {
			return err
		}
		_, err = o.file.WriteAt(part, at-start)
		if err = errors.Join(err, s.ext.put(o, true)); err != nil {
			return err
		}
		if x.base < 0 {
			x.base = start
		}
		x.wrote(len(part))
		at += int64(len(part))
		b = b[len(part):]
	}
	return nil
}

// loadExt finds the Ext files of a queue. All they hold counts until cutExt.
func (s *Set) loadExt(q *Queue, clean bool) error {
	if s.ext == nil {
		return nil
	}
	starts, err := s.ext.list(q, clean)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(starts) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ext: %w", err)
	}
	x := &ext{size: s.ext.size, base: starts[0], written: starts[len(starts)-1] + s.ext.size}
	head, err := s.extBytes(q, x, x.base, extMin)
	if err != nil {
		return fmt.Errorf("ext: %w", err)
	}
	if !SoundExt(head) {
		return &segment.ForeignError{Name: filepath.Join(s.ext.queueDir(q), segment.Name(x.base)),
			Problem: fmt.Sprintf("is no file of a consume queue ext (it begins with %q)", head), Remedy: buildAgain}
	}
	q.ext.Store(x)
	return nil
}

// cutExt ends the Ext behind what the last of the units [first, end) points to, and makes the rest zero; with all unset,
// only if it is not so at that place. Source: Java ConsumeQueueExt.recover, truncateByMaxAddress.
func (s *Set) cutExt(q *Queue, first, end int64, all bool) error {
	x := q.ext.Load()
	if x == nil {
		return nil
	}
	if err := s.flushExt(q); err != nil || x.base < 0 {
		return err
	}
	keep := x.base
	if first < end {
		u, err := s.Unit(q, end-1)
		if err != nil {
			return err
		}
		if IsExt(u.Tag) {
			keep = extPlace(u.Tag) + s.extSize(q, x, extPlace(u.Tag))
		} else if keep, err = s.extEnd(q, x); err != nil {
			return err
		}
	}
	if keep < x.base || keep > x.written { // an address that leads nowhere
		var err error
		if keep, err = s.extEnd(q, x); err != nil {
			return err
		}
	}
	next := max(roundUp(keep, x.size), x.base+x.size)
	if next < x.written {
		if err := s.ext.remove(q, next); err != nil {
			return err
		}
	}
	if keep < next {
		start := next - x.size
		var was [extMin]byte
		o, err := s.ext.get(fileKey{q, start}, false)
		if err != nil {
			return err
		}
		n := min(int64(extMin), next-keep)
		_, err = o.file.ReadAt(was[:n], keep-start)
		all = all || was != [extMin]byte{}
		if err == nil && all {
			err = o.file.Zero(keep-start, next-keep)
		}
		if err = errors.Join(err, s.ext.put(o, all)); err != nil {
			return err
		}
	}
	x.reset(keep)
	return nil
}

// extSize is the length of the unit at a place; of one that cannot be read, the least.
func (s *Set) extSize(q *Queue, x *ext, at int64) int64 {
	b, err := s.extBytes(q, x, at, extMax)
	if err == nil {
		if _, n, ok := parseExt(b); ok {
			return int64(n)
		}
	}
	return extMin
}

// extEnd walks over the last file to where its units end.
func (s *Set) extEnd(q *Queue, x *ext) (int64, error) {
	at := x.written - 1
	at -= at % x.size
	end := at + x.size
	for at < end {
		b, err := s.extBytes(q, x, at, 64<<10)
		if err != nil && err != io.EOF {
			return 0, err
		}
		was := at
		for {
			_, n, ok := parseExt(b)
			if !ok {
				break
			}
			at += int64(n)
			b = b[n:]
		}
		if at == was {
			break
		}
	}
	return at, nil
}

// trimExt removes the Ext files in front of what the first unit points to; the last file stays.
func (s *Set) trimExt(q *Queue, first int64) error {
	x := q.ext.Load()
	if x == nil || x.base < 0 || first >= q.endUnit() {
		return nil
	}
	u, err := s.Unit(q, first)
	if err != nil || !IsExt(u.Tag) {
		return err
	}
	for at := extPlace(u.Tag); x.base+x.size <= at && x.base+x.size < x.written; x.base += x.size {
		if err := s.ext.removeFile(q, x.base); err != nil {
			return err
		}
	}
	return nil
}

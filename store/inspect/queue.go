package inspect

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"rocketd/internal/vfs"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// queue is one queue while the log is read: its entries are in the order of the log, so each is looked at once, when
// its record comes by.
type queue struct {
	*queueFiles
	next int64 // first entry not looked at
	last int64 // offset of the last record that belongs here, -1: none
	max  int64 // behind the last entry
	junk int64 // behind max, where something is written; 0: nothing is

	buf   []byte // entries from bufAt on
	bufAt int64

	lost    run // records without an entry, since the numbers began
	orphans int64
	broken  bool // something is wrong that building it again mends
	extSize int64
}

func newQueue(f *queueFiles) *queue { return &queue{queueFiles: f, next: f.first(), last: -1} }

// run is records, one behind the other in a queue, that lack an entry.
type run struct {
	count    int64
	offset   int64  // of the first
	physical int64  // of the first
	instead  string // what stands at the place of the first
	last     int64  // physical of the last
}

// unit is an entry as it stands in the file.
type unit struct {
	consumequeue.Unit
	storeMs, base int64 // the rest of batch queues only
	count         int16
}

func (u unit) written() bool { return u.Physical >= 0 && u.Size > 0 }

func (q *queue) parse(b []byte) unit {
	u := unit{Unit: consumequeue.ParseUnit(b)}
	if q.batch {
		be := binary.BigEndian
		u.storeMs, u.base, u.count = int64(be.Uint64(b[20:])), int64(be.Uint64(b[28:])), int16(be.Uint16(b[36:]))
	}
	return u
}

// unit returns the i-th entry; ok is false if there is no file for it, or nothing is written there.
func (v *verifier) unit(q *queue, i int64) (u unit, ok bool, err error) {
	us := q.unitSize()
	if at := i - q.bufAt; at < 0 || (at+1)*us > int64(len(q.buf)) {
		if err := v.fill(q, i); err != nil {
			return u, false, err
		}
		if len(q.buf) == 0 {
			return u, false, nil
		}
	}
	u = q.parse(q.buf[(i-q.bufAt)*us:])
	return u, u.written(), nil
}

// fill reads entries from i on; q.buf is empty if there is no file for them.
func (v *verifier) fill(q *queue, i int64) error {
	us := q.unitSize()
	q.bufAt, q.buf = i, q.buf[:0]
	start, ok := q.file(i * us)
	if !ok {
		return nil
	}
	if cap(q.buf) == 0 {
		q.buf = make([]byte, 0, v.unitsAtOnce*us)
	}
	n := min(int64(cap(q.buf)), start+q.size-i*us)
	b := q.buf[:n]
	name := filepath.Join(q.dir, segment.Name(start))
	file, err := v.s.cfg.FS.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot read consume queue: %w", err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	have := max(min(n, start+size-i*us), 0)
	clear(b[have:])
	if err := readFull(file, b[:have], i*us-start); err != nil {
		v.unreadable(name, i*us-start, err)
		q.broken = true
		clear(b)
	}
	v.report.Read += n
	q.buf = b
	return nil
}

// behind looks at what lies behind the last entry, from entry i on, and returns the first that is not zero; ok is false if
// all is.
func (v *verifier) behind(q *queue, i int64) (at int64, ok bool, err error) {
	us := q.unitSize()
	for _, start := range q.starts {
		if start+q.size <= i*us {
			continue
		}
		name := filepath.Join(q.dir, segment.Name(start))
		file, err := v.s.cfg.FS.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return 0, false, fmt.Errorf("cannot read consume queue: %w", err)
		}
		at, ok, err := v.firstWritten(file, max(i*us-start, 0), q.size)
		_ = file.Close()
		if ok || err != nil {
			return (start + at) / us, ok, err
		}
	}
	return 0, false, nil
}

// firstWritten returns the first byte of a file from off on that is not zero.
func (v *verifier) firstWritten(f vfs.File, off, size int64) (int64, bool, error) {
	have, err := f.Size()
	if err != nil {
		return 0, false, err
	}
	n := int64(pageBytes) // at first: most queues have no more
	for size = min(size, have); off < size; n = int64(len(v.zeros)) {
		next, err := vfs.NextData(f, off)
		if err != nil || next >= size {
			return 0, false, nil
		}
		off = max(off, next)
		b := v.zeros[:min(n, size-off)]
		if readFull(f, b, off) != nil {
			return 0, false, nil
		}
		v.report.Read += int64(len(b))
		if i := notZero(b); i >= 0 {
			return off + int64(i), true, nil
		}
		off += int64(len(b))
	}
	return 0, false, nil
}

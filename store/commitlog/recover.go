package commitlog

import (
	"errors"
	"fmt"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
)

// scanBytes is how much a scan reads at once.
const scanBytes = 1 << 20

// End says why a scan ended where it did.
type End struct {
	Physical int64  // behind the last whole record
	Last     int64  // start of the last whole record, -1 if there was none
	LastMs   int64  // its store time
	Records  int64  // how many there were
	Reason   string // for people
}

// Scan reads records from the one that starts at from, until there are no more, and calls fn for each; the record
// is valid until fn returns. A record counts if all of this holds: its magic, its size and the lengths inside agree,
// its body has the stored checksum, and its stored position is where it lies. The last is what tells a record from
// the leftovers of an older one.
// Source: Java CommitLog.recoverAbnormally, checkMessageAndReturnSize; writeWithoutMmap for the leftovers.
func (l *Log) Scan(from int64, fn func(r *message.Record) error) (End, error) {
	end := End{Physical: from, Last: -1}
	w := window{log: l}
	for {
		f := l.row.Find(end.Physical)
		if f == nil {
			end.Reason = "end of the last file"
			return end, nil
		}
		rec, blank, err := w.record(f, end.Physical)
		if err != nil {
			var bad *badRecord
			if !errors.As(err, &bad) {
				return end, err
			}
			end.Reason = bad.reason
			return end, nil
		}
		if blank {
			end.Physical = f.End()
			continue
		}
		if err := fn(&rec); err != nil {
			return end, err
		}
		end.Last, end.LastMs = rec.Physical, rec.StoreMs
		end.Physical += int64(rec.Size)
		end.Records++
	}
}

// Check tells whether a whole record lies at off.
func (l *Log) Check(off int64) (message.Record, bool) {
	f := l.row.Find(off)
	if f == nil {
		return message.Record{}, false
	}
	w := window{log: l}
	rec, blank, err := w.record(f, off)
	return rec, err == nil && !blank
}

// Starts returns the first offset of each file, ascending.
func (l *Log) Starts() []int64 {
	var s []int64
	for _, f := range l.row.Files() {
		s = append(s, f.Start())
	}
	return s
}

// Cut ends the log at end, durably: what lies behind it is zero, and later files are gone, so that it never comes
// back. What lies in [from, end) was found in the page cache, perhaps only there: it is written again and synced. A sync
// alone would not do: after one that failed, pages are taken for clean though the disk does not have them. From then
// on the log can be appended to.
func (l *Log) Cut(from, end int64) error {
	if err := l.row.DropFrom(end); err != nil {
		return err
	}
	buf := make([]byte, min(scanBytes, max(end-from, 0)))
	for _, f := range l.row.Files() {
		for at := max(from, f.Start()); at < min(end, f.End()); {
			b := buf[:min(int64(len(buf)), min(end, f.End())-at)]
			err := l.ReadAt(b, at)
			if err == nil {
				err = f.WriteAt(b, at)
			}
			if err != nil {
				return err
			}
			at += int64(len(b))
		}
		if end < f.End() {
			if err := f.Zero(end, f.End()); err != nil {
				return err
			}
			if err := f.Reserve(); err != nil && !vfs.IsFull(err) { // if it is, an Append will tell
				return err
			}
		}
		if from < f.End() {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	l.max.Store(end)
	l.flushed.Store(end)
	return nil
}

// badRecord ends a scan.
type badRecord struct{ reason string }

func (e *badRecord) Error() string { return e.reason }

// window is a piece of the log in memory, moved forward over it.
type window struct {
	log   *Log
	buf   []byte
	start int64
}

// bytes returns n bytes from off, which lie in f. They are valid until the next call.
func (w *window) bytes(f *segment.File, off, n int64) ([]byte, error) {
	if off < w.start || off+n > w.start+int64(len(w.buf)) {
		want := min(max(n, scanBytes), f.End()-off)
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.buf = w.buf[:want]
		w.start = off
		if err := w.log.ReadAt(w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[off-w.start:][:n:n], nil
}

// record reads what lies at off in f: a record, a blank, or nothing of worth, which is a badRecord.
func (w *window) record(f *segment.File, off int64) (rec message.Record, blank bool, err error) {
	left := f.End() - off
	if left < message.BlankSize {
		return rec, false, &badRecord{"file ends without a blank"}
	}
	head, err := w.bytes(f, off, message.BlankSize)
	if err != nil {
		return rec, false, err
	}
	size, magic := message.PeekSize(head)
	switch {
	case magic == message.MagicBlank:
		return rec, true, nil
	case magic == 0 && size == 0:
		return rec, false, &badRecord{"nothing written"}
	case magic != message.MagicV1 && magic != message.MagicV2:
		return rec, false, &badRecord{fmt.Sprintf("magic %#08x", uint32(magic))}
	case size < message.MinSize || int64(size) > left:
		return rec, false, &badRecord{fmt.Sprintf("size %d with %d bytes left", size, left)}
	}
	if err := w.lengths(f, off, int64(size)); err != nil {
		return rec, false, err
	}
	b, err := w.bytes(f, off, int64(size))
	if err != nil {
		return rec, false, err
	}
	rec, err = message.Decode(b)
	switch {
	case err != nil:
		return rec, false, &badRecord{err.Error()}
	case rec.Physical != off:
		return rec, false, &badRecord{fmt.Sprintf("record belongs to position %d", rec.Physical)}
	case !rec.CheckCRC():
		return rec, false, &badRecord{"body has a wrong checksum"}
	}
	return rec, false, nil
}

// lengths looks at the body length of a record that is larger than the window, before memory is spent on it: no size
// is believed that the body length does not confirm.
func (w *window) lengths(f *segment.File, off, size int64) error {
	if size <= scanBytes {
		return nil
	}
	head, err := w.bytes(f, off, message.HeadBytes)
	if err != nil {
		return err
	}
	if body := message.PeekBody(head); body < 0 || size-body < message.MinSize || size-body > message.MaxOverhead {
		return &badRecord{fmt.Sprintf("size %d around a body of %d", size, body)}
	}
	return nil
}

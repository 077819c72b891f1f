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

// pageSize is what a disk may lose at once.
const pageSize = 4096

// End says why a scan ended where it did.
type End struct {
	Physical int64  // behind the last whole record
	Last     int64  // start of the last whole record, -1 if there was none
	LastMs   int64  // its store time
	Records  int64  // how many there were
	Reason   string // for people; NothingWritten if the rest of the file was never used
}

// NothingWritten is the Reason of an end where zeros follow.
const NothingWritten = "nothing written"

// Visit is whom a scan tells what it finds, in the order of the log.
type Visit struct {
	// Record is called for each whole record, which is valid until it returns.
	Record func(r *message.Record) error
	// Gap is called for what is no whole record and has whole ones behind it. If it returns false, the log ends before
	// the gap. Nil passes over it.
	Gap func(g Gap) (goOn bool, err error)
	// Follows is asked about the first whole record behind a gap: false says that it cannot have been written behind
	// what was found before it, and is left from an older end of the log. Nil takes every record.
	Follows func(r *message.Record) bool
	// Until, if not 0, is where the scan ends at the latest: an end of the log that it had once. It makes a scan of a
	// log that grows safe.
	Until int64
}

// Scan is Walk for who wants the whole records only.
func (l *Log) Scan(from int64, fn func(r *message.Record) error) (End, error) {
	return l.Walk(from, Visit{Record: fn})
}

// Walk reads records from the one that starts at from, until there are no more. A record counts if all of this
// holds: its magic, its size and the lengths inside agree, its body has the stored checksum, and its stored position
// is where it lies. The last is what tells a record from the leftovers of an older one. Where one does not count, the
// scan goes on with the next one that does, and the bytes between are a Gap; if there is none, the log ends.
// Source: Java CommitLog.recoverAbnormally, checkMessageAndReturnSize; writeWithoutMmap for the leftovers. Java ends
// at the first record that does not count.
func (l *Log) Walk(from int64, v Visit) (End, error) {
	end := End{Physical: from, Last: -1}
	w := window{log: l}
	for {
		if v.Until != 0 && end.Physical >= v.Until {
			end.Reason = "end asked for"
			return end, nil
		}
		f := l.row.Find(end.Physical)
		if f == nil {
			end.Reason = "end of the last file"
			return end, nil
		}
		rec, blank, err := w.record(f, end.Physical)
		var bad *badRecord
		switch {
		case errors.As(err, &bad):
			next, goOn, err := w.gap(f, end.Physical, bad, v)
			if err != nil {
				return end, err
			}
			if !goOn {
				end.Reason = bad.reason
				return end, nil
			}
			end.Physical = next
			continue
		case err != nil:
			return end, err
		case blank:
			end.Physical = f.End()
			continue
		}
		if err := v.Record(&rec); err != nil {
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

// File returns the name of the file that holds the byte at off, or "".
func (l *Log) File(off int64) string {
	if f := l.row.Find(off); f != nil {
		return f.Name()
	}
	return ""
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
// back; the first file stays, so that the log is known to begin there. What lies in [from, end) was found in the page
// cache, perhaps only there: it is written again and synced, or, without wait, left to the next Sync. A sync
// alone would not do: after one that failed, pages are taken for clean though the disk does not have them. From then
// on the log can be appended to.
func (l *Log) Cut(from, end int64, wait bool) error {
	l.max.Store(end) // before anything changes: readers look at it again when they have copied
	l.flushed.Store(from)
	if err := l.row.DropFrom(max(end, l.Min()+1)); err != nil {
		return err
	}
	buf := make([]byte, min(scanBytes, max(end-from, 0)))
	for _, f := range l.row.Files() {
		for at := max(from, f.Start()); at < min(end, f.End()); {
			b := buf[:min(int64(len(buf)), min(end, f.End())-at)]
			if err := l.rewrite(f, b, at); err != nil {
				return err
			}
			at += int64(len(b))
		}
		sync := wait && from < f.End()
		if at := max(end, f.Start()); at < f.End() && (wait || l.Written(at, f.End()) > at) {
			if err := f.Zero(at, f.End()); err != nil {
				return err
			}
			if err := f.Reserve(); err != nil && !vfs.IsFull(err) { // if it is, an Append will tell
				return err
			}
			sync = true
		}
		if sync {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	if wait {
		l.flushed.Store(end)
	}
	return nil
}

// Restart drops all files, last first, durably, and makes physical, the start of a file, the place of the next record.
func (l *Log) Restart(physical int64) error {
	if err := l.row.DropFrom(0); err != nil {
		return err
	}
	if _, err := l.row.Add(physical); err != nil && !vfs.IsFull(err) { // if it is, an Append will tell
		return err
	}
	l.max.Store(physical)
	l.flushed.Store(physical)
	return nil
}

// rewrite writes len(b) bytes of f from at on as they are. Pages that cannot be read are damaged, and stay as they are.
func (l *Log) rewrite(f *segment.File, b []byte, at int64) error {
	if l.row.ReadDisk(b, at) == nil {
		return f.WriteAt(b, at)
	}
	for len(b) > 0 {
		n := min(int64(len(b)), pageSize-at%pageSize)
		if l.row.ReadDisk(b[:n], at) == nil {
			if err := f.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		b, at = b[n:], at+n
	}
	return nil
}

// badRecord says why what lies in the log is no whole record.
type badRecord struct {
	reason string
	record *message.Record // if only the checksum of the body is wrong
	err    error           // if it could not be read
}

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
		err := w.log.row.ReadDisk(w.buf, off)
		if err != nil && want > n { // perhaps what is asked for can be read
			w.buf = w.buf[:n]
			err = w.log.row.ReadDisk(w.buf, off)
		} else {
			w.log.row.WillNeed(off+want, off+2*want)
		}
		if err != nil {
			w.buf = w.buf[:0]
			if errors.Is(err, segment.ErrGone) {
				return nil, err
			}
			return nil, &badRecord{reason: err.Error(), err: err}
		}
	}
	return w.buf[off-w.start:][:n:n], nil
}

// record reads what lies at off in f: a record, a blank, or nothing of worth, which is a badRecord.
func (w *window) record(f *segment.File, off int64) (rec message.Record, blank bool, err error) {
	left := f.End() - off
	if left < message.BlankSize {
		return rec, false, &badRecord{reason: "file ends without a blank"}
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
		return rec, false, &badRecord{reason: NothingWritten}
	case magic != message.MagicV1 && magic != message.MagicV2:
		return rec, false, &badRecord{reason: fmt.Sprintf("magic %#08x", uint32(magic))}
	case size < message.MinSize || int64(size) > left:
		return rec, false, &badRecord{reason: fmt.Sprintf("size %d with %d bytes left", size, left)}
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
		return rec, false, &badRecord{reason: err.Error()}
	case rec.Physical != off:
		return rec, false, &badRecord{reason: fmt.Sprintf("record belongs to position %d", rec.Physical)}
	case w.log.props && !message.CheckPropCRC(b):
		return rec, false, &badRecord{reason: "property checksum is wrong or missing"}
	case !rec.CheckCRC():
		damaged := rec
		return rec, false, &badRecord{reason: "body has a wrong checksum", record: &damaged}
	case w.log.tornTail(f, &rec):
		return rec, false, &badRecord{reason: "its end was never written"}
	}
	return rec, false, nil
}

// tornTail tells whether the end of the last record of the log was never written. The checksum covers the body alone: of
// a record whose last sector a power cut has kept from the disk, topic or properties end with zeros and all the rest
// looks right.
func (l *Log) tornTail(f *segment.File, r *message.Record) bool {
	text := r.Properties
	if len(text) == 0 {
		text = r.Topic
	}
	if len(text) == 0 || text[len(text)-1] != 0 {
		return false
	}
	var next [message.BlankSize]byte
	end := r.Physical + int64(r.Size)
	b := next[:min(message.BlankSize, f.End()-end)]
	return l.ReadAt(b, end) == nil && next == [message.BlankSize]byte{}
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
		return &badRecord{reason: fmt.Sprintf("size %d around a body of %d", size, body)}
	}
	return nil
}

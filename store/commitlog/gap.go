package commitlog

import (
	"bytes"
	"encoding/binary"
	"errors"

	"rocketd/message"
	"rocketd/segment"
)

// Gap is a piece of the log in which no whole record lies, though whole ones lie behind it: something has damaged it
// after it was written, or, if it was not yet synced, a crash took it and left what came later.
type Gap struct {
	From, To int64 // bytes of the log
	File     string
	Reason   string
	Record   *message.Record // what can be read of it, if it is one record whose body alone has a wrong checksum
	NextMs   int64           // store time of the whole record behind it
}

// magicPrefix are the bytes that both kinds of magic have in common; they are at byte 4 of a record.
var magicPrefix = []byte{0xda, 0xa3, 0x20}

const magicAt = 4

// gap finds where the log goes on behind something at off that is no whole record, tells v of what lies between, and
// returns the place; goOn is false if nothing whole lies behind it, or if v ends the log here. What could not be read,
// with nothing whole behind it, is an error: nobody knows whether it is the end.
func (w *window) gap(f *segment.File, off int64, bad *badRecord, v Visit) (next int64, goOn bool, err error) {
	var rec *message.Record
	if bad.record != nil { // a copy, since the window moves on
		r := *bad.record
		r.Topic, r.Body, r.Properties = bytes.Clone(r.Topic), nil, bytes.Clone(r.Properties)
		rec = &r
	}
	next, ms, found, err := w.behind(f, off, v)
	if err != nil || !found {
		return off, false, errors.Join(err, bad.err)
	}
	g := Gap{From: off, To: next, File: f.Name(), Reason: bad.reason, NextMs: ms}
	if rec != nil && int64(rec.Size) == next-off {
		g.Record = rec
	}
	goOn = true
	if v.Gap != nil {
		goOn, err = v.Gap(g)
	}
	return next, goOn, err
}

// behind looks for the place behind off from where the log goes on: first where the size of the record at off leads,
// which is right if something else in it is not, then everywhere.
func (w *window) behind(f *segment.File, off int64, v Visit) (next, ms int64, found bool, err error) {
	if head, err := w.bytes(f, off, min(message.BlankSize, f.End()-off)); err == nil && len(head) == message.BlankSize {
		size, _ := message.PeekSize(head)
		next := off + int64(size)
		if size >= message.MinSize && next+message.BlankSize <= f.End() {
			if ms, ok := w.goesOn(f, next, v); ok {
				return next, ms, true, nil
			}
		}
	}
	from := off + 1
	for _, f := range w.log.row.Files() {
		if f.End() <= from {
			continue
		}
		next, ms, found, err := w.search(f, max(from, f.Start()), v)
		if found || err != nil {
			return next, ms, found, err
		}
	}
	return 0, 0, false, nil
}

// goesOn tells whether a record of this log lies at off, or a blank with such a record in the next file.
func (w *window) goesOn(f *segment.File, off int64, v Visit) (ms int64, ok bool) {
	rec, blank, err := w.record(f, off)
	if blank {
		head, headErr := w.bytes(f, off, message.BlankSize)
		next := w.log.row.Find(f.End())
		if headErr != nil || next == nil {
			return 0, false
		}
		if left, _ := message.PeekSize(head); int64(left) != f.End()-off {
			return 0, false
		}
		if rec, blank, err = w.record(next, next.Start()); blank {
			return 0, false
		}
	}
	if err != nil || (v.Follows != nil && !v.Follows(&rec)) {
		return 0, false
	}
	return rec.StoreMs, true
}

// search looks for a whole record of this log in f from byte from on.
func (w *window) search(f *segment.File, from int64, v Visit) (at, ms int64, found bool, err error) {
	buf := make([]byte, min(scanBytes, max(f.End()-from, 0)))
	var failed error
	for at := from; at+message.MinSize <= f.End(); {
		data, err := f.NextData(at)
		if err != nil {
			return 0, 0, false, err
		}
		if data == f.End() {
			break
		}
		at = max(at, data-magicAt)
		b := buf[:min(int64(len(buf)), f.End()-at)]
		if err := w.readable(b, at); err != nil {
			failed = err
		}
		for i := 0; ; i++ {
			n := bytes.Index(b[i:], magicPrefix)
			if n < 0 {
				break
			}
			i += n
			start := at + int64(i) - magicAt
			if i < magicAt || i-magicAt+message.PeekBytes <= len(b) && message.PeekPhysical(b[i-magicAt:]) != start {
				continue
			}
			rec, blank, err := w.record(f, start)
			if err == nil && !blank && (v.Follows == nil || v.Follows(&rec)) {
				return start, rec.StoreMs, true, nil
			}
		}
		at += max(int64(len(b)-magicAt-len(magicPrefix)), 1)
	}
	return 0, 0, false, failed
}

// readable fills b with the bytes from off on; pages that the disk does not give are zero, and it returns why.
func (w *window) readable(b []byte, off int64) error {
	if w.log.row.ReadDisk(b, off) == nil {
		return nil
	}
	var failed error
	for len(b) > 0 {
		n := min(int64(len(b)), pageSize-off%pageSize)
		if err := w.log.row.ReadDisk(b[:n], off); err != nil {
			failed = err
			clear(b[:n])
		}
		b, off = b[n:], off+n
	}
	return failed
}

// Written returns the place behind the last byte in [from, to) that is not zero, or from; both lie in one file. What
// cannot be read counts as written.
func (l *Log) Written(from, to int64) int64 {
	f := l.row.Find(from)
	if f == nil {
		return from
	}
	end := from
	buf := make([]byte, min(scanBytes, max(to-from, 0)))
	for at := from; at < to; {
		data, err := f.NextData(at)
		if err != nil {
			return to
		}
		if at = max(at, data); at >= to {
			break
		}
		b := buf[:min(int64(len(buf)), to-at)]
		if l.row.ReadDisk(b, at) != nil {
			end = at + int64(len(b))
		} else if b := bytes.TrimRight(b, "\x00"); len(b) > 0 {
			end = at + int64(len(b))
		}
		at += int64(len(b))
	}
	return end
}

// Foreign looks for a file that holds no record and does not begin like one: not with the magic of a record or a blank, nor
// with zeros, which is what a crash leaves. It returns its name and how it begins, or "". Only such files are read.
func (l *Log) Foreign() (name string, head []byte, err error) {
	w := window{log: l}
	for _, f := range l.row.Files() {
		var b [message.BlankSize]byte
		if err := l.row.ReadDisk(b[:], f.Start()); err != nil {
			return "", nil, err
		}
		if startsAs(b[magicAt:], message.MagicV1) || startsAs(b[magicAt:], message.MagicV2) || startsAs(b[magicAt:], message.MagicBlank) {
			continue
		}
		_, _, found, err := w.search(f, f.Start(), Visit{})
		if err != nil {
			return "", nil, err
		}
		if !found {
			return f.Name(), b[:], nil
		}
	}
	return "", nil, nil
}

// startsAs tells whether b is a magic, or what a write that ended too early leaves of it: the rest is zero.
func startsAs(b []byte, magic int32) bool {
	want := binary.BigEndian.AppendUint32(nil, uint32(magic))
	for len(b) > 0 && b[0] == want[0] {
		b, want = b[1:], want[1:]
	}
	return len(bytes.Trim(b, "\x00")) == 0
}

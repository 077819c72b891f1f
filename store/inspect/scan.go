package inspect

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"rocketd/message"
)

// gap is a piece of one log file in which no whole record lies.
type gap struct {
	from, to int64 // bytes of the log
	file     *logFile
	missing  bool // there is no such file
	tail     bool // no whole record follows: the end of the log
	reason   string
	record   *message.Record // what can be read of it, if only its body is not what it was; without body
	beforeMs int64           // store time of the whole record before it
}

// visit is whom a scan tells what it finds, in the order of the log.
type visit struct {
	record     func(r *message.Record, raw []byte) error
	gap        func(g gap)
	blank      func(f *logFile, at, says int64) // a blank that counts wrong
	unreadable func(f *logFile, at int64, err error)
}

// scanner reads the log once. What it takes for a record is what commitlog takes for one: magic, size and the lengths
// inside agree, the body has its checksum, and the position stored is where it lies.
type scanner struct {
	s     *Store
	v     visit
	read  int64
	open  []gap // no record behind them yet
	end   int64 // behind the last whole record or blank
	ms    int64 // its store time
	rec   message.Record
	tick  int64
	total int64
}

// clockSkew is by how much times in the log may go back, ms.
const clockSkew = 1000

// scan reads the log from the record or file start at from on. It returns where the log ends.
func (s *Store) scan(ctx context.Context, from int64, v visit) (*scanner, error) {
	c := &scanner{s: s, v: v, end: from, ms: math.MinInt64, total: int64(len(s.log)) * s.logSize}
	next := int64(-1)
	for i := range s.log {
		f := &s.log[i]
		if f.start+s.logSize <= from {
			continue
		}
		if next >= 0 && f.start > next {
			c.open = append(c.open, gap{from: next, to: f.start, missing: true, reason: "files are missing"})
		}
		next = f.start + s.logSize
		if err := c.file(ctx, f, max(from, f.start)); err != nil {
			return c, err
		}
	}
	for _, g := range c.open {
		g.tail = true
		v.gap(g)
	}
	return c, nil
}

// file reads one file from off on.
func (c *scanner) file(ctx context.Context, f *logFile, off int64) error {
	end := f.start + c.s.logSize
	unreadable := func(at int64, err error) {
		if c.v.unreadable != nil {
			c.v.unreadable(f, f.start+at, err)
		}
	}
	r, err := c.s.newReader(f.name, c.s.logSize, unreadable, &c.read)
	if err != nil {
		return fmt.Errorf("cannot read commit log: %w", err)
	}
	defer r.close()
	w := window{ctx, r, f.start, end}
	for off < end {
		c.progress(off)
		what, err := w.check(off, &c.rec)
		switch {
		case err != nil:
			return err
		case what.blank:
			if left := end - off; what.size != left && c.v.blank != nil {
				c.v.blank(f, off, what.size)
			}
			c.found(off)
			c.end = end
			return nil
		case what.bad == "":
			c.found(off)
			if err := c.v.record(&c.rec, what.raw); err != nil {
				return err
			}
			off += int64(c.rec.Size)
			c.end, c.ms = off, c.rec.StoreMs
			continue
		}
		next, hop, err := c.resync(w, off, what)
		if err != nil {
			return err
		}
		g := gap{from: off, to: next, file: f, reason: what.bad, beforeMs: c.ms}
		if hop && what.record != nil {
			g.record = what.record
		}
		if next == end { // the rest of the file: zeros at its end do not belong to it
			data, err := r.firstData(ctx, off-f.start)
			if err != nil {
				return err
			}
			if data == c.s.logSize {
				g.reason = reasonZero
			}
		}
		c.open = append(c.open, g)
		off = next
	}
	return nil
}

// reasonZero is the reason of a gap of zeros.
const reasonZero = "nothing written"

// found says that something whole lies at off: the gaps before it are inside of the log.
func (c *scanner) found(off int64) {
	for _, g := range c.open {
		c.v.gap(g)
	}
	c.open = c.open[:0]
}

func (c *scanner) progress(off int64) {
	if c.s.cfg.Progress != nil && c.read-c.tick >= 8<<20 {
		c.tick = c.read
		c.s.cfg.Progress(off-c.s.minPhysical(), c.total)
	}
}

// window is a log file as it is checked.
type window struct {
	ctx        context.Context
	r          *reader
	start, end int64 // of the file, in the log
}

func (w window) bytes(off, n int64) ([]byte, error) { return w.r.bytes(w.ctx, off-w.start, n) }

// thing is what lies somewhere.
type thing struct {
	blank  bool
	size   int64           // what the first word says
	raw    []byte          // the whole record, if there is one
	bad    string          // why it is no record
	record *message.Record // if only the checksum of the body is wrong
}

// check looks at what lies at off; a whole record is put into rec.
func (w window) check(off int64, rec *message.Record) (what thing, err error) {
	left := w.end - off
	if left < message.BlankSize {
		return thing{bad: "file ends without a blank"}, nil
	}
	head, err := w.bytes(off, min(message.HeadBytes, left))
	if err != nil {
		return what, err
	}
	size, magic := message.PeekSize(head)
	what.size = int64(size)
	switch {
	case magic == message.MagicBlank:
		what.blank = true
		return what, nil
	case magic == 0 && size == 0:
		what.bad = reasonZero
	case magic != message.MagicV1 && magic != message.MagicV2:
		what.bad = fmt.Sprintf("magic %#08x", uint32(magic))
	case size < message.MinSize || int64(size) > left:
		what.bad = fmt.Sprintf("size %d with %d bytes left", size, left)
	case int64(size) > headroom && len(head) == message.HeadBytes && !plausible(head, int64(size)):
		what.bad = fmt.Sprintf("size %d around a body of %d", size, message.PeekBody(head))
	}
	if what.bad != "" {
		return what, nil
	}
	b, err := w.bytes(off, int64(size))
	if err != nil {
		return what, err
	}
	*rec, err = message.Decode(b)
	switch {
	case err != nil:
		what.bad = err.Error()
	case rec.Physical != off:
		what.bad = fmt.Sprintf("record belongs to position %d", rec.Physical)
	case !rec.CheckCRC():
		what.bad = "body has a wrong checksum"
		r := *rec
		r.Body, r.Topic, r.Properties = nil, bytes.Clone(r.Topic), bytes.Clone(r.Properties)
		what.record = &r
	default:
		what.raw = b
	}
	return what, nil
}

// plausible tells whether the body's length confirms a record's size: no memory is spent on one that it does not.
func plausible(head []byte, size int64) bool {
	body := message.PeekBody(head)
	return body >= 0 && size-body >= message.MinSize && size-body <= message.MaxOverhead
}

// resync finds where records go on in the file behind something at off that is none: first where its size leads, which is
// right if something else in it is not, then everywhere. It returns the end of the file if they do not.
func (c *scanner) resync(w window, off int64, what thing) (next int64, hop bool, err error) {
	if next := off + what.size; what.size >= message.MinSize && next+message.BlankSize <= w.end {
		if ok, err := c.goesOn(w, next); ok || err != nil {
			return next, true, err
		}
	}
	const step = headroom
	for at := off + 1; at+message.BlankSize <= w.end; {
		if at = w.start + w.r.nextData(at-w.start); at >= w.end {
			break
		}
		at = max(at-magicAt, off+1)
		n := min(step, w.end-at)
		b, err := w.bytes(at, n)
		if err != nil {
			return 0, false, err
		}
		for _, i := range magics(b) {
			if ok, err := c.goesOn(w, at+int64(i)-magicAt); ok || err != nil {
				return at + int64(i) - magicAt, false, err
			}
		}
		at += max(n-magicAt-3, 1)
	}
	return w.end, false, nil
}

const magicAt = 4

// magics returns the places in b, from byte 4 on, where the magic of a record or a blank may begin, ascending.
func magics(b []byte) (at []int) {
	for _, m := range [][]byte{{0xda, 0xa3, 0x20}, {0xcb, 0xd4, 0x31, 0x94}} {
		for i := magicAt; ; i++ {
			n := bytes.Index(b[min(i, len(b)):], m)
			if n < 0 {
				break
			}
			i += n
			at = append(at, i)
		}
	}
	slices.Sort(at)
	return at
}

// goesOn tells whether the log can go on at off: a whole record that is not older than what was found before, or a
// blank that ends where the file does. Older ones are left from an older end of the log: Java does not overwrite what
// it cuts off.
func (c *scanner) goesOn(w window, off int64) (bool, error) {
	if off < w.start {
		return false, nil
	}
	var rec message.Record
	what, err := w.check(off, &rec)
	if err != nil || what.bad != "" {
		return false, err
	}
	if what.blank {
		return what.size == w.end-off, nil
	}
	return rec.StoreMs >= c.ms-clockSkew, nil
}

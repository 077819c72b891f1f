package compaction

import (
	"encoding/binary"
	"errors"
	"fmt"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// Message is a whole record of the commit log, and what the unit of it says besides.
type Message struct {
	Record  []byte
	Offset  int64 // in the queue
	Tag     int64
	StoreMs int64
}

// tail writes messages to the last of some pairs, and begins the next pair where that is full. What is added is there
// after flush.
type tail struct {
	pl    place
	p     *pair // nil: there is none yet
	next  int64 // where the next pair starts
	made  func(p *pair)
	log   []byte
	units []byte
	first int64 // offsets of what waits
	last  int64
}

// blankHead is the length of what stands behind the last record of a full file: the bytes that are left, and a magic number.
const blankHead = message.BlankSize

// flushBytes is how many bytes of records wait at most.
const flushBytes = 1 << 20

// add takes a message. Its record is copied and says where it lies in this log.
// Source: Java CompactionLog.CompactionAppendMessageCallback.
func (t *tail) add(m Message) error {
	size := int64(len(m.Record))
	if size+blankHead > t.pl.log {
		return fmt.Errorf("%w: a record of %d bytes, in files of %d bytes", ErrTooLarge, size, t.pl.log)
	}
	if t.p != nil && !t.fits(size) || len(t.log) >= flushBytes {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if t.p == nil || !t.fits(size) {
		if err := t.roll(); err != nil {
			return err
		}
	}
	at := t.p.start + t.p.end.Load() + int64(len(t.log))
	if len(t.units) == 0 {
		t.first = m.Offset
	}
	t.last = m.Offset
	t.log = append(t.log, m.Record...)
	message.Patch(t.log[len(t.log)-len(m.Record):], m.Offset, at, m.StoreMs)
	var b [unitSize]byte
	consumequeue.PutBatchUnit(b[:], consumequeue.Unit{Physical: at, Size: int32(size), Tag: m.Tag, StoreMs: m.StoreMs, Base: m.Offset, Count: 1})
	t.units = append(t.units, b[:]...)
	return nil
}

// fits tells whether a record goes into the last pair, behind what waits.
func (t *tail) fits(size int64) bool {
	units := t.p.count.Load()*unitSize + int64(len(t.units))
	return units+unitSize < t.pl.units && t.p.end.Load()+int64(len(t.log))+size+blankHead <= t.pl.log
}

// flush writes what waits, the records first. After an error nothing of it is there.
func (t *tail) flush() (err error) {
	if len(t.units) == 0 {
		return nil
	}
	p := t.p
	p.dirty.Store(true)
	if _, err = p.log.WriteAt(t.log, p.end.Load()); err == nil {
		_, err = p.units.WriteAt(t.units, p.count.Load()*unitSize)
	}
	if err == nil {
		if p.count.Load() == 0 {
			p.first.Store(t.first)
		}
		p.last.Store(t.last)
		p.end.Add(int64(len(t.log)))
		p.count.Add(int64(len(t.units)) / unitSize)
	}
	t.log, t.units = t.log[:0], t.units[:0]
	return err
}

// roll ends the last pair, which is on the disk then, and makes the next one.
func (t *tail) roll() error {
	if t.p != nil {
		if err := t.pl.seal(t.p); err != nil {
			return err
		}
	}
	p, err := t.pl.create(t.next)
	if err != nil {
		return err
	}
	t.p, t.next = p, t.next+t.pl.log
	t.made(p)
	return nil
}

// seal writes the marks behind the last record and the last unit of a full pair.
func (pl place) seal(p *pair) error {
	var err error
	p.dirty.Store(true)
	if left := pl.log - p.end.Load(); left >= blankHead {
		var b [blankHead]byte
		blank := message.MagicBlank
		binary.BigEndian.PutUint32(b[:], uint32(left))
		binary.BigEndian.PutUint32(b[4:], uint32(blank))
		_, err = p.log.WriteAt(b[:], p.end.Load())
	}
	if at := p.count.Load() * unitSize; at+unitSize <= pl.units {
		_, e := p.units.WriteAt(endUnit[:], at)
		err = errors.Join(err, e)
	}
	return errors.Join(err, p.sync())
}

// endUnit stands behind the last unit of a full file: its position is -1. Source: Java SparseConsumeQueue.putEndPositionInfo.
var endUnit = func() (b [unitSize]byte) {
	for i := range 8 {
		b[i] = 0xff
	}
	binary.BigEndian.PutUint32(b[38:], 0xffffffff)
	return b
}()

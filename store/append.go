package store

import (
	"errors"
	"time"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// Constants of writing back.
const (
	queuePage = 1024    // units of a queue that are worth a write of their own
	paceBytes = 4 << 20 // log bytes after which the system is told to write them
	clockSkew = 1000    // ms by which appenders may differ without time going back in the log
)

// Append brings a batch into the log and its queues, in order, as a whole: with one write for each file touched. Then
// the messages can be read, at once or, with SyncFlush, when they are on the disk. After ErrFenced, ErrDiskFull,
// ErrTooLarge, ErrIncomplete or ErrClosed nothing of the batch is in the log. now becomes the store time of the records; if
// another appender was a little ahead, its time. It may be called from any goroutine.
func (s *Store) Append(b *Batch, now time.Time) error {
	if len(b.entries) == 0 {
		b.end = s.log.Max()
		return nil
	}
	late, err := s.prepare(b)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Writable(); err != nil {
		return err
	}
	s.renew(b)
	if late {
		err = b.complete(s.cfg.PropCRC)
	}
	if err == nil {
		err = b.place(s.log, s.log.Max())
	}
	if err != nil {
		b.rewind()
		return err
	}
	storeMs := now.UnixMilli()
	if last := s.lastMs.Load(); storeMs < last && last-storeMs < clockSkew {
		storeMs = last
	}
	for i := range b.entries {
		e := &b.entries[i]
		e.StoreMs = storeMs
		if e.timed {
			e.Tag += storeMs
		}
		if e.Queue != nil && !late {
			e.Offset = e.Queue.Take(int64(e.Count))
		}
		message.Patch(b.buf[e.at:], e.Offset, e.Physical, storeMs)
		if s.cfg.PropCRC {
			message.SealCRC(b.Record(i))
		}
	}
	if err := s.log.Append(b.runs); err != nil {
		b.rewind()
		if errors.Is(err, ErrDiskFull) {
			s.need.Store(s.log.Needs(b.runs))
		}
		return err
	}
	for i := range b.entries {
		if q := b.entries[i].Queue; q != nil {
			s.touched += q.Touch()
		}
	}
	for i := range b.entries {
		e := &b.entries[i]
		if e.Queue == nil {
			continue
		}
		u := consumequeue.Unit{Physical: e.Physical, Size: e.Size, Tag: e.Tag, StoreMs: storeMs, Base: e.Offset, Count: e.Count}
		if s.bits = s.bits[:0]; s.cfg.Ext && s.cfg.Bits != nil {
			s.bits = s.cfg.Bits(s.bits, e.Queue.Topic(), b.Record(i))
		}
		s.addExt(e.Queue, &u, s.bits)
		s.put(e.Queue, u)
		s.putMulti(e)
	}
	if s.cfg.Appended != nil {
		for _, r := range b.runs {
			s.cfg.Appended(r.Physical, r.Data)
		}
	}
	s.lastMs.Store(storeMs)
	s.last.Store(b.entries[len(b.entries)-1].Physical)
	s.wake(b.end)
	return nil
}

// put adds a unit and sees to it that it will be written. s.mu is held.
func (s *Store) put(q *consumequeue.Queue, u consumequeue.Unit) {
	pending := q.Put(u)
	if q.MarkDue() {
		s.dirty = append(s.dirty, q)
	}
	if pending == queuePage {
		s.pages = append(s.pages, q)
		ring(s.queuesDue)
	}
}

// addExt keeps the tag of a unit, and bits, in the queue's Ext, where that is wanted. s.mu is held.
func (s *Store) addExt(q *consumequeue.Queue, u *consumequeue.Unit, bits []byte) {
	if s.cfg.Ext && q.Kind() == consumequeue.Simple {
		s.queues.AddExt(q, u, consumequeue.ExtUnit{Tag: u.Tag, StoreMs: u.StoreMs, Bits: bits})
	}
}

// wake rings for whoever brings the log to the disk.
func (s *Store) wake(end int64) {
	switch {
	case s.cfg.SyncFlush:
		ring(s.logDue)
	case end-s.paced >= paceBytes:
		s.paced = end
		ring(s.logDue)
	}
	if end >= s.prepareAt {
		s.prepareAt = s.middle(end) + s.cfg.FileSize
		ring(s.fileDue)
	}
}

// middle is where the log's file that holds end is half full: time to prepare the next one.
func (s *Store) middle(end int64) int64 { return end - end%s.cfg.FileSize + s.cfg.FileSize/2 }

// Writable is nil if appends are taken; else ErrFenced with its cause, ErrDiskFull or ErrClosed. While the disk is
// full, it looks whether there is room again.
func (s *Store) Writable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.log.Fenced(); err != nil {
		return err
	}
	if over := s.over.Load(); over != nil {
		return *over
	}
	need := s.need.Load()
	if need == 0 {
		return nil
	}
	free, err := s.log.Free()
	if err != nil || free < need {
		return ErrDiskFull
	}
	s.need.CompareAndSwap(need, 0)
	return nil
}

// ring wakes the one who waits at c, or who will look next.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

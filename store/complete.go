package store

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"rocketd/message"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// ErrIncomplete says that a record cannot be completed with what only the store knows, see Batch. Who adds records sees to it
// that they can.
var ErrIncomplete = errors.New("record cannot be completed")

// LateRoom is what the store may add to the properties of a record, bytes: INNER_BASE, or a queue offset for each of n
// queues of INNER_MULTI_DISPATCH, and the checksum.
func LateRoom(queues int) int {
	return max(len(message.PropInnerBase)+22, len(message.PropInnerMultiQueueOffset)+2+20*queues) + message.PropCRCSize
}

// prepare finds what the records of a batch lack until their offsets are known, and the queues beside their own that get
// a unit. late is false if no record lacks anything: all of an ordinary batch. No lock is held.
func (s *Store) prepare(b *Batch) (late bool, err error) {
	late = s.cfg.PropCRC
	for i := range b.entries {
		e := &b.entries[i]
		e.also, e.inner = e.also[:0], false
		if e.Queue == nil || e.Queue.Kind() == consumequeue.Simple && !s.cfg.MultiDispatch {
			continue
		}
		r, err := message.Decode(b.Record(i))
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrIncomplete, err)
		}
		if e.Queue.Kind() == consumequeue.Batch {
			if e.Count = r.InnerCount(); e.Count == 0 {
				return false, fmt.Errorf("%w: an inner batch does not say how many messages it holds (%s)", ErrIncomplete, message.PropInnerNum)
			}
			e.inner = r.SysFlag&message.FlagInnerBatch != 0
		}
		s.eachMulti(&r, func(name []byte, id int32) {
			e.also = append(e.also, multi{queue: s.queue(name, id, consumequeue.Simple)})
		})
		late = late || e.inner || len(e.also) > 0
	}
	return late, nil
}

// multi is a queue beside the record's own that gets a unit, and the offset there.
type multi struct {
	queue  *consumequeue.Queue
	offset int64
}

// eachMulti calls fn for each queue that INNER_MULTI_DISPATCH names, if the store does that for the record at all. It
// does not if one name could not be that of a directory: the record then is in its own queue only.
// Source: Java MultiDispatchUtils, LmqDispatch.
func (s *Store) eachMulti(r *message.Record, fn func(name []byte, id int32)) {
	if !s.cfg.MultiDispatch || !r.HasQueue() || topic.IsRetry(r.Topic) ||
		bytes.HasPrefix(r.Topic, []byte(topic.SystemPrefix)) || string(r.Topic) == topic.Schedule {
		return
	}
	names, ok := message.Property(r.Properties, message.PropInnerMultiDispatch)
	if !ok || !MultiNames(names) {
		return
	}
	for name := range bytes.SplitSeq(names, []byte{','}) {
		id := r.QueueID
		if topic.IsLMQ(name) {
			id = 0
		}
		fn(name, id)
	}
}

// MultiNames tells whether every queue that a value of INNER_MULTI_DISPATCH names can be one.
func MultiNames(value []byte) bool {
	for name := range bytes.SplitSeq(value, []byte{','}) {
		if !isName(name) {
			return false
		}
	}
	return true
}

// renew takes another queue of the same name for each that was removed since the batch or prepare found it. s.mu is held.
func (s *Store) renew(b *Batch) {
	for i := range b.entries {
		e := &b.entries[i]
		if e.Queue != nil && e.Queue.Moved() {
			e.Queue = s.queue([]byte(e.Queue.Topic()), e.Queue.ID(), e.Queue.Kind())
		}
		for j := range e.also {
			if q := e.also[j].queue; q.Moved() {
				e.also[j].queue = s.queue([]byte(q.Topic()), q.ID(), q.Kind())
			}
		}
	}
}

// complete gives every record of a batch its offsets and writes them into the properties of those that carry them.
// Offsets are taken even if it fails: rewind gives them back. s.mu is held.
func (b *Batch) complete(crc bool) error {
	var err error
	done := b.spare[:0]
	var more []byte
	for i := range b.entries {
		e := &b.entries[i]
		if e.Queue != nil {
			e.Offset = e.Queue.Take(int64(e.Count))
		}
		more = e.takeMulti(more[:0])
		if e.inner {
			more = message.AppendProperty(more, message.PropInnerBase, strconv.AppendInt(nil, e.Offset, 10))
		}
		at := len(done)
		if done, err = message.AppendLate(done, b.Record(i), more, crc); err != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, err)
		}
		b.moved = append(b.moved, at)
	}
	b.spare, b.buf = b.buf, done
	for i, at := range b.moved {
		e := &b.entries[i]
		end := len(done)
		if i+1 < len(b.moved) {
			end = b.moved[i+1]
		}
		e.at, e.Size = at, int32(end-at)
	}
	b.moved = b.moved[:0]
	return nil
}

// takeMulti takes an offset of each further queue and appends them as a property. A queue that is named twice gives
// one.
func (e *Entry) takeMulti(dst []byte) []byte {
	var value []byte
	for j := range e.also {
		m := &e.also[j]
		m.offset = -1
		for _, before := range e.also[:j] {
			if before.queue == m.queue {
				m.offset = before.offset
			}
		}
		if m.offset < 0 {
			m.offset = m.queue.Take(1)
		}
		if j > 0 {
			value = append(value, ',')
		}
		value = strconv.AppendInt(value, m.offset, 10)
	}
	return message.AppendProperty(dst, message.PropInnerMultiQueueOffset, value)
}

// rewind gives back the offsets of records that are not in the log. s.mu is held.
func (b *Batch) rewind() {
	b.moved = b.moved[:0]
	for i := range b.entries {
		e := &b.entries[i]
		if e.Queue != nil {
			e.Queue.Rewind()
		}
		for _, m := range e.also {
			m.queue.Rewind()
		}
	}
}

// putMulti adds the units of the further queues of a record. s.mu is held.
func (s *Store) putMulti(e *Entry) {
	for _, m := range e.also {
		if m.offset >= m.queue.Max() { // else it is named twice
			s.put(m.queue, consumequeue.Unit{Physical: e.Physical, Size: e.Size, Tag: e.Tag, StoreMs: e.StoreMs, Base: m.offset, Count: 1})
		}
	}
}

// buildMulti adds the units of the further queues of a record that is read again.
func (s *Store) buildMulti(r *message.Record) error {
	var names [][]byte
	var ids []int32
	s.eachMulti(r, func(name []byte, id int32) { names, ids = append(names, name), append(ids, id) })
	value, ok := message.Property(r.Properties, message.PropInnerMultiQueueOffset)
	offsets := bytes.Split(value, []byte{','})
	if !ok || len(names) == 0 {
		return nil
	}
	if len(offsets) != len(names) {
		s.cfg.Log.Error("record left out of its further queues: names and offsets do not agree", "physical", r.Physical,
			"queues", len(names), "offsets", len(offsets))
		return nil
	}
	for i, name := range names {
		offset, err := strconv.ParseInt(string(offsets[i]), 10, 64)
		if err != nil {
			offset = -1
		}
		q := s.queue(name, ids[i], consumequeue.Simple)
		u := consumequeue.Unit{Physical: r.Physical, Size: r.Size, Tag: s.cfg.Tag(r), StoreMs: r.StoreMs, Count: 1}
		if err := s.buildUnit(q, offset, u); err != nil {
			return err
		}
	}
	return nil
}

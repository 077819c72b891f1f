package pop

import (
	"encoding/binary"

	"rocketd/message"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// read pops of a queue whose cursor is held. Source: Java PopMessageProcessor.popMsgFromQueue.
func (r *reply) read(x *shelf, c *cursor, q *consumequeue.Queue) {
	s := r.svc
	if offset, ok := s.cfg.Offsets.TakeReset(x.group, x.topic, c.id); ok {
		s.reset(c, offset)
	}
	if r.ask.order && c.blocked(r.ask.attempt, r.popMs) {
		return
	}
	from, known := c.position(s.cfg.Offsets)
	if !known {
		from = s.initial(x, q, r.ask.initMode)
		if !s.cfg.Offsets.Commit(x.group, x.topic, c.id, from) {
			return
		}
	}
	room := int(r.ask.max) - r.count
	if room <= 0 || from == q.Max() {
		r.rest += fresh(q, from)
		return
	}
	dst := r.records
	rewrite := x.retry != '0' && !s.choices.Load().ActualTopic
	if rewrite {
		dst = r.again[:0]
	}
	was, first := len(dst), len(r.offsets)
	var res store.ReadResult
	next := from
	ask := store.Read{Max: int32(room), NoWait: true, Offsets: &r.offsets}
	batches := q.Kind() == consumequeue.Batch
	if batches { // the messages in them are counted and looked at one by one
		ask.Max = MaxMessages
	} else {
		ask.Match, ask.Wants = r.ask.want.Func(), r.ask.want.Wants()
	}
	for reads, corrected := 0, false; reads < maxReads; reads++ {
		ask.From, r.offsets = next, r.offsets[:first]
		dst, res = s.cfg.Queues.Get(q, ask, dst[:was])
		if batches && res.Count > 0 {
			dst = r.unpack(dst, was, first, room, next, &res)
		}
		switch res.Status {
		case store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull:
			if corrected {
				break
			}
			corrected, from, next = true, res.Next, res.Next
			r.skip(c, next)
			continue
		case store.NoMatchedMessage, store.MessageWasRemoving:
			next = res.Next
			continue
		}
		break
	}
	r.waits = r.waits || res.Status == store.OnDisk
	if res.Count == 0 {
		if next > from {
			r.skip(c, next)
		}
		r.rest += max(res.Max-next, 0)
		return
	}
	r.rest += max(res.Max-res.Next, 0)
	r.found(x, c, next, res, dst, was, first, rewrite)
}

// skip moves on over messages that are not wanted or not there, or back to where the queue ends.
func (r *reply) skip(c *cursor, next int64) {
	o := r.svc.cfg.Offsets
	c.finish(o, c.begin(next), true)
}

// initial is where a group begins that never popped the queue. Source: Java PopMessageProcessor.getInitOffset.
func (s *Service) initial(x *shelf, q *consumequeue.Queue, mode int32) int64 {
	if mode == modeMin || topic.IsRetry(x.name) {
		return q.Min()
	}
	if s.choices.Load().FirstInMemory && q.Min() <= 0 && s.cfg.Queues.InMemory(q, 0) {
		return 0
	}
	return max(q.Max()-1, 0)
}

// found takes what was read, from dst[was:] and r.offsets[first:] on. from is where that read began.
func (r *reply) found(x *shelf, c *cursor, from int64, res store.ReadResult, dst []byte, was, first int, rewrite bool) {
	offsets := r.offsets[first:]
	if rewrite {
		r.again = dst
		r.rewrite(x, c, from, dst[was:])
	} else {
		r.records = dst
	}
	r.count += len(offsets)
	r.infos.add(x.retry, c.id, from, offsets)
	if r.ask.order {
		r.svc.ordered(r, c, from, offsets)
	} else {
		r.takes = append(r.takes, taken{cursor: c, number: c.begin(res.Next), from: from, first: first, n: len(offsets)})
	}
	r.svc.cfg.Got(x.groupName, x.name, len(offsets), len(dst)-was)
}

// rewrite gives messages of a retry topic the topic that was asked for, and their handle as a property. Source: Java
// PopMessageProcessor.
func (r *reply) rewrite(x *shelf, c *cursor, from int64, records []byte) {
	s := r.svc
	h := Handle{Start: from, PopMs: r.popMs, InvisibleMs: r.ask.invisible, Revive: r.revive, Retry: x.retry, Broker: []byte(s.cfg.Broker), QueueID: c.id}
	for len(records) >= message.PeekBytes {
		size, _ := message.PeekSize(records)
		m, err := message.Decode(records[:size])
		records = records[size:]
		if err != nil {
			continue // the store has looked at it
		}
		h.Offset = m.QueueOffset
		var room [256]byte
		props := m.Properties
		if _, has := message.Property(props, message.PropPopCK); !has {
			r.props = message.AppendProperty(append(r.props[:0], props...), message.PropPopCK, h.Append(room[:0]))
			props = r.props
		}
		if len(props) > message.MaxProperties {
			props = m.Properties // the handle follows from the answer
		}
		at := len(r.records)
		d := m.Draft()
		d.Topic, d.Properties, d.PreparedOffset = r.ask.shelf.topic, props, m.PreparedOffset
		r.records = message.AppendRecord(r.records, &d)
		message.Patch(r.records[at:], m.QueueOffset, m.Physical, m.StoreMs)
		binary.BigEndian.PutUint32(r.records[at+8:], uint32(m.BodyCRC))
	}
}

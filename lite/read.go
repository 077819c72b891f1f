package lite

import (
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// outcome of a look for messages.
type outcome uint8

const (
	nothing outcome = iota
	took            // it is answered
	onDisk          // what comes next is not in memory
)

// enough bytes of records are in an answer that looks at no further lite topic: with one message more, clients still take it.
const enough = 1 << 20

// take looks for messages where events say that there may be some, and answers if there are. For onDisk it names the queue.
func (s *Service) take(t *protocol.Turn, k protocol.Ticket, a *ask) (queue string, o outcome) {
	r := s.replies.Get().(*reply)
	now := s.now(t)
	r.reset(now.UnixMilli())
	for r.count < a.max && len(r.records) < enough {
		var ok, free bool
		s.mu.Lock()
		if queue, ok = s.board.next(a.client, a.group, r.tried, r.popMs); ok {
			free = s.board.lines.begin(queue, a.group)
		}
		s.mu.Unlock()
		if !ok {
			break
		}
		r.tried = append(r.tried, queue)
		if !free { // whoever reads it gives its event to the group again
			continue
		}
		cold := s.read(r, queue, a)
		s.end(t, queue, a.group)
		if cold {
			s.giveBack(t, a, queue)
			if r.count == 0 {
				s.release(r)
				return queue, onDisk
			}
			break
		}
	}
	if r.count == 0 {
		s.release(r)
		return "", nothing
	}
	s.send(t, k, protocol.Success, "FOUND", a, r)
	s.cfg.Got(a.group, a.topic, r.count, len(r.records))
	s.release(r)
	return "", took
}

// giveBack puts the event of a queue that could not be read back in its place.
func (s *Service) giveBack(t *protocol.Turn, a *ask, queue string) {
	var wake []string
	s.on(func(b *board) { wake = b.giveBack(a.client, a.group, queue, s.now(t).UnixMilli()) })
	s.wake(t, wake)
}

func (s *Service) release(r *reply) {
	if cap(r.records) <= enough {
		s.replies.Put(r)
	}
}

// end gives a queue back that was read. Where somebody else wanted it meanwhile, its event comes again.
func (s *Service) end(t *protocol.Turn, queue, group string) {
	missed := false
	s.on(func(b *board) { missed = b.lines.end(queue, group) })
	if missed {
		s.dispatch(t, queue, group)
	}
}

// read pops of one queue. cold: what comes next is not in memory. Source: Java PopLiteMessageProcessor.popLiteTopic.
func (s *Service) read(r *reply, queue string, a *ask) (cold bool) {
	q := s.queue(queue)
	if q == nil {
		return false
	}
	group, name, o := []byte(a.group), []byte(queue), s.cfg.Offsets
	from, reset := o.TakeReset(group, name, 0)
	if reset {
		s.on(func(b *board) { b.lines.clear(queue, a.group) })
		o.Commit(group, name, 0, from)
	}
	blocked := false
	s.on(func(b *board) { blocked = b.lines.blocked(queue, a.group, a.attempt, r.popMs) })
	if blocked {
		return false
	}
	if !reset {
		from = s.start(q, a.group)
	}
	at := len(r.records)
	r.offsets = r.offsets[:0]
	ask := store.Read{From: from, Max: int32(a.max - r.count), NoWait: true, Offsets: &r.offsets}
	var res store.ReadResult
	r.records, res = s.cfg.Store.Get(q, ask, r.records)
	switch res.Status {
	case store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull, store.NoMatchedMessage, store.MessageWasRemoving:
		ask.From = res.Next
		o.Commit(group, name, 0, ask.From)
		r.offsets = r.offsets[:0]
		r.records, res = s.cfg.Store.Get(q, ask, r.records[:at])
	}
	if res.Count == 0 {
		return res.Status == store.OnDisk
	}
	s.found(r, queue, a)
	return false
}

// start is where a group goes on in a queue. One that was never there begins with the first message if that is still in memory, and
// else with the last, and that is committed. Source: Java PopMessageProcessor.getInitOffset.
func (s *Service) start(q *consumequeue.Queue, group string) int64 {
	from, known := s.cfg.Offsets.Get([]byte(group), []byte(q.Topic()), 0)
	if known {
		return from
	}
	from = max(q.Max()-1, 0)
	if s.cfg.FirstInMemory && q.Min() <= 0 && s.cfg.Store.InMemory(q, 0) {
		from = 0
	}
	s.cfg.Offsets.Commit([]byte(group), []byte(q.Topic()), 0, from)
	return from
}

// found leases what was read of a queue.
func (s *Service) found(r *reply, queue string, a *ask) {
	r.count += len(r.offsets)
	s.lease(func(b *board) {
		entry := b.lines.popped(queue, a.group, a.attempt, a.invisibleMs, r.popMs, r.offsets)
		entry.Counts(func(_ int64, times int32, _ bool) { r.addCount(times) })
	})
}

// warm reads on the pool what a pop will find, so that it is in memory, and lets the pop through again.
func (s *Service) warm(c *protocol.Call, queue string, a *ask) error {
	if q := s.queue(queue); q != nil {
		from, known := s.cfg.Offsets.Get([]byte(a.group), []byte(queue), 0)
		if !known {
			from = max(q.Max()-1, 0)
		}
		s.cfg.Store.Get(q, store.Read{From: from, Max: int32(a.max)}, nil)
	}
	s.cfg.Again(c)
	return nil
}

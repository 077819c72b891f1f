package pop

import (
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// recoverUnits is how far back in the topic of the timer a start looks.
const recoverUnits = 1 << 16

// Recover takes up from the log what the process before had out, as far as it is not due: so it comes again in time, and not
// only when the timer has brought its check point. It also moves committed offsets on, which are on the disk some seconds
// late, over what was popped since: where check points join on to the offset without a gap, as they were written in that order.
func (s *Service) Recover(now time.Time) {
	q := s.cfg.Queues.Find([]byte(topic.Timer), 0)
	if q == nil || s.cfg.Slave() {
		return
	}
	revive := topic.ReviveTopic(s.cfg.Cluster)
	ours := func(tag int64) bool { return tag == ckCode || tag == ackCode || tag == bAckCode }
	var buf []byte
	for from := max(q.Min(), q.Max()-recoverUnits); from < q.Max(); {
		var res store.ReadResult
		buf, res = s.cfg.Queues.Get(q, store.Read{From: from, Max: MaxMessages, Match: ours}, buf[:0])
		for b := buf; len(b) >= message.PeekBytes; {
			size, _ := message.PeekSize(b)
			if m, err := message.Decode(b[:size]); err == nil {
				if real, _ := message.Property(m.Properties, message.PropRealTopic); string(real) == revive {
					s.replay(&m, now)
				}
			}
			b = b[size:]
		}
		if res.Next <= from {
			break
		}
		from = res.Next
	}
}

// replay takes up one record of the journal. What cannot be read is left to whoever reads the revive topic, and says so.
func (s *Service) replay(m *message.Record, now time.Time) {
	tags, _ := message.Property(m.Properties, message.PropTags)
	switch string(tags) {
	case tagCheckpoint:
		ck, err := ParseCheckpoint(m.Body)
		if err != nil || ck.Broker != s.cfg.Broker || ck.Num == 0 || !s.serves(ck.Group, ck.Topic, ck.QueueID) {
			return
		}
		c := s.shelf([]byte(ck.Group), []byte(ck.Topic)).cursor(ck.QueueID)
		if saved := s.cfg.OffsetsSaved; !saved.IsZero() && ck.PopMs > saved.UnixMilli() {
			c.rejoin(s.cfg.Offsets, ck, s.queue(c.shelf, c.id))
		}
		if ck.ReviveMs()-ackInterval > now.UnixMilli() {
			v, _ := message.Property(m.Properties, message.PropRealQueueID)
			if id, err := strconv.ParseInt(string(v), 10, 32); err == nil {
				s.lend(*ck, int32(id), c)
			}
		}
	case tagAck, tagBatchAck:
		a, err := ParseAck(m.Body)
		if err != nil || a.Broker != s.cfg.Broker || !s.serves(a.Group, a.Topic, a.QueueID) {
			return
		}
		c := s.shelf([]byte(a.Group), []byte(a.Topic)).cursor(a.QueueID)
		s.acked(c, leaseKey{a.Start, a.PopMs}, a.consumed())
	}
}

// serves tells whether there are such a group, topic and queue.
func (s *Service) serves(group, name string, queue int32) bool {
	cfg := s.cfg.Topics.Get([]byte(name))
	return cfg != nil && queue >= 0 && queue < cfg.ReadQueueNums && s.cfg.Groups.Get([]byte(group)) != nil
}

// rejoin moves the committed offset on over a check point that begins at it. A group without one began at the first message,
// or it begins anew.
func (c *cursor) rejoin(o Offsets, ck *Checkpoint, q *consumequeue.Queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	committed, known := o.Get(c.shelf.group, c.shelf.topic, c.id)
	if !known {
		committed, _ = bounds(q)
	}
	if last := ck.Offset(int(ck.Num)-1) + 1; ck.Start <= committed && committed < last {
		o.Commit(c.shelf.group, c.shelf.topic, c.id, last)
	}
}

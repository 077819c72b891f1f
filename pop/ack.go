package pop

import (
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Ack serves ACK_MESSAGE (200051): a message is consumed. A lease that is over or unknown is no error. Fields:
// AckMessageRequestHeader. Source: Java AckMessageProcessor.
func (s *Service) Ack(c *protocol.Call) error {
	var h protocol.AckMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	cfg, q, err := s.addressed(c, h.Topic, h.QueueID)
	if err != nil {
		return err
	}
	if low, high := bounds(q); h.Offset < low || h.Offset > high {
		return refuse(protocol.NoMessage, "offset is illegal, key:%s@%d, commit:%d, store:%d~%d", h.Topic, h.QueueID, h.Offset, low, high)
	}
	k, err := ParseHandle(h.ExtraInfo)
	if err != nil {
		return refuse(protocol.SystemError, "%v", err)
	}
	if k.Revive == OrderQueue {
		return s.ackInOrder(c, h.ConsumerGroup, h.Topic, cfg, h.QueueID, h.Offset, k.PopMs)
	}
	if remark := s.foreign(&k, c.Turn.Now.UnixMilli()); remark != "" {
		c.Ticket().Answer(c.Turn, protocol.Success, remark, nil, nil)
		return nil
	}
	x := s.shelf(h.ConsumerGroup, h.Topic)
	cur := x.cursor(h.QueueID)
	if known, acked := cur.holds(leaseKey{k.Start, k.PopMs}, h.Offset); known && acked {
		c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
		return nil
	}
	s.stageAck(c.Turn, c.Ticket(), cur, &Ack{
		Offset: h.Offset, Broker: s.cfg.Broker, Group: x.groupName, Topic: x.name, QueueID: h.QueueID, Start: k.Start, PopMs: k.PopMs,
	}, k.Revive, k.PopMs+k.InvisibleMs, nil)
	return nil
}

// addressed checks the topic and queue of a message that was popped.
func (s *Service) addressed(c *protocol.Call, name []byte, queue int32) (*topic.Config, *consumequeue.Queue, error) {
	cfg := s.cfg.Topics.Get(name)
	switch {
	case cfg == nil:
		return nil, nil, noTopic(name)
	case queue < 0 || queue >= cfg.ReadQueueNums:
		return nil, nil, illegalQueue(c, protocol.MessageIllegal, cfg, queue)
	case s.cfg.Slave():
		return nil, nil, refuse(protocol.SystemError, "this broker is a slave, messages are acknowledged at its master")
	}
	return cfg, s.cfg.Queues.Find(name, queue), nil
}

func bounds(q *consumequeue.Queue) (low, high int64) {
	if q == nil {
		return 0, 0
	}
	return q.Min(), q.Max()
}

// foreign says why a handle that can be read is none of this broker's, so that nothing comes of it; as in Java that is no
// error.
func (s *Service) foreign(k *Handle, nowMs int64) (remark string) {
	switch {
	case string(k.Broker) != s.cfg.Broker:
		return "extraInfo is a handle of another broker"
	case k.Revive >= s.cfg.ReviveQueues:
		return "extraInfo has a reviveQid that is not there"
	case k.PopMs > nowMs+s.cfg.TimerMaxDelay.Milliseconds() || k.InvisibleMs > s.cfg.TimerMaxDelay.Milliseconds():
		return "extraInfo has a popTime or invisibleTime beyond timerMaxDelaySec"
	}
	return ""
}

// holds tells whether memory has the lease, and whether the message is acknowledged in it.
func (c *cursor) holds(key leaseKey, offset int64) (known, acked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.leases[key]
	if l == nil {
		return false, false
	}
	i := l.Index(offset)
	return true, i < 0 || l.bits&(1<<i) != 0
}

// stageAck writes an acknowledgement with this turn's batch; when it is in the log, the lease knows. done answers; nil
// answers success.
func (s *Service) stageAck(t *protocol.Turn, k protocol.Ticket, cur *cursor, a *Ack, revive int32, reviveMs int64, done func(t *protocol.Turn, k protocol.Ticket, err error)) {
	j := s.journals.Get().(*journal)
	rec := j.ack(a, revive, reviveMs, t.Now.UnixMilli())
	key, offset, more := leaseKey{a.Start, a.PopMs}, a.Offset, a.Offsets
	put.Of(t).Stage(rec.queue, &rec.draft, rec.tag, true, nil, k, func(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
		var err error
		if o.Status == put.Refused {
			err = put.Refusal(o.Err)
		} else if len(more) > 0 {
			for _, offset := range more {
				s.acked(cur, key, offset)
			}
		} else {
			s.acked(cur, key, offset)
		}
		switch e, _ := err.(*protocol.Error); {
		case done != nil:
			done(t, k, err)
		case e != nil:
			k.Answer(t, e.Code, e.Remark, nil, nil)
		default:
			k.Answer(t, protocol.Success, "", nil, nil)
		}
	})
	s.journals.Put(j)
}

// acked marks a message of a lease; when all are, the lease ends.
func (s *Service) acked(c *cursor, key leaseKey, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.leases[key]
	if l == nil {
		return
	}
	if i := l.Index(offset); i >= 0 {
		l.bits |= 1 << i
	}
	if l.bits == l.Full() && !l.due {
		delete(c.leases, key)
		s.schedule.remove(&l.alarm)
		s.live.Add(-1)
	}
}

package pop

import (
	"rocketd/order"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
)

// Ack serves ACK_MESSAGE (200051): a message is consumed. A lease that is over or unknown is no error. Fields:
// AckMessageRequestHeader. Source: Java AckMessageProcessor.
func (s *Service) Ack(c *protocol.Call) error {
	var h protocol.AckMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	q, err := s.addressed(c, h.Topic, h.QueueID)
	if err != nil {
		return err
	}
	low, high := bounds(q)
	if h.Offset < low || h.Offset > high {
		return refuse(protocol.NoMessage, "offset is illegal, key:%s@%d, commit:%d, store:%d~%d", h.Topic, h.QueueID, h.Offset, low, high)
	}
	k, err := ParseHandle(h.ExtraInfo)
	if err != nil {
		return refuse(protocol.SystemError, "%v", err)
	}
	if s.cfg.Groups.Get(h.ConsumerGroup) == nil {
		c.Ticket().Answer(c.Turn, protocol.Success, "consumerGroup is not known here", nil, nil)
		return nil
	}
	if k.Revive == order.Queue {
		return s.ackInOrder(c, h.ConsumerGroup, h.Topic, h.QueueID, h.Offset, high, k.PopMs)
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
	s.pile(put.Of(c.Turn)).add(pending{
		cursor: cur, key: leaseKey{k.Start, k.PopMs}, revive: k.Revive, reviveMs: k.PopMs + k.InvisibleMs, offset: h.Offset, ticket: c.Ticket(),
	})
	return nil
}

// addressed checks the topic and queue of a message that was popped.
func (s *Service) addressed(c *protocol.Call, name []byte, queue int32) (*consumequeue.Queue, error) {
	cfg := s.cfg.Topics.Get(name)
	switch {
	case cfg == nil:
		return nil, noTopic(name)
	case queue < 0 || queue >= cfg.ReadQueueNums:
		return nil, illegalQueue(c, protocol.MessageIllegal, cfg, queue)
	}
	if err := s.Closed(); err != nil {
		return nil, err
	}
	return s.cfg.Queues.Find(name, queue), nil
}

// Closed says why nothing can be popped or acknowledged here now.
func (s *Service) Closed() error {
	switch {
	case s.cfg.Slave() && s.cfg.Acting():
	case s.cfg.Slave():
		return refuse(protocol.SystemError, "this broker is a slave, messages are popped and acknowledged at its master")
	case !s.cfg.Taking():
		return refuse(protocol.ServiceNotAvailable, "service not available now: this broker is starting or stopping")
	}
	return nil
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

// acking is a record of acknowledgements between its staging and its being in the log.
type acking struct {
	svc     *Service
	staged  put.Answer // a.answer
	cursor  *cursor
	key     leaseKey
	offsets []int64
	tickets []protocol.Ticket // who is answered
	done    func(t *protocol.Turn, err *protocol.Error)
}

// stage writes the record.
func (a *acking) stage(t *protocol.Turn, revive int32, reviveMs int64) {
	s := a.svc
	j := s.journals.Get().(*journal)
	x := a.cursor.shelf
	body := Ack{Offset: a.offsets[0], Broker: s.cfg.Broker, Group: x.groupName, Topic: x.name, QueueID: a.cursor.id, Start: a.key.start, PopMs: a.key.popMs}
	if len(a.offsets) > 1 {
		body.Offset, body.Offsets = -1, a.offsets
	}
	rec := j.ack(&body, revive, reviveMs, t.Now.UnixMilli())
	var k protocol.Ticket
	if len(a.tickets) > 0 {
		k = a.tickets[0]
	}
	put.Of(t).Stage(rec.queue, &rec.draft, rec.tag, true, nil, k, a.staged)
	s.journals.Put(j)
}

// answer is called when the record is in the log, or refused.
func (a *acking) answer(t *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
	var err *protocol.Error
	if o.Status == put.Refused {
		err = put.Refusal(o.Err)
	} else {
		a.svc.acked(a.cursor, a.key, a.offsets)
	}
	for _, k := range a.tickets {
		if err != nil {
			k.Answer(t, err.Code, err.Remark, nil, nil)
		} else {
			k.Answer(t, protocol.Success, "", nil, nil)
		}
	}
	if a.done != nil {
		a.done(t, err)
	}
	clear(a.tickets)
	a.cursor, a.done, a.offsets, a.tickets = nil, nil, a.offsets[:0], a.tickets[:0]
	a.svc.acks.Put(a)
}

// acked marks messages of a lease; when all are, the lease ends.
func (s *Service) acked(c *cursor, key leaseKey, offsets []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.leases[key]
	if l == nil {
		return
	}
	for _, offset := range offsets {
		if i := l.Index(offset); i >= 0 {
			l.bits |= 1 << i
		}
	}
	if l.bits == l.Full() && !l.due {
		delete(c.leases, key)
		s.schedule.remove(&l.alarm)
		s.live.Add(-1)
	}
}

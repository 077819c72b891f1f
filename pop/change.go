package pop

import (
	"rocketd/order"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// Change serves CHANGE_MESSAGE_INVISIBLETIME (200053): a message stays invisible longer or shorter, from now on. It gets a
// check point of its own, and is acknowledged in the one it had; both stand in the log or neither does. Fields:
// ChangeInvisibleTimeRequestHeader. Source: Java ChangeInvisibleTimeProcessor.
func (s *Service) Change(c *protocol.Call) error {
	var h protocol.ChangeInvisibleTimeRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	q, err := s.addressed(c, h.Topic, h.QueueID)
	if err != nil {
		return err
	}
	if low, high := bounds(q); h.Offset < low || h.Offset >= high {
		return refuse(protocol.NoMessage, "offset is illegal, key:%s@%d, offset:%d, store:%d~%d", h.Topic, h.QueueID, h.Offset, low, high)
	}
	k, err := ParseHandle(h.ExtraInfo)
	if err != nil {
		return refuse(protocol.SystemError, "%v", err)
	}
	now := c.Turn.Now.UnixMilli()
	if h.InvisibleTime < 0 || h.InvisibleTime > s.cfg.TimerMaxDelay.Milliseconds() {
		return refuse(protocol.SystemError, "invisibleTime[%d] is illegal, at most %d (timerMaxDelaySec)", h.InvisibleTime, s.cfg.TimerMaxDelay.Milliseconds())
	}
	if s.cfg.Groups.Get(h.ConsumerGroup) == nil {
		return refuse(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", h.ConsumerGroup, topic.FAQ)
	}
	x := s.shelf(h.ConsumerGroup, h.Topic)
	cur := x.cursor(h.QueueID)
	if k.Revive == order.Queue {
		return s.changeInOrder(c, cur, &k, h.Offset, h.InvisibleTime)
	}
	if remark := s.foreign(&k, now); remark != "" {
		return refuse(protocol.SystemError, "%s", remark)
	}
	popMs := now
	if k.Start == h.Offset && popMs <= k.PopMs { // else the new check point would be taken for the old one
		popMs = k.PopMs + 1
	}
	ck := Checkpoint{
		Broker: s.cfg.Broker, Group: x.groupName, Topic: x.name, QueueID: h.QueueID, Diffs: []int32{0}, Num: 1,
		Start: h.Offset, PopMs: popMs, InvisibleMs: h.InvisibleTime, Suspend: h.Suspend,
	}
	j := s.journals.Get().(*journal)
	rec := j.checkpoint(&ck, k.Revive, now)
	put.Of(c.Turn).Stage(rec.queue, &rec.draft, rec.tag, true, nil, c.Ticket(), func(_ *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
		if o.Status != put.Refused {
			s.lend(ck, k.Revive, cur)
		}
	})
	s.journals.Put(j)
	w := s.acks.Get().(*acking)
	w.cursor, w.key, w.offsets = cur, leaseKey{k.Start, k.PopMs}, append(w.offsets, h.Offset)
	ticket, revive := c.Ticket(), k.Revive
	w.done = func(t *protocol.Turn, err *protocol.Error) {
		if err != nil {
			ticket.Answer(t, err.Code, err.Remark, nil, nil)
			return
		}
		ticket.Answer(t, protocol.Success, "", &protocol.ChangeInvisibleTimeResponse{PopTime: popMs, InvisibleTime: ck.InvisibleMs, ReviveQid: revive}, nil)
	}
	w.stage(c.Turn, k.Revive, k.PopMs+k.InvisibleMs)
	return nil
}

package lite

import (
	"rocketd/longpoll"
	"rocketd/order"
	"rocketd/protocol"
	"rocketd/topic"
)

// Ack serves ACK_MESSAGE (200051) of a message of a lite topic, which the field liteTopic names. What is below the committed
// offset is acknowledged already. Fields: AckMessageRequestHeader. Source: Java AckMessageProcessor.ackLite.
func (s *Service) Ack(c *protocol.Call) error {
	var h protocol.AckMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if err := s.addressed(c, h.Topic, h.QueueID); err != nil {
		return err
	}
	parent, lite, group := string(h.Topic), string(h.LiteTopic), string(h.ConsumerGroup)
	if g := s.cfg.Groups.Get(h.ConsumerGroup); g == nil || g.Attributes[topic.AttrLiteBind] != parent {
		return refuse(protocol.InvalidParameter, "group type or bind topic not match.")
	}
	queue := topic.LiteQueue(parent, lite)
	n := end(s.queue(queue))
	if h.Offset > n {
		return refuse(protocol.NoMessage, "ack offset illegal.")
	}
	popMs, inOrder, err := s.cfg.Handle(h.ExtraInfo)
	switch {
	case err != nil:
		return refuse(protocol.SystemError, "%v", err)
	case h.QueueID != 0 || !inOrder:
		return refuse(protocol.InvalidParameter, "ack queue illegal.")
	case h.Offset < 0 || h.Offset == n: // no message has it
		return refuse(protocol.MessageIllegal, "ack offset illegal.")
	}
	next, free := s.acknowledge(h.ConsumerGroup, []byte(queue), h.Offset, popMs, c.Turn.Now.UnixMilli())
	if next == -1 {
		return refuse(protocol.MessageIllegal, "ack offset illegal.")
	}
	if free && next < end(s.queue(queue)) { // looked at now, as an event that came before found the queue leased
		s.dispatch(c.Turn, queue, group)
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
	return nil
}

// acknowledge acknowledges a message of a queue and commits what is consumed then. The offset table is asked while the board is
// locked, so that offsets are committed in order.
func (s *Service) acknowledge(group, queue []byte, offset, popMs, nowMs int64) (next int64, free bool) {
	s.lease(func(b *board) {
		committed, known := s.cfg.Offsets.Get(group, queue, 0)
		if !known {
			committed = -1
		}
		if offset < committed {
			next = committed
			return
		}
		if next, free = b.lines.ack(string(queue), string(group), offset, popMs, committed, nowMs); next >= 0 {
			s.cfg.Offsets.Commit(group, queue, 0, next)
		}
	})
	return next, free
}

// addressed checks the topic and queue of a message that was popped.
func (s *Service) addressed(c *protocol.Call, name []byte, queue int32) error {
	cfg := s.cfg.Topics.Get(name)
	switch {
	case cfg == nil:
		return refuse(protocol.TopicNotExist, "topic[%s] not exist, apply first please! %s", name, topic.FAQ)
	case queue < 0 || queue >= cfg.ReadQueueNums:
		return refuse(protocol.MessageIllegal, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]", queue, cfg.Name, cfg.ReadQueueNums, c.Peer.RemoteAddr())
	}
	return s.cfg.Closed()
}

// Change serves CHANGE_MESSAGE_INVISIBLETIME (200053) of a message of a lite topic, which the field liteTopic names: it stays
// invisible longer or shorter, from now on. With suspend all messages of its pop do, and the pop does not count. Fields:
// ChangeInvisibleTimeRequestHeader. Source: Java ChangeInvisibleTimeProcessor.processChangeInvisibleTimeForLite.
func (s *Service) Change(c *protocol.Call) error {
	var h protocol.ChangeInvisibleTimeRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if err := s.addressed(c, h.Topic, h.QueueID); err != nil {
		return err
	}
	queue := topic.LiteQueue(string(h.Topic), string(h.LiteTopic))
	if h.Offset > end(s.queue(queue)) {
		return refuse(protocol.NoMessage, "offset is illegal, lite topic:%s, offset:%d", h.LiteTopic, h.Offset)
	}
	popMs, _, err := s.cfg.Handle(h.ExtraInfo)
	if err != nil {
		return refuse(protocol.SystemError, "%v", err)
	}
	if h.InvisibleTime < 0 || h.InvisibleTime > maxInvisibleMs {
		return refuse(protocol.SystemError, "invisibleTime[%d] is illegal", h.InvisibleTime)
	}
	var answer protocol.ChangeInvisibleTimeResponse
	if committed, known := s.cfg.Offsets.Get(h.ConsumerGroup, []byte(queue), 0); !known || h.Offset >= committed {
		visible := c.Turn.Now.UnixMilli() + h.InvisibleTime
		s.lease(func(b *board) { b.lines.change(queue, string(h.ConsumerGroup), h.Offset, popMs, visible, h.Suspend) })
		answer = protocol.ChangeInvisibleTimeResponse{PopTime: popMs, InvisibleTime: visible - popMs, ReviveQid: order.Queue}
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", &answer, nil)
	return nil
}

// Notification serves NOTIFICATION (200054) with isLiteConsumer: may there be something for this client, and if not, tell when
// there is. Fields: NotificationRequestHeader. Source: Java NotificationProcessor.
func (s *Service) Notification(c *protocol.Call) error {
	var h protocol.NotificationRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if !s.cfg.Readable() {
		return refuse(protocol.NoPermission, "the broker[%s] peeking message is forbidden", c.Peer.LocalAddr().Addr())
	}
	if _, err := s.parent(string(h.Topic), "topic[%s] not exist, apply first please! "+topic.FAQ, "the topic [%s] message type not match"); err != nil {
		return err
	}
	if err := s.bound(string(h.ConsumerGroup), string(h.Topic)); err != nil {
		return err
	}
	client := string(h.ClientID)
	if s.waits(c.Turn, client) {
		c.Ticket().Answer(c.Turn, protocol.Success, "", &protocol.NotificationResponse{HasMsg: true}, nil)
		return nil
	}
	w := Waiter{ticket: c.Ticket(), ask: ask{client: client, group: string(h.ConsumerGroup), topic: string(h.Topic)}, notify: true}
	return s.park(c, w, longpoll.Deadline(c.Turn.Now, h.BornTime, h.PollTime), h.PollTime)
}

// waits tells whether there is an event for a client.
func (s *Service) waits(t *protocol.Turn, client string) (has bool) {
	now := s.now(t).UnixMilli()
	s.on(func(b *board) { has = b.has(client, now) })
	return has
}

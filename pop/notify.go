package pop

import (
	"rocketd/filter"
	"rocketd/longpoll"
	"rocketd/protocol"
)

// Notification serves NOTIFICATION (200054): is there anything to pop, and if not, tell when there is. Fields:
// NotificationRequestHeader. Source: Java NotificationProcessor.
func (s *Service) Notification(c *protocol.Call) error {
	var h protocol.NotificationRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if !s.cfg.Readable() {
		return refuse(protocol.NoPermission, "the broker[%s] peeking message is forbidden", c.Peer.LocalAddr().Addr())
	}
	cfg, err := s.readable(c, h.ConsumerGroup, h.Topic, h.QueueID)
	if err != nil || cfg == nil {
		return err
	}
	now := c.Turn.Now
	a := ask{shelf: s.shelf(h.ConsumerGroup, h.Topic), topic: cfg, want: filter.All(), queue: max(h.QueueID, -1), order: h.Order}
	if a.order {
		a.attempt = string(h.AttemptID)
	}
	if s.has(&a, now.UnixMilli()) {
		c.Ticket().Answer(c.Turn, protocol.Success, "", &protocol.NotificationResponse{HasMsg: true}, nil)
		return nil
	}
	if c.IsOneway() {
		return nil
	}
	return s.park(c, Waiter{ticket: c.Ticket(), ask: a, notify: true}, longpoll.Deadline(now, h.BornTime, h.PollTime), h.PollTime)
}

// has tells whether a pop would find something, as far as offsets tell.
func (s *Service) has(a *ask, nowMs int64) bool {
	if s.any(a.shelf, a.topic.ReadQueueNums, a.queue, a, nowMs) {
		return true
	}
	for _, x := range s.retries(a.shelf) {
		if x == nil {
			break
		}
		if cfg := s.cfg.Topics.Get(x.topic); cfg != nil && s.any(x, cfg.ReadQueueNums, -1, a, nowMs) {
			return true
		}
	}
	return false
}

func (s *Service) any(x *shelf, queues, only int32, a *ask, nowMs int64) bool {
	for id := range queues {
		if only >= 0 && id != only {
			continue
		}
		q := s.queue(x, id)
		if q == nil {
			continue
		}
		c := x.cursor(id)
		if a.order && c.blocked(a.attempt, nowMs) {
			continue
		}
		if offset, _ := c.position(s.cfg.Offsets); fresh(q, offset) > 0 {
			return true
		}
	}
	return false
}

// Polling serves POLLING_INFO (200055): how many pops wait for a topic, group and queue. Fields: PollingInfoRequestHeader.
// Source: Java PollingInfoProcessor.
func (s *Service) Polling(c *protocol.Call) error {
	var h protocol.PollingInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if !s.cfg.Readable() {
		return refuse(protocol.NoPermission, "the broker[%s] peeking message is forbidden", c.Peer.LocalAddr().Addr())
	}
	if cfg, err := s.readable(c, []byte(h.ConsumerGroup), []byte(h.Topic), h.QueueID); err != nil || cfg == nil {
		return err
	}
	n := 0
	if x := s.shelves.find([]byte(h.ConsumerGroup), []byte(h.Topic)); x != nil {
		n = s.waiting(x, max(h.QueueID, -1), false)
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", &protocol.PollingInfoResponse{PollingNum: int32(n)}, nil)
	return nil
}

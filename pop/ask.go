package pop

import (
	"context"
	"errors"
	"time"

	"rocketd/filter"
	"rocketd/filter/sql92"
	"rocketd/longpoll"
	"rocketd/protocol"
	"rocketd/topic"
)

// Bounds of what a client asks for, and of one look.
const (
	late     = 500 * time.Millisecond // after its time, a pop is not even begun
	maxReads = 8                      // in a row in one queue, where the filter refuses all that came
	modeMin  = 0                      // initMode: from the first message
)

// ask is what a pop asks for. Its names and texts live as long as the request, or the waiter.
type ask struct {
	shelf     *shelf
	topic     *topic.Config
	want      *filter.Filter
	queue     int32 // -1: any
	max       int32
	invisible int64 // ms
	initMode  int32
	order     bool
	attempt   string
}

// Pop serves POP_MESSAGE (200050). Fields: PopMessageRequestHeader. Source: Java PopMessageProcessor; the order of checks is
// Java's (remoting.md 3.3.1).
func (s *Service) Pop(c *protocol.Call) error {
	var h protocol.PopMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	now := c.Turn.Now
	deadline := longpoll.Deadline(now, h.BornTime, h.PollTime)
	switch {
	case now.Sub(deadline) > late:
		return refuse(protocol.PollingTimeout, "the broker[%s] pop message is timeout too much", c.Peer.LocalAddr().Addr())
	case !s.cfg.Readable():
		return refuse(protocol.NoPermission, "the broker[%s] pop message is forbidden", c.Peer.LocalAddr().Addr())
	case h.MaxMsgNums > MaxMessages:
		return refuse(protocol.InvalidParameter, "the broker[%s] pop message's num is greater than %d", c.Peer.LocalAddr().Addr(), MaxMessages)
	case !s.cfg.TimerWheel:
		return refuse(protocol.SystemError, "the broker[%s] pop message is forbidden because timerWheelEnable is false", c.Peer.LocalAddr().Addr())
	case h.InvisibleTime < 0 || h.InvisibleTime > s.cfg.TimerMaxDelay.Milliseconds():
		return refuse(protocol.InvalidParameter, "invisibleTime[%d] is illegal, at most %d (timerMaxDelaySec)", h.InvisibleTime, s.cfg.TimerMaxDelay.Milliseconds())
	}
	if err := s.Closed(); err != nil {
		return err
	}
	cfg, err := s.readable(c, h.ConsumerGroup, h.Topic, h.QueueID)
	if err != nil || cfg == nil {
		return err
	}
	want, err := s.filter(h.ExpType, h.Exp)
	if err != nil {
		return err
	}
	a := ask{
		shelf: s.shelf(h.ConsumerGroup, h.Topic), topic: cfg, want: want, queue: max(h.QueueID, -1), max: max(h.MaxMsgNums, 1),
		invisible: h.InvisibleTime, initMode: h.InitMode, order: h.Order,
	}
	if a.order {
		a.attempt = string(h.AttemptID)
	}
	switch s.take(c.Turn, c.Ticket(), &a) {
	case took:
		return nil
	case onDisk:
		later := a // so that a itself need not be on the heap
		s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error { return s.warm(c, &later) })
		return nil
	}
	if c.IsOneway() {
		return nil
	}
	return s.park(c, Waiter{ticket: c.Ticket(), ask: a}, deadline, h.PollTime)
}

// readable checks topic, queue and group as Java does for all that reads. With neither a topic nor an error the call is
// served again when its group is there.
func (s *Service) readable(c *protocol.Call, group, name []byte, queue int32) (*topic.Config, error) {
	cfg, err := s.readableTopic(c, name, queue)
	if err != nil {
		return nil, err
	}
	g := s.cfg.Groups.Get(group)
	if g == nil {
		s.createGroup(c, string(group))
		return nil, nil
	}
	return cfg, mayConsume(g, group)
}

func (s *Service) readableTopic(c *protocol.Call, name []byte, queue int32) (*topic.Config, error) {
	cfg := s.cfg.Topics.Get(name)
	switch {
	case cfg == nil:
		return nil, noTopic(name)
	case !cfg.Perm.Readable():
		return nil, refuse(protocol.NoPermission, "the topic[%s] peeking message is forbidden", name)
	case queue >= cfg.ReadQueueNums:
		return nil, illegalQueue(c, protocol.InvalidParameter, cfg, queue)
	}
	return cfg, nil
}

func mayConsume(g *topic.GroupConfig, name []byte) error {
	switch {
	case g == nil:
		return refuse(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", name, topic.FAQ)
	case !g.ConsumeEnable:
		return refuse(protocol.NoPermission, "subscription group no permission, %s", name)
	}
	return nil
}

// createGroup makes an unknown group on the pool, where that is allowed, and lets the call through again.
func (s *Service) createGroup(c *protocol.Call, name string) {
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		g, err := s.cfg.Groups.Create(ctx, name)
		switch {
		case err != nil:
			return err
		case g == nil:
			return refuse(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", name, topic.FAQ)
		}
		s.cfg.Again(c)
		return nil
	})
}

func illegalQueue(c *protocol.Call, code int32, cfg *topic.Config, queue int32) error {
	return refuse(code, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]", queue, cfg.Name, cfg.ReadQueueNums, c.Peer.RemoteAddr())
}

func (s *Service) filter(kind, expr []byte) (*filter.Filter, error) {
	if len(expr) == 0 {
		return filter.All(), nil
	}
	want, err := filter.Compile(kind, expr)
	switch {
	case errors.Is(err, sql92.ErrSyntax):
		return nil, refuse(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed: %v", err)
	case err != nil:
		return nil, refuse(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed")
	case want.Wants() != nil && !s.cfg.PropertyFilter:
		return nil, refuse(protocol.SystemError, "%v", filter.UnsupportedError(kind))
	}
	return want, nil
}

package query

import (
	"context"
	"errors"
	"slices"

	"rocketd/protocol"
	"rocketd/topic"
)

// Mappings finds what this broker knows of a static topic; a meta.Mappings is one.
type Mappings interface {
	For(topic []byte, logical protocol.Opt[bool]) *topic.Mapping
}

// Elsewhere asks other brokers, by name, about physical queues of theirs; a rpc.Elsewhere is one.
type Elsewhere interface {
	Offset(ctx context.Context, broker, group, topic string, queue int32) (int64, error)
	Commit(ctx context.Context, broker, group, topic string, queue int32, offset int64) error
	MaxOffset(ctx context.Context, broker, topic string, queue int32, committed bool) (int64, error)
	MinOffset(ctx context.Context, broker, topic string, queue int32) (int64, error)
	OffsetByTime(ctx context.Context, broker, topic string, queue int32, ms int64, b protocol.Boundary) (int64, error)
	EarliestTime(ctx context.Context, broker, topic string, queue int32) (int64, error)
}

// Queues of static topics: the leader answers in logic offsets, and asks whoever has the stretch that the answer is in. Sources:
// Java AdminBrokerProcessor, ConsumerManageProcessor, rewriteRequestForStaticTopic.

// none is Mappings of a broker without static topics.
type none struct{}

func (none) For([]byte, protocol.Opt[bool]) *topic.Mapping { return nil }

// led returns the stretches of a queue that this broker leads, of which one at least has offsets that are known.
func led(m *topic.Mapping, id int32) ([]topic.MappingItem, error) {
	if m.Leader(id) == nil {
		return nil, protocol.NotLeader(m, id)
	}
	items := m.Items(id)
	if topic.First(items) == nil {
		return nil, protocol.Errorf(protocol.SystemError, "the offsets of queue %d of the static topic %s are not decided", id, m.Topic)
	}
	return items, nil
}

// plain tells whether a queue is one physical queue with the same offsets.
func plain(items []topic.MappingItem) bool {
	return len(items) == 1 && items[0].Delta() == 0
}

// committedStatic answers where a group stands: in the newest stretch in which it stands at all.
func (s *Service) committedStatic(c *protocol.Call, h *protocol.QueryConsumerOffsetRequest, m *topic.Mapping, items []topic.MappingItem) error {
	for n := len(items) - 1; n >= 0; n-- {
		i := &items[n]
		if !i.Decided() {
			continue
		}
		if i.Broker != m.Broker {
			group, rest := string(h.ConsumerGroup), items[:n+1]
			return answerLater(c, s.cfg.Forward, "offset", func(ctx context.Context) (int64, error) { return s.committedElsewhere(ctx, group, m, rest) })
		}
		if offset, ok := s.committed(h.ConsumerGroup, h.Topic, i.Queue); ok {
			answerOffset(c, i.ToLogic(offset))
			return nil
		}
	}
	return notFoundStatic()
}

func notFoundStatic() error {
	return protocol.Errorf(protocol.QueryNotFound, "Not found, maybe this group consumer boot first")
}

// committedElsewhere is committedStatic for stretches that other brokers have, or some of them.
func (s *Service) committedElsewhere(ctx context.Context, group string, m *topic.Mapping, items []topic.MappingItem) (int64, error) {
	for _, i := range slices.Backward(items) {
		if i.Broker == m.Broker {
			if offset, ok := s.committed([]byte(group), []byte(m.Topic), i.Queue); ok {
				return i.ToLogic(offset), nil
			}
			continue
		}
		offset, err := s.cfg.Elsewhere.Offset(ctx, i.Broker, group, m.Topic, i.Queue)
		var e *protocol.Error
		switch {
		case err == nil:
			return i.ToLogic(offset), nil
		case !errors.As(err, &e) || e.Code != protocol.QueryNotFound:
			return 0, err
		}
	}
	return 0, notFoundStatic()
}

// locate turns the logic offset of a commit into that of the physical queue which has it. here is false if another broker has it,
// which is told.
func (s *Service) locate(c *protocol.Call, h *protocol.UpdateConsumerOffsetRequest, m *topic.Mapping) (here bool, _ error) {
	items, err := led(m, h.QueueID)
	if err != nil {
		return false, err
	}
	i := &items[topic.At(items, h.CommitOffset)]
	h.QueueID, h.CommitOffset = i.Queue, max(i.ToPhysical(h.CommitOffset), i.Start)
	if i.Broker == m.Broker {
		return true, nil
	}
	group, offset := string(h.ConsumerGroup), h.CommitOffset
	s.cfg.Forward(c, func(ctx context.Context, c *protocol.Call) error {
		err := s.cfg.Elsewhere.Commit(ctx, i.Broker, group, m.Topic, i.Queue, offset)
		if err == nil {
			c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
		}
		return err
	})
	return false, nil
}

// maxStatic answers the offset behind the last message.
func (s *Service) maxStatic(c *protocol.Call, h *protocol.GetMaxOffsetRequest, m *topic.Mapping) error {
	items, err := led(m, h.QueueID)
	if err != nil {
		return err
	}
	i := topic.Last(items)
	if i.Broker == m.Broker {
		answerOffset(c, i.ToLogic(s.max(h.Topic, i.Queue, h.Committed)))
		return nil
	}
	committed := h.Committed
	return answerLater(c, s.cfg.Forward, "offset", func(ctx context.Context) (int64, error) {
		offset, err := s.cfg.Elsewhere.MaxOffset(ctx, i.Broker, m.Topic, i.Queue, committed)
		return i.ToLogic(offset), err
	})
}

// minStatic answers the offset of the oldest message.
func (s *Service) minStatic(c *protocol.Call, h *protocol.GetMinOffsetRequest, m *topic.Mapping) error {
	items, err := led(m, h.QueueID)
	if err != nil {
		return err
	}
	i := topic.First(items)
	if i.Broker == m.Broker {
		answerOffset(c, i.SentAt(s.min(h.Topic, i.Queue)))
		return nil
	}
	return answerLater(c, s.cfg.Forward, "offset", func(ctx context.Context) (int64, error) {
		offset, err := s.cfg.Elsewhere.MinOffset(ctx, i.Broker, m.Topic, i.Queue)
		return i.SentAt(offset), err
	})
}

// byTimeStatic finds a message by its time in the oldest stretch that has such a one.
func (s *Service) byTimeStatic(ctx context.Context, h *protocol.SearchOffsetRequest, m *topic.Mapping) (int64, error) {
	items, err := led(m, h.QueueID)
	if err != nil {
		return 0, err
	}
	last := topic.Last(items)
	for n := range items {
		i := &items[n]
		if !i.Decided() {
			continue
		}
		var offset, end int64
		if i.Broker == m.Broker {
			offset, end = s.byTime([]byte(m.Topic), i.Queue, h.Timestamp, h.BoundaryType), s.max([]byte(m.Topic), i.Queue, false)
		} else {
			if offset, err = s.cfg.Elsewhere.OffsetByTime(ctx, i.Broker, m.Topic, i.Queue, h.Timestamp, h.BoundaryType); err == nil && i != last {
				end, err = s.cfg.Elsewhere.MaxOffset(ctx, i.Broker, m.Topic, i.Queue, false)
			}
			if err != nil {
				return 0, err
			}
		}
		if i.Ended() {
			end = min(end, i.End)
		}
		if i == last || offset < end {
			return i.ToLogic(offset), nil
		}
	}
	return 0, nil // not reached: one of them is the last
}

// earliestStatic answers when the oldest message was stored.
func (s *Service) earliestStatic(ctx context.Context, h *protocol.GetEarliestMsgStoretimeRequest, m *topic.Mapping) (int64, error) {
	items, err := led(m, h.QueueID)
	if err != nil {
		return 0, err
	}
	i := topic.First(items)
	if i.Broker == m.Broker {
		return s.earliest([]byte(m.Topic), i.Queue), nil
	}
	return s.cfg.Elsewhere.EarliestTime(ctx, i.Broker, m.Topic, i.Queue)
}

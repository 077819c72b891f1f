package send

import (
	"context"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// dead tells whether a message that a consumer sends to the retry topic of its group is to be tried no more: it was often
// enough, or the group consumes in order, and then comes here with what it has given up. Source: Java
// SendMessageProcessor.handleRetryAndDLQ.
func (s *Service) dead(c *protocol.Call, h *protocol.SendMessageRequest) (of []byte, dead bool) {
	name, ok := topic.GroupOfRetry(h.Topic)
	if !ok {
		return nil, false
	}
	group := s.cfg.Groups.Get(name)
	if group == nil {
		return nil, false
	}
	most := group.RetryMaxTimes
	if h.MaxReconsumeTimes.Set && c.Version >= maxReconsumeSince {
		most = h.MaxReconsumeTimes.V
	}
	return name, h.ReconsumeTimes.V > most || s.cfg.Locked(c.Turn.Now, name)
}

// createDLQ makes a dead-letter topic on the pool and sends the call through again.
func (s *Service) createDLQ(c *protocol.Call, name string) {
	s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error {
		if err := s.cfg.Topics.Ensure(topic.NewConfig(name, 1)); err != nil {
			return err
		}
		s.cfg.Again(c)
		return nil
	})
}

// bury turns the draft of a message for a retry topic into that of a dead letter, which does not wait.
func bury(d *message.Draft, buf []byte) []byte {
	group, _ := topic.GroupOfRetry(d.Topic)
	at := len(buf)
	buf = message.WithoutProperty(buf, d.Properties, message.PropDelayTimeLevel, message.PropTimerDeliverMs, message.PropTimerDelaySec, message.PropTimerDelayMs)
	buf = message.AppendProperty(buf, message.PropDelayTimeLevel, []byte("-1"))
	d.Topic, d.QueueID, d.Properties = []byte(topic.DLQTopic(string(group))), 0, buf[at:]
	return buf
}

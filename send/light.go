package send

import (
	"bytes"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// toLite has a message for a lite topic go into its queue too, whatever queues the client named. A name that no queue can have
// is refused, where Java would leave the queue out. Source: Java SendMessageProcessor.
func (found *seen) toLite(parent []byte) *protocol.Error {
	if len(found.lite) == 0 {
		return nil
	}
	name := topic.LiteQueue(string(parent), string(found.lite))
	if len(name) > topic.MaxRetryLength || topic.CheckLite(string(found.lite)) != nil {
		return protocol.Errorf(protocol.MessageIllegal, "property %s is no name of a lite topic: %.100q", message.PropLiteTopic, found.lite)
	}
	found.further, found.multi = 1, []byte(name)
	return nil
}

// tooManyLight tells whether a message names a light queue that is new, where no further one may be. Source: Java
// DefaultMessageStore, PutMessageStatus.LMQ_CONSUME_QUEUE_NUM_EXCEEDED.
func (s *Service) tooManyLight(names []byte) bool {
	if s.cfg.LightFull == nil {
		return false
	}
	for name := range bytes.SplitSeq(names, []byte{','}) {
		if topic.IsLMQ(name) && s.cfg.Queues.Find(name, 0) == nil {
			return s.cfg.LightFull()
		}
	}
	return false
}

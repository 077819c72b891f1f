package send

import (
	"bytes"

	"rocketd/topic"
)

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

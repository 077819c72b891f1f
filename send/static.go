package send

import (
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// Mappings finds what this broker knows of a static topic; a meta.Mappings is one. It does not block.
type Mappings interface {
	For(topic []byte, logical protocol.Opt[bool]) *topic.Mapping
	Get(topic []byte) *topic.Mapping
}

// none is Mappings of a broker without static topics.
type none struct{}

func (none) For([]byte, protocol.Opt[bool]) *topic.Mapping { return nil }
func (none) Get([]byte) *topic.Mapping                     { return nil }

// physical returns the queue that a message for a queue of a static topic goes to. Where the producer named none, h.QueueID
// becomes one of the static topic's queues that this broker leads. Source: Java
// TopicQueueMappingManager.rewriteRequestForStaticTopic.
func physical(m *topic.Mapping, h *protocol.SendMessageRequest) (int32, *protocol.Error) {
	if h.QueueID < 0 {
		h.QueueID = m.Any()
	}
	i := m.Leader(h.QueueID)
	if i == nil {
		return 0, protocol.NotLeader(m, h.QueueID)
	}
	return i.Queue, nil
}

// answerStatic is answer for a message to a queue of a static topic: the queue and the offset are those that its consumers see.
// The offset is -1 while the queue moves from one broker to another. Source: Java SendMessageProcessor.rewriteResponseForStaticTopic.
func (s *Service) answerStatic(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	queue := place(o)
	if o.Queue != nil {
		if m := s.cfg.Mappings.Get([]byte(o.Queue.Topic())); m != nil {
			if id, i := m.Queue(queue); i != nil {
				queue, o.Offset = id, i.SentAt(o.Offset)
			}
		}
	}
	s.write(t, k, o, queue, nil, false)
}

// answerOf is how a send is answered whose queue was found: h.RPC.Logical says whether its topic is static.
func (s *Service) answerOf(h *protocol.SendMessageRequest) put.Answer {
	if h.RPC.Logical.V {
		return s.static
	}
	return s.single
}

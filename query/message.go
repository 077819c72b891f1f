package query

import (
	"bytes"
	"context"

	"rocketd/message"
	"rocketd/protocol"
)

// ByID serves VIEW_MESSAGE_BY_ID: the one record that starts at a physical offset. When the request names a topic,
// the record must be of that topic, else NO_PERMISSION: a message ID is no way around the rights on a topic.
// Source: Java QueryMessageProcessor.viewMessageById.
func (s *Service) ByID(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.ViewMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	raw, err := s.cfg.Store.Record(h.Offset, nil)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "can not find message by the offset, %d", h.Offset)
	}
	r, err := message.Decode(raw)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "can not find message by the offset, %d: %v", h.Offset, err)
	}
	if h.Topic != "" && !ofTopic(&r, []byte(h.Topic)) {
		return nil, nil, protocol.Errorf(protocol.NoPermission, "the message at offset %d is not of topic %s", h.Offset, h.Topic)
	}
	return nil, raw, nil
}

// ofTopic tells whether a record belongs to a topic, by its own name or, where it waits in a system topic, by the
// name that it is meant for.
func ofTopic(r *message.Record, name []byte) bool {
	if bytes.Equal(r.Topic, name) {
		return true
	}
	if real, ok := message.Property(r.Properties, message.PropRealTopic); ok && bytes.Equal(real, name) {
		return true
	}
	queues, _ := message.Property(r.Properties, message.PropInnerMultiDispatch)
	for _, q := range bytes.Split(queues, []byte(",")) {
		if len(q) > 0 && bytes.Equal(q, name) {
			return true
		}
	}
	return false
}

package manage

import (
	"context"
	"errors"

	"rocketd/protocol"
	"rocketd/topic"
)

// UpdateStaticTopic serves UPDATE_AND_CREATE_STATIC_TOPIC (513): a topic as with UpdateTopic, and in the body what this broker has
// to know of its queues. Both are durable and registered when the answer leaves. What contradicts the mapping that there is changes
// nothing, unless force is set. Source: Java AdminBrokerProcessor.updateAndCreateStaticTopic; other than there, the mapping must be
// one for this broker and this topic.
func (s *Service) UpdateStaticTopic(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.CreateTopicRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	want, err := configOf(&h)
	if err != nil {
		return nil, nil, err
	}
	want.Order, want.Attributes = false, nil // Java does not look at them here
	if err := s.checkTopic(want); err != nil {
		return nil, nil, err
	}
	m := new(topic.Mapping)
	if err := decodeBody(c, protocol.SystemError, m); err != nil {
		return nil, nil, err
	}
	if m.Topic != h.Topic || m.Broker != s.cfg.Broker {
		return nil, nil, protocol.Errorf(protocol.SystemError, "the mapping is one for topic %s (topic) of broker %s (bname), not for topic %s of broker %s",
			m.Topic, m.Broker, h.Topic, s.cfg.Broker)
	}
	if err := m.Check(); err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "%v", err)
	}
	switch err := s.cfg.Mappings.Succeed(m, h.Force); {
	case errors.Is(err, topic.ErrContradicts):
		return nil, nil, protocol.Errorf(protocol.SystemError, "%v", err)
	case err != nil:
		return nil, nil, err
	}
	return nil, nil, s.cfg.Topics.Renew(want.Name, func(old *topic.Config) (*topic.Config, error) {
		if old != nil {
			want.Attributes = old.Attributes
		}
		return want, nil
	})
}

// mappingsOf returns the mappings of those topics that are static.
func mappingsOf(all map[string]*topic.Mapping, configs map[string]*topic.Config) map[string]*topic.Mapping {
	some := make(map[string]*topic.Mapping)
	for name, m := range all {
		if configs[name] != nil {
			some[name] = m
		}
	}
	return some
}

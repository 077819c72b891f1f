package member

import (
	"context"
	"slices"
	"strings"

	"rocketd/protocol"
	"rocketd/topic"
)

// Routes knows the queues that consumers can read of a topic, of all brokers.
type Routes interface {
	// Queues returns them, sorted, if they are known and fresh. It does not block.
	Queues(topic string) (queues []protocol.MessageQueue, ok bool)
	// Ask finds them out; none if the topic has no route. It may block.
	Ask(ctx context.Context, topic string) []protocol.MessageQueue
}

// Modes says how groups get messages.
type Modes interface {
	Get(topic, group string) (protocol.SetMessageRequestModeRequestBody, bool)
	// Set is durable when it returns. It may block.
	Set(mode protocol.SetMessageRequestModeRequestBody) error
}

// Balance says how queues are shared out where the broker does it.
type Balance struct {
	Enabled bool                 // serverLoadBalancerEnable; without, each member gets all queues
	Mode    protocol.RequestMode // defaultMessageRequestMode
	Share   int32                // defaultPopShareQueueNum
}

// Assignment serves QUERY_ASSIGNMENT (400): which queues of a topic the asking member of a group has, and whether it pulls or
// pops. Body: QueryAssignmentRequestBody. Without a list in the answer the member keeps what it has: the topic has no route,
// the group no members, or the strategy is unknown. A member that the broker does not know yet gets an empty one. Source: Java
// QueryAssignmentProcessor.
func (s *Service) Assignment(c *protocol.Call) error {
	d := new(protocol.QueryAssignmentRequestBody)
	if err := read(c, d); err != nil {
		return err
	}
	switch {
	case d.Topic == "":
		return protocol.Errorf(protocol.SystemError, "the body has no topic")
	case d.MessageModel == "":
		return protocol.Errorf(protocol.SystemError, "the body has no messageModel that is known")
	}
	queues, ok := []protocol.MessageQueue{{Topic: d.Topic, BrokerName: s.cfg.Broker}}, true
	if !topic.IsLMQ(d.Topic) || d.MessageModel != protocol.Clustering {
		queues, ok = s.cfg.Routes.Queues(d.Topic)
	}
	if ok && d.StrategyName != costly {
		return s.assign(c, d, queues)
	}
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		if !ok {
			queues = s.cfg.Routes.Ask(ctx, d.Topic)
		}
		return s.assign(c, d, queues)
	})
	return nil
}

// assign answers with the share of queues.
func (s *Service) assign(c *protocol.Call, d *protocol.QueryAssignmentRequestBody, queues []protocol.MessageQueue) error {
	mode := s.mode(d.Topic, d.ConsumerGroup)
	own, ok := s.share(d, &mode, queues)
	var answered protocol.QueryAssignmentResponseBody
	if ok {
		list := make([]protocol.MessageQueueAssignment, len(own))
		for i, q := range own {
			list[i] = protocol.MessageQueueAssignment{MessageQueue: q, Mode: mode.Mode}
		}
		answered.MessageQueueAssignments = &list
	}
	return answer(c, &answered)
}

// mode returns how a group gets the messages of a topic. Of its retry topic a group that has chosen nothing always pulls.
func (s *Service) mode(name, group string) protocol.SetMessageRequestModeRequestBody {
	mode, ok := s.cfg.Modes.Get(name, group)
	b := s.cfg.Balance()
	if !ok && b.Mode == protocol.ModePop && !strings.HasPrefix(name, topic.RetryPrefix) {
		mode.Mode, mode.PopShareQueueNum = b.Mode, b.Share
	}
	if mode.Mode != protocol.ModePop {
		mode.Mode = protocol.ModePull
	}
	return mode
}

// share returns what a member has of the queues; ok is false where nothing can be said.
func (s *Service) share(d *protocol.QueryAssignmentRequestBody, mode *protocol.SetMessageRequestModeRequestBody, queues []protocol.MessageQueue) (own []protocol.MessageQueue, ok bool) {
	if d.MessageModel == protocol.LiteSelective {
		return nil, false
	}
	if len(queues) == 0 || d.MessageModel == protocol.Broadcasting || !s.cfg.Balance().Enabled {
		return queues, len(queues) > 0
	}
	clients := s.cfg.Clients.Consumers.ClientIDs(d.ConsumerGroup)
	by := strategies[d.StrategyName]
	if len(clients) == 0 || by == nil || d.ClientID == "" {
		return nil, false
	}
	i, found := slices.BinarySearch(clients, d.ClientID)
	if !found {
		return nil, true
	}
	return allocate(by, queues, clients, i, mode.Mode, int(mode.PopShareQueueNum)), true
}

// SetMode serves SET_MESSAGE_REQUEST_MODE (401): it keeps how a group gets the messages of a topic, which its members learn
// with their next question. A group that is unknown is made where the broker may. Body: SetMessageRequestModeRequestBody. It may
// block. Source: Java QueryAssignmentProcessor.
func (s *Service) SetMode(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var d protocol.SetMessageRequestModeRequestBody
	if err := read(c, &d); err != nil {
		return nil, nil, err
	}
	switch {
	case strings.HasPrefix(d.Topic, topic.RetryPrefix):
		return nil, nil, protocol.Errorf(protocol.NoPermission, "retry topic is not allowed to set mode")
	case s.cfg.Topics.Get([]byte(d.Topic)) == nil:
		return nil, nil, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist", d.Topic)
	case d.Mode == "":
		return nil, nil, protocol.Errorf(protocol.SystemError, "the body has a mode that is neither PULL nor POP")
	}
	if group, err := s.group(ctx, d.ConsumerGroup); err != nil {
		return nil, nil, err
	} else if group == nil {
		return nil, nil, protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group does not exist")
	}
	return nil, nil, s.cfg.Modes.Set(d)
}

package manage

import (
	"context"
	"slices"

	"rocketd/clientmgr"
	"rocketd/protocol"
)

// ConsumerConnections serves GET_CONSUMER_CONNECTION_LIST (203): who of a group is connected, and what the group
// has subscribed. CONSUMER_NOT_ONLINE when nobody is.
func (s *Service) ConsumerConnections(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetConsumerConnectionListRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	g := s.cfg.Clients.Consumers.Group(h.ConsumerGroup)
	if g == nil {
		return nil, nil, protocol.Errorf(protocol.ConsumerNotOnline, "the consumer group[%s] not online", h.ConsumerGroup)
	}
	b := protocol.ConsumerConnection{
		ConnectionSet:     connections(s.cfg.Clients.Consumers.Clients(h.ConsumerGroup)),
		ConsumeFromWhere:  g.From,
		ConsumeType:       g.Type,
		MessageModel:      g.Model,
		SubscriptionTable: make(map[string]protocol.SubscriptionData),
	}
	for _, name := range g.Topics() {
		b.SubscriptionTable[name] = *g.Data(name)
	}
	return body(b)
}

// ProducerConnections serves GET_PRODUCER_CONNECTION_LIST (204).
func (s *Service) ProducerConnections(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetProducerConnectionListRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	clients := s.cfg.Clients.Producers.Clients(h.ProducerGroup)
	if len(clients) == 0 {
		return nil, nil, protocol.Errorf(protocol.SystemError, "the producer group[%s] not exist", h.ProducerGroup)
	}
	return body(protocol.ProducerConnection{ConnectionSet: connections(clients)})
}

func connections(clients []clientmgr.Client) []protocol.Connection {
	list := make([]protocol.Connection, 0, len(clients))
	for _, c := range clients {
		list = append(list, protocol.Connection{
			ClientAddr: c.Peer.RemoteAddr().String(), ClientID: c.ID, Language: c.Language, Version: c.Version,
		})
	}
	return list
}

// Producers serves GET_ALL_PRODUCER_INFO (328): the connected producers of all groups.
func (s *Service) Producers(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	data := make(map[string][]protocol.ProducerInfo)
	for group, clients := range s.cfg.Clients.Producers.All() {
		for _, c := range clients {
			data[group] = append(data[group], protocol.ProducerInfo{
				ClientID: c.ID, Language: c.Language, Version: c.Version, LastUpdateTimestamp: c.Seen.UnixMilli(),
				RemoteIP: "/" + c.Peer.RemoteAddr().String(), // as Java prints a socket address
			})
		}
	}
	return body(protocol.ProducerTableInfo{Data: data})
}

// ConsumersOfTopic serves QUERY_TOPIC_CONSUME_BY_WHO (300): the groups that are connected and subscribe a topic,
// and those that have offsets of it.
func (s *Service) ConsumersOfTopic(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QueryTopicConsumeByWhoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	groups := append(s.cfg.Clients.Consumers.GroupsOf(h.Topic), s.cfg.Offsets.Groups(h.Topic)...)
	slices.Sort(groups)
	return body(protocol.GroupList{GroupList: slices.Compact(groups)})
}

// TopicsOfGroup serves QUERY_TOPICS_BY_CONSUMER (343): the topics that a group has offsets of.
func (s *Service) TopicsOfGroup(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QueryTopicsByConsumerRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	return body(protocol.TopicList{BrokerAddr: s.cfg.Addr, TopicList: s.cfg.Offsets.Topics(h.Group)})
}

// Subscription serves QUERY_SUBSCRIPTION_BY_CONSUMER (345): what a connected group has subscribed of a topic; of
// others the subscription is left out.
func (s *Service) Subscription(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QuerySubscriptionByConsumerRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	b := protocol.QuerySubscriptionResponseBody{Group: h.Group, Topic: h.Topic}
	if g := s.cfg.Clients.Consumers.Group(h.Group); g != nil {
		b.SubscriptionData = g.Data(h.Topic)
	}
	return body(b)
}

// Package member serves those who belong to a group: heartbeats, good-byes, the list of a group's consumers, queue
// locks, the shares of a topic's queues, and the notice that a group has changed. All of it runs in the turn; only groups and retry topics that have
// to be made first, and what other brokers or a NameServer are asked for, take the way over the pool.
package member

import (
	"context"

	"rocketd/clientmgr"
	"rocketd/filter"
	"rocketd/protocol"
	"rocketd/topic"
)

// Topics is what member needs of the topic table.
type Topics interface {
	Get(name []byte) *topic.Config
	// Ensure makes those topics that do not exist, durable when it returns. It may block.
	Ensure(configs ...*topic.Config) error
}

// Groups is what member needs of the subscription-group table.
type Groups interface {
	Get(name []byte) *topic.GroupConfig
	// Create makes an unknown group where that is allowed, and returns nil where not. It may block.
	Create(ctx context.Context, name string) (*topic.GroupConfig, error)
}

// Config of a Service.
type Config struct {
	Topics  Topics
	Groups  Groups
	Clients *clientmgr.Clients
	// Offload hands a call to the pool; an error that run returns is answered.
	Offload func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	// Resume runs the rest of an offloaded call in a turn of its peer; an error that run returns is answered.
	Resume func(c *protocol.Call, run func(c *protocol.Call) error)
	// RejectPull: consumers that pull on their own are not registered (rejectPullConsumerEnable); nil is no.
	RejectPull func() bool
	// Notifies: members are told when their group has changed (notifyConsumerIdsChangedEnable); nil is yes.
	Notifies func() bool
	// PropertyFilter: consumers may choose messages by their properties (enablePropertyFilter).
	PropertyFilter bool
	// Set is who else locks queues; nil is nobody.
	Set Set

	// What assignments need.
	Broker  string // brokerName
	Routes  Routes
	Modes   Modes
	Balance func() Balance
}

// Service serves HEART_BEAT, UNREGISTER_CLIENT, CHECK_CLIENT_CONFIG, GET_CONSUMER_LIST_BY_GROUP, LOCK_BATCH_MQ,
// UNLOCK_BATCH_MQ, QUERY_ASSIGNMENT and SET_MESSAGE_REQUEST_MODE.
type Service struct {
	cfg Config
}

// New makes a service.
func New(cfg Config) *Service {
	if cfg.RejectPull == nil {
		cfg.RejectPull = func() bool { return false }
	}
	if cfg.Notifies == nil {
		cfg.Notifies = func() bool { return true }
	}
	if cfg.Set == nil {
		cfg.Set = alone{}
	}
	return &Service{cfg}
}

// Notify tells the members of a group, one-way, that it has changed (code 40), so that they share out its queues
// anew at once. It is a clientmgr.Changed. Source: Java Broker2Client.notifyConsumerIdsChanged.
func (s *Service) Notify(t *protocol.Turn, group string, peers []protocol.Peer) {
	if !s.cfg.Notifies() {
		return
	}
	c := &protocol.Command{Code: protocol.NotifyConsumerIdsChanged}
	c.SetOneway()
	c.Set("consumerGroup", group)
	for _, p := range peers {
		p.Send(t, c)
	}
}

// Unregister serves UNREGISTER_CLIENT: the connection leaves a producer group, a consumer group, or both. Fields:
// UnregisterClientRequestHeader. A group that it is not in is no error. Source: Java ClientManageProcessor.
func (s *Service) Unregister(c *protocol.Call) error {
	var h protocol.UnregisterClientRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if h.ProducerGroup != "" {
		s.cfg.Clients.Producers.Unregister(h.ProducerGroup, c.Peer)
	}
	if h.ConsumerGroup != "" {
		s.cfg.Clients.Consumers.Unregister(c.Turn, h.ConsumerGroup, c.Peer)
	}
	return answer(c, nil)
}

// List serves GET_CONSUMER_LIST_BY_GROUP. Fields: GetConsumerListByGroupRequestHeader. It answers SYSTEM_ERROR if
// nobody is there: a client would take an empty list for one without itself, and stop. Source: Java
// ConsumerManageProcessor.
func (s *Service) List(c *protocol.Call) error {
	var h protocol.GetConsumerListByGroupRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	ids := s.cfg.Clients.Consumers.ClientIDs(h.ConsumerGroup)
	if len(ids) == 0 {
		return protocol.Errorf(protocol.SystemError, "no consumer for this group, %s", h.ConsumerGroup)
	}
	return answer(c, protocol.GetConsumerListByGroupResponseBody{ConsumerIDList: ids})
}

// Check serves CHECK_CLIENT_CONFIG, which asks whether the broker can filter by an expression. Tag expressions are
// not looked at; others are SYSTEM_ERROR without enablePropertyFilter, and SUBSCRIPTION_PARSE_FAILED if they are wrong.
// Source: Java ClientManageProcessor.checkClientConfig.
func (s *Service) Check(c *protocol.Call) error {
	var d protocol.CheckClientRequestBody
	if err := read(c, &d); err != nil {
		return err
	}
	if sub := d.SubscriptionData; sub != nil && !filter.IsTag(sub.ExpressionType) {
		if !s.cfg.PropertyFilter {
			return protocol.Errorf(protocol.SystemError, "%v", filter.UnsupportedError(sub.ExpressionType))
		}
		if _, err := filter.Compile(sub.ExpressionType, sub.SubString); err != nil {
			return protocol.Errorf(protocol.SubscriptionParseFailed, "%v", err)
		}
	}
	return answer(c, nil)
}

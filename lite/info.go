package lite

import (
	"cmp"
	"context"
	"slices"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

const (
	maxShown = 10_000 // lite topics of a client. Source: Java LiteManagerProcessor.
	maxLags  = 10_000 // lite topics of a group that is behind
)

func body(v any) (protocol.Fielder, []byte, error) {
	data, err := laxjson.Marshal(v)
	return nil, data, err
}

// BrokerInfo serves GET_BROKER_LITE_INFO (200074): how much there is of everything.
func (s *Service) BrokerInfo(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	info := protocol.GetBrokerLiteInfoResponseBody{
		StoreType: s.cfg.StoreType, MaxLmqNum: s.cfg.MaxQueues(), CurrentLmqNum: s.cfg.Store.CountTopics(topic.LMQPrefix),
		CqTableSize: s.cfg.Store.CountTopics(""), OffsetTableSize: s.cfg.Offsets.Len(), TopicMeta: s.expirations(), GroupMeta: s.groups(),
	}
	s.on(func(b *board) {
		info.LiteSubscriptionCount, info.OrderInfoCount, info.EventMapSize = b.refs, b.lines.n, len(b.clients)
	})
	return body(info)
}

// groups returns the groups of each parent topic, sorted.
func (s *Service) groups() map[string][]string {
	groups := make(map[string][]string)
	all, _ := s.cfg.Groups.All()
	for name, g := range all {
		if parent, ok := g.Attributes[topic.AttrLiteBind]; ok {
			groups[parent] = append(groups[parent], name)
		}
	}
	for _, names := range groups {
		slices.Sort(names)
	}
	return groups
}

// shown is parent for the codes that show something.
func (s *Service) shown(name string) (*topic.Config, error) {
	return s.parent(name, "Topic [%s] not exist.", "Topic [%s] type not match.")
}

// ParentInfo serves GET_PARENT_TOPIC_INFO (200075). Fields: GetParentTopicInfoRequestHeader.
func (s *Service) ParentInfo(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetParentTopicInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	cfg, err := s.shown(h.Topic)
	if err != nil {
		return nil, nil, err
	}
	return body(protocol.GetParentTopicInfoResponseBody{
		Topic: h.Topic, TTL: expirationOf(cfg), Groups: s.groups()[h.Topic], LiteTopicCount: len(s.children(h.Topic)),
		LmqNum: s.cfg.Store.CountTopics(topic.LMQPrefix),
	})
}

// TopicInfo serves GET_LITE_TOPIC_INFO (200076). Fields: GetLiteTopicInfoRequestHeader.
func (s *Service) TopicInfo(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetLiteTopicInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	if _, err := s.shown(h.ParentTopic); err != nil {
		return nil, nil, err
	}
	info := protocol.GetLiteTopicInfoResponseBody{ParentTopic: h.ParentTopic, LiteTopic: h.LiteTopic}
	queue := topic.LiteQueue(h.ParentTopic, h.LiteTopic)
	if q := s.queue(queue); end(q) > 0 {
		n := q.Max()
		info.TopicOffset = protocol.TopicOffset{MinOffset: max(q.Min(), 0), MaxOffset: n, LastUpdateTimestamp: s.cfg.Store.StoreTime(q, n-1)}
	}
	s.on(func(b *board) { info.Subscriber = b.subscribers(queue) })
	slices.SortFunc(info.Subscriber, func(a, b protocol.ClientGroup) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.ClientID, b.ClientID))
	})
	info.ShardingToBroker = s.shards(ctx, h.ParentTopic).here(s.cfg.Name, h.LiteTopic)
	return body(info)
}

// ClientInfo serves GET_LITE_CLIENT_INFO (200077). The lite topics have the names of their queues, as in Java. Fields:
// GetLiteClientInfoRequestHeader.
func (s *Service) ClientInfo(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetLiteClientInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	if _, err := s.shown(h.ParentTopic); err != nil {
		return nil, nil, err
	}
	g := s.cfg.Groups.Get([]byte(h.Group))
	switch {
	case g == nil:
		return nil, nil, refuse(protocol.SubscriptionGroupNotExist, "Group [%s] not exist.", h.Group)
	case g.Attributes[topic.AttrLiteBind] != h.ParentTopic:
		return nil, nil, refuse(protocol.InvalidParameter, "Subscription [%s]-[%s] not match.", h.Group, h.ParentTopic)
	}
	info := protocol.GetLiteClientInfoResponseBody{ParentTopic: h.ParentTopic, Group: h.Group, ClientID: h.ClientID, LiteTopicCount: -1, LastAccessTime: -1}
	s.on(func(b *board) {
		c := b.clients[h.ClientID]
		if c == nil {
			return
		}
		info.LiteTopicCount, info.LastAccessTime = len(c.topics), c.askedMs
		for name := range c.topics {
			if len(info.LiteTopics) >= min(int(h.MaxCount), maxShown) {
				break
			}
			info.LiteTopics = append(info.LiteTopics, name)
		}
	})
	slices.Sort(info.LiteTopics)
	return body(info)
}

// liteGroup checks that a group is there and consumes lite topics.
func (s *Service) liteGroup(name string) (parent string, err error) {
	g := s.cfg.Groups.Get([]byte(name))
	switch {
	case g == nil:
		return "", refuse(protocol.SubscriptionGroupNotExist, "Group [%s] not exist.", name)
	case g.Attributes[topic.AttrLiteBind] == "":
		return "", refuse(protocol.InvalidParameter, "Group [%s] is not a LITE group.", name)
	}
	return g.Attributes[topic.AttrLiteBind], nil
}

// GroupInfo serves GET_LITE_GROUP_INFO (200078): how far a group is behind, in one lite topic or in all. Fields:
// GetLiteGroupInfoRequestHeader.
func (s *Service) GroupInfo(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetLiteGroupInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	parent, err := s.liteGroup(h.Group)
	if err != nil {
		return nil, nil, err
	}
	info := protocol.GetLiteGroupInfoResponseBody{Group: h.Group, ParentTopic: parent, LiteTopic: h.LiteTopic, EarliestUnconsumedTimestamp: -1}
	if h.LiteTopic == "" {
		s.lags(&info, int(min(max(h.TopK, 0), maxLags)))
		return body(info)
	}
	q := s.queue(topic.LiteQueue(parent, h.LiteTopic))
	if end(q) == 0 {
		info.TotalLagCount = -1
		return body(info)
	}
	if offset, ok := s.cfg.Offsets.Get([]byte(h.Group), []byte(q.Topic()), 0); ok {
		w := protocol.OffsetWrapper{BrokerOffset: q.Max(), ConsumerOffset: offset}
		if offset > 0 {
			w.LastTimestamp = s.cfg.Store.StoreTime(q, offset-1)
		}
		info.TotalLagCount, info.EarliestUnconsumedTimestamp, info.LiteTopicOffsetWrapper = w.BrokerOffset-offset, s.cfg.Store.StoreTime(q, offset), &w
	}
	return body(info)
}

// lags finds how many messages a group has not consumed, and the k lite topics where that is most, and oldest. Source: Java
// LiteConsumerLagCalculator.
func (s *Service) lags(info *protocol.GetLiteGroupInfoResponseBody, k int) {
	all := []protocol.LiteLagInfo{}
	for _, name := range s.cfg.Offsets.Topics(info.Group) {
		parent, lite, ok := topic.SplitLite(name)
		if !ok || parent != info.ParentTopic {
			continue
		}
		q := s.queue(name)
		offset, known := s.cfg.Offsets.Get([]byte(info.Group), []byte(name), 0)
		if lag := end(q) - offset; known && lag > 0 {
			info.TotalLagCount += lag
			all = append(all, protocol.LiteLagInfo{LiteTopic: lite, LagCount: lag})
		}
	}
	sinceOf := func(l *protocol.LiteLagInfo) {
		if q := s.queue(topic.LiteQueue(info.ParentTopic, l.LiteTopic)); q != nil {
			l.EarliestUnconsumedTimestamp = s.cfg.Store.StoreTime(q, q.Max()-l.LagCount)
		}
	}
	slices.SortFunc(all, func(a, b protocol.LiteLagInfo) int { return cmp.Compare(b.LagCount, a.LagCount) })
	most := slices.Clone(all[:min(k, len(all))])
	for i := range most {
		sinceOf(&most[i])
	}
	oldest := []protocol.LiteLagInfo{}
	if s.cfg.ShowsLagLatencies() {
		for i := range all {
			sinceOf(&all[i])
		}
		slices.SortFunc(all, func(a, b protocol.LiteLagInfo) int {
			return cmp.Compare(a.EarliestUnconsumedTimestamp, b.EarliestUnconsumedTimestamp)
		})
		oldest = all[:min(k, len(all))]
		if len(all) > 0 {
			info.EarliestUnconsumedTimestamp = all[0].EarliestUnconsumedTimestamp
		}
	}
	info.LagCountTopK, info.LagTimestampTopK = &most, &oldest
}

// Trigger serves TRIGGER_LITE_DISPATCH (200079): it looks for what waits for a client of a group, or for all. Fields:
// TriggerLiteDispatchRequestHeader.
func (s *Service) Trigger(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.TriggerLiteDispatchRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	if _, err := s.liteGroup(h.Group); err != nil {
		return nil, nil, err
	}
	s.lookAt(s.looks(h.Group, h.ClientID))
	return nil, nil, nil
}

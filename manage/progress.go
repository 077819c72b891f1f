package manage

import (
	"context"
	"strings"
	"time"

	"rocketd/protocol"
	"rocketd/stats"
	"rocketd/topic"
)

func (s *Service) mq(name string, id int32) protocol.MessageQueue {
	return protocol.MessageQueue{BrokerName: s.cfg.Broker, QueueID: id, Topic: name}
}

// TopicStats serves GET_TOPIC_STATS_INFO (202): the bounds of every queue and when its last message was stored.
func (s *Service) TopicStats(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetTopicStatsInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	config := s.cfg.Topics.Get([]byte(h.Topic))
	if config == nil {
		return nil, nil, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist", h.Topic)
	}
	table := make(map[protocol.MessageQueue]protocol.TopicOffset)
	for id := range max(config.ReadQueueNums, config.WriteQueueNums) {
		q := s.queue(h.Topic, id)
		first, next := bounds(q)
		o := protocol.TopicOffset{MinOffset: first, MaxOffset: next}
		if next > 0 {
			o.LastUpdateTimestamp = max(s.cfg.Store.StoreTime(q, next-1), 0)
		}
		table[s.mq(h.Topic, id)] = o
	}
	return body(protocol.TopicStatsTable{OffsetTable: table, TopicPutTps: s.perSecond(stats.TopicPutNums, h.Topic)})
}

// ConsumeStats serves GET_CONSUME_STATS (208): how far a group is in each queue of a topic, of a list of topics
// separated by ';', or of all topics that it has offsets of. Topics that a connected group does not subscribe are
// left out, unless they were listed. A missing offset counts as 0. Source: Java AdminBrokerProcessor.getConsumeStats.
func (s *Service) ConsumeStats(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetConsumeStatsRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	var names []string
	listed := false
	switch {
	case strings.TrimSpace(h.TopicList) != "":
		names, listed = strings.Split(h.TopicList, ";"), true
	case strings.TrimSpace(h.Topic) != "":
		names = []string{h.Topic}
	default:
		names = s.cfg.Offsets.Topics(h.ConsumerGroup)
	}
	all := protocol.ConsumeStats{OffsetTable: make(map[protocol.MessageQueue]protocol.OffsetWrapper)}
	for _, name := range names {
		config := s.cfg.Topics.Get([]byte(name))
		if config == nil || !listed && !s.subscribed(h.ConsumerGroup, name) {
			continue
		}
		s.progress(h.ConsumerGroup, config, all.OffsetTable)
		all.ConsumeTps += s.consumed(h.ConsumerGroup, name)
	}
	return body(all)
}

// progress adds how far a group is in each queue of a topic.
func (s *Service) progress(group string, config *topic.Config, to map[protocol.MessageQueue]protocol.OffsetWrapper) {
	for id := range config.WriteQueueNums {
		q := s.queue(config.Name, id)
		_, next := bounds(q)
		o := protocol.OffsetWrapper{BrokerOffset: next}
		var stands bool
		if o.ConsumerOffset, stands = s.cfg.Offsets.Get([]byte(group), []byte(config.Name), id); !stands && s.cfg.Mappings.Get([]byte(config.Name)) != nil {
			o.ConsumerOffset = -1 // of a static topic it may stand in another stretch
		}
		pulled, _ := s.cfg.Offsets.Pulled([]byte(group), []byte(config.Name), id)
		o.PullOffset = max(pulled, o.ConsumerOffset)
		if o.ConsumerOffset > 0 {
			o.LastTimestamp = max(s.cfg.Store.StoreTime(q, o.ConsumerOffset-1), 0)
		}
		to[s.mq(config.Name, id)] = o
	}
}

// BrokerConsumeStats serves GET_BROKER_CONSUME_STATS (317): the progress of all groups, topic by topic, and the sum
// of what they have not consumed yet; only of ordered topics, if the request wants that.
func (s *Service) BrokerConsumeStats(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetConsumeStatsInBrokerRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	all := protocol.ConsumeStatsList{BrokerAddr: s.cfg.Addr}
	groups, _ := s.cfg.Groups.All()
	for group := range groups {
		list := []protocol.ConsumeStats{}
		for _, name := range s.cfg.Offsets.Topics(group) {
			config := s.cfg.Topics.Get([]byte(name))
			if config == nil || h.IsOrder && !config.Order || !s.subscribed(group, name) {
				continue
			}
			one := protocol.ConsumeStats{
				ConsumeTps:  s.consumed(group, name),
				OffsetTable: make(map[protocol.MessageQueue]protocol.OffsetWrapper),
			}
			s.progress(group, config, one.OffsetTable)
			for _, o := range one.OffsetTable {
				all.TotalDiff += o.BrokerOffset - o.ConsumerOffset
				all.TotalInflightDiff += o.PullOffset - o.ConsumerOffset
			}
			list = append(list, one)
		}
		all.ConsumeStatsList = append(all.ConsumeStatsList, map[string][]protocol.ConsumeStats{group: list})
	}
	return body(all)
}

// TimeSpans serves QUERY_CONSUME_TIME_SPAN (303): for each queue the times of its first and last message and of the
// last one that the group has consumed, and for how long the next one has been waiting.
// Source: Java AdminBrokerProcessor.queryConsumeTimeSpan.
func (s *Service) TimeSpans(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QueryConsumeTimeSpanRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	config := s.cfg.Topics.Get([]byte(h.Topic))
	if config == nil {
		return nil, nil, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist", h.Topic)
	}
	now := time.Now().UnixMilli()
	var b protocol.QueryConsumeTimeSpanBody
	for id := range config.WriteQueueNums {
		q := s.queue(h.Topic, id)
		first, next := bounds(q)
		span := protocol.QueueTimeSpan{MessageQueue: s.mq(h.Topic, id)}
		span.MinTimeStamp = s.cfg.Store.StoreTime(q, first)
		span.MaxTimeStamp = s.cfg.Store.StoreTime(q, next-1)
		span.ConsumeTimeStamp = span.MinTimeStamp
		offset, _ := s.cfg.Offsets.Get([]byte(h.Group), []byte(h.Topic), id)
		if offset > 0 {
			span.ConsumeTimeStamp = s.cfg.Store.StoreTime(q, offset-1)
		}
		if waiting := s.cfg.Store.StoreTime(q, offset); offset < next && waiting > 0 {
			span.DelayTime = now - waiting
		}
		span.MinTimeStampStr = timeText(span.MinTimeStamp)
		span.MaxTimeStampStr = timeText(span.MaxTimeStamp)
		span.ConsumeTimeStampStr = timeText(span.ConsumeTimeStamp)
		b.ConsumeTimeSpanSet = append(b.ConsumeTimeSpanSet, span)
	}
	return body(b)
}

// timeText writes a time as Java's tools do, in the zone of the machine. Source: Java UtilAll.
func timeText(ms int64) string {
	t := time.UnixMilli(ms)
	return t.Format("2006-01-02#15:04:05:") + t.Format(".000")[1:]
}

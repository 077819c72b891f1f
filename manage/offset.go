package manage

import (
	"context"
	"math"
	"slices"
	"strings"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/topic"
)

// ResetOffset serves INVOKE_BROKER_TO_RESET_OFFSET (222): it sets the offsets of a group in a topic, in one queue or
// in all, to an offset or to a time (-1 is the end). With useServerSideResetOffset the broker keeps them and hands
// them to the next pull, whether the group is connected or not; without, it tells the connected clients.
// Source: Java AdminBrokerProcessor.resetOffset; remoting.md 3.4.4.
func (s *Service) ResetOffset(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.ResetOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	config := s.cfg.Topics.Get([]byte(h.Topic))
	if config == nil {
		return nil, nil, protocol.Errorf(protocol.TopicNotExist, "Topic %s does not exist", h.Topic)
	}
	if s.cfg.Groups.Get([]byte(h.Group)) == nil {
		return nil, nil, protocol.Errorf(protocol.SubscriptionGroupNotExist, "Group %s does not exist", h.Group)
	}
	if !s.cfg.Settings.Bool("useServerSideResetOffset") {
		return s.resetClients(&h, config)
	}
	targets, err := s.resetTargets(&h, config)
	if err != nil {
		return nil, nil, err
	}
	table := make(map[protocol.MessageQueue]int64, len(targets))
	for id, offset := range targets {
		s.cfg.Offsets.Reset(h.Group, h.Topic, id, offset)
		table[s.mq(h.Topic, id)] = offset
	}
	if s.cfg.Reset != nil {
		for id := range targets {
			if q := s.queue(h.Topic, id); q != nil {
				s.cfg.Reset(q)
			}
		}
	}
	return body(protocol.ResetOffsetBody{OffsetTable: table})
}

// resetTargets returns the new offset of each queue that the request is about.
func (s *Service) resetTargets(h *protocol.ResetOffsetRequest, config *topic.Config) (map[int32]int64, error) {
	if h.QueueID < 0 {
		targets := make(map[int32]int64)
		for id := range config.WriteQueueNums {
			targets[id] = s.offsetAt(h.Topic, id, h.Timestamp)
		}
		if len(targets) == 0 {
			return nil, protocol.Errorf(protocol.SystemError, "No queues to reset.")
		}
		return targets, nil
	}
	if h.QueueID >= max(config.ReadQueueNums, config.WriteQueueNums) {
		return nil, protocol.Errorf(protocol.SystemError, "Topic %s has no queue %d", h.Topic, h.QueueID)
	}
	offset := h.Offset.Or(-1)
	if offset == -1 {
		return map[int32]int64{h.QueueID: s.offsetAt(h.Topic, h.QueueID, h.Timestamp)}, nil
	}
	if first, next := bounds(s.queue(h.Topic, h.QueueID)); offset < first || offset > next+1 {
		return nil, protocol.Errorf(protocol.SystemError, "Target offset %d not in consume queue range [%d-%d]", offset, first, next)
	}
	return map[int32]int64{h.QueueID: offset}, nil
}

// offsetAt returns the offset of the first message stored at a time or later; with a negative time the end.
func (s *Service) offsetAt(name string, id int32, ms int64) int64 {
	q := s.queue(name, id)
	if ms < 0 || q == nil {
		_, next := bounds(q)
		return next
	}
	return s.cfg.Store.OffsetByTime(q, ms, store.Lower)
}

// resetClients tells every connected client of the group to go to a time, as brokers did before they could reset by
// themselves: forward only if the request forces it.
func (s *Service) resetClients(h *protocol.ResetOffsetRequest, config *topic.Config) (protocol.Fielder, []byte, error) {
	b := protocol.ResetOffsetBody{OffsetTable: make(map[protocol.MessageQueue]int64)}
	for id := range config.WriteQueueNums {
		committed, ok := s.cfg.Offsets.Get([]byte(h.Group), []byte(h.Topic), id)
		if !ok {
			return nil, nil, protocol.Errorf(protocol.SystemError, "THe consumer group <%s> not exist", h.Group)
		}
		target := s.offsetAt(h.Topic, id, h.Timestamp)
		if !h.IsForce {
			target = min(target, committed)
		}
		b.OffsetTable[s.mq(h.Topic, id)] = target
	}
	clients := s.cfg.Clients.Consumers.Clients(h.Group)
	if len(clients) == 0 {
		return nil, nil, protocol.Errorf(protocol.ConsumerNotOnline,
			"Consumer not online, so can not reset online client offset. topic=%s, group=%s, timestamp=%d", h.Topic, h.Group, h.Timestamp)
	}
	data, err := b.Marshal()
	if err != nil {
		return nil, nil, err
	}
	for _, client := range clients {
		tell := &protocol.Command{Code: protocol.ResetConsumerClientOffset, Body: data}
		if client.Language == protocol.LanguageCPP {
			if tell.Body, err = resetForC(b.OffsetTable); err != nil {
				return nil, nil, err
			}
		}
		tell.SetOneway()
		tell.Set("topic", h.Topic)
		tell.Set("group", h.Group)
		tell.Set("timestamp", number(h.Timestamp))
		client.Peer.Send(nil, tell)
	}
	return nil, data, nil
}

func resetForC(table map[protocol.MessageQueue]int64) ([]byte, error) {
	var b protocol.ResetOffsetBodyForC
	for q, offset := range table {
		b.OffsetTable = append(b.OffsetTable, protocol.MessageQueueForC{
			BrokerName: q.BrokerName, Topic: q.Topic, QueueID: q.QueueID, Offset: offset,
		})
	}
	return b.Marshal()
}

// CloneOffsets serves CLONE_GROUP_OFFSET (314): one group gets the offsets of another, in a topic or in all topics
// that it has offsets of. Unless offline is set, topics that the connected source group does not subscribe are left
// out.
func (s *Service) CloneOffsets(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.CloneGroupOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	names := []string{h.Topic}
	if strings.TrimSpace(h.Topic) == "" {
		names = s.cfg.Offsets.Topics(h.SrcGroup)
	}
	for _, name := range names {
		if s.cfg.Topics.Get([]byte(name)) != nil && (h.Offline || s.subscribed(h.SrcGroup, name)) {
			s.cfg.Offsets.Clone(h.SrcGroup, h.DestGroup, name)
		}
	}
	return nil, nil, nil
}

// CorrectionOffsets serves QUERY_CORRECTION_OFFSET (308): for each queue the smallest offset that any group of the
// topic has, filterGroups (separated by commas) aside; the largest number there is where the compared group is
// behind all of them. Other than Java, nothing is changed by asking.
// Source: Java AdminBrokerProcessor.queryCorrectionOffset.
func (s *Service) CorrectionOffsets(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QueryCorrectionOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	filtered := strings.Split(h.FilterGroups, ",")
	least := make(map[int32]int64)
	for _, group := range s.cfg.Offsets.Groups(h.Topic) {
		if slices.Contains(filtered, group) {
			continue
		}
		for id, offset := range s.cfg.Offsets.Queues(group, h.Topic) {
			if old, ok := least[id]; !ok || offset < old {
				least[id] = offset
			}
		}
	}
	for id, offset := range s.cfg.Offsets.Queues(h.CompareGroup, h.Topic) {
		if other, ok := least[id]; ok && other > offset {
			least[id] = math.MaxInt64
		}
	}
	return body(protocol.QueryCorrectionOffsetBody{CorrectionOffsets: least})
}

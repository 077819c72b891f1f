package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"rocketd/protocol"
	"rocketd/topic"
)

// UpdateTopic serves UPDATE_AND_CREATE_TOPIC (17): it creates a topic or replaces its configuration. Attributes are
// changes, "+key=value" and "-key". It is durable and registered when the answer leaves; an equal configuration
// changes nothing. Source: Java AdminBrokerProcessor.updateAndCreateTopic.
func (s *Service) UpdateTopic(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.CreateTopicRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	want, err := configOf(&h)
	if err != nil {
		return nil, nil, err
	}
	if err := s.checkTopic(want); err != nil {
		return nil, nil, err
	}
	return nil, nil, s.updateTopic(want)
}

// configOf is the configuration that a request asks for; its attributes are changes.
func configOf(h *protocol.CreateTopicRequest) (*topic.Config, error) {
	changes, err := topic.ParseAttributes(h.Attributes)
	if err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "%v", err)
	}
	want := &topic.Config{
		Name: h.Topic, ReadQueueNums: h.ReadQueueNums, WriteQueueNums: h.WriteQueueNums, Perm: topic.Perm(h.Perm),
		SysFlag: h.TopicSysFlag.Or(0), Order: h.Order, Attributes: changes,
	}
	if err := want.FilterType.UnmarshalText([]byte(h.TopicFilterType)); err != nil || want.FilterType == "" {
		return nil, protocol.Errorf(protocol.SystemError, "topicFilterType = [%s] value not correct", h.TopicFilterType)
	}
	return want, nil
}

// UpdateTopics serves UPDATE_AND_CREATE_TOPIC_LIST (18): many of them, all checked before the first is created.
// Other than Java, it also applies a list in which one topic is there already.
func (s *Service) UpdateTopics(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var list protocol.CreateTopicListRequestBody
	if err := decodeBody(c, protocol.InvalidParameter, &list); err != nil {
		return nil, nil, err
	}
	for _, want := range list.TopicConfigList {
		if want == nil {
			return nil, nil, protocol.Errorf(protocol.InvalidParameter, "a topic of the list is null")
		}
		if err := s.checkTopic(want); err != nil {
			return nil, nil, err
		}
	}
	for _, want := range list.TopicConfigList {
		if err := s.updateTopic(want); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

// checkTopic tells why a topic may not be created or changed as wanted.
func (s *Service) checkTopic(want *topic.Config) error {
	if err := topic.CheckTopic(want.Name); err != nil {
		return protocol.Errorf(protocol.InvalidParameter, "%v", err)
	}
	if s.cfg.Settings.Bool("validateSystemTopicWhenUpdateTopic") && s.isSystem(want.Name) {
		return systemConflict(want.Name)
	}
	if want.ReadQueueNums < 0 || want.WriteQueueNums < 0 || want.ReadQueueNums > topic.MaxQueues || want.WriteQueueNums > topic.MaxQueues {
		return protocol.Errorf(protocol.InvalidParameter, "The topic[%s] cannot have %d read and %d write queues, only 0 to %d.",
			want.Name, want.ReadQueueNums, want.WriteQueueNums, topic.MaxQueues)
	}
	if want.Attributes["+"+topic.AttrMessageType] == "MIXED" && !s.cfg.Settings.Bool("enableMixedMessageType") {
		return protocol.Errorf(protocol.InvalidParameter, "MIXED message type is not supported.")
	}
	return nil
}

func systemConflict(name string) error {
	return protocol.Errorf(protocol.InvalidParameter, "The topic[%s] is conflict with system topic.", name)
}

// updateTopic stores want, whose attributes are changes of what there is.
func (s *Service) updateTopic(want *topic.Config) error {
	return s.cfg.Topics.Update(want.Name, func(old *topic.Config) (*topic.Config, error) {
		var current map[string]string
		if old != nil {
			current = old.Attributes
		}
		attributes, err := topic.AlterTopic(current, want.Attributes, old == nil)
		if err != nil {
			return nil, protocol.Errorf(protocol.SystemError, "%v", err)
		}
		next := want.Clone()
		next.Attributes = attributes
		if next.FilterType == "" {
			next.FilterType = topic.SingleTag
		}
		return next, nil
	})
}

// DeleteTopic serves DELETE_TOPIC_IN_BROKER (215): configuration, offsets of all groups and queues go, with them
// the pop retry topics of its groups (clearRetryTopicWhenDeleteTopic). An unknown topic is no error. Source: Java
// AdminBrokerProcessor.deleteTopic.
func (s *Service) DeleteTopic(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.DeleteTopicRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	return nil, nil, s.deleteTopics(h.Topic)
}

// DeleteTopics serves DELETE_TOPIC_IN_BROKER_LIST (5002): many of them, none if one of the names may not be deleted.
// Other than Java's it is not slowed down: the table is written once for all.
func (s *Service) DeleteTopics(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var list protocol.DeleteTopicListRequestBody
	if err := decodeBody(c, protocol.InvalidParameter, &list); err != nil {
		return nil, nil, err
	}
	if len(list.TopicList) == 0 {
		return nil, nil, protocol.Errorf(protocol.InvalidParameter, "The list of topics is empty.")
	}
	return nil, nil, s.deleteTopics(list.TopicList...)
}

func (s *Service) deleteTopics(names ...string) error {
	for _, name := range names {
		if strings.TrimSpace(name) == "" {
			return protocol.Errorf(protocol.InvalidParameter, "The specified topic is blank.")
		}
		if s.cfg.Settings.Bool("validateSystemTopicWhenUpdateTopic") && s.isSystem(name) {
			return systemConflict(name)
		}
	}
	if s.cfg.Settings.Bool("clearRetryTopicWhenDeleteTopic") {
		for _, name := range slices.Clone(names) {
			names = append(names, s.popRetryTopics(name)...)
		}
	}
	if s.cfg.Deleting != nil {
		if err := s.cfg.Deleting(names...); err != nil {
			return fmt.Errorf("cannot delete what belongs to topics %v: %w", names, err)
		}
	}
	if err := s.cfg.Topics.Delete(names...); err != nil {
		return err
	}
	if err := s.cfg.Mappings.Delete(names...); err != nil { // after the topics: none of them is ever there as a plain one
		return err
	}
	for _, name := range names {
		s.cfg.Offsets.RemoveTopic(name)
		if err := s.cfg.Store.DeleteTopic(name); err != nil {
			return fmt.Errorf("cannot delete queues of topic %s: %w", name, err)
		}
		s.cfg.Stats.Forget(func(topic, _ string) bool { return topic == name })
	}
	return nil
}

// popRetryTopics returns the topics, named in either version, where the groups of a topic retry what they popped.
func (s *Service) popRetryTopics(name string) (names []string) {
	for _, group := range s.cfg.Offsets.Groups(name) {
		for _, sep := range []string{"_", "+"} {
			if retry := topic.RetryTopic(group) + sep + name; s.cfg.Topics.Get([]byte(retry)) != nil {
				names = append(names, retry)
			}
		}
	}
	return names
}

// Topic serves GET_TOPIC_CONFIG (351), with the mapping of a static topic where lo asks for it.
func (s *Service) Topic(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetTopicConfigRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	config := s.cfg.Topics.Get([]byte(h.Topic))
	if config == nil {
		return nil, nil, protocol.Errorf(protocol.TopicNotExist, "No topic in this broker. topic: %s", h.Topic)
	}
	if h.RPC.Logical.V {
		return body(protocol.TopicConfigAndQueueMapping{Config: *config, MappingDetail: s.cfg.Mappings.Get([]byte(h.Topic))})
	}
	return body(config)
}

// Topics serves GET_ALL_TOPIC_CONFIG (21): the whole table, or a page of it in the order of names, if the request says
// which and enableSplitMetadata is on; when the table has changed since the version that the request names, the pages
// begin anew. Source: Java AdminBrokerProcessor.getAllTopicConfig.
func (s *Service) Topics(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	configs, version := s.cfg.Topics.All()
	total := len(configs)
	var h protocol.GetAllTopicConfigRequest
	paged := s.paged(c, "topicSeq", "dataVersion", "maxTopicNum")
	if paged {
		if err := h.Decode(c.Fields); err != nil {
			return nil, nil, err
		}
	}
	if h.TopicSeq <= 0 {
		s.followers.asked(c.Peer.RemoteAddr().Addr().Unmap(), configs, version)
	}
	if paged {
		configs = page(&s.topicNames, configs, version, h.DataVersion, h.TopicSeq, s.pageSize(h.MaxTopicNum))
	}
	mappings, mapped := s.cfg.Mappings.All()
	_, data, err := body(protocol.TopicConfigAndMappingSerializeWrapper{DataVersion: version, TopicConfigTable: configs,
		MappingDataVersion: mapped, TopicQueueMappingDetailMap: mappingsOf(mappings, configs)})
	return &protocol.GetAllTopicConfigResponse{TotalTopicNum: protocol.Some(int32(total))}, data, err
}

// SystemTopics serves GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305): the topics that every broker has, and this one's own.
func (s *Service) SystemTopics(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	names := []string{
		topic.SelfTest, topic.AutoCreateKey, topic.Benchmark, topic.OffsetMovedEvent, topic.Schedule, topic.Trace,
		topic.TransHalf, topic.TransOpHalf, topic.RocksTransHalf, topic.RocksTransOpHalf, topic.TransCheckMax, topic.Checkpoint,
	}
	names = append(names, s.cfg.SystemTopics...)
	slices.Sort(names)
	return body(protocol.TopicList{TopicList: slices.Compact(names)})
}

// CleanUnusedTopics serves CLEAN_UNUSED_TOPIC (316): queues of topics that are no more are deleted. Light queues
// and the system's topics stay.
func (s *Service) CleanUnusedTopics(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	for _, name := range s.cfg.Store.Topics() {
		if s.cfg.Topics.Get([]byte(name)) != nil || s.isSystem(name) || strings.HasPrefix(name, topic.LMQPrefix) {
			continue
		}
		if err := s.cfg.Store.DeleteTopic(name); err != nil {
			return nil, nil, fmt.Errorf("cannot delete queues of topic %s: %w", name, err)
		}
	}
	return nil, nil, nil
}

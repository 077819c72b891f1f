package manage

import (
	"context"
	"maps"
	"strings"

	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/topic"
)

// UpdateGroup serves UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200): it creates a group or replaces its configuration.
// Attributes are changes, keys with a sign. Source: Java AdminBrokerProcessor.updateAndCreateSubscriptionGroup.
func (s *Service) UpdateGroup(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var want topic.GroupConfig
	if err := decodeBody(c, protocol.InvalidParameter, &want); err != nil {
		return nil, nil, err
	}
	if err := checkGroup(want.Name); err != nil {
		return nil, nil, err
	}
	return nil, nil, s.updateGroup(&want)
}

// UpdateGroups serves UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225): many of them, all checked before the first is
// created.
func (s *Service) UpdateGroups(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var list protocol.SubscriptionGroupList
	if err := decodeBody(c, protocol.InvalidParameter, &list); err != nil {
		return nil, nil, err
	}
	for _, want := range list.GroupConfigList {
		if want == nil {
			return nil, nil, protocol.Errorf(protocol.InvalidParameter, "a group of the list is null")
		}
		if err := checkGroup(want.Name); err != nil {
			return nil, nil, err
		}
	}
	for _, want := range list.GroupConfigList {
		if err := s.updateGroup(want); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

func checkGroup(name string) error {
	if err := topic.CheckGroup(name); err != nil {
		return protocol.Errorf(protocol.InvalidParameter, "%v", err)
	}
	return nil
}

// updateGroup stores want, whose attributes are changes of what there is.
func (s *Service) updateGroup(want *topic.GroupConfig) error {
	return s.cfg.Groups.Update(want.Name, func(old *topic.GroupConfig) (*topic.GroupConfig, error) {
		var current map[string]string
		if old != nil {
			current = old.Attributes
		}
		attributes, err := topic.AlterGroup(current, want.Attributes, old == nil)
		if err != nil {
			return nil, protocol.Errorf(protocol.SystemError, "%v", err)
		}
		next := want.Clone()
		next.Attributes = attributes
		return next, nil
	})
}

// DeleteGroup serves DELETE_SUBSCRIPTIONGROUP (207): the configuration goes, and the offsets too if the request
// wants that.
func (s *Service) DeleteGroup(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.DeleteSubscriptionGroupRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	return nil, nil, s.deleteGroups(h.CleanOffset, h.GroupName)
}

// DeleteGroups serves DELETE_SUBSCRIPTION_GROUP_LIST (5003): many of them, none if one of the names is blank.
func (s *Service) DeleteGroups(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var list protocol.DeleteSubscriptionGroupListRequestBody
	if err := decodeBody(c, protocol.InvalidParameter, &list); err != nil {
		return nil, nil, err
	}
	if len(list.GroupNameList) == 0 {
		return nil, nil, protocol.Errorf(protocol.InvalidParameter, "The list of groups is empty.")
	}
	for _, name := range list.GroupNameList {
		if strings.TrimSpace(name) == "" {
			return nil, nil, protocol.Errorf(protocol.InvalidParameter, "The specified group is blank.")
		}
	}
	return nil, nil, s.deleteGroups(list.CleanOffset, list.GroupNameList...)
}

func (s *Service) deleteGroups(offsets bool, names ...string) error {
	if err := s.cfg.Groups.Delete(names...); err != nil {
		return err
	}
	for _, name := range names {
		if offsets {
			s.cfg.Offsets.RemoveGroup(name)
		}
		s.cfg.Stats.Forget(func(_, group string) bool { return group == name })
	}
	return nil
}

// Group serves GET_SUBSCRIPTIONGROUP_CONFIG (352). Other than Java, asking does not create a group.
func (s *Service) Group(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetSubscriptionGroupConfigRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	config := s.cfg.Groups.Get([]byte(h.Group))
	if config == nil {
		return nil, nil, noGroup(h.Group)
	}
	return body(config)
}

func noGroup(group string) error {
	return protocol.Errorf(protocol.SubscriptionGroupNotExist, "No group in this broker. group: %s", group)
}

// Groups serves GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), whole or in pages as Topics does. A page has the forbidden
// topics of its groups.
func (s *Service) Groups(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	configs, version := s.cfg.Groups.All()
	total := len(configs)
	forbidden := s.cfg.Groups.AllForbidden()
	if s.paged(c, "groupSeq", "dataVersion", "maxGroupNum") {
		var h protocol.GetAllSubscriptionGroupRequest
		if err := h.Decode(c.Fields); err != nil {
			return nil, nil, err
		}
		configs = page(&s.groupNames, configs, version, h.DataVersion, h.GroupSeq, s.pageSize(h.MaxGroupNum))
		maps.DeleteFunc(forbidden, func(group string, _ map[string]int32) bool { return configs[group] == nil })
	}
	_, data, err := body(protocol.SubscriptionGroupWrapper{
		DataVersion: version, ForbiddenTable: forbidden, SubscriptionGroupTable: configs,
	})
	return &protocol.GetAllSubscriptionGroupResponse{TotalGroupNum: int32(total)}, data, err
}

// Forbidden serves UPDATE_AND_GET_GROUP_FORBIDDEN (353): it bans a group from reading a topic, or lifts the ban if
// readable is true; without readable it only tells.
func (s *Service) Forbidden(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.UpdateGroupForbiddenRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	if h.Readable.Set {
		if err := s.cfg.Groups.SetForbidden(h.Group, h.Topic, meta.ForbidRead, !h.Readable.V); err != nil {
			return nil, nil, err
		}
	}
	readable := s.cfg.Groups.Forbidden([]byte(h.Group), []byte(h.Topic))&meta.ForbidRead == 0
	return body(protocol.GroupForbidden{Group: h.Group, Topic: h.Topic, Readable: &readable})
}

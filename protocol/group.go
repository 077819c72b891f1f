package protocol

import "rocketd/topic"

// The bodies about consumer groups.

// SubscriptionGroupWrapper is a broker's group table, with what groups may not do with topics, as bits.
type SubscriptionGroupWrapper struct {
	DataVersion            DataVersion                   `json:"dataVersion"`
	ForbiddenTable         map[string]map[string]int32   `json:"forbiddenTable"`
	SubscriptionGroupTable map[string]*topic.GroupConfig `json:"subscriptionGroupTable"`
}

// SubscriptionGroupList asks for several groups at once.
type SubscriptionGroupList struct {
	GroupConfigList []*topic.GroupConfig `json:"groupConfigList"`
}

// DeleteSubscriptionGroupListRequestBody names groups to be deleted.
type DeleteSubscriptionGroupListRequestBody struct {
	CleanOffset   bool     `json:"cleanOffset"`
	GroupNameList []string `json:"groupNameList"`
}

// GroupList is a set of group names.
type GroupList struct {
	GroupList []string `json:"groupList"`
}

// GroupForbidden says whether a group may read a topic.
type GroupForbidden struct {
	Group    string `json:"group,omitempty"`
	Readable *bool  `json:"readable"`
	Topic    string `json:"topic,omitempty"`
}

package meta

import "rocketd/topic"

// System says which topics a broker makes for itself at its start. The numbers and switches are the settings of
// the same name.
type System struct {
	Cluster, Broker string // brokerClusterName, brokerName
	AutoCreateTopic bool   // autoCreateTopicEnable: TBW102, the template of topics that producers ask for
	DefaultQueues   int32  // defaultTopicQueueNums, queues of TBW102
	ClusterTopic    bool   // clusterTopicEnable, whether the topic of the cluster's name can be used
	BrokerTopic     bool   // brokerTopicEnable, the same for the broker's name
	ReviveQueues    int32  // reviveQueueNum, queues of the pop revive topic
	TraceTopic      string // msgTraceTopicName; empty without traceTopicEnable
	TimerWheel      bool   // timerWheelEnable
}

// Topics returns the configurations of the broker's own topics. Sources: Java TopicConfigManager.init and
// tables/system-topics.tsv.
func (s System) Topics() []*topic.Config {
	var all []*topic.Config
	add := func(name string, queues int32, perm topic.Perm) {
		c := topic.NewConfig(name, queues)
		c.Perm = perm
		all = append(all, c)
	}
	const usable = topic.PermRead | topic.PermWrite
	named := func(enabled bool) topic.Perm {
		if enabled {
			return usable | topic.PermInherit
		}
		return topic.PermInherit
	}
	add(topic.SelfTest, 1, usable)
	if s.AutoCreateTopic {
		add(topic.AutoCreateKey, s.DefaultQueues, usable|topic.PermInherit)
	}
	add(topic.Benchmark, 1024, usable)
	add(s.Cluster, 16, named(s.ClusterTopic))
	add(s.Broker, 1, named(s.BrokerTopic))
	add(topic.OffsetMovedEvent, 1, usable)
	add(topic.Schedule, 18, usable)
	if s.TraceTopic != "" {
		add(s.TraceTopic, 1, usable)
	}
	add(s.Cluster+topic.ReplySuffix, 1, usable)
	add(topic.RevivePrefix+s.Cluster, s.ReviveQueues, usable)
	add(topic.SyncMemberPrefix+s.Broker, 1, topic.PermInherit)
	add(topic.TransHalf, 1, usable)
	add(topic.TransOpHalf, 1, usable)
	add(topic.RocksTransHalf, 1, usable)
	add(topic.RocksTransOpHalf, 1, usable)
	if s.TimerWheel {
		add(topic.Timer, 1, usable)
	}
	return all
}

// SystemGroups returns the configurations of the groups that every broker has. Source: Java
// SubscriptionGroupManager.init.
func SystemGroups() []*topic.GroupConfig {
	var all []*topic.GroupConfig
	for _, name := range topic.SystemGroups() {
		all = append(all, topic.NewGroupConfig(name))
	}
	return all
}

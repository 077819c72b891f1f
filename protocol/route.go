package protocol

import "rocketd/topic"

// The bodies of routing and registration. Their JSON is Java's; see docs/format/frame.md.

// RegisterBrokerBody is what a broker tells a NameServer of itself, uncompressed.
type RegisterBrokerBody struct {
	FilterServerList            []string                              `json:"filterServerList"`
	TopicConfigSerializeWrapper TopicConfigAndMappingSerializeWrapper `json:"topicConfigSerializeWrapper"`
}

// TopicConfigSerializeWrapper is a broker's topic table.
type TopicConfigSerializeWrapper struct {
	DataVersion      DataVersion              `json:"dataVersion"`
	TopicConfigTable map[string]*topic.Config `json:"topicConfigTable"`
}

// TopicConfigAndMappingSerializeWrapper is a broker's topic table with its part of static topics.
type TopicConfigAndMappingSerializeWrapper struct {
	DataVersion                DataVersion                  `json:"dataVersion"`
	MappingDataVersion         DataVersion                  `json:"mappingDataVersion"`
	TopicConfigTable           map[string]*topic.Config     `json:"topicConfigTable"`
	TopicQueueMappingDetailMap map[string]*topic.Mapping    `json:"topicQueueMappingDetailMap"`
	TopicQueueMappingInfoMap   map[string]topic.MappingInfo `json:"topicQueueMappingInfoMap"`
}

// TopicConfigAndQueueMapping is the configuration of one topic with its part of a static topic, if it is one.
type TopicConfigAndQueueMapping struct {
	topic.Config
	MappingDetail *topic.Mapping `json:"mappingDetail"`
}

// TopicRouteData says where a topic lives.
type TopicRouteData struct {
	BrokerDatas               []BrokerData                 `json:"brokerDatas"`
	FilterServerTable         map[string][]string          `json:"filterServerTable"`
	OrderTopicConf            string                       `json:"orderTopicConf,omitempty"`
	QueueDatas                []QueueData                  `json:"queueDatas"`
	TopicQueueMappingByBroker map[string]topic.MappingInfo `json:"topicQueueMappingByBroker,omitempty"`
}

// QueueData says how many queues a topic has on a broker, and what may be done with them.
type QueueData struct {
	BrokerName     string `json:"brokerName"`
	Perm           int32  `json:"perm"` // topic.Perm
	ReadQueueNums  int32  `json:"readQueueNums"`
	TopicSysFlag   int32  `json:"topicSysFlag"`
	WriteQueueNums int32  `json:"writeQueueNums"`
}

// BrokerData says which processes stand behind a broker's name; 0 is the master.
type BrokerData struct {
	BrokerAddrs        map[int64]string `json:"brokerAddrs"`
	BrokerName         string           `json:"brokerName"`
	Cluster            string           `json:"cluster"`
	EnableActingMaster bool             `json:"enableActingMaster"`
	ZoneName           string           `json:"zoneName,omitempty"`
}

// ClusterInfo lists all brokers, and their names by cluster.
type ClusterInfo struct {
	BrokerAddrTable  map[string]BrokerData `json:"brokerAddrTable"`
	ClusterAddrTable map[string][]string   `json:"clusterAddrTable"`
}

// BrokerMemberGroup has the processes behind one broker's name.
type BrokerMemberGroup struct {
	BrokerAddrs map[int64]string `json:"brokerAddrs"`
	BrokerName  string           `json:"brokerName,omitempty"`
	Cluster     string           `json:"cluster,omitempty"`
}

// GetBrokerMemberGroupResponseBody answers GET_BROKER_MEMBER_GROUP; the group is nil for an unknown name.
type GetBrokerMemberGroupResponseBody struct {
	BrokerMemberGroup *BrokerMemberGroup `json:"brokerMemberGroup"`
}

// KVTable is a table of texts, such as the runtime information of a broker.
type KVTable struct {
	Table map[string]string `json:"table"`
}

// TopicList is a set of topic names.
type TopicList struct {
	BrokerAddr string   `json:"brokerAddr,omitempty"`
	TopicList  []string `json:"topicList"`
}

// CreateTopicListRequestBody asks for several topics at once.
type CreateTopicListRequestBody struct {
	TopicConfigList []*topic.Config `json:"topicConfigList"`
}

// DeleteTopicListRequestBody names topics to be deleted.
type DeleteTopicListRequestBody struct {
	TopicList []string `json:"topicList"`
}

// NotLeader answers a request for a queue of a static topic that another broker leads: its client is to ask for the route again.
func NotLeader(m *topic.Mapping, id int32) *Error {
	return Errorf(NotLeaderForQueue, "%s-%d does not exit in request process of current broker %s", m.Topic, id, m.Broker)
}

package protocol

// The bodies of clients: heartbeats, members, connections, locks.

// HeartbeatData is what a client tells a broker every 30 seconds. A fingerprint of 0 is the first version of the protocol.
type HeartbeatData struct {
	ClientID             string         `json:"clientID"`
	ConsumerDataSet      []ConsumerData `json:"consumerDataSet"`
	HeartbeatFingerprint int32          `json:"heartbeatFingerprint"`
	ProducerDataSet      []ProducerData `json:"producerDataSet"`
	WithoutSub           bool           `json:"withoutSub"` // the subscriptions are those of the fingerprint
}

// ProducerData names a producer group.
type ProducerData struct {
	GroupName string `json:"groupName"`
}

// ConsumerData is a consumer group with what its member subscribes to.
type ConsumerData struct {
	ConsumeFromWhere    ConsumeFromWhere   `json:"consumeFromWhere,omitempty"`
	ConsumeType         ConsumeType        `json:"consumeType,omitempty"`
	GroupName           string             `json:"groupName"`
	MessageModel        MessageModel       `json:"messageModel,omitempty"`
	SubscriptionDataSet []SubscriptionData `json:"subscriptionDataSet"`
	UnitMode            bool               `json:"unitMode"`
}

// SubscriptionData is a topic with the messages of it that are wanted.
type SubscriptionData struct {
	ClassFilterMode bool     `json:"classFilterMode"`
	CodeSet         []int32  `json:"codeSet"` // Java hash codes of the tags
	ExpressionType  string   `json:"expressionType,omitempty"`
	SubString       string   `json:"subString,omitempty"`
	SubVersion      int64    `json:"subVersion"`
	TagsSet         []string `json:"tagsSet"`
	Topic           string   `json:"topic,omitempty"`
}

// Defaults makes the expression one of tags.
func (s *SubscriptionData) Defaults() { *s = SubscriptionData{ExpressionType: "TAG"} }

// GetConsumerListByGroupResponseBody has the client IDs of a group.
type GetConsumerListByGroupResponseBody struct {
	ConsumerIDList []string `json:"consumerIdList"`
}

// CheckClientRequestBody asks a broker whether it understands a subscription.
type CheckClientRequestBody struct {
	ClientID         string            `json:"clientId,omitempty"`
	Group            string            `json:"group,omitempty"`
	Namespace        string            `json:"namespace,omitempty"`
	SubscriptionData *SubscriptionData `json:"subscriptionData"`
}

// MessageQueue is a queue in the world. As the key of a map it is written as a bare object.
type MessageQueue struct {
	BrokerName string `json:"brokerName,omitempty"`
	QueueID    int32  `json:"queueId"`
	Topic      string `json:"topic,omitempty"`
}

// LockBatchRequestBody asks for queues for one client of a group alone.
type LockBatchRequestBody struct {
	ClientID       string         `json:"clientId,omitempty"`
	ConsumerGroup  string         `json:"consumerGroup,omitempty"`
	MQSet          []MessageQueue `json:"mqSet"`
	OnlyThisBroker bool           `json:"onlyThisBroker"`
}

// LockBatchResponseBody has the queues that the client holds now.
type LockBatchResponseBody struct {
	LockOKMQSet []MessageQueue `json:"lockOKMQSet"`
}

// UnlockBatchRequestBody gives queues back.
type UnlockBatchRequestBody struct {
	ClientID       string         `json:"clientId,omitempty"`
	ConsumerGroup  string         `json:"consumerGroup,omitempty"`
	MQSet          []MessageQueue `json:"mqSet"`
	OnlyThisBroker bool           `json:"onlyThisBroker"`
}

// Connection is a client as tools see it.
type Connection struct {
	ClientAddr string   `json:"clientAddr"` // "host:port"
	ClientID   string   `json:"clientId"`
	Language   Language `json:"language"`
	Version    int32    `json:"version"`
}

// ConsumerConnection has the members of a consumer group and what they subscribe to, by topic.
type ConsumerConnection struct {
	ConnectionSet     []Connection                `json:"connectionSet"`
	ConsumeFromWhere  ConsumeFromWhere            `json:"consumeFromWhere,omitempty"`
	ConsumeType       ConsumeType                 `json:"consumeType,omitempty"`
	MessageModel      MessageModel                `json:"messageModel,omitempty"`
	SubscriptionTable map[string]SubscriptionData `json:"subscriptionTable"`
}

// ProducerConnection has the members of a producer group.
type ProducerConnection struct {
	ConnectionSet []Connection `json:"connectionSet"`
}

// ProducerTableInfo has all producers by group.
type ProducerTableInfo struct {
	Data map[string][]ProducerInfo `json:"data"`
}

// ProducerInfo is one producer.
type ProducerInfo struct {
	ClientID            string   `json:"clientId"`
	Language            Language `json:"language"`
	LastUpdateTimestamp int64    `json:"lastUpdateTimestamp"` // of its last heartbeat, ms
	RemoteIP            string   `json:"remoteIP"`            // as Java prints an address: "/1.2.3.4:5000"
	Version             int32    `json:"version"`
}

// QuerySubscriptionResponseBody has what a group subscribes to in a topic; nil if it does not.
type QuerySubscriptionResponseBody struct {
	Group            string            `json:"group,omitempty"`
	SubscriptionData *SubscriptionData `json:"subscriptionData"`
	Topic            string            `json:"topic,omitempty"`
}

// ConsumerRunningInfo is what a client tells of itself when a tool asks through the broker.
type ConsumerRunningInfo struct {
	Jstack           string                               `json:"jstack,omitempty"`
	MQPopTable       map[MessageQueue]PopProcessQueueInfo `json:"mqPopTable"`
	MQTable          map[MessageQueue]ProcessQueueInfo    `json:"mqTable"`
	Properties       map[string]string                    `json:"properties"`
	StatusTable      map[string]ConsumeStatus             `json:"statusTable"`
	SubscriptionSet  []SubscriptionData                   `json:"subscriptionSet"`
	UserConsumerInfo map[string]string                    `json:"userConsumerInfo"`
}

// PopProcessQueueInfo is a queue of a client that pops.
type PopProcessQueueInfo struct {
	Dropped          bool  `json:"droped"`
	LastPopTimestamp int64 `json:"lastPopTimestamp"`
	WaitAckCount     int32 `json:"waitAckCount"`
}

// ProcessQueueInfo is a queue of a client that pulls, with what it holds in memory. Times are in ms.
type ProcessQueueInfo struct {
	CachedMsgCount          int32 `json:"cachedMsgCount"`
	CachedMsgMaxOffset      int64 `json:"cachedMsgMaxOffset"`
	CachedMsgMinOffset      int64 `json:"cachedMsgMinOffset"`
	CachedMsgSizeInMiB      int32 `json:"cachedMsgSizeInMiB"`
	CommitOffset            int64 `json:"commitOffset"`
	Dropped                 bool  `json:"droped"`
	LastConsumeTimestamp    int64 `json:"lastConsumeTimestamp"`
	LastLockTimestamp       int64 `json:"lastLockTimestamp"`
	LastPullTimestamp       int64 `json:"lastPullTimestamp"`
	Locked                  bool  `json:"locked"`
	TransactionMsgCount     int32 `json:"transactionMsgCount"`
	TransactionMsgMaxOffset int64 `json:"transactionMsgMaxOffset"`
	TransactionMsgMinOffset int64 `json:"transactionMsgMinOffset"`
	TryUnlockTimes          int64 `json:"tryUnlockTimes"`
}

// ConsumeStatus has the rates of a client for one topic, per second, and times, ms.
type ConsumeStatus struct {
	ConsumeFailedMsgs int64   `json:"consumeFailedMsgs"`
	ConsumeFailedTPS  float64 `json:"consumeFailedTPS"`
	ConsumeOKTPS      float64 `json:"consumeOKTPS"`
	ConsumeRT         float64 `json:"consumeRT"`
	PullRT            float64 `json:"pullRT"`
	PullTPS           float64 `json:"pullTPS"`
}

// ConsumeMessageDirectlyResult is what a client made of a message that a tool sent it.
type ConsumeMessageDirectlyResult struct {
	AutoCommit     bool   `json:"autoCommit"`
	ConsumeResult  string `json:"consumeResult,omitempty"`
	Order          bool   `json:"order"`
	Remark         string `json:"remark,omitempty"`
	SpentTimeMills int64  `json:"spentTimeMills"`
}

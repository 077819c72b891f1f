package protocol

// LiteAction is what a LiteSubscription asks for. Source: Java LiteSubscriptionAction.
type LiteAction string

// The actions. An unknown one is empty, like Java's null.
const (
	LitePartialAdd     LiteAction = "PARTIAL_ADD"
	LitePartialRemove  LiteAction = "PARTIAL_REMOVE"
	LiteCompleteAdd    LiteAction = "COMPLETE_ADD" // these lite topics and no others
	LiteCompleteRemove LiteAction = "COMPLETE_REMOVE"
)

// UnmarshalText reads a name in any case or Java's ordinal.
func (a *LiteAction) UnmarshalText(text []byte) error {
	*a = enum(text, LitePartialAdd, LitePartialRemove, LiteCompleteAdd, LiteCompleteRemove)
	return nil
}

// LiteSubscriptionCtlRequestBody is the body of LITE_SUBSCRIPTION_CTL.
type LiteSubscriptionCtlRequestBody struct {
	SubscriptionSet []*LiteSubscription `json:"subscriptionSet"`
}

// LiteSubscription is what one client subscribes to, or no longer, of one parent topic. Source: Java LiteSubscriptionDTO.
type LiteSubscription struct {
	Action       LiteAction    `json:"action"`
	ClientID     string        `json:"clientId"`
	Group        string        `json:"group"`
	LiteTopics   []string      `json:"liteTopicSet"`
	OffsetOption *OffsetOption `json:"offsetOption"`
	Topic        string        `json:"topic"`
	Version      int64         `json:"version"`
}

// OffsetKind says what the value of an OffsetOption means. Source: Java OffsetOption.Type.
type OffsetKind string

// The kinds. An unknown one is empty, like Java's null.
const (
	OffsetPolicy    OffsetKind = "POLICY" // see the policies
	OffsetExact     OffsetKind = "OFFSET"
	OffsetTail      OffsetKind = "TAIL_N" // so many before the committed one
	OffsetTimestamp OffsetKind = "TIMESTAMP"
)

// The policies.
const (
	PolicyLast = 0 // where the group is
	PolicyMin  = 1
	PolicyMax  = 2
)

// UnmarshalText reads a name in any case or Java's ordinal.
func (k *OffsetKind) UnmarshalText(text []byte) error {
	*k = enum(text, OffsetPolicy, OffsetExact, OffsetTail, OffsetTimestamp)
	return nil
}

// OffsetOption is where a group is to begin.
type OffsetOption struct {
	Type  OffsetKind `json:"type"`
	Value int64      `json:"value"`
}

// GetBrokerLiteInfoResponseBody is the body of the answer to GET_BROKER_LITE_INFO.
type GetBrokerLiteInfoResponseBody struct {
	CqTableSize           int                 `json:"cqTableSize"`   // topics with queues, light ones among them
	CurrentLmqNum         int                 `json:"currentLmqNum"` // light queues
	EventMapSize          int                 `json:"eventMapSize"`  // clients
	GroupMeta             map[string][]string `json:"groupMeta"`     // groups by parent topic
	LiteSubscriptionCount int                 `json:"liteSubscriptionCount"`
	MaxLmqNum             int                 `json:"maxLmqNum"`
	OffsetTableSize       int                 `json:"offsetTableSize"`
	OrderInfoCount        int                 `json:"orderInfoCount"`
	StoreType             string              `json:"storeType"`
	TopicMeta             map[string]int      `json:"topicMeta"` // minutes of expiration by parent topic
}

// GetParentTopicInfoResponseBody is the body of the answer to GET_PARENT_TOPIC_INFO.
type GetParentTopicInfoResponseBody struct {
	Groups         []string `json:"groups,omitempty"`
	LiteTopicCount int      `json:"liteTopicCount"`
	LmqNum         int      `json:"lmqNum"` // of the broker
	Topic          string   `json:"topic"`
	TTL            int      `json:"ttl"` // minutes
}

// ClientGroup is a client and its group.
type ClientGroup struct {
	ClientID string `json:"clientId"`
	Group    string `json:"group"`
}

// GetLiteTopicInfoResponseBody is the body of the answer to GET_LITE_TOPIC_INFO.
type GetLiteTopicInfoResponseBody struct {
	LiteTopic        string        `json:"liteTopic,omitempty"`
	ParentTopic      string        `json:"parentTopic"`
	ShardingToBroker bool          `json:"shardingToBroker"` // messages of this lite topic are sent to this broker
	Subscriber       []ClientGroup `json:"subscriber,omitempty"`
	TopicOffset      TopicOffset   `json:"topicOffset"`
}

// GetLiteClientInfoResponseBody is the body of the answer to GET_LITE_CLIENT_INFO.
type GetLiteClientInfoResponseBody struct {
	ClientID        string   `json:"clientId,omitempty"`
	Group           string   `json:"group"`
	LastAccessTime  int64    `json:"lastAccessTime"`  // when it asked last, ms; -1: never
	LastConsumeTime int64    `json:"lastConsumeTime"` // always 0, as in Java
	LiteTopicCount  int      `json:"liteTopicCount"`  // -1: the client is not known
	LiteTopics      []string `json:"liteTopicSet,omitempty"`
	ParentTopic     string   `json:"parentTopic"`
}

// LiteLagInfo is how far a group is behind in one lite topic.
type LiteLagInfo struct {
	EarliestUnconsumedTimestamp int64  `json:"earliestUnconsumedTimestamp"`
	LagCount                    int64  `json:"lagCount"`
	LiteTopic                   string `json:"liteTopic"`
}

// GetLiteGroupInfoResponseBody is the body of the answer to GET_LITE_GROUP_INFO.
type GetLiteGroupInfoResponseBody struct {
	EarliestUnconsumedTimestamp int64          `json:"earliestUnconsumedTimestamp"`
	Group                       string         `json:"group"`
	LagCountTopK                *[]LiteLagInfo `json:"lagCountTopK"`
	LagTimestampTopK            *[]LiteLagInfo `json:"lagTimestampTopK"`
	LiteTopic                   string         `json:"liteTopic,omitempty"`
	LiteTopicOffsetWrapper      *OffsetWrapper `json:"liteTopicOffsetWrapper,omitempty"`
	ParentTopic                 string         `json:"parentTopic"`
	TotalLagCount               int64          `json:"totalLagCount"`
}

package clientmgr

// SubscriptionData is what a client says about one topic in a heartbeat.
type SubscriptionData struct {
	Topic, SubString, ExpressionType string
	TagsSet                          []string
	CodeSet                          []int32
	SubVersion                       int64
	ClassFilterMode                  bool
}

// MessageQueue names a queue.
type MessageQueue struct {
	Topic, BrokerName string
	QueueID           int32
}

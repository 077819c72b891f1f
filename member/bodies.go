package member

import (
	"strings"

	"rocketd/clientmgr"
	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// heartbeatData is the body of a heartbeat. Go clients leave out the fingerprint and withoutSub, which is version 1,
// and empty sets. Source: Java HeartbeatData.
type heartbeatData struct {
	ClientID    string         `json:"clientID"`
	Consumers   []consumerData `json:"consumerDataSet"`
	Fingerprint int32          `json:"heartbeatFingerprint"`
	Producers   []producerData `json:"producerDataSet"`
	WithoutSub  bool           `json:"withoutSub"`
}

type producerData struct {
	Group string `json:"groupName"`
}

type consumerData struct {
	From          string             `json:"consumeFromWhere"`
	Type          string             `json:"consumeType"`
	Group         string             `json:"groupName"`
	Model         string             `json:"messageModel"`
	Subscriptions []subscriptionData `json:"subscriptionDataSet"`
	UnitMode      bool               `json:"unitMode"`
}

type subscriptionData struct {
	ClassFilterMode bool     `json:"classFilterMode"`
	Codes           []int32  `json:"codeSet"`
	Kind            string   `json:"expressionType"`
	Expression      string   `json:"subString"`
	Version         int64    `json:"subVersion"`
	Tags            []string `json:"tagsSet"`
	Topic           string   `json:"topic"`
}

// lockData is the body of a lock or unlock request. Source: Java LockBatchRequestBody, UnlockBatchRequestBody.
type lockData struct {
	ClientID string         `json:"clientId"`
	Group    string         `json:"consumerGroup"`
	Queues   []messageQueue `json:"mqSet"`
}

type messageQueue struct {
	Broker string `json:"brokerName"`
	ID     int32  `json:"queueId"`
	Topic  string `json:"topic"`
}

// lockedData answers a lock request. Source: Java LockBatchResponseBody.
type lockedData struct {
	Queues []messageQueue `json:"lockOKMQSet"`
}

// clientIDs answers a request for a consumer list. Source: Java GetConsumerListByGroupResponseBody.
type clientIDs struct {
	IDs []string `json:"consumerIdList"`
}

// checkData is the body of a check of a subscription. Source: Java CheckClientRequestBody.
type checkData struct {
	Subscription *subscriptionData `json:"subscriptionData"`
}

// read decodes the body of a request; none at all is an error too.
func read(c *protocol.Call, v any) error {
	if len(c.Body) == 0 {
		return protocol.Errorf(protocol.SystemError, "the %s request has no body", protocol.RequestName(c.Code))
	}
	if err := laxjson.Unmarshal(c.Body, v); err != nil {
		return protocol.Errorf(protocol.SystemError, "cannot read the body of the %s request: %v", protocol.RequestName(c.Code), err)
	}
	return nil
}

// answer sends a success with v as body; nil is none.
func answer(c *protocol.Call, v any) error {
	var body []byte
	if v != nil {
		var err error
		if body, err = laxjson.Marshal(v); err != nil {
			return err
		}
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, body)
	return nil
}

// heartbeat is what the client manager wants to know of one consumer group.
func (d *heartbeatData) heartbeat(g *consumerData, client clientmgr.Client) *clientmgr.Heartbeat {
	h := &clientmgr.Heartbeat{
		Group: g.Group, Client: client,
		Type:        enum(g.Type, consumeTypes...),
		Model:       enum(g.Model, clientmgr.Broadcasting, "CLUSTERING", "LITE_SELECTIVE"),
		From:        enum(g.From, consumeFrom...),
		WithoutSub:  d.WithoutSub && d.Fingerprint != 0, // version 1 does not know it
		Fingerprint: d.Fingerprint,
	}
	for _, s := range g.Subscriptions {
		if s.Topic != "" {
			h.Subscriptions = append(h.Subscriptions, clientmgr.SubscriptionData{
				Topic: s.Topic, SubString: s.Expression, ExpressionType: s.Kind, TagsSet: s.Tags, CodeSet: s.Codes,
				SubVersion: s.Version, ClassFilterMode: s.ClassFilterMode,
			})
		}
	}
	return h
}

const active = "CONSUME_ACTIVELY" // the consumer pulls on its own

// consumeTypes are the names of Java's ConsumeType in the order of their numbers.
var consumeTypes = []string{active, "CONSUME_PASSIVELY", "CONSUME_POP"}

// consumeFrom are the names of Java's ConsumeFromWhere in the order of their numbers.
var consumeFrom = []string{
	"CONSUME_FROM_LAST_OFFSET", "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST", "CONSUME_FROM_MIN_OFFSET",
	"CONSUME_FROM_MAX_OFFSET", "CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_TIMESTAMP",
}

// enum finds a name in any case, as Go clients write "Clustering", or by its number; what is unknown is empty.
func enum(text string, names ...string) string {
	for i, name := range names {
		if strings.EqualFold(text, name) || len(text) == 1 && int(text[0])-'0' == i {
			return name
		}
	}
	return ""
}

package topic

import (
	"maps"
	"slices"
	"strings"
)

// GroupConfig is the configuration of a consumer group on one broker, in the shape of Java's
// SubscriptionGroupConfig. One that was published is not changed any more; Clone it.
type GroupConfig struct {
	Attributes                     map[string]string `json:"attributes"`
	BrokerID                       int64             `json:"brokerId"`
	ConsumeBroadcastEnable         bool              `json:"consumeBroadcastEnable"`
	ConsumeEnable                  bool              `json:"consumeEnable"`
	ConsumeFromMinEnable           bool              `json:"consumeFromMinEnable"`
	ConsumeMessageOrderly          bool              `json:"consumeMessageOrderly"`
	ConsumeTimeoutMinute           int32             `json:"consumeTimeoutMinute"`
	Name                           string            `json:"groupName"`
	RetryPolicy                    RetryPolicy       `json:"groupRetryPolicy"`
	SysFlag                        int32             `json:"groupSysFlag"`
	NotifyConsumerIDsChangedEnable bool              `json:"notifyConsumerIdsChangedEnable"`
	RetryMaxTimes                  int32             `json:"retryMaxTimes"`
	RetryQueueNums                 int32             `json:"retryQueueNums"`
	Subscriptions                  []Subscription    `json:"subscriptionDataSet,omitempty"`
	WhichBrokerWhenConsumeSlowly   int64             `json:"whichBrokerWhenConsumeSlowly"`
}

// Subscription is what an operator has written into a group's configuration. Source: Java SimpleSubscriptionData.
type Subscription struct {
	Expression     string `json:"expression,omitempty"`
	ExpressionType string `json:"expressionType,omitempty"`
	Topic          string `json:"topic,omitempty"`
	Version        int64  `json:"version"`
}

// Defaults gives a config that is read from JSON what Java's constructor gives it.
func (c *GroupConfig) Defaults() { *c = *NewGroupConfig("") }

// NewGroupConfig returns the configuration that a group has unless an operator gave it another.
func NewGroupConfig(name string) *GroupConfig {
	return &GroupConfig{
		Name: name, ConsumeEnable: true, ConsumeFromMinEnable: true, ConsumeBroadcastEnable: true, ConsumeTimeoutMinute: 15,
		RetryQueueNums: 1, RetryMaxTimes: 16, RetryPolicy: RetryPolicy{Type: Customized},
		WhichBrokerWhenConsumeSlowly: 1, NotifyConsumerIDsChangedEnable: true,
	}
}

// Clone returns a copy that shares nothing.
func (c *GroupConfig) Clone() *GroupConfig {
	d := *c
	d.Attributes = maps.Clone(c.Attributes)
	d.Subscriptions = slices.Clone(c.Subscriptions)
	if e := c.RetryPolicy.Exponential; e != nil {
		own := *e
		d.RetryPolicy.Exponential = &own
	}
	if p := c.RetryPolicy.Customized; p != nil {
		d.RetryPolicy.Customized = &CustomizedRetry{slices.Clone(p.NextMs)}
	}
	return &d
}

// Equal tells whether two configs say the same.
func (c *GroupConfig) Equal(d *GroupConfig) bool {
	return maps.Equal(c.Attributes, d.Attributes) && c.BrokerID == d.BrokerID &&
		c.ConsumeBroadcastEnable == d.ConsumeBroadcastEnable && c.ConsumeEnable == d.ConsumeEnable &&
		c.ConsumeFromMinEnable == d.ConsumeFromMinEnable && c.ConsumeMessageOrderly == d.ConsumeMessageOrderly &&
		c.ConsumeTimeoutMinute == d.ConsumeTimeoutMinute && c.Name == d.Name && c.RetryPolicy.equal(&d.RetryPolicy) &&
		c.SysFlag == d.SysFlag && c.NotifyConsumerIDsChangedEnable == d.NotifyConsumerIDsChangedEnable &&
		c.RetryMaxTimes == d.RetryMaxTimes && c.RetryQueueNums == d.RetryQueueNums &&
		slices.Equal(c.Subscriptions, d.Subscriptions) && c.WhichBrokerWhenConsumeSlowly == d.WhichBrokerWhenConsumeSlowly
}

// RetryType names a retry policy. Source: Java GroupRetryPolicyType.
type RetryType string

// The retry types.
const (
	Exponential RetryType = "EXPONENTIAL"
	Customized  RetryType = "CUSTOMIZED"
)

// UnmarshalText reads a name in any case or Java's ordinal; what is unknown becomes empty and counts as Customized.
func (t *RetryType) UnmarshalText(text []byte) error {
	*t = ""
	for i, name := range []RetryType{Exponential, Customized} {
		if strings.EqualFold(string(text), string(name)) || len(text) == 1 && int(text[0]-'0') == i {
			*t = name
		}
	}
	return nil
}

// RetryPolicy says how long a group waits before it gets a message again. Proxies follow it, no broker does. Source: Java
// GroupRetryPolicy.
type RetryPolicy struct {
	Customized  *CustomizedRetry  `json:"customizedRetryPolicy"`
	Exponential *ExponentialRetry `json:"exponentialRetryPolicy"`
	Type        RetryType         `json:"type,omitempty"`
}

// CustomizedRetry lists the delays one by one, milliseconds.
type CustomizedRetry struct {
	NextMs []int64 `json:"next"`
}

// ExponentialRetry multiplies the delay each time, from an initial one to the longest, milliseconds.
type ExponentialRetry struct {
	InitialMs  int64 `json:"initial"`
	MaxMs      int64 `json:"max"`
	Multiplier int64 `json:"multiplier"`
}

// Defaults gives the policy Java's delays.
func (p *CustomizedRetry) Defaults() {
	p.NextMs = []int64{1000, 5000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
		540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000}
}

// Defaults gives the policy Java's delays.
func (p *ExponentialRetry) Defaults() { *p = ExponentialRetry{5000, 7_200_000, 2} }

func (p *RetryPolicy) equal(q *RetryPolicy) bool {
	if p.Type != q.Type || (p.Customized == nil) != (q.Customized == nil) || (p.Exponential == nil) != (q.Exponential == nil) {
		return false
	}
	return (p.Customized == nil || slices.Equal(p.Customized.NextMs, q.Customized.NextMs)) &&
		(p.Exponential == nil || *p.Exponential == *q.Exponential)
}

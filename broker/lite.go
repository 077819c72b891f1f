package broker

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"rocketd/lite"
	"rocketd/longpoll"
	"rocketd/order"
	"rocketd/pop"
	"rocketd/protocol"
)

// openLite makes the service of lite topics, and the room where its requests wait.
func (b *Broker) openLite() {
	s := b.cfg.Settings
	millis := func(key string) func() time.Duration { return func() time.Duration { return s.Duration(key) } }
	live := func(v *atomic.Int64) func() time.Duration {
		return func() time.Duration { return time.Duration(v.Load()) * time.Millisecond }
	}
	routes := newWriteRoutes(b)
	b.lite = lite.New(lite.Config{
		Topics: b.topics, Groups: b.groups, Store: b.store, Offsets: b.offsets, Log: b.component("lite"), Now: time.Now,
		Offload: b.offload, Again: b.again, Got: b.got,
		Handle: func(extraInfo []byte) (popMs int64, inOrder bool, err error) {
			h, err := pop.ParseHandle(extraInfo)
			return h.PopMs, h.Revive == order.Queue, err
		},
		Shards: func(ctx context.Context, parent string) (brokers []string) {
			for _, q := range routes.Ask(ctx, parent) {
				brokers = append(brokers, q.BrokerName)
			}
			return brokers
		},
		Name: b.id.name, Readable: b.live.readable, Closed: b.pop.Closed,
		FirstInMemory: s.Bool("initPopOffsetByCheckMsgInMem"),
		PollingSize:   s.Int("popPollingSize"),
		StoreType:     s.String("storeType"),

		MaxSubscriptions:  func() int { return int(s.Int64("maxLiteSubscriptionCount")) },
		MaxEvents:         func() int { return s.Int("maxClientEventCount") },
		MaxQueues:         func() int { return s.Int("maxLmqConsumeQueueNum") },
		LookDelay:         live(liveNumber(s, "liteEventFullDispatchDelayTime")),
		WildLookDelay:     live(liveNumber(s, "liteEventFullDispatchDelayTimeForWildcardGroup")),
		EventInterval:     millis("liteEventCheckInterval"),
		ClientInterval:    millis("liteSubscriptionCheckInterval"),
		ClientTimeout:     millis("liteSubscriptionCheckTimeoutMills"),
		ExpireInterval:    millis("liteTtlCheckInterval"),
		MinLife:           millis("minLiteTTl"),
		ShowsLagLatencies: func() bool { return s.Bool("liteLagLatencyCollectEnable") },
	})
	b.liteRoom = longpoll.New[string](longpoll.Config[lite.Waiter]{Answer: b.lite.Answer, Max: s.Int("maxPopPollingSize")}, time.Now())
	b.lite.UseRoom(b.liteRoom)
}

// isLite tells whether a request speaks of a lite topic.
func isLite(c *protocol.Call) bool {
	name, _ := c.Get("liteTopic")
	return strings.TrimSpace(string(name)) != ""
}

func (b *Broker) ack(c *protocol.Call) error {
	if isLite(c) {
		return b.lite.Ack(c)
	}
	return b.pop.Ack(c)
}

func (b *Broker) change(c *protocol.Call) error {
	if isLite(c) {
		return b.lite.Change(c)
	}
	return b.pop.Change(c)
}

func (b *Broker) notification(c *protocol.Call) error {
	if lite, _ := c.Get("isLiteConsumer"); strings.EqualFold(string(lite), "true") {
		return b.lite.Notification(c)
	}
	return b.pop.Notification(c)
}

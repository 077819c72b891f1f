package pull

import (
	"time"

	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// proxyForBroadcast is the requestSource of a proxy that pulls for one client of a group that broadcasts. Source: Java
// RequestSource.
const proxyForBroadcast = 1

// Broadcasts keeps where each client of a broadcasting group is. An offset.Broadcast is one.
type Broadcasts interface {
	Begin(l offset.Listener, from int64) (at int64, begin bool)
	Pulled(l offset.Listener, offset int64, now time.Time)
}

// follows tells whether the broker keeps where clients of broadcasting groups are.
func (s *Service) follows() bool { return s.cfg.Broadcasts != nil && s.cfg.Broadcasting() }

// broadcasts tells whether a group has clients that each get every message, and that are pushed to.
func (s *Service) broadcasts(h *protocol.PullMessageRequest) bool {
	sub, known, _ := s.cfg.Clients.Subscription(h.ConsumerGroup, h.Topic)
	return known && sub.Broadcast && sub.Pushed
}

// listener returns who pulls, if it is a client of its own, as those of a group with each are and those that proxies name, and
// offsets of such are kept.
func (s *Service) listener(c *protocol.Call, h *protocol.PullMessageRequest, each bool) (l offset.Listener, ok bool) {
	proxy := h.RequestSource.Set && h.RequestSource.V == proxyForBroadcast
	if !proxy && !each || !s.follows() {
		return l, false
	}
	l = offset.Listener{Group: h.ConsumerGroup, Topic: h.Topic, Queue: h.QueueID, Proxy: proxy}
	if proxy {
		l.Client = string(h.ProxyFrowardClientID)
		return l, l.Client != ""
	}
	l.Client, ok = s.cfg.Clients.ClientID(h.ConsumerGroup, c.Peer)
	return l, ok
}

// begin tells whether a client is to begin elsewhere than it asks for, and where: at the place that it came to another way, at that
// of its group, or, if there is none, at the first message while that is young, else behind the last. Source: Java
// PullMessageProcessor.queryBroadcastPullInitOffset.
func (s *Service) begin(c *protocol.Call, h *protocol.PullMessageRequest, q *consumequeue.Queue, each bool) (at int64, begin bool) {
	l, ok := s.listener(c, h, each)
	if !ok {
		return 0, false
	}
	at, begin = s.cfg.Broadcasts.Begin(l, h.QueueOffset)
	switch {
	case !begin || at >= 0:
	case q.Min() <= 0 && s.cfg.Queues.InMemory(q, 0):
		at = 0
	default:
		at = q.Max()
	}
	if begin {
		s.cfg.Broadcasts.Pulled(l, at, c.Turn.Now)
	}
	return at, begin
}

// pulled notes where a client of a broadcasting group is: it has all before what it asks for, or before where it is sent.
func (s *Service) pulled(c *protocol.Call, h *protocol.PullMessageRequest, each bool, code int32, res *store.ReadResult, now time.Time) {
	l, ok := s.listener(c, h, each)
	if !ok {
		return
	}
	at := h.QueueOffset
	if code == protocol.PullOffsetMoved {
		at = res.Next
	}
	s.cfg.Broadcasts.Pulled(l, at, now)
}

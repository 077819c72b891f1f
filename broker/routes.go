package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

// routes remembers which queues consumers can read of the topics that assignments are asked for, as the NameServers say, or
// which ones producers send to. It is the member.Routes. Source: Java TopicRouteInfoManager.
type routes struct {
	ask  func(ctx context.Context, topic string) (*protocol.TopicRouteData, error) // errNoServer where there is nobody to ask
	own  func(topic string) []protocol.MessageQueue                                // what this broker has of it
	pick func(topic string, data *protocol.TopicRouteData) []protocol.MessageQueue // the queues of a route
	age  func() time.Duration                                                      // how old an answer may be
	now  func() time.Time

	mu    sync.Mutex // guards what follows, but not a table's queues, which nobody changes
	known map[string]*route
}

// route is the answer about one topic. A topic of which no NameServer knows has none.
type route struct {
	queues []protocol.MessageQueue
	asked  time.Time     // when it was asked for last
	done   chan struct{} // closed when the question that is under way is answered; nil if there is none
}

func newRoutes(b *Broker) *routes {
	return &routes{
		ask: b.registrar.route,
		own: func(name string) []protocol.MessageQueue {
			c := b.topics.Get([]byte(name))
			if c == nil || !c.Perm.Readable() {
				return nil
			}
			return appendQueues(nil, name, b.id.name, c.ReadQueueNums)
		},
		pick:  queuesOf,
		age:   func() time.Duration { return b.cfg.Settings.Duration("loadBalancePollNameServerInterval") },
		now:   time.Now,
		known: make(map[string]*route),
	}
}

// Queues implements member.Routes.
func (r *routes) Queues(name string) ([]protocol.MessageQueue, bool) {
	age := r.age()
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.known[name]
	if one == nil || len(one.queues) == 0 || r.now().Sub(one.asked) > age {
		return nil, false
	}
	return one.queues, true
}

// Ask implements member.Routes. Whoever asks for a topic that is being asked for waits for that answer. While no NameServer
// answers, what was known holds.
func (r *routes) Ask(ctx context.Context, name string) []protocol.MessageQueue {
	if queues, ok := r.Queues(name); ok {
		return queues
	}
	r.mu.Lock()
	one := r.known[name]
	if one == nil {
		one = &route{}
		r.known[name] = one
	}
	if done := one.done; done != nil {
		r.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return one.queues
	}
	one.done = make(chan struct{})
	r.mu.Unlock()

	data, err := r.ask(ctx, name)
	var known *protocol.Error
	none := errors.As(err, &known) && known.Code == protocol.TopicNotExist
	var queues []protocol.MessageQueue
	switch {
	case err == nil:
		queues = r.pick(name, data)
	case err == errNoServer:
		queues = r.own(name)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	close(one.done)
	one.done, one.asked = nil, r.now()
	if err == nil || err == errNoServer || none {
		one.queues = queues
	}
	if len(one.queues) == 0 {
		delete(r.known, name)
	}
	return one.queues
}

// queuesOf returns the queues of a route that can be read, sorted. Those of a static topic are its physical ones. Source: Java
// MQClientInstance.topicRouteData2TopicSubscribeInfo.
func queuesOf(name string, data *protocol.TopicRouteData) (queues []protocol.MessageQueue) {
	for i := range data.QueueDatas {
		if q := &data.QueueDatas[i]; topic.Perm(q.Perm).Readable() {
			queues = appendQueues(queues, name, q.BrokerName, q.ReadQueueNums)
		}
	}
	slices.SortStableFunc(queues, func(a, b protocol.MessageQueue) int { return strings.Compare(a.BrokerName, b.BrokerName) })
	return slices.Compact(queues)
}

// newWriteRoutes is newRoutes for the queues that messages are sent to.
func newWriteRoutes(b *Broker) *routes {
	r := newRoutes(b)
	r.pick = writeQueuesOf
	r.own = func(string) []protocol.MessageQueue { return nil } // all is sent here
	return r
}

// writeQueuesOf returns the queues of a route that producers send to, those of a broker with a master, sorted. Source: Java
// MQClientInstance.topicRouteData2TopicPublishInfo.
func writeQueuesOf(name string, data *protocol.TopicRouteData) (queues []protocol.MessageQueue) {
	led := make(map[string]bool)
	for i := range data.BrokerDatas {
		if d := &data.BrokerDatas[i]; d.BrokerAddrs[0] != "" {
			led[d.BrokerName] = true
		}
	}
	for i := range data.QueueDatas {
		if q := &data.QueueDatas[i]; topic.Perm(q.Perm).Writable() && led[q.BrokerName] {
			queues = appendQueues(queues, name, q.BrokerName, q.WriteQueueNums)
		}
	}
	slices.SortStableFunc(queues, func(a, b protocol.MessageQueue) int { return strings.Compare(a.BrokerName, b.BrokerName) })
	return queues
}

func appendQueues(queues []protocol.MessageQueue, name, broker string, n int32) []protocol.MessageQueue {
	for id := range n {
		queues = append(queues, protocol.MessageQueue{Topic: name, BrokerName: broker, QueueID: id})
	}
	return queues
}

// route asks the NameServers, one after the other until one knows it, where a topic lives. If none does, an error that one
// of them answered goes before those of who did not answer.
func (r *registrar) route(ctx context.Context, name string) (*protocol.TopicRouteData, error) {
	addrs, _ := r.servers.all()
	failed := errNoServer
	var answered *protocol.Error
	for _, addr := range addrs {
		one, cancel := context.WithTimeout(ctx, lookTimeout)
		data, err := r.namesrv.Route(one, addr, name)
		cancel()
		if err == nil {
			return data, nil
		}
		if !errors.As(failed, &answered) {
			failed = err
		}
	}
	return nil, failed
}

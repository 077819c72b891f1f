package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rocketd/protocol"
	"rocketd/topic"
)

// ErrNoTopic is wrapped by errors about a topic that no broker serves.
var ErrNoTopic = errors.New("no such topic")

// Queue is one queue of a topic, and where it is.
type Queue struct {
	Broker string // name
	Addr   string // of the broker's master; reading also of a slave if there is no master
	ID     int32
}

func (q Queue) String() string { return fmt.Sprintf("%s/%d", q.Broker, q.ID) }

// compareQueues is the order in which Java's clients share queues out.
func compareQueues(a, b Queue) int {
	return cmp.Or(strings.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
}

// route asks the name servers, one after the other, where a topic is.
func (c *Client) route(ctx context.Context, name string) (*protocol.TopicRouteData, error) {
	var failed error
	for _, addr := range c.cfg.Namesrv {
		r, err := c.namesrv.Route(ctx, addr, name)
		if err == nil {
			return r, nil
		}
		var refused *protocol.Error
		if errors.As(err, &refused) && refused.Code == protocol.TopicNotExist {
			return nil, fmt.Errorf("%w: %s (asked the name server at %s)", ErrNoTopic, name, addr)
		}
		failed = errors.Join(failed, err)
	}
	return nil, fmt.Errorf("no name server answers; is one running, and at this address? %w", failed)
}

// queues lists a topic's queues in order. With write set they are those that messages may be sent to.
func queues(r *protocol.TopicRouteData, write bool) []Queue {
	var all []Queue
	for _, d := range r.QueueDatas {
		n, perm := d.ReadQueueNums, topic.Perm(d.Perm)
		if write {
			n = d.WriteQueueNums
		}
		if write && !perm.Writable() || !write && !perm.Readable() {
			continue
		}
		addr := addrOf(r, d.BrokerName, write)
		if addr == "" {
			continue
		}
		for id := range n {
			all = append(all, Queue{d.BrokerName, addr, id})
		}
	}
	slices.SortFunc(all, compareQueues)
	return all
}

// addrOf is the address of a broker's master, or of its first slave where that is enough.
func addrOf(r *protocol.TopicRouteData, broker string, master bool) string {
	for _, d := range r.BrokerDatas {
		if d.BrokerName != broker {
			continue
		}
		if addr := d.BrokerAddrs[0]; addr != "" || master {
			return addr
		}
		least := int64(-1)
		for id := range d.BrokerAddrs {
			if least < 0 || id < least {
				least = id
			}
		}
		return d.BrokerAddrs[least]
	}
	return ""
}

// readQueues lists the queues that can be read; none is an error.
func (c *Client) readQueues(ctx context.Context, name string) ([]Queue, error) {
	r, err := c.route(ctx, name)
	if err != nil {
		return nil, err
	}
	all := queues(r, false)
	if len(all) == 0 {
		return nil, fmt.Errorf("topic %s has no queue that may be read", name)
	}
	return all, nil
}

// brokers lists the addresses behind queues, each once.
func brokers(all []Queue) []string {
	var addrs []string
	for _, q := range all {
		if !slices.Contains(addrs, q.Addr) {
			addrs = append(addrs, q.Addr)
		}
	}
	return addrs
}

// Brokers lists the masters that serve a topic; of one that does not exist yet, those that would create it.
func (c *Client) Brokers(ctx context.Context, name string) ([]string, error) {
	all, _, err := c.writeQueues(ctx, name)
	return brokers(all), err
}

// autoCreateTopic is the template that brokers create topics from. Source: Java TopicValidator.
const (
	autoCreateTopic  = "TBW102"
	autoCreateQueues = 4 // that a client asks for. Source: Java DefaultMQProducer
)

// writeQueues lists the queues that may be sent to. A topic that does not exist gets those that it will have when the
// broker creates it, and is fresh.
func (c *Client) writeQueues(ctx context.Context, name string) (all []Queue, fresh bool, err error) {
	r, err := c.route(ctx, name)
	if errors.Is(err, ErrNoTopic) {
		fresh = true
		template, templateErr := c.route(ctx, autoCreateTopic)
		if templateErr != nil {
			return nil, true, fmt.Errorf("%w, and no broker creates topics by itself; create it with mqadmin updateTopic", err)
		}
		for i := range template.QueueDatas {
			d := &template.QueueDatas[i]
			d.WriteQueueNums = min(d.WriteQueueNums, autoCreateQueues)
		}
		r = template
	} else if err != nil {
		return nil, false, err
	}
	if all = queues(r, true); len(all) == 0 {
		return nil, fresh, fmt.Errorf("topic %s has no queue that may be written: its brokers' masters are down, or write permission is off", name)
	}
	return all, fresh, nil
}

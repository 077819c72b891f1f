package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// escapeTimeout is how long one message may take to another set. Source: Java EscapeBridge.
const escapeTimeout = 3 * time.Second

// refuge is a queue of another set that takes messages.
type refuge struct {
	addr  string
	queue int32
}

// escape takes what services deliver on a slave that acts for its master, whose log must not get it: with
// enableRemoteEscape it goes to masters of other sets that have the topic, in turn. Else it is refused (put.ErrCopy), as are
// records of the system's topics, which mean something to their own set only, and those that no other set takes. After an
// error some of the records may have been taken: they are delivered again. Source: Java EscapeBridge.
func (b *Broker) escape(ctx context.Context, records [][]byte) error {
	s := b.cfg.Settings
	if !s.Bool("enableRemoteEscape") || !s.Bool("enableSlaveActingMaster") || !b.onDuty.Load() {
		return put.ErrCopy
	}
	refuges := make(map[string][]refuge)
	for _, bytes := range records {
		r, err := message.Decode(bytes)
		if err != nil {
			return err
		}
		if topic.IsSystem(r.Topic) || r.SysFlag&message.FlagInnerBatch != 0 {
			return put.ErrCopy
		}
		name := string(r.Topic)
		if refuges[name] == nil {
			if refuges[name], err = b.refuges(ctx, name); err != nil {
				return err
			}
		}
		if err := b.flee(ctx, &r, refuges[name]); err != nil {
			return fmt.Errorf("cannot bring a message of topic %s to another broker: %w", name, err)
		}
	}
	return nil
}

// refuges finds the queues of a topic in other sets that have a master.
func (b *Broker) refuges(ctx context.Context, name string) ([]refuge, error) {
	route, err := b.registrar.route(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w, and cannot find a place for topic %s: %w", put.ErrCopy, name, err)
	}
	masters := make(map[string]string)
	for _, d := range route.BrokerDatas {
		masters[d.BrokerName] = d.BrokerAddrs[0]
	}
	var all []refuge
	for _, q := range route.QueueDatas {
		if addr := masters[q.BrokerName]; addr != "" && q.BrokerName != b.id.name && topic.Perm(q.Perm).Writable() {
			for id := range q.WriteQueueNums {
				all = append(all, refuge{addr, id})
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w, and no other set takes messages of topic %s", put.ErrCopy, name)
	}
	return all, nil
}

// flee sends a record to one of the queues: as often as there are, as long as one does not take it. Nothing in its
// properties may make it wait again.
func (b *Broker) flee(ctx context.Context, r *message.Record, to []refuge) (err error) {
	props := message.WithoutProperty(nil, r.Properties,
		message.PropDelayTimeLevel, message.PropTimerDelaySec, message.PropTimerDelayMs, message.PropTimerDeliverMs, message.PropWaitStoreMsgOK)
	group, ok := message.Property(props, message.PropProducerGroup)
	if !ok {
		group = fmt.Appendf(nil, "InnerProducerGroup_%s_%d", b.id.name, b.id.id)
	}
	req := protocol.SendMessageRequest{
		ProducerGroup: group, Topic: r.Topic, DefaultTopic: []byte(topic.AutoCreateKey), DefaultTopicQueueNums: 8,
		SysFlag: r.SysFlag &^ (message.FlagBornHostV6 | message.FlagStoreHostV6), BornTimestamp: r.BornMs, Flag: r.Flag,
		Properties: message.AppendProperty(props, message.PropWaitStoreMsgOK, []byte("false")), ReconsumeTimes: protocol.Some(r.ReconsumeTimes),
		UnitMode: protocol.Some(false), Batch: protocol.Some(false),
	}
	for range to {
		place := to[int(b.fled.Add(1)%uint64(len(to)))]
		req.QueueID = place.queue
		one, cancel := context.WithTimeout(ctx, escapeTimeout)
		_, _, e := b.brokers.Send(one, place.addr, &req, r.Body)
		cancel()
		if e == nil {
			return nil
		}
		if err = errors.Join(err, e); ctx.Err() != nil {
			break
		}
	}
	return err
}

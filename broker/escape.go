package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// escapeTimeout is how long one message may take to another set. Source: Java EscapeBridge.
const escapeTimeout = 3 * time.Second

// escape takes what services store on a slave that acts for its master, whose log must not get it: with enableRemoteEscape it
// goes to masters of other sets of the cluster that have its topic. Else it is refused (put.ErrCopy), as are records that mean
// something to their own set only, and those that no other set takes. All places are found before the first record leaves, so
// that what has none holds up the others but brings none of them twice. When ctx ends, no further record leaves. Source: Java
// EscapeBridge.
func (b *Broker) escape(ctx context.Context, records [][]byte) (taken int, err error) {
	s := b.cfg.Settings
	if !s.Bool("enableRemoteEscape") || !s.Bool("enableSlaveActingMaster") || !b.duties.busy() {
		return 0, put.ErrCopy
	}
	flights := make([]flight, len(records))
	for i, bytes := range records {
		r, err := message.Decode(bytes)
		if err != nil {
			return 0, err
		}
		if flights[i], err = newFlight(&r, b.precision()); err != nil {
			return 0, err
		}
		if flights[i].to, err = b.refuges.find(ctx, &flights[i]); err != nil {
			return 0, err
		}
	}
	for i := range flights {
		if ctx.Err() != nil {
			return i, ctx.Err()
		}
		if err := b.flee(ctx, &flights[i]); err != nil {
			b.refuges.forget()
			return i, fmt.Errorf("cannot bring a message of topic %s to another broker: %w", flights[i].topic, err)
		}
	}
	return len(flights), nil
}

// precision is timerPrecisionMs.
func (b *Broker) precision() int64 { return max(b.cfg.Settings.Int64("timerPrecisionMs"), 1) }

// flee sends a message to one of its places, and to those of the next set if one does not take it: a set that only does not
// answer may take it yet, and is not asked twice. Whoever ends ctx waits for the answer that is under way, since what was taken
// unheard would be done again by the master.
func (b *Broker) flee(ctx context.Context, f *flight) (err error) {
	group := f.group
	if len(group) == 0 {
		group = fmt.Appendf(nil, "InnerProducerGroup_%s_%d", b.id.name, b.id.id)
	}
	req := protocol.SendMessageRequest{
		ProducerGroup: group, Topic: []byte(f.topic), DefaultTopic: []byte(topic.AutoCreateKey), DefaultTopicQueueNums: 8,
		SysFlag: f.sysFlag, BornTimestamp: f.record.BornMs, Flag: f.record.Flag, Properties: f.props,
		ReconsumeTimes: protocol.Some(f.record.ReconsumeTimes), UnitMode: protocol.Some(false), Batch: protocol.Some(false),
	}
	for left := f.to; len(left) > 0 && (err == nil || ctx.Err() == nil); {
		place := left[0]
		if f.key == nil {
			place = left[b.fled.Add(1)%uint64(len(left))]
		}
		req.QueueID = place.queue
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), escapeTimeout)
		_, _, e := b.brokers.Send(one, place.addr, &req, f.record.Body)
		cancel()
		if e == nil {
			return nil
		}
		err = errors.Join(err, e)
		left = slices.DeleteFunc(slices.Clone(left), func(p refuge) bool { return p.set == place.set })
	}
	return err
}

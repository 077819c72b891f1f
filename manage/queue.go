package manage

import (
	"context"

	"rocketd/filter"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
)

// maxUnits bounds the units of a queue that one request may look at.
const maxUnits = 1000

// QueueUnits serves QUERY_CONSUME_QUEUE (321): entries of a consume queue from an offset on, at most a thousand, and
// whether they would pass the subscription of a connected group. An offset outside the queue has an empty answer.
// Source: Java AdminBrokerProcessor.queryConsumeQueue.
func (s *Service) QueueUnits(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.QueryConsumeQueueRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	q := s.queue(h.Topic, h.QueueID)
	if q == nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "%d@%s is not exist!", h.QueueID, h.Topic)
	}
	b := protocol.QueryConsumeQueueResponseBody{MinQueueIndex: q.Min(), MaxQueueIndex: q.Max()}
	wanted := filter.All()
	if h.ConsumerGroup != "" {
		sub, _, known := s.cfg.Clients.Consumers.Subscription([]byte(h.ConsumerGroup), []byte(h.Topic))
		switch {
		case !known:
			b.FilterData = h.ConsumerGroup + "@" + h.Topic + " is not online!"
		case sub.Filter != nil:
			wanted = sub.Filter
		}
		if g := s.cfg.Clients.Consumers.Group(h.ConsumerGroup); g != nil {
			b.SubscriptionData = g.Data(h.Topic)
		}
	}
	if h.Index < q.Min() || h.Index >= q.Max() {
		return nil, nil, nil
	}
	var err error
	var record []byte
	for at := h.Index; at < q.Max() && at < h.Index+int64(min(max(h.Count, 1), maxUnits)); at++ {
		unit := protocol.ConsumeQueueData{}
		tags := func(tag int64) bool { unit.TagsCode = tag; return true }
		var res store.ReadResult
		if record, res = s.cfg.Store.Get(q, store.Read{From: at, Max: 1, Match: tags}, record[:0]); res.Count == 0 {
			break
		}
		var r message.Record
		if r, err = message.Decode(record); err != nil {
			return nil, nil, err
		}
		unit.PhysicOffset, unit.PhysicSize = r.Physical, r.Size
		unit.Eval = h.ConsumerGroup != "" && b.SubscriptionData != nil && wanted.Match(unit.TagsCode) &&
			(wanted.Wants() == nil || wanted.Wants()(record))
		b.QueueData = append(b.QueueData, unit)
	}
	return body(b)
}

package send

import (
	"strconv"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// stageInner stores a client batch for a topic with Batch queues as one record, an inner batch: its body is the batch as
// it came, the count of its messages a property. Consumers take it apart. Source: Java
// SendMessageProcessor.sendBatchMessage, storage.md 3.8.
func (s *Service) stageInner(c *protocol.Call, h *protocol.SendMessageRequest, q *consumequeue.Queue, cfg *topic.Config, outer *seen) *protocol.Error {
	count := int64(0)
	var bad *protocol.Error
	err := message.EachInBatch(c.Body, func(_ int32, body, props []byte) error {
		in, e := look(props)
		if e == nil {
			e = s.unbatched(&in, 0)
		}
		if e == nil {
			e = checkKeys(&in, cfg)
		}
		if e == nil {
			e = s.checkSize(h.Topic, body, props, cfg.Compacts())
		}
		if count++; e != nil {
			bad = e
			return e
		}
		return nil
	})
	switch {
	case bad != nil:
		return bad
	case err != nil:
		return protocol.Errorf(protocol.MessageIllegal, "the batch is malformed: %v", err)
	case count == 0:
		return protocol.Errorf(protocol.MessageIllegal, "the batch holds no message")
	case count > consumequeue.MaxCount:
		return protocol.Errorf(protocol.MessageIllegal, "the batch holds %d messages, at most %d", count, consumequeue.MaxCount)
	}
	b := put.Of(c.Turn)
	b.Scratch = s.properties(b.Scratch[:0], h.Properties, outer)
	var digits [20]byte
	b.Scratch = message.AppendProperty(b.Scratch, message.PropInnerNum, strconv.AppendInt(digits[:0], count, 10))
	if e := s.checkRoom(len(b.Scratch), outer.further, true); e != nil {
		return e
	}
	d := message.Draft{
		Topic: h.Topic, Body: c.Body, Properties: b.Scratch, QueueID: q.ID(), Flag: h.Flag,
		SysFlag: h.SysFlag | message.FlagNeedUnwrap | message.FlagInnerBatch,
		BornMs:  h.BornTimestamp, BornHost: c.Peer.RemoteAddr(), StoreHost: s.cfg.StoreHost(),
		ReconsumeTimes: h.ReconsumeTimes.V,
	}
	b.Stage(q, &d, message.TagsCode(outer.tags), !outer.noWait, outer.uniq, c.Ticket(), s.inner)
	return nil
}

func (s *Service) answerInner(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	s.write(t, k, o, place(o), nil, true)
}

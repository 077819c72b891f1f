package pop

import (
	"context"

	"rocketd/protocol"
	"rocketd/store"
)

// Peek serves PEEK_MESSAGE (200052): what a pop would bring, without taking it. It runs on the pool. Fields:
// PeekMessageRequestHeader. Source: Java PeekMessageProcessor.
func (s *Service) Peek(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.PeekMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	if !s.cfg.Readable() {
		return nil, nil, refuse(protocol.NoPermission, "the broker[%s] peeking message is forbidden", c.Peer.LocalAddr().Addr())
	}
	group := []byte(h.ConsumerGroup)
	if _, err := s.readableTopic(c, []byte(h.Topic), h.QueueID); err != nil {
		return nil, nil, err
	}
	if err := mayConsume(s.cfg.Groups.Get(group), group); err != nil {
		return nil, nil, err
	}
	x := s.shelf(group, []byte(h.Topic))
	var body []byte
	var res protocol.PopMessageResponse
	room := min(max(h.MaxMsgNums, 1), MaxMessages)
	look := func(x *shelf, only int32) {
		cfg := s.cfg.Topics.Get(x.topic)
		if cfg == nil {
			return
		}
		for id := range cfg.ReadQueueNums {
			q := s.queue(x, id)
			if q == nil || only >= 0 && id != only {
				continue
			}
			from, _ := x.cursor(id).position(s.cfg.Offsets)
			from = min(max(from, q.Min()), q.Max())
			if room > 0 && from < q.Max() {
				var got store.ReadResult
				body, got = s.cfg.Queues.Get(q, store.Read{From: from, Max: room}, body)
				room -= int32(got.Count)
			}
			res.RestNum += q.Max() - from
		}
	}
	look(x, h.QueueID)
	if r := s.retries(x)[0]; r != nil {
		look(r, -1)
	}
	if len(body) == 0 {
		return nil, nil, refuse(protocol.PullNotFound, "NO_MESSAGE_IN_QUEUE")
	}
	return &res, body, nil
}

package pull

import (
	"context"

	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/store"
	"rocketd/topic"
)

// Mappings finds what this broker knows of a static topic; a meta.Mappings is one. It does not block.
type Mappings interface {
	For(topic []byte, logical protocol.Opt[bool]) *topic.Mapping
}

// Elsewhere reads physical queues of other brokers, by name; a rpc.Elsewhere is one.
type Elsewhere interface {
	Pull(ctx context.Context, broker string, req protocol.PullMessageRequest) (*rpc.Pulled, error)
}

// none is Mappings of a broker without static topics.
type none struct{}

func (none) For([]byte, protocol.Opt[bool]) *topic.Mapping { return nil }

// stretch is what a pull reads of a queue of a static topic. The leader of the queue reads for its clients what other brokers
// have. A nil one is for a plain topic.
type stretch struct {
	mapping *topic.Mapping
	items   []topic.MappingItem
	at      int   // of items: where the offset is that is asked for
	from    int64 // that offset, physical
}

// find returns the stretch that a pull is for.
func find(m *topic.Mapping, h *protocol.PullMessageRequest) (*stretch, error) {
	if m.Leader(h.QueueID) == nil {
		return nil, protocol.NotLeader(m, h.QueueID)
	}
	x := &stretch{mapping: m, items: m.Items(h.QueueID)}
	if x.at = topic.At(x.items, h.QueueOffset); x.at < 0 {
		return nil, protocol.Errorf(protocol.SystemError, "the offsets of queue %d of the static topic %s are not decided", h.QueueID, m.Topic)
	}
	x.from = x.item().ToPhysical(h.QueueOffset)
	return x, nil
}

func (x *stretch) item() *topic.MappingItem { return &x.items[x.at] }

func (x *stretch) here() bool { return x.item().Broker == x.mapping.Broker }

// over tells whether the offset is behind the end of the stretch.
func (x *stretch) over() bool { return x.item().Ended() && x.from >= x.item().End }

// open tells whether there may be more to come: a pull waits at the last stretch only.
func (x *stretch) open() bool { return x.at == len(x.items)-1 }

// enter makes the request one for the physical queue.
func (x *stretch) enter(h *protocol.PullMessageRequest) {
	i := x.item()
	h.QueueID, h.QueueOffset = i.Queue, x.from
	if i.Ended() && x.from < i.End {
		h.MaxMsgNums = int32(min(int64(h.MaxMsgNums), i.End-max(x.from, i.Start)))
	}
}

// leave turns what was found in the physical queue into what the client is told, offsets and code. At the end of a stretch that
// is the begin of the next one. Source: Java PullMessageProcessor.rewriteResponseForStaticTopic.
func (x *stretch) leave(code int32, res *store.ReadResult) int32 {
	i := x.item()
	if code != protocol.Success {
		first, last := topic.At(x.items, 0) == x.at, x.open()
		switch {
		case first && x.from < res.Min:
			code, res.Next = protocol.PullOffsetMoved, res.Min
		case x.from < res.Min: // what lies between two stretches was removed
			code, res.Next = protocol.PullRetryImmediately, res.Min
		case (first || !last) && x.from >= res.Max:
			if next := x.next(); next != nil {
				i = next
				code, res.Next, res.Min, res.Max = protocol.PullRetryImmediately, i.Start, i.Start, i.Start
				break
			}
			code = protocol.PullNotFound // the next one is not decided yet, or there is none
		case last && x.from > res.Max && code == protocol.PullOffsetMoved:
			res.Next = res.Max
		}
	}
	if i.Ended() {
		res.Next = min(res.Next, i.End)
	}
	res.Next, res.Min = i.ToLogic(res.Next), i.ToLogic(res.Min)
	res.Max = max(i.ToLogic(res.Max), topic.MaxLogic(x.items))
	return code
}

// next is the stretch behind, if it is decided.
func (x *stretch) next() *topic.MappingItem {
	if x.at+1 < len(x.items) && x.items[x.at+1].Decided() {
		return &x.items[x.at+1]
	}
	return nil
}

// commit stores how far the client is, where this broker has the stretch of that offset; elsewhere it comes with the client's own
// UPDATE_CONSUMER_OFFSET.
func (s *Service) commit(h *protocol.PullMessageRequest, x *stretch) {
	queue, offset := h.QueueID, h.CommitOffset
	if x != nil {
		i := &x.items[topic.At(x.items, offset)]
		if i.Broker != x.mapping.Broker {
			return
		}
		queue, offset = i.Queue, max(i.ToPhysical(offset), i.Start)
	}
	s.cfg.Offsets.Commit(h.ConsumerGroup, h.Topic, queue, offset)
}

// skip answers that there is nothing more in a stretch.
func (s *Service) skip(c *protocol.Call, x *stretch, cfg *topic.Config, group *topic.GroupConfig) {
	end := x.item().End
	res := store.ReadResult{Next: end, Min: x.item().Start, Max: end}
	s.respond(c.Turn, c.Ticket(), protocol.PullNotFound, store.OffsetOverflowOne.String(), res, cfg, group, x, nil)
}

// forward reads a stretch that another broker has. It does not wait for messages: none come there.
func (s *Service) forward(c *protocol.Call, x *stretch, cfg *topic.Config, group *topic.GroupConfig) {
	s.cfg.Forward(c, func(ctx context.Context, c *protocol.Call) error {
		var h protocol.PullMessageRequest
		if err := h.Decode(c.Fields); err != nil {
			return err
		}
		h.MaxMsgNums = bounded(h.MaxMsgNums)
		x.enter(&h)
		h.SysFlag &^= flagSuspend | flagCommit
		got, err := s.cfg.Elsewhere.Pull(ctx, x.item().Broker, h)
		if err != nil {
			return protocol.Errorf(protocol.SystemError, "cannot read queue %d of the static topic %s: %v", h.QueueID, x.mapping.Topic, err)
		}
		res := store.ReadResult{Next: got.Header.NextBeginOffset, Min: got.Header.MinOffset, Max: got.Header.MaxOffset}
		s.write(nil, c.Ticket(), got.Code, "", res, cfg, group, x, got.Records)
		return nil
	})
}

// translate returns the stretch of a static topic that a pull is for, and makes it one for the physical queue; nil for a plain
// topic. done tells that the pull is, or will be, answered.
func (s *Service) translate(c *protocol.Call, h *protocol.PullMessageRequest, cfg *topic.Config, group *topic.GroupConfig) (x *stretch, done bool, err error) {
	m := s.cfg.Mappings.For(h.Topic, h.RPC.Logical)
	if m == nil {
		return nil, false, nil
	}
	if x, err = find(m, h); err != nil {
		return nil, false, err
	}
	switch {
	case x.over():
		s.skip(c, x, cfg, group)
		return x, true, nil
	case !x.here():
		s.forward(c, x, cfg, group)
		return x, true, nil
	}
	x.enter(h)
	return x, false, nil
}

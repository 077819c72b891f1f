// Package query answers what a queue holds and where a group stands in it: offsets by time, smallest, largest and
// committed ones, and single messages by their ID.
package query

import (
	"context"
	"math"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Topics finds topics.
type Topics interface {
	Get(name []byte) *topic.Config
}

// Groups finds subscription groups.
type Groups interface {
	Get(name []byte) *topic.GroupConfig
}

// Store is what query reads.
type Store interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	OffsetByTime(q *consumequeue.Queue, ms int64, b store.Boundary) int64
	StoreTime(q *consumequeue.Queue, offset int64) int64
	Record(physical int64, dst []byte) ([]byte, error)
	InMemory(q *consumequeue.Queue, offset int64) bool
	// MaxVisible is the offset behind the last message that can be read.
	MaxVisible(q *consumequeue.Queue) int64
}

// Offsets keeps consumer offsets.
type Offsets interface {
	Commit(group, topic []byte, queue int32, offset int64) bool // false: a reset is pending, nothing happened
	Get(group, topic []byte, queue int32) (int64, bool)
	// Pending returns a server-side reset that no pull has taken yet.
	Pending(group, topic []byte, queue int32) (int64, bool)
}

// Config of a Service.
type Config struct {
	Topics  Topics
	Groups  Groups
	Store   Store
	Offsets Offsets
	// Offload hands a call that reads records to the pool.
	Offload Pool
	// Mappings knows the static topics; nil is none. Elsewhere asks the brokers that have a part of them, and Forward is Offload for
	// a call that waits for them.
	Mappings  Mappings
	Elsewhere Elsewhere
	Forward   Pool
}

// Pool has run answer a call out of the turn; an error that it returns is answered.
type Pool func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)

// Service serves the codes 14, 15, 29, 30, 31, 32 and 33.
type Service struct {
	cfg Config
}

// New makes a service.
func New(cfg Config) *Service {
	if cfg.Mappings == nil {
		cfg.Mappings = none{}
	}
	return &Service{cfg: cfg}
}

// Committed serves QUERY_CONSUMER_OFFSET. Fields: QueryConsumerOffsetRequestHeader. A pending reset wins. A group
// that has no offset starts at 0 if the whole queue is young enough to be in memory, or empty: a client that asked for the end
// next would miss what came between. Else the client decides (QUERY_NOT_FOUND). Source: Java ConsumerManageProcessor.queryConsumerOffset.
func (s *Service) Committed(c *protocol.Call) error {
	var h protocol.QueryConsumerOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if m := s.cfg.Mappings.For(h.Topic, h.RPC.Logical); m != nil {
		items, err := led(m, h.QueueID)
		if err != nil {
			return err
		}
		if !plain(items) {
			return s.committedStatic(c, &h, m, items)
		}
		h.QueueID = items[0].Queue
	}
	if offset, ok := s.committed(h.ConsumerGroup, h.Topic, h.QueueID); ok {
		answerOffset(c, offset)
		return nil
	}
	if h.SetZeroIfNotFound.Set && !h.SetZeroIfNotFound.V {
		return protocol.Errorf(protocol.QueryNotFound, "Not found, do not set to zero, maybe this group boot first")
	}
	if s.fromStart(h.Topic, h.QueueID) {
		answerOffset(c, 0)
		return nil
	}
	return protocol.Errorf(protocol.QueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
}

// fromStart tells whether a new group misses nothing that it should not see when it begins at 0.
func (s *Service) fromStart(name []byte, id int32) bool {
	q := s.cfg.Store.Find(name, id)
	if q == nil || q.Max() == 0 {
		cfg := s.cfg.Topics.Get(name)
		return cfg != nil && id >= 0 && id < cfg.ReadQueueNums
	}
	return q.Min() <= 0 && s.cfg.Store.InMemory(q, 0)
}

// committed returns where a group stands; ok is false if it does not.
func (s *Service) committed(group, name []byte, queue int32) (offset int64, ok bool) {
	if offset, ok = s.cfg.Offsets.Pending(group, name, queue); !ok {
		offset, ok = s.cfg.Offsets.Get(group, name, queue)
	}
	return offset, ok && offset >= 0
}

// Commit serves UPDATE_CONSUMER_OFFSET. Fields: UpdateConsumerOffsetRequestHeader. While a reset is pending the
// commit has no effect and still succeeds. A smaller offset overwrites a larger one.
// Source: Java ConsumerManageProcessor.updateConsumerOffset.
func (s *Service) Commit(c *protocol.Call) error {
	var h protocol.UpdateConsumerOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		if e, ok := err.(*protocol.Error); ok {
			return protocol.Errorf(protocol.InvalidParameter, "%s", e.Remark)
		}
		return err
	}
	if m := s.cfg.Mappings.For(h.Topic, h.RPC.Logical); m != nil {
		if here, err := s.locate(c, &h, m); !here || err != nil {
			return err
		}
	}
	switch {
	case s.cfg.Groups.Get(h.ConsumerGroup) == nil:
		return protocol.Errorf(protocol.SubscriptionGroupNotExist, "Group %s not exist!", h.ConsumerGroup)
	case s.cfg.Topics.Get(h.Topic) == nil:
		return protocol.Errorf(protocol.TopicNotExist, "Topic %s not exist!", h.Topic)
	}
	s.cfg.Offsets.Commit(h.ConsumerGroup, h.Topic, h.QueueID, h.CommitOffset)
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
	return nil
}

// Max serves GET_MAX_OFFSET: the offset behind the last message that can be read, or, with committed=false, the one that the
// next message of the queue gets; 0 for an unknown queue. Source: Java DefaultMessageStore.getMaxOffsetInQueue.
func (s *Service) Max(c *protocol.Call) error {
	var h protocol.GetMaxOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if m := s.cfg.Mappings.For(h.Topic, h.RPC.Logical); m != nil {
		return s.maxStatic(c, &h, m)
	}
	answerOffset(c, s.max(h.Topic, h.QueueID, h.Committed))
	return nil
}

func (s *Service) max(name []byte, id int32, committed bool) int64 {
	switch q := s.cfg.Store.Find(name, id); {
	case q == nil:
		return 0
	case committed:
		return s.cfg.Store.MaxVisible(q)
	default:
		return q.Max()
	}
}

// Min serves GET_MIN_OFFSET: the offset of the oldest message of the queue; 0 for an unknown queue.
func (s *Service) Min(c *protocol.Call) error {
	var h protocol.GetMinOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if m := s.cfg.Mappings.For(h.Topic, h.RPC.Logical); m != nil {
		return s.minStatic(c, &h, m)
	}
	answerOffset(c, s.min(h.Topic, h.QueueID))
	return nil
}

func (s *Service) min(name []byte, id int32) int64 {
	if q := s.cfg.Store.Find(name, id); q != nil {
		return q.Min()
	}
	return 0
}

func answerOffset(c *protocol.Call, offset int64) { answer(c, "offset", offset) }

func answer(c *protocol.Call, field string, n int64) {
	if c.IsOneway() {
		return
	}
	k := c.Ticket()
	w := k.Open(protocol.Success, "")
	w.Int(field, n)
	w.Body()
	w.Send(c.Turn)
}

// answerLater answers with a number that is looked for on a pool.
func answerLater(c *protocol.Call, on Pool, field string, look func(ctx context.Context) (int64, error)) error {
	on(c, func(ctx context.Context, c *protocol.Call) error {
		n, err := look(ctx)
		if err == nil {
			answer(c, field, n)
		}
		return err
	})
	return nil
}

// ByTime serves SEARCH_OFFSET_BY_TIMESTAMP. Fields: SearchOffsetRequestHeader; an unknown or empty queue is 0. Source:
// storage.md 11.3.
func (s *Service) ByTime(c *protocol.Call) error {
	var h protocol.SearchOffsetRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if m := s.cfg.Mappings.For([]byte(h.Topic), h.RPC.Logical); m != nil {
		return answerLater(c, s.cfg.Forward, "offset", func(ctx context.Context) (int64, error) { return s.byTimeStatic(ctx, &h, m) })
	}
	return answerLater(c, s.cfg.Offload, "offset", func(context.Context) (int64, error) {
		return s.byTime([]byte(h.Topic), h.QueueID, h.Timestamp, h.BoundaryType), nil
	})
}

func (s *Service) byTime(name []byte, id int32, ms int64, b protocol.Boundary) int64 {
	boundary := store.Lower
	if b == protocol.Upper {
		boundary = store.Upper
	}
	if q := s.cfg.Store.Find(name, id); q != nil {
		return s.cfg.Store.OffsetByTime(q, min(ms, math.MaxInt64-1), boundary) // the store looks one ms further
	}
	return 0
}

// Earliest serves GET_EARLIEST_MSG_STORETIME: when the oldest message of the queue was stored, ms; -1 for none.
func (s *Service) Earliest(c *protocol.Call) error {
	var h protocol.GetEarliestMsgStoretimeRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if m := s.cfg.Mappings.For([]byte(h.Topic), h.RPC.Logical); m != nil {
		return answerLater(c, s.cfg.Forward, "timestamp", func(ctx context.Context) (int64, error) { return s.earliestStatic(ctx, &h, m) })
	}
	return answerLater(c, s.cfg.Offload, "timestamp", func(context.Context) (int64, error) { return s.earliest([]byte(h.Topic), h.QueueID), nil })
}

func (s *Service) earliest(name []byte, id int32) int64 {
	if q := s.cfg.Store.Find(name, id); q != nil {
		return s.cfg.Store.StoreTime(q, q.Min())
	}
	return -1
}

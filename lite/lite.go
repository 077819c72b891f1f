// Package lite serves lite topics: very many small topics under one parent, each a light queue, that are consumed by POP in
// order. Clients subscribe to lite topics by name; the broker keeps for each client the queues in which something waits, so
// that a request looks at those and at no others. All of that is in memory: clients say again what they subscribe to. What
// lasts are the messages and the offsets.
package lite

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Topics finds topics.
type Topics interface {
	Get(name []byte) *topic.Config
	All() (map[string]*topic.Config, protocol.DataVersion)
}

// Groups finds subscription groups.
type Groups interface {
	Get(name []byte) *topic.GroupConfig
	All() (map[string]*topic.GroupConfig, protocol.DataVersion)
}

// Store finds, reads and deletes consume queues. Get with NoWait does not block.
type Store interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult)
	InMemory(q *consumequeue.Queue, offset int64) bool
	StoreTime(q *consumequeue.Queue, offset int64) int64
	Topics() []string
	CountTopics(prefix string) int
	DeleteTopic(topic string) error
}

// Offsets keeps consumer offsets. Commit is ignored while a reset is pending, and says so.
type Offsets interface {
	Get(group, topic []byte, queue int32) (offset int64, ok bool)
	Commit(group, topic []byte, queue int32, offset int64) bool
	Reset(group, topic string, queue int32, offset int64)
	TakeReset(group, topic []byte, queue int32) (int64, bool)
	Topics(group string) []string
	RemoveTopic(topic string)
	Len() int
}

// Room is where requests wait, a longpoll.Room by the id of their client.
type Room interface {
	Park(t *protocol.Turn, client string, peer protocol.Peer, deadline time.Time, w Waiter) bool
	Wake(t *protocol.Turn, client string)
	Each(client string, fn func(w *Waiter))
}

// Config of a Service. What are functions are keys of the configuration that may change.
type Config struct {
	Topics  Topics
	Groups  Groups
	Store   Store
	Offsets Offsets
	Log     *slog.Logger
	Now     func() time.Time // outside of turns
	// Offload hands a call to the pool; an error that run returns is answered. Again has a call of the pool served from
	// the start, in a turn of its peer.
	Offload func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	Again   func(c *protocol.Call)
	// Handle reads the handle of a message that was popped: when that was, and whether in order.
	Handle func(extraInfo []byte) (popMs int64, inOrder bool, err error)
	// Shards are the brokers of the queues that messages of a parent topic are sent to, in their order. It may block.
	Shards func(ctx context.Context, parent string) []string
	// Got counts what a group was given of a parent topic.
	Got func(group, topic string, messages, bytes int)

	Name          string       // of this broker
	Readable      func() bool  // brokerPermission has the read bit
	Closed        func() error // why nothing can be popped or acknowledged here now; nil if it can
	FirstInMemory bool         // initPopOffsetByCheckMsgInMem
	PollingSize   int          // popPollingSize: requests of a client that wait
	StoreType     string       // storeType

	MaxSubscriptions  func() int           // maxLiteSubscriptionCount
	MaxEvents         func() int           // maxClientEventCount: of a client whose group does not say
	MaxQueues         func() int           // maxLmqConsumeQueueNum, to be shown
	LookDelay         func() time.Duration // liteEventFullDispatchDelayTime
	WildLookDelay     func() time.Duration // liteEventFullDispatchDelayTimeForWildcardGroup
	EventInterval     func() time.Duration // liteEventCheckInterval
	ClientInterval    func() time.Duration // liteSubscriptionCheckInterval
	ClientTimeout     func() time.Duration // liteSubscriptionCheckTimeoutMills
	ExpireInterval    func() time.Duration // liteTtlCheckInterval
	MinLife           func() time.Duration // minLiteTTl
	ShowsLagLatencies func() bool          // liteLagLatencyCollectEnable
}

// Service serves POP_LITE_MESSAGE and what belongs to it.
type Service struct {
	cfg     Config
	room    Room
	replies sync.Pool     // *reply
	bell    chan struct{} // a lease ends before Run looks again
	expiry  expiry        // of Run

	mu     sync.Mutex // guards what follows; nothing is called out while it is held, but the tables of offsets and queues
	board  *board
	wakeMs int64 // when Run looks again by itself; 0 before it has begun
}

// New makes a service. Its Answer goes into the room, the room into UseRoom.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, bell: make(chan struct{}, 1), expiry: newExpiry()}
	s.board = newBoard(func(wild bool) int64 {
		if wild {
			return cfg.WildLookDelay().Milliseconds()
		}
		return cfg.LookDelay().Milliseconds()
	})
	s.replies.New = func() any { return new(reply) }
	return s
}

// UseRoom names the waiting room; it is called once, before the first request.
func (s *Service) UseRoom(r Room) { s.room = r }

// now is the time of a turn, or where there is none, the time.
func (s *Service) now(t *protocol.Turn) time.Time {
	if t != nil {
		return t.Now
	}
	return s.cfg.Now()
}

// on runs fn on the board. Offsets that subscriptions have set in queues that never came to be go with them, so that their number is
// bounded.
func (s *Service) on(fn func(b *board)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.board
	fn(b)
	for _, queue := range b.idle {
		if len(b.queues[queue]) == 0 && s.queue(queue) == nil {
			s.cfg.Offsets.RemoveTopic(queue)
		}
	}
	b.idle = nil
}

// wake has the held requests of clients looked at.
func (s *Service) wake(t *protocol.Turn, clients []string) {
	for _, id := range clients {
		s.room.Wake(t, id)
	}
}

// Grew is the bell for a queue: one client of each group that subscribes to it hears of it. It does not block; t may be nil.
func (s *Service) Grew(t *protocol.Turn, queue string) {
	if topic.IsLite(queue) {
		s.dispatch(t, queue, "")
	}
}

// dispatch gives the event of a queue to a client of each group, or of one.
func (s *Service) dispatch(t *protocol.Turn, queue, group string) {
	now := s.now(t).UnixMilli()
	s.mu.Lock()
	wake := s.board.dispatch(queue, group, nil, now)
	s.mu.Unlock()
	s.wake(t, wake)
}

// parent checks that a topic is there and is one of lite topics. One that is not comes with the error.
func (s *Service) parent(name string, missing, wrong string) (*topic.Config, error) {
	cfg := s.cfg.Topics.Get([]byte(name))
	switch {
	case cfg == nil:
		return nil, refuse(protocol.TopicNotExist, missing, name)
	case cfg.Attributes[topic.AttrMessageType] != topic.Lite:
		return cfg, refuse(protocol.InvalidParameter, wrong, name)
	}
	return cfg, nil
}

// end is the end of a queue; nil ends at 0.
func end(q *consumequeue.Queue) int64 {
	if q == nil {
		return 0
	}
	return q.Max()
}

func (s *Service) queue(name string) *consumequeue.Queue { return s.cfg.Store.Find([]byte(name), 0) }

// rulesOf reads what the attributes of a group say. Source: Java SubscriptionGroupConfig.
func (s *Service) rulesOf(g *topic.GroupConfig) rules {
	a := g.Attributes
	_, wild := a[topic.AttrLiteWildcard]
	r := rules{
		exclusive: a[topic.AttrLiteModel] == topic.LiteExclusive, wild: wild,
		resetExclusive: a[topic.AttrLiteResetExclusive] == "true", resetLeave: a[topic.AttrLiteResetLeave] == "true",
	}
	if n, err := strconv.Atoi(a[topic.AttrLiteMaxEvents]); err == nil && n > 0 {
		r.maxEvents = n
	} else {
		r.maxEvents = max(s.cfg.MaxEvents(), 1)
	}
	return r
}

func refuse(code int32, format string, args ...any) error {
	return protocol.Errorf(code, format, args...)
}

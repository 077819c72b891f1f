// Package pull hands stored messages to consumers: it checks permission and subscription in Java's order, reads by
// queue offset, filters by tag or properties, and parks a pull that found nothing until the queue grows.
package pull

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rocketd/clientmgr"
	"rocketd/filter"
	"rocketd/filter/sql92"
	"rocketd/longpoll"
	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Bits of a pull's sysFlag. Source: Java PullSysFlag.
const (
	flagCommit       = 1 << 0 // commitOffset is to be stored
	flagSuspend      = 1 << 1 // the pull may be held
	flagSubscription = 1 << 2 // the header brings its own expression
)

// What a refused pull says in forbiddenType. Source: Java ForbiddenType.
const (
	forbiddenBroker    = 1
	forbiddenGroup     = 2
	forbiddenTopic     = 3
	forbiddenBroadcast = 4
	forbiddenByTable   = 5
)

// Topics is what pull needs of the topic table, Groups, Queues, Clients and Offsets of others; none of their methods blocks
// or allocates for a known name.
type Topics interface {
	Get(name []byte) *topic.Config
}

// Groups finds subscription groups. Create makes an unknown one where that is allowed (nil where not); it may block.
type Groups interface {
	Get(name []byte) *topic.GroupConfig
	Create(ctx context.Context, name string) (*topic.GroupConfig, error)
	Forbidden(group, topic []byte) int32 // meta.ForbidRead bans reading
}

// Queues finds and reads consume queues. Get with NoWait does not block.
type Queues interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Queue(topic string, id int32) *consumequeue.Queue
	Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult)
	InMemory(q *consumequeue.Queue, offset int64) bool
	// MaxVisible is the offset behind the last message that can be read.
	MaxVisible(q *consumequeue.Queue) int64
}

// Clients answers what live consumers have subscribed. The group is unknown when no consumer of it is connected.
type Clients interface {
	Subscription(group, topic []byte) (s clientmgr.Subscription, groupKnown, topicKnown bool)
	// ClientID is the ID of the member of a group that has a connection.
	ClientID(group []byte, p protocol.Peer) (id string, ok bool)
}

// Offsets keeps consumer offsets.
type Offsets interface {
	Commit(group, topic []byte, queue int32, offset int64) bool
	SetPulled(group, topic []byte, queue int32, next int64)
	// TakeReset returns a pending reset of the queue, once.
	TakeReset(group, topic []byte, queue int32) (int64, bool)
}

// Cold slows down groups that read much from the disk. A cold.Control is one.
type Cold interface {
	Limited(group []byte) bool
	Read(group []byte, bytes int, now time.Time)
}

// Room is where a pull waits, a longpoll.Room. Park keeps a copy of w and asks Answer once; it returns false when
// the room is full or closed.
type Room interface {
	Park(t *protocol.Turn, key *consumequeue.Queue, peer protocol.Peer, deadline time.Time, w Waiter) bool
}

// Config of a Service.
type Config struct {
	Topics  Topics
	Groups  Groups
	Queues  Queues
	Clients Clients
	Offsets Offsets
	// Offload hands a call to the pool; an error that run returns is answered. Again has a call of the pool served from
	// the start, in a turn of its peer.
	Offload func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	Again   func(c *protocol.Call)
	// Got counts what a group was given.
	Got func(group, topic string, messages, bytes int)
	// Missed counts pulls that found nothing.
	Missed func()
	// Cold counts what groups read from the disk, and says who should wait with it; nil is nobody.
	Cold Cold
	// Broadcasts keeps where clients of broadcasting groups are; nil is nowhere.
	Broadcasts   Broadcasts
	Broadcasting func() bool // enableBroadcastOffsetStore

	// MayWant returns what rules messages out by the bits that were kept of them, for a group with a version of its subscription; nil
	// if there is none. nil is none for all.
	MayWant func(group, topic []byte, version int64) func(storeMs int64, bits []byte) bool

	// Mappings knows the static topics; nil is none. Elsewhere reads what other brokers have of them, and Forward is Offload for a
	// call that waits for them.
	Mappings  Mappings
	Elsewhere Elsewhere
	Forward   func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)

	PropertyFilter  bool         // enablePropertyFilter
	Place           func() Place // nil is the zero Place
	Readable        func() bool  // brokerPermission has the read bit
	LitePullEnabled func() bool  // litePullMessageEnable
	LongPolling     func() bool  // longPollingEnable
	ShortPolling    func() time.Duration
}

// Service serves PULL_MESSAGE and LITE_PULL_MESSAGE.
type Service struct {
	cfg     Config
	room    Room
	buffers sync.Pool // *[]byte, for the records of one answer
}

// New makes a service. Its Answer goes into the room, the room into UseRoom.
func New(cfg Config) *Service {
	if cfg.Place == nil {
		cfg.Place = func() Place { return Place{} }
	}
	if cfg.Mappings == nil {
		cfg.Mappings = none{}
	}
	s := &Service{cfg: cfg}
	s.buffers.New = func() any { b := make([]byte, 0, 64<<10); return &b }
	return s
}

// UseRoom names the waiting room; it is called once, before the first pull.
func (s *Service) UseRoom(r Room) { s.room = r }

// Waiter is a parked pull: whom to answer and what to read.
type Waiter struct {
	ticket protocol.Ticket
	queue  *consumequeue.Queue
	next   int64 // the queue offset to read from; what the filter refused is behind it
	max    int32
	want   choice
	topic  *topic.Config
	group  *topic.GroupConfig
	of     *stretch // of a static topic

	groupName, topicName []byte // as the tables want them, ours
}

// choice is which messages a pull wants. bits, if there is any, may rule one out by what was kept of it, before its record is read.
// each says that the group broadcasts, to clients that are pushed to: the broker may keep where each of them is.
type choice struct {
	*filter.Filter
	bits func(storeMs int64, bits []byte) bool
	each bool
}

// Bounds of what a client asks for.
const (
	maxMessages = 1024 // more than a reader gives; it also looks at no fewer messages than it may give
	maxReads    = 8    // in a row, by a held pull whose filter refuses all that came
	scanInTurn  = 64   // messages that are looked at in a turn by their properties; more is the pool's
)

// Pull serves codes 11 and 361. Fields: PullMessageRequestHeader. Source: Java PullMessageProcessor; the order of
// checks is Java's (remoting.md 3.1.2).
func (s *Service) Pull(c *protocol.Call) error {
	var h protocol.PullMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if !s.cfg.Readable() {
		return s.forbid(c, forbiddenBroker, "the broker[%s] pulling message is forbidden", c.Peer.LocalAddr())
	}
	if c.Code == protocol.LitePullMessage && !s.cfg.LitePullEnabled() {
		return s.forbid(c, forbiddenBroker, "the broker[%s] for lite pull consumer is forbidden", c.Peer.LocalAddr())
	}
	group := s.cfg.Groups.Get(h.ConsumerGroup)
	if group == nil {
		s.createGroup(c, string(h.ConsumerGroup))
		return nil
	}
	if !group.ConsumeEnable {
		return s.forbid(c, forbiddenGroup, "subscription group no permission, %s", h.ConsumerGroup)
	}
	cfg := s.cfg.Topics.Get(h.Topic)
	if cfg == nil {
		return protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist, apply first please! %s", h.Topic, topic.FAQ)
	}
	if !cfg.Perm.Readable() {
		return s.forbid(c, forbiddenTopic, "the topic[%s] pulling message is forbidden", h.Topic)
	}
	of, done, err := s.translate(c, &h, cfg, group)
	if done || err != nil {
		return err
	}
	if h.QueueID < 0 || h.QueueID >= cfg.ReadQueueNums {
		return protocol.Errorf(protocol.InvalidParameter, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]",
			h.QueueID, h.Topic, cfg.ReadQueueNums, c.Peer.RemoteAddr())
	}
	want, err := s.subscription(c, &h, group)
	if err != nil || want.Filter == nil {
		return err // with neither, the refusal was answered
	}
	if h.SysFlag&flagCommit != 0 {
		s.commit(&h, of)
	}
	q := s.cfg.Queues.Find(h.Topic, h.QueueID)
	if q == nil {
		q = s.cfg.Queues.Queue(cfg.Name, h.QueueID)
	}
	if offset, ok := s.cfg.Offsets.TakeReset(h.ConsumerGroup, h.Topic, h.QueueID); ok {
		s.respond(c.Turn, c.Ticket(), protocol.PullOffsetMoved, "OFFSET_RESET", store.ReadResult{Next: offset, Min: q.Min(), Max: q.Max()}, cfg, group, of, nil)
		return nil
	}
	if offset, ok := s.begin(c, &h, q, want.each); ok {
		s.respond(c.Turn, c.Ticket(), protocol.PullOffsetMoved, "OFFSET_RESET", store.ReadResult{Next: offset, Min: q.Min(), Max: q.Max()}, cfg, group, of, nil)
		return nil
	}
	return s.read(c, &h, q, cfg, group, of, want)
}

// subscription decides what the pull may see. Without a filter and an error it means that a refusal was answered.
func (s *Service) subscription(c *protocol.Call, h *protocol.PullMessageRequest, group *topic.GroupConfig) (choice, error) {
	if h.SysFlag&flagSubscription != 0 {
		want, err := filter.Compile(h.ExpressionType, h.Subscription)
		switch {
		case errors.Is(err, sql92.ErrSyntax):
			return choice{}, protocol.Errorf(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed: %v", err)
		case errors.Is(err, filter.ErrParse):
			return choice{}, protocol.Errorf(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed")
		case err != nil:
			return choice{}, protocol.Errorf(protocol.SystemError, "%v", err)
		}
		if !s.supported(want) {
			return choice{}, unsupported(string(h.ExpressionType))
		}
		return choice{Filter: want, each: s.follows() && s.broadcasts(h)}, nil
	}
	sub, groupKnown, topicKnown := s.cfg.Clients.Subscription(h.ConsumerGroup, h.Topic)
	switch {
	case !groupKnown:
		return choice{}, protocol.Errorf(protocol.SubscriptionNotExist, "the consumer's group info not exist%s", topic.FAQ)
	case sub.Broadcast && !group.ConsumeBroadcastEnable:
		return choice{}, s.forbid(c, forbiddenBroadcast, "the consumer group[%s] can not consume by broadcast way", h.ConsumerGroup)
	case s.cfg.Groups.Forbidden(h.ConsumerGroup, h.Topic)&meta.ForbidRead != 0:
		return choice{}, s.forbid(c, forbiddenByTable, "the consumer group[%s] is forbidden for topic[%s]", h.ConsumerGroup, h.Topic)
	case !topicKnown:
		return choice{}, protocol.Errorf(protocol.SubscriptionNotExist, "the consumer's subscription not exist%s", topic.FAQ)
	case sub.Version < h.SubVersion:
		return choice{}, protocol.Errorf(protocol.SubscriptionNotLatest, "the consumer's subscription not latest")
	case sub.Filter == nil && s.cfg.PropertyFilter:
		return choice{}, protocol.Errorf(protocol.FilterDataNotExist, "The broker's consumer filter data is not exist!Your expression may be wrong!")
	}
	want := choice{Filter: sub.Filter, each: sub.Broadcast && sub.Pushed}
	if s.cfg.MayWant != nil && sub.Filter != nil && sub.Filter.Wants() != nil {
		want.bits = s.cfg.MayWant(h.ConsumerGroup, h.Topic, sub.Version)
	}
	if !s.supported(sub.Filter) {
		return choice{}, unsupported(sub.Type)
	}
	return want, nil
}

// supported tells whether a filter is one by tags, or those by property are enabled.
func (s *Service) supported(want *filter.Filter) bool {
	return s.cfg.PropertyFilter || want != nil && want.Wants() == nil
}

func unsupported(kind string) error {
	return protocol.Errorf(protocol.SystemError, "%v", filter.UnsupportedError(kind))
}

// read answers from the queue, or parks; where the disk has to be waited for, or a filter looks into many messages, the pool
// does it: so long a turn would hold up all others.
func (s *Service) read(c *protocol.Call, h *protocol.PullMessageRequest, q *consumequeue.Queue, cfg *topic.Config, group *topic.GroupConfig, of *stretch, want choice) error {
	if want.Wants() != nil && h.QueueOffset >= q.Min() && s.cfg.Queues.MaxVisible(q)-h.QueueOffset > scanInTurn {
		s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error {
			return s.readPooled(c, q, cfg, group, of, want, false)
		})
		return nil
	}
	buf := s.buffers.Get().(*[]byte)
	h.MaxMsgNums = bounded(h.MaxMsgNums)
	records, res := s.get(q, store.Read{From: h.QueueOffset, Max: h.MaxMsgNums, Match: want.Func(), Wants: want.Wants(), Bits: want.bits, NoWait: true}, (*buf)[:0])
	code := codeOf(res.Status, h.QueueOffset)
	if res.Status != store.OnDisk {
		s.pulled(c, h, want.each, code, &res, c.Turn.Now)
	}
	switch {
	case res.Status == store.OnDisk && s.limited(h):
		s.release(buf, records)
		return errCold
	case res.Status == store.OnDisk:
		s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error { return s.readPooled(c, q, cfg, group, of, want, true) })
	case code != protocol.PullNotFound || h.SysFlag&flagSuspend == 0 || c.IsOneway() || of != nil && !of.open() || !s.park(c, h, q, cfg, group, of, want):
		s.cfg.Offsets.SetPulled(h.ConsumerGroup, h.Topic, h.QueueID, res.Next)
		s.respond(c.Turn, c.Ticket(), code, res.Status.String(), res, cfg, group, of, records)
	}
	s.release(buf, records)
	return nil
}

// errCold is the answer to a group that is to wait with what it reads from the disk.
var errCold = protocol.Errorf(protocol.SystemBusy, "This consumer group is reading cold data. It has been flow control")

// limited tells whether a group has to wait with what it reads from the disk.
func (s *Service) limited(h *protocol.PullMessageRequest) bool {
	return s.cfg.Cold != nil && s.pushes(h) && s.cfg.Cold.Limited(h.ConsumerGroup)
}

// pushes tells whether the clients of a group are pushed to: these wait when they are told so. Who pulls by himself would take it
// for an error, and is given less.
func (s *Service) pushes(h *protocol.PullMessageRequest) bool {
	sub, known, _ := s.cfg.Clients.Subscription(h.ConsumerGroup, h.Topic)
	return known && sub.Pushed
}

// get reads from a queue.
func (s *Service) get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult) {
	dst, res := s.cfg.Queues.Get(q, r, dst)
	if p := s.cfg.Place(); !p.moves() {
		uncorrect(&res, r.From)
	}
	return dst, res
}

// readPooled is read on the pool. What turns out to have nothing goes back to a turn, which lets it wait. disk says that it may wait for
// the disk.
func (s *Service) readPooled(c *protocol.Call, q *consumequeue.Queue, cfg *topic.Config, group *topic.GroupConfig, of *stretch, want choice, disk bool) error {
	var h protocol.PullMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if of != nil {
		of.enter(&h)
	}
	buf := s.buffers.Get().(*[]byte)
	number := bounded(h.MaxMsgNums)
	cold := disk && s.cfg.Cold != nil
	if cold && s.cfg.Cold.Limited(h.ConsumerGroup) {
		number = 1
	}
	records, res := s.get(q, store.Read{From: h.QueueOffset, Max: number, Match: want.Func(), Wants: want.Wants(), Bits: want.bits, NoWait: !disk}, (*buf)[:0])
	if res.Status == store.OnDisk {
		s.release(buf, records)
		if s.limited(&h) {
			return errCold
		}
		return s.readPooled(c, q, cfg, group, of, want, true)
	}
	if cold {
		s.cfg.Cold.Read(h.ConsumerGroup, len(records), time.Now())
	}
	if res.Status == store.OffsetOverflowOne && (of == nil || of.open()) {
		s.cfg.Again(c)
	} else {
		s.pulled(c, &h, want.each, codeOf(res.Status, h.QueueOffset), &res, time.Now())
		s.cfg.Offsets.SetPulled(h.ConsumerGroup, h.Topic, h.QueueID, res.Next)
		s.respond(nil, c.Ticket(), codeOf(res.Status, h.QueueOffset), res.Status.String(), res, cfg, group, of, records)
	}
	s.release(buf, records)
	return nil
}

func bounded(n int32) int32 { return min(max(n, 1), maxMessages) }

// park lets a pull wait for the queue to grow. Source: remoting.md 6.1.
func (s *Service) park(c *protocol.Call, h *protocol.PullMessageRequest, q *consumequeue.Queue, cfg *topic.Config, group *topic.GroupConfig, of *stretch, want choice) bool {
	hold := time.Duration(min(h.SuspendTimeoutMillis, longpoll.MaxHold.Milliseconds())) * time.Millisecond
	if !s.cfg.LongPolling() {
		hold = s.cfg.ShortPolling()
	}
	if hold <= 0 {
		return false
	}
	names := append(append(make([]byte, 0, len(h.ConsumerGroup)+len(h.Topic)), h.ConsumerGroup...), h.Topic...)
	w := Waiter{ticket: c.Ticket(), queue: q, next: h.QueueOffset, max: h.MaxMsgNums, want: want, topic: cfg, group: group, of: of,
		groupName: names[:len(h.ConsumerGroup)], topicName: names[len(h.ConsumerGroup):]}
	return s.room.Park(c.Turn, q, c.Peer, c.Turn.Now.Add(hold), w)
}

// Answer looks at a parked pull; the waiting room calls it. It returns true to let the pull wait on.
func (s *Service) Answer(t *protocol.Turn, w *Waiter, expired bool) (keep bool) {
	if offset, ok := s.cfg.Offsets.TakeReset(w.groupName, w.topicName, w.queue.ID()); ok {
		s.respond(t, w.ticket, protocol.PullOffsetMoved, "OFFSET_RESET", store.ReadResult{Next: offset, Min: w.queue.Min(), Max: w.queue.Max()}, w.topic, w.group, w.of, nil)
		return false
	}
	if !expired && w.queue.Max() <= w.next {
		return true
	}
	buf := s.buffers.Get().(*[]byte)
	var records []byte
	var res store.ReadResult
	for reads := 0; reads < maxReads; reads++ {
		records, res = s.get(w.queue, store.Read{From: w.next, Max: w.max, Match: w.want.Func(), Wants: w.want.Wants(), Bits: w.want.bits, NoWait: true}, (*buf)[:0])
		keep = !expired && res.Status == store.OffsetOverflowOne // all seen, or not on the disk yet
		if expired || res.Status != store.NoMatchedMessage {
			break
		}
		w.next = res.Next // there may be more than one Get looks at
	}
	if res.Status == store.OnDisk {
		res.Status = store.NoMatchedMessage // it asks again, and the pool reads
	}
	if !keep {
		s.cfg.Offsets.SetPulled(w.groupName, w.topicName, w.queue.ID(), res.Next)
		s.respond(t, w.ticket, codeOf(res.Status, w.next), res.Status.String(), res, w.topic, w.group, w.of, records)
	}
	s.release(buf, records)
	return keep
}

func (s *Service) release(buf *[]byte, used []byte) {
	if cap(used) <= 1<<20 {
		*buf = used
		s.buffers.Put(buf)
	}
}

// codeOf turns what a read found into a response code. Source: remoting.md 3.1.2.
func codeOf(status store.Status, from int64) int32 {
	switch status {
	case store.Found:
		return protocol.Success
	case store.NoMatchedMessage, store.MessageWasRemoving:
		return protocol.PullRetryImmediately
	case store.NoMatchedLogicQueue, store.NoMessageInQueue:
		if from == 0 {
			return protocol.PullNotFound
		}
		return protocol.PullOffsetMoved
	case store.OffsetFoundNull, store.OffsetOverflowOne:
		return protocol.PullNotFound
	case store.Unreadable:
		return protocol.SystemError // the consumer stays where it is and asks again later
	default: // too small, beyond the end, reset
		return protocol.PullOffsetMoved
	}
}

// respond counts and writes the answer.
func (s *Service) respond(t *protocol.Turn, k protocol.Ticket, code int32, remark string, res store.ReadResult, cfg *topic.Config, group *topic.GroupConfig, of *stretch, records []byte) {
	if res.Count > 0 {
		s.cfg.Got(group.Name, cfg.Name, res.Count, len(records))
	} else {
		s.cfg.Missed()
	}
	s.write(t, k, code, remark, res, cfg, group, of, records)
}

// write writes the answer. The four offsets are always there: Java clients read them without asking.
func (s *Service) write(t *protocol.Turn, k protocol.Ticket, code int32, remark string, res store.ReadResult, cfg *topic.Config, group *topic.GroupConfig, of *stretch, records []byte) {
	if k.Oneway {
		return
	}
	broker, code := s.cfg.Place().suggest(code, res.Behind, group)
	if of != nil {
		code = of.leave(code, &res)
	}
	w := k.Open(code, remark)
	w.Int("suggestWhichBrokerId", broker)
	w.Int("nextBeginOffset", res.Next)
	w.Int("minOffset", res.Min)
	w.Int("maxOffset", res.Max)
	if of != nil {
		w.Int("offsetDelta", of.item().Delta()) // the client adds it to the offset that is in each record
	}
	w.Int("topicSysFlag", int64(cfg.SysFlag))
	w.Int("groupSysFlag", int64(group.SysFlag))
	w.Body()
	w.Append(records)
	w.Send(t)
}

// forbid answers NO_PERMISSION and says which permission it was.
func (s *Service) forbid(c *protocol.Call, which int64, format string, args ...any) error {
	if c.IsOneway() {
		return nil
	}
	k := c.Ticket()
	w := k.Open(protocol.NoPermission, fmt.Sprintf(format, args...))
	w.Int("forbiddenType", which)
	w.Body()
	w.Send(c.Turn)
	return nil
}

// createGroup makes an unknown group on the pool, where that is allowed, and lets the pull through again.
func (s *Service) createGroup(c *protocol.Call, name string) {
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		group, err := s.cfg.Groups.Create(ctx, name)
		if err != nil {
			return err
		}
		if group == nil {
			return protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", name, topic.FAQ)
		}
		s.cfg.Again(c)
		return nil
	})
}

package pop

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"rocketd/filter"
	"rocketd/filter/sql92"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/topic"
)

// Bounds of what a client asks for, and of one look.
const (
	late     = 500 * time.Millisecond // after its time, a pop is not even begun
	maxHold  = 24 * time.Hour
	maxReads = 8 // in a row in one queue, where the filter refuses all that came
	modeMin  = 0 // initMode: from the first message
)

// ask is what a pop asks for. Its names and texts live as long as the request, or the waiter.
type ask struct {
	shelf     *shelf
	topic     *topic.Config
	want      *filter.Filter
	queue     int32 // -1: any
	max       int32
	invisible int64 // ms
	initMode  int32
	order     bool
	attempt   string
}

// Pop serves POP_MESSAGE (200050). Fields: PopMessageRequestHeader. Source: Java PopMessageProcessor; the order of checks is
// Java's (remoting.md 3.3.1).
func (s *Service) Pop(c *protocol.Call) error {
	var h protocol.PopMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	now := c.Turn.Now
	if h.BornTime == 0 {
		h.BornTime = now.UnixMilli()
	}
	deadline := time.UnixMilli(h.BornTime).Add(time.Duration(min(max(h.PollTime, 0), maxHold.Milliseconds())) * time.Millisecond)
	switch {
	case now.Sub(deadline) > late:
		return refuse(protocol.PollingTimeout, "the broker[%s] pop message is timeout too much", c.Peer.LocalAddr().Addr())
	case !s.cfg.Readable():
		return refuse(protocol.NoPermission, "the broker[%s] pop message is forbidden", c.Peer.LocalAddr().Addr())
	case h.MaxMsgNums > MaxMessages:
		return refuse(protocol.InvalidParameter, "the broker[%s] pop message's num is greater than %d", c.Peer.LocalAddr().Addr(), MaxMessages)
	case !s.cfg.TimerWheel:
		return refuse(protocol.SystemError, "the broker[%s] pop message is forbidden because timerWheelEnable is false", c.Peer.LocalAddr().Addr())
	case h.InvisibleTime < 0 || h.InvisibleTime > s.cfg.TimerMaxDelay.Milliseconds():
		return refuse(protocol.InvalidParameter, "invisibleTime[%d] is illegal, at most %d (timerMaxDelaySec)", h.InvisibleTime, s.cfg.TimerMaxDelay.Milliseconds())
	}
	if err := s.closed(); err != nil {
		return err
	}
	cfg, err := s.readable(c, h.ConsumerGroup, h.Topic, h.QueueID)
	if err != nil || cfg == nil {
		return err
	}
	want, err := s.filter(h.ExpType, h.Exp)
	if err != nil {
		return err
	}
	a := ask{
		shelf: s.shelf(h.ConsumerGroup, h.Topic), topic: cfg, want: want, queue: max(h.QueueID, -1), max: max(h.MaxMsgNums, 1),
		invisible: h.InvisibleTime, initMode: h.InitMode, order: h.Order,
	}
	if a.order && len(h.AttemptID) > 0 {
		a.attempt = string(h.AttemptID)
	}
	switch s.take(c.Turn, c.Ticket(), &a) {
	case took:
		return nil
	case onDisk:
		s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error { return s.warm(c, &a) })
		return nil
	}
	if c.IsOneway() {
		return nil
	}
	return s.park(c, Waiter{ticket: c.Ticket(), ask: a}, deadline, h.PollTime)
}

// readable checks topic, queue and group as Java does for all that reads. With neither a topic nor an error the call is
// served again when its group is there.
func (s *Service) readable(c *protocol.Call, group, name []byte, queue int32) (*topic.Config, error) {
	if s.cfg.Groups.Get(group) == nil && s.cfg.Topics.Get(name) != nil {
		s.createGroup(c, string(group))
		return nil, nil
	}
	if err := s.mayRead(c, group, name, queue); err != nil {
		return nil, err
	}
	return s.cfg.Topics.Get(name), nil
}

func (s *Service) mayRead(c *protocol.Call, group, name []byte, queue int32) error {
	cfg := s.cfg.Topics.Get(name)
	switch {
	case cfg == nil:
		return noTopic(name)
	case !cfg.Perm.Readable():
		return refuse(protocol.NoPermission, "the topic[%s] peeking message is forbidden", name)
	case queue >= cfg.ReadQueueNums:
		return illegalQueue(c, protocol.InvalidParameter, cfg, queue)
	}
	g := s.cfg.Groups.Get(group)
	switch {
	case g == nil:
		return refuse(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", group, topic.FAQ)
	case !g.ConsumeEnable:
		return refuse(protocol.NoPermission, "subscription group no permission, %s", group)
	}
	return nil
}

// createGroup makes an unknown group on the pool, where that is allowed, and lets the call through again.
func (s *Service) createGroup(c *protocol.Call, name string) {
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		g, err := s.cfg.Groups.Create(ctx, name)
		switch {
		case err != nil:
			return err
		case g == nil:
			return refuse(protocol.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", name, topic.FAQ)
		}
		s.cfg.Again(c)
		return nil
	})
}

func illegalQueue(c *protocol.Call, code int32, cfg *topic.Config, queue int32) error {
	return refuse(code, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]", queue, cfg.Name, cfg.ReadQueueNums, c.Peer.RemoteAddr())
}

func (s *Service) filter(kind, expr []byte) (*filter.Filter, error) {
	if len(expr) == 0 {
		return filter.All(), nil
	}
	want, err := filter.Compile(kind, expr)
	switch {
	case errors.Is(err, sql92.ErrSyntax):
		return nil, refuse(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed: %v", err)
	case err != nil:
		return nil, refuse(protocol.SubscriptionParseFailed, "parse the consumer's subscription failed")
	case want.Wants() != nil && !s.cfg.PropertyFilter:
		return nil, refuse(protocol.SystemError, "%v", filter.UnsupportedError(kind))
	}
	return want, nil
}

// outcome of a look for messages.
type outcome uint8

const (
	nothing outcome = iota
	took            // it is or will be answered
	onDisk          // what comes next is not in memory
)

// byPriority tells whether this pop begins with the queue of the highest priority. Source: Java PopMessageProcessor.
func (s *Service) byPriority(a *ask) bool {
	if a.topic.Attributes["message.type"] != "PRIORITY" {
		return false
	}
	factor := 100
	if g := s.cfg.Groups.Get(a.shelf.group); g != nil {
		if n, err := strconv.Atoi(g.Attributes["priority.factor"]); err == nil {
			factor = n
		}
	}
	return rand.IntN(100) < factor
}

// reply is the answer of a pop while it is made, and until its check points are in the log.
type reply struct {
	svc     *Service
	staged  put.Answer // r.answer
	ask     ask
	ticket  protocol.Ticket
	popMs   int64
	revive  int32
	rest    int64
	count   int
	waits   bool // what comes next is not in memory
	records []byte
	again   []byte // records of retry topics, before they are written anew
	offsets []int64
	infos   infos
	takes   []taken
	left    int   // check points not in the log yet
	err     error // why not
}

// taken is what was popped of one queue.
type taken struct {
	cursor *cursor
	number int64
	from   int64
	first  int // in offsets
	n      int
}

// take looks for messages and, if there are any, answers as soon as their check points are in the log.
func (s *Service) take(t *protocol.Turn, k protocol.Ticket, a *ask) outcome {
	r := s.replies.Get().(*reply)
	r.reset(k, a, t.Now.UnixMilli())
	if a.order {
		r.revive = OrderQueue
	} else {
		r.revive = int32(s.revives.Add(1) % uint32(max(s.cfg.ReviveQueues, 1)))
	}
	dice := rand.IntN(100)
	first := dice < s.cfg.RetryFirst
	if !a.order && s.byPriority(a) {
		first, dice = dice < s.cfg.RetryPriority, 0
	}
	retries := s.retries(a.shelf)
	if retries[1] != nil && dice%2 == 0 { // an answer may hold one of them only: its flags are one kind
		retries[0] = retries[1]
	}
	if first {
		r.takeRetry(retries[0])
	}
	if a.queue >= 0 {
		r.takeQueue(a.shelf, a.queue)
	} else {
		r.takeTopic(a.shelf, a.topic.ReadQueueNums, dice)
	}
	if !first {
		r.takeRetry(retries[0])
	}
	switch {
	case r.count == 0 && r.waits:
		r.release()
		return onDisk
	case r.count == 0:
		r.release()
		return nothing
	case a.order:
		r.send(t, protocol.Success, "FOUND")
		r.release()
		return took
	}
	r.stage(t)
	return took
}

func (r *reply) reset(k protocol.Ticket, a *ask, popMs int64) {
	r.ask, r.ticket, r.popMs = *a, k, popMs
	r.rest, r.count, r.waits, r.left, r.err = 0, 0, false, 0, nil
	r.records, r.offsets, r.takes = r.records[:0], r.offsets[:0], r.takes[:0]
	r.infos.reset()
}

func (r *reply) release() {
	if cap(r.records) <= 1<<20 && cap(r.again) <= 1<<20 {
		r.ask = ask{}
		clear(r.takes)
		r.svc.replies.Put(r)
	}
}

func (r *reply) takeRetry(x *shelf) {
	if x == nil || r.ask.order {
		return
	}
	if cfg := r.svc.cfg.Topics.Get(x.topic); cfg != nil && cfg.Perm.Readable() {
		r.takeTopic(x, cfg.ReadQueueNums, 0)
	}
}

// takeTopic walks through all queues of a topic. Source: Java PopMessageProcessor.popMsgFromTopic.
func (r *reply) takeTopic(x *shelf, queues int32, dice int) {
	for i := range queues {
		id := int32((int64(dice) + int64(i)) % int64(queues))
		if r.svc.cfg.Downwards {
			id = int32((int64(dice) + int64(queues-1-i)) % int64(queues))
		}
		r.takeQueue(x, id)
	}
}

// takeQueue pops of one queue as much as still goes in.
func (r *reply) takeQueue(x *shelf, id int32) {
	q := r.svc.queue(x, id)
	if q == nil || r.waits && r.count == 0 { // it is read on the pool first, or it would never come
		return
	}
	c := x.cursor(id)
	if !c.reading.TryLock() {
		c.missed.Store(true)
		if c.reading.TryLock() { // whoever had it may not have seen that
			c.missed.Store(false)
		} else {
			r.rest++
			return
		}
	}
	r.read(x, c)
	c.reading.Unlock()
	if c.missed.Swap(false) {
		r.svc.ring(x.waits)
	}
}

// read pops of a queue whose cursor is held. Source: Java PopMessageProcessor.popMsgFromQueue.
func (r *reply) read(x *shelf, c *cursor) {
	s, q := r.svc, r.svc.queue(x, c.id)
	if offset, ok := s.cfg.Offsets.TakeReset(x.group, x.topic, c.id); ok {
		c.reset(s.schedule, s.cfg.Offsets, offset)
	}
	if r.ask.order && c.blocked(r.ask.attempt, r.popMs) {
		return
	}
	from, known := c.position(s.cfg.Offsets)
	if !known {
		from = s.initial(x, c.id, r.ask.initMode)
		if !s.cfg.Offsets.Commit(x.group, x.topic, c.id, from) {
			return
		}
	}
	room := int(r.ask.max) - r.count
	if room <= 0 || from == q.Max() {
		r.rest += fresh(q, from)
		return
	}
	dst := r.records
	rewrite := x.retry != '0' && !s.cfg.ActualTopic
	if rewrite {
		dst = r.again[:0]
	}
	was := len(dst)
	var res store.ReadResult
	next := from
	for reads, corrected := 0, false; reads < maxReads; reads++ {
		dst, res = s.cfg.Queues.Get(q, store.Read{From: next, Max: int32(room), Match: r.ask.want.Func(), Wants: r.ask.want.Wants(), NoWait: true}, dst[:was])
		switch res.Status {
		case store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull:
			if corrected {
				break
			}
			corrected, from, next = true, res.Next, res.Next
			r.skip(c, next)
			continue
		case store.NoMatchedMessage, store.MessageWasRemoving:
			next = res.Next
			continue
		}
		break
	}
	r.waits = r.waits || res.Status == store.OnDisk
	if res.Count == 0 {
		if next > from {
			r.skip(c, next)
		}
		r.rest += max(res.Max-next, 0)
		return
	}
	r.rest += max(res.Max-res.Next, 0)
	r.found(x, c, next, res, dst, was, rewrite)
}

// skip moves on over messages that are not wanted or not there, or back to where the queue ends.
func (r *reply) skip(c *cursor, next int64) {
	o := r.svc.cfg.Offsets
	c.finish(o, c.begin(next), true)
}

// initial is where a group begins that never popped the queue. Source: Java PopMessageProcessor.getInitOffset.
func (s *Service) initial(x *shelf, id, mode int32) int64 {
	q := s.queue(x, id)
	if mode == modeMin || topic.IsRetry(x.name) {
		return q.Min()
	}
	if s.cfg.FirstInMemory && q.Min() <= 0 && s.cfg.Queues.InMemory(q, 0) {
		return 0
	}
	return max(q.Max()-1, 0)
}

// found takes what was read. from is where that read began.
func (r *reply) found(x *shelf, c *cursor, from int64, res store.ReadResult, dst []byte, was int, rewrite bool) {
	first := len(r.offsets)
	for b := dst[was:]; len(b) >= message.PeekBytes; {
		size, _ := message.PeekSize(b)
		r.offsets = append(r.offsets, message.PeekQueueOffset(b))
		b = b[size:]
	}
	offsets := r.offsets[first:]
	if rewrite {
		r.again = dst
		r.rewrite(x, c, from, dst[was:])
	} else {
		r.records = dst
	}
	r.count += len(offsets)
	r.infos.add(x.retry, c.id, from, offsets)
	if r.ask.order {
		r.svc.ordered(r, c, from, offsets)
	} else {
		r.takes = append(r.takes, taken{cursor: c, number: c.begin(res.Next), from: from, first: first, n: len(offsets)})
	}
	r.svc.cfg.Got(x.groupName, x.name, len(offsets), len(dst)-was)
}

// rewrite gives messages of a retry topic the topic that was asked for, and their handle as a property. Source: Java
// PopMessageProcessor.
func (r *reply) rewrite(x *shelf, c *cursor, from int64, records []byte) {
	s := r.svc
	h := Handle{Start: from, PopMs: r.popMs, InvisibleMs: r.ask.invisible, Revive: r.revive, Retry: x.retry, Broker: []byte(s.cfg.Broker), QueueID: c.id}
	for len(records) >= message.PeekBytes {
		size, _ := message.PeekSize(records)
		m, err := message.Decode(records[:size])
		records = records[size:]
		if err != nil {
			continue // the store has looked at it
		}
		h.Offset = m.QueueOffset
		var room [256]byte
		props := append([]byte(nil), m.Properties...)
		if _, has := message.Property(props, message.PropPopCK); !has {
			props = message.AppendProperty(props, message.PropPopCK, h.Append(room[:0]))
		}
		if len(props) > message.MaxProperties {
			props = m.Properties // the handle follows from the answer
		}
		at := len(r.records)
		r.records = message.AppendRecord(r.records, &message.Draft{
			Topic: r.ask.shelf.topic, Body: m.Body, Properties: props, QueueID: m.QueueID, Flag: m.Flag, SysFlag: m.SysFlag,
			BornMs: m.BornMs, BornHost: m.BornHost, StoreHost: m.StoreHost, ReconsumeTimes: m.ReconsumeTimes, PreparedOffset: m.PreparedOffset,
		})
		message.Patch(r.records[at:], m.QueueOffset, m.Physical, m.StoreMs)
		binary.BigEndian.PutUint32(r.records[at+8:], uint32(m.BodyCRC))
	}
}

// stage has the check points written with this turn's batch.
func (r *reply) stage(t *protocol.Turn) {
	s := r.svc
	j := s.journals.Get().(*journal)
	defer s.journals.Put(j)
	b := put.Of(t)
	var diffs [MaxMessages]int32
	r.left = len(r.takes)
	for i := range r.takes {
		k := &r.takes[i]
		ck := r.checkpoint(k, diffs[:0])
		rec := j.checkpoint(&ck, r.revive, r.popMs)
		b.Stage(rec.queue, &rec.draft, rec.tag, true, nil, r.ticket, r.staged)
	}
}

func (r *reply) checkpoint(k *taken, diffs []int32) Checkpoint {
	for _, o := range r.offsets[k.first : k.first+k.n] {
		diffs = append(diffs, int32(o-k.from))
	}
	x := k.cursor.shelf
	return Checkpoint{
		Broker: r.svc.cfg.Broker, Group: x.groupName, Topic: x.name, QueueID: k.cursor.id, Diffs: diffs, Num: int8(k.n),
		Start: k.from, PopMs: r.popMs, InvisibleMs: r.ask.invisible,
	}
}

// answer is called once for each check point; the last one sends the messages.
func (r *reply) answer(t *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
	if o.Status == put.Refused {
		r.err = o.Err
	}
	if r.left--; r.left > 0 {
		return
	}
	s := r.svc
	for i := range r.takes {
		k := &r.takes[i]
		if r.err == nil {
			s.lend(r.checkpoint(k, nil), r.revive, k.cursor)
		}
		k.cursor.finish(s.cfg.Offsets, k.number, r.err == nil)
	}
	if r.err != nil {
		e := put.Refusal(r.err)
		r.ticket.Answer(t, e.Code, e.Remark, nil, nil)
	} else {
		r.send(t, protocol.Success, "FOUND")
	}
	r.release()
}

// send writes the answer. Java clients read all of its fields without asking.
func (r *reply) send(t *protocol.Turn, code int32, remark string) {
	if r.ticket.Oneway {
		return
	}
	w := r.ticket.Open(code, remark)
	w.Int("popTime", r.popMs)
	w.Int("invisibleTime", r.ask.invisible)
	w.Int("reviveQid", int64(r.revive))
	w.Int("restNum", r.rest)
	w.Bytes("startOffsetInfo", r.infos.start)
	w.Bytes("msgOffsetInfo", r.infos.offsets)
	if r.ask.order {
		w.Bytes("orderCountInfo", r.infos.counts)
	}
	w.Body()
	w.Append(r.records)
	w.Send(t)
}

// lend keeps a check point in memory. Where there are too many, this one is revived from the log.
func (s *Service) lend(ck Checkpoint, revive int32, c *cursor) {
	if s.live.Add(1) > int64(s.cfg.MaxLeases) {
		s.live.Add(-1)
		return
	}
	l := &lease{Checkpoint: ck, revive: revive, cursor: c}
	l.alarm.lease = l
	c.mu.Lock()
	if old := c.leases[leaseKey{ck.Start, ck.PopMs}]; old != nil { // a reset, within the same millisecond
		s.live.Add(-1)
		s.schedule.remove(&old.alarm)
	}
	c.leases[leaseKey{ck.Start, ck.PopMs}] = l
	s.schedule.add(&l.alarm, ck.ReviveMs())
	c.mu.Unlock()
}

// warm reads on the pool what a pop will find, so that it is in memory, and lets the pop through again.
func (s *Service) warm(c *protocol.Call, a *ask) error {
	shelves := append([]*shelf{a.shelf}, s.nonNil(s.retries(a.shelf))...)
	for _, x := range shelves {
		cfg := s.cfg.Topics.Get(x.topic)
		if cfg == nil {
			continue
		}
		for id := range cfg.ReadQueueNums {
			if x == a.shelf && a.queue >= 0 && id != a.queue {
				continue
			}
			if q := s.queue(x, id); q != nil {
				from, known := x.cursor(id).position(s.cfg.Offsets)
				if !known {
					from = s.initial(x, id, a.initMode)
				}
				s.cfg.Queues.Get(q, store.Read{From: from, Max: a.max, Match: a.want.Func(), Wants: a.want.Wants()}, nil)
			}
		}
	}
	s.cfg.Again(c)
	return nil
}

func (s *Service) nonNil(list [2]*shelf) (some []*shelf) {
	for _, x := range list {
		if x != nil {
			some = append(some, x)
		}
	}
	return some
}

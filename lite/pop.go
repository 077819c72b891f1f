package lite

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"rocketd/longpoll"
	"rocketd/order"
	"rocketd/protocol"
	"rocketd/topic"
)

const (
	// MaxMessages is how many messages one request gets at most. Source: Java PopLiteMessageProcessor.
	MaxMessages = 32

	maxInvisibleMs = 1 << 42 // more is nonsense, and would overflow

	late = 500 * time.Millisecond // after its time, a request is not even begun
)

// ask is what a request wants. Its texts live as long as the request, or the waiter.
type ask struct {
	client, group, topic string
	attempt              string
	max                  int
	invisibleMs          int64
}

// Waiter is a request that found nothing: whom to answer and what to look for.
type Waiter struct {
	ticket protocol.Ticket
	ask    ask
	notify bool // it only wants to know whether there is something
}

// Pop serves POP_LITE_MESSAGE (200070): messages of the lite topics that a client subscribes to. Fields:
// PopLiteMessageRequestHeader. Source: Java PopLiteMessageProcessor; the order of checks is Java's (remoting.md 3.12.4).
func (s *Service) Pop(c *protocol.Call) error {
	var h protocol.PopLiteMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	deadline := longpoll.Deadline(c.Turn.Now, h.BornTime, h.PollTime)
	ip := c.Peer.LocalAddr().Addr()
	switch {
	case c.Turn.Now.Sub(deadline) > late: // with all fields, since clients read them for this code
		s.send(c.Turn, c.Ticket(), protocol.PollingTimeout, fmt.Sprintf("the broker[%s] pop message is timeout too much", ip), &ask{invisibleMs: h.InvisibleTime}, &reply{popMs: c.Turn.Now.UnixMilli()})
		return nil
	case !s.cfg.Readable():
		return refuse(protocol.NoPermission, "the broker[%s] pop message is forbidden", ip)
	case h.MaxMsgNum > MaxMessages:
		return refuse(protocol.InvalidParameter, "the broker[%s] pop message's num is greater than %d", ip, MaxMessages)
	case h.InvisibleTime < 0 || h.InvisibleTime > maxInvisibleMs:
		return refuse(protocol.InvalidParameter, "invisibleTime[%d] is illegal", h.InvisibleTime)
	}
	cfg, err := s.parent(h.Topic, "topic [%s] not exist, apply first please! "+topic.FAQ, "the topic [%s] message type not match")
	switch {
	case cfg == nil:
		return err
	case !cfg.Perm.Readable():
		return refuse(protocol.NoPermission, "the topic [%s] peeking message is forbidden", h.Topic)
	case err != nil:
		return err
	}
	if err := s.bound(h.ConsumerGroup, h.Topic); err != nil {
		return err
	}
	if err := s.cfg.Closed(); err != nil {
		return err
	}
	a := ask{client: h.ClientID, group: h.ConsumerGroup, topic: h.Topic, attempt: h.AttemptID, max: int(max(h.MaxMsgNum, 1)), invisibleMs: h.InvisibleTime}
	switch queue, o := s.take(c.Turn, c.Ticket(), &a); o {
	case took:
		return nil
	case onDisk:
		s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error { return s.warm(c, queue, &a) })
		return nil
	}
	return s.park(c, Waiter{ticket: c.Ticket(), ask: a}, deadline, h.PollTime)
}

// bound checks that a group is there, may consume, and consumes lite topics of this parent.
func (s *Service) bound(group, parent string) error {
	g := s.cfg.Groups.Get([]byte(group))
	switch {
	case g == nil:
		return refuse(protocol.SubscriptionGroupNotExist, "subscription group [%s] not exist, %s", group, topic.FAQ)
	case !g.ConsumeEnable:
		return refuse(protocol.NoPermission, "subscription group no permission, %s", group)
	case g.Attributes[topic.AttrLiteBind] != parent:
		return refuse(protocol.InvalidParameter, "subscription bind topic not match, %s", group)
	}
	return nil
}

// park lets a request wait for its client's next event, unless too many wait already. Source: Java
// PopLiteLongPollingService.polling.
func (s *Service) park(c *protocol.Call, w Waiter, deadline time.Time, pollMs int64) error {
	if c.IsOneway() {
		return nil
	}
	full := false
	if pollMs > 0 && c.Turn.Now.Before(deadline) {
		waiting := 0
		s.room.Each(w.ask.client, func(*Waiter) { waiting++ })
		if waiting <= s.cfg.PollingSize && s.room.Park(c.Turn, w.ask.client, c.Peer, deadline, w) {
			return nil
		}
		full = true
	}
	s.none(c.Turn, &w, full)
	return nil
}

// none answers one who found nothing, and need not wait or may not.
func (s *Service) none(t *protocol.Turn, w *Waiter, full bool) {
	switch {
	case w.notify:
		w.ticket.Answer(t, protocol.Success, "", &protocol.NotificationResponse{PollingFull: full}, nil)
	case full:
		s.empty(t, w, protocol.PollingFull)
	default:
		s.empty(t, w, protocol.PollingTimeout)
	}
}

func (s *Service) empty(t *protocol.Turn, w *Waiter, code int32) {
	s.send(t, w.ticket, code, "NO_MESSAGE_IN_QUEUE", &w.ask, &reply{popMs: s.now(t).UnixMilli()})
}

// Answer looks at one who waits; the waiting room calls it. It returns true to let him wait on.
func (s *Service) Answer(t *protocol.Turn, w *Waiter, expired bool) (keep bool) {
	switch {
	case expired:
		s.none(t, w, false)
	case s.cfg.Closed() != nil:
		return true
	case w.notify:
		if !s.waits(t, w.ask.client) {
			return true
		}
		w.ticket.Answer(t, protocol.Success, "", &protocol.NotificationResponse{HasMsg: true}, nil)
	default:
		switch _, o := s.take(t, w.ticket, &w.ask); o {
		case nothing:
			return true
		case onDisk: // it asks again, and the pool reads
			s.none(t, w, false)
		}
	}
	return false
}

// send writes an answer. Each message gets its count; the receiver makes the handles itself.
func (s *Service) send(t *protocol.Turn, k protocol.Ticket, code int32, remark string, a *ask, r *reply) {
	if k.Oneway {
		return
	}
	w := k.Open(code, remark)
	w.Int("popTime", r.popMs)
	w.Int("invisibleTime", a.invisibleMs)
	w.Int("reviveQid", order.Queue)
	w.Bytes("orderCountInfo", r.counts)
	w.Body()
	w.Append(r.records)
	w.Send(t)
}

// reply is the answer of a pop while it is made.
type reply struct {
	popMs   int64
	count   int
	records []byte
	offsets []int64 // of the queue that is read
	counts  []byte  // how often each was popped before, separated by ';'
	tried   []string
}

func (r *reply) reset(popMs int64) {
	r.popMs, r.count = popMs, 0
	r.records, r.offsets, r.counts = r.records[:0], r.offsets[:0], r.counts[:0]
	clear(r.tried)
	r.tried = r.tried[:0]
}

func (r *reply) addCount(times int32) {
	if len(r.counts) > 0 {
		r.counts = append(r.counts, ';')
	}
	r.counts = strconv.AppendInt(r.counts, int64(times), 10)
}

package pop

import (
	"context"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/store"
	"rocketd/topic"
)

// ackGrace is how much longer than its end a check point of the log waits for its acknowledgements: they come through the
// timer, too. Source: Java PopReviveService.
const ackGrace = 2 * time.Second

// idleGrace is when a revive topic to which nothing comes any more counts as read up to now.
const idleGrace = 3 * time.Second

// farAhead is how long before its time a check point comes that does not wait here: the clock was set back since, or a client
// wrote it. It is written anew for its time, so that those behind it need not wait for that.
const farAhead = time.Minute

// maxLogged is how many check points of one revive queue wait in memory for their end, unless the first of them is over and
// what says whether it is acknowledged has not been read.
const maxLogged = 50_000

// reviveQueue follows a queue of the revive topic: what another process popped, or this one and has no room for, ends here.
type reviveQueue struct {
	id      int32
	most    int   // to wait, maxLogged
	next    int64 // to read
	waiting []*logged
	byKey   map[loggedKey]*logged
	early   map[loggedKey]struct{} // check points that memory delivered before they came here: the timer was late
	endMs   int64                  // all that is due by then was read
}

// loggedKey is what acknowledgements say of their check point.
type loggedKey struct {
	topic, group, broker string
	queue                int32
	leaseKey
}

func (c *Checkpoint) key() loggedKey {
	return loggedKey{c.Topic, c.Group, c.Broker, c.QueueID, leaseKey{c.Start, c.PopMs}}
}

func (a *Ack) key() loggedKey {
	return loggedKey{a.Topic, a.Group, a.Broker, a.QueueID, leaseKey{a.Start, a.PopMs}}
}

// logged is a check point that was read.
type logged struct {
	ck     *Checkpoint
	offset int64 // in the revive topic
	key    loggedKey
	held   bool  // memory had it, and sees to it
	fromMs int64 // not before: that of another set may have come late, and its acknowledgements behind it
}

// follow reads on in a revive queue, and delivers again what is open of the check points whose time is over, as much as one write
// takes. more says that there may be others, which need not wait for the next look.
func (r *reviver) follow(ctx context.Context, q *reviveQueue, now time.Time) (more bool) {
	s := r.s
	name := []byte(topic.ReviveTopic(s.cfg.Cluster))
	behind := s.cfg.TimerBehind() // asked first: what it has brought by then is read now
	end := r.readOn(q, name, now)
	if end && !behind && now.UnixMilli()-q.endMs > idleGrace.Milliseconds() {
		q.endMs = now.UnixMilli()
	}
	q.endMs = min(q.endMs, now.UnixMilli()) // the clock was set back
	done, handled := 0, int64(-1)
	for ; done < len(q.waiting) && !r.full() && ctx.Err() == nil; done++ {
		l := q.waiting[done]
		if ahead := l.ck.ReviveMs() - now.UnixMilli(); ahead > farAhead.Milliseconds() && !s.cfg.Slave() {
			r.put(r.journal.checkpoint(l.ck, q.id, now.UnixMilli()))
			handled = l.offset
			continue
		}
		if !l.ck.over(q.endMs) || now.UnixMilli() < l.fromMs {
			break
		}
		if l.held && s.holding(l.ck) {
			break
		}
		if !l.held {
			r.stage(ctx, l.ck, q.id, now)
		}
		handled = l.offset
	}
	if done == 0 {
		return false
	}
	more = r.full()
	if err := r.commit(ctx, now); err != nil {
		r.complain(now, err)
		return false
	}
	for _, l := range q.waiting[:done] {
		if q.byKey[l.key] == l {
			delete(q.byKey, l.key)
		}
	}
	q.waiting = append(q.waiting[:0], q.waiting[done:]...)
	s.cfg.Offsets.Commit([]byte(topic.ReviveGroup), name, q.id, handled)
	return more
}

// full tells whether to write what is staged before more is. What goes to other sets goes by check points: of one that they take
// in part, the rest is left.
func (r *reviver) full() bool { return r.staged >= roundBytes || r.staged > 0 && r.s.cfg.Slave() }

// over tells whether what was due by then includes all acknowledgements that count.
func (c *Checkpoint) over(ms int64) bool { return ms-c.ReviveMs() > ackGrace.Milliseconds() }

// full tells whether to end some of those that wait before more is read.
func (q *reviveQueue) full(nowMs int64) bool {
	return len(q.waiting) >= q.most && (q.waiting[0].ck.over(q.endMs) || !q.waiting[0].ck.over(nowMs))
}

// readOn reads what is there, and tells whether that was all.
func (r *reviver) readOn(q *reviveQueue, name []byte, now time.Time) (all bool) {
	s := r.s
	queue := s.cfg.Queues.Find(name, q.id)
	if queue == nil {
		return true
	}
	for !q.full(now.UnixMilli()) {
		var res store.ReadResult
		r.buf, res = s.cfg.Queues.Get(queue, store.Read{From: q.next, Max: MaxMessages}, r.buf[:0])
		switch {
		case res.Count > 0:
			for b := r.buf; len(b) >= message.PeekBytes; {
				size, _ := message.PeekSize(b)
				if m, err := message.Decode(b[:size]); err == nil {
					r.take(q, &m)
				}
				b = b[size:]
			}
		case res.Next <= q.next || res.Status == store.OffsetOverflowBadly:
			q.next = min(q.next, res.Max)
			return res.Status != store.Unreadable && res.Status != store.OnDisk
		}
		q.next = res.Next
	}
	return false
}

// take takes up one record of the revive topic.
func (r *reviver) take(q *reviveQueue, m *message.Record) {
	s := r.s
	tags, _ := message.Property(m.Properties, message.PropTags)
	switch string(tags) {
	case tagCheckpoint:
		ck, err := ParseCheckpoint(m.Body)
		if err != nil {
			s.cfg.Log.Warn("check point of popped messages ignored", "reviveQueue", q.id, "offset", m.QueueOffset, "err", err)
			break
		}
		l := &logged{ck: ck, offset: m.QueueOffset, key: ck.key(), held: s.holding(ck)}
		if ck.Broker != s.cfg.Broker {
			l.fromMs = m.StoreMs + ackGrace.Milliseconds() + idleGrace.Milliseconds()
		}
		if _, early := q.early[l.key]; early {
			delete(q.early, l.key)
			l.held = true
		}
		q.waiting = append(q.waiting, l)
		q.byKey[l.key] = l
	case tagAck, tagBatchAck:
		a, err := ParseAck(m.Body)
		if err != nil {
			s.cfg.Log.Warn("acknowledgement of popped messages ignored", "reviveQueue", q.id, "offset", m.QueueOffset, "err", err)
			break
		}
		if a.Broker == "" {
			a.Broker = s.cfg.Broker
		}
		l := q.byKey[a.key()]
		if l == nil {
			break
		}
		for _, offset := range a.consumed() {
			if i := l.ck.Index(offset); i >= 0 {
				l.ck.BitMap |= 1 << i
			}
		}
	}
	if _, timed := message.Property(m.Properties, message.PropTimerOutMs); !timed {
		return // it was due when it came, and does not say how far the timer is
	}
	v, _ := message.Property(m.Properties, message.PropTimerDeliverMs)
	if due, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		q.endMs = max(q.endMs, due)
	}
}

// delivered notes that memory has delivered a check point, if that has not come here yet.
func (q *reviveQueue) delivered(ck *Checkpoint) {
	if key := ck.key(); q.byKey[key] == nil && len(q.early) < maxLogged {
		q.early[key] = struct{}{}
	}
}

// holding tells whether memory has the lease of a check point.
func (s *Service) holding(ck *Checkpoint) bool {
	x := s.shelves.find([]byte(ck.Group), []byte(ck.Topic))
	if x == nil || ck.Broker != s.cfg.Broker {
		return false
	}
	all := x.all()
	if ck.QueueID < 0 || int(ck.QueueID) >= len(all) {
		return false
	}
	known, _ := all[ck.QueueID].holds(leaseKey{ck.Start, ck.PopMs}, ck.Start)
	return known
}

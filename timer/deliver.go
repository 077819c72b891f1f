package timer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/message"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// ready is an item whose message is read and made what it will be stored as, but for the time of now.
type ready struct {
	item
	queue *consumequeue.Queue
	draft message.Draft
	tag   int64
	id    uint64
	uniq  []byte
	real  []byte // the topic that it is for
	topic []byte // the same; nil: it does not count
	slot  int64  // of its time
	skip  error  // why it is not delivered
}

// Why a message is not delivered, beside what record.go says.
var (
	errGone     = errors.New("its record is gone from the log")
	errUnread   = errors.New("its record cannot be read now") // it is not dropped, but waits
	errForeign  = errors.New("another record is at its place")
	errRecalled = errors.New("it was recalled")
	errBefore   = errors.New("it was delivered before")
)

// readyBytes is how much of what is due soon is made ready, bytes and messages.
const (
	readyBytes = 16 << 20
	readyItems = 1 << 15
)

// load reads the slots that are due soon. Nothing may be delivered before what recalls in them is known: an error says that
// the disk does not tell now, unless it did not for recallPatience.
func (s *Service) load(nowMs int64) error {
	s.recalls = append(s.recalls, s.plan.Load(nowMs)...)
	for ; len(s.recalls) > 0; s.recalls = s.recalls[1:] {
		u := &s.recalls[0]
		var err error
		s.buf, err = s.cfg.Store.Record(u.Physical, s.buf[:0])
		switch {
		case err == nil:
		case errors.Is(err, commitlog.ErrNoRecord):
			continue
		case s.unreadMs == 0 || nowMs-s.unreadMs < recallPatience.Milliseconds():
			if s.unreadMs == 0 {
				s.unreadMs = nowMs
			}
			return fmt.Errorf("cannot read what a recall takes back: %w", err)
		default:
			s.cfg.Log.Error("recall of a timed message dropped", "physical", u.Physical, "err", err)
		}
		s.unreadMs = 0
		if err != nil {
			continue
		}
		if r, err := message.Decode(s.buf); err == nil {
			if f := look(r.Properties); f.recalls != nil {
				s.plan.Recall(s.plan.wheel.Floor(u.TimeMs()), string(f.recalls))
			}
		}
	}
	return nil
}

// recallPatience is how long deliveries wait for a recall that the disk does not give.
const recallPatience = time.Minute

// prepare makes some of what is due soon ready. It returns true if there is more.
func (s *Service) prepare(nowMs int64) bool {
	for n := 0; n < 256; n++ {
		it, ok := s.plan.First()
		if !ok || it.dueMs > nowMs+lead || len(s.arena) > readyBytes || len(s.ready) >= readyItems {
			return false
		}
		if len(s.ready) > 0 && it.before(&s.ready[len(s.ready)-1].item) {
			return false
		}
		next := s.plan.Next()
		s.ready = append(s.ready, s.make(&s.arena, &next, nowMs))
	}
	return true
}

// make reads the message of an item and makes it what it will be stored as. The bytes are in the arena.
func (s *Service) make(arena *[]byte, it *item, nowMs int64) ready {
	out := ready{item: *it}
	start := len(*arena)
	var err error
	if *arena, err = s.cfg.Store.Record(it.physical, *arena); err != nil {
		if out.skip = errGone; !errors.Is(err, commitlog.ErrNoRecord) {
			out.skip = fmt.Errorf("%w: %w", errUnread, err)
		}
		return out
	}
	r, err := message.Decode((*arena)[start:len(*arena):len(*arena)])
	f := look(r.Properties)
	ms, e := f.outMs()
	if err != nil || e != nil || string(r.Topic) != topic.Timer || it.size != r.Size {
		out.skip = errForeign
		return out
	}
	name, id, err := f.target()
	if err != nil {
		out.skip = err
		return out
	}
	out.slot, out.uniq, out.real = s.plan.wheel.Floor(ms), f.uniq, f.topic
	if f.recalls == nil && it.slotMs != late {
		out.topic = f.topic
	}
	if !it.roll && (it.slotMs != late && it.slotMs != out.slot || message.TimerDue(ms, s.plan.wheel.Precision()) > it.dueMs) {
		out.skip = errForeign
		return out
	}
	if f.recalls != nil && !it.roll {
		out.skip = errRecalled
		return out
	}
	rolls := int64(-1)
	if it.roll {
		name, id, rolls = r.Topic, r.QueueID, f.rollTimes()+1
	}
	out.id = f.identity(&r, rolls)
	out.tag = message.TagsCode(f.tags)
	if out.queue = s.cfg.Store.Find(name, id); out.queue == nil || out.queue.Moved() {
		out.queue = s.cfg.Store.Queue(string(name), id)
	}
	at := len(*arena)
	*arena = appendDelivered(*arena, r.Properties, &f, it, nowMs)
	out.draft = r.Draft()
	out.draft.Topic, out.draft.QueueID, out.draft.Properties = name, id, (*arena)[at:len(*arena):len(*arena)]
	return out
}

// next takes what is due first: from what is ready, or made ready now.
func (s *Service) next(nowMs int64) (r ready, ok bool) {
	it, waits := s.plan.First()
	switch {
	case len(s.ready) > 0 && (!waits || !it.before(&s.ready[0].item)):
		if s.ready[0].dueMs > nowMs || s.leaving && s.ready[0].slotMs > s.lastMs {
			return r, false
		}
		r = s.ready[0]
		s.ready = s.ready[1:]
		return r, true
	case !waits || it.dueMs > nowMs || s.leaving && it.slotMs > s.lastMs:
		return r, false
	}
	next := s.plan.Next()
	return s.make(&s.scratch, &next, nowMs), true
}

// deliver stores what is due, as much as one write takes. more says that there may be other things.
func (s *Service) deliver(ctx context.Context, now time.Time) (more bool, err error) {
	nowMs := now.UnixMilli()
	s.batch, s.scratch = s.batch[:0], s.scratch[:0]
	for n := 0; n < stepItems && s.cfg.Courier.Bytes() < stepBytes; n++ {
		kept := len(s.scratch)
		r, ok := s.next(nowMs)
		if !ok {
			break
		}
		more = true
		if r.skip == nil && !r.roll && s.plan.Recalled(r.slot, r.real, r.uniq) {
			r.skip = errRecalled
		}
		if r.skip == nil && s.past.delivered(r.id, r.physical) {
			r.skip = errBefore
		}
		if errors.Is(r.skip, errUnread) {
			s.unread.wait(s, &r.item, nowMs, r.skip)
			s.scratch = s.scratch[:kept]
			continue
		}
		s.unread.read(s, &r.item)
		if r.skip != nil {
			s.drop(&r, nowMs)
			s.scratch = s.scratch[:kept]
			continue
		}
		setDequeued(r.draft.Properties, nowMs)
		s.cfg.Courier.Stage(r.queue, &r.draft, r.tag)
		s.batch = append(s.batch, r)
	}
	if len(s.batch) > 0 {
		var placed []put.Placed
		placed, err = s.cfg.Courier.Commit(ctx, now)
		if err = s.settle(ctx, now, len(placed), err); err != nil {
			more = false
		}
	}
	if len(s.ready) == 0 {
		s.arena = s.arena[:0]
	}
	return more, err
}

// settle says what became of the batch, of which so many are stored.
func (s *Service) settle(ctx context.Context, now time.Time, stored int, err error) error {
	switch {
	case err == nil, errors.Is(err, put.ErrUnsafe): // stored
		for i := range s.batch {
			s.delivered(&s.batch[i], now.UnixMilli())
		}
		return nil
	case len(s.batch) > 1 && illegal(err): // one of them is the cause
		all := s.batch
		for i := range all {
			s.batch = all[i : i+1]
			s.cfg.Courier.Stage(all[i].queue, &all[i].draft, all[i].tag)
			placed, one := s.cfg.Courier.Commit(ctx, now)
			if one = s.settle(ctx, now, len(placed), one); one != nil {
				for _, r := range all[i+1:] {
					s.plan.Again(&r.item)
				}
				return one
			}
		}
		return nil
	case illegal(err):
		s.batch[0].skip = err
		s.drop(&s.batch[0], now.UnixMilli())
		return nil
	}
	for i := range s.batch {
		if i < stored {
			s.delivered(&s.batch[i], now.UnixMilli())
		} else {
			s.plan.Again(&s.batch[i].item)
		}
	}
	return err
}

// illegal tells whether an error is of the message, and will be the same next time.
func illegal(err error) bool {
	return errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrIncomplete) || errors.Is(err, message.ErrProperties)
}

func (s *Service) delivered(r *ready, nowMs int64) {
	s.plan.Done(&r.item)
	s.status.delivered.Add(1)
	s.flush.dirty = true
	s.uncount(r, nowMs)
}

func (s *Service) uncount(r *ready, nowMs int64) {
	if r.topic != nil {
		s.counts.add(r.topic, -1, nowMs)
	}
}

// drop is for a message that will not be delivered.
func (s *Service) drop(r *ready, nowMs int64) {
	switch r.skip {
	case errRecalled, errBefore:
	default:
		s.cfg.Log.Error("timed message dropped", "physical", r.physical, "size", r.size, "due", time.UnixMilli(r.dueMs), "err", r.skip)
	}
	s.plan.Done(&r.item)
	s.flush.dirty = true
	s.uncount(r, nowMs)
}

// setDequeued writes the time into TIMER_DEQUEUE_MS, the last property that appendDelivered wrote. Its digits keep their
// number until 2286.
func setDequeued(props []byte, nowMs int64) {
	const digits = 13
	at := len(props) - 1 - digits
	name := len(message.PropTimerDequeueMs) + 1
	if at < name || string(props[at-name:at-1]) != message.PropTimerDequeueMs || nowMs < 1e12 || nowMs >= 1e13 {
		return
	}
	for i := at + digits - 1; i >= at; i-- {
		props[i] = '0' + byte(nowMs%10)
		nowMs /= 10
	}
}

// nextMs is when something is due.
func (s *Service) nextMs(nowMs int64) int64 {
	next := s.plan.NextMs(nowMs)
	if len(s.ready) > 0 {
		next = min(next, s.ready[0].dueMs)
	}
	return next
}

// unready puts what is ready back.
func (s *Service) unready() {
	for i := range s.ready {
		s.plan.Again(&s.ready[i].item)
	}
	s.ready, s.arena = nil, nil
}

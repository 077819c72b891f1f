package delay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/message"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// Limits of a level at work.
const (
	commitBytes   = 1 << 20 // most that is stored with one write
	commitRecords = 1024
	readRecords   = 32
	longestSleep  = time.Second            // the clock may be set
	unseenSleep   = 20 * time.Millisecond  // until what is due can be read, too: it waits for the disk or slaves
	retrySleep    = 100 * time.Millisecond // after the store took nothing
	brokenSleep   = 10 * time.Second       // after a disk that does not give what it has, or a log that is not ours to write
)

// level is one delay level: its queue, and how far it is delivered.
type level struct {
	*Service
	number int32
	log    *slog.Logger

	courier Courier
	buf     []byte
	staged  []int64   // offsets of what is staged
	head    int64     // the message that was looked at last, and
	since   time.Time // when that was first
	failed  string    // what was last logged of the store

	mu   sync.Mutex // guards:
	next int64      // offset of the first message that is not delivered
	end  int64      // log position behind the copies of those before it
}

func (l *level) at() (next, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next, l.end
}

func (l *level) set(next, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next, l.end = next, max(l.end, end)
}

func (l *level) queue() *consumequeue.Queue { return l.cfg.Store.Find(delayTopic, l.number-1) }

// run delivers until the context ends.
func (l *level) run(ctx context.Context) error {
	l.courier, l.head = l.cfg.NewCourier(), -1
	for ctx.Err() == nil {
		_ = rungroup.Sleep(ctx, l.deliver(ctx, time.Now()))
	}
	return nil
}

// deliver stores copies of what is due, and says how long there is nothing to do.
func (l *level) deliver(ctx context.Context, now time.Time) time.Duration {
	q := l.queue()
	if q == nil {
		return longestSleep
	}
	from := l.correct(q)
	pos, size, count := from, 0, 0
	l.staged = l.staged[:0]
	wait := time.Duration(0)
	for wait == 0 && size < commitBytes && count < commitRecords && ctx.Err() == nil {
		var until int64
		if until, wait = l.due(q, pos, now); until == pos {
			break
		}
		var res store.ReadResult
		l.buf, res = l.cfg.Store.Get(q, store.Read{From: pos, Max: int32(until - pos)}, l.buf[:0])
		if res.Status == store.Unreadable {
			l.log.Error("cannot read delayed messages; they are tried again", "offset", pos)
			wait = brokenSleep
			break
		}
		if res.Next == pos {
			wait = unseenSleep
			break
		}
		pos = min(res.Next, until)
		n := l.stage(q, until)
		size, count = size+len(l.buf), count+n
	}
	if count > 0 {
		if err := l.commit(ctx, from, pos); errors.Is(err, put.ErrCopy) {
			return brokenSleep
		} else if err != nil {
			return retrySleep
		}
	}
	if count == 0 && pos > from { // they are gone
		l.set(pos, 0)
	}
	return wait
}

// correct brings the progress into the queue, if it is outside: a copied or cut store, or messages that grew too old.
func (l *level) correct(q *consumequeue.Queue) int64 {
	next, _ := l.at()
	right := min(max(next, q.Min()), q.Max())
	if right != next {
		l.log.Error("the offset of the delay level was outside of its queue", "offset", next, "min", q.Min(), "max", q.Max())
		l.mu.Lock()
		l.next = right
		l.mu.Unlock()
	}
	return right
}

// due is up to where messages from pos on are due, at most readRecords, and how long the one there still waits, 0 if it is due
// or not known to wait. Whoever waits for longer than his level after he became the next was sent when the clock or the table
// said something else, and is due then.
func (l *level) due(q *consumequeue.Queue, pos int64, now time.Time) (until int64, wait time.Duration) {
	for until = pos; until < pos+readRecords; until++ {
		if until >= q.Max() {
			return until, min(longestSleep, max(l.cfg.Levels.Wait(l.number), time.Millisecond))
		}
		tag, ok := l.cfg.Store.Tag(q, until)
		if !ok {
			continue // Get passes over it
		}
		wait := time.UnixMilli(tag).Sub(now)
		if wait <= 0 {
			continue
		}
		if l.head != until {
			l.head, l.since = until, now
		}
		if left := l.cfg.Levels.Wait(l.number) - now.Sub(l.since); wait > left {
			if wait = left; wait <= 0 {
				continue
			}
		}
		return until, min(wait, longestSleep)
	}
	return until, 0
}

// stage stages the copies of the records that were read, up to an offset, and says how many.
func (l *level) stage(q *consumequeue.Queue, until int64) (n int) {
	for rest := l.buf; len(rest) > 0; {
		r, err := message.Decode(rest)
		if err != nil || r.QueueOffset >= until {
			break
		}
		rest = rest[r.Size:]
		d, ok := Copy(&r)
		if !ok {
			l.log.Error("a delayed message has no place to go to and is dropped", "offset", r.QueueOffset, "physical", r.Physical, "properties", string(r.Properties))
			continue
		}
		l.courier.Stage(l.target(&d), &d, message.TagOf(d.Properties))
		l.staged = append(l.staged, r.QueueOffset)
		n++
	}
	return n
}

func (l *level) target(d *message.Draft) *consumequeue.Queue {
	if q := l.cfg.Store.Find(d.Topic, d.QueueID); q != nil {
		return q
	}
	return l.cfg.Store.Queue(string(d.Topic), d.QueueID)
}

// commit stores what is staged, the messages in [from, to). Its error says that not all of them are.
func (l *level) commit(ctx context.Context, from, to int64) error {
	placed, err := l.courier.Commit(ctx, time.Now())
	if errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrIncomplete) {
		return l.oneByOne(ctx, from, to)
	}
	l.report(err, len(placed))
	if err != nil && !errors.Is(err, put.ErrUnsafe) {
		if len(placed) > 0 { // another broker has the first
			l.set(l.staged[len(placed)-1]+1, 0)
		}
		return err
	}
	l.set(to, l.cfg.Store.MaxPhysical())
	return nil
}

// errUnread says that the disk does not give what it has.
var errUnread = errors.New("cannot read a delayed message")

// oneByOne delivers messages of which one cannot be stored at all, and drops that.
func (l *level) oneByOne(ctx context.Context, from, to int64) error {
	q := l.queue()
	for pos := from; pos < to && q != nil; pos++ {
		var res store.ReadResult
		l.buf, res = l.cfg.Store.Get(q, store.Read{From: pos, Max: 1}, l.buf[:0])
		if res.Status == store.Unreadable {
			l.log.Error("cannot read a delayed message; it is tried again", "offset", pos)
			return errUnread
		}
		if l.stage(q, pos+1) == 0 {
			continue
		}
		_, err := l.courier.Commit(ctx, time.Now())
		switch {
		case err == nil, errors.Is(err, put.ErrUnsafe):
		case errors.Is(err, store.ErrTooLarge), errors.Is(err, store.ErrIncomplete):
			l.log.Error("a delayed message cannot be stored in its topic and is dropped", "offset", pos, "err", err)
		default:
			l.report(err, 0)
			return err
		}
		l.set(pos+1, l.cfg.Store.MaxPhysical())
	}
	l.set(to, 0)
	return nil
}

// report logs what became of a commit, when that changes.
func (l *level) report(err error, n int) {
	said := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		said = err.Error()
	}
	if said == l.failed {
		return
	}
	if l.failed = said; said != "" {
		l.log.Warn("delayed messages are not delivered as they should be", "stored", n, "err", err)
	} else {
		l.log.Info("delayed messages are delivered again")
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// Pull reads queues from their beginning and measures how fast they come. Every group reads every queue; a group has
// one pull open for each queue, as Java's consumers do.
func Pull(ctx context.Context, cfg Config) (*Result, error) {
	cfg.Conns = min(cfg.Conns, cfg.Groups*cfg.Queues)
	if !cfg.Loop {
		cfg.Warmup = 0 // every message is read once, and counts
	}
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	p := &pulling{run: r, unfinished: cfg.Groups * cfg.Queues}
	p.received = func(rec *message.Record, c *cursor, now int64) {
		if r.counting {
			r.messages++
			r.bytes += int64(len(rec.Body))
			if r.left > 0 {
				r.left--
			}
		}
	}
	if err := p.connect(cfg.Conns, nil); err != nil {
		return nil, err
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	res := r.result("pull")
	res.Check = p.check
	res.Check.Unanswered = r.open
	return res, nil
}

// Flags of a pull request. Source: Java PullSysFlag.
const (
	pullSuspend      = 2
	pullSubscription = 4
)

const holdFor = 15 * time.Second // how long a broker may hold a pull back

// pulling is what the connections that pull share.
type pulling struct {
	*run
	hold       bool // wait for new messages at the end of a queue
	unfinished int  // cursors that have not reached the end of their queue
	received   func(rec *message.Record, c *cursor, now int64)
	check      Check
}

// cursor is a group's place in a queue, with at most one pull open.
type cursor struct {
	group, queue int
	next         int64 // offset of the next message; -1 is the first there is
	sure         bool  // next is exact, so a gap before the next message is one
	issued       int64
	open, done   bool
}

// connect spreads the cursors over a number of connections. from gives the first offset of each queue; nil is the
// beginning.
func (p *pulling) connect(conns int, from []int64) error {
	all := make([]*puller, conns)
	for i := range all {
		all[i] = &puller{pulling: p}
	}
	for i := range p.cfg.Groups * p.cfg.Queues {
		c := &cursor{group: i / p.cfg.Queues, queue: i % p.cfg.Queues}
		if from != nil {
			c.next, c.sure = from[c.queue], true
		}
		l := all[i%conns]
		l.cursors = append(l.cursors, c)
		l.ready = append(l.ready, len(l.cursors)-1)
	}
	for _, l := range all {
		if err := p.dial(p.cfg.Addr, l); err != nil {
			return err
		}
	}
	return nil
}

// puller is one connection that pulls.
type puller struct {
	*pulling
	cursors []*cursor
	ready   []int // cursors whose pull may leave
	hint    int   // where nextBeginOffset stands in an answer
}

func (l *puller) due() int64 {
	if len(l.ready) > 0 && (l.active || l.hold) {
		return 0
	}
	return never
}

func (l *puller) fill(out []byte, now int64) []byte {
	if !l.active && !l.hold {
		return out
	}
	for _, i := range l.ready {
		c := l.cursors[i]
		c.open, c.issued = true, now
		if !l.hold {
			l.open++
		}
		out = l.request(out, i)
	}
	l.ready = l.ready[:0]
	return out
}

func (l *puller) request(out []byte, i int) []byte {
	c, cfg := l.cursors[i], &l.cfg
	group := cfg.Group
	if cfg.Groups > 1 {
		group = fmt.Sprintf("%s_%d", group, c.group)
	}
	flags := int64(pullSubscription)
	if l.hold {
		flags |= pullSuspend
	}
	return appendPull(out, cfg, i, c.queue, c.next, group, flags)
}

// filter is the type of an expression, and the expression.
func (c *Config) filter() (kind, expression string) {
	if c.SQL != "" {
		return "SQL92", c.SQL
	}
	return "TAG", "*"
}

// skipped counts offsets that a group was led past without a message: those of a filter's messages are meant to be.
func (p *pulling) skipped(n int64) {
	if p.cfg.SQL == "" {
		p.check.Missing += n
	}
}

// appendPull appends a request for the messages of a queue from an offset on.
func appendPull(out []byte, cfg *Config, slot, queue int, offset int64, group string, flags int64) []byte {
	w := protocol.NewFrame(out, cfg.Form, protocol.PullMessage, int32(firstOpaque+slot), 0, "")
	w.Str("consumerGroup", group)
	w.Str("topic", cfg.Topic)
	w.Int("queueId", int64(queue))
	w.Int("queueOffset", offset)
	w.Int("maxMsgNums", int64(cfg.Max))
	w.Int("sysFlag", flags)
	w.Int("commitOffset", 0)
	w.Int("suspendTimeoutMillis", holdFor.Milliseconds())
	kind, expression := cfg.filter()
	w.Str("subscription", expression)
	w.Int("subVersion", 0)
	w.Str("expressionType", kind)
	w.Body()
	return w.Finish()
}

func (l *puller) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	i := int(r.opaque) - firstOpaque
	if i < 0 || i >= len(l.cursors) || !l.cursors[i].open {
		return fmt.Errorf("the broker answered request %d, which is not open", r.opaque)
	}
	c := l.cursors[i]
	c.open = false
	if !l.hold {
		l.open--
		l.progress = now
		l.record(c.issued, now)
	}
	next, known := r.number("nextBeginOffset", &l.hint)
	switch r.code {
	case protocol.Success:
		err = l.records(r.body, c, now)
		if known && next > c.next { // passed over without a word
			if c.sure {
				l.skipped(next - c.next)
			}
			c.next = next
		}
	case protocol.PullRetryImmediately, protocol.PullNotFound, protocol.PullOffsetMoved:
		if !known {
			return errors.New("the broker's answer to a pull has no nextBeginOffset")
		}
		if r.code != protocol.PullOffsetMoved && c.sure {
			l.skipped(max(next-c.next, 0))
		}
		atEnd := r.code == protocol.PullNotFound || r.code == protocol.PullOffsetMoved && next <= c.next
		c.sure = c.sure && r.code != protocol.PullOffsetMoved
		c.next = next
		if atEnd && !l.hold {
			l.ended(c)
		}
	default:
		err = l.fail(r.code, frame)
	}
	if !c.done {
		l.ready = append(l.ready, i)
	}
	return err
}

// ended is told that a cursor has reached the end of its queue.
func (l *puller) ended(c *cursor) {
	if l.cfg.Loop && l.cfg.Duration > 0 && c.sure {
		c.next, c.sure = 0, false
		return
	}
	c.done = true
	if l.unfinished--; l.unfinished == 0 {
		l.left = 0
	}
}

// records walks through the body of an answer.
func (l *puller) records(body []byte, c *cursor, now int64) error {
	for len(body) > 0 {
		rec, err := message.Decode(body)
		if err != nil {
			return fmt.Errorf("record after offset %d of queue %d: %w", c.next, c.queue, err)
		}
		body = body[rec.Size:]
		switch {
		case rec.QueueOffset < c.next:
			l.check.Duplicates++
		case c.sure:
			l.skipped(rec.QueueOffset - c.next)
		}
		c.next, c.sure = rec.QueueOffset+1, true
		if int(rec.QueueID) != c.queue || l.cfg.Verify && checksum(rec.Body) != rec.BodyCRC {
			l.check.Damaged++
		}
		l.check.Received++
		l.received(&rec, c, now)
	}
	return nil
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Send stores messages and measures how they are acknowledged.
func Send(ctx context.Context, cfg Config) (*Result, error) {
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	s, err := newSending(r)
	if err != nil {
		return nil, err
	}
	s.acknowledged = func(f *sendFrame, intended, now int64) {
		r.record(intended, now)
		if r.counting {
			r.messages += int64(f.messages)
			r.bytes += int64(f.messages * f.size)
		}
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	res := r.result("send")
	s.report(res)
	return res, nil
}

// sending is what the connections that send share.
type sending struct {
	*run
	id     uint64       // of this run
	queues int          // of all topics; queue q of topic t has the number t * Config.Queues + q
	digits int          // of the largest queue of a topic
	frames []*sendFrame // by topic, and then by digits of the queue
	acked  []sheet      // queue offsets by queue

	senders []*sender

	acknowledged func(f *sendFrame, intended, now int64)
	moment       func() int64 // when the next message is due; nil: messages are not timed
}

// probe is the producer of the first message to each queue; no connection has its number.
const probe = 1<<32 - 1

// newSending sends one message to each queue, waits for it, and adds the connections to the engine.
func newSending(r *run) (*sending, error) {
	cfg := &r.cfg
	s := &sending{run: r, id: uint64(time.Now().UnixNano()), queues: cfg.Topics * cfg.Queues}
	for t := range cfg.Topics {
		for low, digits := 0, 1; low < cfg.Queues; digits++ {
			s.frames = append(s.frames, newSendFrame(cfg, s.id, cfg.topic(t), low))
			s.digits = digits
			low = max(10, 10*low)
		}
	}
	if err := s.probe(); err != nil {
		return nil, err
	}
	// A connection passes over the queues in steps, so that neighbours in memory are none in time.
	step := s.queues * 618 / 1000
	for s.queues > 1 && gcd(step, s.queues) != 1 {
		step++
	}
	for i := range cfg.Conns {
		c := &sender{sending: s, id: uint32(i), queue: i * max(step, 1) % s.queues, step: max(step, 1), slots: make([]slot, cfg.InFlight)}
		for n := range cfg.InFlight {
			c.free = append(c.free, cfg.InFlight-1-n)
		}
		if cfg.Rate > 0 {
			requests := cfg.Rate / float64(cfg.Batch)
			c.pause = float64(cfg.Conns) / requests * 1e9
			c.first = float64(i) / requests * 1e9
		}
		s.senders = append(s.senders, c)
		if err := r.dial(cfg.Addr, c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// probe creates the topics, if that is wanted, and sends one message to each queue.
func (s *sending) probe() error {
	cfg := &s.cfg
	c, err := dialSetup(cfg.Addr, cfg.Timeout)
	if err != nil {
		return fmt.Errorf("cannot send to queue 0 of topic %s at %s: %w", cfg.Topic, cfg.Addr, err)
	}
	defer func() { _ = c.Close() }()
	if cfg.Create {
		if err := c.createTopics(cfg); err != nil {
			return err
		}
	}
	s.acked = make([]sheet, s.queues)
	hint := 0
	return c.ask(s.queues, func(out []byte, i int) []byte {
		return s.frame(i).append(out, i, i%cfg.Queues, probe, 0, 0)
	}, func(i int, frame []byte, r *response) error {
		err := succeed(frame, r)
		if offset, ok := r.number("queueOffset", &hint); err == nil && ok {
			if cfg.elsewhere() {
				i = 0
			}
			s.acked[i] = *newSheet(offset + int64(cfg.Batch))
			return nil
		}
		if err == nil {
			err = errors.New("the answer has no queueOffset")
		}
		return fmt.Errorf("cannot send to queue %d of topic %s at %s: %w", i%cfg.Queues, cfg.topic(i/cfg.Queues), cfg.Addr, err)
	})
}

// frame returns the request for one of all queues.
func (s *sending) frame(i int) *sendFrame {
	topic, queue := i/s.cfg.Queues, i%s.cfg.Queues
	at := topic * s.digits
	for ; queue >= 10; queue /= 10 {
		at++
	}
	return s.frames[at]
}

// report fills in what is known about loss and order.
func (s *sending) report(res *Result) {
	for i := range s.acked {
		q := &s.acked[i]
		res.Check.Acknowledged += q.seen
		res.Check.Duplicates += q.twice + q.astray
		res.Check.Missing += q.missing()
	}
	res.Check.Unanswered = s.open
	for _, c := range s.senders {
		res.Check.Unsent += c.unsent()
	}
}

// sender is one connection that sends.
type sender struct {
	*sending
	id       uint32
	queue    int     // of the next message
	step     int     // to the queue of the one after it
	sequence uint32  // of the next message
	requests int64   // sent so far
	slots    []slot  // requests in flight, by opaque
	hint     int     // where the queue offset stands in an answer
	free     []int   // slots
	first    float64 // ns from the start of the run to this connection's first request
	pause    float64 // ns between two requests of this connection; 0 in a closed loop
}

type slot struct {
	intended int64 // when it should have left
	queue    int
	busy     bool
}

func (c *sender) intended() int64 { return c.began + int64(c.first+float64(c.requests)*c.pause) }

// unsent is how many messages should have left before the end of an open loop and did not.
func (c *sender) unsent() int64 {
	if c.pause == 0 || c.left >= 0 { // a count ends the run, not the time
		return 0
	}
	due := int64((float64(c.stop-c.began)-c.first)/c.pause) + 1
	return max(due-c.requests-1, 0) * int64(c.frames[0].messages) // the last one may be due at the end itself
}

func (c *sender) due() int64 {
	switch {
	case !c.active || len(c.free) == 0 || c.left == 0:
		return never
	case c.pause == 0:
		return 0
	}
	return c.intended()
}

func (c *sender) fill(out []byte, now int64) []byte {
	for c.due() <= now {
		at := now
		if c.pause != 0 {
			at = c.intended()
		}
		if c.moment != nil {
			at = c.moment()
		}
		n := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.slots[n] = slot{at, c.queue, true}
		f := c.frame(c.queue)
		out = f.append(out, n, c.queue%c.cfg.Queues, c.id, c.sequence, at)
		c.sequence += uint32(f.messages)
		c.requests++
		c.open++
		if c.queue += c.step; c.queue >= c.queues {
			c.queue -= c.queues
		}
		if c.left > 0 {
			c.left = max(c.left-int64(f.messages), 0)
		}
	}
	return out
}

func (c *sender) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	n := int(r.opaque) - firstOpaque
	if n < 0 || n >= len(c.slots) || !c.slots[n].busy {
		return fmt.Errorf("the broker answered request %d, which is not open", r.opaque)
	}
	s := &c.slots[n]
	s.busy = false
	c.free = append(c.free, n)
	c.open--
	c.progress = now
	if r.code != 0 {
		return c.fail(r.code, frame)
	}
	offset, ok := r.number("queueOffset", &c.hint)
	if !ok {
		return errors.New("the broker's answer to a send has no queueOffset")
	}
	f := c.frames[0]
	sheet := &c.acked[s.queue]
	if c.cfg.elsewhere() {
		sheet = &c.acked[0]
	}
	for i := range f.messages {
		sheet.mark(offset + int64(i))
	}
	c.acknowledged(f, s.intended, now)
	return nil
}

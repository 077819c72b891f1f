package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
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
	id     uint64 // of this run
	frames []*sendFrame
	acked  []*sheet // queue offsets by queue

	senders []*sender

	acknowledged func(f *sendFrame, intended, now int64)
}

// probe is the producer of the first message to each queue; no connection has its number.
const probe = 1<<32 - 1

// newSending sends one message to each queue, waits for it, and adds the connections to the engine.
func newSending(r *run) (*sending, error) {
	s := &sending{run: r, id: uint64(time.Now().UnixNano())}
	cfg := &r.cfg
	for q := range cfg.Queues {
		f := newSendFrame(cfg, s.id, q)
		offset, err := sendOne(cfg.Addr, f.append(nil, 0, probe, 0, 0), cfg.Timeout)
		if err != nil {
			return nil, fmt.Errorf("cannot send to queue %d of topic %s at %s: %w", q, cfg.Topic, cfg.Addr, err)
		}
		s.frames = append(s.frames, f)
		s.acked = append(s.acked, newSheet(offset+int64(cfg.Batch)))
	}
	for i := range cfg.Conns {
		c := &sender{sending: s, id: uint32(i), queue: i % cfg.Queues, slots: make([]slot, cfg.InFlight)}
		for n := range cfg.InFlight {
			c.free = append(c.free, cfg.InFlight-1-n)
		}
		if cfg.Rate > 0 {
			requests := cfg.Rate / float64(cfg.Batch)
			c.step = float64(cfg.Conns) / requests * 1e9
			c.first = float64(i) / requests * 1e9
		}
		s.senders = append(s.senders, c)
		if err := r.dial(cfg.Addr, c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// report fills in what is known about loss and order.
func (s *sending) report(res *Result) {
	for _, q := range s.acked {
		res.Check.Acknowledged += q.seen
		res.Check.Duplicates += q.twice + q.before
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
	sequence uint32  // of the next message
	requests int64   // sent so far
	slots    []slot  // requests in flight, by opaque
	hint     int     // where the queue offset stands in an answer
	free     []int   // slots
	first    float64 // ns from the start of the run to this connection's first request
	step     float64 // ns between two requests of this connection; 0 in a closed loop
}

type slot struct {
	intended int64 // when it should have left
	queue    int
	busy     bool
}

func (c *sender) intended() int64 { return c.began + int64(c.first+float64(c.requests)*c.step) }

// unsent is how many messages should have left before the end of an open loop and did not.
func (c *sender) unsent() int64 {
	if c.step == 0 || c.left >= 0 { // a count ends the run, not the time
		return 0
	}
	due := int64((float64(c.stop-c.began)-c.first)/c.step) + 1
	return max(due-c.requests-1, 0) * int64(c.frames[0].messages) // the last one may be due at the end itself
}

func (c *sender) due() int64 {
	switch {
	case !c.active || len(c.free) == 0 || c.left == 0:
		return never
	case c.step == 0:
		return 0
	}
	return c.intended()
}

func (c *sender) fill(out []byte, now int64) []byte {
	for c.due() <= now {
		at := now
		if c.step != 0 {
			at = c.intended()
		}
		n := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.slots[n] = slot{at, c.queue, true}
		f := c.frames[c.queue]
		out = f.append(out, n, c.id, c.sequence, at)
		c.sequence += uint32(f.messages)
		c.requests++
		c.open++
		if c.queue++; c.queue == len(c.frames) {
			c.queue = 0
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
	f := c.frames[s.queue]
	for i := range f.messages {
		c.acked[s.queue].mark(offset + int64(i))
	}
	c.acknowledged(f, s.intended, now)
	return nil
}

// sendOne sends one request over a connection of its own and returns the queue offset that it got.
func sendOne(addr string, frame []byte, timeout time.Duration) (int64, error) {
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return 0, err
	}
	defer func() { _ = nc.Close() }()
	r, err := ask(nc, frame, timeout)
	if err != nil {
		return 0, err
	}
	offset, ok := r.number("queueOffset", new(int))
	if !ok {
		return 0, errors.New("the answer has no queueOffset")
	}
	return offset, nil
}

// ask sends one request and returns its answer, which must be a success.
func ask(nc net.Conn, frame []byte, timeout time.Duration) (r response, err error) {
	_ = nc.SetDeadline(time.Now().Add(timeout))
	if _, err := nc.Write(frame); err != nil {
		return r, err
	}
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		return r, fmt.Errorf("no answer: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 1<<20 {
		return r, errResponse
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(nc, answer); err != nil {
		return r, fmt.Errorf("no answer: %w", err)
	}
	r, err = readResponse(answer)
	if err == nil && r.code != 0 {
		err = errors.New(explain(answer))
	}
	return r, err
}

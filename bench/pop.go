package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// Pop pops what a topic holds and acknowledges each message, as Java's consumers do: each connection has one pop open, then
// the acknowledgements of what it brought. A message counts when it is acknowledged. The run ends early when nothing is left.
// Headers are JSON: in the binary form the codes cannot be said.
func Pop(ctx context.Context, cfg Config) (*Result, error) {
	cfg.Form = protocol.JSON
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c, err := dialSetup(cfg.Addr, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	err = c.createGroup(cfg.Group)
	_ = c.Close()
	if err != nil {
		return nil, err
	}
	all := &popping{run: r, seen: make(map[int64]struct{}), unfinished: cfg.Conns}
	all.received = func(rec *message.Record, _ int64) {
		if _, twice := all.seen[rec.Physical]; twice {
			all.check.Duplicates++
		}
		all.seen[rec.Physical] = struct{}{}
		if r.counting {
			r.bytes += int64(len(rec.Body))
		}
	}
	all.acknowledged = func(issued, now int64) {
		r.record(issued, now)
		if r.counting {
			r.messages++
		}
	}
	for range cfg.Conns {
		if err := r.dial(cfg.Addr, &popper{popping: all}); err != nil {
			return nil, err
		}
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	res := r.result("pop")
	res.Check = all.check
	res.Check.Unanswered = r.open
	return res, nil
}

// invisible is for how long a popped message is lent, ms: longer than any run.
const invisible = 600_000

// popping is what the connections that pop share.
type popping struct {
	*run
	seen       map[int64]struct{} // physical offsets of what came
	unfinished int
	hold       bool // wait for messages, and do not wait for the acknowledgements before the next pop
	check      Check

	received     func(rec *message.Record, now int64)
	acknowledged func(issued, now int64)
}

// popper is one connection that pops.
type popper struct {
	*popping
	issued int64  // when the pop left whose messages are to be acknowledged
	acks   []byte // frames that may leave
	unsaid int    // how many of them
	acking int    // acknowledgements without an answer
	asked  bool   // a pop is open
	done   bool
}

const popOpaque = firstOpaque + 100

func (p *popper) due() int64 {
	if p.unsaid > 0 || p.mayPop() {
		return 0
	}
	return never
}

func (p *popper) mayPop() bool {
	if p.hold {
		return !p.asked
	}
	return p.active && !p.asked && p.acking+p.unsaid == 0 && !p.done
}

func (p *popper) fill(out []byte, now int64) []byte {
	if p.unsaid > 0 {
		out = append(out, p.acks...)
		p.acking += p.unsaid
		p.open += int64(p.unsaid)
		p.acks, p.unsaid = p.acks[:0], 0
	}
	if !p.mayPop() {
		return out
	}
	p.issued, p.asked = max(now, 1), true
	wait := int64(0)
	if p.hold {
		wait = holdFor.Milliseconds()
	} else {
		p.open++
	}
	w := protocol.NewFrame(out, protocol.JSON, protocol.PopMessage, popOpaque, 0, "")
	w.Str("consumerGroup", p.cfg.Group)
	w.Str("topic", p.cfg.Topic)
	w.Int("queueId", -1)
	w.Int("maxMsgNums", int64(min(p.cfg.Max, 32)))
	w.Int("invisibleTime", invisible)
	w.Int("pollTime", wait)
	w.Int("bornTime", time.Now().UnixMilli())
	w.Int("initMode", 0)
	w.Str("expType", "TAG")
	w.Str("exp", "*")
	w.Body()
	return w.Finish()
}

func (p *popper) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	popped := r.opaque == popOpaque
	if popped && !p.asked || !popped && p.acking == 0 {
		return fmt.Errorf("the broker answered request %d, which is not open", r.opaque)
	}
	if popped {
		p.asked = false
	} else {
		p.acking--
	}
	if !popped || !p.hold {
		p.open--
		p.progress = now
	}
	switch {
	case !popped && r.code == protocol.Success:
		if bytes.Contains(r.header, []byte("another broker")) {
			return fmt.Errorf("the broker is not %s; say --broker NAME", p.cfg.Broker)
		}
		p.acknowledged(p.issued, now)
		return nil
	case popped && r.code == protocol.Success:
		return p.take(&r, now)
	case popped && r.code == protocol.PollingTimeout: // nothing is left, or came
		if p.hold {
			return nil
		}
		p.done = true
		if p.unfinished--; p.unfinished == 0 {
			p.left = 0
		}
		return nil
	}
	return p.fail(r.code, frame)
}

// take makes the acknowledgements of the messages of an answer.
func (p *popper) take(r *response, now int64) error {
	popTime, queue, starts := r.text("popTime"), r.text("reviveQid"), r.text("startOffsetInfo")
	for body := r.body; len(body) > 0; {
		rec, err := message.Decode(body)
		if err != nil {
			return fmt.Errorf("record in the answer to a pop: %w", err)
		}
		body = body[rec.Size:]
		p.check.Received++
		p.received(&rec, now)
		id := strconv.Itoa(int(rec.QueueID))
		handle, has := message.Property(rec.Properties, message.PropPopCK)
		if !has {
			handle = fmt.Appendf(nil, "%s %s %d %s 0 %s %s %d", startOf(starts, id), popTime, invisible, queue, p.cfg.Broker, id, rec.QueueOffset)
		}
		w := protocol.NewFrame(p.acks, protocol.JSON, protocol.AckMessage, int32(popOpaque+1+p.unsaid), 0, "")
		w.Str("consumerGroup", p.cfg.Group)
		w.Str("topic", p.cfg.Topic)
		w.Str("queueId", id)
		w.Bytes("extraInfo", handle)
		w.Int("offset", rec.QueueOffset)
		w.Body()
		p.acks = w.Finish()
		p.unsaid++
	}
	return nil
}

// startOf is the start offset of a queue in startOffsetInfo: entries "0 queue offset", joined by semicolons.
func startOf(starts []byte, queue string) []byte {
	for entry := range bytes.SplitSeq(starts, []byte{';'}) {
		if rest, ok := bytes.CutPrefix(entry, []byte("0 "+queue+" ")); ok {
			return rest
		}
	}
	return []byte{'0'}
}

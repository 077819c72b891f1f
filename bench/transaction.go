package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// Transaction sends half messages and commits each when it is stored. A transaction counts when the commit is answered; at the
// end all their messages must be in the topic.
func Transaction(ctx context.Context, cfg Config) (*Result, error) {
	cfg.half, cfg.Batch, cfg.Topics = true, 1, 1
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c, err := dialSetup(cfg.Addr, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.createTopics(&cfg); err != nil {
		return nil, err
	}
	before, err := c.messages(&cfg)
	if err != nil {
		return nil, err
	}
	all := &committing{run: r, frame: newSendFrame(&r.cfg, uint64(time.Now().UnixNano()), cfg.Topic, 0)}
	for i := range cfg.Conns {
		t := &committer{committing: all, id: uint32(i), begun: make([]int64, cfg.InFlight)}
		for n := range cfg.InFlight {
			t.free = append(t.free, n)
		}
		if err := r.dial(cfg.Addr, t); err != nil {
			return nil, err
		}
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	res := r.result("transaction")
	res.Check.Unanswered, res.Check.Acknowledged = r.open, all.committed
	stored, err := c.grown(&cfg, before+all.committed)
	res.Check.Missing = max(before+all.committed-stored, 0)
	res.Check.Duplicates = max(stored-before-all.committed, 0)
	return res, err
}

// messages is how many messages the first topic has had.
func (s *setup) messages(cfg *Config) (n int64, err error) {
	ends, err := s.maxOffsets(cfg)
	for _, end := range ends {
		n += end
	}
	return n, err
}

// grown waits until the first topic has had so many messages, but not for longer than the timeout, and returns how many it had.
func (s *setup) grown(cfg *Config, want int64) (n int64, err error) {
	for until := time.Now().Add(cfg.Timeout); ; time.Sleep(tickEvery) {
		if n, err = s.messages(cfg); err != nil || n >= want || time.Now().After(until) {
			return n, err
		}
	}
}

// committing is what the connections that commit share.
type committing struct {
	*run
	frame     *sendFrame
	committed int64
}

// committer is one connection, which sends half messages and ends them. A transaction has a slot; its first request has the
// opaque firstOpaque + slot, its second one that is InFlight higher.
type committer struct {
	*committing
	id       uint32
	sequence uint32  // of the next message
	begun    []int64 // by slot
	free     []int
	ends     []byte // requests that may leave
	hint     int    // where the queue offset stands in an answer
}

func (c *committer) mayBegin() bool { return c.active && len(c.free) > 0 && c.left != 0 }

func (c *committer) due() int64 {
	if len(c.ends) > 0 || c.mayBegin() {
		return 0
	}
	return never
}

func (c *committer) fill(out []byte, now int64) []byte {
	out = append(out, c.ends...)
	c.ends = c.ends[:0]
	for c.mayBegin() {
		slot := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.begun[slot] = max(now, 1)
		out = c.frame.append(out, slot, int(c.sequence)%min(c.cfg.Queues, 10), c.id, c.sequence, now)
		c.sequence++
		c.open++
		if c.left > 0 {
			c.left--
		}
	}
	return out
}

func (c *committer) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	slot := int(r.opaque) - firstOpaque
	second := slot >= len(c.begun)
	if second {
		slot -= len(c.begun)
	}
	if slot < 0 || slot >= len(c.begun) || c.begun[slot] == 0 {
		return fmt.Errorf("the broker answered request %d, which is not open", r.opaque)
	}
	c.progress = now
	if r.code == protocol.Success && !second {
		return c.commit(slot, &r)
	}
	begun := c.begun[slot]
	c.begun[slot] = 0
	c.free = append(c.free, slot)
	c.open--
	if r.code != protocol.Success {
		return c.fail(r.code, frame)
	}
	c.committed++
	c.record(begun, now)
	if c.counting {
		c.messages++
		c.bytes += int64(c.cfg.Size)
	}
	return nil
}

// commit makes the second request of a transaction from the answer to its first.
func (c *committer) commit(slot int, r *response) error {
	offset, ok := r.number("queueOffset", &c.hint)
	id := r.text("msgId")
	if !ok || len(id) < 16 {
		return errors.New("the broker's answer to a half message has no queueOffset or no msgId")
	}
	physical, err := strconv.ParseInt(string(id[len(id)-16:]), 16, 64)
	if err != nil {
		return fmt.Errorf("msgId %q: %w", id, err)
	}
	w := protocol.NewFrame(c.ends, c.cfg.Form, protocol.EndTransaction, int32(firstOpaque+len(c.begun)+slot), 0, "")
	w.Str("topic", c.cfg.Topic)
	w.Str("producerGroup", producerGroup)
	w.Int("tranStateTableOffset", offset)
	w.Int("commitLogOffset", physical)
	w.Int("commitOrRollback", int64(message.FlagCommit))
	w.Bool("fromTransactionCheck", false)
	w.Bytes("msgId", id)
	w.Bytes("transactionId", r.text("transactionId"))
	w.Body()
	c.ends = w.Finish()
	return nil
}

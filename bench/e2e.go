package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"rocketd/message"
)

// E2E sends and reads at the same time, and measures how long a message takes from the moment it should have left to
// the consumer's hands, through pulls that the broker holds back until there is something. Every message is
// accounted for by its identity: a group has received it once, or it is missing.
func E2E(ctx context.Context, cfg Config) (*Result, error) {
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	x, err := newExchange(r)
	if err != nil {
		return nil, err
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	return x.result("e2e"), nil
}

// newExchange adds both sides' connections to a run.
func newExchange(r *run) (*exchange, error) {
	if r.cfg.Size < idSize {
		return nil, errors.New("--size must be at least 24 bytes, which the identity of a message takes")
	}
	s, err := newSending(r)
	if err != nil {
		return nil, err
	}
	s.acknowledged = func(*sendFrame, int64, int64) {}
	cfg, x := &r.cfg, &exchange{sending: s}
	for range cfg.Groups {
		g := &inbox{}
		for range cfg.Conns {
			g.seen = append(g.seen, newSheet(0))
			g.last = append(g.last, make([]int64, cfg.Queues))
		}
		x.groups = append(x.groups, g)
	}
	r.drained = x.drained
	if cfg.Pop {
		return x, x.pop()
	}
	return x, x.pull()
}

// pull connects one consumer for each group, which begins behind what there is.
func (x *exchange) pull() error {
	c, err := dialSetup(x.cfg.Addr, x.cfg.Timeout)
	if err != nil {
		return err
	}
	from, err := c.maxOffsets(&x.cfg)
	_ = c.Close()
	if err != nil {
		return err
	}
	p := &pulling{run: x.run, hold: true, received: x.received}
	x.check = &p.check
	return p.connect(x.cfg.Groups, from)
}

// pop connects one consumer that pops.
func (x *exchange) pop() error {
	c, err := dialSetup(x.cfg.Addr, x.cfg.Timeout)
	if err != nil {
		return err
	}
	err = c.createGroup(x.cfg.Group)
	_ = c.Close()
	if err != nil {
		return err
	}
	p := &popping{run: x.run, hold: true, acknowledged: func(int64, int64) {}}
	p.received = func(rec *message.Record, now int64) { x.received(rec, &cursor{queue: int(rec.QueueID)}, now) }
	x.check = &p.check
	return x.dial(x.cfg.Addr, &popper{popping: p})
}

func (x *exchange) result(mode string) *Result {
	res := x.run.result(mode)
	res.Check = *x.check
	x.report(res)
	for _, g := range x.groups {
		for _, seen := range g.seen {
			res.Check.Duplicates += seen.twice
		}
	}
	res.Check.Missing += max(x.wanted()-x.got, 0)
	return res
}

// exchange is what both sides of a run share.
type exchange struct {
	*sending
	check  *Check // of the consumers
	groups []*inbox
	got    int64 // messages of this run, each counted once a group
}

// inbox is what one group has received.
type inbox struct {
	seen []*sheet  // sequences, by producer
	last [][]int64 // sequence + 1 of the newest message, by producer and queue
}

// wanted is how many messages the groups should have received by now.
func (x *exchange) wanted() (n int64) {
	for i := range x.acked {
		n += x.acked[i].seen
	}
	return n * int64(len(x.groups))
}

func (x *exchange) drained() bool { return x.got >= x.wanted() }

func (x *exchange) received(rec *message.Record, c *cursor, now int64) {
	b := rec.Body
	if len(b) < idSize || binary.BigEndian.Uint64(b) != x.id {
		return // of somebody else
	}
	producer := int(binary.BigEndian.Uint32(b[8:]))
	sequence := int64(binary.BigEndian.Uint32(b[12:]))
	intended := int64(binary.BigEndian.Uint64(b[16:]))
	g := x.groups[c.group]
	if producer == probe {
		return
	}
	if producer >= len(g.seen) {
		x.check.Damaged++
		return
	}
	before := g.seen[producer].seen
	g.seen[producer].mark(sequence)
	x.got += g.seen[producer].seen - before
	if last := &g.last[producer][c.queue]; sequence < *last {
		x.check.OutOfOrder++
	} else {
		*last = sequence + 1
	}
	x.progress = now
	if now < intended {
		x.check.Early++
	}
	x.record(intended, now)
	if x.counting {
		x.messages++
		x.bytes += int64(len(b))
	}
}

// checksum is that of a record's body. Source: Java UtilAll.crc32.
func checksum(body []byte) int32 { return int32(crc32.ChecksumIEEE(body) & 0x7FFFFFFF) }

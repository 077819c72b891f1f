package put

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/message"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// ErrUnsafe says that records are in the log and can become readable, but that nobody knows whether they are as safe as the
// mode promises: the disk or the slaves were too slow, or the broker's role changed, or the wait was broken off.
var ErrUnsafe = errors.New("stored, but not known to be safe")

// Courier brings the broker's own messages into the store, outside of any turn: delayed ones that are due, those to be
// consumed again, half messages to be checked. Only one goroutine at a time may use it.
type Courier struct {
	svc    *Service
	log    store.Batch
	err    error // why what is staged cannot be stored
	placed []Placed
	bell   chan struct{} // somebody has more of the log
	due    int64         // log position that is waited for; guarded by svc.mu
}

// Placed is where a record went.
type Placed struct {
	Queue            *consumequeue.Queue
	Offset, Physical int64 // in the queue; start of the record in the log. -1: another broker has it (Config.Elsewhere)
}

// NewCourier makes a courier.
func (s *Service) NewCourier() *Courier {
	return &Courier{svc: s, bell: make(chan struct{}, 1)}
}

// Stage adds one record for a queue, whose unit will carry tag. What d points to may be used again. A record that cannot be
// stored is the error of Commit.
func (c *Courier) Stage(q *consumequeue.Queue, d *message.Draft, tag int64) {
	if err := c.svc.fits(d.Size()); err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("%w: record of %d bytes for %s", err, d.Size(), d.Topic))
		return
	}
	c.log.Add(q, d, tag)
}

// Bytes is how large the staged records are together.
func (c *Courier) Bytes() int { return c.log.Bytes() }

// Commit appends what was staged, as a whole and with one write, rings the bells and waits until the records are as safe as
// an answer to a producer promises, or until ctx ends. Nothing stays staged. The places come in the order of Stage, and are
// valid until the next Commit; with ErrUnsafe they are there, too, and the records are stored. After any other error, which
// is one that Refusal knows, nothing is; but where they go elsewhere, the places are those of the first records, which another
// broker has.
func (c *Courier) Commit(ctx context.Context, now time.Time) ([]Placed, error) {
	defer c.reset()
	err := c.err
	if err == nil && c.log.Len() == 0 {
		return nil, nil
	}
	if err == nil && c.svc.cfg.Elsewhere != nil {
		return c.elsewhere(ctx)
	}
	began := c.svc.term.Load()
	if err == nil {
		err = began.admit()
	}
	if err == nil {
		err = c.svc.cfg.Log.Append(&c.log, now)
	}
	if err != nil {
		return nil, err
	}
	c.placed = c.placed[:0]
	for i := range c.log.Len() {
		e := c.log.At(i)
		c.placed = append(c.placed, Placed{e.Queue, e.Offset, e.Physical})
	}
	c.svc.account(&c.log, c.svc.Arrived)
	if !c.svc.cfg.SyncFlush && began.replicas == nil {
		return c.placed, nil
	}
	last := c.log.At(c.log.Len() - 1)
	return c.placed, c.wait(ctx, began, parked{end: last.Physical + int64(last.Size), since: time.Now()})
}

// elsewhere gives what is staged to another broker. The places there are not known.
func (c *Courier) elsewhere(ctx context.Context) ([]Placed, error) {
	records := make([][]byte, c.log.Len())
	for i := range records {
		records[i] = c.log.Record(i)
	}
	taken, err := c.svc.cfg.Elsewhere(ctx, records)
	c.placed = c.placed[:0]
	for i := range taken {
		c.placed = append(c.placed, Placed{c.log.At(i).Queue, -1, -1})
	}
	return c.placed, err
}

func (c *Courier) reset() {
	c.err = nil
	c.log.Reset()
}

// wait returns when the log is safe up to the end of p, or it is known that nobody will know.
func (c *Courier) wait(ctx context.Context, began *term, p parked) error {
	s := c.svc
	s.mu.Lock()
	c.due = p.end
	s.couriers[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.couriers, c)
		s.mu.Unlock()
	}()
	for {
		v := s.view(began, s.term.Load(), time.Now())
		switch status, decided := v.status(&p); {
		case decided && status == OK:
			return nil
		case decided && status == FlushDiskTimeout:
			return fmt.Errorf("%w: the disk is late", ErrUnsafe)
		case decided:
			return fmt.Errorf("%w: the slaves are late", ErrUnsafe)
		}
		select {
		case <-c.bell:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnsafe, ctx.Err())
		}
	}
}

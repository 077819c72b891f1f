// Package put is the one way into the store: a service stages records, the end of the turn commits all of them as
// one batch, and each answer leaves when the record is as safe as the mode promises.
package put

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// Log is what put needs of the store.
type Log interface {
	Append(b *store.Batch, now time.Time) error
	Flushed() int64
	// Writable is store.ErrFenced after a failed write or sync: what is not flushed by then never will be.
	Writable() error
}

// Config of a Service.
type Config struct {
	Log Log
	// SyncFlush: an answer waits until its record is on disk, unless the message says WAIT=false.
	SyncFlush bool
	// FlushTimeout is how long such an answer waits before it is FLUSH_DISK_TIMEOUT; 0 means 5 s
	// (syncFlushTimeout). The message is stored all the same.
	FlushTimeout time.Duration
	// MaxGroup is how many bytes may be staged together, since they stand in one file of the log: what is larger is
	// refused by itself and does not drag down the turn's batch. 0 or less is no limit.
	MaxGroup int64
	// Grew is the bell of the store: it rings once per queue and batch, when the records can be read. With SyncFlush
	// that is when they are on disk.
	Grew func(t *protocol.Turn, q *consumequeue.Queue)
	// Stored counts what was appended, once per run of records of one queue. An inner batch counts as its messages.
	Stored func(q *consumequeue.Queue, messages int, bytes int)
}

// Service hands out one Batch per I/O context and completes those that wait for the disk.
type Service struct {
	cfg Config

	mu      sync.Mutex
	waiting map[*Batch]protocol.Peer // batches with parked answers, and a peer of their I/O context
}

// New makes a service; it starts nothing.
func New(cfg Config) *Service {
	if cfg.FlushTimeout == 0 {
		cfg.FlushTimeout = 5 * time.Second
	}
	return &Service{cfg: cfg, waiting: make(map[*Batch]protocol.Peer)}
}

// NewBatch makes the staging place of one I/O context; it becomes the Appends of the context's Turn.
func (s *Service) NewBatch() *Batch { return &Batch{svc: s} }

// Flushed is rung by the store after each sync, from any goroutine: every batch that has parked answers looks at the
// flushed offset, in a turn of its own. No lock is held meanwhile: when its I/O context has ended, that turn is here
// and now.
func (s *Service) Flushed() {
	s.mu.Lock()
	waiting := maps.Clone(s.waiting)
	s.mu.Unlock()
	for b, peer := range waiting {
		if b.rung.CompareAndSwap(false, true) {
			peer.Post(b.ring)
		}
	}
}

// Run answers what has waited too long, until the context ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Flushed()
		case <-ctx.Done():
			return nil
		}
	}
}

// Status is what became of staged records.
type Status uint8

// The statuses. All but Refused mean that the records are in the log.
const (
	OK Status = iota
	FlushDiskTimeout
	Refused
)

// Outcome tells a stager what became of its records. It is valid until the answer function returns.
type Outcome struct {
	Status   Status
	Err      error // why, when Refused: store.ErrFenced, store.ErrDiskFull, store.ErrTooLarge, store.ErrClosed
	Queue    *consumequeue.Queue
	Offset   int64   // queue offset of the first record
	Physical int64   // offset of the first record in the log
	More     []int64 // physical offsets of the further records of a client batch
	Uniq     []byte  // what the stager gave along
}

// Answer is called when a staged record may be answered, in a turn of the context that staged it.
type Answer func(t *protocol.Turn, k protocol.Ticket, o *Outcome)

// Batch is what one I/O context has staged in this turn, and the answers of earlier turns that wait for the disk.
// Only the context's own turn uses it.
type Batch struct {
	svc    *Service
	log    store.Batch
	staged []staged
	parked []parked // in order of their offsets
	head   int      // parked[:head] are done
	unseen []unseen // queues that grew by what cannot be read before it is on disk, in order
	rung   atomic.Bool
	out    Outcome // of the record that is being answered
	more   []int64
	uniq   []byte // bytes that staged entries refer to
	// Scratch is for the stager's own use while it builds a record; it has no content between calls.
	Scratch []byte
}

type staged struct {
	first, n         int
	uniqFrom, uniqTo int
	wait             bool
	ticket           protocol.Ticket
	answer           Answer
}

type parked struct {
	end      int64
	deadline time.Time
	ticket   protocol.Ticket
	answer   Answer
	outcome  Outcome
	uniq     [40]byte
}

type unseen struct {
	end   int64
	queue *consumequeue.Queue
}

// Of returns the batch of the turn.
func Of(t *protocol.Turn) *Batch { return t.Appends.(*Batch) }

// Stage adds one record. uniq is copied and comes back with the outcome; wait says whether the answer has to wait
// for the disk where the mode asks for it.
func (b *Batch) Stage(q *consumequeue.Queue, d *message.Draft, tag int64, wait bool, uniq []byte, k protocol.Ticket, answer Answer) {
	if !b.fits(d.Size()) {
		b.stage(0, 0, false, uniq, k, answer)
		return
	}
	first := b.log.Add(q, d, tag)
	b.stage(first, 1, wait, uniq, k, answer)
}

// StageAll adds several records to one queue; they get adjoining offsets and stand in one file.
func (b *Batch) StageAll(q *consumequeue.Queue, ds []message.Draft, tags []int64, wait bool, uniq []byte, k protocol.Ticket, answer Answer) {
	size := 0
	for i := range ds {
		size += ds[i].Size()
	}
	if !b.fits(size) {
		b.stage(0, 0, false, uniq, k, answer)
		return
	}
	first := b.log.Add(q, &ds[0], tags[0])
	for i := 1; i < len(ds); i++ {
		b.log.AddNext(q, &ds[i], tags[i])
	}
	b.stage(first, len(ds), wait, uniq, k, answer)
}

func (b *Batch) fits(size int) bool {
	return b.svc.cfg.MaxGroup <= 0 || int64(size) <= b.svc.cfg.MaxGroup
}

// stage notes whom to answer for n records from first on; without records it is a refusal, as they were too large.
func (b *Batch) stage(first, n int, wait bool, uniq []byte, k protocol.Ticket, answer Answer) {
	from := len(b.uniq)
	b.uniq = append(b.uniq, uniq...)
	b.staged = append(b.staged, staged{first, n, from, len(b.uniq), wait && b.svc.cfg.SyncFlush, k, answer})
}

// Commit appends everything staged with one write, rings the bells and answers what need not wait.
func (b *Batch) Commit(t *protocol.Turn) {
	if len(b.staged) == 0 {
		return
	}
	err := b.svc.cfg.Log.Append(&b.log, t.Now)
	if err == nil {
		b.account(t)
	}
	for i := range b.staged {
		s := &b.staged[i]
		out := &b.out
		*out = Outcome{Status: Refused, Err: err, Uniq: b.uniq[s.uniqFrom:s.uniqTo]}
		if s.n == 0 {
			out.Err = store.ErrTooLarge
		} else if err == nil {
			e := b.log.At(s.first)
			out.Status, out.Queue, out.Offset, out.Physical = OK, e.Queue, e.Offset, e.Physical
			b.more = b.more[:0]
			for j := 1; j < s.n; j++ {
				b.more = append(b.more, b.log.At(s.first+j).Physical)
			}
			out.More = b.more
			if s.wait {
				b.park(t, s, *out)
				continue
			}
		}
		s.answer(t, s.ticket, out)
	}
	if b.waits() {
		b.svc.mu.Lock()
		b.svc.waiting[b] = b.staged[0].ticket.Peer
		b.svc.mu.Unlock()
		b.settle(t) // what was flushed before we stood in the table rang for nobody
	}
	clear(b.staged)
	b.staged, b.uniq = b.staged[:0], b.uniq[:0]
	b.log.Reset()
}

// account rings and counts once per run of records of one queue.
func (b *Batch) account(t *protocol.Turn) {
	for i := 0; i < b.log.Len(); {
		q, first, n, bytes := b.log.At(i).Queue, i, 0, 0
		for i < b.log.Len() && b.log.At(i).Queue == q {
			bytes += int(b.log.At(i).Size)
			n += int(b.log.At(i).Count)
			i++
		}
		b.svc.cfg.Stored(q, n, bytes)
		last := b.log.At(i - 1)
		end := last.Physical + int64(last.Size)
		b.grew(t, end, q)
		for ; first < i; first++ {
			for e, j := b.log.At(first), 0; j < e.Further(); j++ {
				b.grew(t, end, e.FurtherQueue(j))
			}
		}
	}
}

// grew rings for a queue, or with SyncFlush notes to do so when the log is on the disk up to end.
func (b *Batch) grew(t *protocol.Turn, end int64, q *consumequeue.Queue) {
	if b.svc.cfg.SyncFlush {
		b.unseen = append(b.unseen, unseen{end, q})
	} else {
		b.svc.cfg.Grew(t, q)
	}
}

// waits tells whether anything of this batch depends on the disk.
func (b *Batch) waits() bool { return b.head < len(b.parked) || len(b.unseen) > 0 }

func (b *Batch) park(t *protocol.Turn, s *staged, out Outcome) {
	last := b.log.At(s.first + s.n - 1)
	b.parked = append(b.parked, parked{
		end:      last.Physical + int64(last.Size),
		deadline: t.Now.Add(b.svc.cfg.FlushTimeout),
		ticket:   s.ticket,
		answer:   s.answer,
	})
	p := &b.parked[len(b.parked)-1]
	if len(out.More) > 0 {
		out.More = append([]int64(nil), out.More...)
	}
	p.outcome = out
	p.outcome.Uniq = append(p.uniq[:0], out.Uniq...) // its own array holds any usual id
}

// ring runs in a turn of this context after the flushed offset moved.
func (b *Batch) ring(t *protocol.Turn) {
	b.rung.Store(false)
	b.settle(t)
}

// settle answers the parked ones that are on disk now, or have waited too long.
func (b *Batch) settle(t *protocol.Turn) {
	flushed := b.svc.cfg.Log.Flushed()
	fenced := errors.Is(b.svc.cfg.Log.Writable(), store.ErrFenced)
	for b.head < len(b.parked) {
		p := &b.parked[b.head]
		if p.end > flushed {
			if t.Now.Before(p.deadline) && !fenced {
				break
			}
			p.outcome.Status = FlushDiskTimeout
		}
		if len(p.outcome.Uniq) <= len(p.uniq) {
			p.outcome.Uniq = p.uniq[:len(p.outcome.Uniq)] // parked may have moved since
		}
		p.answer(t, p.ticket, &p.outcome)
		*p = parked{}
		b.head++
	}
	seen := 0
	for seen < len(b.unseen) && b.unseen[seen].end <= flushed {
		b.svc.cfg.Grew(t, b.unseen[seen].queue)
		seen++
	}
	b.unseen = slices.Delete(b.unseen, 0, seen)
	if !b.waits() {
		b.svc.mu.Lock()
		delete(b.svc.waiting, b)
		b.svc.mu.Unlock()
	}
	if b.head == len(b.parked) {
		b.parked, b.head = b.parked[:0], 0
	} else if b.head > 1024 && b.head > len(b.parked)/2 {
		n := copy(b.parked, b.parked[b.head:])
		clear(b.parked[n:])
		b.parked, b.head = b.parked[:n], 0
	}
}

// Refusal turns an error of the store into the answer a client gets. Source: Java SendMessageProcessor.
func Refusal(err error) *protocol.Error {
	switch {
	case errors.Is(err, store.ErrDiskFull):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the disk is full, messages are refused until there is space again: %v", err)
	case errors.Is(err, store.ErrFenced):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the store takes no more writes after a failed write or sync: %v", err)
	case errors.Is(err, store.ErrIncomplete):
		return protocol.Errorf(protocol.MessageIllegal, "the message cannot be stored: %v", err)
	case errors.Is(err, store.ErrTooLarge):
		return protocol.Errorf(protocol.MessageIllegal, "the message or batch does not fit into one file of the commit log (mappedFileSizeCommitLog)")
	case errors.Is(err, store.ErrClosed):
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the broker is stopping")
	}
	return protocol.Errorf(protocol.SystemError, "cannot store the message: %v", err)
}

// Package put is the one way into the store: a service stages records, the end of the turn commits all of them as
// one batch, and each answer leaves when the record is as safe as the mode promises.
package put

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// Log is what put needs of the store.
type Log interface {
	Append(b *store.Batch, now time.Time) error
	// MaxPhysical is the end of the log, Flushed how far it is on the disk, Visible how far it can be read.
	MaxPhysical() int64
	Flushed() int64
	Visible() int64
	// Writable is store.ErrFenced after a failed write or sync: what is not flushed by then never will be.
	Writable() error
}

// Replicas knows the slaves of a master, and how many of them must have a message. Both methods are called often, in turns
// and from other goroutines, and must not block.
type Replicas interface {
	// Admit is nil if a message that will wait for slaves may be written. Else there are too few to wait for, and it is
	// refused (Java's IN_SYNC_REPLICAS_NOT_ENOUGH).
	Admit() error
	// Replicated is the log position up to which as many slaves as it takes have the log; math.MaxInt64 if it takes none. It
	// may go back, when a slave leaves or the policy changes. Service.Flushed is to be rung when it has changed.
	Replicated() int64
}

// Config of a Service.
type Config struct {
	Log Log
	// SyncFlush: an answer waits until its record is on disk, unless the message says WAIT=false.
	SyncFlush bool
	// FlushTimeout is how long such an answer waits before it is FLUSH_DISK_TIMEOUT; 0 means 5 s
	// (syncFlushTimeout). The message is stored all the same.
	FlushTimeout time.Duration
	// Replicas, if set: an answer waits until its record is replicated, unless the message says WAIT=false, and the message
	// is refused if there are too few replicas. SetReplicas changes it.
	Replicas Replicas
	// SlaveTimeout is how long such an answer waits before it is FLUSH_SLAVE_TIMEOUT; 0 means 3 s (slaveTimeout). The
	// message is stored all the same.
	SlaveTimeout time.Duration
	// MaxGroup is how many bytes may be staged together, since they stand in one file of the log: what is larger is
	// refused by itself and does not drag down the turn's batch. 0 or less is no limit.
	MaxGroup int64
	// Elsewhere, if set, takes what a Courier commits and turns stage, records as they would be in the log: the log is the copy
	// of another broker's and takes nothing. It is called from several goroutines. It says how many, of the first, were taken: all of them without an error.
	Elsewhere func(ctx context.Context, records [][]byte) (taken int, err error)
	// Grew is the bell of the store: it rings once per queue and batch, when the records can be read (Log.Visible). t is nil
	// where that is known outside of a turn.
	Grew func(t *protocol.Turn, q *consumequeue.Queue)
	// Revealed, if set, rings when records could be read for which Grew never rang: those that the log held when this process
	// or its term as master began, and slaves had not. Any queue may have grown. Run calls it.
	Revealed func()
	// Stored counts what was appended, once per run of records of one queue. An inner batch counts as its messages.
	Stored func(q *consumequeue.Queue, messages int, bytes int)
}

// Service hands out one Batch per I/O context and completes those that wait for disk and slaves.
type Service struct {
	cfg    Config
	term   atomic.Pointer[term]
	hidden atomic.Int64 // log position up to which records may become readable without a bell; 0: there are none

	mu       sync.Mutex               // guards:
	waiting  map[*Batch]protocol.Peer // batches with parked answers, and a peer of their I/O context
	couriers map[*Courier]struct{}    // those that wait
	arrived  []unseen                 // queues that grew outside of a turn, in order

	parcels chan *parcel // what turns have staged and goes elsewhere
	away    atomic.Int64 // turns that are not answered yet of those
}

// term is the time between two calls of SetReplicas. What an answer has waited for in one is worth nothing in the next: the
// broker may have been a slave in between, and the log cut.
type term struct{ replicas Replicas }

func (t *term) replicated() int64 {
	if t.replicas == nil {
		return math.MaxInt64
	}
	return t.replicas.Replicated()
}

// admit tells why what waits for slaves is not to be written: there are too few. Source: Java CommitLog.asyncPutMessage.
func (t *term) admit() error {
	if t.replicas == nil {
		return nil
	}
	err := t.replicas.Admit()
	if err != nil && !errors.Is(err, ErrNotEnoughReplicas) {
		err = fmt.Errorf("%w: %w", ErrNotEnoughReplicas, err)
	}
	return err
}

// New makes a service; it starts nothing.
func New(cfg Config) *Service {
	if cfg.FlushTimeout == 0 {
		cfg.FlushTimeout = 5 * time.Second
	}
	if cfg.SlaveTimeout == 0 {
		cfg.SlaveTimeout = 3 * time.Second
	}
	s := &Service{cfg: cfg, waiting: make(map[*Batch]protocol.Peer), couriers: make(map[*Courier]struct{})}
	if cfg.Elsewhere != nil {
		s.parcels = make(chan *parcel, maxAway)
	}
	s.begin(cfg.Replicas)
	return s
}

// NewBatch makes the staging place of one I/O context; it becomes the Appends of the context's Turn.
func (s *Service) NewBatch() *Batch {
	b := &Batch{svc: s, term: s.term.Load()}
	b.wake = b.ring
	return b
}

// SetReplicas says whom answers wait for from now on, nil for nobody, as the broker becomes a master or a slave. Answers
// that wait are given at once, as timeouts: nobody knows any more what becomes of their records. A policy that changes
// while the broker stays master is the business of Replicas. It may be called from any goroutine.
func (s *Service) SetReplicas(r Replicas) {
	s.begin(r)
	s.ringAll()
}

func (s *Service) begin(r Replicas) {
	s.term.Store(&term{r})
	if end := s.cfg.Log.MaxPhysical(); s.cfg.Log.Visible() < end {
		s.hidden.Store(end)
	}
}

// fits tells whether so many bytes can be staged together.
func (s *Service) fits(size int) error {
	if limit := s.cfg.MaxGroup; limit > 0 && int64(size) > limit {
		return store.ErrTooLarge
	}
	return nil
}

// account counts what was appended and rings grew, once per run of records of one queue.
func (s *Service) account(log *store.Batch, grew func(q *consumequeue.Queue, end int64)) {
	for i := 0; i < log.Len(); {
		q, first, n, bytes := log.At(i).Queue, i, 0, 0
		for i < log.Len() && log.At(i).Queue == q {
			bytes += int(log.At(i).Size)
			n += int(log.At(i).Count)
			i++
		}
		s.cfg.Stored(q, n, bytes)
		last := log.At(i - 1)
		end := last.Physical + int64(last.Size)
		grew(q, end)
		for ; first < i; first++ {
			for e, j := log.At(first), 0; j < e.Further(); j++ {
				grew(e.FurtherQueue(j), end)
			}
		}
	}
}

// Confirmed is how far slaves have the log, for store.Config.Confirm: math.MaxInt64 where nobody waits for them. 0 if there
// is no service yet.
func (s *Service) Confirmed() int64 {
	if s == nil {
		return 0
	}
	return s.term.Load().replicated()
}

// Run answers what has waited too long, and brings elsewhere what goes there, until the context ends.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.cfg.Elsewhere != nil {
		for range awayWorkers {
			wg.Go(func() { s.carry(ctx) })
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.ringAll()
			s.reveal()
		case <-ctx.Done():
			return nil
		}
	}
}

// Package transaction ends transactions. A prepared message waits in the half queue until its producer says what is to
// become of it; the first word decides, exactly once, and an op message beside the committed message says in the log that
// it did. Who says nothing is asked, again and again, and at last the message is put aside.
package transaction

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/rungroup"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// group consumes the half queue and the op queue: its offsets say where a restart begins, ours or Java's. Source: Java
// MixAll.CID_SYS_RMQ_TRANS.
const group = "CID_RMQ_SYS_TRANS"

// Store is what transactions need of the store.
type Store interface {
	Queue(topic string, id int32) *consumequeue.Queue
	// Unit and Record wait for the disk, but not for a record that is Hot.
	Unit(q *consumequeue.Queue, offset int64) (consumequeue.Unit, error)
	Record(physical int64, dst []byte) ([]byte, error)
	Hot(physical int64) bool
	// Each shows the records of the log from the one at from on, until fn returns false.
	Each(from int64, fn func(r *message.Record) bool) error
	MinPhysical() int64
	MaxPhysical() int64
	Flushed() int64
	Visible() int64
}

// Offsets keeps consumer offsets.
type Offsets interface {
	Get(group, topic []byte, queue int32) (offset int64, ok bool)
	Commit(group, topic []byte, queue int32, offset int64) bool
}

// Producers knows who is connected.
type Producers interface {
	Clients(group string) []clientmgr.Client
}

// Config of a Service.
type Config struct {
	Store     Store
	Offsets   Offsets
	Producers Producers
	// Ensure makes topics that are missing. It may block.
	Ensure  func(configs ...*topic.Config) error
	Courier func() *put.Courier
	// Divert is where a message goes that is committed, and the tag of its unit: its own queue, or that of delayed ones. It
	// may change the draft, whose properties it may append to.
	Divert func(d *message.Draft, tag int64, now time.Time) (*consumequeue.Queue, int64, *protocol.Error)
	// Offload hands a call of the turn to the pool, Resume runs the rest of it in a turn of its peer.
	Offload func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	Resume  func(c *protocol.Call, run func(c *protocol.Call) error)

	Broker   string                // its name
	Host     func() netip.AddrPort // what clients are told of it
	Slave    func() bool           // brokerRole is SLAVE: transactions end at the master
	Rules    func() Rules
	Interval func() time.Duration // transactionCheckInterval
	MaxOp    func() int           // transactionOpMsgMaxSize, bytes of the body of an op message
	Now      func() time.Time     // the clock outside of turns
	Counts   Counts
	Log      *slog.Logger
}

// Counts keeps how many transactions of each topic are open. A meta.OpenTransactions is one.
type Counts interface {
	Set(counts map[string]int64, now time.Time)
	Persist(now time.Time) error
}

// Service serves END_TRANSACTION and RESUME_CHECK_HALF_MESSAGE, and asks producers for what became of their transactions.
type Service struct {
	cfg   Config
	half  *consumequeue.Queue
	op    *consumequeue.Queue
	asked atomic.Uint32 // whose turn it is among the producers of a group

	courierMu sync.Mutex // guards, so that one writes at a time who is in no turn; before mu
	courier   *put.Courier

	mu     sync.Mutex         // guards:
	ledger *ledger            // nil before Load
	open   map[*turn]struct{} // those that have begun
	moved  chan struct{}      // closed when those that move have moved
	marks  []mark
	opMark []opMark
}

// New makes a service. It ends no transaction before Load.
func New(cfg Config) *Service {
	return &Service{
		cfg: cfg, open: make(map[*turn]struct{}), courier: cfg.Courier(),
		half: cfg.Store.Queue(topic.TransHalf, 0), op: cfg.Store.Queue(topic.TransOpHalf, 0),
	}
}

// Run asks the producers of transactions that are open for too long, each Interval, until the context ends. A broker that
// has lost Load's reading of the disk to an error tries it again. A slave that acts for its master hands them over instead.
func (s *Service) Run(ctx context.Context) error {
	if s.cfg.Slave() { // its log has grown since the duty before
		s.forget()
	}
	for ctx.Err() == nil {
		if err := s.sleep(ctx); err != nil {
			return nil
		}
		err := s.Load(ctx)
		if err == nil {
			err = s.check(ctx, s.cfg.Now())
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("cannot check transactions", "err", err)
		}
	}
	return nil
}

// forget has Load read the log anew.
func (s *Service) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger, s.marks, s.opMark = nil, nil, nil
}

// sleep waits for the next round; the interval may become another meanwhile.
func (s *Service) sleep(ctx context.Context) error {
	for began := time.Now(); ; {
		left := s.cfg.Interval() - time.Since(began)
		if left <= 0 {
			return ctx.Err()
		}
		if err := rungroup.Sleep(ctx, min(left, time.Second)); err != nil {
			return err
		}
	}
}

// Package dispatch is the request table at work: it finds the row of a code, runs the handler in the turn or on
// the bounded pool, and turns its error into a response. It knows that codes exist, not what they mean.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"rocketd/protocol"
)

// TurnHandler runs inside the turn and never blocks. When it returns nil it has answered, staged or parked the
// call; an error is answered by the table.
type TurnHandler func(c *protocol.Call) error

// PoolHandler may block. It gets a call of its own (a clone without a Turn) and returns what to answer; nil, nil
// stands for an empty success.
type PoolHandler func(ctx context.Context, c *protocol.Call) (*Reply, error)

// Reply is the answer of a pooled handler.
type Reply struct {
	Code   int32 // 0 is success
	Remark string
	Header protocol.Fielder // may be nil
	Body   []byte
}

// Answered is what a pooled handler returns when the call is answered elsewhere, in a later turn.
var Answered = new(Reply)

// Row binds a request code to its handler; exactly one of InTurn and Pooled is set. A code without a row is
// answered REQUEST_CODE_NOT_SUPPORTED.
type Row struct {
	Code   int32
	InTurn TurnHandler
	Pooled PoolHandler
}

// Config of a Table.
type Config struct {
	Workers int // goroutines of the pool; 0 means 16
	Queue   int // waiting pooled calls before SYSTEM_BUSY; 0 means 10,000
	// Bytes is what the headers and bodies of all pooled calls may hold before SYSTEM_BUSY; 0 means 256 MiB. One call
	// alone may be larger.
	Bytes int64
	Log   *slog.Logger
	// EndTurn, when set, runs after the appends of a turn were committed.
	EndTurn func(t *protocol.Turn)
	// Closed, when set, is told of every connection that went away, in a turn of its context.
	Closed func(t *protocol.Turn, p protocol.Peer)
}

// Table serves requests by their rows. It is the handler of every I/O context of a server; it keeps no state of a
// turn, so all contexts share one.
type Table struct {
	cfg  Config
	rows map[int32]Row
	jobs chan job
	held atomic.Int64 // bytes of the calls that wait or run
}

type job struct {
	call *protocol.Call
	run  PoolHandler
	size int64
}

// New builds a table. A code that stands in two rows is a mistake of ours and panics.
func New(cfg Config, rows []Row) *Table {
	if cfg.Workers == 0 {
		cfg.Workers = 16
	}
	if cfg.Queue == 0 {
		cfg.Queue = 10_000
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = 256 << 20
	}
	t := &Table{cfg: cfg, rows: make(map[int32]Row, len(rows)), jobs: make(chan job, cfg.Queue)}
	for _, r := range rows {
		if _, twice := t.rows[r.Code]; twice || (r.InTurn == nil) == (r.Pooled == nil) {
			panic(fmt.Sprintf("dispatch: bad row for code %d", r.Code))
		}
		t.rows[r.Code] = r
	}
	return t
}

// Run works off pooled calls until the context ends, then finishes those that run.
func (t *Table) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range t.cfg.Workers {
		wg.Go(func() {
			for {
				select {
				case j := <-t.jobs:
					t.pooled(ctx, j)
					t.held.Add(-j.size)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// Serve handles one request in the turn. Source of the remark: Java NettyRemotingAbstract.
func (t *Table) Serve(c *protocol.Call) {
	row, ok := t.rows[c.Code]
	switch {
	case !ok:
		t.fail(c, protocol.Errorf(protocol.RequestCodeNotSupported, " request type %d not supported", c.Code))
	case row.InTurn != nil:
		if err := t.inTurn(row.InTurn, c); err != nil {
			t.fail(c, err)
		}
	default:
		t.Offload(c, row.Pooled)
	}
}

// Offload hands a call that turned out to block to the pool. The caller returns at once and does not answer.
func (t *Table) Offload(c *protocol.Call, run PoolHandler) {
	size := int64(len(c.Body))
	for i := range c.Fields {
		size += int64(len(c.Fields[i].Key) + len(c.Fields[i].Value))
	}
	if held := t.held.Add(size); held <= t.cfg.Bytes || held == size {
		own := &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer}
		away(c.Peer, 1)
		select {
		case t.jobs <- job{own, run, size}:
			return
		default:
			away(c.Peer, -1)
		}
	}
	t.held.Add(-size)
	t.fail(c, protocol.Errorf(protocol.SystemBusy, "[OVERLOAD]system busy, start flow control for a while"))
}

// Again serves a call of the pool once more, in a turn of its connection, now that what it lacked is there. The pooled
// handler returns Answered then.
func (t *Table) Again(c *protocol.Call) {
	t.Resume(c, func(c *protocol.Call) error {
		t.Serve(c)
		return nil
	})
}

// Resume runs the rest of a call of the pool in a turn of its connection, as if it were a row of the table.
func (t *Table) Resume(c *protocol.Call, run TurnHandler) {
	away(c.Peer, 1)
	c.Peer.Post(func(turn *protocol.Turn) {
		defer away(c.Peer, -1)
		c.Turn = turn
		if err := t.inTurn(run, c); err != nil {
			t.fail(c, err)
		}
	})
}

// away tells a peer that bounds them how many of its requests are outside of its turns: their answers come without
// asking whether it reads any.
func away(p protocol.Peer, n int) {
	if b, ok := p.(interface{ Away(n int) }); ok {
		b.Away(n)
	}
}

// Waiting is how many calls wait for the pool.
func (t *Table) Waiting() int { return len(t.jobs) }

// EndTurn commits what the turn's handlers staged.
func (t *Table) EndTurn(turn *protocol.Turn) {
	if turn.Appends != nil {
		turn.Appends.Commit(turn)
	}
	if t.cfg.EndTurn != nil {
		t.cfg.EndTurn(turn)
	}
}

// Closed passes on that a connection is gone.
func (t *Table) Closed(turn *protocol.Turn, p protocol.Peer) {
	if t.cfg.Closed != nil {
		t.cfg.Closed(turn, p)
	}
}

// panicked is what a handler did. The client is told of it in one line, the log gets the stack.
type panicked struct {
	cause any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("handler panicked: %v", p.cause) }

func (t *Table) inTurn(run TurnHandler, c *protocol.Call) (err error) {
	defer caught(&err)
	return run(c)
}

func caught(err *error) {
	if r := recover(); r != nil {
		*err = &panicked{r, debug.Stack()}
	}
}

func (t *Table) pooled(ctx context.Context, j job) {
	defer away(j.call.Peer, -1)
	var reply *Reply
	var err error
	func() {
		defer caught(&err)
		reply, err = j.run(ctx, j.call)
	}()
	if err != nil {
		t.fail(j.call, err)
		return
	}
	if reply == nil {
		reply = &Reply{}
	}
	if reply == Answered {
		return
	}
	j.call.Ticket().Answer(nil, reply.Code, reply.Remark, reply.Header, reply.Body)
}

// fail answers an error. What is no *protocol.Error is ours to mend: it is logged.
func (t *Table) fail(c *protocol.Call, err error) {
	var known *protocol.Error
	if !errors.As(err, &known) {
		attrs := []any{"code", c.Code, "addr", c.Peer.RemoteAddr(), "err", err}
		var p *panicked
		if errors.As(err, &p) {
			attrs = append(attrs, "stack", string(p.stack))
		}
		t.cfg.Log.Error("request failed", attrs...)
	}
	c.Fail(err)
}

package ha

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"rocketd/internal/rungroup"
)

// link is the connection of one slave. One goroutine reads its reports; when there is a first one, another sends.
type link struct {
	m    *Master
	conn net.Conn
	addr string
	host string // whose acknowledgements count once

	empty bool // it left the start to the master

	ack  atomic.Int64 // -1: asked for what is not there
	said atomic.Bool  // ack was reported behind what was asked for: a slave of ours asks before it has compared its log with ours
	sent atomic.Int64 // position behind what was given to the connection
	rate rate
	due  chan struct{} // bell of the sender
}

func newLink(m *Master, conn net.Conn) *link {
	l := &link{m: m, conn: conn, addr: conn.RemoteAddr().String(), due: make(chan struct{}, 1)}
	l.host = l.addr
	if ap, err := netip.ParseAddrPort(l.addr); err == nil && !ap.Addr().IsLoopback() {
		l.host = ap.Addr().Unmap().String()
	}
	l.ack.Store(-1)
	return l
}

// ring wakes the sender.
func (l *link) ring() {
	select {
	case l.due <- struct{}{}:
	default:
	}
}

// Errors that end a connection and are no more than that.
var (
	errSilent   = errors.New("it said nothing for too long")
	errTooMany  = errors.New("there are too many slaves")
	errNoReport = errors.New("what it sends is no report of a slave")
)

// serve is the life of a connection.
func (l *link) serve(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(ctx, func() { _ = l.conn.Close() })()
	joined := false
	sender := make(chan struct{})
	err := l.read(func(start int64, follows bool) error {
		if joined = l.m.join(l); !joined {
			return errTooMany
		}
		l.m.complain.of("connected").Info("slave connected", "slave", l.addr, "physical", start, "follows", follows)
		go pprof.Do(ctx, pprof.Labels("goroutine", "ha sender"), func(ctx context.Context) {
			defer close(sender)
			cancel(l.send(ctx, start, follows))
		})
		return nil
	})
	stopped := ctx.Err() != nil
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	cancel(nil)
	_ = l.conn.Close()
	if joined {
		<-sender
	}
	l.m.leave(l)
	switch {
	case joined && (!stopped || err != nil):
		l.m.complain.of("lost").Warn("slave lost", "slave", l.addr, "acked", l.ack.Load(), "physical", l.m.cfg.Log.MaxPhysical(), "err", err)
	case !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed):
		l.m.complain.of("stranger").Warn("HA port: a connection was closed", "addr", l.addr, "err", err)
	}
}

// read reads reports until the connection ends, and calls begin for the first one.
func (l *link) read(begin func(start int64, follows bool) error) error {
	var r reports
	begun := false
	for {
		if err := l.conn.SetReadDeadline(time.Now().Add(l.m.cfg.Housekeeping)); err != nil {
			return err
		}
		n, err := l.conn.Read(r.room())
		if position, ok := r.took(n); ok {
			if !begun {
				start, follows, err := l.start(position)
				if err != nil {
					return err
				}
				if err := begin(start, follows); err != nil {
					return err
				}
				begun = true
			} else if err := l.report(position); err != nil {
				return err
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errSilent
		}
		if err != nil {
			return err
		}
	}
}

// start takes the first report: from where on a slave gets the log. One that asks for what is not there, no longer or not
// yet, does not follow: it gets heartbeats, as from Java, and must come again; when the log has grown to where it asked,
// its own may hold something else there. Source: Java DefaultHAConnection.
func (l *link) start(position int64) (start int64, follows bool, err error) {
	log := l.m.cfg.Log
	low, high := log.MinPhysical(), log.MaxPhysical()
	switch {
	case position < 0 || position > maxAt:
		return 0, false, fmt.Errorf("%w: position %d", errNoReport, position)
	case position == 0 && l.m.cfg.FromLastFile:
		start = max(low, high-high%log.FileSize())
	case position == 0:
		start = low
	default:
		start = position
	}
	l.empty = position == 0
	follows = start >= low && start <= high || start == 1 && high == 0 // an empty slave that wants all
	l.sent.Store(start)
	if follows {
		l.ack.Store(min(position, high))
		l.m.progress()
	} else {
		l.m.complain.of("outside").Warn("a slave asks for a part of the log that is not there; it gets nothing until it asks again", "slave", l.addr,
			"physical", start, "min", low, "max", high)
	}
	return start, follows, nil
}

// report takes a further report.
func (l *link) report(position int64) error {
	switch ack := l.ack.Load(); {
	case ack < 0 || position == ack && l.said.Load():
	case position < 0 || position > l.sent.Load():
		return fmt.Errorf("%w: position %d, it was sent the log up to %d", errNoReport, position, l.sent.Load())
	default:
		l.ack.Store(min(position, l.m.cfg.Log.MaxPhysical())) // who asks for 1 of an empty log repeats that
		l.said.Store(true)
		l.m.progress()
	}
	return nil
}

// send sends the log from a position on, as it grows, until the connection or ctx ends.
func (l *link) send(ctx context.Context, at int64, follows bool) error {
	cfg := &l.m.cfg
	s := newSender(cfg.TransferBatch)
	if !follows { // a slave of ours believes it the second time
		if err := l.write(s.heartbeat(at), time.Now()); err != nil {
			return err
		}
	}
	if follows && cfg.Admit != nil {
		if err := l.await(ctx, s, at); err != nil {
			return err
		}
	}
	pace := pace{perSecond: cfg.FlowControl}
	last := time.Time{}
	timer := time.NewTimer(cfg.Heartbeat)
	defer timer.Stop()
	for {
		now := time.Now()
		wait := cfg.Heartbeat - now.Sub(last)
		if max := cfg.Log.MaxPhysical(); follows && at < max {
			n := pace.allow(now, min(max-at, runBytes))
			if n > 0 {
				n, err := s.read(cfg.Log, at, n)
				if err != nil {
					return fmt.Errorf("cannot read the log at %d: %w", at, err)
				}
				l.sent.Store(at + n)
				if err := l.write(s.frames(at, n), now); err != nil {
					return err
				}
				at += n
				last = now
				pace.took(n)
				l.rate.add(now, n)
				continue
			}
			wait = min(wait, pace.wait())
		}
		if wait <= 0 {
			if err := l.write(s.heartbeat(at), now); err != nil {
				return err
			}
			last = now
			continue
		}
		timer.Reset(wait)
		select {
		case <-l.due:
		case <-timer.C:
		case <-ctx.Done():
			return context.Canceled
		}
	}
}

// await sends heartbeats only until the slave may have the log.
func (l *link) await(ctx context.Context, s *sender, at int64) error {
	cfg := &l.m.cfg
	began := time.Now()
	last, told := began, false
	for now := began; !cfg.Admit(l.conn.RemoteAddr(), l.empty, began); now = time.Now() {
		switch {
		case now.Sub(began) >= admitWait:
			l.m.complain.of("admit").Warn("a slave gets the log though it has not taken the topics: a Java slave may make queues of the wrong kind", "slave", l.addr, "after", admitWait)
			return nil
		case !told:
			told = true
			l.m.complain.of("wait").Info("a slave gets the log when it has taken the topics: some have queues that it could get wrong", "slave", l.addr)
		case now.Sub(last) >= cfg.Heartbeat:
			last = now
			if err := l.write(s.heartbeat(at), now); err != nil {
				return err
			}
		}
		if err := rungroup.Sleep(ctx, admitTick); err != nil {
			return context.Canceled
		}
	}
	return nil
}

// write writes frames. A slave that takes nothing for long is left.
func (l *link) write(b net.Buffers, now time.Time) error {
	if err := l.conn.SetWriteDeadline(now.Add(l.m.cfg.Housekeeping)); err != nil {
		return err
	}
	_, err := b.WriteTo(l.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("it took no bytes for %v", l.m.cfg.Housekeeping)
	}
	return err
}

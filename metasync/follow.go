package metasync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/meta"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/rpc"
)

// How often a table is asked for: a small one, or one of which only the version is asked for, every short; another every
// long, which with the time of a round is 10 s at most. What a master lacks is asked for again after a while: it may have
// been started anew. Whatever failed is tried again every short.
const (
	short  = 3 * time.Second
	long   = 9 * time.Second
	lacked = time.Minute
	small  = 1000 // entries, or offsets
)

// How long an answer may take. Source: Java BrokerOuterAPI.
const (
	shortCall = 3 * time.Second
	longCall  = 30 * time.Second
)

// follower is what is known of one master.
type follower struct {
	*Service
	addr   string
	topics table
	groups table
	tasks  []task
	// shown are the offsets that the master had the last time, and boot tells when it was started then.
	shown offset.All
	boot  string
}

// task is one table, and when it is due.
type task struct {
	name     string
	optional bool // not every master has it
	due      time.Time
	lacked   bool
	// sync makes the table the master's, and says when it is to be asked for again.
	sync func(ctx context.Context) (again time.Duration, err error)
}

// follow keeps the tables those of the master at addr until ctx ends.
func (s *Service) follow(ctx context.Context, addr string) {
	f := &follower{Service: s, addr: addr}
	f.tasks = []task{{name: "topics", sync: f.syncTopics}, {name: "groups", sync: f.syncGroups}, {name: "consumer offsets", sync: f.syncOffsets}}
	for _, c := range s.carried() {
		f.tasks = append(f.tasks, task{name: c.name, optional: true, sync: func(ctx context.Context) (time.Duration, error) {
			wire, err := within(ctx, shortCall, func(ctx context.Context) ([]byte, error) { return c.ask(ctx, addr) })
			if err != nil {
				return 0, err
			}
			return long, c.to.Put(wire)
		}})
	}
	for {
		err := f.round(ctx)
		if ctx.Err() != nil {
			return
		}
		s.note(addr, err)
		if hurried := wait(ctx, short, s.hurry); hurried {
			f.tasks[0].due = time.Time{}
		}
	}
}

// round asks for what is due. The error is the first of all; without an answer the rest waits for the next round.
func (f *follower) round(ctx context.Context) (failed error) {
	for i := range f.tasks {
		t := &f.tasks[i]
		now := time.Now()
		if now.Before(t.due) {
			continue
		}
		again, err := t.sync(ctx)
		code := codeOf(err)
		switch {
		case err == nil:
			t.due, t.lacked = now.Add(again), false
			continue
		case t.optional && (code == protocol.SystemError || code == protocol.RequestCodeNotSupported):
			if !t.lacked {
				f.cfg.Log.Info("the master does not keep this", "table", t.name, "addr", f.addr, "err", err)
			}
			t.due, t.lacked = now.Add(lacked), true
			continue
		case failed == nil:
			failed = fmt.Errorf("%s: %w", t.name, err)
		}
		if noAnswer := new(noAnswer); errors.As(err, &noAnswer) {
			return failed
		}
	}
	return failed
}

// note keeps how far the tables are, and logs when that changes.
func (s *Service) note(addr string, err error) {
	s.mu.Lock()
	if addr != s.master { // there is another one by now
		s.mu.Unlock()
		return
	}
	before := s.status
	s.status.Err = err
	if err == nil {
		s.status.Since = time.Now()
	}
	s.mu.Unlock()
	switch {
	case err == nil && (before.Err != nil || before.Since.IsZero()):
		topics, version := s.cfg.Topics.All()
		groups, _ := s.cfg.Groups.All()
		s.cfg.Log.Info("tables are the master's", "addr", addr, "topics", len(topics), "groups", len(groups), "version", version.Counter)
	case err != nil && before.Err == nil:
		select {
		case <-s.synced:
			s.cfg.Log.Warn("cannot follow the tables of the master; trying on", "addr", addr, "err", err)
		default:
			s.cfg.Log.Warn("cannot get the tables of the master; nothing of its log is copied before its topics are known", "addr", addr, "err", err)
		}
	}
}

// carried is a table that goes as it is from the master to here.
type carried struct {
	name     string
	to       *meta.Text
	ask      func(ctx context.Context, addr string) ([]byte, error)
	progress bool // of deliveries, which go on elsewhere when the master is away
}

func (s *Service) carried() []carried {
	m, c := s.cfg.Master, s.cfg.Carried
	list := []carried{
		{"delay offsets", c.DelayOffsets, m.DelayOffsets, true},
		{"request modes", c.RequestModes, m.RequestModes, false},
	}
	if s.cfg.Timers {
		list = append(list, carried{"timer metrics", c.TimerMetrics, m.TimerMetrics, false}, carried{"timer checkpoint", c.TimerCheckpoint, m.TimerCheckpoint, true})
	}
	return list
}

// noAnswer is the error of a call that nobody answered.
type noAnswer struct{ error }

func (e *noAnswer) Unwrap() error { return e.error }

// within makes a call that may take so long.
func within[A any](ctx context.Context, d time.Duration, ask func(ctx context.Context) (A, error)) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a, err := ask(ctx)
	if err != nil && codeOf(err) == 0 && !errors.Is(err, rpc.ErrAnswer) {
		err = &noAnswer{err}
	}
	return a, err
}

// codeOf is the code of the answer that is the error, 0 if it is another error.
func codeOf(err error) int32 {
	if e := new(protocol.Error); errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// wait returns after d, when ctx ends, or when hurry rings.
func wait(ctx context.Context, d time.Duration, hurry <-chan struct{}) (hurried bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-hurry:
		return true
	}
	return false
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A run is the state that all connections share: the phase, what is counted, and what went wrong. It belongs to the
// engine's thread.
type run struct {
	cfg Config
	ctx context.Context
	*engine

	active   bool  // requests may leave
	counting bool  // what is answered now is part of the rate
	start    int64 // when counting began, ns of the clock; never before
	end      int64
	began    int64
	warm     int64 // when counting begins
	stop     int64 // when sending ends
	left     int64 // messages that may still be sent; negative is no limit

	open     int64 // requests without an answer
	progress int64 // when the last answer came
	drained  func() bool

	latency  Histogram
	messages int64
	bytes    int64
	failures map[int32]int64
	remark   string // of the first failure
	before   usage
	after    usage
	self     time.Duration
}

func newRun(ctx context.Context, cfg Config) (*run, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.PID != 0 {
		if _, err := readUsage(cfg.PID); err != nil {
			return nil, fmt.Errorf("--pid %d: %w", cfg.PID, err)
		}
	}
	e, err := newEngine()
	if err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, ctx: ctx, engine: e, left: -1, start: never, failures: map[int32]int64{}, drained: func() bool { return true }}
	e.tick = r.step
	return r, nil
}

// drive runs the phases: warm-up, counting, drain.
func (r *run) drive() error {
	now := r.now()
	r.active, r.began, r.progress = true, now, now
	r.warm, r.stop = now+int64(r.cfg.Warmup), never
	if r.cfg.Duration > 0 {
		r.stop = r.warm + int64(r.cfg.Duration)
	}
	if r.cfg.Count > 0 {
		r.left, r.warm = r.cfg.Count, now
	}
	r.step(now)
	err := r.run()
	if r.counting {
		r.finish(r.now())
	}
	return err
}

// step is the engine's tick.
func (r *run) step(now int64) bool {
	if !r.counting && r.active && now >= r.warm {
		r.counting, r.start = true, now
		r.before, r.self = r.measure(), selfCPU()
	}
	if r.active && (now >= r.stop || r.left == 0 || r.ctx.Err() != nil) {
		r.active = false
		if r.left != 0 {
			r.finish(now)
		}
	}
	if r.active {
		if r.open > 0 && now-r.progress > int64(r.cfg.Timeout) {
			r.active = false
		}
		return true
	}
	if r.open == 0 && r.drained() {
		return false
	}
	return now-r.progress <= int64(r.cfg.Timeout)
}

func (r *run) finish(now int64) {
	if !r.counting {
		return
	}
	r.counting, r.end = false, now
	if r.left == 0 {
		r.end = r.progress // what was waited for in vain does not count
	}
	r.after, r.self = r.measure(), selfCPU()-r.self
}

// record counts a latency if the request should have left after the warm-up. Answers that come after the end are
// counted too: they are the slowest.
func (r *run) record(intended, now int64) {
	if intended >= r.start {
		r.latency.Record(time.Duration(now - intended))
	}
}

func (r *run) measure() usage {
	if r.cfg.PID == 0 {
		return usage{}
	}
	u, _ := readUsage(r.cfg.PID) // a server that is gone fails the run by itself
	return u
}

// fail counts an answer that is no success. Only flow control may be tried again; anything else would fail for ever.
func (r *run) fail(code int32, frame []byte) error {
	r.failures[code]++
	if r.remark == "" {
		r.remark = explain(frame)
	}
	const systemBusy = 2
	if code != systemBusy && r.messages == 0 && r.failures[code] > 100 {
		return errors.New("the broker refuses: " + r.remark)
	}
	return nil
}

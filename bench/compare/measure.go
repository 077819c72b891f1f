package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"rocketd/bench"
)

// A round has what each side did in one round. Where a side was not measured, its load is nil.
type round struct{ ours, java, echo side }

// patience is how long Java may take for one load beyond its time, as to make a hundred thousand queues.
const patience = 3 * time.Minute

// measure does the rounds of a work. Java may fail: then the rounds are of ours, and failed says why.
func (o *options) measure(ctx context.Context, w work) (all []round, failed, err error) {
	if w.filled != nil {
		if err := o.fill(ctx, w); err != nil {
			return nil, nil, fmt.Errorf("filling a store: %w", err)
		}
	}
	java, err := o.startJava(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	defer java.stop()
	failed = o.warmUp(ctx, java, w)
	for range o.rounds {
		var r round
		if r.ours, err = o.loadOurs(ctx, w); err != nil {
			return nil, nil, fmt.Errorf("ours: %w", err)
		}
		syscall.Sync()
		if failed == nil {
			if r.java, failed = o.side(ctx, java, w); failed != nil {
				r.java = side{}
			}
			syscall.Sync()
		}
		if w.echo {
			if r.echo, err = o.loadEcho(ctx, w); err != nil {
				return nil, nil, fmt.Errorf("echo: %w", err)
			}
		}
		all = append(all, r)
	}
	return all, failed, ctx.Err()
}

func (o *options) warmUp(ctx context.Context, java *server, w work) error {
	if w.before != nil {
		if _, err := o.load(ctx, java, w.before, 0); err != nil {
			return fmt.Errorf("before: %w", err)
		}
	}
	args := w.args
	if w.base != nil {
		args = w.base
	}
	_, err := o.load(ctx, java, args, o.warm)
	return err
}

// side measures a server.
func (o *options) side(ctx context.Context, s *server, w work) (r side, err error) {
	if w.base != nil {
		if r.base, err = o.load(ctx, s, w.base, o.duration+w.longer); err != nil {
			return r, err
		}
		syscall.Sync()
	}
	r.load, err = o.load(ctx, s, w.args, o.duration+w.longer)
	return r, err
}

func (o *options) loadOurs(ctx context.Context, w work) (r side, err error) {
	if w.base != nil { // each on a store of its own
		base := w
		base.args, base.base = w.base, nil
		if r, err = o.loadOurs(ctx, base); err != nil {
			return r, err
		}
		r.base, w.base = r.load, nil
		syscall.Sync()
	}
	s, err := o.startOurs(ctx, w)
	if err != nil {
		return r, err
	}
	if w.filled != nil {
		defer func() { err = s.end(err) }()
	} else {
		defer s.stop()
	}
	if w.before != nil {
		if _, err := o.load(ctx, s, w.before, 0); err != nil {
			return r, fmt.Errorf("before: %w", err)
		}
	}
	r.load, err = o.load(ctx, s, w.args, o.duration+w.longer)
	return r, err
}

func (o *options) loadEcho(ctx context.Context, w work) (r side, err error) {
	s, err := o.startEcho(ctx)
	if err != nil {
		return r, err
	}
	defer s.stop()
	r.load, err = o.load(ctx, s, w.args, o.duration)
	return r, err
}

// fill makes the store that both sides start on.
func (o *options) fill(ctx context.Context, w work) error {
	ours, err := o.startOurs(ctx, w)
	if err != nil {
		return err
	}
	_, err = o.load(ctx, ours, w.filled, 0)
	if err = ours.end(err); err != nil {
		return err
	}
	java, _ := o.javaPlace()
	if err := copyAll(ctx, filepath.Join(ours.dir, "store"), filepath.Join(java, "store")); err != nil {
		return err
	}
	syscall.Sync()
	return nil
}

// load runs the generator in a process of its own; with no time, until its count is reached.
func (o *options) load(ctx context.Context, s *server, args []string, d time.Duration) (*bench.Result, error) {
	limited, cancel := context.WithTimeout(ctx, d+patience)
	defer cancel()
	args = append([]string{"bench"}, args...)
	args = append(args, "--addr", s.addr, "--pid", strconv.Itoa(s.cmd.Process.Pid), "--duration", d.String(), "-o", "json")
	out, err := exec.CommandContext(limited, o.rocketd, args...).Output()
	var r bench.Result
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		return nil, fmt.Errorf("%v: %w%s", args, err, stderrOf(err))
	}
	if c := r.Check; r.Messages == 0 || c.Unanswered+c.Missing+c.Duplicates+c.Damaged > 0 {
		return nil, fmt.Errorf("%v: %d messages, failures %v %s, check %+v", args, r.Messages, r.Failures, r.Remark, c)
	}
	if len(r.Failures) > 0 { // flow control on a busy machine; what was refused is in no rate
		fmt.Fprintf(os.Stderr, "compare: %s refused some: %v %s\n", s.addr, r.Failures, r.Remark)
	}
	return &r, nil
}

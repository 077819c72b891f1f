package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// restartFill makes a store of 10 GB: records of 1.2 KB.
var restartFill = append(load("send", "16", "16", "1024", "binary"), "--count", "8500000")

// A restart is one row: how a broker ended, and what of its files is in memory when it comes back.
type restart struct {
	name         string
	killed, cold bool
	goal         time.Duration
}

var restarts = []restart{
	{"restart of a 10 GB store after a clean stop", false, false, time.Second},
	{"restart of a 10 GB store after kill -9 under load", true, false, 2 * time.Second},
	{"restart of a 10 GB store after a clean stop, nothing in memory", false, true, time.Second},
	{"restart of a 10 GB store after kill -9 under load, nothing in memory", true, true, 2 * time.Second},
}

// measureRestarts measures how long a broker takes, from its start, until it has accepted a message. Ours makes the store
// and is measured on it; then Java's is, on the same.
func (o *options) measureRestarts(ctx context.Context, out io.Writer) error {
	var todo []restart
	for _, r := range restarts {
		if o.only.MatchString(r.name) {
			todo = append(todo, r)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	dir := filepath.Join(o.dir, "restart")
	defer func() { _ = os.RemoveAll(dir) }()
	ours := func() (*server, error) { return o.oursBroker(ctx, dir, o.port) }
	java := func() (*server, error) { return o.javaBroker(ctx, dir, o.port+10) }
	if err := o.prepare(ctx, dir, func(s *server) error { _, err := o.load(ctx, s, restartFill, 0); return err }); err != nil {
		return err
	}
	var times [2][]spread
	for side, start := range []func() (*server, error){ours, java} {
		for _, r := range todo {
			var seconds []float64
			for range o.rounds {
				took, err := o.restart(ctx, dir, start, r)
				if err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
				seconds = append(seconds, took.Seconds())
			}
			times[side] = append(times[side], spreadOf(seconds))
		}
	}
	for i, r := range todo {
		a, b := times[0][i], times[1][i]
		fmt.Fprintf(out, "| %s | s | %s | %s | %s | <= %g (ours) | - | %s |\n", r.name, a, b, short(a.median/b.median), r.goal.Seconds(), yes(a.median <= r.goal.Seconds()))
	}
	return nil
}

// restart ends a broker as is wanted, starts it again and returns how long it took.
func (o *options) restart(ctx context.Context, dir string, start func() (*server, error), r restart) (time.Duration, error) {
	if r.killed {
		s, err := start()
		if err != nil {
			return 0, err
		}
		_, err = o.load(ctx, s, restartFill[:len(restartFill)-2], 5*time.Second)
		s.kill()
		if err != nil {
			return 0, err
		}
	}
	if r.cold {
		if err := evict(dir); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	s, err := start()
	if err != nil {
		return 0, err
	}
	err = o.first(ctx, s)
	took := time.Since(began)
	return took, s.end(err)
}

// evict drops the files of a folder from the page cache.
func evict(dir string) error {
	syscall.Sync()
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		const dontNeed = 4 // POSIX_FADV_DONTNEED
		if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); e != 0 {
			return fmt.Errorf("fadvise %s: %w", name, e)
		}
		return nil
	})
}

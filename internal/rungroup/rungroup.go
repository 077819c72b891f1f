// Package rungroup runs the parts of a program together: the first that fails ends them all.
package rungroup

import (
	"context"
	"fmt"
	"runtime/pprof"
	"sync"
	"time"
)

// Part is something that works until its context ends, and returns the first real error.
type Part struct {
	Name string // the goroutine's pprof label "part"
	Run  func(ctx context.Context) error
}

// Group runs parts. A part that returns an error ends the context of all.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// New makes a group under a context.
func New(ctx context.Context) *Group {
	g := new(Group)
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Go starts a part.
func (g *Group) Go(p Part) {
	g.wg.Add(1)
	go pprof.Do(g.ctx, pprof.Labels("part", p.Name), func(ctx context.Context) {
		defer g.wg.Done()
		if err := p.Run(ctx); err != nil {
			g.once.Do(func() { g.err = fmt.Errorf("%s: %w", p.Name, err) })
			g.cancel()
		}
	})
}

// Done is closed when the group's context ends: from above, by Stop or by a part that failed.
func (g *Group) Done() <-chan struct{} { return g.ctx.Done() }

// Stop ends the context, waits for all parts and returns the first error of one.
func (g *Group) Stop() error {
	g.cancel()
	g.wg.Wait()
	return g.err
}

// Sleep waits, or until ctx ends, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

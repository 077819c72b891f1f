package broker

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"rocketd/internal/rungroup"
)

// The parts run while the broker has the duty, one set of them at a time, and are waited for when it goes.
func TestDuties_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		var events []string
		d := newDuties(on.Load)
		slow := make(chan struct{})
		d.parts = append(d.parts, rungroup.Part{Name: "part", Run: func(ctx context.Context) error {
			events = append(events, "start")
			<-ctx.Done()
			<-slow
			events = append(events, "end")
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		want := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(events, want) {
				t.Errorf("got %q, want %q", events, want)
			}
			if d.busy() != (len(events)%2 == 1) {
				t.Errorf("after %q busy is %v", events, d.busy())
			}
		}
		set := func(to bool) {
			on.Store(to)
			d.change()
		}
		want()
		set(true)
		want("start")
		d.change() // nothing is new
		want("start")
		set(false)
		want("start")
		set(true) // before the first has ended
		want("start")
		slow <- struct{}{}
		want("start", "end", "start")
		set(false)
		slow <- struct{}{}
		want("start", "end", "start", "end")
		set(true)
		cancel()
		slow <- struct{}{}
		want("start", "end", "start", "end", "start", "end")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A part that fails ends the others, and Run says why.
func TestDuties_Run_Failed(t *testing.T) {
	broken := errors.New("broken")
	d := newDuties(func() bool { return true })
	ended := false
	d.parts = []rungroup.Part{
		{Name: "patient", Run: func(ctx context.Context) error { <-ctx.Done(); ended = true; return nil }},
		{Name: "fragile", Run: func(context.Context) error { return broken }},
	}
	if err := d.Run(t.Context()); !errors.Is(err, broken) || !ended {
		t.Errorf("%v, ended %t", err, ended)
	}
}

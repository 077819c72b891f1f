package broker

import (
	"context"
	"sync"

	"rocketd/internal/rungroup"
)

// duties are the parts that only one broker of a set runs at a time, its master or who acts as one: they deliver what others
// wait for. Whoever builds a service appends its part.
type duties struct {
	parts   []rungroup.Part
	on      func() bool   // whether this broker has the duty now
	changed chan struct{} // on may say something else

	mu   sync.Mutex    // guards:
	rest chan struct{} // closed while no part runs
}

// newDuties makes duties without parts.
func newDuties(on func() bool) *duties {
	d := &duties{on: on, changed: make(chan struct{}, 1), rest: make(chan struct{})}
	close(d.rest)
	return d
}

// resting is closed when no part runs.
func (d *duties) resting() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rest
}

// busy tells whether parts run.
func (d *duties) busy() bool {
	select {
	case <-d.resting():
		return false
	default:
		return true
	}
}

// setRest says whether no part runs.
func (d *duties) setRest(rests bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rests {
		close(d.rest)
	} else {
		d.rest = make(chan struct{})
	}
}

// change is the bell of the broker: the duty came or went. It does not block.
func (d *duties) change() {
	select {
	case d.changed <- struct{}{}:
	default: // it will be looked at
	}
}

// Run starts the parts when the duty comes. When it goes, or the context ends, they are ended and waited for. The first error
// of a part ends it.
func (d *duties) Run(ctx context.Context) error {
	for {
		for !d.on() {
			select {
			case <-d.changed:
			case <-ctx.Done():
				return nil
			}
		}
		d.setRest(false)
		if !d.on() { // whoever took it may have looked before
			d.setRest(true)
			continue
		}
		g := rungroup.New(ctx)
		for _, p := range d.parts {
			g.Go(p)
		}
		for d.on() && ctx.Err() == nil {
			select {
			case <-d.changed:
				continue
			case <-g.Done():
			}
			break
		}
		err := g.Stop()
		d.setRest(true)
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

package put

import (
	"cmp"
	"errors"
	"slices"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// unseen is a queue that grew by what cannot be read before the log is visible up to end.
type unseen struct {
	end   int64
	queue *consumequeue.Queue
}

// Flushed is rung by the store after each sync, and by the slaves' side when it knows that they have more, or when fewer
// of them are needed; from any goroutine. Every batch and courier for which that changes something looks at it, a batch in a turn of its own. No
// lock is held meanwhile: when its I/O context has ended, that turn is here and now.
func (s *Service) Flushed() { s.ring(false) }

// ringAll has all who wait look, also at the clock.
func (s *Service) ringAll() { s.ring(true) }

func (s *Service) ring(all bool) {
	visible := s.cfg.Log.Visible()
	all = all || s.fenced()
	type due struct {
		batch *Batch
		peer  protocol.Peer
	}
	var few [16]due
	ring := few[:0]
	var grown []unseen
	s.mu.Lock()
	for b, peer := range s.waiting {
		if (all || b.due.Load() <= visible) && b.rung.CompareAndSwap(false, true) {
			ring = append(ring, due{b, peer})
		}
	}
	for c := range s.couriers {
		if all || c.due <= visible {
			select {
			case c.bell <- struct{}{}:
			default: // it has not looked since the last time
			}
		}
	}
	if n := seen(s.arrived, visible); n > 0 {
		grown = slices.Clone(s.arrived[:n])
		s.arrived = slices.Delete(s.arrived, 0, n)
	}
	s.mu.Unlock()
	for _, d := range ring {
		d.peer.Post(d.batch.wake)
	}
	for _, u := range grown {
		s.cfg.Grew(nil, u.queue)
	}
}

// Arrived is Grew for what came outside of a turn, from the master of this broker (store.Config.Arrived) or by couriers, which
// may come here in another order than they appended in: it rings at once, or when the log can be read up to end.
func (s *Service) Arrived(q *consumequeue.Queue, end int64) {
	if end > s.cfg.Log.Visible() {
		s.mu.Lock()
		if n := len(s.arrived); n > 0 && s.arrived[n-1].end > end {
			last := max(end, s.cfg.Log.MaxPhysical()) // what ends behind it was cut
			for i := range s.arrived {
				s.arrived[i].end = min(s.arrived[i].end, last)
			}
		}
		at, _ := slices.BinarySearchFunc(s.arrived, end+1, func(u unseen, end int64) int { return cmp.Compare(u.end, end) })
		s.arrived = slices.Insert(s.arrived, at, unseen{end, q}) // not the last, if who appended after us was faster
		s.mu.Unlock()
		if end > s.cfg.Log.Visible() { // else it came to be before we stood in the list, and rang for nobody
			return
		}
		s.Flushed()
		return
	}
	s.cfg.Grew(nil, q)
}

// reveal rings for what could not be read when the term began, once it can be.
func (s *Service) reveal() {
	hidden := s.hidden.Load()
	if hidden == 0 || hidden > s.cfg.Log.Visible() || !s.hidden.CompareAndSwap(hidden, 0) {
		return
	}
	if s.cfg.Revealed != nil {
		s.cfg.Revealed()
	}
}

func (s *Service) fenced() bool { return errors.Is(s.cfg.Log.Writable(), store.ErrFenced) }

// seen is how many of list can be read.
func seen(list []unseen, visible int64) int {
	n := 0
	for n < len(list) && list[n].end <= visible {
		n++
	}
	return n
}

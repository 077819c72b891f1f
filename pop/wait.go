package pop

import (
	"time"

	"rocketd/protocol"
)

// Waiter is a pop or a notification that found nothing: whom to answer and what to look for.
type Waiter struct {
	ticket protocol.Ticket
	ask    ask
	notify bool // it only wants to know
}

// Key is what a Room keeps waiters under: a topic and a group.
type Key = *shelf

// home is the connection in whose turns those who wait at a shelf are looked at: a turn of its I/O context takes what they
// pop into its batch.
type home struct {
	peer protocol.Peer
	look func(t *protocol.Turn)
}

// park lets a request wait until something comes, unless too many wait already. Source: Java PopLongPollingService.polling.
func (s *Service) park(c *protocol.Call, w Waiter, deadline time.Time, pollMs int64) error {
	full := false
	if pollMs > 0 && c.Turn.Now.Before(deadline) {
		x := w.ask.shelf
		if s.waiting(x, w.ask.queue, w.notify) < s.choices.Load().PollingSize {
			if h := x.home.Load(); h == nil || h.peer.Closed() {
				x.home.Store(&home{c.Peer, func(t *protocol.Turn) {
					x.rung.Store(false)
					s.room.Wake(t, x)
				}})
			}
			if s.room.Park(c.Turn, x, c.Peer, deadline, w) {
				return nil
			}
		}
		full = true
	}
	s.none(c.Turn, &w, full)
	return nil
}

// waiting is how many pops, or notifications, wait for a queue of a shelf; -1 is those for any queue.
func (s *Service) waiting(x *shelf, queue int32, notify bool) (n int) {
	s.room.Each(x, func(w *Waiter) {
		if w.notify == notify && w.ask.queue == queue {
			n++
		}
	})
	return n
}

// none answers one who found nothing, and need not wait or may not.
func (s *Service) none(t *protocol.Turn, w *Waiter, full bool) {
	switch {
	case w.notify:
		w.ticket.Answer(t, protocol.Success, "", &protocol.NotificationResponse{PollingFull: full}, nil)
	case full:
		w.ticket.Answer(t, protocol.PollingFull, "NO_MESSAGE_IN_QUEUE", nil, nil)
	default:
		w.ticket.Answer(t, protocol.PollingTimeout, "NO_MESSAGE_IN_QUEUE", nil, nil)
	}
}

// Answer looks at one who waits; the waiting room calls it, in a turn that commits afterwards. It returns true to let him
// wait on. Who comes first is asked first, and takes what he wants.
func (s *Service) Answer(t *protocol.Turn, w *Waiter, expired bool) (keep bool) {
	switch {
	case expired:
		s.none(t, w, false)
	case s.Closed() != nil:
		return true
	case w.notify:
		if !s.has(&w.ask, t.Now.UnixMilli()) {
			return true
		}
		w.ticket.Answer(t, protocol.Success, "", &protocol.NotificationResponse{HasMsg: true}, nil)
	default:
		switch s.take(t, w.ticket, &w.ask) {
		case nothing:
			return true
		case onDisk: // it asks again, and the pool reads
			s.none(t, w, false)
		}
	}
	return false
}

// Grew is the bell for a queue of a topic: who waits for it looks, in a turn soon. It may be called from anywhere and does not
// block.
func (s *Service) Grew(name string) {
	for _, x := range s.shelves.of(name) {
		s.ring(x.waits)
	}
}

// ring has those who wait at a shelf look.
func (s *Service) ring(x *shelf) {
	if !s.room.Has(x) || !x.rung.CompareAndSwap(false, true) {
		return
	}
	if h := x.home.Load(); h != nil {
		h.peer.Post(h.look)
	}
}

// RingAll has everybody look.
func (s *Service) RingAll() { s.shelves.each(s.ring) }

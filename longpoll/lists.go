package longpoll

import "rocketd/protocol"

// The three lists that a waiting request is in. Out of the lists, requests are chained by their byKey link.
const (
	byKey = iota
	byPeer
	byTime
	kinds
)

// waiter is one parked request.
type waiter[K comparable, W any] struct {
	value      W
	peer       protocol.Peer
	due        int64 // the tick from which it is expired
	at         *place[K, W]
	in         [kinds]*list[K, W]
	next, prev [kinds]*waiter[K, W]
}

// list is a doubly linked list through the links of one kind.
type list[K comparable, W any] struct{ head, tail *waiter[K, W] }

func (l *list[K, W]) push(kind int, x *waiter[K, W]) {
	x.in[kind], x.next[kind], x.prev[kind] = l, nil, l.tail
	if l.tail == nil {
		l.head = x
	} else {
		l.tail.next[kind] = x
	}
	l.tail = x
}

func (x *waiter[K, W]) remove(kind int) {
	l, next, prev := x.in[kind], x.next[kind], x.prev[kind]
	if prev == nil {
		l.head = next
	} else {
		prev.next[kind] = next
	}
	if next == nil {
		l.tail = prev
	} else {
		next.prev[kind] = prev
	}
	x.in[kind], x.next[kind], x.prev[kind] = nil, nil, nil
}

// link puts a request into all three lists.
func (s *shard[K, W]) link(p *place[K, W], x *waiter[K, W]) {
	x.at = p
	p.waiting.push(byKey, x)
	l := s.peers[x.peer]
	if l == nil {
		l = new(list[K, W])
		s.peers[x.peer] = l
	}
	l.push(byPeer, x)
	s.wheel.slot(x.due).push(byTime, x)
}

// unlink takes a request out of all three lists.
func (s *shard[K, W]) unlink(x *waiter[K, W]) {
	for kind := range kinds {
		x.remove(kind)
	}
	p := x.at
	x.at = nil
	s.vacate(p)
}

// take takes all requests out of a place and returns them chained, first come first.
func (s *shard[K, W]) take(p *place[K, W]) *waiter[K, W] {
	chain := p.waiting.head
	p.waiting = list[K, W]{}
	for x := chain; x != nil; x = x.next[byKey] {
		x.remove(byPeer)
		x.remove(byTime)
		x.at, x.in[byKey], x.prev[byKey] = nil, nil, nil
	}
	return chain
}

// place returns the place of a key, a new one if need be.
func (s *shard[K, W]) place(key K) *place[K, W] {
	p := s.places[key]
	if p == nil {
		if n := len(s.empty); n > 0 {
			p, s.empty = s.empty[n-1], s.empty[:n-1]
		} else {
			p = new(place[K, W])
		}
		p.key = key
		s.places[key] = p
	}
	return p
}

// maxSpares bounds what a shard keeps for later use.
const maxSpares = 4096

// vacate gives up a place that nobody needs.
func (s *shard[K, W]) vacate(p *place[K, W]) {
	if p.busy || p.waiting.head != nil {
		return
	}
	delete(s.places, p.key)
	*p = place[K, W]{}
	if len(s.empty) < maxSpares {
		s.empty = append(s.empty, p)
	}
}

func (s *shard[K, W]) node() *waiter[K, W] {
	x := s.spare.head
	if x == nil {
		return new(waiter[K, W])
	}
	x.remove(byKey)
	s.spares--
	return x
}

func (s *shard[K, W]) free(x *waiter[K, W]) {
	*x = waiter[K, W]{}
	if s.spares < maxSpares {
		s.spare.push(byKey, x)
		s.spares++
	}
}

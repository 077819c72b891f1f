// Package longpoll is the waiting room: a request that found nothing is parked under a key, usually the queue it
// reads, and answered when somebody wakes the key or when its time is up. There is no goroutine and no timer per
// request; time comes in through Expire.
package longpoll

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/protocol"
)

const (
	// DefaultMax is how many requests wait at most where the configuration does not say.
	DefaultMax = 500_000

	// MaxHold is how long a request waits at most, whatever it asks for.
	MaxHold = 24 * time.Hour

	shards = 8 // a power of two
	rounds = 2 // looks at a key in one go before the I/O context gets to serve others
)

// Deadline is when a request has waited for pollMs that was born at bornMs, 0 if it does not say, by the client's clock. It is a time of
// the monotonic clock: from here on a clock that is set changes nothing.
func Deadline(now time.Time, bornMs, pollMs int64) time.Time {
	if bornMs == 0 {
		bornMs = now.UnixMilli()
	}
	hold := time.Duration(min(max(pollMs, 0), MaxHold.Milliseconds())) * time.Millisecond
	return now.Add(time.UnixMilli(bornMs).Add(hold).Sub(now))
}

// Config of a Room.
type Config[W any] struct {
	// Answer looks at a parked request and answers it if it can; then it returns false and the request leaves the
	// room. It returns true to keep it (nothing new, or nothing that its filter wants: then it has moved w's offset
	// on). With expired it must answer, and the result does not count. It runs without locks and for one request
	// at most once at a time, in the turn of whoever woke the key; the peer may belong to another I/O context.
	// It may not Park under the same key. It must be cheap when nothing is new, since Park asks it once.
	Answer func(t *protocol.Turn, w *W, expired bool) (keep bool)
	// Max bounds the requests that wait; 0 is DefaultMax.
	Max int
}

// Room keeps parked requests of type W under keys of type K. All methods may be called from any goroutine.
type Room[K comparable, W any] struct {
	cfg    Config[W]
	origin time.Time // ticks count from here
	seed   maphash.Seed
	count  atomic.Int64 // all requests in the room, those being looked at included
	closed atomic.Bool
	shard  [shards]shard[K, W]
}

// shard holds the keys that hash to it.
type shard[K comparable, W any] struct {
	mu     sync.Mutex // guards all below; nothing is called out while it is held
	places map[K]*place[K, W]
	peers  map[protocol.Peer]*list[K, W] // lives until the peer closes
	wheel  wheel[K, W]

	spare  list[K, W] // requests to use again
	spares int
	empty  []*place[K, W] // places to use again
	_      [64]byte       // keeps neighbours off the cache line
}

// place is where the requests of one key wait.
type place[K comparable, W any] struct {
	key     K
	waiting list[K, W]
	busy    bool // somebody is looking at requests of this key
	again   bool // and is to look once more, as something came in meanwhile
}

// New makes an empty room at the given time.
func New[K comparable, W any](cfg Config[W], now time.Time) *Room[K, W] {
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	r := &Room[K, W]{cfg: cfg, origin: now, seed: maphash.MakeSeed()}
	for i := range r.shard {
		r.shard[i].places = make(map[K]*place[K, W])
		r.shard[i].peers = make(map[protocol.Peer]*list[K, W])
	}
	return r
}

// Len returns how many requests wait.
func (r *Room[K, W]) Len() int { return int(r.count.Load()) }

// Park lets a copy of w wait under a key until deadline. Once it is in its place, Answer is asked once, so what
// arrived between the caller's last look and now is not missed. It returns false when the room is full or closed:
// then the caller answers. A request of a closed peer is dropped.
func (r *Room[K, W]) Park(t *protocol.Turn, key K, peer protocol.Peer, deadline time.Time, w W) bool {
	if r.count.Add(1) > int64(r.cfg.Max) || r.closed.Load() {
		r.count.Add(-1)
		return false
	}
	s := r.shardOf(key)
	s.mu.Lock()
	x := s.node()
	x.value, x.peer, x.due = w, peer, r.tickAfter(deadline)
	p := s.place(key)
	if p.busy {
		p.again = true
		gone := r.back(s, p, x)
		s.mu.Unlock()
		r.leave(t, s, gone)
		return true
	}
	p.busy = true
	s.mu.Unlock()
	r.look(t, s, p, x)
	return true
}

// Has tells whether anybody waits under the key.
func (r *Room[K, W]) Has(key K) bool {
	if r.count.Load() == 0 {
		return false
	}
	s := r.shardOf(key)
	s.mu.Lock()
	_, ok := s.places[key]
	s.mu.Unlock()
	return ok
}

// Each shows the requests that wait under a key, but those that are being looked at. fn must be quick and call nothing of the
// room.
func (r *Room[K, W]) Each(key K, fn func(w *W)) {
	s := r.shardOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.places[key]; p != nil {
		for x := p.waiting.head; x != nil; x = x.next[byKey] {
			fn(&x.value)
		}
	}
}

// Wake has all requests of the key looked at. Call it after what they wait for has become visible. Where nobody
// waits it costs one check.
func (r *Room[K, W]) Wake(t *protocol.Turn, key K) {
	if r.count.Load() == 0 {
		return
	}
	s := r.shardOf(key)
	s.mu.Lock()
	p := s.places[key]
	if p == nil || p.busy {
		if p != nil {
			p.again = true
		}
		s.mu.Unlock()
		return
	}
	p.busy = true
	chain := s.take(p)
	s.mu.Unlock()
	r.look(t, s, p, chain)
}

// Expire answers the requests whose time is up. One caller ticks it, every Tick or a little slower.
func (r *Room[K, W]) Expire(t *protocol.Turn, now time.Time) {
	tick := r.tick(now)
	for i := range r.shard {
		s := &r.shard[i]
		s.mu.Lock()
		chain := s.wheel.turn(tick, s.unlink)
		s.mu.Unlock()
		r.leave(t, s, chain)
	}
}

// Closed drops the requests of a peer. It must be called for every peer that ever parked.
func (r *Room[K, W]) Closed(peer protocol.Peer) {
	for i := range r.shard {
		s := &r.shard[i]
		s.mu.Lock()
		if l := s.peers[peer]; l != nil {
			for x := l.head; x != nil; x = l.head {
				s.unlink(x)
				s.free(x)
				r.count.Add(-1)
			}
			delete(s.peers, peer)
		}
		s.mu.Unlock()
	}
}

// Close answers everybody as if expired and lets nobody in any more.
func (r *Room[K, W]) Close(t *protocol.Turn) {
	r.closed.Store(true)
	for i := range r.shard {
		s := &r.shard[i]
		s.mu.Lock()
		var chain *waiter[K, W]
		for _, l := range s.peers {
			for x := l.head; x != nil; x = l.head {
				s.unlink(x)
				x.next[byKey] = chain
				chain = x
			}
		}
		s.mu.Unlock()
		r.leave(t, s, chain)
	}
}

// look asks Answer about a chain of requests that are out of all lists, and puts back those that stay. The caller
// has set p.busy: whoever comes meanwhile just leaves word in p.again.
func (r *Room[K, W]) look(t *protocol.Turn, s *shard[K, W], p *place[K, W], chain *waiter[K, W]) {
	for round := 1; ; round++ {
		var stay, done *waiter[K, W] // stay keeps the order of the chain
		end := &stay
		for x := chain; x != nil; {
			next := x.next[byKey]
			x.next[byKey] = nil
			if r.cfg.Answer(t, &x.value, false) {
				*end, end = x, &x.next[byKey]
			} else {
				x.next[byKey], done = done, x
			}
			x = next
		}
		s.mu.Lock()
		for x := done; x != nil; {
			next := x.next[byKey]
			s.free(x)
			r.count.Add(-1)
			x = next
		}
		gone := r.back(s, p, stay)
		again := p.again && p.waiting.head != nil
		p.again = false
		var other protocol.Peer
		if again && round < rounds {
			chain = s.take(p)
		} else {
			p.busy = false
			if again {
				other = p.waiting.head.peer
			}
			s.vacate(p)
		}
		key := p.key
		s.mu.Unlock()
		r.leave(t, s, gone)
		if other != nil {
			other.Post(func(t *protocol.Turn) { r.Wake(t, key) })
		}
		if !again || round == rounds {
			return
		}
	}
}

// back links the requests of a chain into the lists, and returns those that may not stay as the room has closed.
// Requests of closed peers are dropped. The caller holds s.mu.
func (r *Room[K, W]) back(s *shard[K, W], p *place[K, W], chain *waiter[K, W]) (gone *waiter[K, W]) {
	closed := r.closed.Load()
	for x := chain; x != nil; {
		next := x.next[byKey]
		switch {
		case x.peer.Closed():
			s.free(x)
			r.count.Add(-1)
		case closed:
			x.next[byKey], gone = gone, x
		default:
			s.link(p, x)
		}
		x = next
	}
	return gone
}

// leave answers a chain of requests for the last time.
func (r *Room[K, W]) leave(t *protocol.Turn, s *shard[K, W], chain *waiter[K, W]) {
	if chain == nil {
		return
	}
	for x := chain; x != nil; x = x.next[byKey] {
		r.cfg.Answer(t, &x.value, true)
	}
	s.mu.Lock()
	for x := chain; x != nil; {
		next := x.next[byKey]
		s.free(x)
		r.count.Add(-1)
		x = next
	}
	s.mu.Unlock()
}

func (r *Room[K, W]) shardOf(key K) *shard[K, W] {
	return &r.shard[maphash.Comparable(r.seed, key)&(shards-1)]
}

package clientmgr

import (
	"sync"
	"time"

	"rocketd/protocol"
)

const (
	// lockLife is how long a queue lock lives after it was last asked for. Source: Java RebalanceLockManager,
	// rocketmq.broker.rebalance.lockMaxLiveTime.
	lockLife = 60 * time.Second

	// maxLocks bounds the locks of one connection.
	maxLocks = 100_000
)

// Locks is the table of queue locks: which client of a group may consume a queue in order. All methods may be
// called from any goroutine.
type Locks struct {
	mu     sync.Mutex // guards both maps and the locks in them
	groups map[string]map[protocol.MessageQueue]*lock
	peers  map[protocol.Peer]map[*lock]struct{}
}

type lock struct {
	group  string
	queue  protocol.MessageQueue
	client string
	peer   protocol.Peer // the connection that asked last
	taken  time.Time
}

func (l *lock) expired(now time.Time) bool { return now.Sub(l.taken) > lockLife }

// NewLocks makes an empty table.
func NewLocks() *Locks {
	return &Locks{groups: make(map[string]map[protocol.MessageQueue]*lock), peers: make(map[protocol.Peer]map[*lock]struct{})}
}

// Lock gives a client the locks of those queues that are free, ran out, or are its own already, and returns those
// which it holds now. They are free again after Unlock, 60 s without another Lock, or when p closes; the last is
// ours alone, Java has the other members wait for the 60 s.
func (s *Locks) Lock(now time.Time, group, client string, p protocol.Peer, queues []protocol.MessageQueue) []protocol.MessageQueue {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Closed() {
		return nil
	}
	var own []protocol.MessageQueue
	for _, q := range queues {
		l := s.groups[group][q]
		switch {
		case l == nil:
			if len(s.peers[p]) >= maxLocks {
				continue
			}
			l = &lock{group: group, queue: q, client: client}
			if s.groups[group] == nil {
				s.groups[group] = make(map[protocol.MessageQueue]*lock)
			}
			s.groups[group][q] = l
		case l.client != client && !l.expired(now):
			continue
		default:
			s.disown(l)
		}
		l.client, l.peer, l.taken = client, p, now
		if s.peers[p] == nil {
			s.peers[p] = make(map[*lock]struct{})
		}
		s.peers[p][l] = struct{}{}
		own = append(own, q)
	}
	return own
}

// Unlock gives back the locks of those queues that the client holds.
func (s *Locks) Unlock(group, client string, queues []protocol.MessageQueue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range queues {
		if l := s.groups[group][q]; l != nil && l.client == client {
			s.remove(l)
		}
	}
}

// Locked tells whether a client holds the lock of a queue.
func (s *Locks) Locked(now time.Time, group, client string, q protocol.MessageQueue) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.groups[group][q]
	return l != nil && l.client == client && !l.expired(now)
}

// Held tells whether anybody holds a lock of the group. It allocates nothing.
func (s *Locks) Held(now time.Time, group []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.groups[string(group)] {
		if !l.expired(now) {
			return true
		}
	}
	return false
}

// Closed frees the locks that were last asked for over a connection.
func (s *Locks) Closed(p protocol.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.peers[p] {
		s.remove(l)
	}
}

// Expire forgets locks that ran out.
func (s *Locks) Expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, locks := range s.groups {
		for _, l := range locks {
			if l.expired(now) {
				s.remove(l)
			}
		}
	}
}

// remove takes a lock out of both maps. The caller holds s.mu.
func (s *Locks) remove(l *lock) {
	s.disown(l)
	delete(s.groups[l.group], l.queue)
	if len(s.groups[l.group]) == 0 {
		delete(s.groups, l.group)
	}
}

func (s *Locks) disown(l *lock) {
	delete(s.peers[l.peer], l)
	if len(s.peers[l.peer]) == 0 {
		delete(s.peers, l.peer)
	}
}

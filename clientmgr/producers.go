package clientmgr

import (
	"slices"
	"strings"
	"sync"
	"time"

	"rocketd/protocol"
)

// Producers is the table of producer groups. All methods may be called from any goroutine.
type Producers struct {
	mu     sync.RWMutex // guards the maps
	groups map[string]map[protocol.Peer]*Client
	peers  groupsOf
	ids    map[string]protocol.Peer // the connection over which a client ID was heard last
}

// NewProducers makes an empty table.
func NewProducers() *Producers {
	return &Producers{groups: make(map[string]map[protocol.Peer]*Client), peers: make(groupsOf), ids: make(map[string]protocol.Peer)}
}

// Register adds a client to a group, or notes that it is still there. It returns false if the connection is in too
// many groups already. A connection that has closed is not registered.
func (s *Producers) Register(now time.Time, group string, c Client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	members := s.groups[group]
	old := members[c.Peer]
	if old == nil {
		if c.Peer.Closed() {
			return true
		}
		if len(s.peers[c.Peer]) >= maxGroups {
			return false
		}
		if members == nil {
			members = make(map[protocol.Peer]*Client)
			s.groups[group] = members
		}
		s.peers[c.Peer] = append(s.peers[c.Peer], group)
		old = new(Client)
		members[c.Peer] = old
	}
	s.forget(old)
	*old = c
	old.Seen = now
	s.ids[c.ID] = c.Peer
	return true
}

// Find returns the connection of a client that is in any group, nil if there is none.
func (s *Producers) Find(id string) protocol.Peer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ids[id]
}

// forget takes the ID of a member away, if it is still that of its connection. The caller holds s.mu.
func (s *Producers) forget(c *Client) {
	if c.Peer != nil && s.ids[c.ID] == c.Peer {
		delete(s.ids, c.ID)
	}
}

// Unregister takes a connection out of a group.
func (s *Producers) Unregister(group string, p protocol.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leave(group, p) {
		s.peers.drop(p, group)
	}
}

// Closed takes a connection out of all groups.
func (s *Producers) Closed(p protocol.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, group := range s.peers[p] {
		s.forget(s.groups[group][p])
		s.leave(group, p)
	}
	delete(s.peers, p)
}

// Expire removes members that were not heard of for 120 s, and returns the connections that are left in no group.
func (s *Producers) Expire(now time.Time) (idle []protocol.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for group, members := range s.groups {
		for p, c := range members {
			if now.Sub(c.Seen) > clientLife {
				s.leave(group, p)
				if s.peers.drop(p, group) {
					idle = append(idle, p)
				}
			}
		}
	}
	return idle
}

// Has tells whether a connection is in any group.
func (s *Producers) Has(p protocol.Peer) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.peers[p]) > 0
}

// Clients returns the members of a group, by ID; none if the group is unknown.
func (s *Producers) Clients(group string) []Client {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.groups[group])
}

// All returns the members of every group.
func (s *Producers) All() map[string][]Client {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make(map[string][]Client, len(s.groups))
	for group, members := range s.groups {
		all[group] = sorted(members)
	}
	return all
}

// leave takes p out of a group and tells whether it was in it. The caller holds s.mu and sees to s.peers.
func (s *Producers) leave(group string, p protocol.Peer) bool {
	members := s.groups[group]
	c := members[p]
	if c == nil {
		return false
	}
	if len(s.peers[p]) == 1 { // its last
		s.forget(c)
	}
	delete(members, p)
	if len(members) == 0 {
		delete(s.groups, group)
	}
	return true
}

// sorted copies members, by ID.
func sorted(members map[protocol.Peer]*Client) []Client {
	list := make([]Client, 0, len(members))
	for _, c := range members {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// groupsOf are the groups that each connection is in.
type groupsOf map[protocol.Peer][]string

// drop removes one group of a connection, and tells whether it was the last.
func (m groupsOf) drop(p protocol.Peer, group string) bool {
	names := m[p]
	i, last := slices.Index(names, group), len(names)-1
	if last == 0 {
		delete(m, p)
		return true
	}
	names[i], names[last] = names[last], ""
	m[p] = names[:last]
	return false
}

package clientmgr

import (
	"slices"
	"sync"
	"time"

	"rocketd/protocol"
)

// Consumers is the table of consumer groups. All methods may be called from any goroutine. Members change under one
// lock; what the way of a pull needs lies in immutable Groups behind a second one, which heartbeats that say nothing
// new never take.
type Consumers struct {
	changed Changed

	mu     sync.Mutex // guards members and peers; may be held when taking live
	groups map[string]*members
	peers  groupsOf

	live  sync.RWMutex      // guards index; nothing is taken while it is held
	index map[string]*Group // groups that have members
}

type members struct {
	group       *Group
	clients     map[protocol.Peer]*Client
	heard       bool  // there was a heartbeat
	full        bool  // there was one with subscriptions
	fingerprint int32 // of the last one
	quiet       bool
}

// Heartbeat is what a client tells about one of its consumer groups.
type Heartbeat struct {
	Group  string
	Client Client // Seen is set by Register
	Type   protocol.ConsumeType
	Model  protocol.MessageModel
	From   protocol.ConsumeFromWhere

	Subscriptions []protocol.SubscriptionData
	// WithoutSub: the subscriptions are left out, as they are those of the last heartbeat.
	WithoutSub bool
	// Fingerprint is the hash of the client's heartbeat in version 2, otherwise 0.
	Fingerprint int32
	// Quiet: the members of the group are not to be told of changes (notifyConsumerIdsChangedEnable is off).
	Quiet bool
}

// NewConsumers makes an empty table; changed may be nil.
func NewConsumers(changed Changed) *Consumers {
	if changed == nil {
		changed = func(*protocol.Turn, string, []protocol.Peer) {}
	}
	return &Consumers{
		changed: changed,
		groups:  make(map[string]*members),
		peers:   make(groupsOf),
		index:   make(map[string]*Group),
	}
}

// Registered is what came of a heartbeat.
type Registered struct {
	Changed bool // the members or the topics of the group changed
	// Resend: the client should send its subscriptions with the next heartbeat, since its fingerprint is another
	// than the group's last one, or since they were left out and are not known here.
	Resend  bool
	TooMany bool // not registered: the connection is in too many groups
}

// Register adds a client to a group, or notes that it is still there, and takes over what it tells about the group.
// A connection that has closed is not registered. Source: Java ConsumerManager.registerConsumer,
// ClientManageProcessor.heartBeatV2; other than Java's, a broker that has just started asks a client that left its
// subscriptions out to send them.
func (s *Consumers) Register(t *protocol.Turn, now time.Time, h *Heartbeat) (r Registered) {
	s.mu.Lock()
	m := s.groups[h.Group]
	var c *Client
	if m != nil {
		c = m.clients[h.Client.Peer]
	}
	if c == nil {
		r.TooMany = len(s.peers[h.Client.Peer]) >= maxGroups
		if r.TooMany || h.Client.Peer.Closed() {
			s.mu.Unlock()
			return r
		}
		if m == nil {
			m = &members{group: &Group{}, clients: make(map[protocol.Peer]*Client)}
			s.groups[h.Group] = m
		}
		s.peers[h.Client.Peer] = append(s.peers[h.Client.Peer], h.Group)
		c = new(Client)
		m.clients[h.Client.Peer] = c
		r.Changed = true
	}
	*c = h.Client
	c.Seen = now
	m.quiet = h.Quiet
	r.Resend = m.heard && m.fingerprint != h.Fingerprint || h.WithoutSub && !m.full
	m.heard, m.fingerprint = true, h.Fingerprint
	if s.update(m, h) {
		r.Changed = true
	}
	var peers []protocol.Peer
	if r.Changed {
		peers = m.audience()
	}
	s.mu.Unlock()
	if len(peers) > 0 {
		s.changed(t, h.Group, peers)
	}
	return r
}

// update makes a new Group if the heartbeat says anything new, and tells whether the set of topics changed. The
// caller holds s.mu.
func (s *Consumers) update(m *members, h *Heartbeat) (changed bool) {
	old := m.group
	topics, differs := old.topics, old.Type != h.Type || old.Model != h.Model || old.From != h.From || old.Name == ""
	if !h.WithoutSub {
		m.full = true
		var newer bool
		topics, newer, changed = old.subscribe(h.Subscriptions)
		differs = differs || newer
	}
	if differs {
		m.group = &Group{Name: h.Group, Type: h.Type, Model: h.Model, From: h.From, topics: topics}
		s.live.Lock()
		s.index[h.Group] = m.group
		s.live.Unlock()
	}
	return changed
}

// Unregister takes a connection out of a group.
func (s *Consumers) Unregister(t *protocol.Turn, group string, p protocol.Peer) {
	s.mu.Lock()
	left, tell := s.leave(group, p)
	if left {
		s.peers.drop(p, group)
	}
	s.mu.Unlock()
	if len(tell) > 0 {
		s.changed(t, group, tell)
	}
}

// Closed takes a connection out of all groups.
func (s *Consumers) Closed(t *protocol.Turn, p protocol.Peer) {
	s.mu.Lock()
	groups := s.peers[p]
	tell := make([][]protocol.Peer, len(groups))
	for i, group := range groups {
		_, tell[i] = s.leave(group, p)
	}
	delete(s.peers, p)
	s.mu.Unlock()
	for i, group := range groups {
		if len(tell[i]) > 0 {
			s.changed(t, group, tell[i])
		}
	}
}

// Expire removes members that were not heard of for 120 s, and returns the connections that are left in no group.
func (s *Consumers) Expire(t *protocol.Turn, now time.Time) (idle []protocol.Peer) {
	tell := make(map[string][]protocol.Peer)
	s.mu.Lock()
	for group, m := range s.groups {
		for p, c := range m.clients {
			if now.Sub(c.Seen) > clientLife {
				_, tell[group] = s.leave(group, p)
				if s.peers.drop(p, group) {
					idle = append(idle, p)
				}
			}
		}
	}
	s.mu.Unlock()
	for group, peers := range tell {
		if len(peers) > 0 {
			s.changed(t, group, peers)
		}
	}
	return idle
}

// Has tells whether a connection is in any group.
func (s *Consumers) Has(p protocol.Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers[p]) > 0
}

// Subscription returns what a live group has subscribed of a topic. The group is unknown when no consumer of it is
// connected. It allocates nothing.
func (s *Consumers) Subscription(group, topic []byte) (sub Subscription, groupKnown, topicKnown bool) {
	s.live.RLock()
	g := s.index[string(group)]
	s.live.RUnlock()
	if g == nil {
		return Subscription{}, false, false
	}
	sub, topicKnown = g.Subscription(topic)
	return sub, true, topicKnown
}

// ClientID returns the ID of the member of a group that has a connection. It allocates nothing.
func (s *Consumers) ClientID(group []byte, p protocol.Peer) (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.groups[string(group)]; m != nil {
		if c := m.clients[p]; c != nil {
			return c.ID, true
		}
	}
	return "", false
}

// Group returns a group that has members, or nil.
func (s *Consumers) Group(name string) *Group {
	s.live.RLock()
	defer s.live.RUnlock()
	return s.index[name]
}

// Groups returns all groups that have members, in no order.
func (s *Consumers) Groups() []*Group {
	s.live.RLock()
	defer s.live.RUnlock()
	list := make([]*Group, 0, len(s.index))
	for _, g := range s.index {
		list = append(list, g)
	}
	return list
}

// GroupsOf returns the names of the live groups that subscribe a topic, in alphabetical order.
func (s *Consumers) GroupsOf(topic string) []string {
	var names []string
	for _, g := range s.Groups() {
		if g.topics[topic] != nil {
			names = append(names, g.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Clients returns the members of a group, by ID; none if the group is unknown.
func (s *Consumers) Clients(group string) []Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.groups[group]; m != nil {
		return sorted(m.clients)
	}
	return nil
}

// ClientIDs returns the IDs of a group's members, each once, in alphabetical order.
func (s *Consumers) ClientIDs(group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.groups[group]
	if m == nil {
		return nil
	}
	ids := make([]string, 0, len(m.clients))
	for _, c := range m.clients {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Find returns the member of a group with the given client ID.
func (s *Consumers) Find(group, id string) (Client, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.groups[group]; m != nil {
		for _, c := range m.clients {
			if c.ID == id {
				return *c, true
			}
		}
	}
	return Client{}, false
}

// leave takes p out of a group, tells whether it was in it, and returns who is to be told. The caller holds s.mu and
// sees to s.peers.
func (s *Consumers) leave(group string, p protocol.Peer) (left bool, tell []protocol.Peer) {
	m := s.groups[group]
	if m == nil || m.clients[p] == nil {
		return false, nil
	}
	delete(m.clients, p)
	if len(m.clients) == 0 {
		delete(s.groups, group)
		s.live.Lock()
		delete(s.index, group)
		s.live.Unlock()
	}
	return true, m.audience()
}

// audience returns the connections that are to be told of a change.
func (m *members) audience() []protocol.Peer {
	if m.quiet || m.group.Model == protocol.Broadcasting {
		return nil
	}
	peers := make([]protocol.Peer, 0, len(m.clients))
	for p := range m.clients {
		peers = append(peers, p)
	}
	return peers
}

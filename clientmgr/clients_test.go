package clientmgr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/protocol"
)

// peer is a connection without a socket.
type peer struct {
	name   string
	closed atomic.Bool
}

func (p *peer) RemoteAddr() netip.AddrPort       { return netip.AddrPort{} }
func (p *peer) LocalAddr() netip.AddrPort        { return netip.AddrPort{} }
func (p *peer) LockOut() []byte                  { return nil }
func (p *peer) UnlockOut(*protocol.Turn, []byte) {}
func (p *peer) Flush()                           {}
func (p *peer) Post(func(*protocol.Turn))        {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("nobody is asked")
}
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return p.closed.Load() }
func (p *peer) Close()                                 { p.closed.Store(true) }

var start = time.Unix(1_700_000_000, 0)

// bell records who was told of what.
type bell struct {
	t     *testing.T
	rings []string
}

func (b *bell) ring(_ *protocol.Turn, group string, peers []protocol.Peer) {
	names := make([]string, len(peers))
	for i, p := range peers {
		names[i] = p.(*peer).name
	}
	slices.Sort(names)
	b.rings = append(b.rings, fmt.Sprint(group, names))
}

func (b *bell) want(rings ...string) {
	b.t.Helper()
	slices.Sort(b.rings)
	if !slices.Equal(b.rings, rings) {
		b.t.Errorf("rang %q, want %q", b.rings, rings)
	}
	b.rings = nil
}

func newClients(t *testing.T) (*Clients, *bell) {
	b := &bell{t: t}
	return New(b.ring), b
}

func beat(group string, p *peer, subs ...protocol.SubscriptionData) *Heartbeat {
	return &Heartbeat{Group: group, Client: Client{ID: "id-" + p.name, Peer: p}, Type: "CONSUME_PASSIVELY",
		Model: "CLUSTERING", From: "CONSUME_FROM_LAST_OFFSET", Subscriptions: subs}
}

func sub(topic, expr string, version int64) protocol.SubscriptionData {
	return protocol.SubscriptionData{Topic: topic, SubString: expr, SubVersion: version}
}

// A connection that closes leaves all its groups, its locks are free at once, and the others are told.
func TestClients_Closed(t *testing.T) {
	c, bell := newClients(t)
	a, b := &peer{name: "a"}, &peer{name: "b"}
	for _, p := range []*peer{a, b} {
		c.Consumers.Register(nil, start, beat("g", p, sub("T", "*", 1)))
		c.Consumers.Register(nil, start, beat("h", p, sub("T", "*", 1)))
		c.Producers.Register(start, "pg", Client{ID: "id-" + p.name, Peer: p})
	}
	bell.want("g[a b]", "g[a]", "h[a b]", "h[a]")
	q := []protocol.MessageQueue{{Topic: "T"}}
	if got := c.Locks.Lock(start, "g", "id-a", a, q); len(got) != 1 {
		t.Fatal("no lock")
	}
	a.Close()
	c.Closed(nil, a)
	bell.want("g[b]", "h[b]")
	if got := c.Consumers.ClientIDs("g"); !slices.Equal(got, []string{"id-b"}) {
		t.Errorf("members %q", got)
	}
	if got := c.Producers.Clients("pg"); len(got) != 1 || got[0].ID != "id-b" {
		t.Errorf("producers %v", got)
	}
	if got := c.Locks.Lock(start, "g", "id-b", b, q); len(got) != 1 {
		t.Error("the lock of a closed connection is not free")
	}
	// What was still on its way from a leaves no trace.
	c.Consumers.Register(nil, start, beat("g", a, sub("T", "*", 1)))
	c.Producers.Register(start, "pg", Client{ID: "id-a", Peer: a})
	if c.Consumers.Has(a) || c.Producers.Has(a) || c.Locks.Lock(start, "x", "id-a", a, q) != nil {
		t.Error("a closed connection was registered")
	}
	b.Close()
	c.Closed(nil, b)
	bell.want()
	if c.Consumers.Group("g") != nil || len(c.Consumers.Groups()) != 0 || len(c.Producers.All()) != 0 {
		t.Error("groups without members are left")
	}
}

// A client that is silent for more than 120 s is removed; its connection is hung up unless another group lives on it.
func TestClients_Expire(t *testing.T) {
	c, bell := newClients(t)
	a, b := &peer{name: "a"}, &peer{name: "b"}
	c.Consumers.Register(nil, start, beat("g", a))
	c.Consumers.Register(nil, start, beat("g", b))
	c.Producers.Register(start.Add(time.Second), "pg", Client{ID: "id-b", Peer: b})
	bell.rings = nil
	c.Expire(nil, start.Add(clientLife))
	bell.want()
	c.Consumers.Register(nil, start.Add(time.Minute), beat("h", a))
	bell.want("h[a]")
	c.Expire(nil, start.Add(clientLife+1))
	bell.want()
	if c.Consumers.Group("g") != nil || a.Closed() || b.Closed() {
		t.Errorf("group %v, a closed %v, b closed %v", c.Consumers.Group("g"), a.Closed(), b.Closed())
	}
	c.Expire(nil, start.Add(clientLife+time.Second+1))
	if a.Closed() || !b.Closed() || len(c.Producers.All()) != 0 {
		t.Errorf("a closed %v, b closed %v, producers %v", a.Closed(), b.Closed(), c.Producers.All())
	}
	c.Expire(nil, start.Add(time.Hour))
	if !a.Closed() {
		t.Error("a is still connected")
	}
}

// One connection cannot fill the memory with groups.
func TestClients_TooManyGroups(t *testing.T) {
	c, _ := newClients(t)
	p := &peer{name: "a"}
	for i := range maxGroups {
		name := fmt.Sprint(i)
		if !c.Producers.Register(start, name, Client{Peer: p}) || c.Consumers.Register(nil, start, beat(name, p)).TooMany {
			t.Fatalf("refused after %d groups", i)
		}
	}
	if c.Producers.Register(start, "more", Client{Peer: p}) || !c.Consumers.Register(nil, start, beat("more", p)).TooMany {
		t.Error("no limit")
	}
	if !c.Producers.Register(start, "7", Client{Peer: p}) || c.Consumers.Register(nil, start, beat("7", p)).TooMany {
		t.Error("a known group was refused")
	}
	c.Closed(nil, p)
	if len(c.Producers.All()) != 0 || len(c.Consumers.Groups()) != 0 {
		t.Error("groups are left")
	}
}

func TestProducers_Unregister(t *testing.T) {
	s := NewProducers()
	a, b := &peer{name: "a"}, &peer{name: "b"}
	s.Register(start, "g", Client{ID: "2", Peer: a, Version: 1})
	s.Register(start, "g", Client{ID: "1", Peer: b})
	s.Register(start, "h", Client{ID: "2", Peer: a})
	s.Register(start.Add(1), "g", Client{ID: "2", Peer: a, Version: 2})
	got := s.All()
	if g := got["g"]; len(got) != 2 || len(g) != 2 || g[0].ID != "1" || g[1].Version != 2 || !g[1].Seen.Equal(start.Add(1)) {
		t.Errorf("all %+v", got)
	}
	s.Unregister("g", a)
	s.Unregister("g", a)
	s.Unregister("none", a)
	if len(s.Clients("g")) != 1 || !s.Has(a) {
		t.Error("left the wrong group")
	}
	s.Unregister("h", a)
	if s.Has(a) || len(s.Clients("h")) != 0 {
		t.Error("still there")
	}
}

// A producer is found by its ID over the connection that it was heard of last, until that has left all groups.
func TestProducers_Find(t *testing.T) {
	s := NewProducers()
	one, two := &peer{}, &peer{}
	check := func(id string, want protocol.Peer) {
		t.Helper()
		if got := s.Find(id); got != want {
			t.Errorf("%s is at %v, want %v", id, got, want)
		}
	}
	check("a", nil)
	for _, group := range []string{"g", "h"} {
		s.Register(start, group, Client{ID: "a", Peer: one})
	}
	check("a", one)
	s.Unregister("g", one)
	check("a", one)
	s.Register(start, "g", Client{ID: "a", Peer: two}) // it has connected again
	check("a", two)
	s.Unregister("h", one)
	s.Closed(one)
	check("a", two)
	s.Register(start, "g", Client{ID: "b", Peer: two})
	check("a", nil)
	check("b", two)
	s.Register(start, "h", Client{ID: "b", Peer: two})
	s.Closed(two)
	check("b", nil)
	s.Register(start, "g", Client{ID: "b", Peer: one})
	s.Expire(start.Add(time.Hour))
	check("b", nil)
	if len(s.ids) != 0 {
		t.Errorf("%d ids are left", len(s.ids))
	}
}

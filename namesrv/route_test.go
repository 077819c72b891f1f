package namesrv

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"rocketd/namesrv/route"
	"rocketd/protocol"
	"rocketd/topic"
)

// sink is a peer whose answers go nowhere.
type sink struct{ out []byte }

func (p *sink) RemoteAddr() netip.AddrPort             { return netip.AddrPort{} }
func (p *sink) LocalAddr() netip.AddrPort              { return netip.AddrPort{} }
func (p *sink) LockOut() []byte                        { return p.out[:0] }
func (p *sink) UnlockOut(_ *protocol.Turn, out []byte) { p.out = out }
func (p *sink) Flush()                                 {}
func (p *sink) Post(func(*protocol.Turn))              {}
func (p *sink) Send(*protocol.Turn, *protocol.Command) {}
func (p *sink) Closed() bool                           { return false }
func (p *sink) Close()                                 {}
func (p *sink) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	return nil, context.Canceled
}

// routeCall makes a server with one topic on two brokers, and a request for its route.
func routeCall(t testing.TB) (*Server, *protocol.Call) {
	s := &Server{routes: route.New(route.Config{})}
	s.opts.Store(&options{})
	for _, name := range []string{"broker-a", "broker-b"} {
		r := &route.Registration{Broker: route.Broker{Cluster: "C", Name: name, Addr: name + ":10911"}}
		r.Topics.TopicConfigTable = topicTable("TopicA", "TopicB")
		if _, err := s.routes.Register(time.Now(), r); err != nil {
			t.Fatal(err)
		}
	}
	c := &protocol.Call{Peer: &sink{}, Turn: &protocol.Turn{Now: time.Now()}}
	c.Code, c.Version = protocol.GetRouteinfoByTopic, protocol.Version
	c.Set("topic", "TopicA")
	return s, c
}

func topicTable(names ...string) map[string]*topic.Config {
	table := map[string]*topic.Config{}
	for _, name := range names {
		table[name] = topic.NewConfig(name, 8)
	}
	return table
}

// A route that was asked for before is answered without allocation.
func TestServer_RouteByTopic_NoAllocation(t *testing.T) {
	s, c := routeCall(t)
	ask := func() {
		if err := s.routeByTopic(c); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	if n := testing.AllocsPerRun(100, ask); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkServer_RouteByTopic(b *testing.B) {
	s, c := routeCall(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.routeByTopic(c); err != nil {
			b.Fatal(err)
		}
	}
}

package clientmgr

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"rocketd/protocol"
)

func (s *Consumers) topics(group string) string {
	g := s.Group(group)
	if g == nil {
		return "none"
	}
	var text []string
	for _, name := range g.Topics() {
		d := g.Data(name)
		text = append(text, fmt.Sprintf("%s:%s@%d", name, d.SubString, d.SubVersion))
	}
	return fmt.Sprint(text)
}

// Topics come and go with each heartbeat, a newer version replaces, an older one does not; only a change of the set
// of topics or of the members is news. Source: Java ConsumerGroupInfo.updateSubscription.
func TestConsumers_Register_Subscriptions(t *testing.T) {
	c, bell := newClients(t)
	s, a, b := c.Consumers, &peer{name: "a"}, &peer{name: "b"}
	check := func(p *peer, topics string, rings []string, subs ...protocol.SubscriptionData) {
		t.Helper()
		r := s.Register(nil, start, beat("g", p, subs...))
		if got := s.topics("g"); got != topics {
			t.Errorf("topics %s, want %s", got, topics)
		}
		if r.Changed != (rings != nil) || r.Resend || r.TooMany {
			t.Errorf("%+v, rings %q", r, rings)
		}
		bell.want(rings...)
	}
	told := func(rings ...string) []string { return rings }
	check(a, "[T:*@5]", told("g[a]"), sub("T", "*", 5))
	check(a, "[T:*@5]", nil, sub("T", "*", 5))
	check(a, "[T:x@6]", nil, sub("T", "x", 6))
	check(a, "[T:x@6]", nil, sub("T", "y", 5))
	check(b, "[T:x@6 U:*@1]", told("g[a b]"), sub("T", "x", 6), sub("U", "*", 1))
	check(b, "[U:*@1]", told("g[a b]"), sub("U", "*", 1))
	check(a, "[T:x@6]", told("g[a b]"), sub("T", "x", 6)) // one came, one went
	check(a, "[T:z@8]", nil, sub("T", "y", 7), sub("T", "z", 8), sub("T", "w", 6))
	check(a, "[]", told("g[a b]"))
	s.Unregister(nil, "g", a)
	bell.want("g[b]")
	s.Unregister(nil, "g", a)
	bell.want()
	s.Unregister(nil, "g", b)
	if s.topics("g") != "none" || s.Has(a) || s.Has(b) {
		t.Error("somebody is left")
	}
}

// Members of broadcasting groups, and of groups whose configuration says so, are not told.
func TestConsumers_Register_NotTold(t *testing.T) {
	c, bell := newClients(t)
	h := beat("g", &peer{name: "a"}, sub("T", "*", 1))
	h.Model = protocol.Broadcasting
	if !c.Consumers.Register(nil, start, h).Changed {
		t.Error("no change")
	}
	h = beat("h", &peer{name: "a"}, sub("T", "*", 1))
	h.Quiet = true
	c.Consumers.Register(nil, start, h)
	bell.want()
	h.Quiet = false
	h.Subscriptions = nil
	c.Consumers.Register(nil, start, h)
	bell.want("h[a]")
}

// Heartbeat version 2: without subscriptions the known ones hold. The client is asked for them when the group's last
// heartbeat had another fingerprint, or when they are not known.
func TestConsumers_Register_WithoutSub(t *testing.T) {
	c, _ := newClients(t)
	s, a, b := c.Consumers, &peer{name: "a"}, &peer{name: "b"}
	check := func(p *peer, fingerprint int32, without, resend bool, topics string) {
		t.Helper()
		h := beat("g", p)
		h.Fingerprint, h.WithoutSub = fingerprint, without
		if !without {
			h.Subscriptions = []protocol.SubscriptionData{sub("T", "*", 1)}
		}
		if r := s.Register(nil, start, h); r.Resend != resend {
			t.Errorf("resend %v, want %v", r.Resend, resend)
		}
		if got := s.topics("g"); got != topics {
			t.Errorf("topics %s, want %s", got, topics)
		}
	}
	check(a, 7, true, true, "[]") // we have just started
	check(a, 7, false, false, "[T:*@1]")
	check(a, 7, true, false, "[T:*@1]")
	check(b, 7, true, false, "[T:*@1]")
	check(b, 8, true, true, "[T:*@1]")
	check(b, 8, true, false, "[T:*@1]")
	check(a, 7, true, true, "[T:*@1]")
}

func TestConsumers_Subscription(t *testing.T) {
	c, _ := newClients(t)
	s, p := c.Consumers, &peer{name: "a"}
	check := func(group, topic string, groupKnown, topicKnown bool) Subscription {
		t.Helper()
		got, g, k := s.Subscription([]byte(group), []byte(topic))
		if g != groupKnown || k != topicKnown {
			t.Errorf("%s/%s: %v %v, want %v %v", group, topic, g, k, groupKnown, topicKnown)
		}
		return got
	}
	h := beat("g", p,
		protocol.SubscriptionData{Topic: "T", SubString: "TagA", CodeSet: []int32{2598919}, SubVersion: 3, ExpressionType: "TAG"},
		protocol.SubscriptionData{Topic: "S", SubString: "a > 1", ExpressionType: "SQL92"},
		protocol.SubscriptionData{Topic: "B", SubString: "a >", ExpressionType: "SQL92"},
		protocol.SubscriptionData{Topic: "C", SubString: "some.Class", ClassFilterMode: true})
	h.Model = protocol.Broadcasting
	check("g", "T", false, false)
	s.Register(nil, start, h)
	if got := check("g", "T", true, true); got.Version != 3 || !got.Broadcast || !got.Filter.Match(2598919) || got.Filter.Match(1) {
		t.Errorf("%+v", got)
	}
	if got := check("g", "S", true, true); got.Type != "SQL92" || got.Filter == nil || got.Filter.Wants() == nil {
		t.Errorf("an SQL92 expression: %+v", got)
	}
	if got := check("g", "B", true, true); got.Type != "SQL92" || got.Filter != nil {
		t.Errorf("a broken SQL92 expression: %+v", got)
	}
	if got := check("g", "C", true, true); got.Filter == nil || got.Filter.Func() != nil {
		t.Error("a class filter lets everything through")
	}
	if got := check("g", "none", true, false); !got.Broadcast {
		t.Error("the model is the group's")
	}
	if got := s.GroupsOf("T"); !slices.Equal(got, []string{"g"}) || len(s.GroupsOf("none")) != 0 {
		t.Errorf("groups of T: %q", got)
	}
	group, topic := []byte("g"), []byte("T")
	if n := testing.AllocsPerRun(100, func() { s.Subscription(group, topic) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConsumers_Members(t *testing.T) {
	c, _ := newClients(t)
	s, a, b, again := c.Consumers, &peer{name: "a"}, &peer{name: "b"}, &peer{name: "a"}
	for _, p := range []*peer{b, a, again} { // a has reconnected, its old connection is not gone yet
		s.Register(nil, start, beat("g", p))
	}
	if got := s.ClientIDs("g"); !slices.Equal(got, []string{"id-a", "id-b"}) {
		t.Errorf("ids %q", got)
	}
	if got := s.Clients("g"); len(got) != 3 || got[2].Peer != b {
		t.Errorf("clients %v", got)
	}
	if got, ok := s.Find("g", "id-b"); !ok || got.Peer != b {
		t.Errorf("found %v %v", got, ok)
	}
	_, other := s.Find("g", "id-c")
	_, none := s.Find("none", "id-b")
	if other || none || s.ClientIDs("none") != nil || s.Clients("none") != nil {
		t.Error("found whom there is not")
	}
}

// Heartbeats, hang-ups and reads at the same time leave nothing behind.
func TestConsumers_Race(t *testing.T) {
	c := New(nil)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 200 {
				p := &peer{name: fmt.Sprint(n, i)}
				group := fmt.Sprint("g", i%3)
				c.Consumers.Register(nil, start, beat(group, p, sub("T", "*", int64(i))))
				c.Producers.Register(start, group, Client{ID: p.name, Peer: p})
				c.Locks.Lock(start, group, p.name, p, []protocol.MessageQueue{{Topic: "T", QueueID: int32(i % 2)}})
				c.Consumers.Subscription([]byte(group), []byte("T"))
				c.Consumers.ClientIDs(group)
				c.Producers.All()
				p.Close()
				c.Closed(nil, p)
			}
		})
	}
	wg.Wait()
	if len(c.Consumers.Groups()) != 0 || len(c.Consumers.groups) != 0 || len(c.Consumers.peers) != 0 ||
		len(c.Producers.groups) != 0 || len(c.Producers.peers) != 0 || len(c.Locks.groups) != 0 || len(c.Locks.peers) != 0 {
		t.Error("something is left")
	}
}

func BenchmarkConsumers_Subscription(b *testing.B) {
	c := New(nil)
	for i := range 1000 {
		p := &peer{name: fmt.Sprint(i)}
		c.Consumers.Register(nil, start, beat(fmt.Sprint("group-", i), p, sub("TopicTest", "*", 1), sub("%RETRY%group", "*", 1)))
	}
	group, topic := []byte("group-500"), []byte("TopicTest")
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Consumers.Subscription(group, topic)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Consumers.Subscription(group, topic)
			}
		})
	})
}

// A heartbeat that says nothing new.
func BenchmarkConsumers_Register(b *testing.B) {
	c := New(nil)
	h := beat("g", &peer{name: "a"}, sub("TopicTest", "*", 1), sub("%RETRY%g", "*", 1))
	b.ReportAllocs()
	for b.Loop() {
		c.Consumers.Register(nil, start, h)
	}
}

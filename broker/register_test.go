package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/remoting"
	"rocketd/topic"
)

// nameServer is a stand-in that records the registrations it gets.
type nameServer struct {
	addr string
	got  chan *protocol.RegisterBrokerBody
	left chan struct{}
}

func (n *nameServer) Serve(c *protocol.Call) {
	switch c.Code {
	case protocol.RegisterBroker:
		body := new(protocol.RegisterBrokerBody)
		if err := laxjson.Unmarshal(c.Body, body); err != nil {
			panic(err)
		}
		n.got <- body
	case protocol.UnregisterBroker:
		n.left <- struct{}{}
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
}
func (n *nameServer) EndTurn(*protocol.Turn)               {}
func (n *nameServer) Closed(*protocol.Turn, protocol.Peer) {}

func newNameServer(t *testing.T) *nameServer {
	n := &nameServer{got: make(chan *protocol.RegisterBrokerBody, 100), left: make(chan struct{}, 1)}
	n.addr = listen(t, n)
	return n
}

// listen serves until the test ends, and returns where.
func listen(t *testing.T, h remoting.Handler) (addr string) {
	s, err := remoting.Listen(remoting.ServerConfig{Addrs: []string{"127.0.0.1:0"}, NewHandler: func() remoting.Handler { return h }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s.Addrs()[0].String()
}

// Every NameServer learns all topics at the start, a new topic at once, a changed permission, and that we leave; one
// that never answers and one that is not there delay nobody.
func TestRegistrar_HungNameServerDelaysNobody(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0") // accepts into its backlog and never reads
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	n := newNameServer(t)
	h := open(t, t.TempDir(), "namesrvAddr="+strings.Join([]string{hung.Addr().String(), "127.0.0.1:1", n.addr}, ";"))
	first := <-n.got
	if topics := first.TopicConfigSerializeWrapper.TopicConfigTable; topics["TBW102"] == nil || len(topics) < 10 {
		t.Errorf("the first registration has %d topics", len(topics))
	}
	begin := time.Now()
	h.send("New", "x")
	second := <-n.got
	if topics := second.TopicConfigSerializeWrapper.TopicConfigTable; len(topics) != 1 || topics["New"] == nil {
		t.Errorf("the second registration has %d topics", len(topics))
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("a new topic was registered after %v", d)
	}
	if r := h.call(protocol.UpdateBrokerConfig, "brokerPermission=4\n"); r.Code != protocol.Success {
		t.Fatalf("update: code %d %q", r.Code, r.Remark)
	}
	third := <-n.got
	if p := third.TopicConfigSerializeWrapper.TopicConfigTable["New"].Perm; p != 4 {
		t.Errorf("permission %v after the broker's became 4", p)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	<-n.left
}

// A table of topics that is longer than a frame may be is registered in several requests, at the start and when all of it
// has changed.
func TestRegistrar_ManyTopics(t *testing.T) {
	const topics = 30_000
	n := newNameServer(t)
	dir := t.TempDir()
	h := open(t, dir, "namesrvAddr="+n.addr)
	system := len((<-n.got).TopicConfigSerializeWrapper.TopicConfigTable)
	configs := make([]*topic.Config, topics)
	for i := range configs {
		configs[i] = topic.NewConfig(fmt.Sprintf("%s%06d", strings.Repeat("t", 240), i), 1)
	}
	if err := h.broker.topics.Put(configs...); err != nil {
		t.Fatal(err)
	}
	all := func(when string, want int) {
		t.Helper()
		got := map[string]bool{}
		for len(got) < want {
			part := (<-n.got).TopicConfigSerializeWrapper.TopicConfigTable
			for name := range part {
				got[name] = true
			}
			if len(part) > 801 {
				t.Errorf("%s: %d topics in one registration", when, len(part))
			}
		}
		if len(got) != want {
			t.Errorf("%s: %d topics, wanted %d", when, len(got), want)
		}
	}
	all("changed", topics)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	<-n.left
	h = open(t, dir, "namesrvAddr="+n.addr)
	all("at the start", topics+system)
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	<-n.left
}

// With enableSingleTopicRegister a new topic costs no other one its route at a NameServer that forgets what a registration does not
// mention.
func TestRegistrar_SingleTopic(t *testing.T) {
	namesrv := startNamesrv(t, "deleteTopicWithBrokerRegistration=true")
	h := open(t, t.TempDir(), "namesrvAddr="+namesrv, "brokerName=a", "enableSingleTopicRegister=true")
	h.send("New", "x")
	names := h.broker.registrar.namesrv
	known := func(topic string) func() bool {
		return func() bool {
			r, err := names.Route(t.Context(), namesrv, topic)
			return err == nil && len(r.QueueDatas) == 1 && r.QueueDatas[0].BrokerName == "a" && r.QueueDatas[0].Perm == 6
		}
	}
	h.until("the route of the new topic", known("New"))
	h.send("Newer", "x")
	h.until("the route of the next one", known("Newer"))
	for _, name := range []string{"New", "TBW102", "DefaultCluster"} {
		if _, err := names.Route(t.Context(), namesrv, name); err != nil {
			t.Error(err)
		}
	}
}

// Two masters with one name and id hear of each other, say so once, and again when one of them is gone.
func TestRegistrar_TwoMasters(t *testing.T) {
	namesrv := startNamesrv(t)
	one := open(t, t.TempDir(), "namesrvAddr="+namesrv, "brokerName=a")
	other := open(t, t.TempDir(), "namesrvAddr="+namesrv, "brokerName=a")
	contested := func(h *house) func() bool {
		return func() bool { return h.broker.registrar.all()[0].contested() }
	}
	one.send("New", "x") // it registers that at once, and does not get its place back
	one.until("the objection to the earlier one", contested(one))
	other.send("New", "x")
	other.until("the objection to the later one", contested(other))

	var out strings.Builder
	told := &teller{registrar: &registrar{log: slog.New(slog.NewTextHandler(&out, nil))}, addr: "ns:1"}
	for _, objection := range []string{"", "h:1 claims to be broker a with id 0, too", "h:1 claims to be broker a with id 0, too", "", ""} {
		told.object(objection)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "level=ERROR") || !strings.Contains(lines[0], "h:1 claims") || !strings.Contains(lines[1], "alone") {
		t.Errorf("%q", lines)
	}
}

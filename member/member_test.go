package member

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/clientmgr"
	"rocketd/protocol"
	"rocketd/topic"
)

// peer is a connection without a socket; what would be written gathers in out.
type peer struct {
	name   string
	out    []byte
	posts  []func(*protocol.Turn)
	closed bool
}

func (p *peer) RemoteAddr() netip.AddrPort                 { return netip.MustParseAddrPort("192.0.2.10:5000") }
func (p *peer) LocalAddr() netip.AddrPort                  { return netip.AddrPort{} }
func (p *peer) LockOut() []byte                            { return p.out }
func (p *peer) UnlockOut(_ *protocol.Turn, out []byte)     { p.out = out }
func (p *peer) Flush()                                     {}
func (p *peer) Post(fn func(*protocol.Turn))               { p.posts = append(p.posts, fn) }
func (p *peer) Send(_ *protocol.Turn, c *protocol.Command) { p.out = c.Append(p.out) }
func (p *peer) Closed() bool                               { return p.closed }
func (p *peer) Close()                                     { p.closed = true }
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}

// frames takes what was written, decoded.
func (p *peer) frames(t *testing.T) (list []protocol.Command) {
	t.Helper()
	for b := p.out; len(b) > 0; {
		n, err := protocol.FrameLength(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		var c protocol.Command
		if err := c.Decode(b[4:n]); err != nil {
			t.Fatal(err)
		}
		list = append(list, *c.Clone())
		b = b[n:]
	}
	p.out = nil
	return list
}

// answer takes the one response that was written.
func (p *peer) answer(t *testing.T) protocol.Command {
	t.Helper()
	list := slices.DeleteFunc(p.frames(t), func(c protocol.Command) bool { return !c.IsResponse() })
	if len(list) != 1 {
		t.Fatalf("%d answers, want one", len(list))
	}
	return list[0]
}

// notices takes the groups that the peer was told of.
func (p *peer) notices(t *testing.T) (groups []string) {
	t.Helper()
	for _, c := range p.frames(t) {
		if c.Code == protocol.NotifyConsumerIdsChanged && !c.IsResponse() {
			g, _ := c.Get("consumerGroup")
			groups = append(groups, string(g))
			if !c.IsOneway() {
				t.Error("the notice wants an answer")
			}
		}
	}
	return groups
}

// tables are the topics and groups of a broker that has just these.
type tables struct {
	topics     map[string]*topic.Config
	groups     map[string]*topic.GroupConfig
	autoCreate bool
	err        error
}

type topics struct{ *tables }

func (s topics) Get(name []byte) *topic.Config { return s.topics[string(name)] }
func (s topics) Ensure(configs ...*topic.Config) error {
	for _, c := range configs {
		s.topics[c.Name] = c
	}
	return s.err
}

type groups struct{ *tables }

func (s groups) Get(name []byte) *topic.GroupConfig { return s.groups[string(name)] }
func (s groups) Create(_ context.Context, name string) (*topic.GroupConfig, error) {
	if !s.autoCreate || s.err != nil {
		return nil, s.err
	}
	s.groups[name] = topic.NewGroupConfig(name)
	return s.groups[name], nil
}

var start = time.Unix(1_700_000_000, 0)

// bench is a service with all that it needs.
type bench struct {
	*Service
	*tables
	clients   *clientmgr.Clients
	rejects   bool
	offloaded int
}

func newBench() *bench {
	b := &bench{
		tables: &tables{topics: map[string]*topic.Config{}, groups: map[string]*topic.GroupConfig{}, autoCreate: true},
	}
	b.clients = clientmgr.New(func(t *protocol.Turn, group string, peers []protocol.Peer) { b.Notify(t, group, peers) })
	b.Service = New(Config{
		Topics: topics{b.tables}, Groups: groups{b.tables}, Clients: b.clients,
		RejectPull: func() bool { return b.rejects },
		Resume: func(c *protocol.Call, run func(c *protocol.Call) error) {
			c.Peer.Post(func(t *protocol.Turn) {
				c.Turn = t
				if err := run(c); err != nil {
					c.Fail(err)
				}
			})
		},
		Offload: func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
			b.offloaded++
			own := &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer}
			clear(c.Body) // the frame is gone when the handler has returned
			if err := run(context.Background(), own); err != nil {
				own.Fail(err)
			}
		},
	})
	return b
}

// serve hands a request to its handler as dispatch does, and runs what was posted.
func (b *bench) serve(p *peer, cmd protocol.Command) {
	handlers := map[int32]func(*protocol.Call) error{
		protocol.HeartBeat: b.Heartbeat, protocol.UnregisterClient: b.Unregister, protocol.GetConsumerListByGroup: b.List,
		protocol.LockBatchMq: b.Lock, protocol.UnlockBatchMq: b.Unlock, protocol.CheckClientConfig: b.Check,
		protocol.QueryAssignment: b.Assignment,
	}
	c := &protocol.Call{Command: cmd, Peer: p, Turn: &protocol.Turn{Now: start}}
	if err := handlers[cmd.Code](c); err != nil {
		c.Fail(err)
	}
	for _, fn := range p.posts {
		fn(&protocol.Turn{Now: start})
	}
	p.posts = nil
}

func request(code int32, body string, fields ...string) protocol.Command {
	c := protocol.Command{Code: code, Opaque: 7, Version: 515, Body: []byte(body)}
	for i := 0; i < len(fields); i += 2 {
		c.Set(fields[i], fields[i+1])
	}
	return c
}

func beat(id string, consumers ...string) string {
	return fmt.Sprintf(`{"clientID":%q,"consumerDataSet":[%s],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"pg"}],"withoutSub":false}`,
		id, strings.Join(consumers, ","))
}

func consumer(group, model string, topics ...string) string {
	for i, name := range topics {
		topics[i] = fmt.Sprintf(`{"codeSet":[],"subString":"*","subVersion":1,"tagsSet":[],"topic":%q}`, name)
	}
	return fmt.Sprintf(`{"groupName":%q,"messageModel":%q,"consumeType":"CONSUME_PASSIVELY","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[%s]}`,
		group, model, strings.Join(topics, ","))
}

// Every exchange that was recorded between Java's clients and its broker has the same answer here; the broker of the
// recording filters by property, which we do not.
func TestService_JavaFrames(t *testing.T) {
	f, err := os.Open("testdata/frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decode := func(text string) (c protocol.Command) {
		b, err := hex.DecodeString(text)
		if err == nil {
			err = c.Decode(b[4:])
		}
		if err != nil {
			t.Fatal(err)
		}
		return *c.Clone()
	}
	seen := make(map[int32]int)
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var row struct{ Step, Request, Response string }
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		req := decode(row.Request)
		seen[req.Code]++
		name := fmt.Sprint(protocol.RequestName(req.Code), " ", row.Step)
		b, p := newBench(), &peer{name: "a"}
		if req.Code == protocol.NotifyConsumerIdsChanged {
			group, _ := req.Get("consumerGroup")
			b.Notify(nil, string(group), []protocol.Peer{p})
			got := p.frames(t)
			if len(got) != 1 || got[0].Code != req.Code || !got[0].IsOneway() || !slices.EqualFunc(got[0].Fields, req.Fields, sameField) || len(got[0].Body) > 0 {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		want := decode(row.Response)
		if req.Code == protocol.GetConsumerListByGroup && want.Code == protocol.Success {
			var list struct{ ConsumerIDList []string }
			if err := json.Unmarshal(want.Body, &list); err != nil {
				t.Fatal(err)
			}
			group, _ := req.Get("consumerGroup")
			for _, id := range list.ConsumerIDList {
				b.serve(&peer{}, request(protocol.HeartBeat, beat(id, consumer(string(group), "CLUSTERING"))))
			}
			slices.Sort(list.ConsumerIDList) // clients sort it, too
			want.Body, _ = json.Marshal(map[string][]string{"consumerIdList": list.ConsumerIDList})
		}
		b.serve(p, req)
		got := p.answer(t)
		if req.Code == protocol.CheckClientConfig {
			if got.Code != protocol.SystemError || got.Remark != "The broker does not support consumer to filter message by SQL92" {
				t.Errorf("%s: %+v", name, got)
			}
			b.cfg.PropertyFilter = true // as Java had it
			b.serve(p, req)
			got = p.answer(t)
			b.cfg.PropertyFilter = false
			if want.Code == protocol.SubscriptionParseFailed { // with the text of an exception
				want.Remark = got.Remark
			}
		}
		byKey := func(a, b protocol.Field) int { return bytes.Compare(a.Key, b.Key) }
		slices.SortFunc(got.Fields, byKey)
		slices.SortFunc(want.Fields, byKey)
		if got.Code != want.Code || got.Remark != want.Remark || got.Opaque != want.Opaque || got.Form != want.Form ||
			!slices.EqualFunc(got.Fields, want.Fields, sameField) || !bytes.Equal(got.Body, want.Body) {
			t.Errorf("%s:\n got %+v %s\nwant %+v %s", name, got, got.Body, want, want.Body)
		}
	}
	if err := s.Err(); err != nil || len(seen) != 7 {
		t.Fatalf("%v, codes %v", err, seen)
	}
}

func sameField(a, b protocol.Field) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
}

// Two members come and go; each change reaches all who are there, in the same turn.
func TestService_Membership(t *testing.T) {
	b := newBench()
	one, two := &peer{name: "1"}, &peer{name: "2"}
	check := func(first, second []string) {
		t.Helper()
		if got := one.notices(t); !slices.Equal(got, first) {
			t.Errorf("one was told of %q, want %q", got, first)
		}
		if got := two.notices(t); !slices.Equal(got, second) {
			t.Errorf("two was told of %q, want %q", got, second)
		}
	}
	g, none := []string{"g"}, []string(nil)
	b.serve(one, request(protocol.HeartBeat, beat("id1", consumer("g", "Clustering", "T"))))
	check(g, none)
	b.serve(two, request(protocol.HeartBeat, beat("id2", consumer("g", "CLUSTERING", "T"))))
	check(g, g)
	b.serve(two, request(protocol.HeartBeat, beat("id2", consumer("g", "CLUSTERING", "T"))))
	check(none, none)
	b.serve(two, request(protocol.HeartBeat, beat("id2", consumer("g", "CLUSTERING", "T", "U"))))
	check(g, g)
	b.serve(one, request(protocol.GetConsumerListByGroup, "", "consumerGroup", "g"))
	if got := one.answer(t); string(got.Body) != `{"consumerIdList":["id1","id2"]}` {
		t.Errorf("list %s", got.Body)
	}
	b.serve(two, request(protocol.UnregisterClient, "", "clientID", "id2", "consumerGroup", "g", "producerGroup", "pg"))
	check(g, none)
	if got := b.clients.Producers.Clients("pg"); len(got) != 1 || got[0].ID != "id1" {
		t.Errorf("producers %v", got)
	}
	b.serve(two, request(protocol.HeartBeat, beat("id2", consumer("g", "CLUSTERING", "T"))))
	check(g, g)
	one.Close()
	b.clients.Closed(nil, one)
	check(none, g)
	two.Close()
	b.clients.Closed(nil, two)
	b.serve(one, request(protocol.GetConsumerListByGroup, "", "consumerGroup", "g"))
	if got := one.answer(t); got.Code != protocol.SystemError || got.Remark != "no consumer for this group, g" {
		t.Errorf("%+v", got)
	}
	// Broadcasting members share nothing out.
	b.serve(&peer{}, request(protocol.HeartBeat, beat("id3", consumer("bc", "BroadCasting", "T"))))
	three := &peer{}
	b.serve(three, request(protocol.HeartBeat, beat("id4", consumer("bc", "BROADCASTING", "T"))))
	if got := three.notices(t); got != nil {
		t.Errorf("told of %q", got)
	}
}

// An unknown group and its retry topic are made on the pool, once; then the heartbeat is served in the turn.
func TestService_Heartbeat_Creates(t *testing.T) {
	b, p := newBench(), &peer{}
	order := topic.NewConfig("O", 4)
	order.Order = true
	b.topics["O"] = order
	body := beat("id", consumer("g", "CLUSTERING", "T"), strings.Replace(consumer("o", "CLUSTERING", "O"), "{", `{"unitMode":true,`, 1))
	b.serve(p, request(protocol.HeartBeat, body))
	if got := p.answer(t); got.Code != protocol.Success || b.offloaded != 1 {
		t.Fatalf("%+v, offloaded %d times", got, b.offloaded)
	}
	if r := b.topics["%RETRY%g"]; r == nil || r.WriteQueueNums != 1 || r.Perm != topic.PermRead|topic.PermWrite || r.Order || r.SysFlag != 0 {
		t.Errorf("retry topic %+v", r)
	}
	if r := b.topics["%RETRY%o"]; r == nil || !r.Order || r.SysFlag != topic.FlagUnitSub {
		t.Errorf("retry topic %+v", r)
	}
	if _, _, known := b.clients.Consumers.Subscription([]byte("g"), []byte("T")); !known {
		t.Error("not registered")
	}
	b.serve(p, request(protocol.HeartBeat, body))
	if p.answer(t); b.offloaded != 1 {
		t.Error("offloaded although all is there")
	}
	b.groups["g"].NotifyConsumerIDsChangedEnable = false
	other := &peer{}
	b.serve(other, request(protocol.HeartBeat, beat("id2", consumer("g", "CLUSTERING", "T"))))
	if got := other.notices(t); got != nil {
		t.Errorf("told of %q, although the group does not want it", got)
	}
}

func TestService_Heartbeat_NotCreated(t *testing.T) {
	b, p := newBench(), &peer{}
	b.autoCreate = false
	b.serve(p, request(protocol.HeartBeat, beat("id", consumer("g", "CLUSTERING", "T"))))
	if got := p.answer(t); got.Code != protocol.Success || b.clients.Consumers.Group("g") != nil || len(b.clients.Producers.Clients("pg")) != 1 {
		t.Errorf("%+v", got)
	}
	b.autoCreate, b.err = true, errors.New("no space left")
	b.serve(p, request(protocol.HeartBeat, beat("id", consumer("g", "CLUSTERING", "T"))))
	if got := p.answer(t); got.Code != protocol.SystemError || got.Remark != "no space left" {
		t.Errorf("%+v", got)
	}
	b.err, b.rejects = nil, true
	active := strings.Replace(consumer("g", "CLUSTERING", "T"), "PASSIVELY", "ACTIVELY", 1)
	b.serve(p, request(protocol.HeartBeat, beat("id", active)))
	if got := p.answer(t); got.Code != protocol.Success || b.groups["g"] != nil || b.clients.Consumers.Group("g") != nil {
		t.Errorf("%+v", got)
	}
}

// Version 2 leaves the subscriptions out while they are the same, and is asked for them when they are not known.
func TestService_Heartbeat_Version2(t *testing.T) {
	b, p := newBench(), &peer{}
	check := func(fingerprint string, without bool, change string) {
		t.Helper()
		body := beat("id", consumer("g", "CLUSTERING", "T"))
		if without {
			body = beat("id", consumer("g", "CLUSTERING"))
			body = strings.Replace(body, `"withoutSub":false`, `"withoutSub":true`, 1)
		}
		b.serve(p, request(protocol.HeartBeat, strings.Replace(body, `Fingerprint":0`, `Fingerprint":`+fingerprint, 1)))
		got := p.answer(t)
		v2, _ := got.Get("IS_SUPPORT_HEART_BEAT_V2")
		if is, _ := got.Get("IS_SUB_CHANGE"); string(is) != change || string(v2) != "true" {
			t.Errorf("IS_SUB_CHANGE=%s, want %s", is, change)
		}
	}
	topics := func() int { return len(b.clients.Consumers.Group("g").Topics()) }
	check("5", true, "true") // a broker that has just started
	check("5", false, "false")
	check("5", true, "false")
	if topics() != 1 {
		t.Error("the subscription is gone")
	}
	check("6", true, "true")
	check("0", false, "true") // version 1
	check("0", true, "true")  // does not know withoutSub
	if topics() != 0 {
		t.Error("an empty heartbeat of version 1 means no topics")
	}
}

func TestService_Lock(t *testing.T) {
	b, one, two := newBench(), &peer{}, &peer{}
	const body = `{"clientId":"%s","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":%d,"topic":"T"},{"brokerName":"b","queueId":9,"topic":"T"}],"onlyThisBroker":false}`
	check := func(p *peer, id string, queue int, want string) {
		t.Helper()
		b.serve(p, request(protocol.LockBatchMq, fmt.Sprintf(body, id, queue)))
		if got := p.answer(t); got.Code != protocol.Success || string(got.Body) != want {
			t.Errorf("%+v %s, want %s", got, got.Body, want)
		}
	}
	check(one, "id1", 0, `{"lockOKMQSet":[{"brokerName":"b","queueId":0,"topic":"T"},{"brokerName":"b","queueId":9,"topic":"T"}]}`)
	check(two, "id2", 1, `{"lockOKMQSet":[{"brokerName":"b","queueId":1,"topic":"T"}]}`)
	c := request(protocol.UnlockBatchMq, fmt.Sprintf(body, "id1", 0))
	c.SetOneway()
	b.serve(one, c)
	if got := one.frames(t); len(got) != 0 {
		t.Errorf("a one-way request was answered: %v", got)
	}
	check(two, "id2", 2, `{"lockOKMQSet":[{"brokerName":"b","queueId":2,"topic":"T"},{"brokerName":"b","queueId":9,"topic":"T"}]}`)
	check(one, "id1", 1, `{"lockOKMQSet":[]}`)
}

// What cannot be read is answered with SYSTEM_ERROR and a reason.
func TestService_BadRequests(t *testing.T) {
	b, p := newBench(), &peer{}
	check := func(c protocol.Command, remark string) {
		t.Helper()
		b.serve(p, c)
		if got := p.answer(t); got.Code != protocol.SystemError || !strings.Contains(got.Remark, remark) {
			t.Errorf("%+v, want a remark about %q", got, remark)
		}
	}
	for _, code := range []int32{protocol.HeartBeat, protocol.LockBatchMq, protocol.UnlockBatchMq, protocol.CheckClientConfig} {
		check(request(code, ""), "no body")
		check(request(code, `{"`), "cannot read the body")
	}
	check(request(protocol.UnregisterClient, ""), "clientID")
	check(request(protocol.GetConsumerListByGroup, ""), "consumerGroup")
	b.serve(p, request(protocol.CheckClientConfig, `{"subscriptionData":{"expressionType":"TAG","subString":"||"}}`))
	if got := p.answer(t); got.Code != protocol.Success {
		t.Errorf("%+v", got)
	}
	var many strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, `{"groupName":"p%d"},`, i)
	}
	check(request(protocol.HeartBeat, `{"clientID":"x","producerDataSet":[`+many.String()+`]}`), "too many groups")
}

// Whatever a heartbeat holds, there is one answer, and nothing is left when the connection closes.
func FuzzService_Heartbeat(f *testing.F) {
	for _, s := range []string{
		beat("id", consumer("g", "CLUSTERING", "T")), `{}`, `null`, `[]`, `{"consumerDataSet":[null,{},{"groupName":"g","subscriptionDataSet":[null,{}]}]}`,
		`{"consumerDataSet":[{"groupName":"g","messageModel":0,"consumeType":1}],"heartbeatFingerprint":-1,"withoutSub":true}`,
		`{"producerDataSet":[{"groupName":1},{"groupName":1}]}`, `{"clientID":`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, p := newBench(), &peer{}
		b.serve(p, request(protocol.HeartBeat, string(body)))
		p.answer(t)
		p.Close()
		b.clients.Closed(nil, p)
		if n := len(b.clients.Consumers.Groups()) + len(b.clients.Producers.All()); n != 0 {
			t.Errorf("%d groups are left", n)
		}
	})
}

// A heartbeat as a push consumer sends it, which says nothing new.
func BenchmarkService_Heartbeat(b *testing.B) {
	s, p := newBench(), &peer{}
	body := []byte(beat("id", consumer("g", "CLUSTERING", "T", "%RETRY%g")))
	c := &protocol.Call{Command: protocol.Command{Code: protocol.HeartBeat, Body: body}, Peer: p, Turn: &protocol.Turn{Now: start}}
	s.serve(p, request(protocol.HeartBeat, string(body)))
	b.ReportAllocs()
	for b.Loop() {
		p.out = p.out[:0]
		if err := s.Heartbeat(c); err != nil {
			b.Fatal(err)
		}
	}
}

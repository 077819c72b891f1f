package pull

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/vfs"
	"rocketd/longpoll"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

var start = time.Unix(1_700_000_000, 0)

// peer is a connection without a socket; answers are decoded as they come.
type peer struct {
	out     []byte
	answers []string
	closed  bool
}

func (p *peer) RemoteAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.10:1234") }
func (p *peer) LocalAddr() netip.AddrPort  { return netip.MustParseAddrPort("192.0.2.1:10911") }
func (p *peer) LockOut() []byte            { return p.out }
func (p *peer) UnlockOut(_ *protocol.Turn, out []byte) {
	var c protocol.Command
	if err := c.Decode(bytes.Clone(out[4:])); err != nil {
		panic(err)
	}
	s := fmt.Sprintf("%d: %d %s", c.Opaque, c.Code, c.Remark)
	for _, name := range []string{"nextBeginOffset", "minOffset", "maxOffset", "forbiddenType"} {
		if v, ok := c.Get(name); ok {
			s += fmt.Sprintf(" %s=%s", strings.TrimSuffix(name, "Offset"), v)
		}
	}
	p.answers = append(p.answers, s+" "+string(c.Body))
	p.out = out[:0]
}
func (p *peer) Flush()                                 {}
func (p *peer) Post(func(*protocol.Turn))              { panic("nothing is posted") }
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return p.closed }
func (p *peer) Close()                                 {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}

// desk is a service over tables and queues in memory, with one client.
type desk struct {
	t    *testing.T
	svc  *Service
	room *longpoll.Room[*consumequeue.Queue, Waiter]
	peer *peer
	now  time.Time

	topics    map[string]*topic.Config
	groups    map[string]*topic.GroupConfig
	forbidden map[string]int32
	group     *clientmgr.Consumers
	set       *consumequeue.Set
	queues    map[string]*consumequeue.Queue
	units     map[*consumequeue.Queue][]int64 // tags of the messages
	visible   int64                           // messages that can be read, of each queue
	scan      int                             // units that one Get looks at
	onDisk    int64                           // messages that are not in memory, of each queue
	asked     []store.Read
	committed map[string]int64
	pulled    map[string]int64
	resets    map[string]int64
	offloaded []func(context.Context, *protocol.Call) error
	calls     []*protocol.Call
	cfg       Config
}

func newDesk(t *testing.T) *desk {
	d := &desk{
		t: t, peer: &peer{}, now: start, visible: math.MaxInt64, scan: 800,
		topics:    map[string]*topic.Config{"T": topic.NewConfig("T", 2)},
		groups:    map[string]*topic.GroupConfig{"g": topic.NewGroupConfig("g"), "h": topic.NewGroupConfig("h")},
		forbidden: map[string]int32{},
		group:     clientmgr.NewConsumers(nil),
		set:       consumequeue.NewSet(vfs.OS, t.TempDir(), 20000, 1),
		queues:    map[string]*consumequeue.Queue{}, units: map[*consumequeue.Queue][]int64{},
		committed: map[string]int64{}, pulled: map[string]int64{}, resets: map[string]int64{},
	}
	yes := func() bool { return true }
	d.cfg = Config{
		Topics: topicsOf{d}, Groups: groupsOf{d}, Queues: queuesOf{d}, Clients: d.group, Offsets: offsetsOf{d},
		Offload: func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
			d.calls = append(d.calls, &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer})
			d.offloaded = append(d.offloaded, run)
		},
		Again: func(c *protocol.Call) {
			c.Turn = d.turn()
			d.serve(c)
		},
		Got: func(string, string, int, int) {}, Missed: func() {},
		Readable: yes, LitePullEnabled: yes, LongPolling: yes,
		ShortPolling: func() time.Duration { return time.Second },
	}
	d.open()
	return d
}

// open makes the service anew, after a change of cfg.
func (d *desk) open() {
	d.svc = New(d.cfg)
	d.room = longpoll.New[*consumequeue.Queue](longpoll.Config[Waiter]{Answer: d.svc.Answer}, start)
	d.svc.UseRoom(d.room)
}

func (d *desk) turn() *protocol.Turn { return &protocol.Turn{Now: d.now} }

type topicsOf struct{ *desk }

func (d topicsOf) Get(name []byte) *topic.Config { return d.topics[string(name)] }

type groupsOf struct{ *desk }

func (d groupsOf) Get(name []byte) *topic.GroupConfig { return d.groups[string(name)] }
func (d groupsOf) Create(_ context.Context, name string) (*topic.GroupConfig, error) {
	if name != "new" {
		return nil, nil
	}
	d.groups[name] = topic.NewGroupConfig(name)
	return d.groups[name], nil
}
func (d groupsOf) Forbidden(group, topic []byte) int32 {
	return d.forbidden[string(group)+"/"+string(topic)]
}

type offsetsOf struct{ *desk }

func key(group, topic []byte, queue int32) string {
	return fmt.Sprintf("%s/%s/%d", group, topic, queue)
}

func (d offsetsOf) Commit(group, topic []byte, queue int32, offset int64) bool {
	d.committed[key(group, topic, queue)] = offset
	return true
}
func (d offsetsOf) SetPulled(group, topic []byte, queue int32, next int64) {
	d.pulled[key(group, topic, queue)] = next
}
func (d offsetsOf) TakeReset(group, topic []byte, queue int32) (int64, bool) {
	offset, ok := d.resets[key(group, topic, queue)]
	delete(d.resets, key(group, topic, queue))
	return offset, ok
}

type queuesOf struct{ *desk }

func (d queuesOf) Find(name []byte, id int32) *consumequeue.Queue {
	return d.queues[fmt.Sprintf("%s/%d", name, id)]
}
func (d queuesOf) Queue(name string, id int32) *consumequeue.Queue { return d.queue(name, id) }
func (d queuesOf) MaxVisible(q *consumequeue.Queue) int64          { return min(q.Max(), d.visible) }

// Get answers as store.Get does, with the offsets of the messages as their records.
func (d queuesOf) Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult) {
	d.asked = append(d.asked, r)
	res := store.ReadResult{Next: r.From, Min: q.Min(), Max: q.Max()}
	switch {
	case res.Max == 0:
		res.Status, res.Next = store.NoMessageInQueue, 0
	case r.From < res.Min:
		res.Status, res.Next = store.OffsetTooSmall, res.Min
	case r.From > res.Max:
		res.Status, res.Next = store.OffsetOverflowBadly, res.Max
	case r.NoWait && r.From < d.onDisk:
		res.Status = store.OnDisk
	default:
		for n := 0; n < d.scan && res.Next < min(res.Max, d.visible) && (res.Count == 0 || res.Count < int(r.Max)); n++ {
			if r.Match == nil || r.Match(d.units[q][res.Next]) {
				dst = fmt.Appendf(dst, "m%d", res.Next)
				res.Count++
			}
			res.Next++
		}
		switch {
		case res.Count > 0:
			res.Status = store.Found
		case res.Next > r.From:
			res.Status = store.NoMatchedMessage
		default:
			res.Status = store.OffsetOverflowOne
		}
	}
	return dst, res
}

func (d *desk) queue(name string, id int32) *consumequeue.Queue {
	k := fmt.Sprintf("%s/%d", name, id)
	if d.queues[k] == nil {
		d.queues[k] = d.set.New(name, id)
	}
	return d.queues[k]
}

// add appends messages with these tags to queue 0 of T, and rings.
func (d *desk) add(tags ...string) {
	q := d.queue("T", 0)
	for _, tag := range tags {
		code := message.TagsCode([]byte(tag))
		q.Next()
		q.Put(consumequeue.Unit{Tag: code})
		d.units[q] = append(d.units[q], code)
	}
	d.room.Wake(d.turn(), q)
}

// subscribe registers a member of group g.
func (d *desk) subscribe(model protocol.MessageModel, subs ...protocol.SubscriptionData) {
	d.group.Register(nil, d.now, &clientmgr.Heartbeat{Group: "g", Client: clientmgr.Client{ID: "c", Peer: d.peer},
		Type: "CONSUME_PASSIVELY", Model: model, Subscriptions: subs})
}

// pull pulls from queue 0 of T with the subscription "*" in the header; fields "key=value" change that. The frame is
// overwritten afterwards.
func (d *desk) pull(opaque int32, fields ...string) {
	c := &protocol.Call{Command: protocol.Command{Code: protocol.PullMessage, Opaque: opaque}, Peer: d.peer, Turn: d.turn()}
	for _, f := range append([]string{"consumerGroup=g", "topic=T", "queueId=0", "queueOffset=0", "maxMsgNums=32", "sysFlag=6",
		"commitOffset=0", "suspendTimeoutMillis=15000", "subscription=*", "subVersion=0"}, fields...) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "code":
			c.Code = protocol.LitePullMessage
		case "oneway":
			c.SetOneway()
		default:
			c.Set(k, v)
		}
	}
	d.serve(c)
	for i := range c.Fields {
		for j := range c.Fields[i].Value {
			c.Fields[i].Value[j] = '#'
		}
	}
}

func (d *desk) serve(c *protocol.Call) {
	if err := d.svc.Pull(c); err != nil {
		c.Fail(err)
	}
}

// want checks the answers since it was last asked.
func (d *desk) want(answers ...string) {
	d.t.Helper()
	if got, want := strings.Join(d.peer.answers, "\n\t"), strings.Join(answers, "\n\t"); got != want {
		d.t.Errorf("got\n\t%s\nwant\n\t%s", got, want)
	}
	d.peer.answers = nil
}

// Each refusal has Java's code and remark, in Java's order.
func TestService_Pull_Refusals(t *testing.T) {
	sub := protocol.SubscriptionData{Topic: "T", SubString: "*", SubVersion: 7}
	for _, c := range []struct {
		name   string
		change func(d *desk)
		fields []string
		want   string
	}{
		{"broker not readable", func(d *desk) { d.cfg.Readable = func() bool { return false } }, []string{"consumerGroup=none"},
			"16 the broker[192.0.2.1:10911] pulling message is forbidden forbiddenType=1 "},
		{"lite pull off", func(d *desk) { d.cfg.LitePullEnabled = func() bool { return false } }, []string{"code="},
			"16 the broker[192.0.2.1:10911] for lite pull consumer is forbidden forbiddenType=1 "},
		{"group off", func(d *desk) { d.groups["g"].ConsumeEnable = false }, []string{"topic=none"},
			"16 subscription group no permission, g forbiddenType=2 "},
		{"no topic", nil, []string{"topic=none", "queueId=9"},
			"17 topic[none] not exist, apply first please! " + topic.FAQ + " "},
		{"topic not readable", func(d *desk) { d.topics["T"].Perm = topic.PermWrite }, []string{"queueId=9"},
			"16 the topic[T] pulling message is forbidden forbiddenType=3 "},
		{"queue beyond", nil, []string{"queueId=2"},
			"29 queueId[2] is illegal, topic:[T] topicConfig.readQueueNums:[2] consumer:[/192.0.2.10:1234] "},
		{"queue far beyond", nil, []string{"queueId=2147483647"},
			"29 queueId[2147483647] is illegal, topic:[T] topicConfig.readQueueNums:[2] consumer:[/192.0.2.10:1234] "},
		{"negative queue", nil, []string{"queueId=-1"},
			"29 queueId[-1] is illegal, topic:[T] topicConfig.readQueueNums:[2] consumer:[/192.0.2.10:1234] "},
		{"no tag in the expression", nil, []string{"subscription=||"}, "23 parse the consumer's subscription failed "},
		{"SQL in the header", nil, []string{"subscription=a > 1", "expressionType=SQL92"},
			"1 The broker does not support consumer to filter message by SQL92 "},
		{"other type in the header", nil, []string{"subscription=a", "expressionType=X"},
			"1 The broker does not support consumer to filter message by X "},
		{"nobody registered", nil, []string{"sysFlag=2"}, "24 the consumer's group info not exist" + topic.FAQ + " "},
		{"broadcast off", func(d *desk) {
			d.groups["g"].ConsumeBroadcastEnable = false
			d.forbidden["g/T"] = meta.ForbidRead
			d.subscribe(protocol.Broadcasting)
		}, []string{"sysFlag=2"}, "16 the consumer group[g] can not consume by broadcast way forbiddenType=4 "},
		{"forbidden", func(d *desk) {
			d.forbidden["g/T"] = meta.ForbidRead
			d.subscribe(protocol.Broadcasting)
		}, []string{"sysFlag=2"}, "16 the consumer group[g] is forbidden for topic[T] forbiddenType=5 "},
		{"other bit forbidden", func(d *desk) {
			d.forbidden["g/T"] = ^meta.ForbidRead
			d.subscribe(protocol.Clustering, sub)
			d.add("a")
		}, []string{"sysFlag=2"}, "0 FOUND nextBegin=1 min=0 max=1 m0"},
		{"not subscribed", func(d *desk) { d.subscribe(protocol.Clustering) }, []string{"sysFlag=2"},
			"24 the consumer's subscription not exist" + topic.FAQ + " "},
		{"older subscription", func(d *desk) { d.subscribe(protocol.Clustering, sub) }, []string{"sysFlag=2", "subVersion=8"},
			"25 the consumer's subscription not latest "},
		{"SQL registered", func(d *desk) {
			d.subscribe(protocol.Clustering, protocol.SubscriptionData{Topic: "T", SubString: "a > 1", ExpressionType: "SQL92"})
		}, []string{"sysFlag=2"}, "1 The broker does not support consumer to filter message by SQL92 "},
		{"broken SQL in the header", func(d *desk) { d.cfg.PropertyFilter = true }, []string{"subscription=a >", "expressionType=SQL92"},
			"23 parse the consumer's subscription failed: invalid SQL92 expression: a value is missing before the end "},
		{"broken SQL registered", func(d *desk) {
			d.cfg.PropertyFilter = true
			d.subscribe(protocol.Clustering, protocol.SubscriptionData{Topic: "T", SubString: "a >", ExpressionType: "SQL92"})
		}, []string{"sysFlag=2"}, "27 The broker's consumer filter data is not exist!Your expression may be wrong! "},
		{"not a number", nil, []string{"maxMsgNums=many"}, `1 the field <maxMsgNums> of PullMessageRequestHeader is not a number: "many" `},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			if c.change != nil {
				c.change(d)
				d.open()
			}
			d.pull(1, c.fields...)
			d.want("1: " + c.want)
			d.pull(2, append(c.fields, "oneway")...)
			d.want()
			if d.room.Len() != 0 {
				t.Error("a refused pull is held")
			}
		})
	}
}

// What was read decides the code and where to go on.
func TestService_Pull_Codes(t *testing.T) {
	d := newDesk(t)
	d.pull(1, "sysFlag=4")
	d.pull(2, "sysFlag=4", "queueOffset=5")
	d.want("1: 19 NO_MESSAGE_IN_QUEUE nextBegin=0 min=0 max=0 ", "2: 21 NO_MESSAGE_IN_QUEUE nextBegin=0 min=0 max=0 ")
	d.add("a", "b", "a")
	for i, c := range []struct {
		fields []string
		want   string
	}{
		{nil, "0 FOUND nextBegin=3 min=0 max=3 m0m1m2"},
		{[]string{"maxMsgNums=2"}, "0 FOUND nextBegin=2 min=0 max=3 m0m1"},
		{[]string{"subscription=b"}, "0 FOUND nextBegin=3 min=0 max=3 m1"},
		{[]string{"subscription=c || d"}, "20 NO_MATCHED_MESSAGE nextBegin=3 min=0 max=3 "},
		{[]string{"queueOffset=3", "sysFlag=4"}, "19 OFFSET_OVERFLOW_ONE nextBegin=3 min=0 max=3 "},
		{[]string{"queueOffset=3", "suspendTimeoutMillis=0"}, "19 OFFSET_OVERFLOW_ONE nextBegin=3 min=0 max=3 "},
		{[]string{"queueOffset=3", "suspendTimeoutMillis=-5"}, "19 OFFSET_OVERFLOW_ONE nextBegin=3 min=0 max=3 "},
		{[]string{"queueOffset=4"}, "21 OFFSET_OVERFLOW_BADLY nextBegin=3 min=0 max=3 "},
		{[]string{"queueOffset=-1"}, "21 OFFSET_TOO_SMALL nextBegin=0 min=0 max=3 "},
		{[]string{"queueId=1"}, ""}, // held: from 0 of an empty queue
	} {
		d.pull(int32(i), c.fields...)
		if c.want == "" {
			d.want()
		} else {
			d.want(fmt.Sprintf("%d: %s", i, c.want))
		}
	}
	if d.room.Len() != 1 {
		t.Errorf("%d pulls are held, want 1", d.room.Len())
	}
	if got := d.pulled["g/T/0"]; got != 0 {
		t.Errorf("the latest pull ended at %d", got)
	}
}

// commitOffset is stored if the pull says so, also when it finds nothing.
func TestService_Pull_Commit(t *testing.T) {
	d := newDesk(t)
	d.pull(1, "commitOffset=5", "sysFlag=6")
	if len(d.committed) != 0 {
		t.Errorf("committed %v", d.committed)
	}
	d.pull(2, "commitOffset=5", "sysFlag=7")
	if d.committed["g/T/0"] != 5 {
		t.Errorf("committed %v", d.committed)
	}
	d.pull(3, "commitOffset=6", "sysFlag=5", "oneway")
	if d.committed["g/T/0"] != 6 {
		t.Errorf("committed %v", d.committed)
	}
}

// A held pull is answered under its own opaque by the message that it wants, and by its deadline else; it then tells
// how far it looked.
func TestService_Pull_Held(t *testing.T) {
	d := newDesk(t)
	d.add("a")
	d.pull(1, "queueOffset=1", "subscription=b")
	d.pull(2, "queueOffset=1", "subscription=a", "suspendTimeoutMillis=1000")
	d.pull(3, "queueOffset=1", "oneway")
	d.want()
	if d.room.Len() != 2 {
		t.Errorf("%d pulls are held, want 2: a one-way one has nobody to tell", d.room.Len())
	}
	d.add("c")
	d.want()
	d.now = d.now.Add(time.Second + longpoll.Tick)
	d.room.Expire(nil, d.now)
	d.want("2: 19 OFFSET_OVERFLOW_ONE nextBegin=2 min=0 max=2 ")
	d.add("b", "a")
	d.want("1: 0 FOUND nextBegin=4 min=0 max=4 m2")
	if d.pulled["g/T/0"] != 4 || d.room.Len() != 0 {
		t.Errorf("pulled %v, %d held", d.pulled, d.room.Len())
	}
}

// A message that is stored but not on the disk yet does not end a pull.
func TestService_Pull_Held_NotOnDisk(t *testing.T) {
	d := newDesk(t)
	d.visible = 1
	d.add("a", "a")
	d.pull(1, "queueOffset=1")
	d.add("a")
	d.want()
	d.visible = 3
	d.room.Wake(d.turn(), d.queue("T", 0))
	d.want("1: 0 FOUND nextBegin=3 min=0 max=3 m1m2")
}

// A read looks at a limited number of messages. A held pull goes on behind the limit, and where even that is not
// enough the client is asked to come again.
func TestService_Pull_Held_BeyondScan(t *testing.T) {
	d := newDesk(t)
	d.scan = 10
	other := make([]string, 25)
	d.pull(1, "subscription=b")
	d.add(append(other, "b")...)
	d.want("1: 0 FOUND nextBegin=26 min=0 max=26 m25")
	d.pull(2, "subscription=b", "queueOffset=26")
	d.add(make([]string, 1000)...)
	if len(d.peer.answers) != 1 || !strings.HasPrefix(d.peer.answers[0], "2: 20 NO_MATCHED_MESSAGE nextBegin=") {
		t.Errorf("answers %q", d.peer.answers)
	}
}

// A reset reaches a pull that is held.
func TestService_Pull_Reset(t *testing.T) {
	d := newDesk(t)
	d.add("a", "a", "a")
	d.resets["g/T/0"] = 1
	d.pull(1)
	d.want("1: 21 OFFSET_RESET nextBegin=1 min=0 max=3 ")
	d.pull(2, "queueOffset=3")
	d.pull(3, "queueOffset=3", "consumerGroup=h")
	d.want()
	d.resets["g/T/0"] = 2
	d.room.Wake(nil, d.queue("T", 0))
	d.want("2: 21 OFFSET_RESET nextBegin=2 min=0 max=3 ")
	d.add("a")
	d.want("3: 0 FOUND nextBegin=4 min=0 max=4 m3")
}

// Absurd numbers do no harm: the reader is asked for a sane number of messages, and no hold lasts for ever or wraps
// around to none.
func TestService_Pull_AbsurdNumbers(t *testing.T) {
	d := newDesk(t)
	d.add("a", "a")
	for _, most := range []string{"2147483647", "0", "-2147483648"} {
		d.pull(1, "maxMsgNums="+most)
		if got := d.asked[len(d.asked)-1].Max; got < 1 || got > 1024 {
			t.Errorf("maxMsgNums %s: asked for %d", most, got)
		}
	}
	for i, hold := range []int64{math.MaxInt64, math.MaxInt64/1_000_000 + 1, math.MaxInt64 / 1_000_000} {
		d.peer.answers = nil
		d.pull(int32(i), "queueOffset=2", fmt.Sprintf("suspendTimeoutMillis=%d", hold))
		d.want()
	}
	d.room.Expire(nil, start.Add(25*time.Hour))
	if d.room.Len() != 0 {
		t.Errorf("%d pulls are held after a day", d.room.Len())
	}
}

// An unknown group is made on the pool where that is allowed, and the pull comes back as it was.
func TestService_Pull_NewGroup(t *testing.T) {
	d := newDesk(t)
	d.add("a")
	d.pull(1, "consumerGroup=new")
	d.pull(2, "consumerGroup=banned")
	d.want()
	for i, run := range d.offloaded {
		if err := run(t.Context(), d.calls[i]); err != nil {
			d.calls[i].Fail(err)
		}
	}
	d.want("1: 0 FOUND nextBegin=1 min=0 max=1 m0",
		"2: 26 subscription group [banned] does not exist, "+topic.FAQ+" ")
}

// A full room answers at once, and with short polling the broker says how long a pull is held.
func TestService_Pull_Room(t *testing.T) {
	d := newDesk(t)
	d.cfg.LongPolling = func() bool { return false }
	d.open()
	d.add("a")
	d.pull(1, "queueOffset=1")
	d.room.Expire(nil, start.Add(990*time.Millisecond))
	d.want()
	d.room.Expire(nil, start.Add(time.Second+longpoll.Tick))
	d.want("1: 19 OFFSET_OVERFLOW_ONE nextBegin=1 min=0 max=1 ")
	d.pull(2, "queueOffset=1")
	d.room.Close(nil)
	d.want("2: 19 OFFSET_OVERFLOW_ONE nextBegin=1 min=0 max=1 ")
	d.pull(3, "queueOffset=1")
	d.want("3: 19 OFFSET_OVERFLOW_ONE nextBegin=1 min=0 max=1 ")
}

// The pulls of a connection that has closed are gone.
func TestService_Pull_Held_Closed(t *testing.T) {
	d := newDesk(t)
	d.pull(1)
	d.peer.closed = true
	d.room.Closed(d.peer)
	d.add("a")
	d.want()
	if d.room.Len() != 0 {
		t.Error("a pull of a closed connection is held")
	}
}

// What is not in memory is read by the pool and answered from there; a turn never waits for it.
func TestService_Pull_OnDisk(t *testing.T) {
	d := newDesk(t)
	d.add("a", "b", "a", "b")
	d.onDisk = 2
	d.pull(1, "maxMsgNums=2")
	d.want()
	if len(d.offloaded) != 1 || !d.asked[0].NoWait {
		t.Fatal(len(d.offloaded), d.asked)
	}
	if err := d.offloaded[0](t.Context(), d.calls[0]); err != nil {
		t.Fatal(err)
	}
	d.want("1: 0 FOUND nextBegin=2 min=0 max=4 m0m1")
	if d.asked[1].NoWait || d.pulled["g/T/0"] != 2 {
		t.Fatal(d.asked, d.pulled)
	}
	d.pull(2, "queueOffset=2", "maxMsgNums=2") // in memory
	d.want("2: 0 FOUND nextBegin=4 min=0 max=4 m2m3")
	// What the pool finds to be nothing waits like everything else.
	d.pull(3)
	d.onDisk, d.visible = 0, 0
	if err := d.offloaded[1](t.Context(), d.calls[1]); err != nil {
		t.Fatal(err)
	}
	d.want()
	if d.room.Len() != 1 {
		t.Fatal(d.room.Len())
	}
	d.visible = 4
	d.room.Wake(d.turn(), d.queue("T", 0))
	d.want("3: 0 FOUND nextBegin=4 min=0 max=4 m0m1m2m3")
}

// A held pull whose messages went to the disk before it was looked at is told to ask again.
func TestService_Pull_Held_OnDisk(t *testing.T) {
	d := newDesk(t)
	d.pull(1)
	d.want()
	d.onDisk = 1
	d.add("a")
	d.want("1: 20 NO_MATCHED_MESSAGE nextBegin=0 min=0 max=1 ")
	if len(d.offloaded) != 0 {
		t.Fatal("the pool was asked")
	}
}

// A pull that brings its subscription by tags with it allocates nothing for it.
func TestService_Subscription_Allocations(t *testing.T) {
	d := newDesk(t)
	h := &protocol.PullMessageRequest{SysFlag: flagSubscription, ExpressionType: []byte("TAG"), Subscription: []byte("*")}
	if n := testing.AllocsPerRun(100, func() {
		if want, err := d.svc.subscription(nil, h, d.groups["g"]); err != nil || want.Filter == nil {
			t.Error(want, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package pop

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/longpoll"
	"rocketd/message"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

var start = time.UnixMilli(1_700_000_000_000)

// peer is a connection without a socket; answers are decoded as they come, what is posted waits.
type peer struct {
	out     []byte
	answers []protocol.Command
	posts   []func(*protocol.Turn)
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
	p.answers = append(p.answers, c)
	p.out = out[:0]
}
func (p *peer) Flush()                                 {}
func (p *peer) Post(fn func(*protocol.Turn))           { p.posts = append(p.posts, fn) }
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return p.closed }
func (p *peer) Close()                                 {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}

// desk is a service over a real store on a disk in memory. The clock stands still but for pass; the timer is a loop over its
// topic.
type desk struct {
	t       *testing.T
	fs      *crashfs.Disk
	svc     *Service
	room    *longpoll.Room[Key, Waiter]
	store   *store.Store
	put     *put.Service
	turn    *protocol.Turn
	offsets *offset.Table
	topics  map[string]*topic.Config
	groups  map[string]*topic.GroupConfig
	revive  *reviver
	peer    *peer
	now     time.Time
	cfg     func(*Config)
	timed   int64 // what the timer has delivered of its topic
	waiting []message.Record
	opaque  int32
	refuse  error     // of the courier
	saved   time.Time // of the offsets
}

func newDesk(t *testing.T, cfg func(*Config)) *desk {
	d := &desk{
		t: t, fs: crashfs.New(crashfs.Options{}), peer: &peer{}, now: start, cfg: cfg,
		topics: map[string]*topic.Config{"T": topic.NewConfig("T", 1), "T4": topic.NewConfig("T4", 4),
			"B": topic.NewConfig("B", 1), "C": topic.NewConfig("C", 1), light: topic.NewConfig(light, 1)},
		groups: map[string]*topic.GroupConfig{"g": topic.NewGroupConfig("g"), "h": topic.NewGroupConfig("h")},
	}
	d.open()
	return d
}

func (d *desk) open() {
	d.t.Helper()
	log := slog.New(slog.DiscardHandler)
	must := func(err error) {
		d.t.Helper()
		if err != nil {
			d.t.Fatal(err)
		}
	}
	var err error
	must(d.fs.MkdirAll("/store/config", 0o755))
	d.store, err = store.Open(store.Config{Dir: "/store", FileSize: 1 << 20, QueueFileSize: 20_000, HotBytes: 1 << 20, FS: d.fs, Log: log,
		Compaction:    store.Compaction{Of: func(name string) bool { return name == "C" }},
		MultiDispatch: true, QueueKind: func(name string) (consumequeue.Kind, bool) {
			if name == "B" {
				return consumequeue.Batch, true
			}
			return consumequeue.Simple, true
		}})
	must(err)
	d.offsets, err = offset.Open(offset.Config{FS: d.fs, Dir: "/store/config", Log: log})
	must(err)
	d.put = put.New(put.Config{
		Log: d.store, Stored: func(*consumequeue.Queue, int, int) {},
		Grew: func(_ *protocol.Turn, q *consumequeue.Queue) { d.svc.Grew(q.Topic()) },
	})
	d.turn = &protocol.Turn{Now: d.now, Appends: d.put.NewBatch()}
	cfg := Config{
		Topics: topicsOf{d}, Groups: groupsOf{d}, Queues: d.store, Offsets: d.offsets, FS: d.fs, Dir: "/store/config", Log: log,
		Offload: func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
			own := &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer}
			if err := run(context.Background(), own); err != nil {
				own.Fail(err)
			}
		},
		Again: func(c *protocol.Call) {
			c.Turn = d.turn
			d.serve(c)
		},
		Got:     func(string, string, int, int) {},
		Cluster: "C", Broker: "broker-a",
		StoreHost: func() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:10911") },
		Readable:  func() bool { return true }, Slave: func() bool { return false }, Acting: func() bool { return false }, Taking: func() bool { return true },
		OffsetsSaved: d.saved, PropertyFilter: true, TimerWheel: true, TimerPrecisionMs: 1000, TimerMaxDelay: 72 * time.Hour, TimerBehind: func() bool { return false },
		NewCourier:   func() Courier { return &courier{d: d, ours: true} },
		ReviveQueues: 1, ReviveInterval: time.Second, MaxLeases: 1000, Choices: Choices{RetryV1Too: true, RetryFirst: 20, FirstInMemory: true, Downwards: true, PollingSize: 4},
	}
	if d.cfg != nil {
		d.cfg(&cfg)
	}
	d.svc, err = New(cfg, d.now)
	must(err)
	d.svc.Recover(d.now)
	d.room = longpoll.New[Key](longpoll.Config[Waiter]{Answer: d.svc.Answer}, d.now)
	d.svc.UseRoom(d.room)
	d.revive = d.svc.newReviver()
}

// restart is the end of the process, orderly or not, and the next one.
func (d *desk) restart(orderly bool) {
	d.t.Helper()
	if orderly {
		if err := d.svc.Persist(d.now); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.offsets.Close(); err != nil {
		d.t.Fatal(err)
	}
	if err := d.store.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.open()
}

// kill is the end of the process without a warning, and the next one.
func (d *desk) kill() {
	d.t.Helper()
	d.fs = d.fs.Kill()
	d.open()
}

type topicsOf struct{ *desk }

func (d topicsOf) Get(name []byte) *topic.Config { return d.topics[string(name)] }
func (d topicsOf) Ensure(configs ...*topic.Config) error {
	for _, c := range configs {
		d.topics[c.Name] = c
	}
	return nil
}

type groupsOf struct{ *desk }

func (d groupsOf) Get(name []byte) *topic.GroupConfig { return d.groups[string(name)] }
func (d groupsOf) Create(_ context.Context, name string) (*topic.GroupConfig, error) {
	if name == "new" {
		d.groups[name] = topic.NewGroupConfig(name)
	}
	return d.groups[name], nil
}

// courier appends at once.
type courier struct {
	d     *desk
	ours  bool
	batch store.Batch
	grown []*consumequeue.Queue
}

func (c *courier) Stage(q *consumequeue.Queue, m *message.Draft, tag int64) {
	c.batch.Add(q, m, tag)
	c.grown = append(c.grown, q)
}

func (c *courier) Commit(_ context.Context, now time.Time) (int, error) {
	defer func() {
		c.batch.Reset()
		c.grown = nil
	}()
	if c.ours && c.d.refuse != nil {
		return 0, c.d.refuse
	}
	n := c.batch.Len()
	if err := c.d.store.Append(&c.batch, now); err != nil {
		return 0, err
	}
	for _, q := range c.grown {
		c.d.svc.Grew(q.Topic())
	}
	return n, nil
}

// send stores messages with these bodies; a body "tag:x" has the tag.
func (d *desk) send(name string, queue int32, bodies ...string) {
	d.t.Helper()
	c := &courier{d: d}
	for _, body := range bodies {
		var props []byte
		tag, _, tagged := strings.Cut(body, ":")
		if tagged {
			props = message.AppendProperty(nil, message.PropTags, []byte(tag))
		} else {
			tag = ""
		}
		c.Stage(d.store.Queue(name, queue), &message.Draft{Topic: []byte(name), QueueID: queue, Body: []byte(body), Properties: props, StoreHost: netip.MustParseAddrPort("192.0.2.1:10911")}, message.TagsCode([]byte(tag)))
	}
	if _, err := c.Commit(context.Background(), d.now); err != nil {
		d.t.Fatal(err)
	}
	d.posted()
}

// posted takes the turns that were asked for.
func (d *desk) posted() {
	for len(d.peer.posts) > 0 {
		fn := d.peer.posts[0]
		d.peer.posts = d.peer.posts[1:]
		d.turn.Now = d.now
		fn(d.turn)
		d.turn.Appends.Commit(d.turn)
	}
}

func (d *desk) serve(c *protocol.Call) {
	run := map[int32]func(*protocol.Call) error{
		protocol.PopMessage: d.svc.Pop, protocol.AckMessage: d.svc.Ack, protocol.ChangeMessageInvisibletime: d.svc.Change,
		protocol.Notification: d.svc.Notification, protocol.PollingInfo: d.svc.Polling, protocol.BatchAckMessage: d.svc.BatchAck,
	}[c.Code]
	if err := run(c); err != nil {
		c.Fail(err)
	}
}

// call sends a request and returns its answer, nil if it waits. The frame is overwritten afterwards.
func (d *desk) call(code int32, body string, fields ...string) *protocol.Command {
	d.t.Helper()
	d.opaque++
	d.turn.Now = d.now
	c := &protocol.Call{Command: protocol.Command{Code: code, Opaque: d.opaque, Body: []byte(body)}, Peer: d.peer, Turn: d.turn}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		c.Set(k, v)
	}
	d.serve(c)
	for i := range c.Fields {
		for j := range c.Fields[i].Value {
			c.Fields[i].Value[j] = '#'
		}
	}
	d.turn.Appends.Commit(d.turn)
	d.posted()
	return d.answer(d.opaque)
}

// answer takes the answer to a request out of those that have come.
func (d *desk) answer(opaque int32) *protocol.Command {
	for i, a := range d.peer.answers {
		if a.Opaque == opaque {
			d.peer.answers = slices.Delete(d.peer.answers, i, i+1)
			return &a
		}
	}
	return nil
}

func field(c *protocol.Command, name string) string {
	v, _ := c.Get(name)
	return string(v)
}

// got is a popped message as a Java client sees it.
type got struct {
	body   string
	topic  string // the real one
	handle string
	offset int64
	times  int32
	m      message.Record
}

// pop pops for group g from T; fields change that.
func (d *desk) pop(fields ...string) []got {
	d.t.Helper()
	a := d.ask(fields...)
	if a == nil || a.Code != protocol.Success {
		return nil
	}
	return d.read(a, fields...)
}

func (d *desk) ask(fields ...string) *protocol.Command {
	d.t.Helper()
	all := append([]string{"consumerGroup=g", "topic=T", "queueId=-1", "maxMsgNums=32", "invisibleTime=10000", "pollTime=0", "bornTime=" + strconv.FormatInt(d.now.UnixMilli(), 10), "initMode=0"}, fields...)
	return d.call(protocol.PopMessage, "", all...)
}

// read takes an answer apart as Java's client does: the handle of a message follows from the two strings, unless it has one.
func (d *desk) read(a *protocol.Command, fields ...string) (list []got) {
	d.t.Helper()
	name := "T"
	for _, f := range fields {
		if v, ok := strings.CutPrefix(f, "topic="); ok {
			name = v
		}
	}
	starts, offsets := map[string]string{}, map[string][]string{}
	parts := func(field string, add func(key, value string)) {
		for _, e := range strings.Split(field, ";") {
			p := strings.SplitN(e, " ", 3)
			if len(p) == 3 {
				add(p[0]+"@"+p[1], p[2])
			}
		}
	}
	parts(field(a, "startOffsetInfo"), func(k, v string) {
		if starts[k] != "" {
			d.t.Errorf("two starts for %s: %s", k, field(a, "startOffsetInfo"))
		}
		starts[k] = v
	})
	parts(field(a, "msgOffsetInfo"), func(k, v string) { offsets[k] = strings.Split(v, ",") })
	for b := a.Body; len(b) > 0; {
		size, _ := message.PeekSize(b)
		m, err := message.Decode(b[:size])
		if err != nil || !m.CheckCRC() {
			d.t.Fatalf("a record in the answer: %v", err)
		}
		b = b[size:]
		g := got{body: string(m.Body), topic: name, offset: m.QueueOffset, times: m.ReconsumeTimes, m: m}
		if ck, ok := message.Property(m.Properties, message.PropPopCK); ok {
			g.handle = string(ck)
			h, err := ParseHandle(ck)
			if err != nil {
				d.t.Fatal(err)
			}
			g.topic = realTopic(name, "g", h.Retry)
		} else {
			if topic.IsLMQ(name) && m.ReconsumeTimes == 0 { // the record says where it is in further queues
				names, _ := message.Property(m.Properties, message.PropInnerMultiDispatch)
				places, _ := message.Property(m.Properties, message.PropInnerMultiQueueOffset)
				i := slices.Index(strings.Split(string(names), ","), name)
				m.QueueID = 0
				m.QueueOffset, _ = strconv.ParseInt(strings.Split(string(places), ",")[i], 10, 64)
				g.m, g.offset = m, m.QueueOffset
			}
			k := fmt.Sprintf("%c@%d", retryFlag(string(m.Topic)), m.QueueID)
			if len(offsets[k]) == 0 || offsets[k][0] != strconv.FormatInt(m.QueueOffset, 10) {
				d.t.Fatalf("offset %d of %s is not the next of %q", m.QueueOffset, k, field(a, "msgOffsetInfo"))
			}
			offsets[k] = offsets[k][1:]
			g.handle = fmt.Sprintf("%s %s %s %s %c broker-a %d %d", starts[k], field(a, "popTime"), field(a, "invisibleTime"), field(a, "reviveQid"), k[0], m.QueueID, m.QueueOffset)
		}
		list = append(list, g)
	}
	return list
}

func bodies(list []got) string {
	var names []string
	for _, g := range list {
		names = append(names, g.body)
	}
	return strings.Join(names, " ")
}

// ack acknowledges a message and returns the answer's code.
func (d *desk) ack(g got, fields ...string) *protocol.Command {
	d.t.Helper()
	return d.call(protocol.AckMessage, "", append(d.of(g), fields...)...)
}

func (d *desk) of(g got) []string {
	return []string{"consumerGroup=g", "topic=" + g.topic, "queueId=" + strconv.Itoa(int(g.m.QueueID)), "extraInfo=" + g.handle, "offset=" + strconv.FormatInt(g.offset, 10)}
}

// pass lets time pass: the timer delivers, leases end, the revive topic is read.
func (d *desk) pass(dur time.Duration) {
	d.t.Helper()
	for end := d.now.Add(dur); d.now.Before(end); {
		d.now = d.now.Add(min(100*time.Millisecond, end.Sub(d.now)))
		d.timer()
		d.revive.expire(context.Background(), d.now)
		d.revive.away = ""
		for _, q := range d.revive.queues {
			d.revive.follow(context.Background(), q, d.now)
		}
		d.room.Expire(d.turn, d.now)
		d.posted()
	}
}

// timer delivers what is due of its topic.
func (d *desk) timer() {
	d.t.Helper()
	for {
		b, res := d.store.Get(d.store.Find([]byte(topic.Timer), 0), store.Read{From: d.timed, Max: 32}, nil)
		if res.Count == 0 {
			break
		}
		for len(b) > 0 {
			size, _ := message.PeekSize(b)
			m, err := message.Decode(b[:size])
			if err != nil {
				d.t.Fatal(err)
			}
			d.waiting = append(d.waiting, m)
			b = b[size:]
		}
		d.timed = res.Next
	}
	c := &courier{d: d}
	d.waiting = slices.DeleteFunc(d.waiting, func(m message.Record) bool {
		value := func(name string) string { v, _ := message.Property(m.Properties, name); return string(v) }
		out, err := strconv.ParseInt(value(message.PropTimerOutMs), 10, 64)
		if err != nil {
			d.t.Fatalf("a record for the timer without its time: %q", m.Properties)
		}
		if d.now.UnixMilli() < message.TimerDue(out, 1000) {
			return false
		}
		queue, _ := strconv.Atoi(value(message.PropRealQueueID))
		props := message.WithoutProperty(nil, m.Properties, message.PropRealTopic)
		props = message.WithoutProperty(nil, props, message.PropRealQueueID)
		c.Stage(d.store.Queue(value(message.PropRealTopic), int32(queue)), &message.Draft{Topic: []byte(value(message.PropRealTopic)), QueueID: int32(queue), Body: m.Body, Properties: props, StoreHost: m.StoreHost}, message.TagsCode([]byte(value(message.PropTags))))
		return true
	})
	if c.batch.Len() > 0 {
		if _, err := c.Commit(context.Background(), d.now); err != nil {
			d.t.Fatal(err)
		}
	}
}

// committed is the offset of a group.
func (d *desk) committed(group, name string, queue int32) int64 {
	o, ok := d.offsets.Get([]byte(group), []byte(name), queue)
	if !ok {
		return -1
	}
	return o
}

package lite

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/laxjson"
	"rocketd/longpoll"
	"rocketd/message"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

var begin = time.UnixMilli(1_700_000_000_000)

// peer is a connection without a socket; answers and what is sent one-way are kept.
type peer struct {
	mu      sync.Mutex // guards out and answers
	out     []byte
	answers []protocol.Command
	sent    []*protocol.Command
}

func (p *peer) RemoteAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.10:1234") }
func (p *peer) LocalAddr() netip.AddrPort  { return netip.MustParseAddrPort("192.0.2.1:10911") }
func (p *peer) LockOut() []byte {
	p.mu.Lock()
	return p.out
}
func (p *peer) UnlockOut(_ *protocol.Turn, out []byte) {
	var c protocol.Command
	if err := c.Decode(bytes.Clone(out[4:])); err != nil {
		panic(err)
	}
	p.answers = append(p.answers, c)
	p.out = out[:0]
	p.mu.Unlock()
}
func (p *peer) Flush()                                     {}
func (p *peer) Post(func(*protocol.Turn))                  { panic("nothing is posted") }
func (p *peer) Send(_ *protocol.Turn, c *protocol.Command) { p.sent = append(p.sent, c) }
func (p *peer) Closed() bool                               { return false }
func (p *peer) Close()                                     {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}

// desk is a service over a real store on a disk in memory. The clock stands still but for pass.
type desk struct {
	t       *testing.T
	fs      *crashfs.Disk
	svc     *Service
	room    *longpoll.Room[string, Waiter]
	store   *store.Store
	put     *put.Service
	turn    *protocol.Turn
	offsets *offset.Table
	topics  configs[topic.Config]
	groups  configs[topic.GroupConfig]
	peer    *peer
	now     time.Time
	cfg     Config
	shards  []string
	opaque  int32
}

// configs is a table of configurations.
type configs[C any] map[string]*C

func (t configs[C]) Get(name []byte) *C                         { return t[string(name)] }
func (t configs[C]) All() (map[string]*C, protocol.DataVersion) { return t, protocol.DataVersion{} }

func newDesk(t *testing.T, change ...func(*Config)) *desk {
	d := &desk{t: t, fs: crashfs.New(crashfs.Options{}), peer: &peer{}, now: begin, topics: configs[topic.Config]{}, groups: configs[topic.GroupConfig]{}}
	p := topic.NewConfig("P", 4)
	p.Attributes = map[string]string{"message.type": "LITE"}
	d.topics["P"], d.topics["T"] = p, topic.NewConfig("T", 1)
	for _, name := range []string{"g", "h"} {
		d.group(name, "lite.bind.topic=P")
	}
	d.groups["plain"] = topic.NewGroupConfig("plain")
	d.cfg = Config{
		Topics: d.topics, Groups: d.groups, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return d.now },
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
		Handle: func(b []byte) (popMs int64, inOrder bool, err error) {
			f := strings.Fields(string(b))
			if len(f) < 4 {
				return 0, false, fmt.Errorf("extraInfo has %d parts", len(f))
			}
			popMs, err = strconv.ParseInt(f[1], 10, 64)
			return popMs, f[3] == "999", err
		},
		Shards: func(context.Context, string) []string { return d.shards },
		Got:    func(string, string, int, int) {},
		Name:   "broker-a", Readable: func() bool { return true }, Closed: func() error { return nil },
		FirstInMemory: true, PollingSize: 2, StoreType: "default",
		MaxSubscriptions: func() int { return 10 }, MaxEvents: func() int { return 100 }, MaxQueues: func() int { return 20000 },
		LookDelay: seconds(10), WildLookDelay: seconds(10), EventInterval: seconds(10), ClientInterval: seconds(120), ClientTimeout: seconds(180),
		ExpireInterval: seconds(120), MinLife: seconds(900), ShowsLagLatencies: func() bool { return true },
	}
	for _, fn := range change {
		fn(&d.cfg)
	}
	d.open()
	return d
}

func seconds(n int) func() time.Duration {
	return func() time.Duration { return time.Duration(n) * time.Second }
}

// group makes a group with attributes key=value.
func (d *desk) group(name string, attributes ...string) {
	g := topic.NewGroupConfig(name)
	g.Attributes = map[string]string{}
	for _, a := range attributes {
		key, value, _ := strings.Cut(a, "=")
		g.Attributes[key] = value
	}
	d.groups[name] = g
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
	d.store, err = store.Open(store.Config{Dir: "/store", FileSize: 1 << 20, QueueFileSize: 2000, HotBytes: 1 << 20, MultiDispatch: true, FS: d.fs, Log: log})
	must(err)
	d.offsets, err = offset.Open(offset.Config{FS: d.fs, Dir: "/store/config", Light: true, Log: log})
	must(err)
	d.put = put.New(put.Config{
		Log: d.store, Stored: func(*consumequeue.Queue, int, int) {},
		Grew: func(t *protocol.Turn, q *consumequeue.Queue) { d.svc.Grew(t, q.Topic()) },
	})
	d.turn = &protocol.Turn{Now: d.now, Appends: d.put.NewBatch()}
	d.cfg.Store, d.cfg.Offsets = d.store, d.offsets
	d.svc = New(d.cfg)
	d.room = longpoll.New[string](longpoll.Config[Waiter]{Answer: d.svc.Answer}, d.now)
	d.svc.UseRoom(d.room)
}

// restart is a kill -9 and the next start.
func (d *desk) restart() {
	d.t.Helper()
	if err := d.offsets.Persist(); err != nil {
		d.t.Fatal(err)
	}
	d.fs = d.fs.Kill()
	d.open()
}

// pass lets time go by, with what Run does meanwhile.
func (d *desk) pass(by time.Duration) {
	d.now = d.now.Add(by)
	d.turn.Now = d.now
	d.svc.Release(d.now)
	d.svc.Scan(d.now)
	d.svc.Forget(d.now)
	d.room.Expire(nil, d.now)
}

// send stores messages of lite topics, each "lite=body".
func (d *desk) send(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		lite, body, _ := strings.Cut(text, "=")
		props := message.AppendProperty(nil, message.PropInnerMultiDispatch, []byte(topic.LiteQueue("P", lite)))
		host := netip.MustParseAddrPort("192.0.2.1:10911")
		m := message.Draft{Topic: []byte("P"), Body: []byte(body), Properties: props, BornHost: host, StoreHost: host}
		put.Of(d.turn).Stage(d.store.Queue("P", 0), &m, 0, true, nil, protocol.Ticket{Peer: d.peer, Oneway: true}, func(*protocol.Turn, protocol.Ticket, *put.Outcome) {})
		d.turn.Appends.Commit(d.turn)
	}
}

func (d *desk) serve(c *protocol.Call) {
	turn := map[int32]func(*protocol.Call) error{
		protocol.PopLiteMessage: d.svc.Pop, protocol.AckMessage: d.svc.Ack, protocol.ChangeMessageInvisibletime: d.svc.Change, protocol.Notification: d.svc.Notification,
	}
	pool := map[int32]func(context.Context, *protocol.Call) (protocol.Fielder, []byte, error){
		protocol.LiteSubscriptionCtl: d.svc.Control, protocol.GetBrokerLiteInfo: d.svc.BrokerInfo, protocol.GetParentTopicInfo: d.svc.ParentInfo,
		protocol.GetLiteTopicInfo: d.svc.TopicInfo, protocol.GetLiteClientInfo: d.svc.ClientInfo, protocol.GetLiteGroupInfo: d.svc.GroupInfo,
		protocol.TriggerLiteDispatch: d.svc.Trigger,
	}
	if run := turn[c.Code]; run != nil {
		if err := run(c); err != nil {
			c.Fail(err)
		}
		return
	}
	header, body, err := pool[c.Code](context.Background(), c)
	if err != nil {
		c.Fail(err)
		return
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", header, body)
}

// call serves a request with fields key=value and returns its answer, nil if it is held.
func (d *desk) call(code int32, body []byte, fields ...string) *protocol.Command {
	d.t.Helper()
	d.opaque++
	c := &protocol.Call{Peer: d.peer, Turn: d.turn}
	c.Code, c.Opaque, c.Body = code, d.opaque, body
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		c.Set(key, value)
	}
	d.serve(c)
	return d.answer(d.opaque)
}

func (d *desk) answer(opaque int32) *protocol.Command {
	d.peer.mu.Lock()
	defer d.peer.mu.Unlock()
	for i := range d.peer.answers {
		if d.peer.answers[i].Opaque == opaque {
			return &d.peer.answers[i]
		}
	}
	return nil
}

// control subscribes: action, client, group, lite topics.
func (d *desk) control(action protocol.LiteAction, client, group string, lite ...string) *protocol.Command {
	d.t.Helper()
	return d.controls(&protocol.LiteSubscription{Action: action, ClientID: client, Group: group, Topic: "P", LiteTopics: lite})
}

func (d *desk) controls(list ...*protocol.LiteSubscription) *protocol.Command {
	d.t.Helper()
	data, err := laxjson.Marshal(protocol.LiteSubscriptionCtlRequestBody{SubscriptionSet: list})
	if err != nil {
		d.t.Fatal(err)
	}
	return d.call(protocol.LiteSubscriptionCtl, data)
}

// pop asks for what is there now and prints it: bodies, each with how often it was popped before if that is not 0, or the code.
func (d *desk) pop(client, group string, fields ...string) string {
	d.t.Helper()
	return d.print(d.call(protocol.PopLiteMessage, nil, d.popFields(client, group, fields...)...))
}

func (d *desk) popFields(client, group string, fields ...string) []string {
	return append([]string{"clientId=" + client, "consumerGroup=" + group, "topic=P", "maxMsgNum=32", "invisibleTime=60000", "pollTime=0",
		fmt.Sprintf("bornTime=%d", d.now.UnixMilli())}, fields...)
}

func (d *desk) print(a *protocol.Command) string {
	d.t.Helper()
	if a == nil {
		return "held"
	}
	if a.Code != protocol.Success {
		return fmt.Sprintf("%d", a.Code)
	}
	var out []string
	counts, _ := a.Get("orderCountInfo")
	times := strings.Split(string(counts), ";")
	for b := a.Body; len(b) > 0; {
		m, err := message.Decode(b)
		if err != nil {
			d.t.Fatal(err)
		}
		text := string(m.Body)
		if i := len(out); i >= len(times) {
			d.t.Fatalf("orderCountInfo %q", counts)
		} else if times[i] != "0" {
			text += "*" + times[i]
		}
		out = append(out, text)
		b = b[m.Size:]
	}
	return strings.Join(out, " ")
}

// ack acknowledges an offset of a lite topic that was popped now.
func (d *desk) ack(group, lite string, offset int, fields ...string) int32 {
	d.t.Helper()
	return d.call(protocol.AckMessage, nil, append(d.handle(group, lite, offset), fields...)...).Code
}

func (d *desk) handle(group, lite string, offset int) []string {
	return []string{"consumerGroup=" + group, "topic=P", "liteTopic=" + lite, "queueId=0", fmt.Sprintf("offset=%d", offset),
		fmt.Sprintf("extraInfo=0 %d 60000 999 0 broker-a 0 %d", d.now.UnixMilli(), offset)}
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// sorted sorts the words of an answer.
func sorted(text string) string {
	f := strings.Fields(text)
	slices.Sort(f)
	return strings.Join(f, " ")
}

package send

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// peer is a connection without a socket that keeps what it is answered.
type peer struct {
	out     []byte
	answers []protocol.Command
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
}
func (p *peer) Flush()                                 {}
func (p *peer) Post(func(*protocol.Turn))              { panic("nothing is posted") }
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return false }
func (p *peer) Close()                                 {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}

type topics map[string]*topic.Config

func (t topics) Get(name []byte) *topic.Config { return t[string(name)] }
func (t topics) Create(context.Context, string, string, int32) (*topic.Config, error) {
	panic("not created")
}
func (t topics) Ensure(...*topic.Config) error { panic("not created") }

type groups struct{}

func (groups) Get([]byte) *topic.GroupConfig { return nil }

// desk is the service over a store.
type desk struct {
	t     *testing.T
	svc   *Service
	store *store.Store
	batch *put.Batch
	rung  []string

	sysFlag, reconsumed string // of what is sent; "" is 0
}

func open(t *testing.T, change ...func(*put.Config, *Config)) *desk {
	known := topics{}
	for _, name := range []string{"plain", "batch"} {
		known[name] = topic.NewConfig(name, 2)
	}
	known["batch"].Attributes = map[string]string{topic.AttrQueueType: "BatchCQ"}
	s, err := store.Open(store.Config{Dir: t.TempDir(), FileSize: 1 << 20, QueueFileSize: 2000, MultiDispatch: true, Log: slog.New(slog.DiscardHandler),
		QueueKind: func(name string) (consumequeue.Kind, bool) {
			if name == "batch" {
				return consumequeue.Batch, true
			}
			return consumequeue.Simple, known[name] != nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	d := &desk{t: t, store: s}
	into := put.Config{Log: s,
		Grew: func(_ *protocol.Turn, q *consumequeue.Queue) {
			d.rung = append(d.rung, fmt.Sprint(q.Topic(), " ", q.Max()))
		},
		Stored: func(q *consumequeue.Queue, messages, _ int) {
			d.rung = append(d.rung, fmt.Sprintf("%d in %s", messages, q.Topic()))
		},
	}
	cfg := Config{Topics: known, Groups: groups{}, Queues: s, MaxMessageSize: func() int { return 100_000 },
		StoreHost: func() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:10911") }, Cluster: "c", Region: "r",
		Writable: func() bool { return true }, NewID: func() []byte { return []byte("made") }, Failed: func() {}}
	for _, fn := range change {
		fn(&into, &cfg)
	}
	d.batch, d.svc = put.New(into).NewBatch(), New(cfg)
	return d
}

// send sends and returns the answer.
func (d *desk) send(code int32, name, props string, body []byte) protocol.Command {
	d.t.Helper()
	p := new(peer)
	turn := &protocol.Turn{Now: time.UnixMilli(1000), Appends: d.batch}
	c := &protocol.Call{Peer: p, Turn: turn}
	c.Code, c.Body = code, body
	for _, f := range []struct{ key, val string }{{"producerGroup", "g"}, {"topic", name}, {"defaultTopic", "TBW102"},
		{"defaultTopicQueueNums", "4"}, {"queueId", "1"}, {"sysFlag", cmp.Or(d.sysFlag, "0")}, {"reconsumeTimes", cmp.Or(d.reconsumed, "0")}, {"bornTimestamp", "1"}, {"flag", "0"}, {"properties", props},
		{"batch", fmt.Sprint(code == protocol.SendBatchMessage)}} {
		c.Fields = append(c.Fields, protocol.Field{Key: []byte(v2[f.key]), Value: []byte(f.val)})
	}
	serve := d.svc.Send
	if code == protocol.SendReplyMessageV2 {
		serve = d.svc.Reply
	}
	if err := serve(c); err != nil {
		c.Fail(err)
	}
	d.batch.Commit(turn)
	if len(p.answers) != 1 {
		d.t.Fatalf("%d answers", len(p.answers))
	}
	return p.answers[0]
}

// v2 are the names of fields in the short form.
var v2 = map[string]string{"producerGroup": "a", "topic": "b", "defaultTopic": "c", "defaultTopicQueueNums": "d", "queueId": "e",
	"sysFlag": "f", "bornTimestamp": "g", "flag": "h", "properties": "i", "reconsumeTimes": "j", "batch": "m"}

func batchBody(messages ...string) (b []byte) {
	for _, m := range messages {
		b = appendBatch(b, m, "TAGS\x01"+m+"\x02")
	}
	return b
}

func appendBatch(b []byte, body, props string) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(22+len(body)+len(props)))
	b = append(b, make([]byte, 12)...)
	b = append(be.AppendUint32(b, uint32(len(body))), body...)
	return append(be.AppendUint16(b, uint16(len(props))), props...)
}

func field(c *protocol.Command, key string) string {
	for _, f := range c.Fields {
		if string(f.Key) == key {
			return string(f.Value)
		}
	}
	return ""
}

func (d *desk) wantRung(want string) {
	d.t.Helper()
	if got := strings.Join(d.rung, ", "); got != want {
		d.t.Errorf("rung: %s, not %s", got, want)
	}
	d.rung = nil
}

// A client batch for a topic with Batch queues is one record that says how many messages it holds, and the answer has the
// batch's id; without an id, and for other topics, it is taken apart.
func TestService_Send_InnerBatch(t *testing.T) {
	d := open(t)
	body := batchBody("A", "B", "C")
	for i := range int64(2) {
		c := d.send(protocol.SendBatchMessage, "batch", "UNIQ_KEY\x01u\x02WAIT\x01true\x02", body)
		if c.Code != protocol.Success || field(&c, "batchUniqId") != "u" || field(&c, "transactionId") != "u" ||
			field(&c, "queueOffset") != fmt.Sprint(3*i) || strings.Contains(field(&c, "msgId"), ",") {
			t.Fatalf("%+v %s", c, c.Remark)
		}
		d.wantRung(fmt.Sprintf("3 in batch, batch %d", 3*i+3))
	}
	got, res := d.store.Get(d.store.Find([]byte("batch"), 1), store.Read{From: 4, Max: 3}, nil)
	r, err := message.Decode(got)
	if err != nil || res.Count != 3 || res.Next != 6 || r.SysFlag != message.FlagInnerBatch|message.FlagNeedUnwrap || !bytes.Equal(r.Body, body) {
		t.Fatalf("%+v %+v %v", res, r, err)
	}
	var props []string
	message.EachProperty(r.Properties, func(name, value []byte) bool { props = append(props, string(name)+"="+string(value)); return true })
	if got := strings.Join(props, " "); got != "UNIQ_KEY=u WAIT=true CLUSTER=c MSG_REGION=r TRACE_ON=false INNER_NUM=3 INNER_BASE=3" {
		t.Error(got)
	}
	c := d.send(protocol.SendBatchMessage, "batch", "", body)
	if c.Code != protocol.Success || field(&c, "batchUniqId") != "" || strings.Count(field(&c, "msgId"), ",") != 2 {
		t.Fatalf("%+v", c)
	}
	d.wantRung("3 in batch, batch 9")
	c = d.send(protocol.SendBatchMessage, "plain", "UNIQ_KEY\x01u\x02", body)
	if c.Code != protocol.Success || field(&c, "batchUniqId") != "" || strings.Count(field(&c, "msgId"), ",") != 2 {
		t.Fatalf("%+v", c)
	}
	d.wantRung("3 in plain, plain 3")
	if c = d.send(protocol.SendMessageV2, "batch", "", []byte("x")); c.Code != protocol.Success || field(&c, "queueOffset") != "9" {
		t.Fatalf("%+v", c)
	}
}

// What is no batch, or one that could not be delivered as it should, is refused as illegal and not stored.
func TestService_Send_InnerBatch_Bad(t *testing.T) {
	const uniq = "UNIQ_KEY\x01u\x02"
	delayed := batchBody("A")
	delayed = append(delayed[:len(delayed)-9], "\x00\x08DELAY\x013\x02"...)
	binary.BigEndian.PutUint32(delayed, uint32(len(delayed)))
	for _, c := range []struct {
		name, topic, props string
		body               []byte
		want               string
	}{
		{"nothing", "batch", uniq, nil, "holds no message"},
		{"cut short", "batch", uniq, batchBody("A", "B")[:31], "malformed"},
		{"text", "batch", uniq, []byte("these are not the bytes"), "malformed"},
		{"empty message", "batch", uniq, batchBody(""), "no body"},
		{"delayed message", "batch", uniq, delayed, "DELAY"},
		{"no room", "batch", uniq + "x\x01" + strings.Repeat("y", 32767-len(uniq)-100) + "\x02", batchBody("A"), "properties have"},
		{"too many", "batch", uniq, bytes.Repeat(batchBody("A"), 3400), "maxMessageSize"},
		{"count from outside", "batch", uniq + "INNER_NUM\x013\x02", batchBody("A"), "inner batches"},
		{"count for plain queues", "plain", uniq + "INNER_NUM\x013\x02", batchBody("A"), "inner batches"},
	} {
		d := open(t)
		a := d.send(protocol.SendBatchMessage, c.topic, c.props, c.body)
		if a.Code == protocol.Success || !strings.Contains(a.Remark, c.want) {
			t.Errorf("%s: %d %s", c.name, a.Code, a.Remark)
		}
		if d.store.MaxPhysical() != 0 {
			t.Errorf("%s: something was stored", c.name)
		}
	}
}

// A message for further queues rings for each of them; one that leaves no room for its offsets is refused.
func TestService_Send_FurtherQueues(t *testing.T) {
	d := open(t)
	if c := d.send(protocol.SendMessageV2, "plain", "INNER_MULTI_DISPATCH\x01%LMQ%1,%LMQ%2\x02", []byte("x")); c.Code != protocol.Success {
		t.Fatalf("%+v", c)
	}
	d.wantRung("1 in plain, plain 1, %LMQ%1 1, %LMQ%2 1")
	full := "INNER_MULTI_DISPATCH\x01%LMQ%1\x02x\x01" + strings.Repeat("y", 32640) + "\x02"
	if c := d.send(protocol.SendMessageV2, "plain", full, []byte("x")); c.Code != protocol.MessageIllegal {
		t.Fatalf("%+v", c)
	}
}

// A message for a lite topic goes into its queue, whatever queues the client named; a name that is none is refused.
func TestService_Send_Lite(t *testing.T) {
	d := open(t)
	props := "INNER_MULTI_DISPATCH\x01%LMQ%1,%LMQ%2\x02__LITE_TOPIC\x01a\x02"
	if c := d.send(protocol.SendMessageV2, "plain", props, []byte("x")); c.Code != protocol.Success {
		t.Fatalf("%+v", c)
	}
	d.wantRung("1 in plain, plain 1, %LMQ%$plain$a 1")
	for _, name := range []string{"a,b", "a/b", "a$b", strings.Repeat("x", 250)} {
		if c := d.send(protocol.SendMessageV2, "plain", "__LITE_TOPIC\x01"+name+"\x02", []byte("x")); c.Code != protocol.MessageIllegal || !strings.Contains(c.Remark, "__LITE_TOPIC") {
			t.Errorf("%q: %d %s", name, c.Code, c.Remark)
		}
	}
}

type cq = consumequeue.Queue

func (d *desk) noBell(*protocol.Turn, *consumequeue.Queue) {}

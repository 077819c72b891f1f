package pop

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

func want(t *testing.T, what, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// What is popped is nobody else's until its time is over; then what was not acknowledged comes again, once, through the
// retry topic, and says how often.
func TestService_Pop_AckAndRevive(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c")
	list := d.pop()
	want(t, "first pop", bodies(list), "a b c")
	want(t, "second pop", bodies(d.pop()), "")
	want(t, "committed", d.committed("g", "T", 0), int64(3))
	want(t, "ack", d.ack(list[1]).Code, int32(protocol.Success))
	d.pass(9900 * time.Millisecond)
	want(t, "before its time", bodies(d.pop()), "")
	d.pass(200 * time.Millisecond)
	again := d.pop()
	want(t, "after its time", bodies(again), "a c")
	for _, g := range again {
		want(t, "real topic", g.topic, "%RETRY%g_T")
		want(t, "attempts", g.times, int32(1))
		want(t, "topic", string(g.m.Topic), "T")
		want(t, "ack of a retry", d.ack(g).Code, int32(protocol.Success))
	}
	d.pass(30 * time.Second)
	want(t, "all acknowledged", bodies(d.pop()), "")
	want(t, "in memory", d.svc.live.Load(), int64(0))
	want(t, "alarms", d.svc.schedule.count(), 0)
	o, _ := d.offsets.Get([]byte(topic.ReviveGroup), []byte("rmq_sys_REVIVE_LOG_C"), 0)
	if o <= 0 {
		t.Errorf("the revive topic was handled up to %d", o)
	}
}

// A restart forgets nothing: what was acknowledged stays so, what was not comes again.
func TestService_Pop_Restart(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c")
	list := d.pop()
	d.ack(list[1])
	d.restart(true)
	want(t, "after the restart", bodies(d.pop()), "")
	want(t, "ack after the restart", d.ack(list[2]).Code, int32(protocol.Success))
	d.pass(9900 * time.Millisecond)
	want(t, "before its time", bodies(d.pop()), "")
	d.pass(5 * time.Second)
	again := d.pop()
	want(t, "after its time", bodies(again), "a")
	d.ack(again[0])
	d.pass(30 * time.Second)
	want(t, "all acknowledged", bodies(d.pop()), "")
}

// Who delivered again and stops before it is known does not do so twice.
func TestService_Pop_RestartAfterRevive(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	d.pop()
	d.pass(10100 * time.Millisecond)
	d.restart(true)
	d.pass(20 * time.Second)
	want(t, "pop", bodies(d.pop()), "a")
	want(t, "once", bodies(d.pop()), "")
}

// What memory has no room for is revived from the log.
func TestService_Pop_NoRoom(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.MaxLeases = 0 })
	d.send("T", 0, "a", "b")
	list := d.pop()
	d.ack(list[0])
	d.pass(10 * time.Second)
	want(t, "at its time", bodies(d.pop()), "")
	d.pass(5 * time.Second)
	want(t, "a little later", bodies(d.pop()), "b")
}

// A store that refuses makes a pop fail, and nothing is lost.
func TestService_Pop_Refused(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	list := d.pop()
	want(t, "pop", bodies(list), "a")
	d.refuse = errors.New("full")
	d.pass(10500 * time.Millisecond)
	want(t, "nothing can be written", bodies(d.pop()), "")
	d.refuse = nil
	d.pass(1500 * time.Millisecond)
	want(t, "pop", bodies(d.pop()), "a")
	d.put.SetReplicas(few{})
	if a := d.ask("consumerGroup=h"); a == nil || a.Code != protocol.SystemError || !strings.Contains(a.Remark, "too few") {
		t.Errorf("too few replicas: %+v", a)
	}
	want(t, "committed", d.committed("h", "T", 0), int64(0))
	d.put.SetReplicas(nil)
	want(t, "pop", bodies(d.pop("consumerGroup=h")), "a")
	want(t, "committed", d.committed("h", "T", 0), int64(1))
}

// few is a set of replicas that has too few of them.
type few struct{}

func (few) Admit() error      { return errors.New("too few") }
func (few) Replicated() int64 { return math.MaxInt64 }

// A message may stay invisible longer, or come back at once; the handle of the change is the one that counts.
func TestService_Change(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b")
	list := d.pop()
	change := func(g got, ms string, more ...string) *protocol.Command {
		t.Helper()
		return d.call(protocol.ChangeMessageInvisibletime, "", append(append(d.of(g), "invisibleTime="+ms), more...)...)
	}
	a := change(list[0], "60000") // in the millisecond of the pop: the new check point is not the old one
	want(t, "code", a.Code, int32(protocol.Success))
	want(t, "invisibleTime", field(a, "invisibleTime"), "60000")
	want(t, "popTime", field(a, "popTime"), fmt.Sprint(start.UnixMilli()+1))
	b := change(list[1], "0", "suspend=true")
	want(t, "code", b.Code, int32(protocol.Success))
	d.pass(100 * time.Millisecond)
	again := d.pop()
	want(t, "at once", bodies(again), "b")
	want(t, "attempts of one suspended", again[0].times, int32(0))
	d.ack(again[0])
	d.pass(59 * time.Second)
	want(t, "still invisible", bodies(d.pop()), "")
	d.pass(1200 * time.Millisecond)
	again = d.pop()
	want(t, "visible", bodies(again), "a")
	want(t, "attempts", again[0].times, int32(1))
	d.ack(again[0])
	d.pass(2 * time.Minute)
	want(t, "all acknowledged", bodies(d.pop()), "")
}

// What one turn acknowledges of one check point is one record; each request is answered.
func TestService_Ack_OneTurn(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c")
	list := d.pop()
	before := d.store.Queue(topic.Timer, 0).Max()
	var opaques []int32
	for _, g := range list[:2] {
		d.opaque++
		opaques = append(opaques, d.opaque)
		c := &protocol.Call{Command: protocol.Command{Code: protocol.AckMessage, Opaque: d.opaque}, Peer: d.peer, Turn: d.turn}
		for _, f := range d.of(g) {
			k, v, _ := strings.Cut(f, "=")
			c.Set(k, v)
		}
		d.serve(c)
	}
	d.turn.Appends.Commit(d.turn)
	want(t, "records", d.store.Queue(topic.Timer, 0).Max()-before, int64(1))
	for _, opaque := range opaques {
		if a := d.answer(opaque); a == nil || a.Code != protocol.Success {
			t.Errorf("answer %+v", a)
		}
	}
	d.restart(true)
	d.pass(15 * time.Second)
	want(t, "open", bodies(d.pop()), "c")
}

// Many acknowledgements in one request, of the topic and of its retry topic.
func TestService_BatchAck(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c", "d")
	list := d.pop()
	entry := func(g got, bits, retry string) string {
		h, _ := ParseHandle([]byte(g.handle))
		return fmt.Sprintf(`{"b":%q,"c":"g","it":%d,"pt":%d,"q":%d,"r":%q,"rq":%d,"so":%d,"t":"T"}`, bits, h.InvisibleMs, h.PopMs, h.QueueID, retry, h.Revive, h.Start)
	}
	a := d.call(protocol.BatchAckMessage, `{"acks":[`+entry(list[0], "BQ==", "0")+`],"brokerName":"broker-a"}`)
	want(t, "code", a.Code, int32(protocol.Success))
	d.pass(10200 * time.Millisecond)
	again := d.pop()
	want(t, "open ones", bodies(again), "b d")
	a = d.call(protocol.BatchAckMessage, `{"acks":[`+entry(again[0], "Aw==", "1")+`],"brokerName":"broker-a"}`)
	want(t, "code", a.Code, int32(protocol.Success))
	d.pass(30 * time.Second)
	want(t, "all acknowledged", bodies(d.pop()), "")

	d.restart(true)
	d.pass(30 * time.Second)
	want(t, "after a restart", bodies(d.pop()), "")
	for body, code := range map[string]int32{
		"":                                protocol.NoMessage,
		`{"acks":[]}`:                     protocol.NoMessage,
		`{"acks":[`:                       protocol.SystemError,
		`{"acks":[{"t":"none","c":"g"}]}`: protocol.Success,
		`{"acks":[{"t":"T","c":"g","q":0,"so":0,"b":"####"}],"brokerName":"broker-a"}`:         protocol.SystemError,
		`{"acks":[{"t":"T","c":"g","q":0,"so":99,"b":"BQ=="}],"brokerName":"broker-a"}`:        protocol.Success,
		`{"acks":[{"t":"T","c":"g","q":9,"so":0,"b":"BQ=="}],"brokerName":"broker-a"}`:         protocol.Success,
		`{"acks":[{"t":"T","c":"g","q":0,"so":0,"rq":77,"b":"BQ=="}],"brokerName":"broker-a"}`: protocol.Success,
	} {
		was := d.store.MaxPhysical()
		if a := d.call(protocol.BatchAckMessage, body); a == nil || a.Code != code || d.store.MaxPhysical() != was {
			t.Errorf("%s: %+v, want %d and nothing written", body, a, code)
		}
	}
}

// What nobody popped, or nobody popped here, is refused or passed over, with a reason, and changes nothing.
func TestService_Ack_Refusals(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	g := d.pop()[0]
	for _, c := range []struct {
		name, field string
		code        int32
		remark      string
	}{
		{"no topic", "topic=none", protocol.TopicNotExist, "topic[none] not exist"},
		{"queue", "queueId=7", protocol.MessageIllegal, "queueId[7] is illegal"},
		{"negative queue", "queueId=-1", protocol.MessageIllegal, "queueId[-1] is illegal"},
		{"offset", "offset=2", protocol.NoMessage, "offset is illegal, key:T@0, commit:2, store:0~1"},
		{"garbage", "extraInfo=nonsense", protocol.SystemError, "extraInfo has 1 parts"},
		{"garbage number", "extraInfo=0 x 10000 0 0 broker-a 0 0", protocol.SystemError, `extraInfo has "x" for popTime`},
		{"foreign", "extraInfo=0 1 10000 0 0 broker-b 0 0", protocol.Success, "extraInfo is a handle of another broker"},
		{"revive queue", "extraInfo=0 1 10000 5 0 broker-a 0 0", protocol.Success, "extraInfo has a reviveQid"},
		{"far future", "extraInfo=0 9000000000000000000 10000 0 0 broker-a 0 0", protocol.Success, "extraInfo has a popTime"},
		{"no group", "consumerGroup=none", protocol.Success, "consumerGroup is not known here"},
		{"not a number", "offset=many", protocol.SystemError, "the field <offset>"},
	} {
		was := d.store.MaxPhysical()
		a := d.ack(g, c.field)
		if a.Code != c.code || !strings.HasPrefix(a.Remark, c.remark) {
			t.Errorf("%s: %d %q, want %d %q", c.name, a.Code, a.Remark, c.code, c.remark)
		}
		b := d.call(protocol.ChangeMessageInvisibletime, "", append(append(d.of(g), "invisibleTime=1000"), c.field)...)
		if b.Code == protocol.Success {
			t.Errorf("%s: change: %d %q", c.name, b.Code, b.Remark)
		}
		want(t, c.name+": bytes written", d.store.MaxPhysical()-was, int64(0))
	}
	for _, ms := range []string{"-1", "9000000000"} {
		b := d.call(protocol.ChangeMessageInvisibletime, "", append(d.of(g), "invisibleTime="+ms)...)
		want(t, "change to "+ms, b.Code, int32(protocol.SystemError))
	}
	want(t, "ack", d.ack(g).Code, int32(protocol.Success))
	want(t, "stale ack", d.ack(g).Code, int32(protocol.Success))
}

// Each refusal of a pop has Java's code.
func TestService_Pop_Refusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *Config)
		fields []string
		code   int32
		remark string
	}{
		{"late", nil, []string{"bornTime=1", "pollTime=5"}, protocol.PollingTimeout, "the broker[192.0.2.1] pop message is timeout too much"},
		{"not readable", func(c *Config) { c.Readable = func() bool { return false } }, nil, protocol.NoPermission, "the broker[192.0.2.1] pop message is forbidden"},
		{"too many", nil, []string{"maxMsgNums=33"}, protocol.InvalidParameter, "the broker[192.0.2.1] pop message's num is greater than 32"},
		{"no timer", func(c *Config) { c.TimerWheel = false }, nil, protocol.SystemError, "the broker[192.0.2.1] pop message is forbidden because timerWheelEnable is false"},
		{"slave", func(c *Config) { c.Slave = func() bool { return true } }, nil, protocol.SystemError, "this broker is a slave, messages are popped and acknowledged at its master"},
		{"starting", func(c *Config) { c.Taking = func() bool { return false } }, nil, protocol.ServiceNotAvailable, "service not available now: this broker is starting or stopping"},
		{"invisible for ever", nil, []string{"invisibleTime=9000000000"}, protocol.InvalidParameter, "invisibleTime[9000000000] is illegal, at most 259200000 (timerMaxDelaySec)"},
		{"no topic", nil, []string{"topic=none"}, protocol.TopicNotExist, "topic[none] not exist, apply first please! " + topic.FAQ},
		{"queue", nil, []string{"queueId=1"}, protocol.InvalidParameter, "queueId[1] is illegal, topic:[T] topicConfig.readQueueNums:[1] consumer:[/192.0.2.10:1234]"},
		{"no group", nil, []string{"consumerGroup=none"}, protocol.SubscriptionGroupNotExist, "subscription group [none] does not exist, " + topic.FAQ},
		{"expression", nil, []string{"exp=a >", "expType=SQL92"}, protocol.SubscriptionParseFailed, "parse the consumer's subscription failed: invalid SQL92 expression: a value is missing before the end"},
		{"no tag", nil, []string{"exp=||"}, protocol.SubscriptionParseFailed, "parse the consumer's subscription failed"},
		{"nothing there", nil, []string{"topic=T4"}, protocol.PollingTimeout, "NO_MESSAGE_IN_QUEUE"},
	} {
		d := newDesk(t, c.change)
		d.send("T", 0, "a")
		was := d.store.MaxPhysical()
		a := d.ask(c.fields...)
		if a == nil || a.Code != c.code || a.Remark != c.remark {
			t.Errorf("%s: %+v", c.name, a)
		}
		want(t, c.name+": bytes written", d.store.MaxPhysical()-was, int64(0))
		want(t, c.name+": committed", d.committed("g", "T", 0), int64(-1))
	}
}

// A slave takes no acknowledgement, and changes no lease: its log is its master's.
func TestService_Ack_Slave(t *testing.T) {
	slave := false
	d := newDesk(t, func(c *Config) { c.Slave = func() bool { return slave } })
	d.send("T", 0, "a")
	g := d.pop()[0]
	was := d.store.MaxPhysical()
	slave = true
	h, _ := ParseHandle([]byte(g.handle))
	batch := fmt.Sprintf(`{"acks":[{"b":"AQ==","c":"g","it":%d,"pt":%d,"q":0,"r":"0","rq":%d,"so":0,"t":"T"}],"brokerName":"broker-a"}`, h.InvisibleMs, h.PopMs, h.Revive)
	for name, a := range map[string]*protocol.Command{
		"ack": d.ack(g), "batch": d.call(protocol.BatchAckMessage, batch), "change": d.call(protocol.ChangeMessageInvisibletime, "", append(d.of(g), "invisibleTime=1000")...),
	} {
		if a == nil || a.Code != protocol.SystemError || !strings.Contains(a.Remark, "slave") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	want(t, "bytes written", d.store.MaxPhysical()-was, int64(0))
}

// What comes again comes first in as many percent of the pops as is wanted, else last, with another number where a pop begins with
// the highest priority; under its own topic, or under that in which it is stored.
func TestService_Pop_RetryFirst(t *testing.T) {
	for _, c := range []struct {
		percent, ranked int
		factor          string // of the group, where the topic has priorities
		actual          bool
		want            string
	}{
		{100, 0, "", false, "T again"}, {0, 100, "", false, "T new"}, {100, 0, "", true, "%RETRY%g_T again"},
		{0, 100, "100", false, "T again"}, {100, 0, "100", false, "T new"}, {0, 100, "0", false, "T new"},
	} {
		d := newDesk(t, func(cfg *Config) { cfg.RetryFirst, cfg.RetryPriority, cfg.ActualTopic = c.percent, c.ranked, c.actual })
		if c.factor != "" {
			d.topics["T"].Attributes = map[string]string{"message.type": "PRIORITY"}
			d.groups["g"].Attributes = map[string]string{"priority.factor": c.factor}
		}
		d.send("T", 0, "again")
		d.pop()
		d.pass(10100 * time.Millisecond)
		d.send("T", 0, "new")
		m, err := message.Decode(d.ask("maxMsgNums=1").Body)
		if got := fmt.Sprintf("%s %s", m.Topic, m.Body); err != nil || got != c.want {
			t.Errorf("%+v: %s, %v", c, got, err)
		}
	}
}

// A group that never popped begins where it asks to.
func TestService_Pop_InitMode(t *testing.T) {
	for _, c := range []struct {
		mode  string
		inMem bool
		want  string
	}{{"initMode=0", false, "a b c"}, {"initMode=1", false, "c"}, {"initMode=1", true, "a b c"}} {
		d := newDesk(t, func(cfg *Config) { cfg.FirstInMemory = c.inMem })
		d.send("T", 0, "a", "b", "c")
		want(t, fmt.Sprint(c), bodies(d.pop(c.mode)), c.want)
	}
}

// A pop gets what its filter wants, and moves on over the rest.
func TestService_Pop_Filter(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "x:1", "y:2", "x:3", "y:4")
	list := d.pop("exp=y", "expType=TAG")
	want(t, "tag", bodies(list), "y:2 y:4")
	want(t, "committed", d.committed("g", "T", 0), int64(4))
	for _, g := range list {
		d.ack(g)
	}
	want(t, "SQL", bodies(d.pop("consumerGroup=h", "exp=TAGS = 'x'", "expType=SQL92")), "x:1 x:3")
	d.pass(30 * time.Second)
	want(t, "nothing more", bodies(d.pop("exp=y")), "")
	for i := range 3000 { // more than one look sees
		d.send("T", 0, fmt.Sprintf("x:%d", i))
	}
	want(t, "nothing matches", bodies(d.pop("exp=y")), "")
	want(t, "moved on", d.committed("g", "T", 0), int64(3004))
}

// A pop of any queue takes from all of them, a pop of one queue from that.
func TestService_Pop_Queues(t *testing.T) {
	d := newDesk(t, nil)
	for id := range int32(4) {
		d.send("T4", id, fmt.Sprintf("m%d", id))
	}
	want(t, "queue 2", bodies(d.pop("topic=T4", "queueId=2")), "m2")
	want(t, "rest", len(d.pop("topic=T4")), 3)
	want(t, "a new group", len(d.pop("topic=T4", "consumerGroup=new")), 4)
}

// Of a topic with priorities the highest queue comes first, and retries keep their queue where that is wanted.
func TestService_Pop_Priority(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.RetryQueues = true })
	d.topics["T4"].Attributes = map[string]string{"message.type": "PRIORITY"}
	for id := range int32(4) {
		d.send("T4", id, fmt.Sprintf("m%d", id))
	}
	for _, body := range []string{"m3", "m2", "m1", "m0"} {
		want(t, "pop", bodies(d.pop("topic=T4", "maxMsgNums=1")), body)
	}
	d.pass(10200 * time.Millisecond)
	want(t, "queues of the retry topic", d.topics["%RETRY%g_T4"].ReadQueueNums, int32(4))
	list := d.pop("topic=T4")
	want(t, "again", len(list), 4)
	for _, g := range list {
		want(t, "queue of "+g.body, fmt.Sprint("m", g.m.QueueID), g.body)
	}
}

// Where the order of priorities is turned round, the lowest queue comes first.
func TestService_Pop_PriorityUpwards(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.Downwards = false })
	d.topics["T4"].Attributes = map[string]string{"message.type": "PRIORITY"}
	for id := range int32(4) {
		d.send("T4", id, fmt.Sprintf("m%d", id))
	}
	want(t, "pop", bodies(d.pop("topic=T4")), "m0 m1 m2 m3")
}

// What may be chosen anew holds from the next pop on: the order of queues, and the names of retry topics, of which the older
// ones are still read.
func TestService_Choose(t *testing.T) {
	d := newDesk(t, nil)
	send := func() {
		for id := range int32(4) {
			d.send("T4", id, fmt.Sprintf("m%d", id))
		}
	}
	choose := func(change func(c *Choices)) {
		c := *d.svc.choices.Load()
		change(&c)
		d.svc.Choose(c)
	}
	d.topics["T4"].Attributes = map[string]string{"message.type": "PRIORITY"}
	send()
	want(t, "downwards", bodies(d.pop("topic=T4")), "m3 m2 m1 m0")
	choose(func(c *Choices) { c.Downwards = false })
	send()
	want(t, "upwards", bodies(d.pop("topic=T4")), "m0 m1 m2 m3")

	d.send("T", 0, "a")
	d.pop()
	d.pass(10100 * time.Millisecond)
	choose(func(c *Choices) { c.RetryV2 = true })
	d.send("T", 0, "b")
	seen := map[string]string{}
	for range 20 {
		for range 20 {
			for _, g := range d.pop() {
				seen[g.body] += g.topic + " "
				if g.topic != "T" {
					d.ack(g)
				}
			}
		}
		d.pass(time.Second)
	}
	want(t, "first version", seen["a"], "%RETRY%g_T ")
	want(t, "second version", seen["b"], "T %RETRY%g+T ")
}

// Held pops are answered when something comes, first come first; at their end they are told so, and too many do not wait.
func TestService_Pop_Held(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	d.pop()
	var held []int32
	for range 4 {
		if a := d.ask("pollTime=5000", "maxMsgNums=1"); a != nil {
			t.Fatalf("not held: %+v", a)
		}
		held = append(held, d.opaque)
	}
	want(t, "a fifth", d.ask("pollTime=5000").Code, int32(protocol.PollingFull))
	n := d.call(protocol.PollingInfo, "", "consumerGroup=g", "topic=T", "queueId=-1")
	want(t, "waiting", field(n, "pollingNum"), "4")
	d.send("T", 0, "b", "c")
	for i, body := range []string{"b", "c"} {
		a := d.answer(held[i])
		if a == nil {
			t.Fatalf("pop %d is not answered", i)
		}
		want(t, "answer", bodies(d.read(a)), body)
	}
	d.pass(5100 * time.Millisecond)
	for _, opaque := range held[2:] {
		if a := d.answer(opaque); a == nil || a.Code != protocol.PollingTimeout {
			t.Errorf("at its end: %+v", a)
		}
	}
	if a := d.ask("pollTime=15000"); a != nil {
		t.Fatalf("not held: %+v", a)
	}
	opaque := d.opaque
	d.pass(5 * time.Second)
	a := d.answer(opaque) // at 10 s
	if a == nil {
		t.Fatal("not woken by the end of a lease")
	}
	want(t, "revived", bodies(d.read(a)), "a b c")
}

// A notification says whether there is anything, now or when it comes.
func TestService_Notification(t *testing.T) {
	d := newDesk(t, nil)
	ask := func(fields ...string) *protocol.Command {
		return d.call(protocol.Notification, "", append([]string{"consumerGroup=g", "topic=T", "queueId=-1", "pollTime=3000", fmt.Sprint("bornTime=", d.now.UnixMilli())}, fields...)...)
	}
	if a := ask(); a != nil {
		t.Fatalf("nothing is there: %+v", a)
	}
	held := d.opaque
	d.send("T", 0, "a")
	if a := d.answer(held); a == nil || field(a, "hasMsg") != "true" || field(a, "pollingFull") != "false" {
		t.Fatalf("woken: %+v", a)
	}
	want(t, "at once", field(ask(), "hasMsg"), "true")
	d.ack(d.pop()[0])
	ask()
	held = d.opaque
	d.pass(3100 * time.Millisecond)
	if a := d.answer(held); a == nil || field(a, "hasMsg") != "false" {
		t.Fatalf("at its end: %+v", a)
	}
	want(t, "no topic", ask("topic=none").Code, int32(protocol.TopicNotExist))
}

// A look takes nothing.
func TestService_Peek(t *testing.T) {
	d := newDesk(t, nil)
	peek := func(fields ...string) (protocol.Fielder, []byte, error) {
		c := &protocol.Call{Peer: d.peer}
		for _, f := range append([]string{"consumerGroup=g", "topic=T", "queueId=-1", "maxMsgNums=2"}, fields...) {
			k, v, _ := strings.Cut(f, "=")
			c.Set(k, v)
		}
		return d.svc.Peek(t.Context(), c)
	}
	code := func(err error) int32 {
		var e *protocol.Error
		errors.As(err, &e)
		return e.Code
	}
	_, _, err := peek()
	want(t, "nothing", code(err), int32(protocol.PullNotFound))
	_, _, err = peek("topic=none")
	want(t, "no topic", code(err), int32(protocol.TopicNotExist))
	d.send("T", 0, "a", "b", "c")
	for range 2 {
		h, body, err := peek()
		if err != nil {
			t.Fatal(err)
		}
		want(t, "rest", h.(*protocol.PopMessageResponse).RestNum, int64(3))
		m, err := message.Decode(body)
		want(t, "first", string(m.Body), "a")
		want(t, "error", err, error(nil))
	}
	want(t, "popped then", bodies(d.pop()), "a b c")
	_, _, err = peek()
	want(t, "nothing is left", code(err), int32(protocol.PullNotFound))
}

// In order: nobody gets more of a queue before what was popped is acknowledged or visible again.
func TestService_Pop_Order(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c")
	list := d.pop("order=true", "maxMsgNums=2", "attemptId=1")
	want(t, "first", bodies(list), "a b")
	want(t, "committed", d.committed("g", "T", 0), int64(0))
	want(t, "blocked", bodies(d.pop("order=true", "attemptId=2")), "")
	want(t, "same attempt", bodies(d.pop("order=true", "attemptId=1", "maxMsgNums=2")), "a b")
	d.ack(list[0])
	want(t, "committed", d.committed("g", "T", 0), int64(1))
	want(t, "still blocked", bodies(d.pop("order=true")), "")
	d.restart(true)
	want(t, "blocked after a restart", bodies(d.pop("order=true")), "")
	if a := d.ask("order=true", "pollTime=12000", "maxMsgNums=1"); a != nil {
		t.Fatalf("not held: %+v", a)
	}
	held := d.opaque
	d.pass(10200 * time.Millisecond)
	a := d.answer(held)
	if a == nil {
		t.Fatal("not woken when the queue was free")
	}
	again := d.read(a)
	want(t, "again", bodies(again), "b")
	want(t, "counts", field(a, "orderCountInfo"), "0 qo0%1 1;0 0 1")
	stale := d.ack(list[1])
	want(t, "stale ack", stale.Code, int32(protocol.Success))
	want(t, "committed", d.committed("g", "T", 0), int64(1))
	want(t, "ack of nothing popped", d.ack(again[0], "offset=3").Code, int32(protocol.MessageIllegal))
	b := d.call(protocol.ChangeMessageInvisibletime, "", append(d.of(again[0]), "invisibleTime=1000")...)
	h, _ := ParseHandle([]byte(again[0].handle))
	want(t, "changed", field(b, "invisibleTime"), fmt.Sprint(d.now.UnixMilli()+1000-h.PopMs))
	want(t, "popTime", field(b, "popTime"), fmt.Sprint(h.PopMs))
	d.pass(1100 * time.Millisecond)
	list = d.pop("order=true")
	want(t, "after the change", bodies(list), "b c")
	d.ack(list[0])
	d.ack(list[1])
	want(t, "committed", d.committed("g", "T", 0), int64(3))
	want(t, "revived by nobody", bodies(d.pop()), "")
}

// A reset while messages are out wins over what is under way.
func TestService_Pop_Reset(t *testing.T) {
	for _, order := range []string{"order=false", "order=true"} {
		d := newDesk(t, nil)
		d.send("T", 0, "a", "b", "c")
		want(t, "pop", bodies(d.pop(order)), "a b c")
		d.offsets.Reset("g", "T", 0, 1)
		want(t, "after the reset", bodies(d.pop(order)), "b c")
		d.offsets.Reset("g", "T", 0, 3)
		want(t, "after the reset to the end", bodies(d.pop(order)), "")
		d.send("T", 0, "d")
		want(t, "what comes then", bodies(d.pop(order)), "d")
	}
}

// After a kill before the order of what is popped was written, an acknowledgement of a later message acknowledges none before it, and
// one of no message skips none.
func TestService_Pop_OrderThenKill(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c")
	list := d.pop("order=true")
	want(t, "pop", bodies(list), "a b c")
	kill := func() {
		t.Helper()
		if err := d.offsets.Persist(); err != nil {
			t.Fatal(err)
		}
		d.kill()
	}
	kill()
	want(t, "a later one", d.ack(list[2]).Code, int32(protocol.MessageIllegal))
	want(t, "committed", d.committed("g", "T", 0), int64(0))
	want(t, "the next", d.ack(list[0]).Code, int32(protocol.Success))
	want(t, "and the next", d.ack(list[1]).Code, int32(protocol.Success))
	list = d.pop("order=true")
	want(t, "again", bodies(list), "c")
	d.ack(list[0])
	kill()
	want(t, "behind the last", d.ack(list[0], "offset=3").Code, int32(protocol.MessageIllegal))
	want(t, "committed", d.committed("g", "T", 0), int64(3))
}

// A queue popped in order that a reset has freed is free after a kill, too.
func TestService_Pop_ResetThenKill(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c")
	want(t, "pop", bodies(d.pop("order=true")), "a b c")
	persist := func() {
		t.Helper()
		if err := errors.Join(d.svc.Persist(d.now), d.offsets.Persist()); err != nil {
			t.Fatal(err)
		}
	}
	persist()
	d.offsets.Reset("g", "T", 0, 3)
	want(t, "after the reset", bodies(d.pop("order=true")), "")
	persist()
	d.kill()
	d.send("T", 0, "d")
	want(t, "after the kill", bodies(d.pop("order=true")), "d")
}

// The second version of retry topics, with what is left in those of the first.
func TestService_Pop_RetryV2(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	d.pop()
	d.pass(10100 * time.Millisecond)
	d.cfg = func(c *Config) { c.RetryV2 = true }
	d.restart(true)
	d.send("T", 0, "b")
	seen := map[string]string{}
	collect := func() {
		for range 100 {
			for _, g := range d.pop() {
				seen[g.body] = g.topic
				if g.topic != "T" {
					d.ack(g)
				}
			}
		}
	}
	collect()
	d.pass(20 * time.Second)
	collect()
	want(t, "first version", seen["a"], "%RETRY%g_T")
	want(t, "second version", seen["b"], "%RETRY%g+T")
}

// What belongs to a topic or group that is gone is not delivered again, and not kept.
func TestService_Revive_Gone(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	d.pop()
	d.pop("consumerGroup=h")
	delete(d.groups, "h")
	cfg := d.topics["T"]
	delete(d.topics, "T")
	d.pass(20 * time.Second)
	d.topics["T"] = cfg
	want(t, "a topic made anew", bodies(d.pop()), "")
	want(t, "in memory", d.svc.live.Load(), int64(0))
	d.svc.prune()
	if d.svc.shelves.find([]byte("h"), []byte("T")) != nil {
		t.Error("the group that is gone is kept")
	}
}

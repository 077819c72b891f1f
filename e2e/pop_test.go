//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Request codes of POP.
const (
	codePop          = 200050
	codeAck          = 200051
	codePeek         = 200052
	codeChange       = 200053
	codeNotification = 200054
	codePollingInfo  = 200055
	codeBatchAck     = 200151
)

// lent is a popped message as a client holds it.
type lent struct {
	record
	handle string
	real   string // the topic it lies in
	times  int
}

// popper pops by hand.
type popper struct {
	*wire
	group, topic string
}

func (p *popper) fields(more ...string) map[string]string {
	f := map[string]string{
		"consumerGroup": p.group, "topic": p.topic, "queueId": "-1", "maxMsgNums": "32", "invisibleTime": "60000", "pollTime": "0",
		"bornTime": strconv.FormatInt(time.Now().UnixMilli(), 10), "initMode": "0", "expType": "TAG", "exp": "*",
	}
	for i := 0; i < len(more); i += 2 {
		f[more[i]] = more[i+1]
	}
	return f
}

// pop pops what is there now; more are fields of the request. Nothing is no error.
func (p *popper) pop(t *testing.T, more ...string) []lent {
	t.Helper()
	a, err := p.call(codePop, p.fields(more...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.code == 210 || a.code == 209 {
		return nil
	}
	if a.code != 0 {
		t.Fatalf("pop: code %d, %s", a.code, a.remark)
	}
	return p.read(t, a)
}

// read takes an answer apart as a Java client does.
func (p *popper) read(t *testing.T, a answer) []lent {
	t.Helper()
	recs, err := records(a.body)
	if err != nil {
		t.Fatal(err)
	}
	starts, offsets := map[string]string{}, map[string][]string{}
	for _, e := range strings.Split(a.ext["startOffsetInfo"], ";") {
		if f := strings.Fields(e); len(f) == 3 {
			starts[f[0]+"@"+f[1]] = f[2]
		}
	}
	for _, e := range strings.Split(a.ext["msgOffsetInfo"], ";") {
		if f := strings.Fields(e); len(f) == 3 {
			offsets[f[0]+"@"+f[1]] = strings.Split(f[2], ",")
		}
	}
	var out []lent
	for _, r := range recs {
		l := lent{record: r, handle: r.properties["POP_CK"], real: p.topic, times: int(int32(binary.BigEndian.Uint32(r.raw[72:])))}
		if r.topic != p.topic {
			t.Errorf("a message of topic %s", r.topic)
		}
		if l.handle == "" {
			key := "0@" + strconv.Itoa(r.queue)
			if starts[key] == "" || !slices.Contains(offsets[key], strconv.FormatInt(r.queueOffset, 10)) {
				t.Fatalf("no handle for offset %d of queue %d in %q and %q", r.queueOffset, r.queue, a.ext["startOffsetInfo"], a.ext["msgOffsetInfo"])
			}
			l.handle = fmt.Sprintf("%s %s %s %s 0 broker-a %d %d", starts[key], a.ext["popTime"], a.ext["invisibleTime"], a.ext["reviveQid"], r.queue, r.queueOffset)
		}
		f := strings.Fields(l.handle)
		if len(f) != 8 {
			t.Fatalf("handle %q", l.handle)
		}
		switch f[4] {
		case "1":
			l.real = "%RETRY%" + p.group + "_" + p.topic
		case "2":
			l.real = "%RETRY%" + p.group + "+" + p.topic
		}
		out = append(out, l)
	}
	return out
}

func (p *popper) of(l lent, more ...string) map[string]string {
	f := map[string]string{"consumerGroup": p.group, "topic": l.real, "queueId": strconv.Itoa(l.queue), "extraInfo": l.handle, "offset": strconv.FormatInt(l.queueOffset, 10)}
	for i := 0; i < len(more); i += 2 {
		f[more[i]] = more[i+1]
	}
	return f
}

func (p *popper) ack(t *testing.T, list ...lent) {
	t.Helper()
	for _, l := range list {
		p.must(t, codeAck, p.of(l), nil)
	}
}

// until pops until the messages with these bodies have come, each as often as it stands there, and returns them by body.
func (p *popper) until(t *testing.T, limit time.Duration, bodies ...string) map[string]lent {
	t.Helper()
	got := map[string]lent{}
	var names []string
	eventually(t, limit, fmt.Sprintf("%q are popped", bodies), func() bool {
		for _, l := range p.pop(t) {
			got[string(l.body)] = l
			names = append(names, string(l.body))
		}
		return len(names) >= len(bodies)
	})
	slices.Sort(names)
	if !slices.Equal(names, bodies) {
		t.Fatalf("popped %q, want %q", names, bodies)
	}
	return got
}

func bodiesOf(list []lent) string {
	var names []string
	for _, l := range list {
		names = append(names, string(l.body))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// newPopper makes a topic, a group, and who pops for it.
func newPopper(t *testing.T, c *cluster, topic string, queues int) *popper {
	t.Helper()
	c.createTopic(t, topic, queues)
	w := dial(t, c.brokers[0].addr)
	group := "G-" + topic
	w.must(t, codeUpdateGroup, nil, []byte(`{"groupName":"`+group+`","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16}`))
	return &popper{wire: w, group: group, topic: topic}
}

// sendAll returns when the messages can be popped.
func (p *popper) sendAll(t *testing.T, bodies ...string) {
	t.Helper()
	var last int64
	for _, body := range bodies {
		var err error
		if last, err = p.send(p.topic, 0, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 20*time.Second, "the messages are in their queue", func() bool {
		a := p.must(t, codeMaxOffset, map[string]string{"topic": p.topic, "queueId": "0"}, nil)
		return a.ext["offset"] == strconv.FormatInt(last+1, 10)
	})
}

// TestPop speaks each code of POP.
func TestPop(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	for name, run := range map[string]func(t *testing.T, p *popper){
		"Ack": popAck, "BatchAck": popBatchAck, "Change": popChange, "Order": popOrder, "Notification": popNotification, "Held": popHeld, "BadInput": popBadInput,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newPopper(t, c, "Pop"+name, 1))
		})
	}
}

func popAck(t *testing.T, p *popper) {
	p.sendAll(t, "a", "b", "c")
	got := p.until(t, 10*time.Second, "a", "b", "c")
	p.ack(t, got["a"], got["b"], got["c"])
	p.sendAll(t, "d", "e", "f")
	list := p.pop(t, "invisibleTime", "3000")
	if bodiesOf(list) != "d e f" {
		t.Fatalf("popped %s", bodiesOf(list))
	}
	p.ack(t, list[1])
	again := p.until(t, 30*time.Second, "d", "f")
	for body, l := range again {
		if l.times != 1 || l.real == p.topic {
			t.Errorf("%s came again from %s, times %d", body, l.real, l.times)
		}
		p.ack(t, l)
	}
}

func popBatchAck(t *testing.T, p *popper) {
	p.sendAll(t, "a", "b", "c", "d")
	list := p.pop(t, "invisibleTime", "3000")
	if bodiesOf(list) != "a b c d" {
		t.Fatalf("popped %s", bodiesOf(list))
	}
	f := strings.Fields(list[0].handle)
	body := fmt.Sprintf(`{"brokerName":"broker-a","acks":[{"c":%q,"t":%q,"r":"0","so":%s,"q":0,"rq":%s,"pt":%s,"it":%s,"b":%q}]}`,
		p.group, p.topic, f[0], f[3], f[1], f[2], base64.StdEncoding.EncodeToString([]byte{0b0101}))
	p.must(t, codeBatchAck, nil, []byte(body))
	again := p.until(t, 30*time.Second, "b", "d")
	p.ack(t, again["b"], again["d"])
	if a, err := p.call(codeBatchAck, nil, []byte(`{"acks":[]}`)); err != nil || a.code != 208 {
		t.Errorf("no acknowledgements: %+v, %v", a, err)
	}
}

func popChange(t *testing.T, p *popper) {
	p.sendAll(t, "a", "b")
	list := p.pop(t, "invisibleTime", "3000")
	a := p.must(t, codeChange, p.of(list[0], "invisibleTime", "60000"), nil)
	if a.ext["invisibleTime"] != "60000" || a.ext["popTime"] == "" || a.ext["reviveQid"] == "" {
		t.Errorf("answer %v", a.ext)
	}
	changed := list[0]
	changed.handle = fmt.Sprintf("%d %s 60000 %s 0 broker-a 0 %d", changed.queueOffset, a.ext["popTime"], a.ext["reviveQid"], changed.queueOffset)
	again := p.until(t, 30*time.Second, "b")
	p.ack(t, again["b"], changed)
}

func popOrder(t *testing.T, p *popper) {
	p.sendAll(t, "a", "b", "c")
	list := p.pop(t, "order", "true", "maxMsgNums", "2", "invisibleTime", "5000", "attemptId", "one")
	if bodiesOf(list) != "a b" {
		t.Fatalf("popped %s", bodiesOf(list))
	}
	if more := p.pop(t, "order", "true", "attemptId", "two"); len(more) > 0 {
		t.Errorf("popped %s of a queue that is taken", bodiesOf(more))
	}
	p.ack(t, list[0])
	var again []lent
	eventually(t, 20*time.Second, "the queue is free", func() bool {
		again = p.pop(t, "order", "true", "invisibleTime", "30000")
		return len(again) > 0
	})
	if bodiesOf(again) != "b c" {
		t.Fatalf("popped %s", bodiesOf(again))
	}
	p.ack(t, again...)
	a := p.must(t, codeQueryOffset, map[string]string{"consumerGroup": p.group, "topic": p.topic, "queueId": "0"}, nil)
	if a.ext["offset"] != "3" {
		t.Errorf("committed %s", a.ext["offset"])
	}
}

func popNotification(t *testing.T, p *popper) {
	ask := func() answer {
		t.Helper()
		return p.must(t, codeNotification, map[string]string{"consumerGroup": p.group, "topic": p.topic, "queueId": "-1", "pollTime": "500",
			"bornTime": strconv.FormatInt(time.Now().UnixMilli(), 10)}, nil)
	}
	if a := ask(); a.ext["hasMsg"] != "false" {
		t.Errorf("of nothing: %v", a.ext)
	}
	p.sendAll(t, "a")
	if a := ask(); a.ext["hasMsg"] != "true" {
		t.Errorf("of a message: %v", a.ext)
	}
	a := p.must(t, codePeek, map[string]string{"consumerGroup": p.group, "topic": p.topic, "queueId": "-1", "maxMsgNums": "8"}, nil)
	recs, err := records(a.body)
	if err != nil || len(recs) != 1 || string(recs[0].body) != "a" || a.ext["restNum"] != "1" {
		t.Errorf("a look: %d records, %v, %v", len(recs), err, a.ext)
	}
	p.ack(t, p.until(t, 10*time.Second, "a")["a"])
}

// popHeld has a pop wait for a message that is sent over another connection.
func popHeld(t *testing.T, p *popper) {
	p.sendAll(t, "a")
	p.ack(t, p.until(t, 10*time.Second, "a")["a"])
	other := &popper{wire: dial(t, p.conn.RemoteAddr().String()), group: p.group, topic: p.topic}
	p.opaque++
	if _, err := p.conn.Write(frame(request(codePop, p.opaque, p.fields("pollTime", "9000")), nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the pop waits", func() bool {
		a := other.must(t, codePollingInfo, map[string]string{"consumerGroup": p.group, "topic": p.topic, "queueId": "-1"}, nil)
		return a.ext["pollingNum"] == "1"
	})
	other.sendAll(t, "b")
	a, err := p.wire.read()
	if err != nil || a.code != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	list := p.read(t, a)
	if bodiesOf(list) != "b" {
		t.Errorf("popped %s", bodiesOf(list))
	}
	p.ack(t, list...)
}

// popBadInput wants Java's codes for what nobody popped.
func popBadInput(t *testing.T, p *popper) {
	p.sendAll(t, "a")
	l := p.until(t, 10*time.Second, "a")["a"]
	for _, c := range []struct {
		what string
		code int
		ext  map[string]string
		want int
	}{
		{"too many messages", codePop, p.fields("maxMsgNums", "33"), 29},
		{"a queue that is not there", codePop, p.fields("queueId", "1"), 29},
		{"a topic that is not there", codePop, p.fields("topic", "none"), 17},
		{"a broken expression", codePop, p.fields("expType", "SQL92", "exp", "a >"), 23},
		{"a pop that is too late", codePop, p.fields("bornTime", "1000"), 210},
		{"ack: garbage", codeAck, p.of(l, "extraInfo", "nonsense"), 1},
		{"ack: a number that is none", codeAck, p.of(l, "extraInfo", "0 x 60000 0 0 broker-a 0 0"), 1},
		{"ack: a queue that is not there", codeAck, p.of(l, "queueId", "7"), 13},
		{"ack: an offset that is not there", codeAck, p.of(l, "offset", "77"), 208},
		{"ack: a topic that is not there", codeAck, p.of(l, "topic", "none"), 17},
		{"ack: a handle of another broker", codeAck, p.of(l, "extraInfo", "0 1700000000000 60000 0 0 broker-x 0 0"), 0},
		{"ack: a handle of long ago", codeAck, p.of(l, "extraInfo", "0 1700000000000 60000 0 0 broker-a 0 0"), 0},
		{"change: an offset that is not there", codeChange, p.of(l, "offset", "1", "invisibleTime", "1000"), 208},
		{"change: garbage", codeChange, p.of(l, "extraInfo", "nonsense", "invisibleTime", "1000"), 1},
	} {
		a, err := p.call(c.code, c.ext, nil)
		if err != nil || a.code != c.want {
			t.Errorf("%s: code %d, %s, %v; want %d", c.what, a.code, a.remark, err, c.want)
		}
	}
	p.ack(t, l)
}

// TestPopFromLog has no room for leases in memory: what is not acknowledged comes again out of the log.
func TestPopFromLog(t *testing.T) {
	c := newClusterWith(t, []string{"popCkMaxBufferSize=0"}, underTest(), underTest())
	popAck(t, newPopper(t, c, "PopFromLog", 1))
}

// TestPopKilled kills the broker while messages are out: what was acknowledged stays so, the others come again.
func TestPopKilled(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	p := newPopper(t, c, "PopKilled", 1)
	p.sendAll(t, "a", "b", "c", "d")
	list := p.pop(t, "invisibleTime", "8000")
	if bodiesOf(list) != "a b c d" {
		t.Fatalf("popped %s", bodiesOf(list))
	}
	p.ack(t, list[0])
	popSettled(t, c, p)
	c.brokers[0].kill()
	if err := c.brokers[0].serve(); err != nil {
		t.Fatal(err)
	}
	p.wire = dial(t, c.brokers[0].addr)
	p.ack(t, list[1])
	again := p.until(t, 60*time.Second, "c", "d")
	p.ack(t, again["c"], again["d"])
}

// popSettled waits until the offset of the pop is on the disk, which a kill leaves alone.
func popSettled(t *testing.T, c *cluster, p *popper) {
	t.Helper()
	eventually(t, 20*time.Second, "the offset is on the disk", func() bool {
		return strings.Contains(fileText(c.brokers[0].dir, "consumerOffset.json"), p.topic+"@"+p.group)
	})
}

// fileText is the text of a file below a folder, wherever it is.
func fileText(dir, name string) (text string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			b, _ := os.ReadFile(path)
			text = string(b)
		}
		return nil
	})
	return text
}

// TestPopExchange hands a store over while messages are out, both ways: the next broker takes acknowledgements of handles that
// the one before gave, and delivers the others again.
func TestPopExchange(t *testing.T) {
	onlyTestJava(t)
	for _, chain := range [][2]release{{java5, rocketdHere}, {rocketdHere, java5}} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s-%s-killed=%t", chain[0], chain[1], killed), func(t *testing.T) {
				t.Parallel()
				popExchange(t, chain, killed)
			})
		}
	}
}

func popExchange(t *testing.T, chain [2]release, killed bool) {
	needJava(t)
	h := newHouse(t, &exchangeCase{name: "pop", chain: chain[:], killed: killed})
	h.serve(t, chain[0])
	w := dial(t, h.addr)
	w.must(t, codeUpdateTopic, topicFields("PopX", 1), nil)
	w.must(t, codeUpdateGroup, nil, []byte(`{"groupName":"GX","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16}`))
	p := &popper{wire: w, group: "GX", topic: "PopX"}
	p.sendAll(t, "a", "b", "c", "d", "e")
	list := p.pop(t, "invisibleTime", "25000", "maxMsgNums", "4")
	if bodiesOf(list) != "a b c d" {
		t.Fatalf("popped %s", bodiesOf(list))
	}
	p.ack(t, list[0])
	eventually(t, 20*time.Second, "the offset is on the disk", func() bool {
		return strings.Contains(fileText(h.dir, "consumerOffset.json"), "PopX@GX")
	})
	if killed {
		h.kill()
	} else {
		h.stop(stopLimit)
	}
	h.serve(t, chain[1])
	p.wire = dial(t, h.addr)
	if rest := p.pop(t); bodiesOf(rest) != "e" {
		t.Fatalf("popped %s", bodiesOf(rest))
	} else {
		p.ack(t, rest...)
	}
	p.ack(t, list[1])
	again := p.until(t, 90*time.Second, "c", "d")
	for body, l := range again {
		if l.times != 1 {
			t.Errorf("%s came again with times %d", body, l.times)
		}
		p.ack(t, l)
	}
	h.stop(stopLimit)
}

// letPop has the group of a topic pop, at every broker: any of them shares out the queues of all.
func letPop(t *testing.T, c *cluster, topic string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"topic": topic, "consumerGroup": "G-" + topic, "mode": "POP", "popShareQueueNum": 0})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.brokers {
		w := dial(t, b.addr)
		w.must(t, codeUpdateGroup, nil, []byte(`{"groupName":"G-`+topic+`","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16,"consumeMessageOrderly":true}`))
		w.must(t, codeSetMode, nil, body)
	}
}

// popOrderly drives a real client that pops in order: each queue comes in the order in which it was sent.
func popOrderly(t *testing.T, c *cluster, p *peer, topic string) {
	letPop(t, c, topic)
	produce(t, p, topic, "sync", 0, 40)
	subscribe(t, p, topic, topic, "rebalance", "server", "mode", "orderly")
	consumed(t, p, topic, topic, 40)
	last := map[string]int64{}
	for _, m := range p.got(topic, topic) {
		if before, ok := last[m.queue]; ok && m.offset <= before {
			t.Errorf("queue %s: offset %d came after %d", m.queue, m.offset, before)
		}
		last[m.queue] = m.offset
	}
	p.do(t, "op", "unsubscribe", "name", topic)
}

// popMode drives a real client in POP mode: the broker shares out the queues and leases the messages.
func popMode(t *testing.T, c *cluster, p *peer, topic string) {
	letPop(t, c, topic)
	produce(t, p, topic, "sync", 0, 20)
	subscribe(t, p, topic, topic, "rebalance", "server")
	produce(t, p, topic, "sync", 20, 20)
	msgs := consumed(t, p, topic, topic, 40)
	for i := range 40 {
		if _, ok := msgs["k-"+strconv.Itoa(i)]; !ok {
			t.Fatalf("message %d did not come; there are %q", i, slices.Sorted(maps.Keys(msgs)))
		}
	}
	p.do(t, "op", "unsubscribe", "name", topic)

	fails := topic + "-fails"
	subscribe(t, p, fails, topic, "rebalance", "server", "fail", "1")
	produce(t, p, topic, "sync", 100, 5)
	eventually(t, 60*time.Second, "each message comes again", func() bool {
		count := map[string]int{}
		for _, m := range p.got(fails, topic) {
			count[m.keys]++
		}
		for i := range 5 {
			if count["k-"+strconv.Itoa(100+i)] < 2 {
				return false
			}
		}
		return true
	})
	p.do(t, "op", "unsubscribe", "name", fails)
}

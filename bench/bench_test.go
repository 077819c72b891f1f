package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// A testBroker keeps messages in memory and misbehaves on demand.
type testBroker struct {
	net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	queues map[testQueue][][]byte // records
	waits  map[testQueue][]func() // held pulls
	conns  []net.Conn

	// answerSend may change the code and offset of an answer, or hold it back.
	answerSend func(n int, code int32, offset int64) (int32, int64, bool)
	// deliver may drop or double a record.
	deliver func(n int, records [][]byte) [][]byte
	sends   int
	pulls   int
	queries int
	spoil   int    // the query that finds nothing
	asked   string // type and expression of the last pull
	halves  []*protocol.Command
	commits int
	lose    int // the commit whose message is not stored

	registered []string // bodies of registrations
	created    []string // topics
	routeCode  int32
}

type testQueue struct {
	topic string
	id    int64
}

// queueOf reads the names of a queue out of two fields.
func queueOf(c *protocol.Command, topic, id string) testQueue {
	name, _ := c.Get(topic)
	value, _ := c.Get(id)
	n, _ := digits(value)
	return testQueue{string(name), n}
}

func startBroker(t *testing.T) *testBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &testBroker{Listener: l, queues: map[testQueue][][]byte{}, waits: map[testQueue][]func(){}}
	b.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, nc)
			b.mu.Unlock()
			b.wg.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.mu.Lock()
		for _, nc := range b.conns {
			_ = nc.Close()
		}
		b.mu.Unlock()
		b.wg.Wait()
	})
	return b
}

func (b *testBroker) serve(nc net.Conn) {
	var write sync.Mutex
	answer := func(form protocol.Form, code, opaque int32, fill func(w *protocol.FrameWriter)) {
		w := protocol.NewFrame(nil, form, code, opaque, 1, "")
		fill(&w)
		frame := w.Finish()
		write.Lock()
		defer write.Unlock()
		_, _ = nc.Write(frame)
	}
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(nc, frame); err != nil {
			return
		}
		var c protocol.Command
		if err := c.Decode(frame); err != nil {
			return
		}
		b.mu.Lock()
		switch c.Code {
		case protocol.SendMessageV2, protocol.SendBatchMessage:
			b.send(&c, answer)
		case protocol.PullMessage:
			b.pull(&c, answer)
		case protocol.UpdateAndCreateTopic:
			name, _ := c.Get("topic")
			b.created = append(b.created, string(name))
			answer(c.Form, 0, c.Opaque, func(w *protocol.FrameWriter) { w.Body() })
		case protocol.GetMaxOffset:
			n := len(b.queues[queueOf(&c, "topic", "queueId")])
			answer(c.Form, 0, c.Opaque, func(w *protocol.FrameWriter) { w.Int("offset", int64(n)) })
		case protocol.QueryMessage:
			b.query(&c, answer)
		case protocol.EndTransaction:
			b.end(&c, answer)
		case protocol.RegisterBroker:
			b.registered = append(b.registered, string(c.Body))
			answer(c.Form, 0, c.Opaque, func(w *protocol.FrameWriter) { w.Body() })
		case protocol.GetRouteinfoByTopic:
			answer(c.Form, b.routeCode, c.Opaque, func(w *protocol.FrameWriter) {
				w.Body()
				w.Append([]byte(`{"brokerDatas":[]}`))
			})
		}
		b.mu.Unlock()
	}
}

func (b *testBroker) send(c *protocol.Command, answer func(protocol.Form, int32, int32, func(*protocol.FrameWriter))) {
	queue := queueOf(c, "b", "e")
	first := int64(len(b.queues[queue]))
	if flags, _ := c.Get("f"); string(flags) == "4" {
		half := *c
		half.Set("f", "0")
		b.halves = append(b.halves, &half)
		answer(c.Form, 0, c.Opaque, func(w *protocol.FrameWriter) {
			w.Int("queueOffset", int64(len(b.halves)-1))
			w.Str("msgId", fmt.Sprintf("7F00000100002A9F%016X", 1000*len(b.halves)))
			w.Str("transactionId", "key")
		})
		return
	}
	store := func(_ int32, body, props []byte) error {
		host := netip.MustParseAddrPort("127.0.0.1:10911")
		rec := message.AppendRecord(nil, &message.Draft{Topic: []byte("T"), QueueID: int32(queue.id), Body: body, Properties: props, BornHost: host, StoreHost: host})
		message.Patch(rec, int64(len(b.queues[queue])), 0, 1)
		b.queues[queue] = append(b.queues[queue], rec)
		return nil
	}
	if c.Code == protocol.SendBatchMessage {
		_ = message.EachInBatch(c.Body, store)
	} else {
		props, _ := c.Get("i")
		_ = store(0, c.Body, props)
	}
	code, offset, ok := int32(0), first, true
	if b.sends++; b.answerSend != nil {
		code, offset, ok = b.answerSend(b.sends, code, offset)
	}
	if ok {
		answer(c.Form, code, c.Opaque, func(w *protocol.FrameWriter) { w.Int("queueOffset", offset) })
	}
	for _, wake := range b.waits[queue] {
		wake()
	}
	delete(b.waits, queue)
}

// end ends a transaction that it knows under both its offsets.
func (b *testBroker) end(c *protocol.Command, answer func(protocol.Form, int32, int32, func(*protocol.FrameWriter))) {
	number := func(key string) int64 {
		v, _ := c.Get(key)
		n, _ := digits(v)
		return n
	}
	code, n := int32(protocol.SystemError), number("tranStateTableOffset")
	if n < int64(len(b.halves)) && number("commitLogOffset") == 1000*(n+1) && number("commitOrRollback") == 8 {
		code = protocol.Success
		if b.commits++; b.commits != b.lose {
			b.send(b.halves[n], func(protocol.Form, int32, int32, func(*protocol.FrameWriter)) {})
		}
	}
	answer(c.Form, code, c.Opaque, func(w *protocol.FrameWriter) { w.Body() })
}

func (b *testBroker) query(c *protocol.Command, answer func(protocol.Form, int32, int32, func(*protocol.FrameWriter))) {
	key, _ := c.Get("key")
	b.queries++
	answer(c.Form, 0, c.Opaque, func(w *protocol.FrameWriter) {
		w.Body()
		for _, records := range b.queues {
			for _, rec := range records {
				if b.queries != b.spoil && bytes.Contains(rec, key) {
					w.Append(rec)
				}
			}
		}
	})
}

func (b *testBroker) pull(c *protocol.Command, answer func(protocol.Form, int32, int32, func(*protocol.FrameWriter))) {
	number := func(key string) int64 {
		v, _ := c.Get(key)
		n, _ := digits(v)
		return n
	}
	queue, from, limit, flags := queueOf(c, "topic", "queueId"), number("queueOffset"), number("maxMsgNums"), number("sysFlag")
	form, opaque := c.Form, c.Opaque
	kind, _ := c.Get("expressionType")
	expression, _ := c.Get("subscription")
	b.asked = string(kind) + " " + string(expression)
	try := func() bool {
		all := b.queues[queue]
		if from >= int64(len(all)) {
			return false
		}
		some := all[from:min(from+limit, int64(len(all)))]
		next := from + int64(len(some))
		if b.pulls++; b.deliver != nil {
			some = b.deliver(b.pulls, some)
		}
		answer(form, 0, opaque, func(w *protocol.FrameWriter) {
			w.Int("nextBeginOffset", next)
			w.Body()
			for _, rec := range some {
				w.Append(rec)
			}
		})
		return true
	}
	if try() {
		return
	}
	if flags&pullSuspend == 0 {
		answer(form, protocol.PullNotFound, opaque, func(w *protocol.FrameWriter) { w.Int("nextBeginOffset", from) })
		return
	}
	b.waits[queue] = append(b.waits[queue], func() { try() })
}

func testConfig(addr string) Config {
	return Config{
		Addr: addr, Topic: "T", Topics: 1, Queues: 2, Conns: 3, InFlight: 4, Size: 64, Batch: 1, Form: protocol.Binary,
		Count: 500, Timeout: 20 * time.Second, Group: "G", Groups: 1, Max: 32,
	}
}

// Every message is acknowledged and received, in both forms, one by one and in batches, and the books balance.
func TestSendPull_Healthy(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"binary":    func(*Config) {},
		"json":      func(c *Config) { c.Form = protocol.JSON },
		"batch":     func(c *Config) { c.Batch = 5 },
		"tag":       func(c *Config) { c.Tag = "A" },
		"large":     func(c *Config) { c.Size = 200_000; c.Count = 40 },
		"open loop": func(c *Config) { c.Rate = 20000 },
	} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t)
			cfg := testConfig(b.Addr().String())
			change(&cfg)
			res, err := Send(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if !res.OK() || res.Messages != cfg.Count || res.Check.Acknowledged != cfg.Count || res.PerSec <= 0 {
				t.Errorf("send: %+v", res)
			}
			cfg.Verify, cfg.Duration, cfg.Count = true, 10*time.Second, 0
			res, err = Pull(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			b.mu.Lock()
			stored := int64(len(b.queues[testQueue{"T", 0}]) + len(b.queues[testQueue{"T", 1}]))
			b.mu.Unlock()
			if !res.OK() || res.Check.Received != stored || res.Messages != stored {
				t.Errorf("pull: %+v, want %d messages", res, stored)
			}
		})
	}
}

// Messages go to all queues of all topics, which are created first, and each queue's offsets are accounted for.
func TestSend_Topics(t *testing.T) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		b := startBroker(t)
		cfg := testConfig(b.Addr().String())
		cfg.Form, cfg.Topics, cfg.Queues, cfg.Create, cfg.Count = form, 3, 125, true, 3*125*4
		res, err := Send(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !res.OK() || res.Check.Acknowledged != cfg.Count || strings.Join(b.created, " ") != "T_0 T_1 T_2" {
			t.Errorf("%+v, created %q", res, b.created)
		}
		b.mu.Lock()
		for i := range cfg.Topics * cfg.Queues {
			q := testQueue{cfg.topic(i / cfg.Queues), int64(i % cfg.Queues)}
			if n := len(b.queues[q]); n < 3 || n > 7 {
				t.Errorf("%d messages in %v", n, q)
			}
		}
		b.mu.Unlock()
	}
}

// Queries ask for keys of messages that are there; one that does not bring its message is missing one.
func TestQuery(t *testing.T) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		b := startBroker(t)
		cfg := testConfig(b.Addr().String())
		cfg.Form, cfg.Max = form, 1
		if _, err := Query(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "there are none") {
			t.Error("without messages:", err)
		}
		if _, err := Send(context.Background(), cfg); err != nil {
			t.Fatal(err)
		}
		res, err := Query(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !res.OK() || res.Messages != cfg.Count || res.Latency.Samples != uint64(cfg.Count) {
			t.Errorf("%+v", res)
		}
		b.mu.Lock()
		b.spoil = b.queries + 100
		b.mu.Unlock()
		if res, err = Query(context.Background(), cfg); err != nil || res.OK() || res.Check.Missing != 1 {
			t.Errorf("%+v, %v", res, err)
		}
	}
}

// Each half message is committed under its own offsets, and a commit whose message is not in the topic is a message missing.
func TestTransaction(t *testing.T) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		b := startBroker(t)
		cfg := testConfig(b.Addr().String())
		cfg.Form = form
		res, err := Transaction(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !res.OK() || res.Messages != cfg.Count || len(b.halves) != int(cfg.Count) || b.commits != int(cfg.Count) {
			t.Errorf("%+v, %d half messages, %d commits", res, len(b.halves), b.commits)
		}
		b.mu.Lock()
		b.lose = b.commits + 100
		b.mu.Unlock()
		cfg.Timeout = 100 * time.Millisecond
		if res, err = Transaction(context.Background(), cfg); err != nil || res.OK() || res.Check.Missing != 1 {
			t.Errorf("%+v, %v", res, err)
		}
	}
}

// A broker that does not know what a timed message is delivers all of them early.
func TestTimer_Early(t *testing.T) {
	b := startBroker(t)
	cfg := testConfig(b.Addr().String())
	cfg.Queues = 1
	res, err := Timer(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Check; res.OK() || c.Early != cfg.Count || c.Missing+c.Duplicates != 0 || c.Received != cfg.Count {
		t.Errorf("%+v", res)
	}
}

// What a filter leaves out is not missing.
func TestPull_SQL(t *testing.T) {
	b := startBroker(t)
	b.deliver = func(_ int, recs [][]byte) [][]byte { return recs[len(recs)-1:] }
	cfg := testConfig(b.Addr().String())
	if _, err := Send(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.SQL, cfg.Max, cfg.Count, cfg.Duration = "n = 42", 10, 0, 5*time.Second
	res, err := Pull(context.Background(), cfg)
	if err != nil || !res.OK() || res.Check.Received < 50 || res.Check.Received > 60 {
		t.Errorf("%+v, %v", res, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !strings.Contains(b.asked, "SQL92 n = 42") {
		t.Errorf("asked with %q", b.asked)
	}
}

// What is lost, doubled, refused or never answered shows in the result.
func TestSend_Check(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(n int, code int32, offset int64) (int32, int64, bool)
		want   Check
		failed int64
	}{
		"silence": {func(n int, code int32, offset int64) (int32, int64, bool) { return code, offset, n != 100 },
			Check{Acknowledged: 99, Unanswered: 1, Missing: 1}, 0},
		"double offset": {func(n int, code int32, offset int64) (int32, int64, bool) { return code, offset - int64(n/100%2), true },
			Check{}, 0},
		"refusal": {func(n int, code int32, offset int64) (int32, int64, bool) {
			if n == 50 {
				code = 2
			}
			return code, offset, true
		}, Check{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t)
			b.answerSend = c.answer
			cfg := testConfig(b.Addr().String())
			cfg.Queues, cfg.Conns, cfg.Count = 1, 1, 100
			cfg.Timeout = 2 * time.Second
			res, err := Send(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if res.OK() {
				t.Errorf("the result is said to be good: %+v", res)
			}
			if c.want != (Check{}) && res.Check != c.want {
				t.Errorf("check is %+v, want %+v", res.Check, c.want)
			}
			if res.Failures["2"] != c.failed {
				t.Errorf("failures are %v, want %d with code 2", res.Failures, c.failed)
			}
			if name == "double offset" && res.Check.Duplicates == 0 {
				t.Errorf("check is %+v, want duplicates", res.Check)
			}
		})
	}
}

// A broker that refuses everything ends the run with its own words.
func TestSend_Refused(t *testing.T) {
	b := startBroker(t)
	b.answerSend = func(_ int, _ int32, offset int64) (int32, int64, bool) { return protocol.TopicNotExist, offset, true }
	_, err := Send(context.Background(), testConfig(b.Addr().String()))
	if err == nil || !strings.Contains(err.Error(), "code 17") {
		t.Errorf("error is %v, want one with code 17", err)
	}
}

// A message that two groups receive is measured twice, and one that is dropped, doubled or late is noticed.
func TestE2E_Check(t *testing.T) {
	for name, c := range map[string]struct {
		deliver func(n int, recs [][]byte) [][]byte
		ok      bool
		bad     func(Check) bool
	}{
		"healthy": {nil, true, func(c Check) bool { return c.Acknowledged != 500 || c.Received != 1000 }},
		"dropped": {func(n int, recs [][]byte) [][]byte {
			if n == 7 {
				recs = recs[1:]
			}
			return recs
		}, false, func(c Check) bool { return c.Missing == 0 }},
		"doubled": {func(n int, recs [][]byte) [][]byte {
			if n == 7 {
				recs = append([][]byte{recs[0]}, recs...)
			}
			return recs
		}, false, func(c Check) bool { return c.Duplicates == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t)
			b.deliver = c.deliver
			cfg := testConfig(b.Addr().String())
			cfg.Groups, cfg.Rate = 2, 10000
			if name == "dropped" {
				cfg.Timeout = time.Second
			}
			res, err := E2E(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if res.OK() != c.ok || c.bad(res.Check) {
				t.Errorf("result is %+v", res)
			}
		})
	}
}

// A rate that the broker cannot keep up with is said to be too high, and latencies count from when a message was due.
func TestSend_Behind(t *testing.T) {
	b := startBroker(t)
	cfg := testConfig(b.Addr().String())
	cfg.Conns, cfg.InFlight, cfg.Rate, cfg.Count, cfg.Duration = 1, 1, 1_000_000, 0, 100*time.Millisecond
	res, err := Send(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if res.Check.Unsent < 10_000 || res.Check.Unsent > 100_000 {
		t.Errorf("%d could not leave of 100,000", res.Check.Unsent)
	}
	if res.Latency.Max < 50_000 {
		t.Errorf("the longest latency is %.0f µs, though messages waited for up to 100 ms", res.Latency.Max)
	}
}

// A pull sees a hole between two records and a body that does not fit its checksum.
func TestPull_Check(t *testing.T) {
	b := startBroker(t)
	cfg := testConfig(b.Addr().String())
	if _, err := Send(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.queues[testQueue{"T", 0}][9][100] ^= 1
	b.deliver = func(_ int, recs [][]byte) [][]byte {
		if len(recs) > 20 {
			return append(recs[:15:15], recs[16:]...)
		}
		return recs
	}
	b.mu.Unlock()
	cfg.Verify, cfg.Duration, cfg.Count = true, 5*time.Second, 0
	res, err := Pull(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if res.OK() || res.Check.Damaged != 1 || res.Check.Missing == 0 {
		t.Errorf("check is %+v, want one damaged and some missing", res.Check)
	}
}

// The floor answers in both forms and counts offsets by queue, so that the generator's books balance against it.
func TestEcho(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- Echo(ctx, l) }()
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		for _, batch := range []int{1, 10} {
			cfg := testConfig(l.Addr().String())
			cfg.Form, cfg.Batch = form, batch
			res, err := Send(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if !res.OK() || res.Check.Acknowledged != cfg.Count {
				t.Errorf("form %d, batches of %d: %+v", form, batch, res)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A configuration that makes no sense is refused with the flag's name.
func TestConfig_Validate(t *testing.T) {
	good := testConfig("127.0.0.1:1")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"--queues": func(c *Config) { c.Queues = 0 }, "--conns": func(c *Config) { c.Conns = -1 },
		"--size": func(c *Config) { c.Size = 5 << 20 }, "--max": func(c *Config) { c.Max = 0 },
		"--duration": func(c *Config) { c.Count = 0 }, "no broker": func(c *Config) { c.Addr = "" },
		"--timeout": func(c *Config) { c.Timeout = 0 }, "negative": func(c *Config) { c.Rate = -1 },
	} {
		cfg := good
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

// Routes are asked for a topic that two brokers have registered before; an answer that is none fails the run.
func TestRoute(t *testing.T) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		b := startBroker(t)
		cfg := Config{Addr: b.Addr().String(), Topic: "T", Topics: 1, Group: "g", Queues: 4, Conns: 3, InFlight: 5, Size: 1, Batch: 1, Groups: 1, Max: 1,
			Form: form, Count: 1000, Timeout: time.Second}
		res, err := Route(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !res.OK() || res.Messages != 1000 || res.Latency.Samples != 1000 {
			t.Errorf("form %d: %+v", form, res)
		}
		if len(b.registered) != 2 || !strings.Contains(b.registered[1], `"T":{`) {
			t.Errorf("form %d: registered %q", form, b.registered)
		}
		b.mu.Lock()
		b.routeCode = protocol.TopicNotExist
		b.mu.Unlock()
		if res, err := Route(context.Background(), cfg); err == nil && res.OK() {
			t.Errorf("form %d: answers without a route are %+v", form, res)
		}
	}
}

// Every master registers its own topics once; the latencies are those of routes, and a registration that is refused fails the
// run.
func TestStorm(t *testing.T) {
	b := startBroker(t)
	cfg := Config{Addr: b.Addr().String(), Topic: "T", Topics: 3, Group: "g", Queues: 4, Conns: 5, InFlight: 16, Size: 1, Batch: 1, Groups: 1, Max: 1,
		Rate: 100000, Timeout: time.Second}
	res, err := Storm(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !res.OK() || res.Messages != 5 || res.Latency.Samples == 0 || len(b.registered) != routeBrokers+5 {
		t.Errorf("%+v, %d registered", res, len(b.registered))
	}
	own := map[string]bool{}
	for _, body := range b.registered[routeBrokers:] {
		for i := range 5 {
			if strings.Contains(body, fmt.Sprintf(`"T_0_of_%d":{`, i)) && strings.Contains(body, fmt.Sprintf(`"T_2_of_%d":{`, i)) {
				own[fmt.Sprint(i)] = true
			}
		}
	}
	if len(own) != 5 {
		t.Errorf("masters with their own topics: %v", own)
	}
	cfg.Rate = 0
	if _, err := Storm(context.Background(), cfg); err == nil {
		t.Error("no rate is accepted")
	}
}

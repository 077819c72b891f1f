package client

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// Queues are shared out as Java's clients do it, or a mixed group would read some twice. The vectors are recorded
// from Java's AllocateMessageQueueAveragely.
func TestAverage(t *testing.T) {
	data, err := os.ReadFile("testdata/allocate.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var v struct {
			Queues, Clients []string
			Result          map[string][]string
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		var all []Queue
		for _, s := range v.Queues {
			broker, id, _ := strings.Cut(s, ":")
			var n int32
			_, _ = fmt.Sscan(id, &n)
			all = append(all, Queue{Broker: broker, ID: n})
		}
		slices.Reverse(all) // the order they come in does not matter
		slices.Reverse(v.Clients)
		for _, c := range v.Clients {
			var got []string
			for _, q := range average(all, v.Clients, c) {
				got = append(got, fmt.Sprintf("%s:%d", q.Broker, q.ID))
			}
			if !slices.Equal(got, v.Result[c]) {
				t.Errorf("%s of %v over %v: %v, want %v", c, v.Clients, v.Queues, got, v.Result[c])
			}
		}
	}
	if got := average([]Queue{{}}, []string{"a"}, "b"); got != nil {
		t.Errorf("a stranger gets %v", got)
	}
}

func TestParseAddrs(t *testing.T) {
	for list, want := range map[string]string{
		"a:1": "[a:1]", "a:1;b:2": "[a:1 b:2]", "a:1, [::1]:2;": "[a:1 [::1]:2]", "": "error", ";": "error", "a": "error", "a:1;b": "error",
	} {
		got, err := ParseAddrs(list)
		if s := fmt.Sprint(got); (err != nil) != (want == "error") || err == nil && s != want {
			t.Errorf("%q: %v, %v; want %s", list, got, err, want)
		}
	}
}

// A topic's queues stand in Java's order; without a master one may only read.
func TestQueues(t *testing.T) {
	r := &protocol.TopicRouteData{
		QueueDatas: []protocol.QueueData{
			{BrokerName: "b", Perm: 6, ReadQueueNums: 2, WriteQueueNums: 1}, {BrokerName: "a", Perm: 4, ReadQueueNums: 1, WriteQueueNums: 1},
			{BrokerName: "c", Perm: 6, ReadQueueNums: 1, WriteQueueNums: 1}, {BrokerName: "gone", Perm: 6, ReadQueueNums: 1, WriteQueueNums: 1},
		},
		BrokerDatas: []protocol.BrokerData{
			{BrokerName: "a", BrokerAddrs: map[int64]string{0: "a0"}}, {BrokerName: "b", BrokerAddrs: map[int64]string{0: "b0", 1: "b1"}},
			{BrokerName: "c", BrokerAddrs: map[int64]string{2: "c2", 1: "c1"}},
		},
	}
	if got, want := fmt.Sprint(queues(r, false)), "[a/0 b/0 b/1 c/0]"; got != want {
		t.Errorf("to read: %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(queues(r, true)), "[b/0]"; got != want {
		t.Errorf("to write: %s, want %s", got, want)
	}
	if got := addrOf(r, "c", false); got != "c1" {
		t.Errorf("without a master one reads from %s, want c1", got)
	}
}

// A body that a client compressed is shown as it was; what cannot be undone is shown as it is, with an error.
func TestBody(t *testing.T) {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write([]byte("hello"))
	_ = w.Close()
	for _, c := range []struct {
		flag int32
		in   []byte
		want string
		bad  bool
	}{
		{0, []byte("plain"), "plain", false},
		{message.FlagCompressed, z.Bytes(), "hello", false},
		{message.FlagCompressed | message.CompressionZlib, z.Bytes(), "hello", false},
		{message.FlagCompressed | message.CompressionZstd, []byte("zz"), "zz", true},
		{message.FlagCompressed, []byte("no zlib"), "no zlib", true},
		{message.FlagCompressed, z.Bytes()[:z.Len()-6], string(z.Bytes()[:z.Len()-6]), true},
	} {
		got, err := body(&message.Record{SysFlag: c.flag, Body: c.in})
		if string(got) != c.want || (err != nil) != c.bad {
			t.Errorf("flag %#x: %q, %v; want %q", c.flag, got, err, c.want)
		}
	}
}

func TestTagFilter(t *testing.T) {
	f := newTagFilter(" a ||b|| ")
	if f.expr != "a || b" || !f.match("a") || !f.match("b") || f.match("c") || f.match("") || !slices.Equal(f.codes(), []int32{97, 98}) {
		t.Errorf("%+v %v", f, f.codes())
	}
	for _, expr := range []string{"", "*", "||"} {
		if f := newTagFilter(expr); f.expr != "*" || !f.match("x") || f.codes() != nil {
			t.Errorf("%q: %+v", expr, f)
		}
	}
}

// A new topic is sent to where a broker will create it; a busy broker is asked again, a refusal is final.
func TestProducer(t *testing.T) {
	ctx := context.Background()
	f := newFake()
	p, err := f.client().Producer(ctx, "New")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.queues) != autoCreateQueues || !p.fresh {
		t.Errorf("queues of a new topic are %v", p.queues)
	}
	f.refuse = func(code int32, n int) int32 {
		if code == protocol.SendMessageV2 && n <= 2 {
			return protocol.SystemBusy
		}
		return 0
	}
	sent, err := p.Send(ctx, Draft{Body: []byte("x"), Tag: "T", Keys: []string{"a", "b"}, Properties: map[string]string{"p": "v"}, Queue: -1})
	if err != nil || sent.Queue != 2 || sent.Status != "SEND_OK" || len(sent.ID) != 32 {
		t.Fatalf("%+v, %v", sent, err)
	}
	if p.fresh {
		t.Error("the topic is still new after a message")
	}
	props := f.records[Queue{Broker: "New", ID: 2}][0].Properties
	for name, want := range map[string]string{"UNIQ_KEY": sent.ID, "TAGS": "T", "KEYS": "a b", "p": "v", "WAIT": "true"} {
		if got, _ := message.Property(props, name); string(got) != want {
			t.Errorf("property %s is %q, want %q", name, got, want)
		}
	}
	for _, d := range []Draft{
		{Queue: 9}, {Queue: -1, Properties: map[string]string{"KEYS": "x"}}, {Queue: -1, Tag: "a\x01"}, {Queue: -1, Properties: map[string]string{"e": ""}},
	} {
		if _, err := p.Send(ctx, d); err == nil {
			t.Errorf("%+v was sent", d)
		}
	}
	f.refuse = func(int32, int) int32 { return protocol.MessageIllegal }
	before := f.asked[protocol.SendMessageV2]
	var refused *protocol.Error
	if _, err := p.Send(ctx, Draft{Queue: -1}); !errors.As(err, &refused) || f.asked[protocol.SendMessageV2] != before+1 {
		t.Errorf("%v after %d attempts", err, f.asked[protocol.SendMessageV2]-before)
	}
	if _, err := f.client().Producer(ctx, "no good"); err == nil {
		t.Error("a name with a blank is a topic")
	}
	delete(f.topics, "TBW102")
	f.refuse = nil
	if _, err := f.client().Producer(ctx, "Other"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("error is %v", err)
	}
}

func fill(f *fake, topic string, queues int32, each int) {
	f.topics[topic] = queues
	for i := range each {
		for q := range queues {
			f.store(topic, q, fmt.Appendf(nil, "%d-%d", q, i), nil)
		}
	}
}

// What was taken is committed, exactly: the next consumer goes on behind it, after an error at the message that failed.
func TestConsume_Commit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		fill(f, "T", 1, 10)
		read := func(count int, fail error) string {
			var got []string
			err := f.client().Consume(context.Background(), Consumption{Topic: "T", Group: "G"}, func(m *Message) error {
				if len(got) == count {
					return fail
				}
				got = append(got, string(m.Body))
				if len(got) == count && fail == nil {
					return ErrEnough
				}
				return nil
			})
			if !errors.Is(err, fail) {
				t.Errorf("error is %v, want %v", err, fail)
			}
			return strings.Join(got, " ")
		}
		if got := read(2, nil); got != "0-0 0-1" {
			t.Errorf("first: %s", got)
		}
		if got := read(2, errors.New("broken pipe")); got != "0-2 0-3" {
			t.Errorf("second: %s", got)
		}
		if got := read(6, nil); got != "0-4 0-5 0-6 0-7 0-8 0-9" {
			t.Errorf("third: %s", got)
		}
		if f.offsets["G 0"] != 10 || len(f.members) != 0 {
			t.Errorf("offset %d, members %v", f.offsets["G 0"], f.members)
		}
	})
}

// Members that join and leave share the queues; nothing is lost, and what comes twice is only what the change of
// hands explains.
func TestConsume_Rebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.topics["T"] = 4
		var mu sync.Mutex
		seen := map[string]int{}
		readers := map[string]map[string]bool{} // queue → members that read it
		var wg sync.WaitGroup
		start := func(name string) context.CancelFunc {
			ctx, cancel := context.WithCancel(context.Background())
			c := f.client()
			wg.Go(func() {
				err := c.Consume(ctx, Consumption{Topic: "T", Group: "G"}, func(m *Message) error {
					mu.Lock()
					defer mu.Unlock()
					seen[string(m.Body)]++
					q := fmt.Sprint(m.Queue)
					if readers[q] == nil {
						readers[q] = map[string]bool{}
					}
					readers[q][name] = true
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			return cancel
		}
		send := func(from, to int) {
			for i := from; i < to; i++ {
				f.mu.Lock()
				f.store("T", int32(i%4), fmt.Append(nil, i), nil)
				f.mu.Unlock()
				time.Sleep(10 * time.Millisecond)
			}
		}
		stopA := start("a")
		time.Sleep(3 * time.Second)
		send(0, 20)
		stopB := start("b")
		time.Sleep(3 * time.Second)
		mu.Lock()
		clear(readers)
		mu.Unlock()
		send(20, 60)
		time.Sleep(time.Second)
		mu.Lock()
		if len(readers) != 4 || !readers["0"]["a"] && !readers["0"]["b"] || len(readers["0"]) != 1 {
			t.Errorf("with two members the queues are read by %v", readers)
		}
		mu.Unlock()
		stopA()
		time.Sleep(3 * time.Second)
		send(60, 100)
		time.Sleep(time.Second)
		stopB()
		wg.Wait()
		for i := range 100 {
			if n := seen[fmt.Sprint(i)]; n != 1 {
				t.Errorf("message %d was read %d times", i, n)
			}
		}
	})
}

// A group without an offset starts where it is told to; --last sees only what comes.
func TestConsume_Last(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		fill(f, "T", 1, 5)
		go func() {
			time.Sleep(10 * time.Second)
			f.mu.Lock()
			f.store("T", 0, []byte("new"), nil)
			f.mu.Unlock()
		}()
		var got []string
		err := f.client().Consume(context.Background(), Consumption{Topic: "T", Group: "G", Last: true}, func(m *Message) error {
			got = append(got, string(m.Body))
			return ErrEnough
		})
		if err != nil || strings.Join(got, " ") != "new" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// A broker that has trouble is asked again; one that says never ends the reading with its words.
func TestConsume_Trouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		fill(f, "T", 1, 1)
		f.refuse = func(code int32, n int) int32 {
			if (code == protocol.PullMessage || code == protocol.QueryConsumerOffset) && n <= 3 {
				return protocol.SystemError
			}
			return 0
		}
		var got []string
		take := func(m *Message) error {
			got = append(got, string(m.Body))
			return ErrEnough
		}
		if err := f.client().Consume(context.Background(), Consumption{Topic: "T", Group: "G"}, take); err != nil || len(got) != 1 {
			t.Errorf("%v, %v", got, err)
		}
		f.refuse = func(code int32, _ int) int32 {
			if code == protocol.PullMessage {
				return protocol.NoPermission
			}
			return 0
		}
		err := f.client().Consume(context.Background(), Consumption{Topic: "T", Group: "G"}, take)
		var refused *protocol.Error
		if !errors.As(err, &refused) || refused.Code != protocol.NoPermission {
			t.Errorf("error is %v", err)
		}
	})
}

// The newest messages come in the order of their time, then those that are sent afterwards.
func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		fill(f, "T", 2, 8)
		var got []string
		take := func(m *Message) error {
			got = append(got, string(m.Body))
			return nil
		}
		if err := f.client().Tail(context.Background(), Tailing{Topic: "T", Lines: 3}, take); err != nil || len(got) != 3 {
			t.Errorf("%v, %v", got, err)
		}
		go func() {
			time.Sleep(time.Minute)
			f.mu.Lock()
			f.store("T", 1, []byte("new"), nil)
			f.mu.Unlock()
		}()
		got = nil
		err := f.client().Tail(context.Background(), Tailing{Topic: "T", Lines: 0, Follow: true}, func(m *Message) error {
			_ = take(m)
			return ErrEnough
		})
		if err != nil || strings.Join(got, " ") != "new" {
			t.Errorf("%v, %v", got, err)
		}
		if err := f.client().Tail(context.Background(), Tailing{Topic: "None"}, take); !errors.Is(err, ErrNoTopic) {
			t.Errorf("error is %v", err)
		}
	})
}

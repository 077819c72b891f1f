package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/dispatch"
	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// mapStatic tells a broker the stretches of queue 0 of the static topic S.
func (h *house) mapStatic(broker string, epoch int64, items ...topic.MappingItem) {
	h.t.Helper()
	body, err := laxjson.Marshal(&topic.Mapping{MappingInfo: topic.MappingInfo{Broker: broker, Epoch: epoch, Scope: topic.GlobalScope, Topic: "S", Total: 1},
		Hosted: map[int32][]topic.MappingItem{0: items}})
	if err != nil {
		h.t.Fatal(err)
	}
	r := h.call(protocol.UpdateAndCreateStaticTopic, string(body), "topic=S", "defaultTopic=TBW102", "readQueueNums=2", "writeQueueNums=2", "perm=6",
		"topicFilterType=SINGLE_TAG", "topicSysFlag=0", "order=false", "force=false")
	if r.Code != protocol.Success {
		h.t.Fatalf("mapping of %s: code %d %s", broker, r.Code, r.Remark)
	}
}

// A queue of a static topic moves from one broker to another: the new one takes what is sent, and lets its consumers read what is at
// the old one. So does a slave of it, and it itself when it was started anew. NameServers know who leads.
func TestBroker_Static(t *testing.T) {
	ns := startNamesrv(t)
	a := open(t, t.TempDir(), "brokerName=a", "namesrvAddr="+ns)
	set := newSet(t)
	set.namesrv = ns
	b, slave := set.start(0, "brokerName=b"), set.start(1, "brokerName=b")
	part := func(gen int32, broker string, queue int32, logic int64) topic.MappingItem {
		return topic.MappingItem{Gen: gen, Broker: broker, Queue: queue, Logic: logic, End: -1, TimeOfEnd: -1, TimeOfStart: -1}
	}
	send := func(h *house, body, want string) {
		t.Helper()
		r := h.send("S", body)
		if got := fmt.Sprint(r.Code, " ", field(r, "queueId"), "/", field(r, "queueOffset")); got != want {
			t.Errorf("%s is answered %s (%s), want %s", body, got, r.Remark, want)
		}
	}
	// read pulls until there is nothing more, and returns bodies and the offsets that consumers see.
	read := func(h *house) string {
		t.Helper()
		var got []string
		for from, tries := int64(0), 0; tries < 20; tries++ {
			r := h.pull("S", from, time.Millisecond, "*")
			delta, _ := strconv.ParseInt(field(r, "offsetDelta"), 10, 64)
			next, _ := strconv.ParseInt(field(r, "nextBeginOffset"), 10, 64)
			for i, body := range bodies(t, r.Body) {
				got = append(got, fmt.Sprint(body, "@", next-int64(len(bodies(t, r.Body))-i), "+", delta))
			}
			switch r.Code {
			case protocol.Success, protocol.PullRetryImmediately:
				from = next
			case protocol.PullNotFound:
				return strings.Join(got, " ")
			default:
				t.Fatalf("pull at %d: code %d %s", from, r.Code, r.Remark)
			}
		}
		return strings.Join(got, " ") + " without end"
	}

	a.mapStatic("a", 1, part(0, "a", 1, 0))
	send(a, "m0", "0 0/0")
	send(a, "m1", "0 0/1")
	if got := read(a); got != "m0@0+0 m1@1+0" { // which makes the group
		t.Errorf("read %s", got)
	}
	a.call(protocol.UpdateConsumerOffset, "", "consumerGroup=g", "topic=S", "queueId=0", "commitOffset=1")
	b.mapStatic("b", 2, part(0, "a", 1, 0), part(1, "b", 0, -1))
	a.mapStatic("a", 2, part(0, "a", 1, 0), part(1, "b", 0, -1))
	send(a, "x", "501 /")
	send(b, "m2", "0 0/-1")
	const old, all = "m0@0+0 m1@1+0", "m0@0+0 m1@1+0 m2@10000+10000"
	if got := read(b); got != old {
		t.Errorf("before it is decided where the second stretch begins, %s is read, want %s", got, old)
	}
	b.mapStatic("b", 2, part(0, "a", 1, 0), part(1, "b", 0, 10_000))
	if got := read(b); got != all {
		t.Errorf("read %s, want %s", got, all)
	}
	if r := a.pull("S", 0, time.Millisecond, "*"); r.Code != protocol.NotLeaderForQueue {
		t.Errorf("the old leader answers a pull with code %d", r.Code)
	}
	ask := func(h *house, code int32, more ...string) string {
		r := h.call(code, "", append([]string{"topic=S", "queueId=0", "consumerGroup=g"}, more...)...)
		return fmt.Sprint(r.Code, " ", field(r, "offset"))
	}
	for code, want := range map[int32]string{protocol.GetMaxOffset: "0 10001", protocol.GetMinOffset: "0 0", protocol.QueryConsumerOffset: "0 1"} {
		if got := ask(b, code); got != want {
			t.Errorf("code %d is answered %s, want %s", code, got, want)
		}
	}
	ask(b, protocol.UpdateConsumerOffset, "commitOffset=2")
	if got := ask(a, protocol.QueryConsumerOffset, "queueId=1", "lo=false"); got != "0 2" {
		t.Errorf("a commit in the first stretch is %s at its broker", got)
	}

	b.until("the route with the leader", func() bool {
		r, err := b.client.Invoke(t.Context(), ns, withFields(protocol.GetRouteinfoByTopic, "topic=S"))
		var route protocol.TopicRouteData
		return err == nil && route.Unmarshal(r.Body) == nil && len(route.TopicQueueMappingByBroker["a"].Leads) == 0 &&
			len(route.TopicQueueMappingByBroker["b"].Leads) == 1 && route.TopicQueueMappingByBroker["b"].Epoch == 2
	})
	slave.until("the mapping at the slave", func() bool {
		return strings.Contains(string(slave.call(protocol.GetTopicConfig, "", "topic=S", "lo=true").Body), `"logicOffset":10000`)
	})
	slave.until("all at the slave", func() bool { return read(slave) == all })
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	b = set.start(0, "brokerName=b")
	if got := read(b); got != all {
		t.Errorf("after a restart %s is read, want %s", got, all)
	}
	send(b, "m3", "0 0/10001")
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	if r := b.pull("S", 0, time.Millisecond, "*"); r.Code != protocol.SystemError || !strings.Contains(r.Remark, "queue 1 of the static topic S: broker a") {
		t.Errorf("without the broker of a stretch a pull is answered with code %d %q", r.Code, r.Remark)
	}
	b.call(protocol.DeleteTopicInBroker, "", "topic=S")
	if b.broker.mappings.Get([]byte("S")) != nil {
		t.Error("a deleted topic is still static")
	}
}

// A broker that cannot be asked is answered, and is nothing that the log is filled with.
func TestBroker_Forward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := &Broker{others: dispatch.New(dispatch.Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.others.Run(ctx) }()
		for want, err := range map[string]error{
			"1 broker a is away": errors.New("broker a is away"),
			"2 busy":             protocol.Errorf(protocol.SystemBusy, "busy"),
		} {
			w := new(wire)
			b.forward(&protocol.Call{Peer: w, Turn: new(protocol.Turn)}, func(context.Context, *protocol.Call) error { return err })
			synctest.Wait()
			var a protocol.Command
			if w.frames != 1 || a.Decode(w.out[4:]) != nil {
				t.Fatalf("%d answers", w.frames)
			}
			if got := fmt.Sprint(a.Code, " ", a.Remark); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		stop()
		<-ended
		if log.Len() > 0 {
			t.Error(log.String())
		}
	})
}

// The place of another set is asked for again after a while, and is where it was while nobody answers.
func TestMasters_Addr(t *testing.T) {
	now, asked := time.Unix(0, 0), 0
	var err error
	members := map[int64]string{1: "slave:1", 0: "master:1"}
	f := &masters{now: func() time.Time { return now }, known: map[string]found{}, ask: func(context.Context, string) (map[int64]string, error) {
		asked++
		return members, err
	}}
	check := func(want string, times int) {
		t.Helper()
		got, err := f.addr(t.Context(), "b")
		if err != nil {
			got = err.Error()
		}
		if got != want || asked != times {
			t.Errorf("%s, asked %d times; want %s and %d", got, asked, want, times)
		}
	}
	check("master:1", 1)
	check("master:1", 1)
	now, members = now.Add(masterAge), map[int64]string{2: "slave:2", 1: "slave:1"}
	check("slave:1", 2)
	now, err = now.Add(masterAge), errors.New("no answer")
	check("slave:1", 3)
	f.known = map[string]found{}
	check("no name server says where it is: no answer", 4)
	members, err = nil, nil
	check("no name server knows it", 5)
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/rpc"
	"rocketd/store"
	"rocketd/topic"
)

// held are the messages of a topic that a broker has, with their properties, queue after queue.
func (h *house) held(name string) (all []string) {
	for _, q := range h.broker.store.Queues(name) {
		for at := q.Min(); at < q.Max(); {
			b, res := h.broker.store.Get(q, store.Read{From: at, Max: 1}, nil)
			if res.Status != store.Found {
				h.t.Fatal(res.Status)
			}
			r, err := message.Decode(b)
			if err != nil {
				h.t.Fatal(err)
			}
			key, _ := message.Property(r.Properties, message.PropKeys)
			level, _ := message.Property(r.Properties, message.PropDelayTimeLevel)
			wait, _ := message.Property(r.Properties, message.PropWaitStoreMsgOK)
			all = append(all, fmt.Sprintf("%s key=%s level=%s wait=%s again=%d", r.Body, key, level, wait, r.ReconsumeTimes))
			at++
		}
	}
	return all
}

// What a slave delivers for its master goes to another set, and its own log stays the master's. What belongs to the set, or
// has nowhere to go, is refused.
func TestSet_Escape(t *testing.T) {
	p := newSet(t, "enableSlaveActingMaster=true", "totalReplicas=2", "brokerHeartbeatInterval=100", "defaultTopicQueueNums=2")
	slave := p.start(1, "enableRemoteEscape=true")
	master := p.start(0)
	other := open(t, t.TempDir(), "brokerName=b", "namesrvAddr="+p.namesrv, "defaultTopicQueueNums=2")
	if err := other.broker.topics.Put(topic.NewConfig("T", 2)); err != nil {
		t.Fatal(err)
	}
	master.sendAll("T", 0, 3)
	slave.want("T", 0, 3)
	deliver := func(name string, bodies ...string) error {
		c := slave.broker.put.NewCourier()
		for _, body := range bodies {
			d := message.Draft{Topic: []byte(name), Body: []byte(body), BornHost: slave.broker.id.addr, StoreHost: slave.broker.id.addr, ReconsumeTimes: 2,
				Properties: []byte("KEYS\x01k\x02DELAY\x013\x02TIMER_DELIVER_MS\x011\x02WAIT\x01true\x02")}
			c.Stage(slave.broker.store.Queue(name, 0), &d, 0)
		}
		placed, err := c.Commit(t.Context(), time.Now())
		if err == nil && len(placed) != len(bodies) {
			t.Errorf("%d places for %d records", len(placed), len(bodies))
		}
		return err
	}
	if err := deliver("T", "early"); !errors.Is(err, put.ErrCopy) {
		t.Errorf("there is a master, and the slave delivers: %v", err)
	}
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	slave.until("the duty", slave.broker.onDuty.Load)
	end := slave.broker.store.MaxPhysical()
	slave.until("a route to the other set", func() bool {
		_, err := slave.broker.refuges.of(t.Context(), "T")
		return err == nil
	})
	if err := deliver("T", "one", "two"); err != nil {
		t.Error(err)
	}
	a, b := "one key=k level= wait=false again=2", "two key=k level= wait=false again=2"
	if got := other.held("T"); len(got) != 2 || got[0] != a && got[1] != a || got[0] != b && got[1] != b {
		t.Errorf("the other set has %q", got)
	}
	if err := deliver(topic.TransHalf, "half"); !errors.Is(err, put.ErrCopy) {
		t.Errorf("a half message goes to another set: %v", err)
	}
	if err := deliver("nowhere", "x"); !errors.Is(err, put.ErrCopy) {
		t.Errorf("a topic that no other set has: %v", err)
	}
	if got := slave.broker.store.MaxPhysical(); got != end {
		t.Errorf("the slave's log grew from %d to %d", end, got)
	}
}

// mute notes whom it is to ask, and answers in the name of one only.
type mute struct {
	answers string
	asked   []string
	then    func()
}

func (m *mute) Invoke(ctx context.Context, addr string, _ *protocol.Command) (*protocol.Command, error) {
	m.asked = append(m.asked, addr)
	if m.then != nil {
		m.then()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if addr != m.answers {
		return nil, errors.New("no answer")
	}
	taken := &protocol.Command{Code: protocol.Success}
	taken.Set("msgId", "1")
	taken.Set("queueId", "0")
	taken.Set("queueOffset", "0")
	return taken, nil
}

// A set that does not answer may have the message all the same: it is asked once, for one of its queues. A duty that ends breaks no
// question off, and puts none to another set.
func TestBroker_Flee(t *testing.T) {
	for _, key := range [][]byte{nil, []byte("k")} {
		f := flight{topic: "T", key: key}
		for _, set := range []string{"a", "b", "c"} {
			for q := range int32(4) {
				f.to = append(f.to, refuge{set, set, q})
			}
		}
		flee := func(m *mute) error {
			ctx, cancel := context.WithCancel(t.Context())
			if m.then != nil {
				m.then = cancel
			}
			defer cancel()
			b := &Broker{brokers: rpc.NewBroker(m)}
			return b.flee(ctx, &f)
		}
		for range 20 {
			none, one := new(mute), &mute{answers: "b"}
			if err := flee(none); err == nil || len(none.asked) != 3 || len(slices.Compact(slices.Sorted(slices.Values(none.asked)))) != 3 {
				t.Errorf("asked %q: %v", none.asked, err)
			}
			if err := flee(one); err != nil {
				t.Errorf("asked %q: %v", one.asked, err)
			}
			end := &mute{answers: "a", then: func() {}}
			if err := flee(end); len(end.asked) != 1 || (err == nil) != (end.asked[0] == "a") || errors.Is(err, context.Canceled) {
				t.Errorf("asked %q while the duty ended: %v", end.asked, err)
			}
		}
		if len(f.to) != 12 || f.to[11].queue != 3 {
			t.Error("the places are changed")
		}
	}
}

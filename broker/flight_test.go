package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

func fly(t *testing.T, name string, sysFlag int32, body string, props ...string) (flight, error) {
	t.Helper()
	var p []byte
	for i := 0; i < len(props); i += 2 {
		p = message.AppendProperty(p, props[i], []byte(props[i+1]))
	}
	r, err := message.Decode(message.AppendRecord(nil, &message.Draft{Topic: []byte(name), Body: []byte(body), Properties: p, QueueID: 5, SysFlag: sysFlag}))
	if err != nil {
		t.Fatal(err)
	}
	return newFlight(&r, 1000)
}

// What each kind of record is on its way to another set.
func TestNewFlight(t *testing.T) {
	const (
		ck    = `{"bm":0,"bn":"a","c":"G","it":60000,"n":2,"pt":1700000000000,"q":1,"so":100,"t":"%RETRY%G_T"}`
		ack   = `{"ao":101,"bn":"a","c":"G","pt":1700000000000,"q":1,"so":100,"t":"%RETRY%G_T"}`
		other = `{"ao":101,"bn":"a","c":"G","pt":1700000000001,"q":1,"so":100,"t":"%RETRY%G_T"}`
	)
	revive := topic.ReviveTopic("C")
	for _, c := range []struct {
		name  string
		flag  int32
		body  string
		props []string
		want  string // topic, home, queue, sysFlag, group: properties
	}{
		{"T", 8, "x", []string{"KEYS", "k", "DELAY", "3", "TIMER_DELIVER_MS", "1", "WAIT", "true", "PGROUP", "P"}, "T T -1 8 P: KEYS=k PGROUP=P WAIT=false"},
		{topic.Timer, 0, "x", []string{"REAL_TOPIC", "T", "REAL_QID", "2", "TIMER_OUT_MS", "1700000001234", "TIMER_DELAY_SEC", "9", "TIMER_ROLL_TIMES", "1"}, "T T -1 0 : TIMER_DELIVER_MS=1700000001235 WAIT=false"},
		{topic.TransHalf, 0, "x", []string{"REAL_TOPIC", "T", "REAL_QID", "2", "TRAN_MSG", "true", "PGROUP", "P", "TRANSACTION_CHECK_TIMES", "3", "DELAY", "2"}, "T T -1 4 P: PGROUP=P DELAY=2 TRAN_MSG=true WAIT=false"},
		{"%RETRY%G", 0, "x", []string{"RETRY_TOPIC", "T"}, "%RETRY%G T 0 0 : RETRY_TOPIC=T WAIT=false"},
		{"%RETRY%G_T", 0, "x", []string{message.PropOriginGroup, "G"}, "%RETRY%G_T T 0 0 : " + message.PropOriginGroup + "=G WAIT=false"},
		{revive, 0, ck, []string{"TAGS", "ck"}, revive + " T 5 0 : TAGS=ck WAIT=false"},
		{topic.Timer, 0, ack, []string{"TAGS", "ack", "REAL_TOPIC", revive, "REAL_QID", "3", "TIMER_OUT_MS", "1700000001234"}, revive + " T 3 0 : TAGS=ack TIMER_DELIVER_MS=1700000001235 WAIT=false"},
		{topic.TransOpHalf, 0, "1,", nil, "refused"},
		{topic.Timer, 0, "x", nil, "refused"},
		{topic.TransHalf, 0, "x", nil, "refused"},
		{revive, 0, "x", []string{"TAGS", "ck"}, "refused"},
	} {
		f, err := fly(t, c.name, c.flag, c.body, c.props...)
		got := fmt.Sprintf("%s %s %d %d %s:", f.topic, f.home, f.queue, f.sysFlag, f.group)
		message.EachProperty(f.props, func(name, value []byte) bool { got += fmt.Sprintf(" %s=%s", name, value); return true })
		if errors.Is(err, put.ErrCopy) {
			got = "refused"
		} else if err != nil {
			t.Error(err)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	a, _ := fly(t, revive, 0, ck, "TAGS", "ck")
	b, _ := fly(t, revive, 0, ack, "TAGS", "ack")
	c, _ := fly(t, revive, 0, other, "TAGS", "ack")
	if string(a.key) != string(b.key) || string(a.key) == string(c.key) {
		t.Errorf("keys %q, %q, %q", a.key, b.key, c.key)
	}
}

// All of one key go to one set, keys are spread, and a set that goes takes no other key along.
func TestRefuges_Find(t *testing.T) {
	sets := []string{"own", "a", "b", "c"}
	asked := 0
	now := time.Unix(1000, 0)
	r := &refuges{own: "own", cluster: "C", known: make(map[string]places), now: func() time.Time { return now },
		ask: func(context.Context, string) (*protocol.TopicRouteData, error) {
			asked++
			route := new(protocol.TopicRouteData)
			for _, s := range sets {
				route.BrokerDatas = append(route.BrokerDatas, protocol.BrokerData{BrokerName: s, Cluster: "C", BrokerAddrs: map[int64]string{0: s}})
				route.QueueDatas = append(route.QueueDatas, protocol.QueueData{BrokerName: s, WriteQueueNums: 2, ReadQueueNums: 2, Perm: 6})
			}
			return route, nil
		}}
	first := func(key int) string {
		t.Helper()
		to, err := r.find(t.Context(), &flight{home: "T", queue: 7, key: fmt.Append(nil, "G\x00T\x00", key)})
		if err != nil || len(to) != len(sets)-1 || to[0].queue != 7 {
			t.Fatal(to, err)
		}
		return to[0].set
	}
	before, n := make(map[int]string), make(map[string]int)
	for key := range 3000 {
		before[key] = first(key)
		n[before[key]]++
	}
	for s, count := range n {
		if s == "own" || count < 800 || count > 1200 {
			t.Errorf("%s has %d of 3000 keys", s, count)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	sets = []string{"own", "a", "c"}
	now = now.Add(refugeLife)
	for key, was := range before {
		if is := first(key); was != "b" && is != was {
			t.Fatalf("key %d went from %s to %s", key, was, is)
		}
	}
	if to, err := r.find(t.Context(), &flight{home: "T", queue: -1}); err != nil || len(to) != 4 {
		t.Error(to, err)
	}
	sets = []string{"own"}
	r.forget()
	if _, err := r.find(t.Context(), &flight{home: "T", queue: -1}); !errors.Is(err, put.ErrCopy) {
		t.Error(err)
	}
}

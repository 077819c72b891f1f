package member

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rocketd/protocol"
	"rocketd/topic"
)

func readQueue(t *testing.T, text string) protocol.MessageQueue {
	t.Helper()
	broker, id, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(id)
	if err != nil {
		t.Fatal(err)
	}
	return protocol.MessageQueue{Topic: "TopicA", BrokerName: broker, QueueID: int32(n)}
}

// Each client gets what Java's strategies give it.
func TestStrategies_Java(t *testing.T) {
	f, err := os.Open("testdata/allocate.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := 0
	for s := bufio.NewScanner(f); s.Scan(); rows++ {
		var row struct {
			Strategy        string
			Queues, Clients []string
			Result          map[string][]string
		}
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		var queues []protocol.MessageQueue
		for _, q := range row.Queues {
			queues = append(queues, readQueue(t, q))
		}
		for i, c := range row.Clients {
			var got []string
			for _, q := range strategies[row.Strategy](queues, row.Clients, i) {
				got = append(got, fmt.Sprintf("%s:%d", q.BrokerName, q.QueueID))
			}
			if !slices.Equal(got, row.Result[c]) {
				t.Errorf("%s of %d queues, %s of %d: %q, want %q", row.Strategy, len(queues), c, len(row.Clients), got, row.Result[c])
			}
		}
	}
	if rows != 45 {
		t.Errorf("%d rows", rows)
	}
}

// Who pops shares queues with those that follow; each queue has share+1 who pop from it.
func TestAllocate_Pop(t *testing.T) {
	queues := func(n int) (list []protocol.MessageQueue) {
		for id := range int32(n) {
			list = append(list, protocol.MessageQueue{Topic: "T", BrokerName: "b", QueueID: id})
		}
		return list
	}
	clients := []string{"c0", "c1", "c2", "c3"}
	for _, test := range []struct {
		queues, share int
		want          string // the queues of each client
	}{
		{4, 0, "[-1] [-1] [-1] [-1]"},
		{4, -1, "[-1] [-1] [-1] [-1]"},
		{4, 3, "[-1] [-1] [-1] [-1]"},
		{4, 1, "[0 1] [1 2] [2 3] [0 3]"},
		{4, 2, "[0 1 2] [1 2 3] [0 2 3] [0 1 3]"},
		{5, 1, "[0 1 2] [2 3] [3 4] [0 1 4]"},
		{3, 1, "[0] [1] [2] [0]"},
		{1, 2, "[0] [0] [0] [0]"},
	} {
		var got []string
		for i := range clients {
			var ids []int32
			for _, q := range allocate(average, queues(test.queues), clients, i, protocol.ModePop, test.share) {
				ids = append(ids, q.QueueID)
			}
			got = append(got, fmt.Sprint(ids))
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%d queues, share %d: %s, want %s", test.queues, test.share, text, test.want)
		}
	}
}

// routing knows routes at once, or after having been asked.
type routing map[string][]protocol.MessageQueue

func (r routing) Queues(topic string) ([]protocol.MessageQueue, bool) {
	queues, ok := r[topic]
	return queues, ok
}

func (r routing) Ask(_ context.Context, topic string) []protocol.MessageQueue {
	return r["asked "+topic]
}

// kept are the modes that were set.
type kept map[string]protocol.SetMessageRequestModeRequestBody

func (k kept) Get(topic, group string) (protocol.SetMessageRequestModeRequestBody, bool) {
	m, ok := k[topic+"/"+group]
	return m, ok
}

func (k kept) Set(m protocol.SetMessageRequestModeRequestBody) error {
	k[m.Topic+"/"+m.ConsumerGroup] = m
	return nil
}

// assigning is a bench with members c1 and c2 of group g, and two queues of T.
func assigning() (b *bench, balance *Balance) {
	b, balance = newBench(), &Balance{Enabled: true, Mode: protocol.ModePull, Share: -1}
	queue := func(topic string, id int32) protocol.MessageQueue {
		return protocol.MessageQueue{Topic: topic, BrokerName: "b", QueueID: id}
	}
	b.cfg.Broker = "b"
	b.cfg.Routes = routing{"T": {queue("T", 0), queue("T", 1)}, "asked U": {queue("U", 0)}, "%RETRY%g": {queue("%RETRY%g", 0)}}
	b.cfg.Modes, b.cfg.Balance = kept{}, func() Balance { return *balance }
	b.topics["T"] = topic.NewConfig("T", 2)
	b.groups["g"] = topic.NewGroupConfig("g")
	for _, id := range []string{"c1", "c2"} {
		p := &peer{name: id}
		b.serve(p, request(protocol.HeartBeat, beat(id, consumer("g", "CLUSTERING", "T"))))
	}
	return b, balance
}

func TestService_Assignment(t *testing.T) {
	b, balance := assigning()
	check := func(body, want string) {
		t.Helper()
		p := &peer{}
		b.serve(p, request(protocol.QueryAssignment, body))
		got := p.answer(t)
		text := string(got.Body)
		if got.Code != protocol.Success {
			text = got.Remark
		}
		if text != want {
			t.Errorf("%s:\n got %s\nwant %s", body, text, want)
		}
	}
	ask := func(client, group, model, strategy, topic string) string {
		return fmt.Sprintf(`{"clientId":%q,"consumerGroup":%q,"messageModel":%q,"strategyName":%q,"topic":%q}`, client, group, model, strategy, topic)
	}
	list := func(mode string, queues ...string) string {
		for i, q := range queues {
			topic, id, _ := strings.Cut(q, ":")
			queues[i] = fmt.Sprintf(`{"messageQueue":{"brokerName":"b","queueId":%s,"topic":%q},"mode":%q}`, id, topic, mode)
		}
		return `{"messageQueueAssignments":[` + strings.Join(queues, ",") + `]}`
	}
	check(ask("c1", "g", "CLUSTERING", "AVG", "T"), list("PULL", "T:0"))
	check(ask("c2", "g", "CLUSTERING", "AVG_BY_CIRCLE", "T"), list("PULL", "T:1"))
	check(ask("c2", "g", "BROADCASTING", "AVG", "T"), list("PULL", "T:0", "T:1"))
	check(ask("c1", "g", "CLUSTERING", "AVG", "U"), list("PULL", "U:0"))
	check(ask("c1", "g", "CLUSTERING", "AVG", "%LMQ%x"), list("PULL", "%LMQ%x:0"))
	offloaded := b.offloaded
	check(ask("c1", "g", "CLUSTERING", "CONSISTENT_HASH", "T"), list("PULL", "T:1"))
	check(ask("c2", "g", "CLUSTERING", "CONSISTENT_HASH", "%LMQ%x"), list("PULL", "%LMQ%x:0"))
	if b.offloaded != offloaded+2 {
		t.Error("the turn hashed all members of the group")
	}
	check(ask("c3", "g", "CLUSTERING", "AVG", "T"), list("PULL")) // not a member: takes all from it
	check(ask("c1", "g", "CLUSTERING", "AVG", "none"), "{}")      // keeps what it has
	check(ask("c1", "nobody", "CLUSTERING", "AVG", "T"), "{}")
	check(ask("c1", "g", "CLUSTERING", "MACHINE_ROOM", "T"), "{}")
	check(ask("", "g", "CLUSTERING", "AVG", "T"), "{}")
	check(ask("c1", "g", "LITE_SELECTIVE", "AVG", "T"), "{}")
	check(ask("c1", "g", "no model", "AVG", "T"), "the body has no messageModel that is known")
	check(ask("c1", "g", "CLUSTERING", "AVG", ""), "the body has no topic")
	check("", "the query_assignment request has no body")
	check("[", "cannot read the body of the query_assignment request: bad JSON at byte 0: an object is wanted")

	balance.Mode = protocol.ModePop
	check(ask("c1", "g", "CLUSTERING", "AVG", "T"), list("POP", "T:-1"))
	check(ask("c1", "g", "CLUSTERING", "AVG", "%RETRY%g"), list("PULL", "%RETRY%g:0"))
	balance.Enabled = false
	check(ask("c1", "g", "CLUSTERING", "AVG", "T"), list("POP", "T:0", "T:1"))
}

func TestService_SetMode(t *testing.T) {
	b, _ := assigning()
	set := func(body string, code int32, remark string) {
		t.Helper()
		c := &protocol.Call{Command: request(protocol.SetMessageRequestMode, body), Peer: &peer{}}
		_, _, err := b.SetMode(t.Context(), c)
		var known *protocol.Error
		if known, _ = err.(*protocol.Error); known == nil {
			known = &protocol.Error{}
		}
		if known.Code != code || known.Remark != remark {
			t.Errorf("%s: %+v", body, known)
		}
	}
	body := func(topic, group, mode string) string {
		return fmt.Sprintf(`{"consumerGroup":%q,"mode":%q,"popShareQueueNum":3,"topic":%q}`, group, mode, topic)
	}
	set(body("T", "g", "POP"), 0, "")
	if m := b.mode("T", "g"); m.Mode != protocol.ModePop || m.PopShareQueueNum != 3 {
		t.Errorf("%+v", m)
	}
	set(body("T", "g", "PULL"), 0, "")
	if m := b.mode("T", "g"); m.Mode != protocol.ModePull {
		t.Errorf("%+v", m)
	}
	set(`{"consumerGroup":"g","topic":"T"}`, 0, "")
	set(body("T", "g", "PUSH"), protocol.SystemError, "the body has a mode that is neither PULL nor POP")
	set(body("%RETRY%g", "g", "POP"), protocol.NoPermission, "retry topic is not allowed to set mode")
	set(body("U", "g", "POP"), protocol.TopicNotExist, "topic[U] not exist")
	set(body("T", "no/name", "POP"), protocol.SubscriptionGroupNotExist, "subscription group does not exist")
	b.autoCreate = false
	set(body("T", "h", "POP"), protocol.SubscriptionGroupNotExist, "subscription group does not exist")
	set("", protocol.SystemError, "the set_message_request_mode request has no body")
	if len(b.cfg.Modes.(kept)) != 1 {
		t.Errorf("%v", b.cfg.Modes)
	}
	b.autoCreate = true
	set(body("T", "h", "POP"), 0, "")
	if b.groups["h"] == nil || b.mode("T", "h").Mode != protocol.ModePop {
		t.Errorf("a group that was not there yet: %v, %+v", b.groups, b.mode("T", "h"))
	}
}

// Whatever asks for an assignment is answered once.
func FuzzService_Assignment(f *testing.F) {
	f.Add([]byte(`{"clientId":"c1","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T"}`))
	f.Add([]byte(`{"topic":"%LMQ%","messageModel":1}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, _ := assigning()
		p := &peer{}
		b.serve(p, request(protocol.QueryAssignment, string(body)))
		p.answer(t)
	})
}

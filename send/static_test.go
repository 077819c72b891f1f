package send

import (
	"bytes"
	"fmt"
	"testing"

	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// oneMapping is the table of a broker that knows one static topic.
type oneMapping struct{ *topic.Mapping }

func (m oneMapping) Get(name []byte) *topic.Mapping {
	if string(name) != m.Topic {
		return nil
	}
	return m.Mapping
}

func (m oneMapping) For(name []byte, logical protocol.Opt[bool]) *topic.Mapping {
	if logical.Set && !logical.V {
		return nil
	}
	return m.Get(name)
}

// What is sent to a queue of a static topic goes to the physical queue of its leader, and is acknowledged in its own offsets.
func TestService_Send_Static(t *testing.T) {
	part := func(gen int32, broker string, queue int32, logic int64) topic.MappingItem {
		return topic.MappingItem{Gen: gen, Broker: broker, Queue: queue, Logic: logic, End: -1}
	}
	mapping := &topic.Mapping{MappingInfo: topic.MappingInfo{Topic: "plain", Broker: "b"}}
	d := open(t, func(_ *put.Config, cfg *Config) { cfg.Mappings = oneMapping{mapping} })
	check := func(name, want string, items ...topic.MappingItem) {
		t.Helper()
		mapping.Hosted = map[int32][]topic.MappingItem{1: items} // send sends to queue 1
		for _, code := range []int32{protocol.SendMessageV2, protocol.SendBatchMessage} {
			body := []byte("x")
			if code == protocol.SendBatchMessage {
				body = batchBody("x")
			}
			a := d.send(code, "plain", "", body)
			if got := fmt.Sprint(a.Code, " ", field(&a, "queueId"), " ", field(&a, "queueOffset"), a.Remark); got != fmt.Sprintf(want, map[int32]int{protocol.SendMessageV2: 0, protocol.SendBatchMessage: 1}[code]) {
				t.Errorf("%s, code %d: %s, want %s", name, code, got, want)
			}
		}
	}
	check("moved", "0 1 1000%d", part(0, "a", 4, 0), part(1, "b", 0, 10_000))
	if q := d.store.Find([]byte("plain"), 0); q == nil || q.Max() != 2 || d.store.Find([]byte("plain"), 1) != nil {
		t.Error("the messages are not in queue 0")
	}
	mapping.Hosted = map[int32][]topic.MappingItem{1: {part(0, "a", 4, 0), part(1, "b", 1, -1)}}
	for range 2 {
		if a := d.send(protocol.SendMessageV2, "plain", "", []byte("x")); a.Code != 0 || field(&a, "queueOffset") != "-1" || field(&a, "queueId") != "1" {
			t.Errorf("while the queue moves: %d %v", a.Code, a.Fields)
		}
	}
	mapping.Hosted = map[int32][]topic.MappingItem{1: {part(0, "b", 0, 0), part(1, "a", 4, 10_000)}}
	a := d.send(protocol.SendMessageV2, "plain", "", []byte("x"))
	if a.Code != protocol.NotLeaderForQueue || a.Remark != "plain-1 does not exit in request process of current broker b" || field(&a, "MSG_REGION") != "r" {
		t.Errorf("another leads: %d %s", a.Code, a.Remark)
	}
	if a := d.send(protocol.SendMessageV2, "batch", "", []byte("x")); a.Code != 0 || field(&a, "queueId") != "1" || field(&a, "queueOffset") != "0" {
		t.Errorf("a plain topic: %d %v", a.Code, a.Fields)
	}
	// A physical queue that is not there.
	mapping.Hosted = map[int32][]topic.MappingItem{1: {part(0, "b", 9, 0)}}
	if a := d.send(protocol.SendMessageV2, "plain", "", []byte("x")); a.Code != protocol.InvalidParameter || !bytes.Contains([]byte(a.Remark), []byte("queueId[9]")) {
		t.Errorf("no such queue: %d %s", a.Code, a.Remark)
	}
}

// A producer that names no queue gets one that this broker leads.
func TestPhysical(t *testing.T) {
	m := &topic.Mapping{MappingInfo: topic.MappingInfo{Topic: "T", Broker: "b"}, Hosted: map[int32][]topic.MappingItem{
		0: {{Broker: "a", Queue: 3}}, 5: {{Broker: "b", Queue: 2}}}}
	h := protocol.SendMessageRequest{QueueID: -1}
	if id, e := physical(m, &h); e != nil || id != 2 || h.QueueID != 5 {
		t.Errorf("queue %d of %d, %v", id, h.QueueID, e)
	}
	delete(m.Hosted, 5)
	h.QueueID = -1
	if _, e := physical(m, &h); e == nil || e.Code != protocol.NotLeaderForQueue {
		t.Errorf("it leads none, and answers %v", e)
	}
}

package send

import (
	"strings"
	"testing"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/topic"
)

// A priority is the queue of a message, up to the last there is. What has another type loses the property and stays where it was
// sent; a text that is no priority means nothing.
func TestService_Send_Priority(t *testing.T) {
	const p = message.PropPriority + "\x01"
	for _, c := range []struct {
		props, queue string
		kept         bool
	}{
		{p + "0\x02", "0", true},
		{p + "1\x02KEYS\x01k\x02", "1", true},
		{p + "7\x02", "1", true},
		{p + "0\x02" + message.PropShardingKey + "\x01s\x02", "1", false},
		{p + "-1\x02", "1", true},
		{p + "high\x02", "1", true},
		{p + "99999999999\x02", "1", true},
	} {
		d := open(t)
		a := d.send(protocol.SendMessageV2, "plain", c.props, []byte("x")) // to queue 1
		if a.Code != protocol.Success || field(&a, "queueId") != c.queue {
			t.Errorf("%q: %d %q, queue %s, want %s", c.props, a.Code, a.Remark, field(&a, "queueId"), c.queue)
			continue
		}
		id := int32(c.queue[0] - '0')
		record, res := d.store.Get(d.store.Find([]byte("plain"), id), store.Read{Max: 1}, nil)
		if res.Count != 1 || strings.Contains(string(record), message.PropPriority) != c.kept {
			t.Errorf("%q: %d records, property kept: %v", c.props, res.Count, !c.kept)
		}
	}
}

// What waits, or is part of a transaction, goes where it was sent to, and has no priority any more when it comes out.
func TestService_Send_Priority_Other(t *testing.T) {
	for props, name := range map[string]string{"DELAY\x011\x02": topic.Schedule, "TIMER_DELAY_SEC\x015\x02": topic.Timer, "TRAN_MSG\x01true\x02": topic.TransHalf} {
		d := open(t, delaying, timing)
		a := d.send(protocol.SendMessageV2, "plain", message.PropPriority+"\x010\x02"+props, []byte("x"))
		r, _ := d.record(name, 0, 0)
		_, queue, ok := message.Real(r.Properties)
		if a.Code != protocol.Success || !ok || queue != 1 || strings.Contains(string(r.Properties), message.PropPriority) {
			t.Errorf("%q: %d %q, stored as %q", props, a.Code, a.Remark, r.Properties)
		}
	}
}

package send

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// A prepared message goes to the half topic and to no other; what says of it that it is something else is gone. Its producer
// hears of the queue that it named, and of the half message's place.
func TestService_Send_Half(t *testing.T) {
	for _, props := range []string{
		"UNIQ_KEY\x01u\x02TRAN_MSG\x01true\x02PGROUP\x01p\x02TAGS\x01t\x02",
		"UNIQ_KEY\x01u\x02TRAN_MSG\x01TRUE\x02PGROUP\x01p\x02TAGS\x01t\x02REAL_TOPIC\x01forged\x02REAL_QID\x0177\x02__transactionId__\x01forged\x02" +
			"TRANSACTION_CHECK_TIMES\x0199\x02TRAN_PREPARED_QUEUE_OFFSET\x010\x02",
		"UNIQ_KEY\x01u\x02TRAN_MSG\x01true\x02PGROUP\x01p\x02TAGS\x01t\x02DELAY\x012\x02", // its delay comes when it is committed
		"UNIQ_KEY\x01u\x02TRAN_MSG\x01true\x02PGROUP\x01p\x02TAGS\x01t\x02TIMER_DELAY_SEC\x015\x02",
	} {
		d := open(t, delaying, timing)
		d.sysFlag = "5"
		a := d.send(protocol.SendMessageV2, "plain", props, []byte("x"))
		if a.Code != protocol.Success || field(&a, "queueId") != "1" || field(&a, "queueOffset") != "0" || field(&a, "transactionId") != "u" || field(&a, "recallHandle") != "" {
			t.Errorf("%q: %d %q %v", props, a.Code, a.Remark, a.Fields)
		}
		r, tag := d.record(topic.TransHalf, 0, 0)
		name, queue, ok := message.Real(r.Properties)
		id, _ := message.Property(r.Properties, message.PropTransactionID)
		if !ok || string(name) != "plain" || queue != 1 || string(id) != "u" || tag != message.TagsCode([]byte("t")) ||
			r.SysFlag != message.FlagCompressed || r.QueueID != 0 || r.PreparedOffset != 0 {
			t.Errorf("%q: stored as %+v, tag %d", props, r, tag)
		}
		for _, gone := range []string{"forged", "CHECK_TIMES", "PREPARED_QUEUE"} {
			if strings.Contains(string(r.Properties), gone) {
				t.Errorf("%q: stored with %q", props, r.Properties)
			}
		}
		if q := d.store.Find([]byte("plain"), 1); q != nil && q.Max() != 0 {
			t.Error("it is visible")
		}
	}
}

// What is no half message is stored as what it is: a message to be consumed again of an old client, and one that says it is
// not prepared.
func TestService_Send_NoHalf(t *testing.T) {
	d := open(t, delaying)
	d.sysFlag, d.reconsumed = "4", "1"
	if a := d.send(protocol.SendMessageV2, "plain", "TRAN_MSG\x01true\x02DELAY\x011\x02", []byte("x")); a.Code != protocol.Success {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
	if r, _ := d.record(topic.Schedule, 0, 0); r.SysFlag != 0 || r.ReconsumeTimes != 1 {
		t.Errorf("stored as %+v", r)
	}
	d.sysFlag, d.reconsumed = "0", "0"
	if a := d.send(protocol.SendMessageV2, "plain", "TRAN_MSG\x01false\x02", []byte("x")); a.Code != protocol.Success {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
	d.record("plain", 1, 0)
}

// Half messages that may not be are refused, and nothing is stored.
func TestService_Send_HalfRefused(t *testing.T) {
	d := open(t)
	const half = "UNIQ_KEY\x01u\x02TRAN_MSG\x01true\x02"
	check := func(a protocol.Command, code int32, want string) {
		t.Helper()
		if a.Code != code || !strings.Contains(a.Remark, want) {
			t.Errorf("%d %q, want %d with %q", a.Code, a.Remark, code, want)
		}
	}
	check(d.send(protocol.SendMessageV2, "plain", half+"INNER_MULTI_DISPATCH\x01%LMQ%a\x02", []byte("x")), protocol.MessageIllegal, "INNER_MULTI_DISPATCH")
	check(d.send(protocol.SendMessageV2, "plain", half+"k\x01"+strings.Repeat("v", 32650)+"\x02", []byte("x")), protocol.MessageIllegal, "properties")
	check(d.send(protocol.SendBatchMessage, "plain", half, batchBody("a")), protocol.MessageIllegal, "TRAN_MSG")
	inside := "TRAN_MSG\x01true\x02"
	b := binary.BigEndian.AppendUint32(nil, uint32(22+1+len(inside)))
	b = append(b, make([]byte, 12)...)
	b = append(binary.BigEndian.AppendUint32(b, 1), 'x')
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(inside))), inside...)
	check(d.send(protocol.SendBatchMessage, "plain", "", b), protocol.MessageIllegal, "TRAN_MSG")
	for _, flag := range []string{"4", "8", "12"} {
		d.sysFlag = flag
		check(d.send(protocol.SendBatchMessage, "plain", "", batchBody("a")), protocol.MessageIllegal, "sysFlag "+flag)
	}
	d.sysFlag = "4"
	check(d.send(protocol.SendMessageV2, "plain", "", []byte("x")), protocol.MessageIllegal, "sysFlag 4")
	d.svc.cfg.RejectHalf = func() bool { return true }
	check(d.send(protocol.SendMessageV2, "plain", half, []byte("x")), protocol.NoPermission, "transaction")
	if end := d.store.MaxPhysical(); end != 0 {
		t.Errorf("%d bytes were stored", end)
	}
}

// Place is the queue of a message that is committed, or that of its delay level or time, whose topic it gets.
func TestService_Place(t *testing.T) {
	d := open(t, delaying, timing)
	check := func(props, name string, queue int32, tag int64) {
		t.Helper()
		m := message.Draft{Topic: []byte("plain"), QueueID: 1, Properties: []byte(props)}
		q, got, e := d.svc.Place(&m, 7, time.UnixMilli(1000))
		if e != nil || q.Topic() != name || q.ID() != queue || got != tag || string(m.Topic) != name {
			t.Errorf("%q: %v %d %v, draft %+v", props, q, got, e, m)
		}
	}
	check("TRAN_MSG\x01true\x02", "plain", 1, 7)
	check("TRAN_MSG\x01true\x02DELAY\x012\x02", topic.Schedule, 1, 5000)
	check("TRAN_MSG\x01true\x02TIMER_DELAY_SEC\x015\x02", topic.Timer, 0, message.TagsCode(nil))
	m := message.Draft{Topic: []byte("plain"), Properties: []byte("DELAY\x01x\x02")}
	if _, _, e := d.svc.Place(&m, 7, time.UnixMilli(1000)); e == nil {
		t.Error("placed with a level that is no number")
	}
	m = message.Draft{Topic: []byte("plain"), Properties: []byte("DELAY\x012\x02A\x01" + strings.Repeat("a", message.MaxProperties-20) + "\x02")}
	if _, _, e := d.svc.Place(&m, 7, time.UnixMilli(1000)); e == nil {
		t.Errorf("placed with %d bytes of properties", len(m.Properties))
	}
}

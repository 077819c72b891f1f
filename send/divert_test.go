package send

import (
	"strings"
	"testing"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/topic"
)

func delaying(_ *put.Config, c *Config) {
	c.DelayLevels, _ = message.ParseDelayLevels("1s 5s 1h")
}

// record returns the record of a queue at an offset, and the tag of its unit.
func (d *desk) record(name string, queue int32, offset int64) (r message.Record, tag int64) {
	d.t.Helper()
	q := d.store.Find([]byte(name), queue)
	raw, res := d.store.Get(q, store.Read{From: offset, Max: 1, Match: func(t int64) bool { tag = t; return true }}, nil)
	if res.Status != store.Found {
		d.t.Fatalf("%s/%d has no message %d: status %d", name, queue, offset, res.Status)
	}
	r, err := message.Decode(raw)
	if err != nil {
		d.t.Fatal(err)
	}
	return r, tag
}

// A message with a delay level waits in the delay topic, in the queue of its level, under the time at which it is due; the
// producer hears of the queue it named.
func TestService_Send_Delay(t *testing.T) {
	for _, c := range []struct {
		props string
		queue int32
		tag   int64
		want  string
	}{
		{"DELAY\x012\x02UNIQ_KEY\x01u\x02TAGS\x01t\x02", 1, 6000, "2"},
		{"UNIQ_KEY\x01u\x02DELAY\x014\x02", 2, 3601000, "3"},
		{"UNIQ_KEY\x01u\x02DELAY\x012147483647\x02", 2, 3601000, "3"},
		{"UNIQ_KEY\x01u\x02DELAY\x01+1\x02TIMER_DELAY_SEC\x015\x02TIMER_DELAY_MS\x015\x02TIMER_DELIVER_MS\x015\x02REAL_TOPIC\x01forged\x02", 0, 2000, "1"},
	} {
		d := open(t, delaying)
		a := d.send(protocol.SendMessageV2, "plain", c.props, []byte("x"))
		if a.Code != protocol.Success || field(&a, "queueId") != "1" || field(&a, "queueOffset") != "0" || field(&a, "transactionId") != "u" || field(&a, "msgId") == "" {
			t.Errorf("%q: %d %q %v", c.props, a.Code, a.Remark, a.Fields)
		}
		r, tag := d.record(topic.Schedule, c.queue, 0)
		if tag != c.tag || r.QueueID != c.queue || string(r.Body) != "x" {
			t.Errorf("%q: tag %d, want %d; queue %d", c.props, tag, c.tag, r.QueueID)
		}
		if levels := d.svc.cfg.DelayLevels; levels.Tag(&r) != tag {
			t.Errorf("%q: a queue that is built again has another tag: %d, not %d", c.props, levels.Tag(&r), tag)
		}
		level, _ := message.Property(r.Properties, message.PropDelayTimeLevel)
		name, queue, ok := message.Real(r.Properties)
		if string(level) != c.want || !ok || string(name) != "plain" || queue != 1 || strings.Contains(string(r.Properties), "TIMER_") {
			t.Errorf("%q: became %q", c.props, r.Properties)
		}
		if d.store.Find([]byte("plain"), 1) != nil && d.store.Find([]byte("plain"), 1).Max() != 0 {
			t.Errorf("%q: can be read at once", c.props)
		}
	}
}

// Level 0 and less is no delay. What is no number is refused and changes nothing.
func TestService_Send_Delay_None(t *testing.T) {
	for _, level := range []string{"0", "-1", "-2147483648"} {
		d := open(t, delaying)
		if a := d.send(protocol.SendMessageV2, "plain", "DELAY\x01"+level+"\x02", []byte("x")); a.Code != protocol.Success {
			t.Errorf("%s: %d %q", level, a.Code, a.Remark)
		}
		d.record("plain", 1, 0)
	}
	for _, level := range []string{"x", "1s", "2147483648", " 1", "1_0", "0x1"} {
		d := open(t, delaying)
		a := d.send(protocol.SendMessageV2, "plain", "DELAY\x01"+level+"\x02", []byte("x"))
		if a.Code != protocol.SystemError || !strings.Contains(a.Remark, "DELAY") || d.store.MaxPhysical() != 0 {
			t.Errorf("%s: %d %q, the log has %d bytes", level, a.Code, a.Remark, d.store.MaxPhysical())
		}
	}
}

// A batch with a delay is refused, whoever of it has one.
func TestService_Send_Delay_Batch(t *testing.T) {
	for _, name := range []string{"plain", "batch"} {
		d := open(t, delaying)
		inner := batchBody("A\x02DELAY\x011") // the tag goes on as another property
		a := d.send(protocol.SendBatchMessage, name, "UNIQ_KEY\x01u\x02", inner)
		b := d.send(protocol.SendBatchMessage, name, "UNIQ_KEY\x01u\x02DELAY\x011\x02", batchBody("A"))
		for _, a := range []protocol.Command{a, b} {
			if a.Code != protocol.MessageIllegal || !strings.Contains(a.Remark, "DELAY") {
				t.Errorf("%s: %d %q", name, a.Code, a.Remark)
			}
		}
		if d.store.MaxPhysical() != 0 {
			t.Errorf("%s: something is stored", name)
		}
	}
}

// What waits needs room for where it was sent to.
func TestService_Send_Delay_Room(t *testing.T) {
	d := open(t, delaying)
	props := "DELAY\x011\x02A\x01" + strings.Repeat("a", 32700) + "\x02"
	if a := d.send(protocol.SendMessageV2, "plain", props, []byte("x")); a.Code != protocol.MessageIllegal || d.store.MaxPhysical() != 0 {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
}

// What waits and then goes to further queues, too, has room for its offsets there: it would be lost when it is due.
func TestService_Send_Delay_RoomFurther(t *testing.T) {
	d := open(t, delaying)
	for n := 32700; ; n-- {
		props := "DELAY\x011\x02INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02A\x01" + strings.Repeat("a", n) + "\x02"
		a := d.send(protocol.SendMessageV2, "plain", props, []byte("x"))
		if a.Code == protocol.MessageIllegal && n > 32000 {
			continue
		}
		if a.Code != protocol.Success {
			t.Fatalf("%d: %d %q", n, a.Code, a.Remark)
		}
		r, _ := d.record(topic.Schedule, 0, 0)
		if left := message.MaxProperties - len(r.Properties); left < store.LateRoom(2) {
			t.Errorf("%d bytes are left, the store may add %d", left, store.LateRoom(2))
		}
		return
	}
}

// What waits is refused if what comes of it later would not fit into a file of the log: a half message with its checks, a
// delayed one in a topic with a longer name.
func TestService_Send_Elsewhere_Fits(t *testing.T) {
	for _, one := range []struct {
		props string
		topic string
		grows int
	}{
		{"UNIQ_KEY\x01u\x02TRAN_MSG\x01true\x02", topic.TransHalf, halfRoom},
		{"UNIQ_KEY\x01u\x02DELAY\x011\x02", topic.Schedule, 0},
	} {
		send := func(limit int64) (protocol.Command, *desk) {
			d := open(t, delaying, func(into *put.Config, _ *Config) { into.MaxGroup = limit })
			return d.send(protocol.SendMessageV2, "plain", one.props, make([]byte, 1000)), d
		}
		_, d := send(0)
		r, _ := d.record(one.topic, 0, 0)
		least := int64(r.Size) + int64(len("plain")+one.grows)
		if a, d := send(least - 1); a.Code != protocol.MessageIllegal || d.store.MaxPhysical() != 0 {
			t.Errorf("%s: %d %q, %d bytes are stored", one.topic, a.Code, a.Remark, d.store.MaxPhysical())
		}
		if a, _ := send(least); a.Code != protocol.Success {
			t.Errorf("%s: %d %q where it fits", one.topic, a.Code, a.Remark)
		}
	}
}

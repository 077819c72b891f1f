package send

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

func timing(_ *put.Config, c *Config) {
	c.Broker = "b"
	c.Timers = &Timers{Enabled: true, Precision: 1000, MaxDelay: func() int64 { return 259_200_000 }, Limit: func() int64 { return math.MaxInt32 }}
	c.Recalls = &Recalls{Enabled: func() bool { return true }, WhenReadOnly: func() bool { return true }, LongKey: func() bool { return false }}
	c.Slave = func() bool { return false }
}

// A message with a time waits in the timer topic, to the millisecond; the producer hears of the queue it named, and how to
// recall it. The clock says 1000.
func TestService_Send_Timed(t *testing.T) {
	for _, c := range []struct{ props, out string }{
		{"TIMER_DELIVER_MS\x015500\x02", "5499"},
		{"TIMER_DELAY_MS\x014500\x02", "5499"},
		{"TIMER_DELAY_SEC\x014\x02TIMER_DELAY_MS\x011\x02TIMER_DELIVER_MS\x011\x02", "4999"},
		{"TIMER_DELAY_MS\x011\x02DELAY\x010\x02", "1001"}, // a whole moment would be Java's for any time in it
		{"TIMER_DELAY_SEC\x01259200\x02", "259200999"},
		{"TIMER_DELAY_MS\x014500\x02REAL_TOPIC\x01forged\x02REAL_QID\x019\x02", "5499"},
	} {
		d := open(t, timing)
		a := d.send(protocol.SendMessageV2, "plain", "UNIQ_KEY\x01u\x02TAGS\x01t\x02"+c.props, []byte("x"))
		if a.Code != protocol.Success || field(&a, "queueId") != "1" || field(&a, "transactionId") != "u" {
			t.Fatalf("%q: %d %q", c.props, a.Code, a.Remark)
		}
		r, tag := d.record(topic.Timer, 0, 0)
		out, _ := message.Property(r.Properties, message.PropTimerOutMs)
		name, queue, ok := message.Real(r.Properties)
		if string(out) != c.out || !ok || string(name) != "plain" || queue != 1 || tag != message.TagsCode([]byte("t")) {
			t.Errorf("%q: became %q", c.props, r.Properties)
		}
		raw, err := base64.URLEncoding.DecodeString(field(&a, "recallHandle"))
		var ms int64
		if _, e := fmt.Sscanf(string(raw), "v1 plain b %d u", &ms); err != nil || e != nil || fmt.Sprint(ms-1) != c.out {
			t.Errorf("handle %q: %v %v", raw, err, e)
		}
		if q := d.store.Find([]byte("plain"), 1); q != nil && q.Max() > 0 {
			t.Errorf("%q: can be read at once", c.props)
		}
	}
}

// What is due, or has waited before, is stored as what it is.
func TestService_Send_Timed_AtOnce(t *testing.T) {
	for _, props := range []string{"TIMER_DELIVER_MS\x011000\x02", "TIMER_DELAY_MS\x010\x02", "TIMER_DELAY_SEC\x01-5\x02", "TIMER_DELIVER_MS\x019000\x02TIMER_OUT_MS\x018999\x02"} {
		d := open(t, timing)
		if a := d.send(protocol.SendMessageV2, "plain", props, []byte("x")); a.Code != protocol.Success || field(&a, "recallHandle") != "" {
			t.Errorf("%q: %d %q", props, a.Code, a.Remark)
		}
		d.record("plain", 1, 0)
	}
}

// What cannot be is refused with Java's code and changes nothing.
func TestService_Send_Timed_Refused(t *testing.T) {
	crowd := int64(0)
	for _, c := range []struct {
		name, props string
		code        int32
		remark      string
		change      func(*put.Config, *Config)
	}{
		{"no number", "TIMER_DELIVER_MS\x01soon\x02", protocol.MessageIllegal, "TIMER_DELIVER_MS", nil},
		{"no number", "TIMER_DELAY_SEC\x011.5\x02", protocol.MessageIllegal, "TIMER_DELAY_SEC", nil},
		{"overflow", "TIMER_DELAY_SEC\x019223372036854775807\x02", protocol.MessageIllegal, "TIMER_DELAY_SEC", nil},
		{"too far", "TIMER_DELAY_MS\x01259200001\x02", protocol.MessageIllegal, "max delay 259200000ms", nil},
		{"a recall in the past", "TIMER_DELIVER_MS\x01999\x02TIMER_DEL_UNIQKEY\x01u\x02", protocol.MessageIllegal, "current time", nil},
		{"off", "TIMER_DELAY_SEC\x015\x02", protocol.SystemError, "timerWheelEnable is false", func(_ *put.Config, c *Config) { c.Timers.Enabled = false }},
		{"crowded", "TIMER_DELAY_SEC\x015\x02", protocol.SystemError, "flow control, max num limit is 20 ", func(_ *put.Config, c *Config) {
			c.Timers.Limit = func() int64 { return 10 }
			c.Timers.Waiting = func(ms int64) int64 { crowd = ms; return 20 }
		}},
		{"no room", "TIMER_DELAY_SEC\x015\x02A\x01" + strings.Repeat("a", 32_600) + "\x02", protocol.MessageIllegal, "properties", nil},
	} {
		d := open(t, timing, func(p *put.Config, cfg *Config) {
			if c.change != nil {
				c.change(p, cfg)
			}
		})
		a := d.send(protocol.SendMessageV2, "plain", c.props, []byte("x"))
		if a.Code != c.code || !strings.Contains(a.Remark, c.remark) || d.store.MaxPhysical() != 0 {
			t.Errorf("%s: %d %q, the log has %d bytes", c.name, a.Code, a.Remark, d.store.MaxPhysical())
		}
	}
	if crowd != 5999 {
		t.Errorf("asked who waits for %d", crowd)
	}
	d := open(t, timing)
	for _, a := range []protocol.Command{
		d.send(protocol.SendBatchMessage, "plain", "UNIQ_KEY\x01u\x02", batchBody("A\x02TIMER_DELAY_MS\x015000")),
		d.send(protocol.SendBatchMessage, "plain", "UNIQ_KEY\x01u\x02TIMER_DELAY_MS\x015000\x02", batchBody("A")),
	} {
		if a.Code != protocol.MessageIllegal || !strings.Contains(a.Remark, "TIMER_DELAY_MS") {
			t.Errorf("batch: %d %q", a.Code, a.Remark)
		}
	}
}

// recall asks for a recall.
func (d *desk) recall(name, handle string) protocol.Command {
	d.t.Helper()
	p := new(peer)
	turn := &protocol.Turn{Now: time.UnixMilli(1000), Appends: d.batch}
	c := &protocol.Call{Peer: p, Turn: turn}
	c.Code = protocol.RecallMessage
	for _, f := range [][2]string{{"producerGroup", "g"}, {"topic", name}, {"recallHandle", handle}} {
		c.Fields = append(c.Fields, protocol.Field{Key: []byte(f[0]), Value: []byte(f[1])})
	}
	if err := d.svc.Recall(c); err != nil {
		c.Fail(err)
	}
	d.batch.Commit(turn)
	if len(p.answers) != 1 {
		d.t.Fatalf("%d answers", len(p.answers))
	}
	return p.answers[0]
}

func handle(text string) string { return base64.URLEncoding.EncodeToString([]byte(text)) }

// A recall waits beside its message, in the same moment, whoever made the handle.
func TestService_Recall(t *testing.T) {
	for _, long := range []bool{false, true} {
		d := open(t, timing, func(_ *put.Config, c *Config) { c.Recalls.LongKey = func() bool { return long } })
		a := d.send(protocol.SendMessageV2, "plain", "UNIQ_KEY\x01u\x02TIMER_DELIVER_MS\x017777\x02", []byte("x"))
		b := d.recall("plain", field(&a, "recallHandle"))
		c := d.recall("plain", strings.TrimRight(handle("v1 plain b 7001 u"), "=")) // Java's for the same time
		if b.Code != protocol.Success || field(&b, "msgId") != "u" || c.Code != protocol.Success {
			t.Fatalf("%d %q, %d %q", b.Code, b.Remark, c.Code, c.Remark)
		}
		key := "u"
		if long {
			key = "plain+u"
		}
		for i, out := range []string{"7776", "7776", "7001"} {
			r, _ := d.record(topic.Timer, 0, int64(i))
			got, _ := message.Property(r.Properties, message.PropTimerOutMs)
			recalls, ok := message.Property(r.Properties, message.PropTimerDelUniqkey)
			if string(got) != out || ok != (i > 0) || ok && (string(recalls) != key || string(r.Body) != "0") {
				t.Errorf("%d: %q", i, r.Properties)
			}
		}
	}
}

// Handles that are garbage, foreign or too late, and brokers that do not recall.
func TestService_Recall_Refused(t *testing.T) {
	for _, c := range []struct {
		name, topic, handle string
		code                int32
		remark              string
		change              func(c *Config)
	}{
		{"empty", "plain", "", protocol.IllegalOperation, "recall handle is invalid", nil},
		{"garbage", "plain", "?!", protocol.IllegalOperation, "recall handle is invalid", nil},
		{"short", "plain", handle("v1 plain b 5000 "), protocol.IllegalOperation, "recall handle is invalid", nil},
		{"version", "plain", handle("v2 plain b 5000 u"), protocol.IllegalOperation, "recall handle is invalid", nil},
		{"properties in it", "plain", handle("v1 plain b 5000 u\x02REAL_TOPIC\x01x"), protocol.IllegalOperation, "recall handle is invalid", nil},
		{"topic", "plain", handle("v1 batch b 5000 u"), protocol.IllegalOperation, "topic not match", nil},
		{"broker", "plain", handle("v1 plain c 5000 u"), protocol.IllegalOperation, "broker service not available", nil},
		{"past", "plain", handle("v1 plain b 1000 u"), protocol.IllegalOperation, "timestamp invalid", nil},
		{"no time", "plain", handle("v1 plain b soon u"), protocol.IllegalOperation, "timestamp invalid", nil},
		{"far", "plain", handle("v1 plain b 259201000 u"), protocol.IllegalOperation, "timestamp invalid", nil},
		{"unknown topic", "none", handle("v1 none b 5000 u"), protocol.TopicNotExist, "not exist", nil},
		{"forbidden", "plain", handle("v1 plain b 5000 u"), protocol.NoPermission, "forbidden", func(c *Config) { c.Recalls.Enabled = func() bool { return false } }},
		{"slave", "plain", handle("v1 plain b 5000 u"), protocol.SlaveNotAvailable, "not available", func(c *Config) { c.Slave = func() bool { return true } }},
		{"read only", "plain", handle("v1 plain b 5000 u"), protocol.ServiceNotAvailable, "not available", func(c *Config) {
			c.Writable, c.Recalls.WhenReadOnly = func() bool { return false }, func() bool { return false }
		}},
		{"no wheel", "plain", handle("v1 plain b 5000 u"), protocol.SystemError, "execute error", func(c *Config) { c.Timers.Enabled = false }},
	} {
		d := open(t, timing, func(_ *put.Config, cfg *Config) {
			if c.change != nil {
				c.change(cfg)
			}
		})
		a := d.recall(c.topic, c.handle)
		if a.Code != c.code || !strings.Contains(a.Remark, c.remark) || d.store.MaxPhysical() != 0 {
			t.Errorf("%s: %d %q, the log has %d bytes", c.name, a.Code, a.Remark, d.store.MaxPhysical())
		}
	}
}

// Whatever a handle is, reading it does not panic, and what is read could be a handle.
func FuzzParseHandle(f *testing.F) {
	for _, text := range []string{"", "xx", handle("v1 T b 5 u"), handle("v1 T b x u v"), "djEgVG9waWNBIGJyb2tlci1hIDE3MDAwMDAwMDAwMDAgN0YwMDAwMDEwMDAxQUJDRA=="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, ok := parseHandle(text)
		if ok && (strings.ContainsAny(h.key+h.topic+h.broker, " \x01\x02")) {
			t.Fatalf("%q is %+v", text, h)
		}
	})
}

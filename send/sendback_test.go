package send

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/topic"
)

// shelf is a table of topics that can be added to.
type shelf struct{ topics }

func (s shelf) Ensure(configs ...*topic.Config) error {
	for _, c := range configs {
		if s.topics[c.Name] == nil {
			s.topics[c.Name] = c
		}
	}
	return nil
}

type club map[string]*topic.GroupConfig

func (c club) Get(name []byte) *topic.GroupConfig { return c[string(name)] }

// counter is a desk where consumers send back.
type counter struct {
	*desk
	topics  topics
	group   *topic.GroupConfig
	counted string
	locked  bool
}

func openCounter(t *testing.T, change ...func(*put.Config, *Config)) *counter {
	k := &counter{group: topic.NewGroupConfig("g")}
	k.group.RetryQueueNums = 2
	var turn *protocol.Turn
	k.desk = open(t, append([]func(*put.Config, *Config){delaying, func(_ *put.Config, c *Config) {
		k.topics = c.Topics.(topics)
		c.Topics, c.Groups = shelf{k.topics}, club{"g": k.group}
		c.SentBack = func(topic, group string) { k.counted += topic + "@" + group + " " }
		c.Locked = func(time.Time, []byte) bool { return k.locked }
		c.Offload = func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
			turn = c.Turn
			own := &protocol.Call{Command: *c.Command.Clone(), Peer: c.Peer}
			if err := run(context.Background(), own); err != nil {
				own.Turn = turn
				own.Fail(err)
			}
		}
		resume := func(c *protocol.Call, run func(*protocol.Call) error) {
			if c.Turn = turn; run(c) != nil {
				t.Error("a resumed call failed")
			}
		}
		c.Resume = resume
		c.Again = func(c *protocol.Call) { resume(c, k.svc.Send) }
	}}, change...)...)
	return k
}

// back sends back the message at a position; fields are further ones.
func (k *counter) back(at int64, level int32, fields ...string) protocol.Command {
	k.t.Helper()
	return k.call(protocol.ConsumerSendMsgBack, k.svc.SendBack, append([]string{"offset=" + fmt.Sprint(at), "group=g", "delayLevel=" + fmt.Sprint(level)}, fields...)...)
}

func (k *counter) call(code int32, run func(*protocol.Call) error, fields ...string) protocol.Command {
	k.t.Helper()
	p := new(peer)
	turn := &protocol.Turn{Now: time.UnixMilli(1000), Appends: k.batch}
	c := &protocol.Call{Peer: p, Turn: turn}
	c.Code, c.Version, c.Body = code, 515, []byte("x")
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		c.Fields = append(c.Fields, protocol.Field{Key: []byte(key), Value: []byte(value)})
	}
	if err := run(c); err != nil {
		c.Fail(err)
	}
	k.batch.Commit(turn)
	if len(p.answers) != 1 {
		k.t.Fatalf("%d answers", len(p.answers))
	}
	return p.answers[0]
}

// stored is a message in queue 1 of plain, with so many attempts behind it.
func (k *counter) stored(attempts int32, props string) int64 {
	k.t.Helper()
	at := k.store.MaxPhysical()
	a := k.call(protocol.SendMessage, k.svc.Send, "producerGroup=p", "topic=plain", "defaultTopic=TBW102", "defaultTopicQueueNums=4", "queueId=1",
		"sysFlag=0", "bornTimestamp=5", "flag=9", "properties="+props, fmt.Sprint("reconsumeTimes=", attempts))
	if a.Code != protocol.Success {
		k.t.Fatalf("%d %q", a.Code, a.Remark)
	}
	return at
}

// A message that comes back waits for a level more each time, under the retry topic of its group, and says where it came from
// at first.
func TestService_SendBack(t *testing.T) {
	k := openCounter(t, func(_ *put.Config, c *Config) {
		c.DelayLevels, _ = message.ParseDelayLevels(message.DefaultDelayLevels)
	})
	at := k.stored(0, "UNIQ_KEY\x01u\x02TAGS\x01t\x02DELAY\x01-1\x02WAIT\x01true\x02")
	if a := k.back(at, 0, "unitMode=true"); a.Code != protocol.Success {
		t.Fatalf("%d %q", a.Code, a.Remark)
	}
	r, tag := k.record(topic.Schedule, 2, 0) // level 3
	name, queue, ok := message.Real(r.Properties)
	if !ok || string(name) != "%RETRY%g" || queue < 0 || queue > 1 || r.ReconsumeTimes != 1 || r.Flag != 9 || r.BornMs != 5 || string(r.Body) != "x" || tag != 11000 {
		t.Errorf("%s/%d, tag %d, %+v", name, queue, tag, r)
	}
	prop := func(name string) string { v, _ := message.Property(r.Properties, name); return string(v) }
	id := string(message.AppendOffsetID(nil, r.StoreHost, at))
	if prop("RETRY_TOPIC") != "plain" || prop("ORIGIN_MESSAGE_ID") != id || prop("WAIT") != "false" || prop("DELAY") != "3" || prop("UNIQ_KEY") != "u" || prop("TAGS") != "t" {
		t.Errorf("properties %q", r.Properties)
	}
	if cfg := k.topics["%RETRY%g"]; cfg == nil || cfg.ReadQueueNums != 2 || cfg.WriteQueueNums != 2 || cfg.SysFlag != topic.FlagUnitSub || k.topics["%DLQ%g"] != nil {
		t.Errorf("topics %+v", k.topics)
	}
	if k.counted != "plain@g " {
		t.Errorf("counted %q", k.counted)
	}
	// It comes back again from the retry topic, whose copy keeps where it was at first.
	again := k.store.MaxPhysical()
	c := put.New(put.Config{Log: k.store, Grew: k.noBell, Stored: func(*cq, int, int) {}}).NewCourier()
	d := message.Draft{Topic: name, Body: r.Body, Properties: r.Properties, QueueID: queue, ReconsumeTimes: 1, BornHost: r.BornHost, StoreHost: r.StoreHost}
	c.Stage(k.store.Queue(string(name), queue), &d, 0)
	if _, err := c.Commit(t.Context(), time.UnixMilli(2000)); err != nil {
		t.Fatal(err)
	}
	if a := k.back(again, 0); a.Code != protocol.Success {
		t.Fatalf("%d %q", a.Code, a.Remark)
	}
	r, _ = k.record(topic.Schedule, 3, 0)
	if prop("RETRY_TOPIC") != "plain" || prop("ORIGIN_MESSAGE_ID") != id || r.ReconsumeTimes != 2 || strings.Count(string(r.Properties), "REAL_TOPIC") != 1 {
		t.Errorf("%d attempts, properties %q", r.ReconsumeTimes, r.Properties)
	}
	if a := k.back(at, 5); a.Code != protocol.Success {
		t.Fatalf("%d %q", a.Code, a.Remark)
	}
	k.record(topic.Schedule, 4, 0)
}

// Who was tried as often as the group or the consumer wants goes to the dead letters at once, so does who is sent there.
func TestService_SendBack_Dead(t *testing.T) {
	for _, c := range []struct {
		name     string
		attempts int32
		level    int32
		field    string
		dead     bool
	}{
		{"last of the group", 16, 0, "", true}, {"not yet", 15, 0, "", false}, {"at once", 0, -1, "", true},
		{"the consumer wants less", 2, 0, "maxReconsumeTimes=2", true}, {"the consumer wants more", 17, 0, "maxReconsumeTimes=18", false},
		{"the consumer wants none", 0, 0, "maxReconsumeTimes=0", true},
	} {
		k := openCounter(t)
		at := k.stored(c.attempts, "TAGS\x01t\x02")
		a := k.back(at, c.level, c.field)
		q := k.store.Find([]byte("%DLQ%g"), 0)
		if a.Code != protocol.Success || (q != nil) != c.dead {
			t.Errorf("%s: %d %q, dead %t", c.name, a.Code, a.Remark, q != nil)
			continue
		}
		if !c.dead {
			continue
		}
		r, tag := k.record("%DLQ%g", 0, 0)
		level, _ := message.Property(r.Properties, message.PropDelayTimeLevel)
		if r.ReconsumeTimes != c.attempts+1 || tag != message.TagsCode([]byte("t")) || string(level) != "0" || k.store.Find([]byte(topic.Schedule), 2) != nil {
			t.Errorf("%s: %+v", c.name, r)
		}
		if cfg := k.topics["%DLQ%g"]; cfg.ReadQueueNums != 1 || cfg.Perm != topic.PermRead|topic.PermWrite {
			t.Errorf("%s: %+v", c.name, cfg)
		}
	}
}

// What is refused has Java's code, names what is wrong and changes nothing.
func TestService_SendBack_Refused(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(k *counter, c *Config)
		field  string
		code   int32
		remark string
	}{
		{"group", nil, "group=h", protocol.SubscriptionGroupNotExist, "h"},
		{"slave", func(_ *counter, c *Config) { c.Slave = func() bool { return true } }, "", protocol.SystemError, "no master"},
		{"broker", func(_ *counter, c *Config) { c.Writable = func() bool { return false } }, "", protocol.NoPermission, "forbidden"},
		{"topic", func(k *counter, _ *Config) {
			k.topics["%RETRY%g"] = topic.NewConfig("%RETRY%g", 1)
			k.topics["%RETRY%g"].Perm = topic.PermRead
		}, "", protocol.NoPermission, "%RETRY%g"},
		{"no message", nil, "offset=7", protocol.SystemError, "look message by offset failed, 7"},
		{"beyond the end", nil, "offset=99999999", protocol.SystemError, "look message by offset failed, 99999999"},
		{"negative", nil, "offset=-1", protocol.SystemError, "look message by offset failed, -1"},
		{"no number", nil, "delayLevel=x", protocol.SystemError, "delayLevel"},
		{"no offset", nil, "offset=", protocol.SystemError, "offset"},
	} {
		k := openCounter(t)
		at := k.stored(0, "")
		if c.do != nil {
			c.do(k, &k.svc.cfg)
		}
		end := k.store.MaxPhysical()
		fields := map[string]string{"offset": fmt.Sprint(at), "group": "g", "delayLevel": "0"}
		key, value, _ := strings.Cut(c.field, "=")
		fields[key] = value
		a := k.call(protocol.ConsumerSendMsgBack, k.svc.SendBack, "offset="+fields["offset"], "group="+fields["group"], "delayLevel="+fields["delayLevel"])
		if a.Code != c.code || !strings.Contains(a.Remark, c.remark) || k.store.MaxPhysical() != end || k.counted != "" {
			t.Errorf("%s: %d %q", c.name, a.Code, a.Remark)
		}
	}
}

// A message that no consumer can have is not brought into a retry topic: it would be read before its time. Nor is a whole batch,
// of which the consumer means one message.
func TestService_SendBack_Hidden(t *testing.T) {
	k := openCounter(t)
	at := k.stored(0, "DELAY\x011\x02")
	half := k.store.MaxPhysical()
	courier := put.New(put.Config{Log: k.store, Grew: k.noBell, Stored: func(*cq, int, int) {}}).NewCourier()
	d := message.Draft{Topic: []byte("plain"), Body: []byte("x"), SysFlag: message.FlagPrepared}
	courier.Stage(nil, &d, 0)
	if _, err := courier.Commit(t.Context(), time.UnixMilli(1000)); err != nil {
		t.Fatal(err)
	}
	batch := k.store.MaxPhysical()
	if a := k.send(protocol.SendBatchMessage, "batch", "UNIQ_KEY\x01u\x02", batchBody("A", "B")); a.Code != protocol.Success {
		t.Fatalf("%d %q", a.Code, a.Remark)
	}
	end := k.store.MaxPhysical()
	for at, remark := range map[int64]string{at: "look message", half: "look message", batch: "MESSAGE_ILLEGAL"} {
		if a := k.back(at, 0); a.Code != protocol.SystemError || !strings.HasPrefix(a.Remark, remark) {
			t.Errorf("%d %q, want %q", a.Code, a.Remark, remark)
		}
	}
	if k.store.MaxPhysical() != end {
		t.Error("something is stored")
	}
}

// A group that wants nothing again is told that all is well.
func TestService_SendBack_Unwanted(t *testing.T) {
	k := openCounter(t)
	at := k.stored(0, "")
	end := k.store.MaxPhysical()
	k.group.RetryQueueNums = 0
	if a := k.back(at, 0); a.Code != protocol.Success || k.store.MaxPhysical() != end {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
}

// When the store takes nothing, or what it took is not safe, the consumer hears no success: it sends the message in another
// way.
func TestService_SendBack_NotSafe(t *testing.T) {
	k := openCounter(t, func(c *put.Config, _ *Config) { c.Replicas, c.SlaveTimeout = few{}, -time.Second })
	at := k.store.MaxPhysical()
	a := k.call(protocol.SendMessage, k.svc.Send, "producerGroup=p", "topic=plain", "defaultTopic=TBW102", "defaultTopicQueueNums=4", "queueId=1",
		"sysFlag=0", "bornTimestamp=5", "flag=9", "properties=WAIT\x01false\x02")
	if a.Code != protocol.Success {
		t.Fatal(a.Remark)
	}
	if a := k.back(at, 0); a.Code != protocol.SystemError || a.Remark != "FLUSH_SLAVE_TIMEOUT" || k.counted != "" {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
	k = openCounter(t)
	at = k.stored(0, "")
	k.batch = put.New(put.Config{Log: refusing{k.store}, Grew: k.noBell, Stored: func(*cq, int, int) {}}).NewBatch()
	if a := k.back(at, 0); a.Code != protocol.SystemError || !strings.Contains(a.Remark, "disk is full") || k.counted != "" {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
}

// refusing is a store with a full disk.
type refusing struct{ *store.Store }

func (refusing) Append(*store.Batch, time.Time) error { return store.ErrDiskFull }

// A consumer that cannot send back sends the message to the retry topic itself: it waits, or is a dead letter if it was tried
// too often, or if its group consumes in order.
func TestService_Send_Retry(t *testing.T) {
	for _, c := range []struct {
		name     string
		attempts int32
		field    string
		locked   bool
		dead     bool
	}{
		{"not yet", 16, "", false, false}, {"too often", 17, "", false, true}, {"the consumer wants more", 17, "maxReconsumeTimes=17", false, false},
		{"the consumer wants less", 4, "maxReconsumeTimes=3", false, true}, {"in order", 1, "", true, true},
	} {
		k := openCounter(t)
		k.topics["%RETRY%g"] = topic.NewConfig("%RETRY%g", 1)
		k.locked = c.locked
		a := k.call(protocol.SendMessage, k.svc.Send, "producerGroup=p", "topic=%RETRY%g", "defaultTopic=TBW102", "defaultTopicQueueNums=1", "queueId=0",
			"sysFlag=0", "bornTimestamp=5", "flag=9", "properties=DELAY\x012\x02TIMER_DELAY_SEC\x013\x02RETRY_TOPIC\x01plain\x02", fmt.Sprint("reconsumeTimes=", c.attempts), c.field)
		if a.Code != protocol.Success || field(&a, "queueId") != "0" {
			t.Errorf("%s: %d %q", c.name, a.Code, a.Remark)
			continue
		}
		name, queue, level := topic.Schedule, int32(1), "2"
		if c.dead {
			name, queue, level = "%DLQ%g", 0, "-1"
		}
		r, _ := k.record(name, queue, 0)
		got, _ := message.Property(r.Properties, message.PropDelayTimeLevel)
		if string(got) != level || r.ReconsumeTimes != c.attempts || strings.Contains(string(r.Properties), "TIMER") {
			t.Errorf("%s: %d attempts, %q", c.name, r.ReconsumeTimes, r.Properties)
		}
	}
}

// If the topics cannot be made, the consumer hears why.
func TestService_SendBack_NoTopic(t *testing.T) {
	k := openCounter(t)
	at := k.stored(0, "")
	k.svc.cfg.Topics = broken{k.topics}
	if a := k.back(at, 0); a.Code != protocol.SystemError || !strings.Contains(a.Remark, "no room") {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
}

type broken struct{ topics }

func (broken) Ensure(...*topic.Config) error { return errors.New("no room") }

// Commas in the properties of a producer are no queues that would take room.
func TestService_SendBack_Commas(t *testing.T) {
	k := openCounter(t, func(_ *put.Config, c *Config) {
		c.DelayLevels, _ = message.ParseDelayLevels(message.DefaultDelayLevels)
	})
	at := k.stored(0, "UNIQ_KEY\x01u\x02list\x01"+strings.Repeat("1,", 8000)+"\x02")
	if a := k.back(at, 0); a.Code != protocol.Success {
		t.Errorf("%d %q", a.Code, a.Remark)
	}
}

package pop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// A clock that was set back makes nothing come early that memory has no room for, nor what is acknowledged.
func TestService_Revive_ClockBack(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.MaxLeases = 0 })
	d.now = start.Add(24 * time.Hour)
	d.send("T", 0, "x")
	d.pop()
	d.pass(20 * time.Second)
	want(t, "by the wrong time", bodies(d.pop()), "x")
	d.now = start
	d.send("T", 0, "a", "b")
	list := d.pop()
	want(t, "pop", bodies(list), "a b")
	want(t, "ack", d.ack(list[0]).Code, int32(protocol.Success))
	d.pass(9800 * time.Millisecond)
	want(t, "before its time", bodies(d.pop()), "")
	d.pass(6 * time.Second)
	want(t, "after its time", bodies(d.pop()), "b")
}

// A check point that is far ahead of a clock that was set back does not keep those behind it, and comes at its time, also after
// a kill. What was acknowledged of it stays so.
func TestService_Revive_FarAhead(t *testing.T) {
	for _, kill := range []bool{false, true} {
		room := 0
		d := newDesk(t, func(c *Config) { c.MaxLeases = room })
		d.now = start.Add(time.Hour)
		d.send("T", 0, "x", "y")
		d.ack(d.pop()[0])
		d.pass(10100 * time.Millisecond) // both are in the revive topic
		d.now = start
		d.send("T", 0, "a")
		want(t, "pop", bodies(d.pop()), "a")
		d.pass(16 * time.Second)
		want(t, "behind it", bodies(d.pop("invisibleTime=100000000")), "a")
		want(t, "waiting", len(d.revive.queues[0].waiting), 0)
		if kill {
			room = 100
			if err := d.offsets.Persist(); err != nil {
				t.Fatal(err)
			}
			d.kill()
		}
		d.now = start.Add(time.Hour)
		d.pass(9900 * time.Millisecond)
		want(t, "before its time", bodies(d.pop()), "")
		d.pass(6 * time.Second)
		want(t, "at its time", bodies(d.pop()), "y")
	}
}

// Who is acknowledged while it is about to be delivered again counts once.
func TestService_Revive_AckedMeanwhile(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	list := d.pop()
	d.now = d.now.Add(10 * time.Second)
	due := d.svc.schedule.due(nil, d.now.UnixMilli(), 9)
	want(t, "due", len(due), 1)
	want(t, "ack", d.ack(list[0]).Code, int32(protocol.Success))
	d.revive.deliver(context.Background(), due, d.now)
	want(t, "in memory", d.svc.live.Load(), int64(0))
	want(t, "pop", bodies(d.pop()), "")
}

// A check point that the timer brings when memory has delivered it brings nothing once more.
func TestService_Revive_LateTimer(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	d.pop()
	for range 150 {
		d.now = d.now.Add(100 * time.Millisecond)
		d.revive.expire(context.Background(), d.now)
		d.revive.follow(context.Background(), d.revive.queues[0], d.now)
	}
	want(t, "by memory", bodies(d.pop("invisibleTime=100000")), "a")
	d.pass(20 * time.Second)
	want(t, "by the log", bodies(d.pop()), "")
	want(t, "kept", len(d.revive.queues[0].early), 0)
}

// A message whose retry topic would have too long a name stays out, and harms nobody.
func TestService_Revive_LongName(t *testing.T) {
	d := newDesk(t, nil)
	name, group := topic.DLQPrefix+strings.Repeat("d", 200), strings.Repeat("g", 100)
	d.topics[name], d.groups[group] = topic.NewConfig(name, 1), topic.NewGroupConfig(group)
	d.send(name, 0, "a")
	d.send("T", 0, "b")
	want(t, "pop", bodies(d.pop("topic="+name, "consumerGroup="+group)), "a")
	want(t, "pop", bodies(d.pop()), "b")
	d.pass(20 * time.Second)
	want(t, "the other one", bodies(d.pop()), "b")
}

// An entry of a batch has no more messages than a check point.
func TestService_BatchAck_ManyBits(t *testing.T) {
	d := newDesk(t, nil)
	for i := range 40 {
		d.send("T", 0, fmt.Sprint(i))
	}
	was := d.store.MaxPhysical()
	a := d.call(protocol.BatchAckMessage, `{"acks":[{"t":"T","c":"g","q":0,"so":0,"pt":1,"b":"//////8="}],"brokerName":"broker-a"}`)
	if a.Code != protocol.SystemError || d.store.MaxPhysical() != was {
		t.Errorf("40 bits: %d %s", a.Code, a.Remark)
	}
	a = d.call(protocol.BatchAckMessage, `{"acks":[{"t":"T","c":"g","q":0,"so":0,"pt":1,"b":"/////w=="}],"brokerName":"broker-a"}`)
	if a.Code != protocol.Success || d.store.MaxPhysical() == was {
		t.Errorf("32 bits: %d %s", a.Code, a.Remark)
	}
}

// What the log gives back waits for its acknowledgements, where the timer is late and other records are not.
func TestService_Revive_LateAcks(t *testing.T) {
	behind := true
	d := newDesk(t, func(c *Config) { c.MaxLeases, c.TimerBehind = 0, func() bool { return behind } })
	d.send("T", 0, "a", "b")
	list := d.pop()
	want(t, "ack", d.ack(list[0]).Code, int32(protocol.Success))
	d.now = start.Add(6 * time.Second)
	d.send("T", 0, "c")
	later := d.pop()
	want(t, "later", bodies(later), "c")
	follow := func(at time.Duration) {
		d.now = start.Add(at)
		d.revive.follow(context.Background(), d.revive.queues[0], d.now)
	}
	d.now = start.Add(20 * time.Second)
	want(t, "a late ack", d.ack(later[0]).Code, int32(protocol.Success))
	follow(20 * time.Second)
	d.now = start.Add(9900 * time.Millisecond)
	d.timer() // brings the check point only
	follow(21 * time.Second)
	want(t, "before the acknowledgement", bodies(d.pop()), "")
	d.timer()
	behind = false
	d.pass(5 * time.Second)
	want(t, "what was not acknowledged in time", bodies(d.pop()), "b c")
}

// A lease of less than a second ends by the log, too.
func TestService_Revive_Short(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.MaxLeases = 0 })
	d.send("T", 0, "a")
	want(t, "pop", bodies(d.pop("invisibleTime=500")), "a")
	d.pass(6 * time.Second)
	want(t, "again", bodies(d.pop()), "a")
}

// The records wait in the timer's topic until their millisecond, like all that is timed.
func TestService_Journal_Due(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	list := d.pop("invisibleTime=10123")
	d.ack(list[0])
	b, res := d.store.Get(d.store.Find([]byte(topic.Timer), 0), store.Read{Max: 32}, nil)
	want(t, "records", res.Count, 2)
	for _, due := range []int64{9123, 10123} { // the check point, the acknowledgement
		size, _ := message.PeekSize(b)
		m, err := message.Decode(b[:size])
		if err != nil {
			t.Fatal(err)
		}
		b = b[size:]
		due += start.UnixMilli()
		for name, value := range map[string]string{
			message.PropTimerDeliverMs: fmt.Sprint(due), message.PropTimerOutMs: fmt.Sprint(message.TimerOut(due, 1000)),
			message.PropRealTopic: "rmq_sys_REVIVE_LOG_C", message.PropRealQueueID: "0",
		} {
			got, _ := message.Property(m.Properties, name)
			want(t, name, string(got), value)
		}
	}
}

// More check points of one moment than may wait do not keep each other, and what is acknowledged is found all the same.
func TestService_Revive_Many(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.MaxLeases = 0 })
	d.revive.queues[0].most = 2
	d.send("T", 0, "a", "b", "c", "d", "e", "f")
	for range 6 {
		if list := d.pop("maxMsgNums=1"); list[0].body == "a" || list[0].body == "d" {
			want(t, "ack", d.ack(list[0]).Code, int32(protocol.Success))
		}
	}
	d.pass(15 * time.Second)
	want(t, "again", bodies(d.pop()), "b c e f")
	want(t, "waiting", len(d.revive.queues[0].waiting), 0)
}

// sets takes records as other sets do: as many as it has room for. With end, the duty ends while it is at work.
type sets struct {
	room   int
	end    context.CancelFunc
	staged []string
	took   []string
}

func (c *sets) Stage(_ *consumequeue.Queue, m *message.Draft, _ int64) {
	c.staged = append(c.staged, string(m.Body))
}

func (c *sets) Commit(ctx context.Context, _ time.Time) (n int, err error) {
	if c.end != nil {
		c.end()
	}
	for _, body := range c.staged {
		if err = ctx.Err(); err == nil && c.room == 0 {
			err = errors.New("no room")
		}
		if err != nil {
			break
		}
		c.room--
		n++
		c.took = append(c.took, body)
	}
	c.staged = nil
	return n, err
}

// What a slave that acts for its master brings to other sets goes by check points, one right after the other: of one that they take
// in part the rest comes later, and one that is begun when the duty ends is brought wholly. How far that came is what the master
// takes over.
func TestService_Revive_Acting(t *testing.T) {
	slave, c := false, new(sets)
	d := newDesk(t, func(cfg *Config) {
		cfg.MaxLeases, cfg.Slave, cfg.Acting = 0, func() bool { return slave }, func() bool { return slave }
	})
	d.send("T", 0, "a", "b", "c", "d", "e", "f", "g", "h")
	for range 4 {
		d.pop("maxMsgNums=2")
	}
	d.now = start.Add(20 * time.Second)
	d.timer()
	slave = true
	d.revive = d.svc.newReviver()
	d.revive.courier = c
	ctx, cancel := context.WithCancel(t.Context())
	follow := func(room int, more bool, took string, committed int64) {
		t.Helper()
		c.room = room
		want(t, "more", d.revive.follow(ctx, d.revive.queues[0], d.now), more)
		want(t, "brought", strings.Join(c.took, " "), took)
		want(t, "committed", d.committed(topic.ReviveGroup, topic.ReviveTopic("C"), 0), committed)
	}
	follow(9, true, "a b", 0)
	follow(1, false, "a b c", 0)
	follow(9, true, "a b c d", 1)
	c.end = cancel
	follow(9, true, "a b c d e f", 2)
	follow(9, false, "a b c d e f", 2)
}

// A pop that waits at a slave which acts for its master is looked at while that acts, and not afterwards.
func TestService_Answer_Acting(t *testing.T) {
	acting := true
	d := newDesk(t, func(cfg *Config) {
		cfg.Slave, cfg.Acting, cfg.Taking = func() bool { return true }, func() bool { return acting }, func() bool { return false }
	})
	waits := func() int32 {
		want(t, "an answer at once", d.ask("pollTime=60000"), (*protocol.Command)(nil))
		return d.opaque
	}
	opaque := waits()
	d.send("T", 0, "a")
	a := d.answer(opaque)
	if a == nil {
		t.Fatal("it waits on")
	}
	want(t, "acting", bodies(d.read(a)), "a")
	opaque = waits()
	acting = false
	d.send("T", 0, "b")
	want(t, "not acting any more", d.answer(opaque), (*protocol.Command)(nil))
}

// What was popped of another set, and whose check point an acting slave there has brought here, is fetched from there: that message,
// and no other that stands where it was. While the set does not answer it is asked once a round, and the messages wait.
func TestService_Revive_Foreign(t *testing.T) {
	answers, asked := false, 0
	record := func(offset int64, body string) []byte {
		b := message.AppendRecord(nil, &message.Draft{Topic: []byte("T"), Body: []byte(body)})
		message.Patch(b, offset, 0, start.UnixMilli())
		return b
	}
	d := newDesk(t, func(cfg *Config) {
		cfg.Fetch = func(_ context.Context, set, name string, queue int32, offset int64) ([]byte, error) {
			switch asked++; {
			case set != "broker-b" || name != "T" || queue != 3:
				t.Errorf("asked %s for queue %d of %s", set, queue, name)
			case !answers:
				return nil, errors.New("no answer")
			case offset == 8: // it is gone, and so is what follows it
				return record(12, "other"), nil
			case offset == 9:
				return nil, nil
			}
			return record(offset, fmt.Sprint("m", offset)), nil
		}
	})
	ck := Checkpoint{Broker: "broker-b", Group: "g", Topic: "T", QueueID: 3, Num: 4, Start: 7, PopMs: start.UnixMilli(), InvisibleMs: 1000, Diffs: []int32{0, 1, 2, 3}}
	c := &courier{d: d}
	rec := newJournal(&d.svc.cfg).checkpoint(&ck, 0, start.Add(time.Second).UnixMilli())
	c.Stage(rec.queue, &rec.draft, rec.tag)
	if _, err := c.Commit(context.Background(), d.now); err != nil {
		t.Fatal(err)
	}
	d.pass(10 * time.Second)
	want(t, "asked", asked, 1)
	answers = true
	d.pass(20 * time.Second)
	want(t, "again", bodies(d.pop()), "m7 m10")
}

package broker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// popped is what a pop gave: bodies and handles.
func (h *house) popped(name, group string, invisible time.Duration) (all, handles []string) {
	h.t.Helper()
	r := h.call(protocol.PopMessage, "", "consumerGroup="+group, "topic="+name, "queueId=-1", "maxMsgNums=32",
		fmt.Sprintf("invisibleTime=%d", invisible.Milliseconds()), "pollTime=0", fmt.Sprintf("bornTime=%d", time.Now().UnixMilli()), "initMode=0")
	if r.Code != protocol.Success {
		return nil, nil
	}
	for rest := r.Body; len(rest) > 0; {
		m, err := message.Decode(rest)
		if err != nil {
			h.t.Fatal(err)
		}
		rest = rest[m.Size:]
		all = append(all, string(m.Body))
		start, retry := "", byte('0')
		for _, e := range strings.Split(field(r, "startOffsetInfo"), ";") {
			if p := strings.Split(e, " "); len(p) == 3 && p[1] == strconv.Itoa(int(m.QueueID)) {
				start, retry = p[2], p[0][0]
			}
		}
		handles = append(handles, fmt.Sprintf("%s %s %s %s %c %s %d %d", start, field(r, "popTime"), field(r, "invisibleTime"), field(r, "reviveQid"), retry, h.broker.id.name, m.QueueID, m.QueueOffset))
	}
	return all, handles
}

func (h *house) ack(name, group, handle string) *protocol.Command {
	h.t.Helper()
	p := strings.Split(handle, " ")
	return h.call(protocol.AckMessage, "", "consumerGroup="+group, "topic="+name, "queueId="+p[6], "offset="+p[7], "extraInfo="+handle)
}

// stored are the bodies of a topic that a broker holds.
func (h *house) stored(name string) (all []string) {
	for _, s := range h.held(name) {
		body, _, _ := strings.Cut(s, " ")
		all = append(all, body)
	}
	slices.Sort(all)
	return all
}

func wantBodies(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// A slave that acts for its master does what it was to do, by way of another set: delayed and timed messages, half messages,
// messages that were popped and not acknowledged. The master that comes back does none of that again, and goes on with the rest.
func TestSet_ActingSlave(t *testing.T) {
	same := []string{"messageDelayLevel=12s 32s", "defaultTopicQueueNums=1", "transactionCheckInterval=500", "transactionTimeOut=1000", "reviveInterval=200", "timerPrecisionMs=1000", "enableRemoteEscape=true", "reviveQueueNum=2"}
	p := newSet(t, append([]string{"enableSlaveActingMaster=true", "totalReplicas=2", "brokerHeartbeatInterval=100"}, same...)...)
	master := p.start(0, "brokerRole=ASYNC_MASTER")
	slave := p.start(1)
	other := open(t, t.TempDir(), append([]string{"brokerName=b", "namesrvAddr=" + p.namesrv}, same...)...)
	for _, h := range []*house{master, other} {
		if err := h.broker.topics.Put(topic.NewConfig("T", 1), topic.NewConfig("P", 1)); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	at := func(d time.Duration) string { return strconv.FormatInt(began.Add(d).UnixMilli(), 10) }
	send := func(name, body string, props ...string) {
		t.Helper()
		text, flag := "", "0"
		for i := 0; i < len(props); i += 2 {
			text += props[i] + "\x01" + props[i+1] + "\x02"
			if props[i] == message.PropTransactionPrepared {
				flag = "4"
			}
		}
		if r := master.call(protocol.SendMessageV2, body, "a=pg", "b="+name, "c=TBW102", "d=1", "e=0", "f="+flag, "g="+at(0), "h=0", "i="+text, "j=0", "k=false", "m=false"); r.Code != protocol.Success {
			t.Fatalf("send of %s: code %d %q", body, r.Code, r.Remark)
		}
	}
	send("T", "delayed", "UNIQ_KEY", "D1", "DELAY", "1")
	send("T", "delayed-long", "UNIQ_KEY", "D2", "DELAY", "2")
	send("T", "timed", "UNIQ_KEY", "T1", "TIMER_DELIVER_MS", at(12*time.Second))
	send("T", "timed-long", "UNIQ_KEY", "T2", "TIMER_DELIVER_MS", at(32*time.Second))
	send("T", "half", "UNIQ_KEY", "H1", "TRAN_MSG", "true", "PGROUP", "pg")
	send("P", "p1")
	send("P", "p2")
	slave.until("a group", func() bool { master.popped("P", "G", time.Minute); return master.broker.groups.Get([]byte("G")) != nil })
	send("P", "p3")
	send("P", "p4")
	got, handles := master.popped("P", "G", 8*time.Second)
	if len(got) == 0 {
		t.Fatal("nothing popped")
	}
	if r := master.ack("P", "G", handles[0]); r.Code != protocol.Success {
		t.Fatal(r.Code, r.Remark)
	}
	open := got[1:]
	send("P", "p5")
	send("P", "p6")
	slave.until("the log at the slave", func() bool {
		return slave.broker.store.MaxPhysical() == master.broker.store.MaxPhysical() && slave.broker.groups.Get([]byte("G")) != nil &&
			slave.offset("G", "P") == master.offset("G", "P")
	})
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	slave.until("the duty", slave.broker.onDuty.Load)
	end := slave.broker.store.MaxPhysical()

	// It lends, too. One of these is acknowledged, the other comes again.
	var lent []string
	slave.until("a pop", func() bool { lent, handles = slave.popped("P", "G", 3*time.Second); return len(lent) == 2 })
	if r := slave.ack("P", "G", handles[0]); r.Code != protocol.Success {
		t.Fatal(r.Code, r.Remark)
	}
	open = append(open, lent[1])
	other.until("what is due", func() bool {
		return len(other.stored("T")) >= 2 && len(other.stored(topic.TransHalf)) >= 1 && len(other.stored("%RETRY%G_P")) >= len(open)
	})
	if got := slave.broker.store.MaxPhysical(); got != end {
		t.Errorf("the slave's log grew from %d to %d", end, got)
	}
	wantBodies(t, "delivered", other.stored("T"), "delayed", "timed")
	wantBodies(t, "popped again", other.stored("%RETRY%G_P"), open...)

	// Its master comes back.
	master = p.start(0, "brokerRole=ASYNC_MASTER")
	master.until("the end of the duty", func() bool { return !slave.broker.onDuty.Load() })
	time.Sleep(6 * time.Second) // whatever the master would do again, it does now
	wantBodies(t, "delivered by the other set", other.stored("T"), "delayed", "timed")
	wantBodies(t, "popped again in the other set", other.stored("%RETRY%G_P"), open...)
	wantBodies(t, "delivered by the master", master.stored("T"))
	wantBodies(t, "popped again by the master", master.stored("%RETRY%G_P"))
	if got, _ := master.popped("P", "G", time.Second); len(got) > 0 {
		t.Errorf("the master lends %q once more", got)
	}
	if r := master.call(protocol.EndTransaction, "", "producerGroup=pg", "tranStateTableOffset=0", "commitLogOffset=0", "commitOrRollback=8", "msgId=H1"); r.Code == protocol.Success {
		t.Error("the master commits what the other set has")
	}
	master.until("what was not due yet", func() bool { return len(master.stored("T")) == 2 })
	wantBodies(t, "delivered by the master", master.stored("T"), "delayed-long", "timed-long")
	wantBodies(t, "delivered by the other set", other.stored("T"), "delayed", "timed")
}

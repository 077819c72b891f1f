//go:build e2e

package e2e

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestActingSlave kills a master that has delayed, timed, half and popped messages. Its slave does what the master was to do, by
// way of another set, and gives that back: a stock consumer gets each message once.
func TestActingSlave(t *testing.T) {
	if underTest() != ours {
		t.Skip("Java's acting slave parts check points from their acknowledgements, and goes on while its master takes over")
	}
	names := newNamesrv(t, underTest(), "namesrv", "supportActingMaster=true")
	keys := []string{"enableSlaveActingMaster=true", "enableRemoteEscape=true", "brokerIP2=127.0.0.1", "messageDelayLevel=20s 75s",
		"transactionCheckInterval=1000", "transactionTimeOut=12000", "reviveInterval=500", "brokerHeartbeatInterval=200", "timerPrecisionMs=1000"}
	set := append(keys, "totalReplicas=2")
	master := newBroker(t, underTest(), "broker-a", names.addr, set...)
	slave := slaveOf(t, underTest(), master, names.addr, set...)
	other := newBroker(t, underTest(), "broker-b", names.addr, keys...)
	c := &cluster{namesrv: names, brokers: []*server{master, other}}
	t.Cleanup(c.kill)
	for _, s := range []*server{names, master, slave, other} {
		if err := s.serve(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.kill)
	}
	const topic, popped = "Acting", "ActingPopped"
	c.createTopic(t, topic, 1)
	p := newPopper(t, c, popped, 1)
	java := newPeer(t, peerKinds[0], names.addr)
	var want []string
	for i := range 4 { // on whichever of the brokers
		java.do(t, "op", "answer", "keys", "half-"+strconv.Itoa(i), "outcome", "COMMIT_MESSAGE")
		want = append(want, "half-"+strconv.Itoa(i))
	}
	subscribe(t, java, "one", topic)
	began := time.Now()
	send := func(key string, props string) {
		t.Helper()
		f := sendFields(topic, 0)
		f["properties"] = "KEYS\x01" + key + "\x02UNIQ_KEY\x01U" + key + "\x02" + props
		dial(t, master.addr).must(t, codeSend, f, []byte(key))
		want = append(want, key)
	}
	at := func(d time.Duration) string {
		return "TIMER_DELIVER_MS\x01" + strconv.FormatInt(began.Add(d).UnixMilli(), 10) + "\x02"
	}
	for i := range 3 {
		n := strconv.Itoa(i)
		send("delayed-"+n, "DELAY\x011\x02")
		send("delayed-long-"+n, "DELAY\x012\x02")
		send("timed-"+n, at(20*time.Second+time.Duration(i)*300*time.Millisecond))
		send("timed-long-"+n, at(75*time.Second+time.Duration(i)*300*time.Millisecond))
	}
	java.do(t, "op", "transact", "name", "tx", "group", "P-"+topic, "topic", topic, "tags", "t", "keys", "half", "outcome", "UNKNOW", "count", "4")
	p.sendAll(t, "a", "b", "c", "d")
	lease := p.pop(t, "invisibleTime", "18000", "maxMsgNums", "2")
	if bodiesOf(lease) != "a b" {
		t.Fatalf("popped %q", bodiesOf(lease))
	}
	p.ack(t, lease[0])
	time.Sleep(500 * time.Millisecond) // the slave has the log
	eventually(t, 15*time.Second, "the slave knows the group's offset", func() bool {
		return (&cluster{namesrv: names, brokers: []*server{slave}}).committed(t, p.group, popped, 1) == 2
	})
	master.kill()

	// The slave lends: one is acknowledged, the other comes again.
	away := &popper{wire: dial(t, slave.addr), group: p.group, topic: popped}
	var more []lent
	eventually(t, 20*time.Second, "the slave lends", func() bool {
		a, err := away.call(codePop, away.fields("invisibleTime", "8000"), nil)
		if err == nil && a.code == 0 {
			more = append(more, away.read(t, a)...)
		}
		return len(more) >= 2
	})
	if bodiesOf(more) != "c d" {
		t.Fatalf("the slave has lent %q", bodiesOf(more))
	}
	away.ack(t, more[0])
	there := &popper{wire: dial(t, other.addr), group: p.group, topic: popped}
	again := there.until(t, time.Minute, "b", string(more[1].body))
	for _, l := range again {
		there.ack(t, l)
	}

	got := func() (list []string) {
		for _, m := range java.got("one", topic) {
			list = append(list, m.keys)
		}
		slices.Sort(list)
		return list
	}
	eventually(t, time.Minute, "what was due has come by way of the other set", func() bool { return len(got()) >= 10 })
	if err := master.serve(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "all is there", func() bool { return len(got()) >= len(want) })
	time.Sleep(5 * time.Second) // nothing comes twice
	slices.Sort(want)
	if list := got(); !slices.Equal(list, want) {
		t.Errorf("consumed %q, want %q", list, want)
	}
	back := &popper{wire: dial(t, master.addr), group: p.group, topic: popped}
	if list := append(back.pop(t), there.pop(t)...); bodiesOf(list) != "" {
		t.Errorf("popped once more: %q", bodiesOf(list))
	}
}

package lite

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/protocol"
)

// A client gets the messages of what it subscribes to, in order and of each lite topic only so many until they are acknowledged.
func TestService_Pop(t *testing.T) {
	d := newDesk(t)
	d.send("a=a0", "b=b0")
	want(t, "nobody", d.pop("c", "g"), "210")
	want(t, "subscribed", d.control(protocol.LitePartialAdd, "c", "g", "a", "x").Code, 0)
	want(t, "what was there", d.pop("c", "g"), "a0")
	d.send("a=a1", "b=b1", "x=x0", "x=x1")
	want(t, "not a", d.pop("c", "g"), "x0 x1")
	want(t, "all leased", d.pop("c", "g"), "210")
	want(t, "acknowledged", d.ack("g", "a", 0), 0)
	want(t, "the next", d.pop("c", "g"), "a1")
	want(t, "the second first", d.ack("g", "x", 1), 0)
	want(t, "again", d.ack("g", "x", 1), 0)
	want(t, "x0 is still out", d.pop("c", "g"), "210")
	d.pass(30 * time.Second)
	want(t, "nothing visible", d.pop("c", "g"), "210")
	d.pass(30 * time.Second)
	want(t, "not acknowledged", sorted(d.pop("c", "g")), "a1*1 x0*1 x1*1")
	offset, ok := d.offsets.Get([]byte("g"), []byte("%LMQ%$P$a"), 0)
	want(t, "committed", fmt.Sprint(offset, ok), "1 true")
	want(t, "another group", d.control(protocol.LiteCompleteAdd, "d", "h", "a", "b").Code, 0)
	want(t, "all of it", sorted(d.pop("d", "h")), "a0 a1 b0 b1")
}

// A request holds at most so many messages; what is left comes with the next ones.
func TestService_Pop_Max(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LitePartialAdd, "c", "g", "a", "b")
	d.send("a=a0", "a=a1", "a=a2", "b=b0")
	want(t, "two", d.pop("c", "g", "maxMsgNum=2"), "a0 a1")
	want(t, "the rest", d.pop("c", "g"), "b0")
	want(t, "one", d.ack("g", "a", 0), 0)
	want(t, "a1 is out", d.pop("c", "g"), "210")
	want(t, "two", d.ack("g", "a", 1), 0)
	want(t, "the last", d.pop("c", "g"), "a2")
}

// A held request is answered when a message comes, when a lease ends, or when its time is up.
func TestService_Hold(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LitePartialAdd, "c", "g", "a")
	hold := func() int32 {
		t.Helper()
		want(t, "hold", d.pop("c", "g", "pollTime=30000"), "held")
		return d.opaque
	}
	k := hold()
	d.send("a=a0")
	want(t, "a message", d.print(d.answer(k)), "a0")
	k = hold()
	d.pass(29 * time.Second)
	want(t, "still", d.print(d.answer(k)), "held")
	d.pass(2 * time.Second)
	want(t, "time is up", d.print(d.answer(k)), "210")
	k = hold()
	d.pass(29 * time.Second)
	want(t, "a lease", d.print(d.answer(k)), "a0*1")
	k = hold()
	d.send("a=a1")
	want(t, "it waits", d.print(d.answer(k)), "held")
	d.ack("g", "a", 0)
	want(t, "acknowledged", d.print(d.answer(k)), "a1")

	first, second, third := hold(), hold(), hold()
	want(t, "too many", d.pop("c", "g", "pollTime=30000"), "209")
	d.ack("g", "a", 1)
	d.send("a=a2")
	want(t, "the first", d.print(d.answer(first))+d.print(d.answer(second))+d.print(d.answer(third)), "a2heldheld")

	ask := func() *protocol.Command {
		return d.call(protocol.Notification, nil, "consumerGroup=g", "topic=P", "clientId=c2", "isLiteConsumer=true", "pollTime=30000", "queueId=-1", fmt.Sprintf("bornTime=%d", d.now.UnixMilli()))
	}
	want(t, "nothing for it", ask() == nil, true)
	k = d.opaque
	d.control(protocol.LitePartialAdd, "c2", "g", "n")
	d.send("n=n0")
	has, _ := d.answer(k).Get("hasMsg")
	want(t, "notified", string(has), "true")
	want(t, "and popped", d.pop("c2", "g"), "n0")
	want(t, "nothing for it", ask() == nil, true)
	k = d.opaque
	d.send("n=n1")
	want(t, "acknowledged", d.ack("g", "n", 0), 0)
	has, _ = d.answer(k).Get("hasMsg")
	want(t, "the next", string(has), "true")
	want(t, "and popped", d.pop("c2", "g"), "n1")
	want(t, "nothing for it", ask() == nil, true)
	want(t, "acknowledged", d.ack("g", "n", 1), 0)
	want(t, "nothing more", d.answer(d.opaque-1) == nil, true)
}

// A queue that somebody else reads does not keep a client from its others, and its event comes after that read.
func TestService_Pop_Busy(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LitePartialAdd, "c", "g", "a", "b")
	d.send("a=a0", "b=b0")
	busy := names("a")[0]
	d.svc.on(func(b *board) { b.lines.begin(busy, "g") })
	want(t, "another one", d.pop("c", "g"), "b0")
	d.svc.end(d.turn, busy, "g")
	want(t, "then this one", d.pop("c", "g"), "a0")
}

// An answer that is large takes no further lite topic: what is left comes with the next.
func TestService_Pop_Large(t *testing.T) {
	d := newDesk(t)
	large := strings.Repeat("x", 600_000)
	d.control(protocol.LitePartialAdd, "c", "g", "a", "b", "e")
	d.send("a="+large, "b="+large, "e="+large)
	want(t, "two", len(d.pop("c", "g")), 2*len(large)+1)
	want(t, "the third", len(d.pop("c", "g")), len(large))
}

// Run is woken for a lease that ends before it would look, and for no other.
func TestService_Sleep(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LitePartialAdd, "c", "g", "a", "b")
	rung := func(what string, fn func(), yes int) {
		t.Helper()
		fn()
		want(t, what, len(d.svc.bell), yes)
		for len(d.svc.bell) > 0 {
			<-d.svc.bell
		}
	}
	want(t, "nothing is popped", d.svc.sleep(d.now, 10*time.Second), "10s")
	d.send("a=a0", "a=a1", "b=b0")
	change := func(offset int, ms string) {
		d.call(protocol.ChangeMessageInvisibletime, nil, append(d.handle("g", "a", offset), "invisibleTime="+ms)...)
	}
	rung("a minute", func() { d.pop("c", "g", "maxMsgNum=2") }, 0)
	rung("5 s", func() { d.pop("c", "g", "invisibleTime=5000") }, 1)
	want(t, "until then", d.svc.sleep(d.now, 10*time.Second), "5s")
	rung("the first message shorter", func() { change(0, "3000") }, 0)
	rung("the second too", func() { change(1, "4000") }, 1)
	want(t, "until then", d.svc.sleep(d.now, 10*time.Second), "4s")
	rung("the longer one is consumed", func() { d.ack("g", "a", 1) }, 1)
	want(t, "until then", d.svc.sleep(d.now, 10*time.Second), "3s")
	rung("the other one", func() { d.ack("g", "a", 0) }, 0)
	want(t, "until b0 comes", d.svc.sleep(d.now, 10*time.Second), "5s")
}

// A held request is answered when a lease ends, though Run slept when it began.
func TestService_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, func(c *Config) { c.Now = time.Now })
		d.now = time.Now()
		d.turn.Now = d.now
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.svc.Run(ctx) }()
		synctest.Wait()
		d.control(protocol.LitePartialAdd, "c", "g", "a")
		d.send("a=a0")
		want(t, "popped", d.pop("c", "g", "invisibleTime=3000"), "a0")
		want(t, "held", d.pop("c", "g", "pollTime=8000"), "held")
		time.Sleep(3*time.Second - time.Millisecond)
		synctest.Wait()
		want(t, "too early", d.print(d.answer(d.opaque)), "held")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		want(t, "in time", d.print(d.answer(d.opaque)), "a0*1")
		cancel()
		want(t, "no error", <-ended, nil)
	})
}

// Clients of a group share a lite topic: one of them at a time has it.
func TestService_Shared(t *testing.T) {
	d := newDesk(t)
	d.svc.board.roll = func(int) int { return 0 } // c1 comes first
	d.control(protocol.LitePartialAdd, "c1", "g", "a")
	d.control(protocol.LitePartialAdd, "c2", "g", "a")
	d.send("a=a0")
	want(t, "one has it", d.pop("c1", "g")+d.pop("c2", "g"), "a0210")
	for range 5 {
		d.pass(20 * time.Second)
		if got := d.pop("c2", "g"); got != "210" { // the other one does not ask any more
			want(t, "the other", got, "a0*1")
			d.control(protocol.LiteCompleteRemove, "c1", "g")
			d.pass(70 * time.Second)
			want(t, "left alone", d.pop("c2", "g"), "a0*2")
			return
		}
	}
	t.Error("the other one did not get it")
}

// In an exclusive group the last one to subscribe has a lite topic alone, and the other one is told; its offset may begin anew.
func TestService_Exclusive(t *testing.T) {
	d := newDesk(t)
	d.group("g", "lite.bind.topic=P", "lite.sub.model=Exclusive", "lite.sub.reset.offset.exclusive=true")
	d.control(protocol.LitePartialAdd, "c1", "g", "a")
	d.send("a=a0", "a=a1")
	want(t, "first", d.pop("c1", "g"), "a0 a1")
	d.ack("g", "a", 0)
	d.control(protocol.LitePartialAdd, "c2", "g", "a")
	want(t, "told", len(d.peer.sent), 1)
	c := d.peer.sent[0]
	lite, _ := c.Get("liteTopic")
	group, _ := c.Get("consumerGroup")
	client, _ := c.Get("clientId")
	want(t, "what", say(c.Code, c.IsOneway(), string(lite), string(group), string(client)), "200073 true a g c1")
	want(t, "from the start", d.pop("c2", "g"), "a0 a1")
	want(t, "no more", d.pop("c1", "g"), "210")
	d.control(protocol.LiteCompleteAdd, "c1", "g", "a")
	want(t, "told again", len(d.peer.sent), 2)
	d.ack("g", "a", 0)
	d.ack("g", "a", 1)
	d.send("a=a2")
	want(t, "it does not get it", d.pop("c1", "g")+d.pop("c2", "g"), "210a2")

	for i := range 9 { // c2 takes what c1 has, again and again, and c1 never says that it knows
		name := fmt.Sprint(i)
		d.control(protocol.LitePartialAdd, "c1", "g", name)
		d.control(protocol.LitePartialAdd, "c2", "g", name)
		d.control(protocol.LitePartialRemove, "c2", "g", name)
	}
	b := d.svc.board
	want(t, "what is lost is bounded", fmt.Sprint(b.refs, b.losses, len(b.clients["c1"].lost)), "2 8 8")
	want(t, "too many", d.control(protocol.LitePartialAdd, "c1", "g", "x").Code, protocol.LiteSubscriptionQuotaExceeded)
	want(t, "it takes one back", d.control(protocol.LitePartialAdd, "c1", "g", "0").Code, 0)
	want(t, "it knows", fmt.Sprint(d.control(protocol.LiteCompleteAdd, "c1", "g", "1", "x").Code, b.refs, b.losses), "0 2 1")
	d.control(protocol.LiteCompleteRemove, "c1", "g")
	want(t, "it leaves", fmt.Sprint(b.refs, b.losses), "1 0")
	d.control(protocol.LitePartialAdd, "c1", "g", "y")
	d.control(protocol.LitePartialAdd, "c2", "g", "y")
	offset, ok := d.offsets.Get([]byte("g"), []byte(names("y")[0]), 0)
	want(t, "taken before it has messages", fmt.Sprint(offset, ok, len(b.early)), "0 true 1")
}

// Where a group begins can be said when it subscribes, and it may begin anew after it no longer did.
func TestService_Offsets(t *testing.T) {
	d := newDesk(t)
	d.send("a=a0", "a=a1", "a=a2")
	from := func(kind protocol.OffsetKind, value int64) string {
		t.Helper()
		d.controls(&protocol.LiteSubscription{Action: protocol.LitePartialAdd, ClientID: "c", Group: "g", Topic: "P", LiteTopics: []string{"a"}, OffsetOption: &protocol.OffsetOption{Type: kind, Value: value}})
		got := d.pop("c", "g")
		for i := range 3 {
			d.ack("g", "a", i)
		}
		return got
	}
	want(t, "tail of nothing", from(protocol.OffsetTail, 1), "a0 a1 a2")
	want(t, "tail", from(protocol.OffsetTail, 1), "a2")
	want(t, "exact", from(protocol.OffsetExact, 1), "a1 a2")
	want(t, "min", from(protocol.OffsetPolicy, protocol.PolicyMin), "a0 a1 a2")
	want(t, "max", from(protocol.OffsetPolicy, protocol.PolicyMax), "210")
	want(t, "last", from(protocol.OffsetPolicy, protocol.PolicyLast), "210")
	want(t, "time", from(protocol.OffsetTimestamp, 1), "210")
	want(t, "beyond", from(protocol.OffsetExact, 77), "210")
	want(t, "negative", from(protocol.OffsetExact, -5), "210")
	d.group("g", "lite.bind.topic=P", "lite.sub.reset.offset.unsubscribe=true")
	d.control(protocol.LitePartialAdd, "c", "g", "a")
	d.control(protocol.LitePartialRemove, "c", "g", "a")
	d.control(protocol.LitePartialAdd, "c", "g", "a")
	want(t, "anew", d.pop("c", "g"), "a0 a1 a2")

	n := d.offsets.Len()
	early := func(client string, lite ...string) {
		d.controls(&protocol.LiteSubscription{Action: protocol.LitePartialAdd, ClientID: client, Group: "h", Topic: "P", LiteTopics: lite, OffsetOption: &protocol.OffsetOption{Type: protocol.OffsetExact, Value: 1}})
	}
	for i := range 9 {
		early("e", fmt.Sprint("e", i), fmt.Sprint("f", i))
		d.control(protocol.LitePartialRemove, "e", "h", fmt.Sprint("e", i), fmt.Sprint("f", i))
		early("e", fmt.Sprint("g", i))
		d.control([]protocol.LiteAction{protocol.LiteCompleteAdd, protocol.LiteCompleteRemove}[i%2], "e", "h")
	}
	want(t, "offsets of lite topics that never were", d.offsets.Len(), n)
	early("e", "e")
	early("f", "e")
	d.control(protocol.LitePartialRemove, "f", "h", "e")
	d.send("e=e0", "e=e1")
	want(t, "one that was to come", d.pop("e", "h"), "e1")
	d.control(protocol.LiteCompleteRemove, "e", "h")
	want(t, "it is there", d.offsets.Len(), n+1)
}

// A wildcard group gets all lite topics of its parent, those that come later too.
func TestService_Wildcard(t *testing.T) {
	d := newDesk(t)
	d.group("w", "lite.bind.topic=P", "lite.sub.wildcard=true")
	d.send("a=a0", "b=b0")
	want(t, "by name", d.control(protocol.LitePartialAdd, "c", "w", "a").Code, protocol.IllegalOperation)
	want(t, "all", d.control(protocol.LiteCompleteAdd, "c", "w").Code, 0)
	want(t, "what was there", sorted(d.pop("c", "w")), "a0 b0")
	d.send("z=z0")
	want(t, "a new one", d.pop("c", "w"), "z0")
	d.control(protocol.LiteCompleteRemove, "c", "w")
	d.send("z=z1")
	want(t, "nobody", d.pop("c", "w"), "210")
}

// A message is invisible longer or shorter, or its whole pop is handed back, which does not count.
func TestService_Change(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LitePartialAdd, "c", "g", "a")
	d.send("a=a0", "a=a1")
	want(t, "popped", d.pop("c", "g"), "a0 a1")
	change := func(offset int, fields ...string) string {
		t.Helper()
		a := d.call(protocol.ChangeMessageInvisibletime, nil, append(d.handle("g", "a", offset), fields...)...)
		invisible, _ := a.Get("invisibleTime")
		revive, _ := a.Get("reviveQid")
		return fmt.Sprint(a.Code, " ", string(invisible), " ", string(revive))
	}
	want(t, "shorter", change(0, "invisibleTime=1000"), "0 1000 999")
	want(t, "shorter", change(1, "invisibleTime=2000"), "0 2000 999")
	d.pass(2 * time.Second)
	want(t, "again", d.pop("c", "g"), "a0*1 a1*1")
	want(t, "suspended", change(0, "invisibleTime=500", "suspend=true"), "0 500 999")
	d.pass(500 * time.Millisecond)
	want(t, "not counted", d.pop("c", "g"), "a0*1 a1*1")
	d.ack("g", "a", 0)
	want(t, "consumed", change(0, "invisibleTime=500"), "0 0 0")
	want(t, "beyond", change(9, "invisibleTime=500"), fmt.Sprint(protocol.NoMessage, "  "))
	want(t, "below 0", change(1, "invisibleTime=-1"), "1  ")
}

// What lasts are offsets: after the end of the process clients subscribe again, and what was not acknowledged comes again.
func TestService_Restart(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LitePartialAdd, "c", "g", "a")
	d.send("a=a0", "a=a1", "a=a2")
	d.pop("c", "g")
	d.ack("g", "a", 0)
	d.restart()
	want(t, "nothing is known", d.pop("c", "g"), "210")
	want(t, "of a lite topic that is not there", fmt.Sprint(d.ack("g", "n", -1), d.ack("g", "n", 0), d.offsets.Len()), fmt.Sprint(protocol.MessageIllegal, protocol.MessageIllegal, 1))
	want(t, "a later one", d.ack("g", "a", 2), protocol.MessageIllegal)
	want(t, "the next", d.ack("g", "a", 1), 0)
	d.control(protocol.LiteCompleteAdd, "c", "g", "a")
	want(t, "the rest", d.pop("c", "g"), "a2")
	want(t, "the last", d.ack("g", "a", 2), 0)
	d.restart()
	want(t, "behind the last", d.ack("g", "a", 3), protocol.MessageIllegal)
	d.send("a=a3")
	d.control(protocol.LiteCompleteAdd, "c", "g", "a")
	want(t, "it is not skipped", d.pop("c", "g"), "a3")
}

// Lite topics of another broker are not subscribed to here, unless they have messages here.
func TestService_Shards(t *testing.T) {
	d := newDesk(t)
	d.send("old=x")
	d.shards = []string{"broker-b"}
	d.control(protocol.LiteCompleteAdd, "c", "g", "old", "new")
	a := d.call(protocol.GetLiteClientInfo, nil, "parentTopic=P", "group=g", "clientId=c")
	want(t, "client", string(a.Body), fmt.Sprintf(`{"clientId":"c","group":"g","lastAccessTime":%d,"lastConsumeTime":0,"liteTopicCount":1,"liteTopicSet":["%%LMQ%%$P$old"],"parentTopic":"P"}`, d.now.UnixMilli()))
	a = d.call(protocol.GetLiteTopicInfo, nil, "parentTopic=P", "liteTopic=new")
	want(t, "topic", string(a.Body), `{"liteTopic":"new","parentTopic":"P","shardingToBroker":false,"topicOffset":{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}}`)
}

// An expired lite topic goes, with the offsets in it and the subscriptions to it; so do all of a parent that is deleted.
func TestService_Expire(t *testing.T) {
	d := newDesk(t)
	d.topics["P"].Attributes["lite.topic.expiration"] = "20"
	d.control(protocol.LiteCompleteAdd, "c", "g", "a", "b")
	d.send("a=a0", "b=b0")
	d.pop("c", "g")
	d.pass(16 * time.Minute)
	d.send("b=b1")
	expire := func() string {
		t.Helper()
		if err := d.svc.Expire(d.now); err != nil {
			t.Fatal(err)
		}
		_, a := d.offsets.Get([]byte("g"), []byte("%LMQ%$P$a"), 0)
		return fmt.Sprint(d.store.CountTopics("%LMQ%"), a)
	}
	want(t, "young", expire(), "2 true")
	d.pass(5 * time.Minute)
	want(t, "a", expire(), "1 false")
	d.send("a=again")
	d.control(protocol.LiteCompleteAdd, "c", "g", "a")
	want(t, "a new one of that name", d.pop("c", "g"), "again")
	d.send("other=x")
	if err := d.svc.Deleting("T", "P"); err != nil {
		t.Fatal(err)
	}
	want(t, "all", d.store.CountTopics("%LMQ%"), 0)
	want(t, "known", fmt.Sprint(d.svc.board.refs, d.svc.board.lines.n), "0 0")
}

// What tools are shown.
func TestService_Info(t *testing.T) {
	d := newDesk(t)
	d.control(protocol.LiteCompleteAdd, "c", "g", "a", "b")
	d.send("a=a0", "a=a1", "b=b0")
	d.pop("c", "g")
	d.ack("g", "a", 0)
	for _, c := range []struct {
		code   int32
		fields string
		want   string
	}{
		{protocol.GetBrokerLiteInfo, "", `{"cqTableSize":3,"currentLmqNum":2,"eventMapSize":1,"groupMeta":{"P":["g","h"]},"liteSubscriptionCount":2,"maxLmqNum":20000,"offsetTableSize":2,"orderInfoCount":2,"storeType":"default","topicMeta":{"P":-1}}`},
		{protocol.GetParentTopicInfo, "topic=P", `{"groups":["g","h"],"liteTopicCount":2,"lmqNum":2,"topic":"P","ttl":-1}`},
		{protocol.GetLiteTopicInfo, "parentTopic=P liteTopic=a", `{"liteTopic":"a","parentTopic":"P","shardingToBroker":true,"subscriber":[{"clientId":"c","group":"g"}],"topicOffset":{"lastUpdateTimestamp":1700000000000,"maxOffset":2,"minOffset":0}}`},
		{protocol.GetLiteClientInfo, "parentTopic=P group=g clientId=x", `{"clientId":"x","group":"g","lastAccessTime":-1,"lastConsumeTime":0,"liteTopicCount":-1,"parentTopic":"P"}`},
		{protocol.GetLiteClientInfo, "parentTopic=P group=g clientId=c maxCount=0", `{"clientId":"c","group":"g","lastAccessTime":1700000000000,"lastConsumeTime":0,"liteTopicCount":2,"parentTopic":"P"}`},
		{protocol.GetLiteGroupInfo, "group=g liteTopic=a", `{"earliestUnconsumedTimestamp":1700000000000,"group":"g","liteTopic":"a","liteTopicOffsetWrapper":{"brokerOffset":2,"consumerOffset":1,"lastTimestamp":1700000000000,"pullOffset":0},"parentTopic":"P","totalLagCount":1}`},
		{protocol.GetLiteGroupInfo, "group=g liteTopic=x", `{"earliestUnconsumedTimestamp":-1,"group":"g","liteTopic":"x","parentTopic":"P","totalLagCount":-1}`},
		{protocol.GetLiteGroupInfo, "group=g topK=1", `{"earliestUnconsumedTimestamp":1700000000000,"group":"g","lagCountTopK":[{"earliestUnconsumedTimestamp":1700000000000,"lagCount":1,"liteTopic":"a"}],"lagTimestampTopK":[{"earliestUnconsumedTimestamp":1700000000000,"lagCount":1,"liteTopic":"a"}],"parentTopic":"P","totalLagCount":2}`},
		{protocol.TriggerLiteDispatch, "group=g", ""},
	} {
		a := d.call(c.code, nil, strings.Fields(c.fields)...)
		want(t, fmt.Sprint(c.code, " ", c.fields), fmt.Sprint(a.Code, " ", string(a.Body)), "0 "+c.want)
	}
}

// Bad requests are answered with Java's codes and change nothing.
func TestService_Bad(t *testing.T) {
	d := newDesk(t)
	d.group("off", "lite.bind.topic=P")
	d.groups["off"].ConsumeEnable = false
	d.control(protocol.LitePartialAdd, "c", "g", "a")
	d.send("a=a0")
	d.pop("c", "g")
	ack := func(fields ...string) []string { return append(d.handle("g", "a", 0), fields...) }
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name   string
		code   int32
		fields []string
		want   int32
		remark string
	}{
		{"too late", protocol.PopLiteMessage, d.popFields("c", "g", "bornTime=1"), protocol.PollingTimeout, "timeout too much"},
		{"too many", protocol.PopLiteMessage, d.popFields("c", "g", "maxMsgNum=33"), protocol.InvalidParameter, "greater than 32"},
		{"below 0", protocol.PopLiteMessage, d.popFields("c", "g", "invisibleTime=-1"), protocol.InvalidParameter, "invisibleTime"},
		{"no topic", protocol.PopLiteMessage, d.popFields("c", "g", "topic=N"), protocol.TopicNotExist, "N"},
		{"no parent", protocol.PopLiteMessage, d.popFields("c", "g", "topic=T"), protocol.InvalidParameter, "message type not match"},
		{"no group", protocol.PopLiteMessage, d.popFields("c", "n"), protocol.SubscriptionGroupNotExist, "n"},
		{"group is off", protocol.PopLiteMessage, d.popFields("c", "off"), protocol.NoPermission, "off"},
		{"other group", protocol.PopLiteMessage, d.popFields("c", "plain"), protocol.InvalidParameter, "bind topic not match"},
		{"ack: group", protocol.AckMessage, ack("consumerGroup=plain"), protocol.InvalidParameter, "bind topic not match"},
		{"ack: topic", protocol.AckMessage, ack("topic=N"), protocol.TopicNotExist, "N"},
		{"ack: queue", protocol.AckMessage, ack("queueId=1"), protocol.InvalidParameter, "queue illegal"},
		{"ack: no queue", protocol.AckMessage, ack("queueId=4"), protocol.MessageIllegal, "queueId[4]"},
		{"ack: handle", protocol.AckMessage, ack("extraInfo=0 1"), protocol.SystemError, "extraInfo"},
		{"ack: not in order", protocol.AckMessage, ack("extraInfo=0 1 1 0 0 b 0 0"), protocol.InvalidParameter, "queue illegal"},
		{"ack: beyond", protocol.AckMessage, ack("offset=2"), protocol.NoMessage, "offset illegal"},
		{"ack: not popped", protocol.AckMessage, ack("offset=1"), protocol.MessageIllegal, "offset illegal"},
		{"info: topic", protocol.GetParentTopicInfo, []string{"topic=N"}, protocol.TopicNotExist, "Topic [N] not exist."},
		{"info: no parent", protocol.GetLiteTopicInfo, []string{"parentTopic=T", "liteTopic=a"}, protocol.InvalidParameter, "Topic [T] type not match."},
		{"info: group", protocol.GetLiteClientInfo, []string{"parentTopic=P", "group=n", "clientId=c"}, protocol.SubscriptionGroupNotExist, "Group [n] not exist."},
		{"info: other group", protocol.GetLiteClientInfo, []string{"parentTopic=P", "group=plain", "clientId=c"}, protocol.InvalidParameter, "Subscription [plain]-[P] not match."},
		{"info: lag", protocol.GetLiteGroupInfo, []string{"group=plain"}, protocol.InvalidParameter, "Group [plain] is not a LITE group."},
		{"trigger", protocol.TriggerLiteDispatch, []string{"group=n"}, protocol.SubscriptionGroupNotExist, "Group [n] not exist."},
		{"notify", protocol.Notification, []string{"consumerGroup=plain", "topic=P", "queueId=0", "pollTime=0", "bornTime=0"}, protocol.InvalidParameter, "bind topic"},
	} {
		a := d.call(c.code, nil, c.fields...)
		if a.Code != c.want || !strings.Contains(a.Remark, c.remark) {
			t.Errorf("%s: %d %s", c.name, a.Code, a.Remark)
		}
	}
	for _, c := range []struct {
		body   string
		want   int32
		remark string
	}{
		{"", protocol.IllegalOperation, "body"}, {"{}", protocol.IllegalOperation, "empty"}, {"{", protocol.SystemError, "body"},
		{`{"subscriptionSet":[{"action":"PARTIAL_ADD","group":"g","topic":"P"},null,{"action":"NONE","clientId":" ","group":"g","topic":"P"}]}`, 0, ""},
		{`{"subscriptionSet":[{"action":"NONE","clientId":"c","group":"g","topic":"P"}]}`, protocol.SystemError, "action"},
		{`{"subscriptionSet":[{"action":"PARTIAL_ADD","clientId":"c","group":"n","topic":"P","liteTopicSet":["z"]}]}`, protocol.IllegalOperation, "not allowed"},
		{`{"subscriptionSet":[{"action":"COMPLETE_ADD","clientId":"c","group":"off","topic":"P","liteTopicSet":["z"]}]}`, protocol.IllegalOperation, "not allowed"},
		{`{"subscriptionSet":[{"action":"PARTIAL_ADD","clientId":"c","group":"g","topic":"P","liteTopicSet":["` + long + `"]}]}`, protocol.IllegalOperation, "liteTopicSet"},
		{`{"subscriptionSet":[{"action":"PARTIAL_ADD","clientId":"` + long + `","group":"g","topic":"P"}]}`, protocol.IllegalOperation, "clientId"},
		{`{"subscriptionSet":[{"action":"PARTIAL_ADD","clientId":"c","group":"g","topic":"P","liteTopicSet":["1","2","3","4","5","6","7","8","9","10"]}]}`, protocol.LiteSubscriptionQuotaExceeded, "quota exceeded 10"},
		{`{"subscriptionSet":[{"action":"COMPLETE_ADD","clientId":"c","group":"g","topic":"P","liteTopicSet":["1","2","3","4","5","6","7","8","9","10","11"]}]}`, protocol.LiteSubscriptionQuotaExceeded, "quota exceeded 10"},
	} {
		a := d.call(protocol.LiteSubscriptionCtl, []byte(c.body))
		if a.Code != c.want || !strings.Contains(a.Remark, c.remark) {
			t.Errorf("%.120s: %d %s", c.body, a.Code, a.Remark)
		}
	}
	want(t, "unchanged", fmt.Sprint(len(d.svc.board.clients), d.svc.board.refs), "1 1")
	for i := range 12 {
		d.control(protocol.LiteCompleteAdd, fmt.Sprint("idle", i), "g")
	}
	want(t, "clients are bounded", len(d.svc.board.clients), 10)
	d.pass(181 * time.Second)
	want(t, "and forgotten", len(d.svc.board.clients), 0)
}

// Whatever a body says, the answer is an answer.
func FuzzService_Control(f *testing.F) {
	f.Add([]byte(`{"subscriptionSet":[{"action":"PARTIAL_ADD","clientId":"c","group":"g","topic":"P","liteTopicSet":["a"],"offsetOption":{"type":"TAIL_N","value":-9223372036854775808}}]}`))
	f.Add([]byte(`{"subscriptionSet":[{"action":1,"clientId":"c","group":"g","topic":"P","liteTopicSet":["a","a"]},{"action":3,"clientId":"c","group":"g","topic":"P"}]}`))
	f.Add([]byte(`{"subscriptionSet":[{"action":"COMPLETE_ADD","clientId":"c","group":"g","topic":"P","liteTopicSet":["$","%LMQ%$P$a",null]}]}`))
	var d *desk
	f.Fuzz(func(t *testing.T, body []byte) {
		if d == nil {
			d = newDesk(t)
			d.send("a=a0", "b=b0")
		}
		d.t = t
		d.peer.answers, d.peer.sent = nil, nil
		a := d.call(protocol.LiteSubscriptionCtl, body)
		if a == nil || a.Code != protocol.Success && a.Remark == "" {
			t.Fatalf("%+v", a)
		}
		if b := d.svc.board; len(b.clients) > 10 || b.refs > 10 {
			t.Fatalf("%d clients with %d lite topics", len(b.clients), b.refs)
		}
		d.pop("c", "g")
	})
}

package pop

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

const light = "%LMQ%a"

// further stores messages in T, and by that in further queues.
func (d *desk) further(names string, bodies ...string) {
	d.t.Helper()
	c := &courier{d: d}
	for _, body := range bodies {
		c.Stage(d.store.Queue("T", 0), &message.Draft{Topic: []byte("T"), Body: []byte(body), StoreHost: netip.MustParseAddrPort("192.0.2.1:10911"),
			Properties: message.AppendProperty(nil, message.PropInnerMultiDispatch, []byte(names))}, 0)
	}
	if _, err := c.Commit(context.Background(), d.now); err != nil {
		d.t.Fatal(err)
	}
	d.svc.Grew(light)
	d.posted()
}

// packed stores messages as one batch in B; a body "tag:x" has the tag.
func (d *desk) packed(bodies ...string) {
	d.t.Helper()
	var b []byte
	for _, body := range bodies {
		props := "k\x01" + body
		if tag, _, tagged := strings.Cut(body, ":"); tagged {
			props = "TAGS\x01" + tag
		}
		be := binary.BigEndian
		b = be.AppendUint32(b, uint32(22+len(body)+len(props)))
		b = append(b, make([]byte, 8)...)
		b = be.AppendUint32(b, 7)
		b = be.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
		b = be.AppendUint16(b, uint16(len(props)))
		b = append(b, props...)
	}
	c := &courier{d: d}
	c.Stage(d.store.Queue("B", 0), &message.Draft{Topic: []byte("B"), Body: b, SysFlag: message.FlagInnerBatch | message.FlagNeedUnwrap, StoreHost: netip.MustParseAddrPort("192.0.2.1:10911"),
		Properties: []byte("INNER_NUM\x01" + strconv.Itoa(len(bodies)) + "\x02")}, 0)
	if _, err := c.Commit(context.Background(), d.now); err != nil {
		d.t.Fatal(err)
	}
	d.posted()
}

// What lies in a light queue is lent under its offset there, and comes again from a retry topic of that queue.
func TestService_Pop_Light(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "x", "y")
	d.further("%LMQ%b", "z")
	d.further("%LMQ%b,"+light, "a", "b", "c")
	pop := func() []got { return d.pop("topic=" + light) }
	list := pop()
	want(t, "pop", bodies(list), "a b c")
	want(t, "offset", list[1].offset, int64(1))
	want(t, "ack", d.ack(list[1]).Code, int32(protocol.Success))
	want(t, "once", bodies(pop()), "")
	d.pass(10500 * time.Millisecond)
	again := pop()
	want(t, "again", bodies(again), "a c")
	want(t, "from", again[0].topic, "%RETRY%g_"+light)
	d.ack(again[0])
	d.ack(again[1])
	d.pass(time.Minute)
	want(t, "all acknowledged", bodies(pop()), "")
	want(t, "light queues have the retries once", d.store.Find([]byte(light), 0).Max(), int64(3))

	if d.ask("topic="+light, "pollTime=5000") != nil {
		t.Fatal("it does not wait")
	}
	d.further(light, "d")
	a := d.answer(d.opaque)
	if a == nil || a.Code != protocol.Success {
		t.Fatalf("held: %+v", a)
	}
	want(t, "held", bodies(d.read(a, "topic="+light)), "d")
}

// Pops of names that nobody uses are forgotten, and what is lent is not.
func TestService_Pop_LightForgotten(t *testing.T) {
	d := newDesk(t, nil)
	d.pop("topic=" + light)
	want(t, "shelves", d.svc.shelves.count.Load(), int64(2)) // with its retry topic
	d.svc.prune()
	want(t, "just used", d.svc.shelves.count.Load(), int64(2))
	d.svc.prune()
	want(t, "not used since", d.svc.shelves.count.Load(), int64(0))
	d.further(light, "a")
	list := d.pop("topic=" + light)
	d.svc.prune()
	d.svc.prune()
	want(t, "lent", d.svc.shelves.count.Load(), int64(2))
	d.ack(list[0])
	d.ask("topic="+light, "pollTime=5000")
	d.svc.prune()
	d.svc.prune()
	want(t, "waited for", d.svc.shelves.count.Load(), int64(2))
	d.pass(6 * time.Second)
	d.svc.prune()
	d.svc.prune()
	want(t, "idle", d.svc.shelves.count.Load(), int64(0))
}

// Each message of a batch is lent, acknowledged and delivered again by itself, and a pop may begin and end in the middle of one.
func TestService_Pop_Batch(t *testing.T) {
	d := newDesk(t, nil)
	d.packed("a", "b", "c")
	d.send("B", 0, "d")
	d.packed("e", "f", "g", "h")
	pop := func(more ...string) []got { return d.pop(append([]string{"topic=B"}, more...)...) }
	list := pop("maxMsgNums=2")
	want(t, "two", bodies(list), "a b")
	want(t, "flag", list[0].m.Flag, int32(7))
	want(t, "sysFlag", list[0].m.SysFlag, int32(0))
	want(t, "properties", string(list[1].m.Properties), "k\x01b")
	d.ack(list[0])
	list = append(list, pop("maxMsgNums=3")...)
	want(t, "three more", bodies(list[2:]), "c d e")
	d.ack(list[2])
	list = append(list, pop()...)
	want(t, "the rest", bodies(list[5:]), "f g h")
	want(t, "nothing more", bodies(pop()), "")
	want(t, "committed", d.committed("g", "B", 0), int64(8))
	d.ack(list[6])
	d.pass(10500 * time.Millisecond)
	again := pop()
	want(t, "again", bodies(again), "b d e f h")
	want(t, "offset in the retry topic", again[4].offset, int64(4))
	want(t, "times", again[0].times, int32(1))
	d.restart(false)
	for _, g := range again {
		d.ack(g)
	}
	d.pass(time.Minute)
	want(t, "all acknowledged", bodies(pop()), "")
}

// Filters look at the messages, not at the batch; in order, a queue is blocked in the middle of a batch.
func TestService_Pop_BatchChosen(t *testing.T) {
	d := newDesk(t, nil)
	d.packed("x:1", "y:2", "x:3")
	d.packed("y:4", "y:5")
	d.packed("y:6", "x:7")
	list := d.pop("topic=B", "expType=TAG", "exp=x")
	want(t, "by tag", bodies(list), "x:1 x:3 x:7")
	want(t, "committed", d.committed("g", "B", 0), int64(7))
	list = d.pop("topic=B", "consumerGroup=h", "expType=SQL92", "exp=TAGS = 'y'", "maxMsgNums=2")
	want(t, "by property", bodies(list), "y:2 y:4")
	want(t, "committed", d.committed("h", "B", 0), int64(4))

	d = newDesk(t, nil)
	d.packed("a", "b", "c")
	list = d.pop("topic=B", "order=true", "maxMsgNums=2")
	want(t, "in order", bodies(list), "a b")
	want(t, "blocked", bodies(d.pop("topic=B", "order=true")), "")
	d.ack(list[0])
	d.ack(list[1])
	want(t, "free", bodies(d.pop("topic=B", "order=true")), "c")
}

// keyed stores messages of C, each with a key of its own.
func (d *desk) keyed(bodies ...string) {
	d.t.Helper()
	c := &courier{d: d}
	for _, body := range bodies {
		c.Stage(d.store.Queue("C", 0), &message.Draft{Topic: []byte("C"), Body: []byte(body), StoreHost: netip.MustParseAddrPort("192.0.2.1:10911"),
			Properties: message.AppendProperty(nil, message.PropKeys, []byte(body))}, 0)
	}
	if _, err := c.Commit(context.Background(), d.now); err != nil {
		d.t.Fatal(err)
	}
	d.posted()
}

// A topic of which only the last message of each key is kept is popped like others, also what has moved into its compaction log,
// and what was lent before that comes again from there.
func TestService_Pop_Compacted(t *testing.T) {
	d := newDesk(t, nil)
	pop := func() []got { return d.pop("topic=C", "maxMsgNums=2") }
	d.keyed("a", "b", "c", "d")
	list := pop()
	want(t, "pop", bodies(list), "a b")
	d.ack(list[0])
	d.restart(true) // its end copies them
	list = pop()
	want(t, "out of the compaction log", bodies(list), "c d")
	want(t, "offset", list[1].offset, int64(3))
	want(t, "ack", d.ack(list[1]).Code, int32(protocol.Success))
	d.pass(11 * time.Second)
	again := append(pop(), pop()...)
	want(t, "again", bodies(again), "b c")
	for _, g := range again {
		d.ack(g)
	}
	d.pass(time.Minute)
	want(t, "all acknowledged", bodies(pop()), "")
}

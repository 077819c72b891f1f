package query

import (
	"context"
	"fmt"
	"testing"

	"rocketd/protocol"
	"rocketd/topic"
)

// oneMapping is the table of a broker that knows one static topic.
type oneMapping struct{ *topic.Mapping }

func (m oneMapping) For(name []byte, logical protocol.Opt[bool]) *topic.Mapping {
	if string(name) != m.Topic || logical.Set && !logical.V {
		return nil
	}
	return m.Mapping
}

// others has 57 messages in queue 5 of broker a, stored at their offsets in seconds, and committed offsets.
type others struct {
	committed map[string]int64
	err       error
}

func (o *others) key(broker, group string, queue int32) string {
	return fmt.Sprintf("%s/%s/%d", broker, group, queue)
}

func (o *others) Offset(_ context.Context, broker, group, _ string, queue int32) (int64, error) {
	if offset, ok := o.committed[o.key(broker, group, queue)]; ok {
		return offset, o.err
	}
	return 0, protocol.Errorf(protocol.QueryNotFound, "not there")
}
func (o *others) Commit(_ context.Context, broker, group, _ string, queue int32, offset int64) error {
	o.committed[o.key(broker, group, queue)] = offset
	return o.err
}
func (o *others) MaxOffset(context.Context, string, string, int32, bool) (int64, error) {
	return 57, o.err
}
func (o *others) MinOffset(context.Context, string, string, int32) (int64, error) { return 4, o.err }
func (o *others) OffsetByTime(_ context.Context, _, _ string, _ int32, ms int64, _ protocol.Boundary) (int64, error) {
	return min(ms/1000, 57), o.err
}
func (o *others) EarliestTime(context.Context, string, string, int32) (int64, error) {
	return 4000, o.err
}

// A leader answers for all stretches of a queue.
func TestService_Static(t *testing.T) {
	d := newDesk(t)
	part := func(gen int32, broker string, queue int32, logic int64) topic.MappingItem {
		return topic.MappingItem{Gen: gen, Broker: broker, Queue: queue, Logic: logic, End: -1}
	}
	o := &others{committed: map[string]int64{}}
	d.svc = New(Config{Topics: topics{}, Groups: groups{}, Store: records{d.store, d}, Offsets: offsets{d}, Elsewhere: o,
		Offload: func(*protocol.Call, func(context.Context, *protocol.Call) error) {
			t.Error("what may wait for others waits on the pool")
		},
		Forward: inline,
		Mappings: oneMapping{&topic.Mapping{MappingInfo: topic.MappingInfo{Topic: "T", Broker: "b"}, Hosted: map[int32][]topic.MappingItem{
			3: {part(0, "b", 0, 0)},
			4: {part(0, "a", 5, 0), part(1, "b", 0, 10_000)},
			5: {part(0, "a", 5, 0), part(1, "b", 1, -1)},
			6: {part(0, "b", 0, 0), part(1, "a", 5, 10_000)},
			7: {part(0, "b", 0, -1)},
		}}}})
	byTime, earliest := d.svc.ByTime, d.svc.Earliest
	in := func(queue int, more ...string) []string {
		return append([]string{"topic=T", fmt.Sprint("queueId=", queue), "consumerGroup=g"}, more...)
	}
	for _, run := range []func(*protocol.Call) error{d.svc.Max, d.svc.Min, d.svc.Committed, d.svc.Commit, byTime, earliest} {
		more := []string{"commitOffset=1", "timestamp=0"}
		d.check(run, "501 T-6 does not exit in request process of current broker b", in(6, more...)...)
		d.check(run, "501 T-0 does not exit in request process of current broker b", in(0, more...)...)
		d.check(run, "1 the offsets of queue 7 of the static topic T are not decided", in(7, more...)...)
	}
	d.check(d.svc.Max, "0 offset=4", in(0, "lo=false")...)

	d.check(d.svc.Max, "0 offset=4", in(3)...)
	d.check(d.svc.Max, "0 offset=10004", in(4)...)
	d.check(d.svc.Max, "0 offset=57", in(5)...)
	d.check(d.svc.Min, "0 offset=0", in(3)...)
	d.check(d.svc.Min, "0 offset=4", in(4)...)
	d.check(earliest, "0 timestamp=1000", in(3)...)
	d.check(earliest, "0 timestamp=4000", in(4)...)
	for ms, want := range map[int]int64{0: 0, 12_000: 12, 56_000: 56, 57_000: 10_004} { // here all is older than there
		d.check(byTime, fmt.Sprint("0 offset=", want), in(4, fmt.Sprint("timestamp=", ms))...)
	}
	d.check(byTime, "0 offset=57", in(5, "timestamp=99000")...)
	d.check(byTime, "0 offset=1", in(3, "timestamp=2000")...)

	const none = "22 Not found, maybe this group consumer boot first"
	d.check(d.svc.Committed, none, in(4)...)
	d.check(d.svc.Commit, "0", in(4, "commitOffset=40")...)
	d.check(d.svc.Committed, "0 offset=40", in(4)...)
	d.check(d.svc.Commit, "0", in(4, "commitOffset=10003")...)
	d.check(d.svc.Committed, "0 offset=10003", in(4)...)
	d.check(d.svc.Committed, "0 offset=40", in(5)...)
	d.check(d.svc.Committed, "0 offset=3", in(3)...)
	if o.committed["a/g/5"] != 40 || d.committed["g/T/0"] != 3 || len(o.committed) != 1 || len(d.committed) != 1 {
		t.Errorf("committed %v here, %v there", d.committed, o.committed)
	}
	d.resets["g/T/0"] = 1
	d.check(d.svc.Committed, "0 offset=10001", in(4)...)
	d.committed["h/T/0"] = 2 // of another group
	o.err = protocol.Errorf(protocol.SystemBusy, "busy")
	for _, run := range []func(*protocol.Call) error{d.svc.Max, d.svc.Commit} {
		d.check(run, "2 busy", in(5, "commitOffset=1")...)
	}
	for _, run := range []func(*protocol.Call) error{d.svc.Min, byTime, earliest} {
		d.check(run, "2 busy", in(4, "timestamp=1")...)
	}
}

package pull

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/store"
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

func part(gen int32, broker string, queue int32, logic, end int64) topic.MappingItem {
	return topic.MappingItem{Gen: gen, Broker: broker, Queue: queue, Logic: logic, End: end}
}

// At the end of a stretch begins the next one; what was removed is passed over; a pull waits at the last stretch only.
func TestStretch_Leave(t *testing.T) {
	items := []topic.MappingItem{part(0, "a", 1, 0, -1), part(1, "b", 2, 10_000, 50), part(2, "b", 0, 20_000, -1)}
	undecided := []topic.MappingItem{part(0, "a", 1, 0, -1), part(1, "b", 2, -1, -1)}
	one := items[2:]
	const (
		found, none, again, moved = protocol.Success, protocol.PullNotFound, protocol.PullRetryImmediately, protocol.PullOffsetMoved
	)
	for _, c := range []struct {
		name                 string
		items                []topic.MappingItem
		at                   int
		from, next, min, max int64 // physical
		code                 int32
		want                 string // code next min max
	}{
		{"first, found", items, 0, 3, 5, 0, 57, found, "0 5 0 20000"},
		{"first, at its end", items, 0, 57, 57, 0, 57, none, "20 10000 10000 20000"},
		{"first, behind its end", items, 0, 60, 57, 0, 57, moved, "20 10000 10000 20000"},
		{"first, removed", items, 0, 3, 10, 10, 57, moved, "21 10 10 20000"},
		{"first, removed, asked at a slave", items, 0, 3, 3, 10, 57, again, "21 10 10 20000"},
		{"first, nothing matched", items, 0, 3, 30, 0, 57, again, "20 30 0 20000"},
		{"first, all removed", items, 0, 57, 57, 57, 57, none, "20 10000 10000 20000"},
		{"first, never was", items, 0, 0, 0, 0, 0, none, "20 10000 10000 20000"},
		{"middle, found up to its end", items, 1, 40, 55, 0, 55, found, "0 10050 10000 20000"},
		{"middle, at its end", items, 1, 50, 50, 0, 50, none, "20 20000 20000 20000"},
		{"middle, removed", items, 1, 3, 10, 10, 50, moved, "20 10010 10010 20000"},
		{"last, found", items, 2, 3, 5, 0, 9, found, "0 20005 20000 20009"},
		{"last, at its end", items, 2, 9, 9, 0, 9, none, "19 20009 20000 20009"},
		{"last, behind its end", items, 2, 12, 9, 0, 9, moved, "21 20009 20000 20009"},
		{"last, removed", items, 2, 3, 5, 5, 9, moved, "20 20005 20005 20009"},
		{"last, broken", items, 2, 3, 3, 0, 9, protocol.SystemError, "1 20003 20000 20009"},
		{"one, at its end", one, 0, 9, 9, 0, 9, none, "19 20009 20000 20009"},
		{"one, behind its end", one, 0, 12, 9, 0, 9, moved, "19 20009 20000 20009"},
		{"one, removed", one, 0, 3, 5, 5, 9, moved, "21 20005 20005 20009"},
		{"next is undecided", undecided, 0, 57, 57, 0, 57, none, "19 57 0 57"},
	} {
		x := &stretch{mapping: &topic.Mapping{}, items: c.items, at: c.at, from: c.from}
		res := store.ReadResult{Next: c.next, Min: c.min, Max: c.max}
		code := x.leave(c.code, &res)
		if got := fmt.Sprint(code, res.Next, res.Min, res.Max); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// other is a broker that has a stretch.
type other struct {
	asked []string
	p     rpc.Pulled
	err   error
}

func (o *other) Pull(_ context.Context, broker string, r protocol.PullMessageRequest) (*rpc.Pulled, error) {
	o.asked = append(o.asked, fmt.Sprintf("%s %s/%d from %d, %d, flags %d", broker, r.Topic, r.QueueID, r.QueueOffset, r.MaxMsgNums, r.SysFlag))
	return &o.p, o.err
}

// A leader reads what it has itself, asks others for what they have, and lets wait who is at the end.
func TestService_Pull_Static(t *testing.T) {
	d := newDesk(t)
	o := &other{}
	d.cfg.Elsewhere, d.cfg.Forward = o, d.cfg.Offload
	d.cfg.Mappings = oneMapping{&topic.Mapping{MappingInfo: topic.MappingInfo{Topic: "T", Broker: "b"}, Hosted: map[int32][]topic.MappingItem{
		7: {part(0, "a", 5, 0, 60), part(1, "b", 0, 10_000, -1)},
		8: {part(0, "b", 0, 0, 1), part(1, "b", 1, 10_000, -1)},
		9: {part(0, "b", 0, 0, -1), part(1, "a", 1, 10_000, -1)},
	}}}
	d.open()
	d.add("x", "y")
	run := func() {
		t.Helper()
		for i, run := range d.offloaded {
			if err := run(t.Context(), d.calls[i]); err != nil {
				d.calls[i].Fail(err)
			}
		}
		d.offloaded, d.calls = nil, nil
	}

	d.pull(1, "queueId=9", "queueOffset=0")
	d.pull(2, "queueId=1", "queueOffset=0", "lo=true")
	d.want("1: 501 T-9 does not exit in request process of current broker b ", "2: 501 T-1 does not exit in request process of current broker b ")
	d.pull(3, "queueId=0", "queueOffset=0", "lo=false")
	d.want("3: 0 FOUND nextBegin=2 min=0 max=2 m0m1")
	d.pull(4, "queueId=7", "queueOffset=10001", "commitOffset=10001", "sysFlag=7")
	d.want("4: 0 FOUND nextBegin=10002 min=10000 max=10002 m1")
	if d.committed["g/T/0"] != 1 || d.pulled["g/T/0"] != 2 {
		t.Errorf("committed %v, pulled %v", d.committed, d.pulled)
	}
	delete(d.committed, "g/T/0")
	d.pull(5, "queueId=7", "queueOffset=10002", "commitOffset=12", "sysFlag=7")
	d.want()
	d.add("z")
	d.want("5: 0 FOUND nextBegin=10003 min=10000 max=10003 m2")
	if len(d.committed) > 0 {
		t.Errorf("committed %v, which another broker has", d.committed)
	}

	o.p = rpc.Pulled{Code: protocol.Success, Records: []byte("theirs"), Header: protocol.PullMessageResponse{NextBeginOffset: 60, MaxOffset: 60}}
	d.pull(6, "queueId=7", "queueOffset=40", "sysFlag=7")
	run()
	d.want("6: 0  nextBegin=60 min=0 max=10000 theirs")
	d.pull(7, "queueId=7", "queueOffset=60") // at its end, nobody has to be asked
	d.want("7: 20 OFFSET_OVERFLOW_ONE nextBegin=10000 min=10000 max=10000 ")
	o.err = errors.New("gone")
	d.pull(8, "queueId=7", "queueOffset=0")
	run()
	d.want("8: 1 cannot read queue 5 of the static topic T: gone ")
	if want := "[a T/5 from 40, 20, flags 4 a T/5 from 0, 32, flags 4]"; fmt.Sprint(o.asked) != want {
		t.Errorf("asked %v, want %s", o.asked, want)
	}

	d.pull(9, "queueId=8", "queueOffset=0") // the end of the stretch is not that of the queue
	d.pull(10, "queueId=8", "queueOffset=1")
	d.want("9: 0 FOUND nextBegin=1 min=0 max=10000 m0", "10: 20 OFFSET_OVERFLOW_ONE nextBegin=10000 min=10000 max=10000 ")
	d.resets["g/T/0"] = 1
	d.pull(11, "queueId=7", "queueOffset=10002")
	d.want("11: 21 OFFSET_RESET nextBegin=10001 min=10000 max=10003 ")
	d.onDisk = 2
	d.pull(12, "queueId=7", "queueOffset=10001")
	run()
	d.want("12: 0 FOUND nextBegin=10003 min=10000 max=10003 m1m2")
}

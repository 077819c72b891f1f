package topic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"rocketd/internal/laxjson"
)

func item(gen int32, broker string, queue int32, logic, start, end int64) MappingItem {
	return MappingItem{Gen: gen, Broker: broker, Queue: queue, Logic: logic, Start: start, End: end, TimeOfEnd: -1, TimeOfStart: -1}
}

func mapping(broker string, epoch int64, hosted map[int32][]MappingItem) *Mapping {
	return &Mapping{MappingInfo: MappingInfo{Broker: broker, Epoch: epoch, Scope: GlobalScope, Topic: "T", Total: 4}, Hosted: hosted}
}

// moved is a queue that was on a, is on b, and will be on c.
func moved() []MappingItem {
	return []MappingItem{item(0, "a", 1, 0, 0, 57), item(2, "b", 0, 10_000, 0, -1), item(3, "c", 5, -1, 0, -1)}
}

// A logic offset belongs to the last stretch that is decided and begins at it or before.
func TestAt(t *testing.T) {
	cleaned := []MappingItem{item(4, "b", 0, 10_000, 0, -1)}
	for _, c := range []struct {
		name  string
		items []MappingItem
		logic int64
		want  int
	}{
		{"begin", moved(), 0, 0},
		{"in the first", moved(), 56, 0},
		{"behind its end", moved(), 57, 0},
		{"before the next", moved(), 9_999, 0},
		{"the next", moved(), 10_000, 1},
		{"far behind", moved(), 1 << 40, 1},
		{"negative", moved(), -1, 0},
		{"before what is left", cleaned, 3, 0},
		{"nothing decided", moved()[2:], 3, -1},
		{"nothing at all", nil, 3, -1},
	} {
		if got := At(c.items, c.logic); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if First(moved()).Broker != "a" || Last(moved()).Broker != "b" || First(nil) != nil || Last(moved()[2:]) != nil {
		t.Error("first or last")
	}
}

// Every physical offset of a stretch that is decided has a logic offset of its own, in the order of stretches, and goes back to
// where it came from.
func TestMappingItem_RoundTrip(t *testing.T) {
	for range 2000 {
		var items []MappingItem
		logic, ends := int64(0), []int64{}
		for gen := range int32(1 + rand.IntN(5)) {
			start, count := int64(rand.IntN(3)), int64(rand.IntN(50))
			end := start + count
			items = append(items, item(gen, "b", gen, logic, start, []int64{-1, end}[rand.IntN(2)]))
			ends = append(ends, end)
			logic += count + 1 + int64(rand.IntN(100))
		}
		if what := checkItems(items); what != "" {
			t.Fatal(what, items)
		}
		last := int64(-1)
		for n := range items {
			for physical := items[n].Start; physical < ends[n]; physical++ {
				logic := items[n].ToLogic(physical)
				if logic <= last {
					t.Fatalf("%d of %v is %d, the one before %d", physical, items[n], logic, last)
				}
				last = logic
				if at := At(items, logic); at != n || items[at].ToPhysical(logic) != physical || logic-physical != items[n].Delta() {
					t.Fatalf("%d of stretch %d is %d, which is %d of stretch %d: %v", physical, n, logic, items[at].ToPhysical(logic), at, items)
				}
			}
		}
	}
}

func TestMappingItem_SentAt(t *testing.T) {
	for _, c := range []struct {
		item           MappingItem
		physical, want int64
	}{
		{item(0, "a", 0, 100, 10, -1), 12, 102},
		{item(0, "a", 0, 100, 10, -1), 5, 100},
		{item(0, "a", 0, 100, 10, 20), 30, 110},
		{item(0, "a", 0, -1, 0, -1), 12, -1},
	} {
		if got := c.item.SentAt(c.physical); got != c.want {
			t.Errorf("%d of %v: %d, want %d", c.physical, c.item, got, c.want)
		}
	}
}

// The broker of the last stretch leads the queue, whether its offsets are decided or not.
func TestMapping_Leader(t *testing.T) {
	hosted := map[int32][]MappingItem{0: moved(), 1: moved()[:2], 2: {item(0, "c", 1, 0, 0, -1)}, 3: {}}
	for broker, want := range map[string]map[int32]int32{"a": {}, "b": {1: 0}, "c": {0: 5, 2: 1}} {
		m := mapping(broker, 1, hosted)
		info := m.Info()
		if len(info.Leads) != len(want) {
			t.Errorf("%s leads %v, want %v", broker, info.Leads, want)
		}
		for id := range int32(5) {
			queue, leads := want[id]
			if l := m.Leader(id); (l != nil) != leads || leads && (l.Queue != queue || info.Leads[id] != queue) {
				t.Errorf("queue %d: %s leads by %v, want %v", id, broker, l, want)
			}
		}
		if any := m.Any(); len(want) == 0 && any != -1 || len(want) > 0 && m.Leader(any) == nil {
			t.Errorf("%s: any queue is %d", broker, any)
		}
	}
	m := mapping("c", 1, hosted)
	if id, i := m.Queue(5); id != 0 || i.Gen != 3 {
		t.Error("physical queue 5:", id, i)
	}
	if id, i := m.Queue(0); id != -1 || i != nil {
		t.Error("physical queue 0 is another broker's:", id, i)
	}
}

func TestMapping_Check(t *testing.T) {
	for _, c := range []struct {
		name  string
		items []MappingItem
		want  string
	}{
		{"good", moved(), ""},
		{"none", nil, ""},
		{"no broker", []MappingItem{item(0, "", 0, 0, 0, -1)}, "bname"},
		{"negative start", []MappingItem{item(0, "a", 0, 0, -1, -1)}, "startOffset"},
		{"negative queue", []MappingItem{item(0, "a", -1, 0, 0, -1)}, "queueId"},
		{"ends early", []MappingItem{item(0, "a", 0, 0, 5, 4)}, "endOffset"},
		{"undecided in the middle", []MappingItem{item(0, "a", 0, -1, 0, -1), item(1, "b", 0, 5, 0, -1)}, "logicOffset"},
		{"generation twice", []MappingItem{item(1, "a", 0, 0, 0, -1), item(1, "b", 0, 5, 0, -1)}, "gen"},
		{"begins early", []MappingItem{item(0, "a", 0, 7, 0, -1), item(1, "b", 0, 7, 0, -1)}, "logicOffset"},
		{"long name", []MappingItem{item(0, strings.Repeat("a", 256), 0, 0, 0, -1)}, "bname"},
		{"huge queue", []MappingItem{item(0, "a", MaxQueues, 0, 0, -1)}, "queueId"},
		{"huge start", []MappingItem{item(0, "a", 0, 0, math.MaxInt64, -1)}, "startOffset"},
		{"huge end", []MappingItem{item(0, "a", 0, 7, 0, math.MaxInt64), item(1, "b", 0, 8, 0, -1)}, "endOffset"},
		{"negative place", []MappingItem{item(0, "a", 0, -2, 0, -1)}, "logicOffset"},
		{"huge place", []MappingItem{item(0, "a", 0, math.MaxInt64, 0, -1)}, "logicOffset"},
		{"a physical queue twice", []MappingItem{item(0, "a", 4, 0, 0, 9), item(1, "a", 4, 50, 20, -1)}, "queue 4 of broker a (queueId) is in two"},
		{"begins before the end", []MappingItem{item(0, "a", 0, 0, 0, 9), item(1, "b", 0, 9, 0, -1)}, "logicOffset"},
	} {
		err := mapping("a", 1, map[int32][]MappingItem{2: c.items}).Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if mapping("", 1, nil).Check() == nil {
		t.Error("no broker is let through")
	}
	for _, id := range []int32{-1, MaxQueues} {
		if mapping("a", 1, map[int32][]MappingItem{id: nil}).Check() == nil {
			t.Errorf("queue %d is let through", id)
		}
	}
	if mapping("a", 1, map[int32][]MappingItem{0: {item(0, "a", 0, 0, 0, -1)}, 1: {item(0, "a", 0, 0, 0, -1)}}).Check() == nil {
		t.Error("one physical queue for two queues is let through")
	}
	if err := mapping("a", 1, map[int32][]MappingItem{0: make([]MappingItem, maxStretches+1)}).Check(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error("too many stretches:", err)
	}
	for _, total := range []int32{-1, MaxQueues + 1} {
		m := mapping("a", 1, nil)
		if m.Total = total; m.Check() == nil {
			t.Errorf("%d queues are let through", total)
		}
	}
}

func TestMapping_Succeed(t *testing.T) {
	one := func(items ...MappingItem) map[int32][]MappingItem { return map[int32][]MappingItem{0: items} }
	first, second := item(0, "a", 0, 0, 0, -1), item(1, "b", 0, 10, 0, -1)
	undecided := item(1, "b", 0, -1, 0, -1)
	other := second
	other.Queue = 7
	for _, c := range []struct {
		name      string
		old, next *Mapping
		force     bool
		want      string // part of the error
		queues    int
	}{
		{"a second stretch", mapping("a", 1, one(first)), mapping("a", 2, one(first, undecided)), false, "", 1},
		{"decided late", mapping("a", 2, one(first, undecided)), mapping("a", 2, one(first, second)), false, "", 1},
		{"decided anew", mapping("a", 2, one(first, second)), mapping("a", 3, one(first, undecided)), false, "generation 1", 0},
		{"another leader in the epoch", mapping("a", 2, one(first)), mapping("a", 2, one(first, second)), false, "another leader", 0},
		{"another queue", mapping("a", 2, one(first, second)), mapping("a", 3, one(first, other)), false, "generation 1", 0},
		{"by force", mapping("a", 2, one(first, second)), mapping("a", 1, one(first, other)), true, "", 1},
		{"old epoch", mapping("a", 2, one(first)), mapping("a", 1, one(first)), false, "epoch 1 is older than 2", 0},
		{"the oldest went", mapping("a", 2, one(first, second)), mapping("a", 2, one(second)), false, "", 1},
		{"emptied", mapping("a", 2, one(first)), mapping("a", 3, one()), false, "no stretch", 0},
		{"not named", mapping("a", 2, one(first)), mapping("a", 3, map[int32][]MappingItem{1: {other}}), false, "", 2},
		{"not named, but needed", mapping("a", 1, one(first)), mapping("a", 3, map[int32][]MappingItem{1: {first}}), false, "two stretches", 0},
		{"not named, but needed, by force", mapping("a", 1, one(first)), mapping("a", 3, map[int32][]MappingItem{1: {first}}), true, "two stretches", 0},
		{"not named in the epoch", mapping("a", 2, one(first)), mapping("a", 2, nil), false, "missing", 0},
		{"not named, by force", mapping("a", 2, one(first)), mapping("a", 2, nil), true, "", 1},
	} {
		before := len(c.next.Hosted)
		got, err := c.old.Succeed(c.next, c.force)
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case c.want == "" && (err != nil || len(got.Hosted) != c.queues || len(c.next.Hosted) != before):
			t.Errorf("%s: %v %v, want %d queues", c.name, got, err, c.queues)
		}
	}
	elsewhere := mapping("a", 3, one(first))
	elsewhere.Scope = "other"
	if _, err := mapping("a", 1, one(first)).Succeed(elsewhere, false); err == nil || !strings.Contains(err.Error(), "scope") {
		t.Error("another scope:", err)
	}
}

// FuzzMapping reads a mapping as UPDATE_AND_CREATE_STATIC_TOPIC brings it. Of one that passes, every queue that the broker leads is
// the only one of its physical queue, and whatever offset a client names, or a broker answers, becomes one that exists.
func FuzzMapping(f *testing.F) {
	known := mapping("a", 2, map[int32][]MappingItem{0: {item(0, "a", 1, 0, 0, 57), item(2, "a", 0, 10_000, 0, -1)}, 1: {item(0, "b", 1, 0, 0, -1)}})
	text, err := laxjson.Marshal(known)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, false)
	const last, bare = `{"bname":"a","topic":"T","epoch":3,"hostedQueues":{%s}}`, `{"bname":"a","queueId":%d,"gen":%d,"startOffset":%d,"logicOffset":%d,"endOffset":%d}`
	for _, queues := range []string{
		"0:[" + fmt.Sprintf(bare, 1, 0, 0, 0, 57) + "," + fmt.Sprintf(bare, 7, 5, 3, 20_000, -1) + "]",
		"2147483647:[" + fmt.Sprintf(bare, 2147483647, 2147483647, int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64)) + "]",
		"-1:[" + fmt.Sprintf(bare, -1, -1, int64(math.MinInt64), int64(math.MinInt64), int64(math.MinInt64)) + "]",
		"5:[" + fmt.Sprintf(bare, 9, 0, 0, 0, 100) + "," + fmt.Sprintf(bare, 9, 1, 50, 50, 60) + "]",
		"5:null,6:[null,{}],7:[]",
	} {
		f.Add([]byte(fmt.Sprintf(last, queues)), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, force bool) {
		m := new(Mapping)
		if laxjson.Unmarshal(body, m) != nil || m.Check() != nil {
			return
		}
		before := len(m.Hosted)
		next, err := known.Succeed(m, force)
		if len(known.Hosted) != 2 || len(m.Hosted) != before {
			t.Fatal("one of the two was changed")
		}
		if err != nil {
			return
		}
		if err := next.Check(); err != nil {
			t.Fatal(err)
		}
		for id, queue := range next.Info().Leads {
			if got, i := next.Queue(queue); got != id || i != next.Leader(id) {
				t.Fatalf("physical queue %d of queue %d is one of queue %d: %+v", queue, id, got, i)
			}
		}
		for id, items := range next.Hosted {
			for _, offset := range []int64{math.MinInt64, -1, 0, 57, 10_000, math.MaxInt64} {
				n := At(items, offset)
				if n < 0 {
					continue
				}
				i := &items[n]
				if offset >= i.Logic && i.ToPhysical(offset) < i.Start || offset < i.Logic && i.ToPhysical(offset) >= i.Start {
					t.Fatalf("queue %d: %d is %d in %+v", id, offset, i.ToPhysical(offset), i)
				}
				if i.ToLogic(offset) < i.Logic || i.SentAt(offset) < i.Logic || MaxLogic(items) < -1 {
					t.Fatalf("queue %d: %d of %+v is %d", id, offset, i, i.ToLogic(offset))
				}
			}
		}
		again, text := new(Mapping), []byte(nil)
		if text, err = laxjson.Marshal(next); err != nil {
			t.Fatal(err)
		}
		if err := laxjson.Unmarshal(text, again); err != nil || !again.Equal(next) {
			t.Fatalf("%s is read as %+v (%v)", text, again, err)
		}
	})
}

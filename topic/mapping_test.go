package topic

import (
	"math/rand/v2"
	"strings"
	"testing"
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
		{"begins before the end", []MappingItem{item(0, "a", 0, 0, 0, 9), item(1, "b", 0, 9, 0, -1)}, "logicOffset"},
	} {
		err := mapping("a", 1, map[int32][]MappingItem{2: c.items}).Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if mapping("", 1, nil).Check() == nil || mapping("a", 1, map[int32][]MappingItem{-1: nil}).Check() == nil {
		t.Error("no broker, or a negative queue, is let through")
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
		{"not named", mapping("a", 2, one(first)), mapping("a", 3, map[int32][]MappingItem{1: {second}}), false, "", 2},
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

package lite

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/topic"
)

// names are the queues of lite topics of P.
func names(lite ...string) (queues []string) {
	for _, name := range lite {
		queues = append(queues, topic.LiteQueue("P", name))
	}
	return queues
}

// table is a board whose dice always fall on 0.
type table struct {
	*board
	t *testing.T
}

func newTable(t *testing.T) *table {
	b := newBoard(func(wild bool) int64 {
		if wild {
			return 20_000
		}
		return 10_000
	})
	b.roll = func(int) int { return 0 }
	return &table{b, t}
}

func (b *table) join(id, group string, r rules, nowMs int64, lite ...string) *client {
	if r.maxEvents == 0 {
		r.maxEvents = 100
	}
	c := b.board.client(id, group, "P", nil, r, nowMs)
	for _, name := range names(lite...) {
		b.add(c, name)
	}
	return c
}

// events says what is queued for whom, by id.
func (b *table) events() string {
	var out []string
	for id, c := range b.clients {
		short := make([]string, len(c.events))
		for i, queue := range c.events {
			_, short[i], _ = topic.SplitLite(queue)
		}
		out = append(out, id+":"+strings.Join(short, ","))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// say prints values with one blank between them.
func say(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

func (b *table) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// An event goes to one client of each group, once, and comes out in order.
func TestBoard_Dispatch(t *testing.T) {
	b := newTable(t)
	b.join("c1", "g", rules{}, 0, "a", "b")
	b.join("c2", "g", rules{}, 0, "b")
	b.join("d", "h", rules{}, 0, "b")
	b.join("w", "w", rules{wild: true}, 0)
	b.add(b.clients["w"], wildName("P", "w"))
	for _, queue := range names("b", "a", "b", "x") {
		b.dispatch(queue, "", nil, 0)
	}
	b.want("all", b.events(), "c1:b,a c2: d:b w:b,a,x")
	b.dispatch(names("b")[0], "h", nil, 0)
	wake := b.dispatch(names("b")[0], "g", b.clients["c1"], 0)
	b.want("another client", b.events()+say(wake), "c1:b,a c2:b d:b w:b,a,x[c2]")
	queue, ok := b.next("c1", "g", nil, 5)
	b.want("next", say(queue, ok, b.clients["c1"].askedMs), "%LMQ%$P$b true 5")
	_, ok = b.next("c1", "g", names("a"), 5)
	b.want("tried", say(ok), "false")
	_, ok = b.next("c1", "h", nil, 5)
	b.want("another group's client", say(ok), "false")
	b.giveBack("c1", "g", queue, 5)
	b.want("given back", b.events(), "c1:b,a c2:b d:b w:b,a,x")
	b.next("c1", "g", nil, 5)
	b.next("c2", "g", nil, 5)
	b.drop("c1", 5)
	wake = b.giveBack("c1", "g", queue, 5)
	b.want("its client is gone", b.events()+say(wake), "c2:b d:b w:b,a,x[c2]")
}

// Where no client has room, all queues are looked at later, when there is room.
func TestBoard_Full(t *testing.T) {
	b := newTable(t)
	b.join("c", "g", rules{maxEvents: 10}, 0, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
	for i := range 11 {
		b.dispatch(names(fmt.Sprint(i))[0], "", nil, 1000)
	}
	c := b.clients["c"]
	b.want("events", say(len(c.events), c.lookMs), "10 11000")
	for range 10 {
		b.next("c", "g", nil, 10_000)
	}
	_, looks := b.scan(10_999)
	b.want("too early", say(len(looks)), "0")
	_, looks = b.scan(11_000)
	b.want("due", say(len(looks), len(looks[0].queues), c.lookMs), "1 11 0")
	wake := b.looked(&looks[0], names("10", "3", "gone"), 11_000)
	b.want("found", b.events()+say(wake), "c:10,3[c]")

	for i := range 11 {
		b.dispatch(names(fmt.Sprint(i))[0], "", nil, 12_000)
	}
	b.next("c", "g", nil, 22_000)
	_, looks = b.scan(22_000)
	b.want("it has enough to do", say(len(looks), c.lookMs), "0 32000")
}

// Of the clients of a wildcard group one is looked at.
func TestBoard_Scan_Wildcard(t *testing.T) {
	b := newTable(t)
	for _, id := range []string{"w1", "w2", "w3"} {
		b.add(b.join(id, "w", rules{wild: true, maxEvents: 1}, 0), wildName("P", "w"))
	}
	for i := range 4 {
		b.dispatch(names(fmt.Sprint(i))[0], "", nil, 0)
	}
	for _, id := range []string{"w1", "w2", "w3"} {
		b.next(id, "w", nil, 20_000)
	}
	_, looks := b.scan(20_000)
	b.want("looks", say(len(looks)), "1")
	b.looked(&looks[0], names("0", "1", "2", "3"), 20_000)
	b.want("found for all", b.events(), "w1:0 w2:1 w3:2")
	_, looks = b.scan(40_000)
	b.want("they have enough to do", say(len(looks)), "0")
}

// Events of a client that does not ask go to others, which are preferred for a while.
func TestBoard_Scan_Stuck(t *testing.T) {
	b := newTable(t)
	b.join("c1", "g", rules{}, 0, "a")
	b.join("c2", "g", rules{}, 0, "a")
	b.dispatch(names("a")[0], "", nil, 0)
	b.want("first", b.events(), "c1:a c2:")
	b.has("c2", 10_000)
	b.scan(10_000)
	b.want("not yet", b.events(), "c1:a c2:")
	wake, _ := b.scan(10_001)
	b.want("moved", b.events()+say(wake), "c1: c2:a[c2]")
	b.next("c2", "g", nil, 10_002)
	b.dispatch(names("a")[0], "", nil, 20_000)
	b.want("preferred", b.events(), "c1: c2:a")
	b.next("c2", "g", nil, 20_001)
	b.dispatch(names("a")[0], "", nil, 20_001)
	b.want("no longer", b.events(), "c1:a c2:")
}

// In an exclusive group who subscribes last has a lite topic alone; who lost it does not get it back by not knowing that yet.
func TestBoard_Exclusive(t *testing.T) {
	b := newTable(t)
	r := rules{exclusive: true, maxEvents: 10}
	b.join("c1", "g", r, 0, "a", "b")
	b.join("other", "h", rules{}, 0, "a")
	b.dispatch(names("a")[0], "g", nil, 0)
	c2 := b.join("c2", "g", r, 0)
	from := b.exclude(c2, names("a")[0])
	b.add(c2, names("a")[0])
	b.want("lost", say(len(from), from[0].client, b.clients["c1"].subscribes(names("a")[0]), b.clients["other"].subscribes(names("a")[0])), "1 c1 false true")
	b.dispatch(names("a")[0], "g", nil, 0)
	b.want("events", b.events(), "c1: c2:a other:")

	fresh, again, _ := b.replace(b.clients["c1"], names("a", "b", "c"), 0)
	b.want("named again", say(fresh, len(again)), say(names("c"), 1))
	_, again, _ = b.replace(b.clients["c1"], names("b"), 0)
	_, again2, _ := b.replace(b.clients["c1"], names("a", "b"), 0)
	b.want("it knew", say(len(again), len(again2), b.clients["c1"].subscribes(names("a")[0])), "0 0 true")
}

// What waited for a client that leaves, or no longer subscribes, goes to another one.
func TestBoard_Leave(t *testing.T) {
	b := newTable(t)
	b.join("c1", "g", rules{}, 0, "a", "b")
	b.join("c2", "g", rules{}, 1000, "a", "b")
	b.dispatch(names("a")[0], "", nil, 0)
	b.dispatch(names("b")[0], "", nil, 0)
	_, _, wake := b.replace(b.clients["c1"], names("b"), 0)
	b.want("no longer", b.events()+say(wake, b.refs), "c1:b c2:a[c2] 3")
	b.want("expired", say(b.expired(60_001, 60_000)), "[c1]")
	wake = b.drop("c1", 0)
	b.want("left", b.events()+say(wake, b.refs), "c2:a,b[c2] 2")
	b.forget(names("a")[0])
	b.want("deleted", b.events()+fmt.Sprint(b.refs), "c2:b1")
	b.drop("c2", 0)
	if len(b.clients)+len(b.queues)+len(b.wild)+b.refs != 0 {
		t.Errorf("left: %+v", b.board)
	}
}

// One at a time reads a queue; a group that holds messages gets no more of it until they are acknowledged or visible.
func TestLines(t *testing.T) {
	l := newLines()
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("first", l.begin("q", "g"), true)
	check("second", l.begin("q", "g"), false)
	check("another group", l.begin("q", "h"), true)
	l.popped("q", "g", "", 100, 1000, []int64{5, 6})
	check("missed", l.end("q", "g"), true)
	check("nothing found", l.end("q", "h"), false)
	check("lines", l.n, 1)
	check("blocked", l.blocked("q", "g", "", 1099), true)
	check("not due", l.due(1099) == nil, true)
	next, free := l.ack("q", "g", 5, 1000, 5, 1010)
	check("one", say(next, free), "6 false")
	check("due", l.due(1100).queue, "q")
	check("once", l.due(1100) == nil, true)
	l.begin("q", "g")
	check("again", l.popped("q", "g", "", 100, 1200, []int64{6, 7}).Consumed[6], 1)
	l.end("q", "g")
	l.change("q", "g", 6, 1200, 5000, false)
	check("longer", l.due(4999) == nil, true)
	l.change("q", "g", 6, 1200, 1500, true)
	check("suspended", l.due(1500).group, "g")
	next, free = l.ack("q", "g", 6, 1200, 6, 1500)
	check("second one", say(next, free), "7 true")
	next, _ = l.ack("q", "g", 7, 1111, 7, 1500)
	check("of another pop", next, -2)
	next, free = l.ack("q", "g", 7, 1200, 7, 1500)
	check("all", say(next, free, len(l.ends)), "8 true 0")

	next, free = l.ack("r", "g", 3, 1, 3, 1500)
	check("not known: the next", say(next, free), "4 true")
	next, _ = l.ack("r", "g", 4, 1, 3, 1500)
	check("not known: a later one", next, -1)
	l.clear("q", "g")
	check("left", fmt.Sprint(l.n, len(l.all)), "0 0")
}

// The buckets are those of Java, on which producers decide.
func TestBucket(t *testing.T) {
	f, err := os.Open("testdata/buckets.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var name string
		var buckets, want int
		if _, err := fmt.Sscan(lines.Text(), &name, &buckets, &want); err != nil {
			t.Fatal(err)
		}
		if got := bucket(name, buckets); got != want {
			t.Errorf("%s of %d: %d, want %d", name, buckets, got, want)
		}
	}
	if n != 54 {
		t.Errorf("%d lines", n)
	}
	if x := (shards{"b1", "b2"}); !x.here([]string{"b1", "b2"}[bucket("a", 2)], "a") || x.here("b3", "a") || !shards(nil).here("b3", "a") {
		t.Error("here")
	}
}

// A lite topic expires when nothing was sent for long enough, or when there is nothing in it again and again.
func TestExpiry(t *testing.T) {
	const now = 100 * 60_000
	minute := func(n int64) int64 { return now - n*60_000 }
	e := newExpiry()
	for _, c := range []struct {
		name      string
		end, last int64
		minutes   int
		want      bool
	}{
		{"young", 1, minute(10), 5, false}, {"old", 1, minute(16), 5, true}, {"not so old", 1, minute(16), 16, false}, {"never", 1, minute(90), -1, false}, {"no parent", 1, minute(90), 0, false},
	} {
		if got := e.expired("q", c.end, c.last, now, c.minutes, 15*time.Minute); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	for i := range 7 {
		if i == 1 {
			e.expired("q", 1, minute(1), now, -1, 0) // it was not empty after all
			e.expired("q", 0, 0, now, -1, 0)
		}
		if got := e.expired("q", 0, 0, now, -1, 0); got != (i >= 5) {
			t.Errorf("look %d: %t", i, got)
		}
	}
	e.keep(func(string) bool { return false })
	if len(e.doubted) != 0 {
		t.Error("doubts about what is not there")
	}
}

package history

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// story builds a history step by step; each step takes a second.
type story struct {
	*History
	now  time.Duration
	acks map[string]*Send
}

func newStory() *story {
	s := &story{acks: make(map[string]*Send)}
	s.History = New(func() time.Duration { s.now += time.Second; return s.now })
	return s
}

var q0 = Queue{"broker-a", "T", 0}

// id reads "a1": producer a, number 1.
func id(name string) ID {
	var n int
	if _, err := fmt.Sscanf(name[1:], "%d", &n); err != nil {
		panic(err)
	}
	return ID{name[:1], n}
}

func (s *story) send(name string)             { s.acks[name] = s.Send(id(name), q0) }
func (s *story) acked(name string, off int64) { s.acks[name].Acked(off) }
func (s *story) sent(name string, off int64)  { s.send(name); s.acked(name, off) }
func (s *story) read(who string, off int64, name string) {
	s.Read(who, q0, off, Body(id(name), 40))
}
func (s *story) commit(off int64) { s.Commit("g", q0, off).Acked() }
func (s *story) stands(off int64) { s.Fetched("g", q0, s.Now(), off) }
func (s *story) ends(names ...string) {
	var bodies [][]byte
	for i, name := range names {
		bodies = append(bodies, Body(id(name), i*17))
	}
	s.Final(q0, 0, bodies)
}

var all = Promise{Acked: true, Reads: true}

// Each kind of violation is found, and what is allowed is not one.
func TestHistory_Check(t *testing.T) {
	for _, c := range []struct {
		name    string
		promise Promise
		do      func(s *story)
		want    string // kinds in the order in which they are found
	}{
		{"all is well", all, func(s *story) {
			s.sent("a1", 0)
			s.send("b1") // nobody knows
			s.send("c1") // nor here
			s.sent("a2", 2)
			s.read("x", 0, "a1")
			s.read("x", 1, "b1")
			s.commit(2)
			s.stands(2)
			s.read("y", 2, "a2")
			s.ends("a1", "b1", "a2")
		}, ""},
		{"lost at the end", all, func(s *story) { s.sent("a1", 0); s.sent("a2", 1); s.ends("a1") }, "lost"},
		{"everything lost", all, func(s *story) { s.sent("a1", 0) }, "lost"},
		{"another one in its place", all, func(s *story) {
			s.sent("a1", 0)
			s.send("b1")
			s.ends("b1")
		}, "one offset for two; lost"},
		{"an offset was promised twice", all, func(s *story) { s.sent("a1", 0); s.sent("b1", 0); s.ends("a1") }, "one offset for two; lost"},
		{"an offset of two that are lost", all, func(s *story) { s.sent("a1", 5); s.sent("b1", 5); s.ends() }, "lost; one offset for two; lost"},
		{"elsewhere than promised", all, func(s *story) { s.sent("a1", 7); s.ends("a1") }, "one offset for two"},
		{"loss without a promise", Promise{}, func(s *story) { s.sent("a1", 0); s.sent("a2", 1); s.sent("b1", 1); s.ends("a1", "b1") }, ""},
		{"stored twice", all, func(s *story) { s.sent("a1", 0); s.ends("a1", "a1") }, "one message at two"},
		{"nobody sent it", all, func(s *story) { s.ends("a1") }, "nobody sent"},
		{"of another queue", all, func(s *story) { s.Send(id("a1"), Queue{"broker-b", "T", 0}); s.ends("a1") }, "nobody sent"},
		{"spoiled in the store", all, func(s *story) {
			s.sent("a1", 0)
			b := Body(id("a1"), 40)
			b[30]++
			s.Final(q0, 0, [][]byte{b})
		}, "nobody sent; lost"},
		{"spoiled on the way", all, func(s *story) {
			s.sent("a1", 0)
			s.Read("x", q0, 0, Body(id("a1"), 40)[:39])
			s.ends("a1")
		}, "nobody sent"},
		{"read before it was sent", all, func(s *story) { s.read("x", 0, "a1"); s.sent("a1", 0); s.ends("a1") }, "nobody sent"},
		{"out of order", all, func(s *story) { s.sent("a1", 1); s.sent("b1", 0); s.ends("b1", "a1") }, "out of order"},
		{"out of order, the later one without an answer", all, func(s *story) {
			s.sent("a1", 1)
			s.send("a2")
			s.ends("a2", "a1")
		}, "out of order"},
		{"at the same time there is no order", all, func(s *story) {
			s.send("a1")
			s.sent("b1", 0)
			s.acked("a1", 1)
			s.ends("b1", "a1")
		}, ""},
		{"what nobody answered may come late", all, func(s *story) { s.send("a1"); s.sent("a2", 0); s.ends("a2", "a1") }, ""},
		{"old messages were removed", all, func(s *story) {
			s.sent("a1", 0)
			s.sent("a2", 1)
			s.read("x", 0, "a1")
			s.Final(q0, 1, [][]byte{Body(id("a2"), 9)})
		}, ""},
		{"seen and gone", all, func(s *story) { s.send("a1"); s.read("x", 0, "a1"); s.ends() }, "seen and taken"},
		{"seen and replaced", all, func(s *story) {
			s.send("a1")
			s.send("b1")
			s.read("x", 0, "a1")
			s.ends("b1")
		}, "seen and taken"},
		{"seen and gone without a promise", Promise{Acked: true}, func(s *story) { s.send("a1"); s.read("x", 0, "a1"); s.ends() }, ""},
		{"read with a gap", all, func(s *story) {
			s.sent("a1", 0)
			s.sent("a2", 1)
			s.sent("a3", 2)
			s.read("x", 0, "a1")
			s.read("x", 2, "a3")
			s.ends("a1", "a2", "a3")
		}, "passed over"},
		{"read again in one session", all, func(s *story) {
			s.sent("a1", 0)
			s.read("x", 0, "a1")
			s.read("x", 0, "a1")
			s.ends("a1")
		}, "out of order"},
		{"read again in another session", all, func(s *story) {
			s.sent("a1", 0)
			s.read("x", 0, "a1")
			s.read("y", 0, "a1")
			s.ends("a1")
		}, ""},
		{"an offset was forgotten", all, func(s *story) { s.sent("a1", 0); s.commit(1); s.stands(-1); s.ends("a1") }, "went back"},
		{"an offset went back", all, func(s *story) {
			s.sent("a1", 0)
			s.sent("a2", 1)
			s.commit(1)
			s.commit(2)
			s.stands(1)
			s.ends("a1", "a2")
		}, "went back"},
		{"it may go back a little", Promise{Acked: true, Commits: 3 * time.Second}, func(s *story) { s.commit(1); s.commit(2); s.stands(1) }, ""},
		{"but no more", Promise{Acked: true, Commits: 3 * time.Second}, func(s *story) {
			s.commit(1)
			s.commit(2)
			s.commit(3)
			s.stands(1)
		}, "went back"},
		{"or what a fault struck soon after", Promise{Acked: true, Commits: 3 * time.Second}, func(s *story) {
			s.commit(2)
			s.Fault("killed")
			s.now += time.Minute
			s.stands(-1)
		}, ""},
		{"but not what a fault struck late", Promise{Acked: true, Commits: 3 * time.Second}, func(s *story) {
			s.commit(2)
			s.now += 10 * time.Second
			s.Fault("killed")
			s.now += time.Minute
			s.stands(-1)
		}, "went back"},
		{"without a promise", Promise{Commits: -1}, func(s *story) { s.commit(2); s.stands(1) }, ""},
		{"who starts anew at a lower offset commits lower ones", Promise{Commits: 4 * time.Second}, func(s *story) {
			s.commit(9)
			s.now += 10 * time.Second
			s.commit(4)
			s.stands(4)
		}, ""},
		{"no answer: it may count or not", all, func(s *story) {
			s.sent("a1", 0)
			s.commit(0)
			s.Commit("g", q0, 1)
			s.stands(0)
			s.stands(1)
			s.ends("a1")
		}, ""},
		{"nobody committed it", all, func(s *story) { s.sent("a1", 0); s.commit(0); s.stands(1); s.ends("a1") }, "nobody committed"},
		{"not yet", all, func(s *story) { s.stands(1); s.sent("a1", 0); s.commit(1); s.ends("a1") }, "nobody committed"},
		{"behind the end", all, func(s *story) { s.commit(2); s.stands(2) }, "nobody committed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory()
			c.do(s)
			var want []string
			if c.want != "" {
				want = strings.Split(c.want, "; ")
			}
			got := s.Check(c.promise)
			bad := len(got) != len(want)
			for i := range min(len(got), len(want)) {
				bad = bad || !strings.Contains(string(got[i].Kind), want[i])
			}
			if bad {
				var dump strings.Builder
				if err := s.Dump(&dump); err != nil {
					t.Error(err)
				}
				t.Errorf("got %v, want %q\n%s", got, want, &dump)
			}
		})
	}
}

// What was recorded can be counted and read.
func TestHistory_Dump(t *testing.T) {
	s := newStory()
	s.sent("a1", 0)
	s.send("b1")
	s.Fault("kill -9 %s", "broker-a-0")
	s.read("x", 0, "a1")
	s.commit(1)
	s.stands(1)
	s.ends("a1")
	if got, want := s.Counts(), (Counts{Sent: 2, Acked: 1, Held: 1, Read: 1, Committed: 1, Fetched: 1, Faults: 1}); got != want || s.Faults() != 1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var dump strings.Builder
	if err := s.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	want := `    1.000000 send a#1 to broker-a/T/0
    2.000000 acked a#1 at broker-a/T/0@0
    3.000000 send b#1 to broker-a/T/0
    4.000000 FAULT kill -9 broker-a-0
    5.000000 x read a#1 at broker-a/T/0@0
    6.000000 g commits broker-a/T/0@1
    7.000000 g has committed broker-a/T/0@1
    9.000000 g stands at broker-a/T/0@1, asked at 8s
in the end a#1 at broker-a/T/0@0
`
	if dump.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &dump, want)
	}
}

// A body says whose it is; a changed byte, a missing one and a stranger are seen.
func TestParse(t *testing.T) {
	for _, size := range []int{0, 10, 11, 40, 3000} {
		want := ID{"w-3", 1234567}
		b := Body(want, size)
		if len(b) < size {
			t.Errorf("%d bytes, want %d", len(b), size)
		}
		if got, err := Parse(b); err != nil || got != want {
			t.Errorf("size %d: %v, %v", size, got, err)
		}
		for i := range b {
			c := append([]byte(nil), b...)
			c[i] ^= 1
			if got, err := Parse(c); err == nil && got == want {
				t.Errorf("size %d: byte %d was changed, and nobody sees it", size, i)
			}
		}
		if _, err := Parse(b[:len(b)-1]); err == nil && size > 20 {
			t.Errorf("size %d: the last byte is missing, and nobody sees it", size)
		}
	}
	for _, b := range []string{"", "x", "a#1", "a#1.5", "a1.5.", "a#x.5.", "a#1.-5.", "a#1.99999999999999999999.", "a#1.999999999999."} {
		if id, err := Parse([]byte(b)); err == nil {
			t.Errorf("%q belongs to %v", b, id)
		}
	}
}

// Nothing that is parsed is anything but the whole of what was made.
func FuzzParse(f *testing.F) {
	f.Add(Body(ID{"a", 1}, 40))
	f.Add([]byte("a#1.9.x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := Parse(b); err == nil && !bytes.Equal(b, Body(id, len(b))) {
			t.Errorf("%q belongs to %v", b, id)
		}
	})
}

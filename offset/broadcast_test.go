package offset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
)

// stage is a Broadcast with time of its own.
type stage struct {
	t         *testing.T
	b         *Broadcast
	now       time.Time
	connected []string
}

func newStage(t *testing.T) *stage {
	return &stage{t: t, b: NewBroadcast(newTable(Config{FS: vfs.OS, Dir: t.TempDir()})), now: time.Unix(1_700_000_000, 0)}
}

func (s *stage) who(client string, proxy bool) Listener {
	return Listener{Group: []byte("g"), Topic: []byte("T"), Queue: 1, Client: client, Proxy: proxy}
}

func (s *stage) pull(client string, proxy bool, offset int64) {
	s.b.Pulled(s.who(client, proxy), offset, s.now)
}

// begin is what a pull from an offset is told: "stay", or where to begin.
func (s *stage) begin(client string, proxy bool, from int64, want string) {
	s.t.Helper()
	got := "stay"
	if offset, begin := s.b.Begin(s.who(client, proxy), from); begin {
		got = fmt.Sprint(offset)
	}
	if got != want {
		s.t.Errorf("pull of %s, proxy %t, from %d: %s, want %s", client, proxy, from, got, want)
	}
}

// commit lets some seconds pass and looks at what is committed for all clients.
func (s *stage) commit(seconds int, want int64) {
	s.t.Helper()
	s.now = s.now.Add(time.Duration(seconds) * time.Second)
	s.b.Commit(s.now, 120*time.Second, 300*time.Second, func(string) []string { return s.connected })
	got, ok := s.b.offsets.Get([]byte("g@broadcast"), []byte("T"), 1)
	if !ok {
		got = -1
	}
	if got != want {
		s.t.Errorf("committed %d, want %d", got, want)
	}
}

// A client keeps its place when it goes from the broker to a proxy and back, and only then is told of it.
func TestBroadcast_Begin(t *testing.T) {
	s := newStage(t)
	s.begin("a", false, 7, "stay")
	s.begin("a", true, 7, "stay")
	s.begin("a", true, -1, "-1") // a proxy does not know where to begin, nor do we

	s.pull("a", false, 7)
	s.begin("a", false, 7, "stay")
	s.begin("a", false, -1, "stay")
	s.begin("a", true, -1, "7")
	s.begin("a", true, 3, "7")
	s.pull("a", true, 9)
	s.begin("a", true, 9, "stay")
	s.begin("a", true, -1, "9")
	s.begin("a", false, 2, "9")
	s.pull("a", false, 4) // less than before
	s.begin("a", true, -1, "9")

	s.begin("b", true, -1, "-1")
	s.connected = []string{"a"}
	s.commit(5, 9)
	s.begin("b", true, -1, "9") // what all have
	s.begin("b", false, -1, "stay")
	other := s.who("a", true)
	other.Queue = 2
	if offset, begin := s.b.Begin(other, -1); offset != -1 || !begin {
		t.Errorf("in another queue: %d, %t", offset, begin)
	}
}

// What is committed is the least of all that are connected, or pulled not long ago.
func TestBroadcast_Commit(t *testing.T) {
	s := newStage(t)
	s.commit(0, -1)
	s.pull("gone", false, 3)
	s.pull("there", false, 10)
	s.pull("ahead", true, 20)
	s.connected = []string{"there"}
	s.commit(5, 3)
	s.pull("ahead", true, 25)
	s.commit(110, 3)
	s.pull("ahead", true, 30)
	s.commit(5, 10) // "gone" is silent for 120 s
	s.begin("gone", true, 0, "stay")
	s.commit(120, 10)
	s.begin("ahead", false, 0, "stay") // forgotten too
	s.begin("there", true, -1, "10")
	s.commit(60, 10) // even who is connected, after 300 s, but what it had still counts this time
	if n := s.b.count; n != 0 || len(s.b.groups) != 0 {
		t.Errorf("%d clients are left in %v", n, s.b.groups)
	}
	changes := s.b.offsets.changes.Load()
	s.pull("there", false, 10)
	s.commit(5, 10)
	if s.b.offsets.changes.Load() != changes {
		t.Error("the same offset is committed again")
	}
}

// What clients and proxies may make us remember is bounded.
func TestBroadcast_Bounds(t *testing.T) {
	s := newStage(t)
	s.pull("", true, 1)
	s.pull(strings.Repeat("x", maxClientID+1), true, 1)
	if s.b.count != 0 {
		t.Errorf("%d clients without a name that can be kept", s.b.count)
	}
	for i := range maxHeard + 5 {
		s.pull(fmt.Sprint(i), true, 1)
	}
	if s.b.count != maxHeard {
		t.Errorf("%d clients, want %d", s.b.count, maxHeard)
	}
	s.begin(fmt.Sprint(maxHeard), false, 0, "stay")
	s.begin("0", false, 0, "1")
}

// A pull of a client that is known allocates nothing.
func TestBroadcast_Allocations(t *testing.T) {
	s := newStage(t)
	l := s.who("a", false)
	s.b.Pulled(l, 1, s.now)
	if n := testing.AllocsPerRun(100, func() {
		if _, begin := s.b.Begin(l, 1); !begin {
			s.b.Pulled(l, 1, s.now)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

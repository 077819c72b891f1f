package clientmgr

import (
	"slices"
	"testing"
	"time"

	"rocketd/protocol"
)

func TestLocks(t *testing.T) {
	s := NewLocks()
	a, b := &peer{name: "a"}, &peer{name: "b"}
	q0, q1, q2 := protocol.MessageQueue{Topic: "T", BrokerName: "broker", QueueID: 0}, protocol.MessageQueue{Topic: "T", BrokerName: "broker", QueueID: 1}, protocol.MessageQueue{Topic: "T", BrokerName: "broker", QueueID: 2}
	at := func(d time.Duration) time.Time { return start.Add(d) }
	check := func(d time.Duration, p *peer, want, ask []protocol.MessageQueue) {
		t.Helper()
		if got := s.Lock(at(d), "g", "id-"+p.name, p, ask); !slices.Equal(got, want) {
			t.Errorf("%s at %v got %v, want %v", p.name, d, got, want)
		}
	}
	check(0, a, []protocol.MessageQueue{q0, q1}, []protocol.MessageQueue{q0, q1})
	check(1, b, []protocol.MessageQueue{q2}, []protocol.MessageQueue{q0, q1, q2})
	check(2, a, []protocol.MessageQueue{q0}, []protocol.MessageQueue{q0, q2}) // takes q0 once more
	if got := s.Lock(at(2), "h", "id-b", b, []protocol.MessageQueue{q0}); len(got) != 1 {
		t.Error("groups share locks")
	}
	s.Unlock("g", "id-b", []protocol.MessageQueue{q0, q2, {Topic: "none"}}) // q0 is not its own
	check(3, b, nil, []protocol.MessageQueue{q0})
	check(3, a, []protocol.MessageQueue{q2}, []protocol.MessageQueue{q2})

	if !s.Locked(at(lockLife+2), "g", "id-a", q0) || s.Locked(at(0), "g", "id-b", q0) || s.Locked(at(lockLife+3), "g", "id-a", q0) {
		t.Error("Locked is wrong")
	}
	if !s.Held(at(lockLife+3), []byte("g")) || s.Held(at(lockLife+4), []byte("g")) || s.Held(at(0), []byte("none")) {
		t.Error("Held is wrong")
	}
	check(lockLife+2, b, []protocol.MessageQueue{q1}, []protocol.MessageQueue{q0, q1, q2}) // q1 was not asked for again
	s.Expire(at(lockLife + 3))
	if n := len(s.groups["g"]); n != 2 {
		t.Errorf("%d locks after expiry, want q1 and q2", n)
	}
	s.Unlock("g", "id-a", []protocol.MessageQueue{q0, q1, q2})
	s.Unlock("g", "id-b", []protocol.MessageQueue{q0, q1, q2})
	s.Unlock("h", "id-b", []protocol.MessageQueue{q0})
	s.Unlock("none", "id-b", []protocol.MessageQueue{q0})
	if len(s.groups) != 0 || len(s.peers) != 0 {
		t.Errorf("left: %v %v", s.groups, s.peers)
	}
}

// The lock follows its client to a new connection: when the old one closes, it stays.
func TestLocks_Closed_AfterReconnect(t *testing.T) {
	s := NewLocks()
	old, now, other := &peer{name: "a"}, &peer{name: "a"}, &peer{name: "b"}
	q := []protocol.MessageQueue{{Topic: "T"}}
	s.Lock(start, "g", "id-a", old, q)
	s.Lock(start, "g", "id-a", now, q)
	s.Closed(old)
	if got := s.Lock(start, "g", "id-b", other, q); got != nil {
		t.Error("the lock was given away")
	}
	s.Closed(now)
	if got := s.Lock(start, "g", "id-b", other, q); len(got) != 1 {
		t.Error("the lock is not free")
	}
}

func TestLocks_Bound(t *testing.T) {
	s := NewLocks()
	p := &peer{name: "a"}
	many := make([]protocol.MessageQueue, maxLocks+5)
	for i := range many {
		many[i].QueueID = int32(i)
	}
	if got := len(s.Lock(start, "g", "id-a", p, many)); got != maxLocks {
		t.Errorf("%d locks for one connection", got)
	}
	if got := len(s.Lock(start, "g", "id-a", p, many)); got != maxLocks {
		t.Errorf("%d locks when asked again", got)
	}
	s.Closed(p)
	if len(s.groups) != 0 || len(s.peers) != 0 {
		t.Error("locks are left")
	}
}

package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// A half message that is old enough is put back and its producer asked: for the new copy, with the message as it will be.
// It is asked for again in each round, and put aside after the last. At no time there are two of it.
func TestService_Check(t *testing.T) {
	w := newWorld(t)
	w.prepare("a", "T")
	if asked := w.check(6 * time.Second); len(asked) != 0 {
		t.Errorf("asked %v in its immunity", asked)
	}
	for times := 1; times <= 3; times++ {
		asked := w.check(30 * time.Second)
		if len(asked) != 1 || asked[0].offset != int64(times) {
			t.Fatalf("asked %v", asked)
		}
		w.want("a", "", "")
		c := w.peer.asked[0]
		var h protocol.CheckTransactionStateRequest
		if err := h.Decode(c.Fields); err != nil {
			t.Fatal(err)
		}
		id := string(message.AppendOffsetID(nil, host, asked[0].physical))
		if c.Code != 39 || h.Topic != topic.TransHalf || h.MsgID != "a" || h.TransactionID != "a" || h.OffsetMsgID != id || string(h.RPC.Broker) != "b" {
			t.Errorf("asked with %d %+v", c.Code, h)
		}
		r, err := message.Decode(c.Body)
		if err != nil || !r.CheckCRC() || string(r.Topic) != "T" || r.QueueID != 1 || r.QueueOffset != asked[0].offset || r.Physical != asked[0].physical || string(r.Body) != "body of a" {
			t.Errorf("asked for %+v, %v", r, err)
		}
		if n, _ := message.Property(r.Properties, message.PropTransactionCheckTimes); string(n) != fmt.Sprint(times) {
			t.Errorf("check %s, want %d", n, times)
		}
		if times == 2 {
			w.kill()
		}
	}
	if asked := w.check(30 * time.Second); len(asked) != 0 {
		t.Errorf("asked %v after the last check", asked)
	}
	w.want("", "", "a")
	w.kill()
	w.want("", "", "a")
	w.check(30 * time.Second)
	w.want("", "", "a")
}

// Any copy ends the transaction, once: the first, one in between, the last; now and after a restart.
func TestService_Check_AnyCopy(t *testing.T) {
	for which := range 3 {
		for _, restart := range []bool{false, true} {
			w := newWorld(t)
			a, _ := w.prepare("a", "T")
			copies := []place{a}
			copies = append(copies, w.check(30*time.Second)...)
			copies = append(copies, w.check(30*time.Second)...)
			if restart {
				w.kill()
			}
			if got := w.end(copies[which], commit); got != "0" {
				t.Errorf("copy %d, restart %v: %s", which, restart, got)
			}
			w.want("", "a", "")
			w.kill()
			for _, c := range copies {
				if got := w.end(c, commit); !strings.Contains(got, "is over") {
					t.Errorf("again: %s", got)
				}
			}
			if asked := w.check(30 * time.Second); len(asked) != 0 {
				t.Errorf("asked %v", asked)
			}
			w.want("", "a", "")
		}
	}
}

// The producers of a group are asked in turn, those that are gone are not, and a group without any is checked all the
// same, as Java does.
func TestService_Check_Producers(t *testing.T) {
	w := newWorld(t)
	peers := []*peer{{}, {closed: true}, {}}
	w.group["P"] = nil
	for _, p := range peers {
		w.group["P"] = append(w.group["P"], clientmgr.Client{Peer: p})
	}
	for i := range 12 {
		w.prepare(fmt.Sprint("m", i), "T")
	}
	w.check(30 * time.Second)
	if a, b, c := len(peers[0].asked), len(peers[1].asked), len(peers[2].asked); a == 0 || b != 0 || c == 0 || a+c != 12 {
		t.Errorf("asked %d, %d, %d", a, b, c)
	}
	delete(w.group, "P")
	for range 3 {
		w.check(30 * time.Second)
	}
	if got := strings.Count(w.found(topic.TransCheckMax), "m"); got != 12 {
		t.Errorf("%d discarded", got)
	}
}

// judge at the edges of each limit.
func TestRules_judge(t *testing.T) {
	r := Rules{Timeout: 6 * time.Second, CheckMax: 3, Reserved: time.Hour}
	const born = 1_000_000
	for _, c := range []struct {
		name            string
		age, stored     time.Duration // since it was born; of its record
		times, immunity int           // seconds, -1: none
		want            action
	}{
		{"new", 0, 0, 0, -1, leave},
		{"before its time", 6*time.Second - time.Millisecond, 0, 0, -1, leave},
		{"at its time", 6 * time.Second, 0, 0, -1, leave},
		{"behind its time", 6*time.Second + time.Millisecond, 0, 0, -1, check},
		{"asked", time.Minute, 30 * time.Second, 2, -1, check},
		{"asked often", time.Minute, 30 * time.Second, 3, -1, discard},
		{"patient", 10 * time.Second, 0, 0, 10, leave},
		{"patient no more", 10*time.Second + time.Millisecond, 0, 0, 10, check},
		{"in a hurry", time.Millisecond, 0, 0, 0, check},
		{"in its time, whatever was asked", 10 * time.Second, 0, 99, 10, leave},
		{"very old", time.Hour + time.Millisecond, 0, 1, -1, discard},
		{"very old, never asked", time.Hour + time.Millisecond, 0, 0, -1, check},
		{"from a clock that is ahead", -time.Minute, -time.Minute, 0, -1, leave},
		{"from a clock that is ahead, in time", 6*time.Second - time.Minute, -time.Minute, 0, -1, leave},
		{"from a clock that is ahead, old", 6*time.Second + time.Millisecond - time.Minute, -time.Minute, 0, -1, check},
		{"our clock went back", -time.Minute, 0, 0, -1, check},
	} {
		h := half{Record: message.Record{BornMs: born, StoreMs: born + c.stored.Milliseconds()}, times: c.times, immunity: time.Duration(c.immunity) * time.Second}
		if got := r.judge(&h, time.UnixMilli(born).Add(c.age)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	r.CheckMax = 0
	h := half{Record: message.Record{BornMs: born, StoreMs: born}, immunity: -1}
	if got := r.judge(&h, time.UnixMilli(born).Add(time.Minute)); got != check {
		t.Errorf("with transactionCheckMax=0, never asked: %d", got)
	}
}

// While a half message is put back, nobody can end its transaction, and whoever tries is served afterwards.
func TestService_End_WhileMoving(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	if !w.svc.move(a.offset) {
		t.Fatal("it is not open")
	}
	moving := w.svc.moved
	var waited bool
	w.svc.cfg.Offload = func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
		waited = true
		w.svc.mu.Lock()
		w.svc.ledger.stay(a.offset)
		close(moving)
		w.svc.moved = nil
		w.svc.mu.Unlock()
		clone := *c
		if err := run(t.Context(), &clone); err != nil {
			t.Error(err)
		}
	}
	if got := w.end(a, commit); got != "0" || !waited {
		t.Errorf("answer %q, waited %v", got, waited)
	}
	w.want("", "a", "")
}

// When copies cannot be written, all stays open as it was, and nobody is asked.
func TestService_Check_DiskFails(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.disk.Before = func(op vfs.Op, _ string) error {
		if op == vfs.OpWrite {
			return errors.New("broken")
		}
		return nil
	}
	w.now = w.now.Add(time.Minute)
	if err := w.svc.check(t.Context(), w.now); err == nil {
		t.Error("no error")
	}
	if len(w.peer.asked) != 0 || w.svc.moved != nil || len(w.svc.ledger.moving) != 0 {
		t.Error("asked, or still moving")
	}
	w.kill()
	if got := w.end(a, commit); got != "0" {
		t.Error(got)
	}
	w.want("", "a", "")
}

// The offsets that a restart begins at go on when what is before them is done and on the disk, not earlier, and never
// behind one that is open.
func TestService_settle(t *testing.T) {
	w := newWorld(t)
	var at []place
	for _, uniq := range strings.Fields("a b c d") {
		p, _ := w.prepare(uniq, "T")
		at = append(at, p)
	}
	at0 := at[0]
	check := func(half, op int64) {
		t.Helper()
		h, _ := w.offsets.Get([]byte(group), []byte(topic.TransHalf), 0)
		o, _ := w.offsets.Get([]byte(group), []byte(topic.TransOpHalf), 0)
		if h != half || o != op {
			t.Errorf("offsets %d and %d, want %d and %d", h, o, half, op)
		}
	}
	w.end(at[1], commit)
	w.check(time.Second)
	check(0, 0)
	w.end(at0, commit)
	w.check(time.Second)
	check(0, 0) // nothing is on the disk
	w.flush()
	w.check(time.Second)
	check(2, 0) // the op messages may name what is behind 2
	w.end(at[2], rollback)
	w.end(at[3], commit)
	w.check(time.Second)
	w.flush()
	w.check(time.Second)
	check(4, 4)
	w.save()
	w.kill()
	w.want("", "b a d", "")
	if w.svc.ledger.kept != 4 {
		t.Errorf("began at %d", w.svc.ledger.kept)
	}
}

// A half message that is just being put back by hand is not done for good: if that fails, it is as open as before.
func TestService_settle_Moving(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.flush()
	if !w.svc.move(a.offset) {
		t.Fatal("it does not move")
	}
	w.check(time.Second)
	w.svc.mu.Lock()
	w.svc.ledger.stay(a.offset)
	w.svc.mu.Unlock()
	w.want("a", "", "")
	w.save()
	w.kill()
	w.want("a", "", "")
	if got := w.end(a, commit); got != "0" {
		t.Error(got)
	}
}

// A half message that was lost with its file, or that cannot be one, is no reason to stop.
func TestService_Check_Lost(t *testing.T) {
	w := newWorld(t)
	w.prepare("a", "")
	w.prepare("b", "T")
	w.prepare("c", strings.Repeat("t", 256))
	if asked := w.check(time.Minute); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
	w.want("b", "", "")
	w.kill()
	w.want("b", "", "")
}

// Many are put back in several writes, each once.
func TestService_Check_Many(t *testing.T) {
	w := newWorld(t)
	for i := range 3*roundCount + 5 {
		w.prepare(fmt.Sprint(i), "T")
	}
	n := len(w.check(time.Minute))
	open := strings.Fields(w.opened())
	slices.Sort(open)
	if n != 3*roundCount+5 || len(open) != n || len(slices.Compact(open)) != n {
		t.Errorf("asked for %d, %d are open", n, len(open))
	}
}

// Keys of any length cost no memory of their own: with a long one only the latest copy ends the transaction.
func TestService_Check_LongKey(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("k", maxUniq+1)
	a, _ := w.prepare(long, "T")
	asked := w.check(time.Minute)
	if len(asked) != 1 || len(w.svc.ledger.newest) != 0 {
		t.Fatalf("asked %v, %d keys are kept", asked, len(w.svc.ledger.newest))
	}
	if got := w.end(a, commit); !strings.HasPrefix(got, "1 ") {
		t.Errorf("the copy before the latest: %q", got)
	}
	w.kill()
	if got := w.end(asked[0], commit); got != "0" {
		t.Error(got)
	}
	w.want("", long, "")
}

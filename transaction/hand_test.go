package transaction

import (
	"context"
	"errors"
	"slices"
	"testing"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// A slave that acts for its master hands every open half message to another set, once and in order, also young ones, writes
// nothing, and keeps how far it has come: a master that begins there has none of them.
func TestService_Hand(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("A", "T")
	b, _ := w.prepare("B", "T")
	w.prepare("C", "T")
	w.prepare("D", "T")
	w.end(b, message.FlagCommit)
	w.flush()
	end := w.store.MaxPhysical()

	var handed []string
	busy := true
	away := put.New(put.Config{Log: w.store, Grew: func(*protocol.Turn, *consumequeue.Queue) {}, Stored: func(*consumequeue.Queue, int, int) {},
		Elsewhere: func(_ context.Context, records [][]byte) (int, error) {
			for i, record := range records {
				h, err := parseHalf(record)
				if err != nil {
					return i, err
				}
				if busy && string(h.uniq) == "C" {
					return i, errors.New("it does not answer")
				}
				handed = append(handed, string(h.uniq))
			}
			return len(records), nil
		}})
	w.svc.cfg.Slave = func() bool { return true }
	w.svc.courier = away.NewCourier()
	w.svc.forget()
	round := func() error {
		if err := w.svc.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.svc.check(t.Context(), w.now)
	}
	kept := func() int64 {
		at, _ := w.offsets.Get([]byte(group), []byte(topic.TransHalf), 0)
		return at
	}
	if err := round(); err == nil || !slices.Equal(handed, []string{"A"}) {
		t.Errorf("handed %q, %v", handed, err)
	}
	if at := kept(); at != 2 {
		t.Errorf("kept %d", at)
	}
	busy = false
	if err := round(); err != nil {
		t.Error(err)
	}
	if err := round(); err != nil || !slices.Equal(handed, []string{"A", "C", "D"}) {
		t.Errorf("handed %q, %v", handed, err)
	}
	if at := kept(); at != 4 {
		t.Errorf("kept %d", at)
	}
	if got := w.store.MaxPhysical(); got != end {
		t.Errorf("the log grew from %d to %d", end, got)
	}
	w.svc.cfg.Slave = func() bool { return false } // the master that comes back
	w.svc.forget()
	if err := w.svc.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.opened(); got != "" {
		t.Errorf("open at the master: %q", got)
	}
	if got := w.end(a, message.FlagCommit); got == "0" {
		t.Error("the master commits what another set has")
	}
}

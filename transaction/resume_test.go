package transaction

import (
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

func (w *world) resume(physical int64) error {
	c := &protocol.Call{Peer: w.peer}
	c.Set("topic", "T")
	c.Set("msgId", string(message.AppendOffsetID(nil, host, physical)))
	_, _, err := w.svc.Resume(w.t.Context(), c)
	return err
}

// A half message that is put back by hand counts as never asked for; there is one of it.
func TestService_Resume(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	asked := w.check(30 * time.Second)
	if err := w.resume(asked[0].physical); err != nil {
		t.Fatal(err)
	}
	w.want("a", "", "")
	w.kill()
	w.want("a", "", "")
	for range 3 {
		if asked = w.check(30 * time.Second); len(asked) != 1 {
			t.Fatalf("asked %v", asked)
		}
	}
	w.check(30 * time.Second)
	w.want("", "", "a")
	w.each(topic.TransCheckMax, func(r *message.Record) {
		if err := w.resume(r.Physical); err != nil {
			t.Fatal(err)
		}
	})
	w.want("a", "", "a")
	asked = w.check(30 * time.Second)
	if got := w.end(asked[0], commit); got != "0" {
		t.Error(got)
	}
	w.want("", "a", "a")
	if got := w.end(a, commit); got == "0" {
		t.Error("ended twice")
	}
}

// Whichever copy is named, and however often, one is open, here and after a restart, and it ends once.
func TestService_Resume_OneCopy(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	first := w.check(30 * time.Second)[0]
	w.check(30 * time.Second)
	one := func(physical int64) {
		t.Helper()
		if err := w.resume(physical); err != nil {
			t.Fatal(err)
		}
		if got := w.check(30 * time.Second); len(got) != 1 {
			t.Errorf("asked for %v", got)
		}
	}
	one(a.physical)
	one(first.physical)
	for range 3 {
		w.check(30 * time.Second)
	}
	w.want("", "", "a")
	var aside int64
	w.each(topic.TransCheckMax, func(r *message.Record) { aside = r.Physical })
	one(aside)
	one(aside)
	w.kill()
	one(aside)
	if got := w.end(a, commit); got != "0" {
		t.Error(got)
	}
	w.want("", "a", "a")
}

// What is no half message is not put back.
func TestService_Resume_Refused(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.end(a, commit)
	var at int64
	w.each("T", func(r *message.Record) { at = r.Physical })
	before := w.store.MaxPhysical()
	for physical, want := range map[int64]string{at: "it is no half message: its topic is T", at + 1: "msgId", -1: "msgId"} {
		if err := w.resume(physical); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", physical, err, want)
		}
	}
	c := &protocol.Call{Peer: w.peer}
	c.Set("topic", "T")
	c.Set("msgId", "nonsense")
	if _, _, err := w.svc.Resume(t.Context(), c); err == nil || !strings.Contains(err.Error(), "msgId") {
		t.Error(err)
	}
	w.svc.cfg.Slave = func() bool { return true }
	if w.resume(a.physical) == nil {
		t.Error("a slave has put it back")
	}
	if got := w.end(a, commit); !strings.HasPrefix(got, "11 ") {
		t.Errorf("a slave answers %q", got)
	}
	if w.store.MaxPhysical() != before {
		t.Error("something was stored")
	}
}

package transaction

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

const (
	commit   = message.FlagCommit
	rollback = message.FlagRollback
)

// A committed message is the prepared one, in its own topic and queue; a rolled back one is nowhere. Both are over, for
// this process and the next.
func TestService_End(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	b, _ := w.prepare("b", "T")
	w.want("a b", "", "")
	if got := w.end(a, commit) + ", " + w.end(b, rollback); got != "0, 0" {
		t.Errorf("answers %s", got)
	}
	w.want("", "a", "")
	w.each("T", func(r *message.Record) {
		if r.QueueID != 1 || r.Flag != 7 || r.SysFlag != message.FlagCompressed|commit || string(r.Body) != "body of a" || r.ReconsumeTimes != 2 ||
			r.PreparedOffset != a.physical || r.BornMs != 1_000_000 || r.BornHost != netip.MustParseAddrPort("192.0.2.10:5") {
			t.Errorf("restored as %+v", r)
		}
		want := "UNIQ_KEY=a PGROUP=P TRAN_MSG=true TAGS=tag __transactionId__=a"
		if got := strings.TrimSpace(strings.NewReplacer("\x01", "=", "\x02", " ").Replace(string(r.Properties))); got != want {
			t.Errorf("properties %s, want %s", got, want)
		}
	})
	if u, err := w.store.Unit(w.store.Queue("T", 1), 0); err != nil || u.Tag != message.TagsCode([]byte("tag")) {
		t.Errorf("unit %+v, %v", u, err)
	}
	w.kill()
	w.want("", "a", "")
}

// What a turn ends is said to be over by one op message behind the messages that it commits, in the form of Java's.
func TestService_End_OneOp(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	b, _ := w.prepare("b", "T")
	c, _ := w.prepare("c", "T")
	w.ends(request(a, commit), request(b, rollback), request(c, commit))
	var after int64
	w.each("T", func(r *message.Record) { after = max(after, r.Physical) })
	n := 0
	w.each(topic.TransOpHalf, func(r *message.Record) {
		tag, _ := message.Property(r.Properties, message.PropTags)
		if n++; string(r.Body) != "0,1,2," || string(tag) != "d" || r.Physical < after || r.QueueID != 0 {
			t.Errorf("op message %+v", r)
		}
	})
	if n != 1 {
		t.Errorf("%d op messages", n)
	}
	w.svc.cfg.MaxOp = func() int { return 3 }
	var more []place
	for _, uniq := range []string{"d", "e", "f"} {
		at, _ := w.prepare(uniq, "T")
		more = append(more, at)
	}
	w.ends(request(more[0], commit), request(more[1], commit), request(more[2], commit))
	var bodies []string
	w.each(topic.TransOpHalf, func(r *message.Record) { bodies = append(bodies, string(r.Body)) })
	if got := strings.Join(bodies, " "); got != "0,1,2, 3,4, 5," {
		t.Errorf("op messages %q", got)
	}
}

// The first outcome is the only one, whichever comes again, in one turn or later, or after a restart.
func TestService_End_Twice(t *testing.T) {
	for _, first := range []int32{commit, rollback} {
		w := newWorld(t)
		a, _ := w.prepare("a", "T")
		want := ""
		if first == commit {
			want = "a"
		}
		said := w.ends(request(a, first), request(a, commit), request(a, rollback))
		if said[0] != "0" || !strings.HasPrefix(said[1], "1 ") || !strings.HasPrefix(said[2], "1 ") {
			t.Errorf("answers %q", said)
		}
		for range 2 {
			for _, again := range []int32{commit, rollback} {
				if got := w.end(a, again); !strings.Contains(got, "tranStateTableOffset 0 is over") {
					t.Errorf("answer %q", got)
				}
			}
			w.want("", want, "")
			w.kill()
		}
	}
}

// A request that does not fit its half message is refused with Java's code and names the field; nothing changes.
func TestService_End_Refused(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	patient, _ := w.prepare("patient", "T", message.PropCheckImmunityTimeInSeconds, "10")
	plain := place{physical: -1}
	for _, c := range []struct {
		at   place
		more []string
		want string
	}{
		{a, []string{"producerGroup", "other"}, "1 The producer group wrong: producerGroup other"},
		{place{offset: a.offset + 1, physical: a.physical}, nil, "1 The transaction state table offset wrong: tranStateTableOffset 1"},
		{place{offset: a.offset, physical: a.physical + 1}, nil, "1 Find prepared transaction message failed: commitLogOffset"},
		{plain, nil, "1 Find prepared transaction message failed: commitLogOffset"},
		{place{physical: 1 << 60}, nil, "1 Find prepared transaction message failed: commitLogOffset"},
		{a, []string{"commitOrRollback", "x"}, "1 "},
		{a, []string{"commitOrRollback", "0"}, ""},
		{a, []string{"commitOrRollback", "4"}, ""},
	} {
		if got := w.end(c.at, commit, c.more...); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%v %v: %q, want %q", c.at, c.more, got, c.want)
		}
	}
	w.now = w.now.Add(10 * time.Second)
	if got := w.end(patient, commit, "fromTransactionCheck", "false"); got != "0" {
		t.Errorf("at its immunity: %q", got)
	}
	late, _ := w.prepare("late", "T", message.PropCheckImmunityTimeInSeconds, "10")
	w.now = w.now.Add(10*time.Second + time.Millisecond)
	if got := w.end(late, commit); !strings.HasPrefix(got, "604 ") || !strings.Contains(got, message.PropCheckImmunityTimeInSeconds) {
		t.Errorf("behind its immunity: %q", got)
	}
	w.want("a late", "patient", "")
	if got := w.end(late, commit, "fromTransactionCheck", "true"); got != "0" {
		t.Errorf("as the answer to a check: %q", got)
	}
	w.want("a", "patient late", "")
}

// Only half messages can be ended: not what lies anywhere else in the log, whatever its properties say.
func TestService_End_NoHalf(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.end(a, commit)
	w.each("T", func(r *message.Record) {
		got := w.end(place{offset: r.QueueOffset, physical: r.Physical}, commit)
		if !strings.Contains(got, "it is no half message: its topic is T") {
			t.Errorf("answer %q", got)
		}
	})
	w.each(topic.TransOpHalf, func(r *message.Record) {
		if got := w.end(place{offset: r.QueueOffset, physical: r.Physical}, commit); !strings.HasPrefix(got, "1 Find prepared") {
			t.Errorf("answer %q", got)
		}
	})
	w.want("", "a", "")
}

// A half message that is not in memory is read on the pool, and ended like any other.
func TestService_End_Cold(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	b, _ := w.prepare("b", "T")
	w.kill()
	if w.store.Hot(a.physical) {
		t.Fatal("it is hot")
	}
	if got := w.ends(request(a, commit), request(b, rollback), request(a, commit)); got[0] != "0" || got[1] != "0" || !strings.HasPrefix(got[2], "1 ") {
		t.Errorf("answers %q", got)
	}
	w.want("", "a", "")
}

// When nothing can be written, nothing is over, and the same may be asked again.
func TestService_End_DiskFails(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	b, _ := w.prepare("b", "T")
	w.disk.Before = func(vfs.Op, string) error { return errors.New("broken") }
	if got := w.ends(request(a, commit), request(b, rollback)); !strings.HasPrefix(got[0], "14 ") || !strings.HasPrefix(got[1], "14 ") {
		t.Errorf("answers %q", got)
	}
	if !w.svc.ledger.open(0) || !w.svc.ledger.open(1) {
		t.Error("over, though nothing was written")
	}
	w.kill()
	w.want("a b", "", "")
}

// A message that the store can never take, as it grew on its way to where it waits, ends no transaction: it stays open beside
// another of the same turn.
func TestService_End_TooLarge(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	b, _ := w.prepare("b", "T")
	w.divert = func(d *message.Draft, tag int64, _ time.Time) (*consumequeue.Queue, int64, *protocol.Error) {
		if uniq, _ := message.Property(d.Properties, message.PropUniqKey); string(uniq) == "a" {
			d.Body = make([]byte, 1<<20)
		}
		return w.store.Queue(string(d.Topic), d.QueueID), tag, nil
	}
	if got := w.ends(request(a, commit), request(b, commit)); !strings.HasPrefix(got[0], "13 ") || got[1] != "0" {
		t.Errorf("answers %q", got)
	}
	w.want("a", "b", "")
	w.divert = nil
	w.kill()
	w.want("a", "b", "")
	if got := w.end(a, commit); got != "0" {
		t.Errorf("afterwards: %q", got)
	}
	w.want("", "b a", "")
}

package transaction

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// write puts a record into a queue as another broker would have: no op message comes with it.
func (w *world) write(name string, queue int32, body, props string, sysFlag int32, prepared int64) place {
	d := message.Draft{Topic: []byte(name), Body: []byte(body), QueueID: queue, Properties: property(props), SysFlag: sysFlag, PreparedOffset: prepared,
		BornMs: w.now.UnixMilli(), BornHost: host, StoreHost: host}
	var at place
	w.turn(func(*protocol.Turn) {
		w.batch.Stage(w.store.Queue(name, queue), &d, 0, false, nil, protocol.Ticket{Peer: w.peer}, func(_ *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
			at = place{offset: o.Offset, physical: o.Physical}
		})
	})
	return at
}

// property is a property string from one like "A=1 B=2 ".
func property(text string) []byte {
	b := []byte(text)
	for i := range b {
		switch b[i] {
		case '=':
			b[i] = 1
		case ' ':
			b[i] = 2
		}
	}
	return b
}

// What Java left behind is understood: op messages with one number or many, garbage among them, and messages that were
// committed without an op message yet, up to 40 op messages ago.
func TestService_Load_Java(t *testing.T) {
	w := newWorld(t)
	var at []place
	for i := range 9 {
		p, _ := w.prepare("m"+strconv.Itoa(i), "T")
		at = append(at, p)
	}
	w.write("T", 1, "x", "UNIQ_KEY=m0 ", commit, at[0].physical)
	for range 40 {
		w.write(topic.TransOpHalf, 0, "1,", "TAGS=d ", 0, 0)
	}
	w.write(topic.TransOpHalf, 0, "2", "TAGS=d ", 0, 0)
	w.write(topic.TransOpHalf, 0, "3,x,-4,,99999,4 ", "TAGS=d ", 0, 0)
	w.write(topic.TransOpHalf, 0, "5,", "TAGS=e ", 0, 0)
	w.write("SCHEDULE_TOPIC_XXXX", 0, "x", "UNIQ_KEY=m6 REAL_TOPIC=T ", commit, at[6].physical)
	w.write(topic.TransCheckMax, 0, "x", "UNIQ_KEY=m7 REAL_TOPIC=T ", 0, at[7].physical)
	w.write("T", 1, "x", "UNIQ_KEY=m8 ", 0, at[8].physical) // not committed: no more than it looks like
	w.kill()
	if got := w.opened(); got != "m4 m5 m8" {
		t.Errorf("open: %s", got)
	}
	if got := w.counts["T"]; got != 3 {
		t.Errorf("%d are counted", got)
	}
	for range 70 { // what was found without an op message has one now
		w.write(topic.TransOpHalf, 0, "1,", "TAGS=d ", 0, 0)
	}
	w.kill()
	if got := w.opened(); got != "m4 m5 m8" {
		t.Errorf("open after another start: %s", got)
	}
}

// Copies that Java put back: of several the last is open, and one that it put back in its immunity is over when the first
// is. The producer may end it by the offsets of the first.
func TestService_Load_JavaCopies(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.prepare("a", "T", message.PropTransactionCheckTimes, "1")
	w.prepare("a", "T", message.PropTransactionCheckTimes, "2")
	b, _ := w.prepare("b", "T")
	w.prepare("b", "T", message.PropTransactionPreparedQueueOffset, "3", message.PropTransactionCheckTimes, "1")
	c, _ := w.prepare("c", "T")
	w.write(topic.TransOpHalf, 0, "5,", "TAGS=d ", 0, 0)
	w.prepare("c", "T", message.PropTransactionPreparedQueueOffset, "5")
	w.offsets.saved = map[string]int64{}
	w.kill()
	w.want("a b", "", "")
	if got := w.end(a, commit) + w.end(b, commit); got != "00" {
		t.Error(got)
	}
	if got := w.end(c, commit); got == "0" {
		t.Error("ended twice")
	}
	w.kill()
	w.want("", "a b", "")
	if asked := w.check(time.Minute); len(asked) != 0 {
		t.Errorf("asked %v", asked)
	}
}

// Offsets beyond the queues, as a log that was cut leaves them, mean that nothing before is open.
func TestService_Load_Beyond(t *testing.T) {
	w := newWorld(t)
	w.prepare("a", "T")
	w.offsets.Commit([]byte(group), []byte(topic.TransHalf), 0, 100)
	w.offsets.Commit([]byte(group), []byte(topic.TransOpHalf), 0, 100)
	w.save()
	w.kill()
	w.want("", "", "")
	b, _ := w.prepare("b", "T")
	if got := w.end(b, commit); got != "0" {
		t.Error(got)
	}
	w.want("", "b", "")
}

// Before the log is read, no transaction ends.
func TestService_Load_NotYet(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.crash(w.disk.Kill())
	w.load()
	if got := w.end(a, commit); got[:3] != "14 " {
		t.Errorf("answer %q", got)
	}
	if err := w.svc.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.end(a, commit); got != "0" {
		t.Errorf("answer %q", got)
	}
}

// The body of an op message may be anything.
func FuzzEachOp(f *testing.F) {
	for _, s := range []string{"", "1", "1,2,", ",,", "-1,", "99999999999999999999,", "1,x,2", "\xff,", "+1, 1,1 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var again []byte
		n := 0
		eachOp(body, func(offset int64) {
			if offset < 0 {
				t.Errorf("offset %d", offset)
			}
			again = appendOp(again, offset)
			n++
		})
		if n > len(body) {
			t.Errorf("%d offsets of %d bytes", n, len(body))
		}
		eachOp(again, func(int64) { n-- })
		if n != 0 {
			t.Errorf("%q is %q", body, again)
		}
	})
}

// A half message may have any properties; what can be made of it are whole records.
func FuzzParseHalf(f *testing.F) {
	f.Add([]byte("body"), property("REAL_TOPIC=T REAL_QID=1 UNIQ_KEY=u PGROUP=P TAGS=x "))
	f.Add([]byte("body"), property("REAL_TOPIC=T REAL_QID=-1 "))
	f.Add([]byte{}, property("REAL_TOPIC=T REAL_QID=99999999999 TRANSACTION_CHECK_TIMES=99999999999 CHECK_IMMUNITY_TIME_IN_SECONDS=9223372036854775807 TRAN_PREPARED_QUEUE_OFFSET=x"))
	f.Fuzz(func(t *testing.T, body, props []byte) {
		if len(props) > message.MaxProperties {
			return
		}
		d := message.Draft{Topic: []byte(topic.TransHalf), Body: body, Properties: props, SysFlag: commit, BornHost: host, StoreHost: host}
		h, err := parseHalf(message.AppendRecord(nil, &d))
		if err != nil {
			return
		}
		if h.immunity < -1 || h.times < 0 || h.realQueue < 0 {
			t.Errorf("%+v", h)
		}
		check := func(d message.Draft, _ int64) {
			if r, err := message.Decode(message.AppendRecord(nil, &d)); err != nil || len(r.Topic) == 0 || string(r.Body) != string(body) {
				t.Errorf("%+v, %v", r, err)
			}
		}
		check(h.restored(nil, 1, host))
		check(h.discarded(host))
		renewed, _ := h.renewed(nil, h.times+1, host)
		check(renewed, 0)
		if _, err := message.Decode(h.asked(renewed.Properties, host)); err != nil {
			t.Error(err)
		}
		again, err := parseHalf(message.AppendRecord(nil, &renewed))
		if err != nil || len(renewed.Properties) < len(props) && again.times < h.times {
			t.Errorf("renewed %+v, %v", again, err)
		}
	})
}

// Where the queues are shorter than the offsets say, as after a loss of the log, what is prepared from then on is open, also
// after the next start.
func TestService_Load_Shorter(t *testing.T) {
	w := newWorld(t)
	a, _ := w.prepare("a", "T")
	w.end(a, commit)
	for _, name := range []string{topic.TransHalf, topic.TransOpHalf} {
		w.offsets.Commit([]byte(group), []byte(name), 0, 3)
	}
	w.save()
	w.kill()
	w.save()
	b, _ := w.prepare("b", "T")
	for _, uniq := range strings.Fields("c d e") {
		w.prepare(uniq, "T")
	}
	w.end(b, commit)
	w.want("c d e", "a b", "")
	w.kill()
	w.want("c d e", "a b", "")
}

// A message that its producer sent twice, as it got no answer, is two that are open, and both are asked for; a restart takes
// the second for a copy of the first, and it ends under the offsets of either.
func TestService_Load_SentTwice(t *testing.T) {
	for named := range 2 {
		w := newWorld(t)
		var at [2]place
		at[0], _ = w.prepare("a", "T")
		at[1], _ = w.prepare("a", "T")
		w.want("a a", "", "")
		if named == 0 {
			if asked := w.check(30 * time.Second); len(asked) != 2 {
				t.Errorf("asked for %v", asked)
			}
		}
		w.kill()
		w.want("a", "", "")
		if got := w.end(at[named], commit); got != "0" {
			t.Errorf("%d: %q", named, got)
		}
		w.want("", "a", "")
		if got := w.end(at[1-named], commit); got == "0" {
			t.Errorf("%d: ended twice", named)
		}
		w.kill()
		w.want("", "a", "")
	}
}

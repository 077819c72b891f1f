package store

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rocketd/message"
)

func multiOn(c *Config) { c.MultiDispatch = true }

func sendMulti(t testing.TB, s *Store, topic, names string) *Entry {
	t.Helper()
	d := draft(topic, 3, "x")
	if names != "" {
		d.Properties = message.AppendProperty([]byte("k\x01v"), message.PropInnerMultiDispatch, []byte(names))
	}
	b := new(Batch)
	b.Add(s.Queue(topic, 3), d, 7)
	if err := s.Append(b, time.UnixMilli(1000)); err != nil {
		t.Fatal(err)
	}
	return b.At(0)
}

// ends prints where all queues end.
func ends(s *Store) string {
	var all []string
	for _, topic := range []string{"t", "u", "%LMQ%1", "%LMQ%2", "plain"} {
		for _, q := range s.Queues(topic) {
			all = append(all, fmt.Sprintf("%s/%d %d", topic, q.ID(), q.Max()))
		}
	}
	return strings.Join(all, ", ")
}

// A record is found in every queue that INNER_MULTI_DISPATCH names, and says which offsets it has there; also after a
// crash and when the queues are gone.
func TestStore_MultiDispatch(t *testing.T) {
	s := testStore(t, t.TempDir(), multiOn)
	for range 2 {
		var names []string
		e := sendMulti(t, s, "t", "%LMQ%1,%LMQ%2,plain")
		for i := range e.Further() {
			names = append(names, e.FurtherQueue(i).Topic())
		}
		if got := strings.Join(names, " "); got != "%LMQ%1 %LMQ%2 plain" {
			t.Fatal(got)
		}
		sendMulti(t, s, "u", "%LMQ%2")
		sendMulti(t, s, "t", "")
		sendMulti(t, s, "u", "%LMQ%1,%LMQ%1") // named twice: one unit
	}
	const want = "t/3 4, u/3 4, %LMQ%1/0 4, %LMQ%2/0 4, plain/3 2"
	check := func() {
		t.Helper()
		if got := ends(s); got != want {
			t.Fatalf("%s, not %s", got, want)
		}
		for i, offsets := range []string{"0,0,0", "1,1", "2,2,1", "3,3"} {
			at := []int64{0, 1, 2, 3}[i]
			topic := []string{"%LMQ%1", "%LMQ%1", "%LMQ%1", "%LMQ%1"}[i]
			got, res := s.Get(s.Find([]byte(topic), 0), Read{From: at, Max: 1}, nil)
			r, err := message.Decode(got)
			value, _ := message.Property(r.Properties, message.PropInnerMultiQueueOffset)
			if err != nil || string(value) != offsets {
				t.Fatalf("offset %d of %s: %q %+v %v", at, topic, r.Properties, res, err)
			}
		}
	}
	check()
	s = crash(t, s, multiOn)
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.path("consumequeue")); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, s.cfg.Dir, multiOn)
	check()
}

// Topics that are not for it, names that are none, and a store that is not told to, leave the record as it is.
func TestStore_MultiDispatch_Not(t *testing.T) {
	for _, c := range []struct {
		topic, names string
		on           bool
	}{
		{"t", "%LMQ%1", false},
		{"%RETRY%g", "%LMQ%1", true},
		{"rmq_sys_x", "%LMQ%1", true},
		{"SCHEDULE_TOPIC_XXXX", "%LMQ%1", true},
		{"t", "%LMQ%1,../x", true},
		{"t", "%LMQ%1,", true},
		{"t", "..", true},
		{"t", "%LMQ%1," + strings.Repeat("x", 256), true},
	} {
		s := testStore(t, t.TempDir(), func(cfg *Config) { cfg.MultiDispatch = c.on })
		sendMulti(t, s, c.topic, c.names)
		s = crash(t, s, multiOn)
		got, _ := s.Get(s.Find([]byte(c.topic), 3), Read{Max: 1}, nil)
		r, err := message.Decode(got)
		if _, ok := message.Property(r.Properties, message.PropInnerMultiQueueOffset); ok || err != nil || len(s.Topics()) != 1 {
			t.Errorf("%+v: %q %v %v", c, r.Properties, err, s.Topics())
		}
	}
}

// With PropCRC every record ends with its checksum, and who verifies takes no other.
func TestStore_PropCRC(t *testing.T) {
	s := testStore(t, t.TempDir(), func(c *Config) { c.PropCRC, c.MultiDispatch = true, true })
	for i := range 20 {
		d := draft("t", 0, fmt.Sprint(i))
		d.Properties = []byte([]string{"", "a\x01b", "a\x01b\x02", "__CRC32#\x010000000000\x02"}[i%4])
		b := new(Batch)
		b.Add(s.Queue("t", 0), d, 0)
		b.AddNext(s.Queue("t", 0), draft("t", 0, "next"), 0)
		if err := s.Append(b, time.UnixMilli(1)); err != nil {
			t.Fatal(err)
		}
		for j := range b.Len() {
			if rec := b.Record(j); !message.CheckPropCRC(rec) || strings.Count(string(rec), message.PropCRC32) != 1 {
				t.Fatalf("%q", rec)
			}
		}
	}
	verify := func(c *Config) { c.VerifyPropCRC = true }
	s = crash(t, s, verify)
	if q := s.Find([]byte("t"), 0); q.Max() != 40 {
		t.Fatal(q.Max())
	}
	send(t, s, "t", 0, "without")
	if s = crash(t, s, verify); s.Find([]byte("t"), 0).Max() != 40 {
		t.Fatal("a record without a checksum counts")
	}
}

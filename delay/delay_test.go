package delay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// kept is a table of offsets in memory.
type kept struct {
	wire []byte
	puts int
}

func (k *kept) Bytes() []byte { return k.wire }
func (k *kept) Put(wire []byte) error {
	k.wire = slices.Clone(wire)
	k.puts++
	return nil
}

func (k *kept) at(level int32) int64 {
	t, err := decode(k.wire)
	if err != nil {
		panic(err)
	}
	return t.OffsetTable[level]
}

// world is a store with messages that wait, and what delivers them.
type world struct {
	t      *testing.T
	store  *store.Store
	put    *put.Service
	levels message.DelayLevels
	kept   kept
	fail   func(q *consumequeue.Queue, n int) error // of a courier, before it commits
	flush  atomic.Int64                             // what Flushed says; -1: all
	broken func(r store.Read) bool                  // whether the disk does not give what is to be read
	log    strings.Builder
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, kept: kept{wire: []byte(`{"offsetTable":{}}`)}}
	w.flush.Store(-1)
	w.levels, _ = message.ParseDelayLevels("1s 5s 10s")
	var err error
	w.store, err = store.Open(store.Config{Dir: t.TempDir(), FileSize: 1 << 16, QueueFileSize: 2000, Tag: w.levels.Tag, Log: slog.New(slog.DiscardHandler),
		QueueKind: func(string) (consumequeue.Kind, bool) { return consumequeue.Simple, true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	w.put = put.New(put.Config{Log: w.store, MaxGroup: 1<<16 - 8, Grew: func(*protocol.Turn, *consumequeue.Queue) {}, Stored: func(*consumequeue.Queue, int, int) {}})
	return w
}

// Flushed is what the test says.
type flushes struct {
	*store.Store
	w *world
}

func (f flushes) Flushed() int64 {
	if at := f.w.flush.Load(); at >= 0 {
		return at
	}
	return f.MaxPhysical()
}

func (f flushes) Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult) {
	if f.w.broken != nil && f.w.broken(r) {
		return dst, store.ReadResult{Status: store.Unreadable, Next: r.From}
	}
	return f.Store.Get(q, r, dst)
}

// courier fails when the test wants it to.
type courier struct {
	*put.Courier
	w *world
	q *consumequeue.Queue
	n int
}

func (c *courier) Stage(q *consumequeue.Queue, d *message.Draft, tag int64) {
	c.q, c.n = q, c.n+1
	c.Courier.Stage(q, d, tag)
}

func (c *courier) Commit(ctx context.Context, now time.Time) ([]put.Placed, error) {
	n := c.n
	c.n = 0
	if c.w.fail != nil {
		if err := c.w.fail(c.q, n); err != nil {
			c.Courier = c.w.put.NewCourier() // nothing stays staged
			return nil, err
		}
	}
	return c.Courier.Commit(ctx, now)
}

func (w *world) service() *Service {
	return New(Config{Store: flushes{w.store, w}, Levels: w.levels, Progress: &w.kept, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		NewCourier: func() Courier { return &courier{Courier: w.put.NewCourier(), w: w} }})
}

// run runs a service; the function that it returns ends it.
func (w *world) run() (s *Service, stop func()) {
	s = w.service()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		w.t.Helper()
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func draft(name, body string) message.Draft {
	host := netip.MustParseAddrPort("192.0.2.1:10911")
	return message.Draft{Topic: []byte(name), Body: []byte(body), Properties: []byte("UNIQ_KEY\x01" + body + "\x02TAGS\x01t\x02"), QueueID: 2,
		Flag: 7, BornMs: 5, BornHost: host, StoreHost: host, ReconsumeTimes: 3}
}

// wait stores messages that wait.
func (w *world) wait(level int32, name string, bodies ...string) {
	w.t.Helper()
	c := w.put.NewCourier()
	for _, body := range bodies {
		d := draft(name, body)
		tag, _ := w.levels.Divert(&d, level, nil)
		c.Stage(w.store.Queue(topic.Schedule, d.QueueID), &d, tag)
	}
	if _, err := c.Commit(w.t.Context(), time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// arrived checks what is in queue 2 of a topic.
func (w *world) arrived(name string, want ...string) []message.Record {
	w.t.Helper()
	var got []string
	var all []message.Record
	q := w.store.Find([]byte(name), 2)
	for at := int64(0); q != nil && at < q.Max(); at++ {
		raw, _ := w.store.Get(q, store.Read{From: at, Max: 1}, nil)
		r, err := message.Decode(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		got, all = append(got, string(r.Body)), append(all, r)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s has %q, want %q", name, got, want)
	}
	return all
}

// later lets time pass and everything happen that is due then.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Messages arrive when they are due and not before, in order, each level by itself, as they were sent.
func TestService_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, stop := w.run()
		defer stop()
		w.wait(1, "T", "a", "b")
		w.wait(2, "T", "c")
		later(999 * time.Millisecond)
		w.arrived("T")
		w.wait(1, "T", "d")
		later(time.Millisecond)
		w.arrived("T", "a", "b")
		later(999 * time.Millisecond)
		got := w.arrived("T", "a", "b", "d")
		later(2999 * time.Millisecond)
		w.arrived("T", "a", "b", "d")
		later(2 * time.Millisecond)
		w.arrived("T", "a", "b", "d", "c")
		r, sent := got[0], draft("T", "a")
		if r.Flag != sent.Flag || r.BornMs != sent.BornMs || r.BornHost != sent.BornHost || r.StoreHost != sent.StoreHost || r.ReconsumeTimes != 3 || r.StoreMs < r.BornMs {
			t.Errorf("arrived as %+v", r)
		}
		if got := string(r.Properties); got != "UNIQ_KEY\x01a\x02TAGS\x01t\x02REAL_TOPIC\x01T\x02REAL_QID\x012\x02DELAY\x011\x02" {
			t.Errorf("properties %q", got)
		}
		if tag, _ := w.store.Tag(w.store.Find([]byte("T"), 2), 0); tag != message.TagsCode([]byte("t")) {
			t.Errorf("tag %d", tag)
		}
	})
}

// Many messages that are due at once arrive together, with few writes.
func TestService_Run_Many(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var bodies []string
		for i := range 3000 {
			bodies = append(bodies, fmt.Sprint(i))
		}
		w.wait(1, "T", bodies...)
		writes := 0
		w.fail = func(*consumequeue.Queue, int) error { writes++; return nil }
		_, stop := w.run()
		defer stop()
		later(time.Second)
		w.arrived("T", bodies...)
		if writes > 6 {
			t.Errorf("%d writes", writes)
		}
	})
}

// The progress is kept from time to time and at the end, in the file's form, when the copies are on the disk; who starts
// again goes on there.
func TestService_Run_Progress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, stop := w.run()
		w.wait(1, "T", "a", "b")
		w.flush.Store(0)
		later(14 * time.Second)
		if w.arrived("T", "a", "b"); w.kept.at(1) != 0 {
			t.Error("the progress is ahead of the disk")
		}
		w.flush.Store(-1)
		later(11 * time.Second)
		if w.kept.at(1) != 2 || w.kept.puts != 1 {
			t.Errorf("kept %s in %d writes", w.kept.wire, w.kept.puts)
		}
		w.wait(1, "T", "c")
		later(time.Second)
		stop()
		w.arrived("T", "a", "b", "c")
		if w.kept.at(1) != 3 {
			t.Errorf("kept at the end: %s", w.kept.wire)
		}
		_, stop = w.run()
		later(time.Minute)
		stop()
		w.arrived("T", "a", "b", "c")
	})
}

// After a kill, what the log has already is not delivered again, though the progress does not know it, nor is anything
// left out: wherever the kill was, and whatever else has the look of a copy.
func TestService_Run_Killed(t *testing.T) {
	for kill := range 6 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			bodies := []string{"a", "b", "c", "d", "e"}
			w.wait(2, "T", bodies...)
			w.wait(1, "U", "x", "y")
			for range 2000 { // into another file of the log
				c, d := w.put.NewCourier(), draft("V", "v")
				c.Stage(w.store.Queue("V", 2), &d, 0)
				if _, err := c.Commit(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			later(5 * time.Second)
			c := w.put.NewCourier()
			copies := func(level int32, n int) {
				q := w.store.Find([]byte(topic.Schedule), level-1)
				raw, _ := w.store.Get(q, store.Read{Max: int32(max(n, 1))}, nil)
				for range n {
					r, _ := message.Decode(raw)
					raw = raw[r.Size:]
					d, _ := Copy(&r)
					c.Stage(w.store.Queue(string(d.Topic), 2), &d, 0)
				}
			}
			copies(2, kill%6)
			copies(1, kill%3)
			forged := draft("W", "e")
			forged.Properties = []byte("DELAY\x012\x02REAL_TOPIC\x01T\x02")
			c.Stage(w.store.Queue("W", 2), &forged, 0)
			if _, err := c.Commit(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			s, stop := w.run()
			later(time.Second)
			w.arrived("T", bodies...)
			w.arrived("U", "x", "y")
			if got := s.Offsets(); got[2] != [2]int64{5, 5} || got[1] != [2]int64{2, 2} {
				t.Errorf("offsets %v", got)
			}
			stop()
			if w.kept.at(2) != 5 || w.kept.at(1) != 2 {
				t.Errorf("kept %s", w.kept.wire)
			}
		})
	}
}

// A message that says no place, or that of half messages, is dropped with a word; those around it arrive.
func TestService_Run_Nowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wait(1, "T", "a")
		for _, props := range []string{"DELAY\x011\x02", "DELAY\x011\x02REAL_TOPIC\x01T\x02", "DELAY\x011\x02REAL_TOPIC\x01T\x02REAL_QID\x01-1\x02",
			"DELAY\x011\x02REAL_TOPIC\x01../T\x02REAL_QID\x010\x02", "DELAY\x011\x02REAL_TOPIC\x01" + topic.TransHalf + "\x02REAL_QID\x010\x02"} {
			c, d := w.put.NewCourier(), draft(topic.Schedule, "bad")
			d.Properties, d.QueueID, d.Timed = []byte(props), 0, true
			c.Stage(w.store.Queue(topic.Schedule, 0), &d, 1000)
			if _, err := c.Commit(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		w.wait(1, "T", "b")
		_, stop := w.run()
		later(time.Second)
		stop()
		w.arrived("T", "a", "b")
		if n := strings.Count(w.log.String(), "dropped"); n != 5 {
			t.Errorf("%d words about 5 messages:\n%s", n, w.log.String())
		}
	})
}

// While the store takes nothing, a level tries again, and the others go on; nothing arrives twice when it is over.
func TestService_Run_Refused(t *testing.T) {
	for _, refusal := range []error{store.ErrDiskFull, put.ErrNotEnoughReplicas, store.ErrFenced} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var full atomic.Bool
			full.Store(true)
			w.fail = func(q *consumequeue.Queue, _ int) error {
				if full.Load() && q.Topic() == "T" {
					return refusal
				}
				return nil
			}
			w.wait(1, "T", "a", "b")
			w.wait(2, "U", "x")
			_, stop := w.run()
			later(10 * time.Second)
			w.arrived("T")
			w.arrived("U", "x")
			full.Store(false)
			later(time.Second)
			stop()
			w.arrived("T", "a", "b")
			if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
				t.Errorf("%d warnings:\n%s", n, w.log.String())
			}
		})
	}
}

// A log that is another broker's is asked a few times only: what is due is read each time, and waits for long.
func TestService_Run_Copy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var copied atomic.Bool
		var tries atomic.Int32
		copied.Store(true)
		w.fail = func(*consumequeue.Queue, int) error {
			tries.Add(1)
			if copied.Load() {
				return put.ErrCopy
			}
			return nil
		}
		w.wait(1, "T", "a", "b")
		_, stop := w.run()
		later(time.Minute)
		if n := tries.Load(); n < 2 || n > 7 {
			t.Errorf("%d tries in a minute", n)
		}
		copied.Store(false)
		later(brokenSleep)
		stop()
		w.arrived("T", "a", "b")
	})
}

// A message that cannot be stored at all is dropped, and holds up no other.
func TestService_Run_TooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wait(1, "T", "a", "b", "c")
		w.fail = func(q *consumequeue.Queue, n int) error {
			if n > 1 || q.Max() == 1 {
				w.fail = func(q *consumequeue.Queue, n int) error {
					if q.Max() == 1 && n == 1 {
						w.fail = nil
						return store.ErrTooLarge
					}
					return nil
				}
				return store.ErrIncomplete
			}
			return nil
		}
		s, stop := w.run()
		later(time.Second)
		w.arrived("T", "a", "c")
		if got := s.Offsets()[1]; got != [2]int64{3, 3} {
			t.Errorf("offsets %v", got)
		}
		stop()
	})
}

// A message that cannot be read while one is looked for that cannot be stored is not passed over.
func TestService_Run_TooLarge_Unreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wait(1, "T", "a", "b", "c")
		w.fail = func(_ *consumequeue.Queue, n int) error {
			if n > 1 {
				return store.ErrIncomplete
			}
			return nil
		}
		w.broken = func(r store.Read) bool {
			if r.From != 1 || r.Max != 1 {
				return false
			}
			w.broken = nil
			return true
		}
		_, stop := w.run()
		later(2 * time.Second)
		w.arrived("T", "a", "b", "c")
		stop()
	})
}

// What is stored but perhaps not safe is delivered: it is not stored once more.
func TestService_Run_Unsafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wait(1, "T", "a")
		w.put.SetReplicas(late{})
		_, stop := w.run()
		later(time.Minute)
		stop()
		w.arrived("T", "a")
	})
}

// late are slaves that never have anything.
type late struct{}

func (late) Admit() error      { return nil }
func (late) Replicated() int64 { return 0 }

// Offsets outside of the queue, of a store that was copied or cut, are brought into it.
func TestService_Run_Outside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kept.wire = []byte(`{"dataVersion":{"counter":3},"offsetTable":{1:100,2:-5,9:4}}`)
		w.wait(1, "T", "a")
		w.wait(2, "T", "b")
		_, stop := w.run()
		later(5 * time.Second)
		w.wait(1, "T", "c")
		later(time.Second)
		stop()
		w.arrived("T", "b", "c")
		if w.kept.at(1) != 2 || w.kept.at(2) != 1 || w.kept.at(9) != 4 || strings.Count(w.log.String(), "outside") != 2 {
			t.Errorf("kept %s\n%s", w.kept.wire, w.log.String())
		}
		if v, _ := decode(w.kept.wire); v.DataVersion.Counter != 4 {
			t.Errorf("version %+v", v.DataVersion)
		}
	})
}

// A message whose time is further than its level, because the clock was set back or the table changed, waits no longer than
// its level.
func TestService_Run_ClockSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, d := w.put.NewCourier(), draft("T", "a")
		tag, _ := w.levels.Divert(&d, 3, nil)
		c.Stage(w.store.Queue(topic.Schedule, 2), &d, tag)
		if _, err := c.Commit(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		_, stop := w.run()
		defer stop()
		later(9999 * time.Millisecond)
		w.arrived("T")
		later(2 * time.Second)
		w.arrived("T", "a")
	})
}

// A table that cannot be read ends the service: what is due is not known.
func TestService_Run_BadTable(t *testing.T) {
	w := newWorld(t)
	w.kept.wire = []byte("{")
	if err := w.service().Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Properties are the same in whatever order they stand; what the store adds does not count.
func TestSameProperties(t *testing.T) {
	const a = "A\x011\x02B\x012\x02"
	for _, c := range []struct {
		b    string
		want bool
	}{{a, true}, {"B\x012\x02A\x011\x02", true}, {"B\x012\x02A\x011\x02__CRC32#\x010000000000\x02", true}, {"A\x011\x02", false},
		{a + "C\x013\x02", false}, {"A\x011\x02B\x013\x02", false}, {"A\x011\x02C\x012\x02", false}, {"", false}} {
		if got := sameProperties([]byte(c.b), []byte(a)); got != c.want {
			t.Errorf("%q: %t", c.b, got)
		}
	}
}

// Where another broker takes a part of what is due, only the rest comes again.
func TestService_Run_Elsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wait(1, "T", "a", "b", "c", "d")
		var got []string
		failures := 2
		w.put = put.New(put.Config{Log: w.store, Elsewhere: func(_ context.Context, records [][]byte) (int, error) {
			for i, b := range records {
				r, err := message.Decode(b)
				if err != nil {
					return i, err
				}
				if failures > 0 && i == 1 {
					failures--
					return i, errors.New("it does not answer")
				}
				got = append(got, string(r.Body))
			}
			return len(records), nil
		}})
		_, stop := w.run()
		later(10 * time.Second)
		stop()
		if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Errorf("the other broker has %q", got)
		}
		if n := w.kept.at(1); n != 4 {
			t.Errorf("progress %d", n)
		}
		w.arrived("T")
	})
}

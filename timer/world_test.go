package timer

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/rungroup"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a store with its timers on some disk, working as in a broker. It lives inside of a synctest bubble.
type world struct {
	t       testing.TB
	fs      vfs.FS
	store   *store.Store
	put     *put.Service
	carried *meta.Carried
	timers  *Service
	send    *put.Courier
	below   *rungroup.Group
	duty    *rungroup.Group
	logs    *logs
	stopped bool
}

// logs keeps what was complained about.
type logs struct {
	slog.Handler
	mu   sync.Mutex
	list []string
}

func newLogs() *logs { return &logs{Handler: slog.DiscardHandler} }

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || strings.HasPrefix(r.Message, "a file of the Java broker") { // the wheel of a test is small
		return nil
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, text)
	return nil
}

type options struct {
	sync    bool
	slots   int
	window  int
	fileLen int64 // of the timer log
	logLen  int64 // of the commit log
	slave   bool  // no duty
	hot     int64 // store.Config.HotBytes
	dir     string
}

func (o *options) defaults() {
	if o.dir == "" {
		o.dir = "store"
	}
	if o.slots == 0 {
		o.slots = 640
	}
	if o.window == 0 {
		o.window = 300
	}
	if o.fileLen == 0 {
		o.fileLen = 1000
	}
	if o.hot == 0 {
		o.hot = 1 << 20
	}
	if o.logLen == 0 {
		o.logLen = 1 << 20
	}
}

// open starts everything.
func open(t testing.TB, disk vfs.FS, o options) *world {
	t.Helper()
	o.defaults()
	w := &world{t: t, fs: disk, logs: newLogs()}
	log := slog.New(w.logs)
	var err error
	w.store, err = store.Open(store.Config{
		Dir: o.dir, FS: disk, FileSize: o.logLen, QueueFileSize: 20_000, SyncFlush: o.sync, HotBytes: o.hot, OpenFiles: 20, Log: log,
		Retention: store.Retention{Reserved: 30 * 24 * time.Hour, KeepYoung: true}, // however full the disk of the machine is
		Flushed: func(int64) {
			if w.put != nil {
				w.put.Flushed()
			}
		},
	})
	must(t, err)
	w.put = put.New(put.Config{
		Log: w.store, SyncFlush: o.sync, Stored: func(*consumequeue.Queue, int, int) {},
		Grew: func(_ *protocol.Turn, q *consumequeue.Queue) {
			if q.Topic() == topic.Timer && w.timers != nil {
				w.timers.Ring()
			}
		},
	})
	w.carried, err = meta.OpenCarried(meta.Config{FS: disk, Dir: o.dir + "/config", Log: log})
	must(t, err)
	w.timers, err = Open(Config{
		FS: disk, Dir: o.dir, Store: w.store, Courier: w.put.NewCourier(), Checkpoint: w.carried.TimerCheckpoint, Counts: w.carried.TimerMetrics,
		Window: o.window, FileSize: o.fileLen, Slots: o.slots, Log: log,
	})
	must(t, err)
	w.send = w.put.NewCourier()
	w.below = rungroup.New(context.Background())
	w.below.Go(rungroup.Part{Name: "store", Run: w.store.Run})
	w.below.Go(rungroup.Part{Name: "put", Run: w.put.Run})
	w.below.Go(rungroup.Part{Name: "timers", Run: w.timers.Run})
	if !o.slave {
		w.serve()
	}
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Log(w.logs.list)
		}
	})
	return w
}

func (w *world) serve() {
	w.duty = rungroup.New(context.Background())
	w.duty.Go(rungroup.Part{Name: "duty", Run: w.timers.Serve})
}

// stop ends everything in order. The errors of a disk that has ended are nobody's business.
func (w *world) stop() {
	if w.stopped {
		return
	}
	w.stopped = true
	if w.duty != nil {
		_ = w.duty.Stop()
	}
	_ = w.below.Stop()
	_ = w.store.Close()
}

var host = netip.MustParseAddrPort("127.0.0.1:10911")

// timed stores a message that is to be delivered at deliverMs.
func (w *world) timed(key string, deliverMs int64, more ...string) error {
	props := message.AppendProperty(nil, message.PropUniqKey, []byte(key))
	for i := 0; i < len(more); i += 2 {
		props = message.AppendProperty(props, more[i], []byte(more[i+1]))
	}
	props = message.AppendProperty(props, message.PropTimerDeliverMs, strconv.AppendInt(nil, deliverMs, 10))
	return w.raw(message.AppendTimed(nil, props, []byte("T"), 0, message.TimerOut(deliverMs, 1000)))
}

func (w *world) raw(props []byte) error {
	d := message.Draft{Topic: []byte(topic.Timer), Body: []byte("body"), Properties: props, BornMs: time.Now().UnixMilli(), BornHost: host, StoreHost: host}
	w.send.Stage(w.store.Queue(topic.Timer, 0), &d, 0)
	_, err := w.send.Commit(context.Background(), time.Now())
	return err
}

// arrival is a delivered message.
type arrival struct {
	key   string
	ms    int64
	props string
}

func (w *world) arrivals() []arrival { return w.messages("T", 0, 0) }

// messages are those of a queue, from an offset on.
func (w *world) messages(topic string, id int32, from int64) (all []arrival) {
	q := w.store.Find([]byte(topic), id)
	if q == nil {
		return nil
	}
	for offset := max(q.Min(), from); offset < q.Max(); offset++ {
		buf, err := w.store.Record(w.store.PlaceOf(q, offset), nil)
		must(w.t, err)
		r, err := message.Decode(buf)
		must(w.t, err)
		key, _ := message.Property(r.Properties, message.PropUniqKey)
		all = append(all, arrival{string(key), r.StoreMs, string(r.Properties)})
	}
	return all
}

// expected is what a message was promised.
type expected struct {
	deliverMs int64
	sure      bool // its send was answered
	recalled  bool
}

// check compares what arrived with what was promised: once, not early, late by at most so many ms.
func check(t testing.TB, what string, want map[string]expected, got []arrival, lateMs int64) {
	t.Helper()
	n := make(map[string]int)
	for _, a := range got {
		n[a.key]++
		e, ok := want[a.key]
		switch {
		case !ok:
			t.Fatalf("%s: %q came, which nobody sent", what, a.key)
		case a.ms < e.deliverMs:
			t.Fatalf("%s: %q came %d ms early", what, a.key, e.deliverMs-a.ms)
		case a.ms > e.deliverMs+lateMs:
			t.Fatalf("%s: %q came %d ms late", what, a.key, a.ms-e.deliverMs)
		case n[a.key] > 1:
			t.Fatalf("%s: %q came %d times", what, a.key, n[a.key])
		case e.recalled:
			t.Fatalf("%s: %q came and was recalled", what, a.key)
		}
	}
	for key, e := range want {
		if e.sure && !e.recalled && n[key] == 0 {
			t.Fatalf("%s: %q did not come", what, key)
		}
	}
}

func newDisk(seed uint64) *crashfs.Disk { return crashfs.New(crashfs.Options{Seed: seed, Map: true}) }

func keyOf(i int) string { return fmt.Sprintf("KEY%05d", i) }

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

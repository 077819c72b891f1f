package transaction

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/crashfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

var host = netip.MustParseAddrPort("192.0.2.1:10911")

// peer is a connection without a socket. What is posted waits until the turn's end.
type peer struct {
	out     []byte
	answers []protocol.Command
	asked   []*protocol.Command
	posts   []func(*protocol.Turn)
	closed  bool
}

func (p *peer) RemoteAddr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.10:1234") }
func (p *peer) LocalAddr() netip.AddrPort  { return host }
func (p *peer) LockOut() []byte            { return p.out }
func (p *peer) UnlockOut(_ *protocol.Turn, out []byte) {
	var c protocol.Command
	if err := c.Decode(bytes.Clone(out[4:])); err != nil {
		panic(err)
	}
	p.answers = append(p.answers, c)
}
func (p *peer) Flush()                                     {}
func (p *peer) Post(fn func(*protocol.Turn))               { p.posts = append(p.posts, fn) }
func (p *peer) Send(_ *protocol.Turn, c *protocol.Command) { p.asked = append(p.asked, c) }
func (p *peer) Closed() bool                               { return p.closed }
func (p *peer) Close()                                     { p.closed = true }
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("nobody is asked for an answer")
}

// offsets is a table of consumer offsets, and its file.
type offsets struct{ now, saved map[string]int64 }

func (o *offsets) Get(group, name []byte, queue int32) (int64, bool) {
	v, ok := o.now[fmt.Sprintf("%s@%s:%d", name, group, queue)]
	return v, ok
}

func (o *offsets) Commit(group, name []byte, queue int32, offset int64) bool {
	o.now[fmt.Sprintf("%s@%s:%d", name, group, queue)] = offset
	return true
}

type producers map[string][]clientmgr.Client

func (p producers) Clients(group string) []clientmgr.Client { return p[group] }

// world is a broker's store, its transactions, and producers, on a disk in memory.
type world struct {
	t       testing.TB
	disk    *crashfs.Disk
	offsets *offsets
	group   producers
	peer    *peer
	rules   Rules
	counts  counted
	now     time.Time
	store   *store.Store
	put     *put.Service
	batch   *put.Batch
	svc     *Service
	divert  func(d *message.Draft, tag int64, now time.Time) (*consumequeue.Queue, int64, *protocol.Error)
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, disk: crashfs.New(crashfs.Options{Map: true, Ordered: true}), offsets: &offsets{now: map[string]int64{}, saved: map[string]int64{}},
		peer: new(peer), group: producers{}, now: time.UnixMilli(1_000_000),
		rules: Rules{Timeout: 6 * time.Second, CheckMax: 3, Reserved: 72 * time.Hour}}
	w.group["P"] = []clientmgr.Client{{ID: "1", Peer: w.peer}}
	w.open()
	return w
}

// counted is what was counted last.
type counted map[string]int64

func (c *counted) Set(counts map[string]int64, _ time.Time) { *c = counts }
func (c *counted) Persist(time.Time) error                  { return nil }

// open starts the broker on what the disk has.
func (w *world) open() {
	w.t.Helper()
	w.load()
	if err := w.svc.Load(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) load() {
	w.t.Helper()
	var err error
	w.store, err = store.Open(store.Config{Dir: "/store", FileSize: 1 << 20, QueueFileSize: 20 * 1024, FS: w.disk, HotBytes: 64 << 10, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put = put.New(put.Config{Log: w.store, MaxGroup: 1<<20 - message.BlankSize, Grew: func(*protocol.Turn, *consumequeue.Queue) {}, Stored: func(*consumequeue.Queue, int, int) {}})
	w.batch = w.put.NewBatch()
	w.svc = New(Config{
		Store: w.store, Offsets: w.offsets, Producers: w.group, Courier: w.put.NewCourier,
		Ensure: func(...*topic.Config) error { return nil },
		Divert: func(d *message.Draft, tag int64, now time.Time) (*consumequeue.Queue, int64, *protocol.Error) {
			if w.divert != nil {
				return w.divert(d, tag, now)
			}
			return w.store.Queue(string(d.Topic), d.QueueID), tag, nil
		},
		Offload: func(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
			clone := *c
			clone.Turn = nil
			w.peer.Post(func(*protocol.Turn) {
				if err := run(context.Background(), &clone); err != nil {
					clone.Fail(err)
				}
			})
		},
		Resume: func(c *protocol.Call, run func(*protocol.Call) error) {
			w.peer.Post(func(t *protocol.Turn) {
				c.Turn = t
				if err := run(c); err != nil {
					c.Fail(err)
				}
			})
		},
		Broker: "b", Host: func() netip.AddrPort { return host }, Slave: func() bool { return false },
		Rules: func() Rules { return w.rules }, Interval: func() time.Duration { return 30 * time.Second }, MaxOp: func() int { return 4096 },
		Now: func() time.Time { return w.now }, Counts: &w.counts, Log: slog.New(slog.DiscardHandler),
	})
}

// kill ends the process at once and starts another. Consumer offsets are as they were written last.
func (w *world) kill() {
	w.crash(w.disk.Kill())
	w.open()
}

func (w *world) crash(disk *crashfs.Disk) {
	w.disk.Stop()
	_ = w.store.Close()
	w.disk = disk
	w.offsets = &offsets{now: maps.Clone(w.offsets.saved), saved: w.offsets.saved}
}

// save writes the consumer offsets down.
func (w *world) save() { w.offsets.saved = maps.Clone(w.offsets.now) }

// turn runs fn in a turn, and what is posted in turns after it.
func (w *world) turn(fn func(t *protocol.Turn)) {
	t := &protocol.Turn{Now: w.now, Appends: w.batch}
	for fn != nil {
		fn(t)
		w.batch.Commit(t)
		if fn = nil; len(w.peer.posts) > 0 {
			fn, w.peer.posts = w.peer.posts[0], w.peer.posts[1:]
		}
	}
}

// prepare stores a half message as send does, and returns where it is; ok is false if it was not stored.
func (w *world) prepare(uniq, real string, more ...string) (at place, ok bool) {
	props := message.AppendProperty(nil, message.PropUniqKey, []byte(uniq))
	for _, kv := range append([]string{message.PropProducerGroup, "P", message.PropTransactionPrepared, "true", message.PropTags, "tag",
		message.PropTransactionID, uniq, message.PropRealTopic, real, message.PropRealQueueID, "1"}, more...) {
		if props[len(props)-1] == 2 {
			props = append(append(props, kv...), 1)
		} else {
			props = append(append(props, kv...), 2)
		}
	}
	d := message.Draft{Topic: []byte(topic.TransHalf), Body: []byte("body of " + uniq), Properties: props, Flag: 7, SysFlag: message.FlagCompressed,
		BornMs: w.now.UnixMilli(), BornHost: netip.MustParseAddrPort("192.0.2.10:5"), StoreHost: host, ReconsumeTimes: 2}
	w.turn(func(t *protocol.Turn) {
		w.batch.Stage(w.store.Queue(topic.TransHalf, 0), &d, 1, false, nil, protocol.Ticket{Peer: w.peer}, func(_ *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
			at, ok = place{offset: o.Offset, physical: o.Physical}, o.Status == put.OK
		})
	})
	return at, ok
}

// request is END_TRANSACTION of group P.
func request(at place, outcome int32, more ...string) *protocol.Command {
	c := &protocol.Command{Code: protocol.EndTransaction}
	c.Set("producerGroup", "P")
	c.Set("tranStateTableOffset", strconv.FormatInt(at.offset, 10))
	c.Set("commitLogOffset", strconv.FormatInt(at.physical, 10))
	c.Set("commitOrRollback", strconv.Itoa(int(outcome)))
	c.Set("msgId", "id")
	for i := 0; i < len(more); i += 2 {
		c.Set(more[i], more[i+1])
	}
	return c
}

// end ends a transaction, and returns code and remark of the answer, "" for none.
func (w *world) end(at place, outcome int32, more ...string) string {
	return w.ends(request(at, outcome, more...))[0]
}

// ends serves several requests in one turn.
func (w *world) ends(requests ...*protocol.Command) []string {
	w.peer.answers = nil
	w.turn(func(t *protocol.Turn) {
		for i, r := range requests {
			c := &protocol.Call{Command: *r, Peer: w.peer, Turn: t}
			c.Opaque = int32(i)
			if err := w.svc.End(c); err != nil {
				c.Fail(err)
			}
		}
	})
	said := make([]string, len(requests))
	for _, a := range w.peer.answers {
		said[a.Opaque] = strings.TrimSpace(fmt.Sprint(a.Code, " ", a.Remark))
	}
	return said
}

// check is a round after a while; it returns which copies producers were asked for.
func (w *world) check(after time.Duration) []place {
	w.t.Helper()
	w.now = w.now.Add(after)
	w.peer.asked = nil
	if err := w.svc.check(w.t.Context(), w.now); err != nil {
		w.t.Fatal(err)
	}
	return w.asked()
}

func (w *world) asked() (list []place) {
	for _, c := range w.peer.asked {
		var h protocol.CheckTransactionStateRequest
		if err := h.Decode(c.Fields); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, place{offset: h.TranStateTableOffset, physical: h.CommitLogOffset})
	}
	return list
}

// found are the UNIQ_KEYs in a topic, in order.
func (w *world) found(name string) string {
	var list []string
	w.each(name, func(r *message.Record) {
		uniq, _ := message.Property(r.Properties, message.PropUniqKey)
		list = append(list, string(uniq))
	})
	return strings.Join(list, " ")
}

func (w *world) each(name string, fn func(r *message.Record)) {
	w.t.Helper()
	for _, q := range w.store.Queues(name) {
		for offset := q.Min(); offset < q.Max(); offset++ {
			u, err := w.store.Unit(q, offset)
			if err != nil {
				w.t.Fatal(err)
			}
			b, err := w.store.Record(u.Physical, nil)
			if err != nil {
				w.t.Fatal(err)
			}
			r, err := message.Decode(b)
			if err != nil {
				w.t.Fatal(err)
			}
			fn(&r)
		}
	}
}

// opened are the UNIQ_KEYs of the open half messages, as the service knows them.
func (w *world) opened() string {
	var list []string
	w.each(topic.TransHalf, func(r *message.Record) {
		if w.svc.ledger.open(r.QueueOffset) {
			uniq, _ := message.Property(r.Properties, message.PropUniqKey)
			list = append(list, string(uniq))
		}
	})
	return strings.Join(list, " ")
}

// want compares what is open, committed to topic T and discarded.
func (w *world) want(open, committed, discarded string) {
	w.t.Helper()
	if got := w.opened(); got != open {
		w.t.Errorf("open: %q, want %q", got, open)
	}
	if got := w.found("T"); got != committed {
		w.t.Errorf("committed: %q, want %q", got, committed)
	}
	if got := w.found(topic.TransCheckMax); got != discarded {
		w.t.Errorf("discarded: %q, want %q", got, discarded)
	}
}

// flush brings the log to the disk, if that can be.
func (w *world) flush() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.store.Run(ctx) }()
	for w.store.Flushed() < w.store.MaxPhysical() && w.store.Writable() == nil {
		runtime.Gosched()
	}
	cancel()
	<-done
}

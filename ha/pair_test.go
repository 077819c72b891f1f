package ha

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/message"
	"rocketd/store"
)

const fileSize = 8 << 10

// node is a store on a disk in memory, and a master or a slave on it.
type node struct {
	t      *testing.T
	net    *network
	host   string
	disk   *crashfs.Disk
	store  *store.Store
	master *Master
	slave  *Slave
	bell   atomic.Pointer[Slave]
	sent   int
	lines  *lineCount
	end    func()
	cfg    func(*store.Config)
}

// lineCount counts what is logged.
type lineCount struct {
	slog.Handler
	mu    sync.Mutex
	count map[string]int
}

func newLineCount(h slog.Handler) *lineCount {
	return &lineCount{Handler: h, count: make(map[string]int)}
}

func (c *lineCount) Enabled(context.Context, slog.Level) bool { return true }
func (c *lineCount) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *lineCount) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[r.Message]++
	return nil
}

func (c *lineCount) of(msg string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[msg]
}

func newNode(t *testing.T, n *network, host string, with ...func(*store.Config)) *node {
	d := &node{t: t, net: n, host: host, disk: crashfs.New(crashfs.Options{}), lines: newLineCount(slog.DiscardHandler), end: func() {}}
	if len(with) > 0 {
		d.cfg = with[0]
	}
	d.open()
	return d
}

// open opens the store that is on the disk.
func (d *node) open() {
	d.t.Helper()
	cfg := store.Config{Dir: "/store", FileSize: fileSize, QueueFileSize: 2000, HotBytes: 1 << 20, OpenFiles: 10, FS: d.disk, Log: slog.New(d.lines)}
	if d.cfg != nil {
		d.cfg(&cfg)
	}
	flushed := cfg.Flushed
	cfg.Flushed = func(at int64) {
		if flushed != nil {
			flushed(at)
		}
		if slave := d.bell.Load(); slave != nil {
			slave.Flushed()
		}
	}
	s, err := store.Open(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.store = s
	d.start(s.Run)
}

// start runs something until stop.
func (d *node) start(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = run(ctx) }()
	before := d.end
	d.end = func() { cancel(); <-done; before() }
}

// stop ends all that runs.
func (d *node) stop() {
	d.end()
	d.end = func() {}
}

// kill ends all that runs and the store, as kill -9 does.
func (d *node) kill() {
	d.stop()
	d.disk = d.disk.Kill()
	d.master, d.slave = nil, nil
}

func (d *node) lead(with ...func(*MasterConfig)) *node {
	d.t.Helper()
	cfg := MasterConfig{Log: d.store, Listen: d.net.listen(d.host), Logger: slog.New(d.lines)}
	for _, w := range with {
		w(&cfg)
	}
	m, err := Listen(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.master = m
	d.start(m.Run)
	return d
}

func (d *node) addr() string { return d.host + ":10912" }

// follow makes the node a slave of another one.
func (d *node) follow(of *node, with ...func(*SlaveConfig)) *node {
	cfg := SlaveConfig{Log: d.store, Dial: d.net.dial(d.host), Logger: slog.New(d.lines),
		MasterMin: func(context.Context) (int64, error) { return of.store.MinPhysical(), nil }}
	for _, w := range with {
		w(&cfg)
	}
	d.slave = NewSlave(cfg)
	d.bell.Store(d.slave)
	d.slave.SetMaster(of.addr())
	d.start(d.slave.Run)
	return d
}

var testHost = netip.MustParseAddrPort("10.0.0.1:10911")

// send appends messages of some bytes each.
func (d *node) send(n, size int) {
	d.t.Helper()
	for range n {
		var b store.Batch
		d.sent++
		topic := fmt.Sprint("t", d.sent%3)
		body := fmt.Appendf(nil, "%s %d ", d.host, d.sent)
		body = append(body, bytes.Repeat([]byte{'x'}, max(0, size-len(body)))...)
		b.Add(d.store.Queue(topic, 0), &message.Draft{Topic: []byte(topic), Body: body, BornHost: testHost, StoreHost: testHost}, 0)
		if err := d.store.Append(&b, time.Now()); err != nil {
			d.t.Fatal(err)
		}
		if d.master != nil {
			d.master.Grew()
		}
	}
}

func (d *node) bytes(from, to int64) []byte {
	d.t.Helper()
	b := make([]byte, to-from)
	for at := from; at < to; {
		n, err := d.store.ReadLog(at, b[at-from:])
		if err != nil || n == 0 {
			d.t.Fatalf("%s: read at %d: %d, %v", d.host, at, n, err)
		}
		at += int64(n)
	}
	return b
}

// same checks that two nodes have the same log, as far as both have it.
func same(a, b *node) {
	a.t.Helper()
	from, to := max(a.store.MinPhysical(), b.store.MinPhysical()), a.store.MaxPhysical()
	if to != b.store.MaxPhysical() || !bytes.Equal(a.bytes(from, to), b.bytes(from, to)) {
		a.t.Fatalf("%s has the log up to %d, %s up to %d: not the same", a.host, to, b.host, b.store.MaxPhysical())
	}
	for _, topic := range a.store.Topics() {
		p, q := a.store.Find([]byte(topic), 0), b.store.Find([]byte(topic), 0)
		if q == nil || p.Max() != q.Max() {
			a.t.Fatalf("queue %s: ends at %d on %s, on %s it is %v", topic, p.Max(), a.host, b.host, q)
		}
	}
}

// within lets virtual time pass until something is so.
func within(t *testing.T, limit time.Duration, what string, fn func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if fn() {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// caughtUp waits until a slave has all that its master has, and has said so.
func caughtUp(of, slave *node, limit time.Duration) {
	of.t.Helper()
	within(of.t, limit, "the slave has it all", func() bool {
		end := of.store.MaxPhysical()
		for _, s := range of.master.Slaves() {
			if s.Ack == end && slave.store.MaxPhysical() == end && slave.slave.Status().State == Copying {
				return true
			}
		}
		return false
	})
	same(of, slave)
}

// pair is a master and a slave-to-be.
func pair(t *testing.T) (n *network, m, s *node) {
	n = newNetwork()
	return n, newNode(t, n, "m"), newNode(t, n, "s")
}

func bubble(t *testing.T, fn func(t *testing.T, n *network, m, s *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, m, s := pair(t)
		defer func() { s.stop(); m.stop() }()
		fn(t, n, m, s)
	})
}

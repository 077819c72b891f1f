package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rocketd/ha"
	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// node is a broker: a disk that stays, and the process that works on it, of which there may be none.
type node struct {
	w        *world
	name     string
	host     netip.Addr
	changing sync.Mutex // guards disk where it is asked for outside of the world's goroutine
	disk     *crashfs.Disk
	rng      *rand.Rand

	// What the operator knows of its log, see world.best.
	term atomic.Int64 // of the last master whose log it was seen to have
	owes int64        // its disk was replaced: it must have the log up to here before it may be a master

	slow   atomic.Bool  // its disk is slower than the network
	skew   atomic.Int64 // of its clock, ns
	paused atomic.Bool
	fault  failing // of the disk
	proc   atomic.Pointer[process]

	master bool      // the role that it has or will have; several are masters while an old one does not know better
	back   time.Time // when it is to be started, if it is down; when it is to hear that it is a slave
}

// failing makes an operation on the disk fail, or the process end there. Before the n-th one; 0 is never.
type failing struct {
	mu    sync.Mutex // guards:
	at    vfs.Op     // operations that count for stop; "" is all
	stop  int        // until the process ends
	op    vfs.Op     // that fails
	count int
}

// before is asked by the disk.
func (f *failing) before(d *crashfs.Disk, p *process, op vfs.Op) error {
	if op == vfs.OpSync && p.n.slow.Load() {
		// Others run meanwhile. That is real time, in which the clock of the bubble stands still: the caller may hold locks,
		// and who waits for a lock does not let it go on.
		_ = syscall.Nanosleep(&syscall.Timespec{Nsec: 500_000}, nil)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop > 0 && (f.at == "" || f.at == op) {
		if f.stop--; f.stop == 0 {
			p.die()
			d.Stop()
			return crashfs.ErrStopped
		}
	}
	if f.count > 0 && f.op == op {
		if f.count--; f.count == 0 {
			return syscall.EIO
		}
	}
	return nil
}

// die has the process end before one of the next operations of a kind, fail has one fail, and heal ends both.
func (f *failing) die(at vfs.Op, stop int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.stop = at, stop
}

func (f *failing) fail(op vfs.Op, count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.op, f.count = op, count
}

func (f *failing) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop, f.count = 0, 0
}

// process is a broker's process, in one role.
type process struct {
	n      *node
	store  *store.Store
	put    *put.Service
	batch  *put.Batch
	master *ha.Master
	slave  *ha.Slave
	cancel context.CancelFunc
	wg     sync.WaitGroup
	dead   atomic.Bool
	ended  chan struct{} // closed by die
	once   sync.Once

	bell    chan struct{}
	mu      sync.Mutex // guards:
	posts   []func(*protocol.Turn)
	opaque  int32
	pending map[int32]func(put.Outcome) // of the loop alone
}

// die is the moment at which the process ends: whatever it does afterwards, nobody hears of it.
func (p *process) die() {
	p.once.Do(func() {
		p.dead.Store(true)
		close(p.ended)
	})
}

// now is what the clock of the node says.
func (n *node) now() time.Time { return time.Now().Add(time.Duration(n.skew.Load())) }

// start opens the store and serves as a master or as the slave of one. Whatever happened before, it must succeed, unless
// the disk fails.
func (n *node) start(master *node) error {
	n.paused.Store(false)
	n.master = master == n
	p := &process{n: n, ended: make(chan struct{}), bell: make(chan struct{}, 1), pending: map[int32]func(put.Outcome){}}
	disk := n.disk
	disk.Before = func(op vfs.Op, _ string) error { return n.fault.before(disk, p, op) }
	log := slog.New(&teller{n.w, n.name})
	cfg := store.Config{
		Dir: "/data", FileSize: n.w.plan.fileSize, QueueFileSize: 400, HotBytes: 1 << 20, OpenFiles: 8, SyncFlush: n.w.plan.syncFlush,
		FlushInterval: 50 * time.Millisecond, FS: disk, Now: n.now, Log: log,
		Tag:     func(*message.Record) int64 { return 0 },
		Flushed: func(int64) { p.flushed() },
		Appended: func(int64, []byte) {
			if p.master != nil {
				p.master.Grew()
			}
		},
		Confirm: func() int64 { return p.confirmed() },
	}
	var err error
	if p.store, err = store.Open(cfg); err != nil {
		disk.Stop()
		return fmt.Errorf("%s does not open its store: %w", n.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	run := func(fn func(context.Context) error) {
		p.wg.Go(func() {
			if err := fn(ctx); err != nil && !p.dead.Load() {
				log.Error("a part has ended", "err", err)
			}
		})
	}
	var replicas put.Replicas
	if n.master {
		p.master, err = ha.Listen(ha.MasterConfig{
			Log: p.store, Addr: netip.AddrPortFrom(n.host, haPort).String(),
			Listen: func(string, string) (net.Listener, error) {
				return n.w.net.listen(netip.AddrPortFrom(n.host, haPort))
			},
			TransferBatch: 2000, Heartbeat: heartbeat, Housekeeping: housekeeping, Progress: p.flushed, Logger: log,
		})
		if err != nil {
			cancel()
			return errors.Join(err, p.store.Close())
		}
		run(p.master.Run)
		replicas = p
	} else {
		p.slave = ha.NewSlave(ha.SlaveConfig{
			Log: p.store, SyncFlush: n.w.plan.syncFlush && n.w.plan.bug != slaveUnsynced, Heartbeat: heartbeat,
			Housekeeping: housekeeping, Logger: log,
			Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
				c, err := n.w.net.dial(ctx, n.host, netip.MustParseAddrPort(addr))
				return &slaveConn{Conn: c, n: n, term: n.w.term.Load(), least: n.w.least.Load()}, err
			},
			MasterMin: func(ctx context.Context) (int64, error) { return n.w.masterMin(ctx, n, p) },
		})
		p.follow(master)
		run(p.slave.Run)
	}
	p.put = put.New(put.Config{
		Log: p.store, SyncFlush: n.w.plan.syncFlush && n.w.plan.bug != acksUnsynced, FlushTimeout: slaveTimeout, Replicas: replicas, SlaveTimeout: slaveTimeout,
		Grew:   func(*protocol.Turn, *consumequeue.Queue) {},
		Stored: func(*consumequeue.Queue, int, int) {},
	})
	p.batch = p.put.NewBatch()
	run(p.store.Run)
	run(p.put.Run)
	run(p.loop)
	n.proc.Store(p)
	return nil
}

const (
	haPort       = 10912
	heartbeat    = 200 * time.Millisecond
	housekeeping = time.Second
	slaveTimeout = 300 * time.Millisecond
)

// slaveConn is the connection to a master. Behind the first report, which asks for the log, each says what the slave has
// of it.
type slaveConn struct {
	net.Conn
	n     *node
	term  int64
	least int64 // of the log of its master when that became it
	first int64
	again bool
}

func (c *slaveConn) Write(b []byte) (int, error) {
	position := int64(binary.BigEndian.Uint64(b))
	if !c.again {
		c.first, c.again = position, true
	} else if position > c.first && position >= c.least {
		c.n.term.Store(c.term)
	}
	return c.Conn.Write(b)
}

// follow gives the slave its master.
func (p *process) follow(master *node) {
	p.slave.SetMaster(netip.AddrPortFrom(master.host, haPort).String())
}

// flushed is the bell of the store and of the slaves.
func (p *process) flushed() {
	if p.put != nil {
		p.put.Flushed()
	}
	if p.slave != nil {
		p.slave.Flushed()
	}
}

// Admit and Replicated are put.Replicas.
func (p *process) Admit() error { return nil }
func (p *process) Replicated() int64 {
	if p.n.w.plan.bug == acksAlone {
		return math.MaxInt64
	}
	return p.master.Acked(p.n.w.plan.acks)
}

// confirmed is store.Config.Confirm. What a slave has of its master's log has two copies; but what else is in its log when
// it starts may be nowhere else.
func (p *process) confirmed() int64 {
	switch bug := p.n.w.plan.bug; {
	case bug == showsAll || bug == believesOwn && p.master == nil:
		return math.MaxInt64
	case p.master != nil:
		return p.Replicated()
	case p.slave != nil && p.slave.Follows():
		return math.MaxInt64
	}
	return 0
}

// crash ends the process, with the power or without.
func (n *node) crash(power bool, seed uint64) {
	p := n.proc.Load()
	p.die()
	n.disk.Stop()
	n.w.net.die(n.host, power)
	n.gone()
	if power {
		n.insert(n.disk.PowerCut(seed))
	} else {
		n.insert(n.disk.Kill())
	}
}

// stop ends the process in order.
func (n *node) stop() error {
	p := n.proc.Load()
	n.paused.Store(false)
	p.cancel()
	p.wg.Wait()
	err := p.store.Close()
	p.die()
	n.w.net.die(n.host, false)
	n.proc.Store(nil)
	if errors.Is(err, store.ErrFenced) || vfs.IsFull(err) || errors.Is(err, syscall.EIO) || errors.Is(err, crashfs.ErrStopped) {
		err = nil // the disk's fault
	}
	n.disk.Stop()
	n.insert(n.disk.Kill())
	return err
}

// insert gives the node a disk; enlarge takes the limit off the one that it has now.
func (n *node) insert(d *crashfs.Disk) {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.disk = d
}

func (n *node) enlarge() {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.disk.SetCapacity(0)
}

// gone waits for what is left of a process that has died.
func (n *node) gone() {
	n.paused.Store(false)
	p := n.proc.Load()
	p.cancel()
	p.wg.Wait()
	n.proc.Store(nil)
}

// loop is the I/O context of the process.
func (p *process) loop(ctx context.Context) error {
	for {
		select {
		case <-p.bell:
		case <-ctx.Done():
			return nil
		}
		for p.n.paused.Load() {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
		p.mu.Lock()
		posts := p.posts
		p.posts = nil
		p.mu.Unlock()
		t := &protocol.Turn{Now: p.n.now(), Appends: p.batch}
		for _, fn := range posts {
			fn(t)
		}
		p.batch.Commit(t)
	}
}

// post has fn run in a turn.
func (p *process) post(fn func(*protocol.Turn)) {
	p.mu.Lock()
	p.posts = append(p.posts, fn)
	p.mu.Unlock()
	ring(p.bell)
}

// send stages a message in a turn; answer is called when it may be answered. A slave takes none.
func (p *process) send(topic string, queue int, body []byte, answer func(put.Outcome)) {
	if p.master == nil && p.n.w.plan.bug != writesAsSlave {
		answer(put.Outcome{Status: put.Refused})
		return
	}
	d := message.Draft{Topic: []byte(topic), QueueID: int32(queue), Body: body, BornHost: clientHost, StoreHost: netip.AddrPortFrom(p.n.host, 10911)}
	p.opaque++
	p.pending[p.opaque] = answer
	p.batch.Stage(p.store.Queue(topic, int32(queue)), &d, 0, true, nil, protocol.Ticket{Peer: peer{p}, Opaque: p.opaque}, p.answer)
}

var clientHost = netip.MustParseAddrPort("10.0.1.1:4000")

func (p *process) answer(_ *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	p.pending[k.Opaque](*o)
	delete(p.pending, k.Opaque)
}

// peer is the connection of all clients of a process.
type peer struct{ p *process }

func (peer) RemoteAddr() netip.AddrPort       { return clientHost }
func (peer) LocalAddr() netip.AddrPort        { return netip.AddrPort{} }
func (peer) LockOut() []byte                  { panic("answers go through put.Answer") }
func (peer) UnlockOut(*protocol.Turn, []byte) {}
func (peer) Flush()                           {}
func (q peer) Post(fn func(*protocol.Turn))   { q.p.post(fn) }
func (peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("nobody is asked")
}
func (peer) Send(*protocol.Turn, *protocol.Command) {}
func (peer) Closed() bool                           { return false }
func (peer) Close()                                 {}

// teller is the log of a node.
type teller struct {
	w    *world
	node string
}

func (t *teller) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (t *teller) WithAttrs([]slog.Attr) slog.Handler           { return t }
func (t *teller) WithGroup(string) slog.Handler                { return t }
func (t *teller) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	t.w.note("%s: %s", t.node, text)
	return nil
}

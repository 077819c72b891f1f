package ha

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/rungroup"
)

// MasterLog is the log that a master ships. Its methods may be called from any goroutine.
type MasterLog interface {
	// MinPhysical is the position of the first byte that is there, MaxPhysical the one behind the last, FileSize how long
	// a file is: the positions of its multiples begin files.
	MinPhysical() int64
	MaxPhysical() int64
	FileSize() int64
	// ReadLog fills dst with the bytes from at on, as far as they go in one file, and returns how many; 0 at the end. An
	// error says that they are not, or no longer, there.
	ReadLog(at int64, dst []byte) (int, error)
}

// MasterConfig is what a Master is made of. Log must be set.
type MasterConfig struct {
	Log  MasterLog
	Addr string // where to listen: haListenPort on all interfaces
	// Listen replaces net.Listen.
	Listen func(network, addr string) (net.Listener, error)

	TransferBatch int           // most bytes of the log in a frame: haTransferBatchSize, default 32 KiB
	Heartbeat     time.Duration // a heartbeat goes out after so long without a frame: haSendHeartbeatInterval, default 5 s
	Housekeeping  time.Duration // who says nothing for so long is left: haHousekeepingInterval, default 20 s
	FlowControl   int64         // most bytes a second to one slave: maxHaTransferByteInSecond if haFlowControlEnable; 0: no limit

	// FromLastFile: an empty slave that leaves the start to the master gets the last file only, as from a Java master. Else
	// it gets all there is.
	FromLastFile bool

	// MaxSlaves is how many connections that have reported are kept, default 64. Of those that have said nothing yet there
	// are 128 at most; when another comes, the oldest of them is closed.
	MaxSlaves int

	// Admit, if set, is asked before a slave gets the first byte of the log on a connection: false lets it have heartbeats
	// only, for 90 s at most. Empty: it asks for all that there is; connected: since when it is there. It is asked again ten
	// times a second, from the goroutine of the connection.
	Admit func(addr net.Addr, empty bool, connected time.Time) bool

	// Progress, if set, is rung when Acked of some number has grown. It is called from the goroutine of a connection and must
	// not block.
	Progress func()

	Logger *slog.Logger // default slog.Default()
}

// Limits.
const (
	maxSilent = 128              // connections that have not reported
	keptAcks  = 8                // Acked up to this number costs nothing
	logEvery  = 30 * time.Second // the same complaint
	admitWait = 90 * time.Second // how long Admit may say no
	admitTick = 100 * time.Millisecond
	runBytes  = 1 << 20          // most bytes of the log in one write
	batchSize = 32 << 10         // default of TransferBatch
	nobody    = int64(1<<63 - 1) // Acked(0)
)

func (c MasterConfig) withDefaults() MasterConfig {
	c.TransferBatch = min(cmp.Or(max(c.TransferBatch, 0), batchSize), runBytes)
	c.Heartbeat = cmp.Or(c.Heartbeat, 5*time.Second)
	c.Housekeeping = cmp.Or(c.Housekeeping, 20*time.Second)
	c.MaxSlaves = cmp.Or(c.MaxSlaves, 64)
	if c.Listen == nil {
		c.Listen = net.Listen
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Master ships a log to the slaves that connect, and knows how far they have it. Its methods may be called from any
// goroutine.
type Master struct {
	cfg      MasterConfig
	listener net.Listener
	links    atomic.Pointer[[]*link] // that have reported; the slice is never changed
	acked    [keptAcks + 1]atomic.Int64
	complain limiter

	mu      sync.Mutex // guards:
	silent  []*link    // oldest first
	moved   chan struct{}
	scratch []int64 // progress's own
}

// Listen starts to listen; Run serves who connects.
func Listen(cfg MasterConfig) (*Master, error) {
	m := &Master{cfg: cfg.withDefaults(), moved: make(chan struct{})}
	m.complain.logger = m.cfg.Logger
	m.links.Store(new([]*link))
	var err error
	if m.listener, err = m.cfg.Listen("tcp", m.cfg.Addr); err != nil {
		return nil, fmt.Errorf("cannot listen for slaves: %w", err)
	}
	return m, nil
}

// Addr is where the master listens.
func (m *Master) Addr() net.Addr { return m.listener.Addr() }

// Close stops listening. Run does so too when its context ends.
func (m *Master) Close() error {
	if err := m.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run serves slaves until ctx ends, or until nobody can connect any more, which is an error.
func (m *Master) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = m.Close() })()
	for failures := 0; ; {
		conn, err := m.listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("cannot accept slaves: %w", err)
		case err != nil: // too many open files, or a connection that is gone already
			failures++
			m.complain.of("accept").Warn("cannot accept a slave", "err", err)
			_ = rungroup.Sleep(ctx, min(time.Duration(failures)*10*time.Millisecond, time.Second))
			continue
		}
		failures = 0
		l := newLink(m, conn)
		m.admit(l)
		wg.Go(func() {
			pprof.Do(ctx, pprof.Labels("goroutine", "ha reports"), func(ctx context.Context) { l.serve(ctx) })
		})
	}
}

// Grew is the bell of the log: something was appended. It never blocks and may be called with the append lock held.
func (m *Master) Grew() {
	for _, l := range *m.links.Load() {
		l.ring()
	}
}

// Acked is the position that at least n slaves have, or have had at the same time: all before it is in the log of each. It
// never goes back. Connections from one address count once, but those from this machine: nobody keeps two copies on one.
func (m *Master) Acked(n int) int64 {
	switch {
	case n <= 0:
		return nobody
	case n <= keptAcks:
		return m.acked[n].Load()
	}
	acks := m.acks(nil, true)
	if n > len(acks) {
		return 0
	}
	return acks[n-1]
}

// InSync is how many slaves lack less than maxGap bytes of the log up to position. Source: Java isInSyncSlave.
func (m *Master) InSync(position, maxGap int64) (n int) {
	for _, ack := range m.acks(nil, false) {
		if position-ack < maxGap {
			n++
		}
	}
	return n
}

// acks appends the positions of the slaves to dst, which is empty, the highest first: those that they have acknowledged, or
// also those that they have only asked for.
func (m *Master) acks(dst []int64, acknowledged bool) []int64 {
	links := *m.links.Load()
	for i, l := range links {
		again := slices.ContainsFunc(links[i+1:], func(o *link) bool { return o.host == l.host }) // the younger counts
		if ack := l.ack.Load(); ack >= 0 && !again && (l.said.Load() || !acknowledged) {
			dst = append(dst, ack)
		}
	}
	slices.SortFunc(dst, func(a, b int64) int { return cmp.Compare(b, a) })
	return dst
}

// progress takes note that a slave has acknowledged something.
func (m *Master) progress() {
	m.mu.Lock()
	acks, grown := m.acks(m.scratch[:0], true), false
	m.scratch = acks
	for n := 1; n <= min(len(acks), keptAcks); n++ {
		if m.acked[n].Load() < acks[n-1] {
			m.acked[n].Store(acks[n-1])
			grown = true
		}
	}
	m.tell()
	m.mu.Unlock()
	if grown && m.cfg.Progress != nil {
		m.cfg.Progress()
	}
}

// tell wakes who drains. m.mu is held.
func (m *Master) tell() {
	close(m.moved)
	m.moved = make(chan struct{})
}

// Drain waits until every slave that is connected and follows has the log up to position, or none is. It returns the
// error of ctx.
func (m *Master) Drain(ctx context.Context, position int64) error {
	for {
		m.mu.Lock()
		moved := m.moved
		m.mu.Unlock()
		behind := func(l *link) bool { ack := l.ack.Load(); return ack >= 0 && ack < position }
		if !slices.ContainsFunc(*m.links.Load(), behind) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SlaveStatus is a slave as its master sees it.
type SlaveStatus struct {
	Addr           string
	Ack            int64 // position up to which it has the log; -1: what it asked for is not there
	Sent           int64 // position from which on it gets the log next
	BytesPerSecond int64
}

// Slaves returns the slaves that are connected, in the order in which they came.
func (m *Master) Slaves() []SlaveStatus {
	var list []SlaveStatus
	for _, l := range *m.links.Load() {
		list = append(list, SlaveStatus{l.addr, l.ack.Load(), l.sent.Load(), l.rate.perSecond(time.Now())})
	}
	return list
}

// admit takes in a connection that has said nothing yet.
func (m *Master) admit(l *link) {
	m.mu.Lock()
	m.silent = append(m.silent, l)
	var oldest *link
	if len(m.silent) > maxSilent {
		oldest = m.silent[0]
		m.silent = slices.Delete(m.silent, 0, 1)
	}
	m.mu.Unlock()
	if oldest != nil {
		m.complain.of("silent").Warn("HA port: too many connections that say nothing, the oldest is closed", "addr", oldest.addr, "limit", maxSilent)
		_ = oldest.conn.Close()
	}
}

// join makes a connection that has reported a slave; false says that there are too many.
func (m *Master) join(l *link) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent = slices.DeleteFunc(m.silent, func(o *link) bool { return o == l })
	links := *m.links.Load()
	if len(links) >= m.cfg.MaxSlaves {
		return false
	}
	links = append(slices.Clip(links), l)
	m.links.Store(&links)
	return true
}

// leave takes a connection out.
func (m *Master) leave(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent = slices.DeleteFunc(m.silent, func(o *link) bool { return o == l })
	links := slices.DeleteFunc(slices.Clone(*m.links.Load()), func(o *link) bool { return o == l })
	m.links.Store(&links)
	m.tell()
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// network connects hosts. Bytes arrive in order, some time later. Between two hosts they may be held up, as TCP does
// when packets are lost: they arrive when the way is free again.
type network struct {
	mu    sync.Mutex // guards all below, and all of pipes and listeners
	rng   *rand.Rand
	ports map[netip.AddrPort]*listener
	conns map[*conn]bool
	held  map[way]bool
	slow  map[way]time.Duration // more than the usual delay
	next  uint16
	fast  bool // no delay but what slow says
}

// way is the direction from one host to another.
type way struct{ from, to netip.Addr }

func newNetwork(seed uint64) *network {
	return &network{rng: rand.New(rand.NewPCG(seed, 7)), ports: map[netip.AddrPort]*listener{}, conns: map[*conn]bool{},
		held: map[way]bool{}, slow: map[way]time.Duration{}, next: 20000}
}

// hold holds up what goes from one host to another, or lets it go on.
func (n *network) hold(from, to netip.Addr, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if on {
		n.held[way{from, to}] = true
	} else {
		delete(n.held, way{from, to})
	}
	for c := range n.conns {
		c.in.ring()
	}
}

// lag makes one way slower.
func (n *network) lag(from, to netip.Addr, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow[way{from, to}] = d
}

// die ends all connections of a host and what it listens on. After the end of a process its system says so to the other
// sides; a power cut says nothing, and they learn it when the host is there again and does not know them.
func (n *network) die(host netip.Addr, power bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for addr, l := range n.ports {
		if addr.Addr() == host {
			l.closed = true
			l.ring()
			delete(n.ports, addr)
		}
	}
	for c := range n.conns {
		if c.local.Addr() == host && !c.lost {
			c.lost = true
			if power {
				c.out.mute = true
			} else {
				c.in.dead = net.ErrClosed // the other side cannot write any more
				c.out.close()
			}
			c.in.ring()
			c.out.ring()
			delete(n.conns, c)
		}
	}
}

// rise is the return of a host after a power cut: who still speaks to it hears that it knows no such connection.
func (n *network) rise(host netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.remote.Addr() == host && c.in.mute {
			c.in.dead = syscall.ECONNRESET
			c.in.ring()
			c.out.ring()
		}
	}
}

func (n *network) delay(w way) time.Duration {
	if n.fast {
		return n.slow[w]
	}
	d := 20*time.Microsecond + time.Duration(n.rng.Int64N(300))*time.Microsecond
	if n.rng.IntN(50) == 0 {
		d += time.Duration(n.rng.Int64N(20)) * time.Millisecond
	}
	return d + n.slow[w]
}

// listener is a port of a host.
type listener struct {
	n      *network
	addr   netip.AddrPort
	queue  []*conn
	closed bool
	bell   chan struct{}
}

func (l *listener) ring() { ring(l.bell) }

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// listen is net.Listen on a host.
func (n *network) listen(addr netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &listener{n: n, addr: addr, bell: make(chan struct{}, 1)}
	n.ports[addr] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.n.mu.Lock()
		if l.closed {
			l.n.mu.Unlock()
			return nil, net.ErrClosed
		}
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			l.n.mu.Unlock()
			return c, nil
		}
		l.n.mu.Unlock()
		<-l.bell
	}
}

func (l *listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	delete(l.n.ports, l.addr)
	l.ring()
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// dial is net.Dialer.DialContext from a host.
func (n *network) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	there, back := way{from, to.Addr()}, way{to.Addr(), from}
	fail := func(err error) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for {
		n.mu.Lock()
		blocked := n.held[there] || n.held[back]
		d := n.delay(there) + n.delay(back)
		n.mu.Unlock()
		select { // a system tries again after a second
		case <-time.After(d):
		case <-ctx.Done():
			return fail(ctx.Err())
		}
		if !blocked {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.ports[to]
	if l == nil {
		return fail(syscall.ECONNREFUSED)
	}
	n.next++
	local := netip.AddrPortFrom(from, n.next)
	up, down := newPipe(n, there), newPipe(n, back)
	near := &conn{n: n, local: local, remote: to, in: down, out: up}
	far := &conn{n: n, local: to, remote: local, in: up, out: down}
	n.conns[near], n.conns[far] = true, true
	l.queue = append(l.queue, far)
	l.ring()
	return near, nil
}

// pipe is one direction of a connection. It is guarded by the network's lock.
type pipe struct {
	n      *network
	way    way
	parts  []part
	size   int
	err    error // for the reader, behind parts: io.EOF when the other side has closed
	dead   error // for both sides, at once
	mute   bool  // the writer has no power
	readBy time.Time
	sentBy time.Time
	last   time.Time     // arrival of the last part
	reads  chan struct{} // bells
	writes chan struct{}
}

type part struct {
	at   time.Time
	data []byte
}

const pipeRoom = 64 << 10

func newPipe(n *network, w way) *pipe {
	return &pipe{n: n, way: w, reads: make(chan struct{}, 1), writes: make(chan struct{}, 1)}
}

func (p *pipe) ring() { ring(p.reads); ring(p.writes) }

func (p *pipe) close() {
	if p.err == nil {
		p.err = io.EOF
	}
	p.ring()
}

// conn is one end of a connection.
type conn struct {
	n             *network
	local, remote netip.AddrPort
	in, out       *pipe
	lost          bool
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) Read(b []byte) (int, error) {
	p := c.in
	for {
		c.n.mu.Lock()
		now := time.Now()
		wait := time.Duration(-1)
		switch held := c.n.held[p.way]; {
		case c.lost:
			defer c.n.mu.Unlock()
			return 0, net.ErrClosed
		case p.dead != nil:
			defer c.n.mu.Unlock()
			return 0, p.dead
		case !p.readBy.IsZero() && !now.Before(p.readBy):
			defer c.n.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case held:
		case len(p.parts) > 0 && !now.Before(p.parts[0].at):
			defer c.n.mu.Unlock()
			n := copy(b, p.parts[0].data)
			if p.parts[0].data = p.parts[0].data[n:]; len(p.parts[0].data) == 0 {
				p.parts = p.parts[1:]
			}
			p.size -= n
			ring(p.writes)
			return n, nil
		case len(p.parts) > 0:
			wait = p.parts[0].at.Sub(now)
		case p.err != nil:
			defer c.n.mu.Unlock()
			return 0, p.err
		}
		wait = until(wait, now, p.readBy)
		c.n.mu.Unlock()
		await(p.reads, wait)
	}
}

func until(wait time.Duration, now, deadline time.Time) time.Duration {
	if !deadline.IsZero() && (wait < 0 || deadline.Sub(now) < wait) {
		return deadline.Sub(now)
	}
	return wait
}

// await waits for a bell, at most so long; negative is for ever.
func await(bell chan struct{}, d time.Duration) {
	if d < 0 {
		<-bell
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-bell:
	case <-t.C:
	}
}

func (c *conn) Write(b []byte) (n int, err error) {
	p := c.out
	for {
		c.n.mu.Lock()
		now := time.Now()
		switch {
		case c.lost || p.err != nil:
			defer c.n.mu.Unlock()
			return n, net.ErrClosed
		case p.dead != nil || c.in.dead != nil:
			defer c.n.mu.Unlock()
			return n, syscall.EPIPE
		case !p.sentBy.IsZero() && !now.Before(p.sentBy):
			defer c.n.mu.Unlock()
			return n, os.ErrDeadlineExceeded
		case p.size < pipeRoom:
			k := min(len(b), pipeRoom-p.size)
			at := now.Add(c.n.delay(p.way))
			if at.Before(p.last) {
				at = p.last
			}
			p.last = at
			p.parts = append(p.parts, part{at, append([]byte(nil), b[:k]...)})
			p.size += k
			n += k
			b = b[k:]
			ring(p.reads)
			if len(b) == 0 {
				c.n.mu.Unlock()
				return n, nil
			}
		}
		wait := until(-1, now, p.sentBy)
		c.n.mu.Unlock()
		await(p.writes, wait)
	}
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.lost {
		return net.ErrClosed
	}
	c.lost = true
	delete(c.n.conns, c)
	c.in.dead = net.ErrClosed
	c.in.ring()
	c.out.close()
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.in.readBy = t
	ring(c.in.reads)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.out.sentBy = t
	ring(c.out.writes)
	return nil
}

// The network does what a real one does: order, delay, what an end of a process says, what a power cut does not say.
func TestNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(1)
		a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		port := netip.AddrPortFrom(b, 1)
		ctx := t.Context()
		if _, err := n.dial(ctx, a, port); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		open := func() (near, far net.Conn, l net.Listener) {
			l, err := n.listen(port)
			if err != nil {
				t.Fatal(err)
			}
			if near, err = n.dial(ctx, a, port); err != nil {
				t.Fatal(err)
			}
			if far, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			return near, far, l
		}
		near, far, l := open()
		go func() {
			for i := range 1000 {
				if _, err := fmt.Fprintf(near, "%03d", i); err != nil {
					t.Error(err)
				}
			}
		}()
		got := make([]byte, 3000)
		if _, err := io.ReadFull(far, got); err != nil || string(got[:6]) != "000001" || string(got[2994:]) != "998999" {
			t.Fatal(err, string(got))
		}

		// What is held up arrives later; a deadline ends the waiting.
		n.hold(b, a, true)
		if _, err := far.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		if err := near.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := near.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Fatal(err)
		}
		if err := near.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { n.hold(b, a, false) })
		if k, err := near.Read(got); err != nil || string(got[:k]) != "late" {
			t.Fatal(err)
		}
		if since := time.Since(began).Round(time.Second); since != 61*time.Second {
			t.Fatal(since)
		}

		// A full pipe holds the writer up.
		if err := near.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if k, err := near.Write(make([]byte, 2*pipeRoom)); k != pipeRoom || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(k, err)
		}

		// The end of a process: what was sent arrives, then the end; and nobody listens any more.
		if _, err := far.Write([]byte("last")); err != nil {
			t.Fatal(err)
		}
		n.die(b, false)
		if all, err := io.ReadAll(near); err != nil || string(all) != "last" {
			t.Fatal(string(all), err)
		}
		if _, err := far.Read(got); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}

		// A power cut: silence, until the host is back.
		near, _, l = open()
		n.die(b, true)
		if _, err := near.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		time.AfterFunc(time.Hour, func() { n.rise(b) })
		if _, err := near.Read(got); !errors.Is(err, syscall.ECONNRESET) || time.Since(began) != time.Hour {
			t.Fatal(err, time.Since(began))
		}
		_ = l.Close()

		// Who closes is not heard from any more.
		near, far, l = open()
		go func() { time.Sleep(time.Second); _ = near.Close() }()
		if _, err := near.Read(got); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := far.Read(got); err != io.EOF {
			t.Fatal(err)
		}
		if err := errors.Join(far.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

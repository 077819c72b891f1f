package ha

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// network is hosts with names that can reach each other, or not, in virtual time.
type network struct {
	mu        sync.Mutex // guards:
	delay     time.Duration
	cut       map[string]bool // hosts that nothing reaches and that reach nothing: bytes wait
	listeners map[string]*listener
	conns     []*fakeConn
	ports     int
	changed   chan struct{}
}

func newNetwork() *network {
	return &network{cut: make(map[string]bool), listeners: make(map[string]*listener), changed: make(chan struct{})}
}

// tell wakes all who wait for something in the network. n.mu is held.
func (n *network) tell() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) setDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// partition cuts a host off, or joins it again.
func (n *network) partition(host string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[host] = cut
	n.tell()
}

// reset ends all connections of a host.
func (n *network) reset(host string) {
	n.mu.Lock()
	conns := n.conns
	n.mu.Unlock()
	for _, c := range conns {
		if c.local.host == host || c.remote.host == host {
			c.Close()
		}
	}
}

type address struct {
	host string
	port int
}

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return fmt.Sprintf("%s:%d", a.host, a.port) }

type listener struct {
	n      *network
	addr   address
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (n *network) listen(host string) func(network, addr string) (net.Listener, error) {
	return func(string, string) (net.Listener, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		l := &listener{n: n, addr: address{host, 10912}, queue: make(chan net.Conn, 2000), closed: make(chan struct{})}
		n.listeners[l.addr.String()] = l
		return l, nil
	}
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.n.mu.Lock()
		defer l.n.mu.Unlock()
		if l.n.listeners[l.addr.String()] == l {
			delete(l.n.listeners, l.addr.String())
		}
	})
	return nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// dial returns the dialer of a host.
func (n *network) dial(host string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		for {
			n.mu.Lock()
			l, changed := n.listeners[addr], n.changed
			if l == nil {
				n.mu.Unlock()
				return nil, errors.New("connection refused")
			}
			if !n.cut[host] && !n.cut[l.addr.host] {
				n.ports++
				up, down := newHalf(n, host, l.addr.host), newHalf(n, l.addr.host, host)
				local := address{host, 40000 + n.ports}
				here := &fakeConn{local: local, remote: l.addr, in: down, out: up}
				there := &fakeConn{local: l.addr, remote: local, in: up, out: down}
				n.conns = append(n.conns, here)
				n.mu.Unlock()
				l.queue <- there
				return here, nil
			}
			n.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// half is one direction of a connection.
type half struct {
	n        *network
	from, to string

	mu      sync.Mutex // guards:
	chunks  []chunk
	bytes   int
	closed  bool // by who writes: what is there can still be read
	broken  bool // by who reads
	readBy  time.Time
	writeBy time.Time
	changed chan struct{}
}

type chunk struct {
	due time.Time
	b   []byte
}

const halfRoom = 256 << 10

func newHalf(n *network, from, to string) *half {
	return &half{n: n, from: from, to: to, changed: make(chan struct{})}
}

// set changes something and wakes who waits.
func (h *half) set(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait calls try, with h.mu held, until it is done; the time that it returns is when to try again at the latest.
func (h *half) wait(by func() time.Time, try func(cut bool) (done bool, again time.Time)) error {
	for {
		h.n.mu.Lock()
		cut, net := h.n.cut[h.from] || h.n.cut[h.to], h.n.changed
		h.n.mu.Unlock()
		h.mu.Lock()
		done, again := try(cut)
		changed, limit := h.changed, by()
		h.mu.Unlock()
		now := time.Now()
		switch {
		case done:
			return nil
		case !limit.IsZero() && !now.Before(limit):
			return os.ErrDeadlineExceeded
		}
		if again.IsZero() || !limit.IsZero() && limit.Before(again) {
			again = limit
		}
		var timer <-chan time.Time
		if !again.IsZero() {
			t := time.NewTimer(again.Sub(now))
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-changed:
		case <-net:
		case <-timer:
		}
	}
}

func (h *half) read(b []byte) (n int, err error) {
	waitErr := h.wait(func() time.Time { return h.readBy }, func(cut bool) (bool, time.Time) {
		now := time.Now()
		for len(h.chunks) > 0 && n < len(b) && !cut && !h.chunks[0].due.After(now) {
			k := copy(b[n:], h.chunks[0].b)
			n += k
			h.bytes -= k
			if h.chunks[0].b = h.chunks[0].b[k:]; len(h.chunks[0].b) == 0 {
				h.chunks = h.chunks[1:]
			}
		}
		switch {
		case h.broken:
			err = net.ErrClosed
			return true, now
		case n > 0:
			return true, now
		case h.closed && len(h.chunks) == 0 && !cut:
			err = io.EOF
			return true, now
		case len(h.chunks) > 0 && !cut:
			return false, h.chunks[0].due
		}
		return false, time.Time{}
	})
	if n > 0 {
		h.set(func() {})
	}
	if err == nil {
		err = waitErr
	}
	return n, err
}

func (h *half) write(b []byte) (n int, err error) {
	h.n.mu.Lock()
	delay := h.n.delay
	h.n.mu.Unlock()
	for n < len(b) && err == nil {
		k := 0
		err = h.wait(func() time.Time { return h.writeBy }, func(cut bool) (bool, time.Time) {
			if h.closed || h.broken && !cut {
				k = -1
				return true, time.Time{}
			}
			k = min(len(b)-n, halfRoom-h.bytes)
			return k > 0, time.Time{}
		})
		if k < 0 {
			return n, net.ErrClosed
		}
		if k > 0 {
			part := append([]byte(nil), b[n:n+k]...)
			h.set(func() { h.chunks, h.bytes = append(h.chunks, chunk{time.Now().Add(delay), part}), h.bytes+k })
			n += k
		}
	}
	return n, err
}

// fakeConn is one end of a connection.
type fakeConn struct {
	local, remote address
	in, out       *half
}

func (c *fakeConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *fakeConn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *fakeConn) LocalAddr() net.Addr         { return c.local }
func (c *fakeConn) RemoteAddr() net.Addr        { return c.remote }

func (c *fakeConn) Close() error {
	c.in.set(func() { c.in.broken = true })
	c.out.set(func() { c.out.closed = true })
	return nil
}

func (c *fakeConn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.readBy = t })
	return nil
}

func (c *fakeConn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.writeBy = t })
	return nil
}

func (c *fakeConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

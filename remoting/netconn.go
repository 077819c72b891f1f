package remoting

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/protocol"
)

// netConn is a conn on a net.Conn, with an I/O context of its own. One goroutine reads and serves; it also writes what
// its own turns answer, so a client that does not read is not read either. What others want written or run starts a
// goroutine of the crew for as long as there is some.
type netConn struct {
	conn
	nc      net.Conn
	crew    *crew
	onEnd   func()        // called once, by run
	drained chan struct{} // a token: no longer full, or dead

	stopping atomic.Bool

	turnMu sync.Mutex // guards the lane; taken before any conn's lock
	lane   lane

	postMu  sync.Mutex // guards what follows
	posted  []func(t *protocol.Turn)
	posting bool
}

const (
	minRead  = 4 << 10   // what a connection without traffic reads into, bytes
	fastRead = 64 << 10  // what a connection with traffic reads into, unless one frame is larger
	maxWrite = 256 << 10 // what has to leave within the idle time
)

var errIdle = errors.New("idle for too long")

func newNetConn(nc net.Conn, limits *limits, lane lane, crew *crew, onEnd func()) *netConn {
	n := &netConn{nc: nc, crew: crew, onEnd: onEnd, lane: lane, drained: make(chan struct{}, 1)}
	n.limits, n.link = limits, n
	n.remote, n.local = addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr())
	return n
}

// run reads and serves until the connection ends.
func (n *netConn) run() {
	err := n.read()
	if errors.Is(err, protocol.ErrFrameLength) || errors.Is(err, protocol.ErrFrameHeader) {
		n.limits.log.Warn("connection closed: bad frame", "addr", n.remote, "err", err)
	} else {
		n.limits.log.Debug("connection ended", "addr", n.remote, "err", err)
	}
	n.nc.Close()
	n.end()
	n.turnMu.Lock()
	n.lane.begin()
	n.lane.handler.Closed(n.lane.turn, &n.conn)
	n.lane.end(nil)
	n.turnMu.Unlock()
	n.onEnd()
}

func (n *netConn) read() error {
	buf, have, need, quiet := make([]byte, minRead), 0, 0, 0
	if err := n.nc.SetReadDeadline(time.Now().Add(n.limits.idle / 4)); err != nil {
		return err
	}
	for {
		if n.stopping.Load() {
			for !n.dead.Load() {
				<-n.drained
			}
			return net.ErrClosed
		}
		buf = resize(buf, have, need, quiet)
		m, err := n.nc.Read(buf[have:])
		if m > 0 {
			n.markActive()
			have += m
			rest, length, err := n.serve(buf[:have])
			if err != nil {
				return err
			}
			have, need = copy(buf, rest), length
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The deadline is only our clock: four of them without a byte in or out are the idle time.
			if quiet++; n.active.Swap(false) {
				quiet = 0
			}
			if quiet == 4 {
				return errIdle
			}
			if quiet > 0 {
				n.giveBack()
			}
			if err := n.nc.SetReadDeadline(time.Now().Add(n.limits.idle / 4)); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// resize returns buf with its first have bytes and fit for more: larger if it is full, of the least size if the
// connection is quiet. It grows with what has arrived, not with what was announced.
func resize(buf []byte, have, need, quiet int) []byte {
	size := len(buf)
	switch {
	case have == size && need > size:
		size = min(2*size, need)
	case have == size:
		size *= 2
	case need <= fastRead && size > keepBuffer, quiet > 0:
		size = max(minRead, have+have/2)
	}
	if size == len(buf) {
		return buf
	}
	return append(make([]byte, 0, size), buf[:have]...)[:size]
}

// serve takes as many turns as it needs to serve the whole frames of buf, and returns what is left of it and the length
// of the frame that begins there, 0 if that is not known.
func (n *netConn) serve(buf []byte) (rest []byte, need int, err error) {
	for {
		n.turnMu.Lock()
		n.lane.begin()
		used, need, err := n.lane.serve(&n.conn, buf)
		n.lane.end(&n.conn)
		n.turnMu.Unlock()
		if err != nil {
			return nil, 0, err
		}
		n.flushHere()
		buf = buf[used:]
		if n.dead.Load() {
			return nil, 0, net.ErrClosed
		}
		if len(buf) < 4 || len(buf) < need {
			return buf, need, nil
		}
		for n.full.Load() && !n.dead.Load() {
			<-n.drained
		}
	}
}

// stopReading lets the turn at hand end; then nothing is read any more, but what is pending is still written.
func (n *netConn) stopReading() {
	n.stopping.Store(true)
	_ = n.nc.SetReadDeadline(time.Unix(1, 0)) // only fails if it is closed
}

// write waits for a peer that takes nothing, but not for longer than the idle time.
func (n *netConn) write(b []byte) (int, error) {
	if len(b) > maxWrite {
		b = b[:maxWrite]
	}
	if err := n.nc.SetWriteDeadline(time.Now().Add(n.limits.idle)); err != nil {
		return 0, err
	}
	return n.nc.Write(b)
}

func (n *netConn) background() bool {
	n.crew.start(n.writeOut)
	return true
}

func (n *netConn) resume() {
	select {
	case n.drained <- struct{}{}:
	default:
	}
}

func (n *netConn) shut() {
	n.resume()
	n.nc.Close()
}

func (n *netConn) release() {}

func (n *netConn) post(fn func(t *protocol.Turn)) {
	n.postMu.Lock()
	n.posted = append(n.posted, fn)
	mine := !n.posting
	n.posting = true
	n.postMu.Unlock()
	if mine {
		n.crew.start(n.runPosted)
	}
}

// runPosted takes turns until nothing is posted.
func (n *netConn) runPosted() {
	for {
		n.postMu.Lock()
		posted := n.posted
		n.posted = nil
		n.posting = len(posted) > 0
		n.postMu.Unlock()
		if len(posted) == 0 {
			return
		}
		n.turnMu.Lock()
		n.lane.begin()
		for _, fn := range posted {
			fn(n.lane.turn)
		}
		n.lane.end(nil)
		n.turnMu.Unlock()
	}
}

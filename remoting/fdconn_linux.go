package remoting

import (
	"io"
	"time"

	"golang.org/x/sys/unix"

	"rocketd/protocol"
)

// fdConn is a conn on a non-blocking socket of a loop. The loop owns all fields but the conn.
//
// It reads into the loop's buffer and serves the frames from there. Only what is left, a part of a frame as a rule, is
// kept in part, and put before the next bytes. So a conn costs what its other side has really sent, whatever length
// it announced, and nothing when it is idle. A frame that the loop's buffer cannot hold is gathered in part itself.
type fdConn struct {
	conn
	loop   *loop
	fd     int
	part   []byte
	need   int  // length of the frame that begins part, 0 if not known
	queued bool // in the loop's ready list
	hup    bool // the peer sends no more: read until the end
	broken bool // ... and takes no more
	quiet  time.Time
}

func (c *fdConn) event(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.writable()
	}
	if events&^unix.EPOLLOUT != 0 {
		c.hup = c.hup || events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
		c.broken = c.broken || events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
		c.loop.enqueue(c)
	}
}

// read takes what the peer has sent, once, and serves it.
func (c *fdConn) read() {
	full := c.full.Load()
	if c.dead.Load() || full && c.broken {
		c.loop.drop(c)
		return
	}
	if full {
		return // resume will have it read
	}
	buf, have := c.loop.buf, 0
	large := c.need > len(buf)
	if large {
		buf, have = c.room(), len(c.part)
	} else {
		have = copy(buf, c.part)
	}
	n, more, err := c.receive(buf[have:])
	if err != nil {
		c.loop.drop(c)
		return
	}
	buf = buf[:have+n]
	used, need, err := c.loop.serve(&c.conn, buf)
	if err != nil {
		c.limits.log.Warn("connection closed: bad frame", "addr", c.remote, "err", err)
		c.loop.drop(c)
		return
	}
	if c.dead.Load() {
		c.loop.drop(c)
		return
	}
	switch {
	case !large:
		c.part, c.need = append(c.part[:0], buf[used:]...), need
	case used == 0:
		c.part = buf
	case cap(c.part) > keepBuffer:
		c.part, c.need = nil, 0
	default:
		c.part, c.need = c.part[:0], 0
	}
	if more {
		c.loop.enqueue(c)
	}
}

// room returns part, extended to what it may grow to in this turn.
func (c *fdConn) room() []byte {
	if len(c.part) == cap(c.part) && len(c.part) < c.need {
		grown := make([]byte, len(c.part), min(2*len(c.part), c.need))
		copy(grown, c.part)
		c.part = grown
	}
	return c.part[:min(cap(c.part), c.need)]
}

// receive reads into b, and tells whether there may be more.
func (c *fdConn) receive(b []byte) (n int, more bool, err error) {
	if len(b) == 0 {
		return 0, true, nil
	}
	for {
		n, err = unix.Read(c.fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, false, nil
		case err != nil:
			return 0, false, err
		case n == 0:
			return 0, false, io.EOF
		default:
			c.markActive()
			return n, n == len(b) || c.hup, nil
		}
	}
}

func (c *fdConn) giveBackAll() {
	c.giveBack()
	if len(c.part) == 0 {
		c.part = nil
	} else if cap(c.part) > 2*len(c.part) {
		c.part = append(make([]byte, 0, len(c.part)), c.part...)
	}
}

func (c *fdConn) write(b []byte) (int, error) {
	for {
		n, err := unix.Write(c.fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errAgain
		default:
			return max(n, 0), err
		}
	}
}

func (c *fdConn) background() bool { return false }

func (c *fdConn) post(fn func(t *protocol.Turn)) { c.loop.post(fn) }

func (c *fdConn) resume() { c.loop.post(func(*protocol.Turn) { c.loop.enqueue(c) }) }

// shut works as long as the descriptor is ours: release comes after it, under the same lock.
func (c *fdConn) shut() { _ = unix.Shutdown(c.fd, unix.SHUT_RDWR) }

func (c *fdConn) release() { unix.Close(c.fd) }

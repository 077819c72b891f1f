package remoting

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"rocketd/protocol"
)

// errAgain says that the socket takes no more bytes now. The link calls writable when it does again.
var errAgain = errors.New("socket is full")

// link is what a transport does for a conn. All but write and post are called with the conn's lock held, so they neither
// wait nor call back.
type link interface {
	// write writes some of b. Only one goroutine is in it at a time.
	write(b []byte) (int, error)
	// background has writeOut called by another goroutine if write may wait for the peer; else it returns false.
	background() bool
	// post queues fn for a turn of the I/O context.
	post(fn func(t *protocol.Turn))
	// resume has the context read on, after the conn was full.
	resume()
	// shut makes the context see the end of the stream, soon.
	shut()
	// release gives the socket back: neither context nor writer use it any more.
	release()
}

// conn is one connection, whatever carries it: the buffer of what is to be written, and who waits for answers.
// It is the protocol.Peer of its requests.
type conn struct {
	limits *limits
	link   link
	remote netip.AddrPort
	local  netip.AddrPort
	calls  calls

	active atomic.Bool // bytes went by since the transport last looked
	full   atomic.Bool // unwritten bytes exceed the high water mark, or much is away: no request is served
	dead   atomic.Bool // hung up, by either side: nothing is written any more

	// mu guards what follows. A loop's lock may be taken under it.
	mu      sync.Mutex
	out     []byte // whole frames, to be written
	busy    []byte // the buffer that is being written
	rest    []byte // what of busy is not written yet
	writing bool   // somebody is in link.write, or about to be
	stalled bool   // the socket is full
	again   bool   // the socket got room while somebody was writing
	touched bool   // a turn will flush
	ended   bool   // the I/O context has let go of the conn
	away    int    // requests that somebody works on outside of the turn
}

// maxAway is how many requests of a conn may be away at a time. Their answers come past the high water mark, so this
// bounds them: as many answers of a usual size as fit below it.
const maxAway = 32

// RemoteAddr is the address of the other side's socket.
func (c *conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr is the address of our side's socket.
func (c *conn) LocalAddr() netip.AddrPort { return c.local }

// LockOut hands out the buffer of frames to be written.
func (c *conn) LockOut() []byte {
	c.mu.Lock()
	if cap(c.out) == 0 {
		c.out = make([]byte, 0, minBuffer)
	}
	return c.out
}

// UnlockOut takes the buffer back. With a turn it leaves when the turn ends, else now.
func (c *conn) UnlockOut(t *protocol.Turn, out []byte) {
	if c.dead.Load() {
		c.out = nil
		c.mu.Unlock()
		return
	}
	c.out = out
	if unwritten := len(out) + len(c.rest); unwritten > c.limits.highWater {
		c.full.Store(true)
		if unwritten > c.limits.hardCap {
			c.limits.log.Warn("connection closed: too many unread answers", "addr", c.remote, "size", unwritten)
			c.hangUp()
		}
	}
	if t == nil {
		c.flush()
		return
	}
	if !c.touched {
		c.touched = true
		t.Touch(c)
	}
	c.mu.Unlock()
}

// Flush writes what is pending, or has it written.
func (c *conn) Flush() {
	c.mu.Lock()
	c.touched = false
	c.flush()
}

// flush has the pending bytes written, unless somebody is at it or the socket is full. It takes over the lock.
func (c *conn) flush() {
	if !c.mayWrite() {
		c.mu.Unlock()
		return
	}
	c.writing = true
	if c.link.background() {
		c.mu.Unlock()
		return
	}
	c.drain()
}

// flushHere is flush for the I/O context of a conn whose link waits for the peer.
func (c *conn) flushHere() {
	c.mu.Lock()
	c.touched = false
	if !c.mayWrite() {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.drain()
}

// writeOut writes for whoever may not wait.
func (c *conn) writeOut() {
	c.mu.Lock()
	c.drain()
}

func (c *conn) mayWrite() bool {
	return !c.writing && !c.stalled && len(c.out)+len(c.rest) > 0 && !c.dead.Load()
}

// drain writes until nothing is left or the socket is full. Whoever claimed writing calls it; bytes that others append
// meanwhile are written too, so nobody but the writer touches the socket. It takes over the lock.
func (c *conn) drain() {
	for !c.dead.Load() {
		if len(c.rest) == 0 {
			if len(c.out) == 0 {
				break
			}
			c.out, c.busy = c.busy[:0], c.out
			c.rest = c.busy
		}
		c.again = false
		b := c.rest
		c.mu.Unlock()
		n, err := c.link.write(b)
		if n > 0 {
			c.markActive()
		}
		c.mu.Lock()
		c.rest = b[n:]
		if len(c.rest) == 0 && cap(c.busy) > keepBuffer {
			c.busy, c.rest = nil, nil
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, errAgain) {
			c.hangUp()
		} else if !c.again {
			c.stalled = true
			break
		}
	}
	c.writing = false
	if c.dead.Load() {
		c.out, c.busy, c.rest = nil, nil, nil
		if c.ended {
			c.link.release()
		}
	} else {
		c.makeRoom()
	}
	c.mu.Unlock()
}

// makeRoom has requests served again if there is room for their answers. The lock is held.
func (c *conn) makeRoom() {
	if c.full.Load() && c.away < maxAway && len(c.out)+len(c.rest) <= c.limits.highWater/2 {
		c.full.Store(false)
		c.link.resume()
	}
}

// Away counts the requests of this conn that are answered outside of the turn: +1 when one leaves it, -1 when it is
// done. While many are away no more are served.
func (c *conn) Away(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away += n
	if c.away >= maxAway {
		c.full.Store(true)
	} else if n < 0 && !c.dead.Load() {
		c.makeRoom()
	}
}

// writable tells that the socket may take bytes again.
func (c *conn) writable() {
	c.mu.Lock()
	c.again, c.stalled = true, false
	c.flush()
}

// settled tells that all answers are written.
func (c *conn) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead.Load() || !c.writing && len(c.out)+len(c.rest) == 0
}

// giveBack drops the buffers of a conn that has nothing to write.
func (c *conn) giveBack() {
	c.mu.Lock()
	if !c.writing && len(c.out)+len(c.rest) == 0 {
		c.out, c.busy, c.rest = nil, nil, nil
	}
	c.mu.Unlock()
}

func (c *conn) markActive() {
	if !c.active.Load() {
		c.active.Store(true)
	}
}

// Post runs fn in a turn of the conn's I/O context, soon.
func (c *conn) Post(fn func(t *protocol.Turn)) { c.link.post(fn) }

// Send sends a one-way request.
func (c *conn) Send(t *protocol.Turn, req *protocol.Command) {
	r := *req
	r.SetOneway()
	r.Opaque = c.calls.nextOpaque()
	c.UnlockOut(t, r.Append(c.LockOut()))
}

// Invoke sends a request and waits for its response.
func (c *conn) Invoke(ctx context.Context, req *protocol.Command) (*protocol.Command, error) {
	if c.dead.Load() {
		return nil, errNotSent
	}
	r := *req
	r.Opaque = c.calls.nextOpaque()
	answer, err := c.calls.add(r.Opaque)
	if err != nil {
		return nil, err
	}
	c.UnlockOut(nil, r.Append(c.LockOut()))
	return c.calls.wait(ctx, r.Opaque, answer)
}

// Closed tells that the connection is gone.
func (c *conn) Closed() bool { return c.dead.Load() }

// Close hangs up. What is not written yet is lost.
func (c *conn) Close() {
	c.mu.Lock()
	c.hangUp()
	c.mu.Unlock()
}

// hangUp makes the conn dead; its I/O context will notice, tell the handler and end it. The lock is held.
func (c *conn) hangUp() {
	if !c.dead.Load() {
		c.dead.Store(true)
		c.link.shut()
	}
}

// end is called once by the I/O context when it lets go of the conn. Requests that wait for an answer fail.
func (c *conn) end() {
	c.mu.Lock()
	c.dead.Store(true)
	c.ended = true
	if !c.writing {
		c.out, c.busy, c.rest = nil, nil, nil
		c.link.release()
	}
	c.mu.Unlock()
	c.calls.fail()
}

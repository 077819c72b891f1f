package protocol

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Turn is one beat of an I/O context: it reads what is there, hands every complete frame to its handler, commits
// what the handlers staged as one batch, and writes each connection's answers with one write. A Turn belongs to
// one I/O context and is used again for its next beat; nobody keeps it.
type Turn struct {
	Now     time.Time // taken once, when the context woke
	Appends Appends   // staged appends of this context; nil where nothing is ever appended (a NameServer)
	touched []Peer
}

// Appends is what the handlers of a turn have staged for the log. Commit writes it and answers whoever waited.
type Appends interface {
	Commit(t *Turn)
}

// Touch remembers that p has answers to write when the turn ends. Peers call it; each peer at most once a turn.
func (t *Turn) Touch(p Peer) { t.touched = append(t.touched, p) }

// Touched hands over the peers that were touched since the last call. The I/O context flushes them.
func (t *Turn) Touched() []Peer {
	p := t.touched
	t.touched = t.touched[:0]
	return p
}

// Peer is the connection that a request came over, as far as a handler may know it. All methods may be called
// from any goroutine. Peers are compared with ==.
type Peer interface {
	// RemoteAddr is the address of the other side's socket, LocalAddr of ours.
	RemoteAddr() netip.AddrPort
	LocalAddr() netip.AddrPort
	// LockOut hands out the buffer of bytes to be written, for appending whole frames, until UnlockOut gives it
	// back. In a turn the bytes leave when the turn ends; with t nil they leave now. Use Ticket, not these.
	LockOut() []byte
	UnlockOut(t *Turn, out []byte)
	// Flush writes what is pending; the I/O context calls it at the end of a turn.
	Flush()
	// Post runs fn in a turn of the peer's I/O context, soon. It does not wait; fn runs also if the peer is closed.
	Post(fn func(t *Turn))
	// Invoke sends a request to the peer and waits for its response; it sets Opaque. Never call it in a turn.
	Invoke(ctx context.Context, c *Command) (*Command, error)
	// Send sends a one-way request to the peer; with t not nil it leaves at the turn's end.
	Send(t *Turn, c *Command)
	// Closed tells that the connection is gone: answers to it are dropped.
	Closed() bool
	// Close hangs up.
	Close()
}

// Call is one request in the turn. It is valid until the handler returns; a handler that parks keeps the Ticket
// and whatever it copied. On the pool, Turn is nil and the Command is a clone.
type Call struct {
	Command
	Peer Peer
	Turn *Turn
}

// Ticket returns what is needed to answer later.
func (c *Call) Ticket() Ticket {
	return Ticket{Peer: c.Peer, Opaque: c.Opaque, Form: c.Form, Oneway: c.IsOneway()}
}

// Fail answers an error: its code and remark if it is an *Error, SystemError otherwise.
func (c *Call) Fail(err error) {
	var known *Error
	if !errors.As(err, &known) {
		known = Errorf(SystemError, "%v", err)
	}
	c.Ticket().Answer(c.Turn, known.Code, known.Remark, nil, nil)
}

// Ticket says whom to answer, and under which opaque. It is small and may be kept.
type Ticket struct {
	Peer   Peer
	Opaque int32
	Form   Form
	Oneway bool
}

// Fielder is a typed header that can write itself into a frame.
type Fielder interface {
	AppendFields(w *FrameWriter)
}

// Answer sends a whole response. h may be nil, body may be nil. Hot paths use Open instead, which allocates nothing.
func (k Ticket) Answer(t *Turn, code int32, remark string, h Fielder, body []byte) {
	if k.Oneway {
		return
	}
	w := k.Open(code, remark)
	if h != nil {
		h.AppendFields(&w)
	}
	w.Body()
	w.Append(body)
	w.Send(t)
}

// Open locks the peer's out buffer and begins a response frame in it. The caller writes the ext fields, then the
// body, and must call Send. It may not be called for a one-way request.
//
//	w := k.Open(protocol.Success, "")
//	w.Int("queueId", 3)
//	w.Body()
//	w.Append(records)
//	w.Send(t)
func (k Ticket) Open(code int32, remark string) FrameWriter {
	w := FrameWriter{peer: k.Peer, buf: k.Peer.LockOut()}
	w.begin(k.Form, code, k.Opaque, flagResponse, remark)
	return w
}

// Send ends the frame and gives the out buffer back.
func (w *FrameWriter) Send(t *Turn) {
	w.finish()
	w.peer.UnlockOut(t, w.buf)
}

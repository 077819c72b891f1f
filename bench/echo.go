package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"rocketd/protocol"
)

// Echo is the floor under a broker: it answers send requests with a frame like a broker's and does nothing else, no
// check, no log, no queue. What a broker costs above it in the same minute on the same machine is the broker's own.
// It runs one thread until the context ends. Requests that are not sends are answered too, with nothing in them.
func Echo(ctx context.Context, l net.Listener) error {
	e, err := newEngine()
	if err != nil {
		return err
	}
	defer e.close()
	arrived := make(chan int, 1024)
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		defer close(arrived)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if fd, err := detach(nc); err == nil {
				arrived <- fd
			}
		}
	}()
	offsets := make([]int64, 1024)
	e.lost = func(error) error { return nil }
	e.tick = func(int64) bool {
		for {
			select {
			case fd, ok := <-arrived:
				if !ok {
					return false
				}
				if err := e.add(fd, &echo{offsets: offsets}); err != nil {
					return false
				}
			case <-ctx.Done():
				return false
			default:
				return true
			}
		}
	}
	err = e.run()
	_ = l.Close()
	for fd := range arrived {
		_ = syscall.Close(fd)
	}
	<-accepted
	return err
}

// echo is one connection of the floor.
type echo struct {
	offsets []int64 // by queue
	frames  [2]*echoFrame
	pending []byte
	hint    int // where the queue stands in a request
}

// echoFrame is an answer that is copied and patched, by form.
type echoFrame struct {
	bytes          []byte
	opaque, offset int
}

func newEchoFrame(form protocol.Form) *echoFrame {
	const opaque, zeros = firstOpaque, "1000000000"
	w := protocol.NewFrame(nil, form, protocol.Success, opaque, 1, "")
	w.Str("MSG_REGION", "DefaultRegion")
	w.Str("TRACE_ON", "true")
	w.Str("msgId", "7F00000100002A9F0000000000000000")
	w.Str("queueId", "0")
	w.Str("queueOffset", zeros)
	w.Str("transactionId", "AC110001000100000000000000000000")
	w.Body()
	f := &echoFrame{bytes: w.Finish()}
	f.offset = bytes.Index(f.bytes, []byte("queueOffset"))
	f.offset += bytes.Index(f.bytes[f.offset:], []byte(zeros))
	f.opaque = 8 + 5
	if form == protocol.JSON {
		f.opaque = bytes.Index(f.bytes, []byte(`"opaque":`)) + len(`"opaque":`)
	}
	return f
}

func (c *echo) due() int64 { return never }

func (c *echo) fill(out []byte, _ int64) []byte {
	out = append(out, c.pending...)
	c.pending = c.pending[:0]
	return out
}

func (c *echo) answer(frame []byte, _ int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	f := c.frames[r.form]
	if f == nil {
		f = newEchoFrame(r.form)
		c.frames[r.form] = f
	}
	at := len(c.pending)
	c.pending = append(c.pending, f.bytes...)
	b := c.pending[at:]
	if r.form == protocol.Binary {
		binary.BigEndian.PutUint32(b[f.opaque:], uint32(r.opaque))
	} else if r.opaque < firstOpaque {
		return fmt.Errorf("opaque %d: the floor serves the generator only", r.opaque)
	} else {
		putOpaque(b[f.opaque:], r.form, r.opaque)
	}
	if queue, ok := r.number("e", &c.hint); ok && queue >= 0 && queue < int64(len(c.offsets)) {
		offset := 1_000_000_000 + c.offsets[queue]
		c.offsets[queue] += messagesIn(&r)
		strconv.AppendInt(b[f.offset:f.offset], offset, 10)
	}
	return nil
}

// messagesIn counts the messages of a send request.
func messagesIn(r *response) (n int64) {
	if r.code != protocol.SendBatchMessage {
		return 1
	}
	for b := r.body; len(b) >= 4; n++ {
		b = b[min(max(int(binary.BigEndian.Uint32(b)), 4), len(b)):]
	}
	return n
}

package remoting

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"rocketd/protocol"
)

// eachTransport runs a test with a goroutine per connection, and by epoll where there is one.
func eachTransport(t *testing.T, test func(t *testing.T, perConn bool)) {
	t.Helper()
	t.Run("perconn", func(t *testing.T) { test(t, true) })
	if haveEpoll {
		t.Run("epoll", func(t *testing.T) { test(t, false) })
	}
}

// serve runs a server until the test ends, and returns its address.
func serve(t testing.TB, cfg ServerConfig) string {
	t.Helper()
	cfg.Addrs = []string{"127.0.0.1:0"}
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return s.Addrs()[0].String()
}

func newClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	k := NewClient(cfg)
	t.Cleanup(k.Close)
	return k
}

// funcs is a Handler made of functions; nil ones do nothing.
type funcs struct {
	serve   func(c *protocol.Call)
	endTurn func(t *protocol.Turn)
	closed  func(t *protocol.Turn, p protocol.Peer)
}

func (f funcs) Serve(c *protocol.Call) {
	if f.serve != nil {
		f.serve(c)
	}
}

func (f funcs) EndTurn(t *protocol.Turn) {
	if f.endTurn != nil {
		f.endTurn(t)
	}
}

func (f funcs) Closed(t *protocol.Turn, p protocol.Peer) {
	if f.closed != nil {
		f.closed(t, p)
	}
}

func (f funcs) handler() func() Handler { return func() Handler { return f } }

// echo answers with the body of the request, as a send is answered.
func echo(c *protocol.Call) {
	if c.IsOneway() {
		return
	}
	w := c.Ticket().Open(protocol.Success, "")
	w.Int("queueId", 3)
	w.Int("queueOffset", 1234567)
	w.Body()
	w.Append(c.Body)
	w.Send(c.Turn)
}

func request(code int32, body string) *protocol.Command {
	return &protocol.Command{Code: code, Body: []byte(body)}
}

func dialRaw(t testing.TB, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return nc
}

// lines is a log that a test can read.
type lines struct {
	wrote chan bool // gets a token for each line; may be nil
	mu    sync.Mutex
	text  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.wrote <- true:
	default:
	}
	return l.text.Write(b)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// readFrame reads one frame.
func readFrame(t testing.TB, r io.Reader) *protocol.Command {
	t.Helper()
	c, err := tryFrame(r)
	if err != nil {
		t.Fatalf("cannot read a frame: %v", err)
	}
	return c
}

func tryFrame(r io.Reader) (*protocol.Command, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n, err := protocol.FrameLength(head, 0)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, n-4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	c := new(protocol.Command)
	return c, c.Decode(frame)
}

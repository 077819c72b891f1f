package remoting

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/protocol"
)

// pipes makes connections in memory: each dial hands its other end to the test.
type pipes struct {
	dials atomic.Int32
	fail  atomic.Bool
	ends  chan net.Conn
}

var errRefused = errors.New("refused")

func newPipes() *pipes { return &pipes{ends: make(chan net.Conn, 10)} }

func (p *pipes) dial(ctx context.Context, addr string) (net.Conn, error) {
	p.dials.Add(1)
	if p.fail.Load() {
		return nil, errRefused
	}
	here, there := net.Pipe()
	p.ends <- there
	return here, nil
}

// answer reads one request and answers with its body.
func answer(t *testing.T, nc net.Conn) {
	t.Helper()
	req := readFrame(t, nc)
	respond(t, nc, req)
}

func respond(t *testing.T, nc net.Conn, req *protocol.Command) {
	t.Helper()
	w := protocol.NewFrame(nil, req.Form, 0, req.Opaque, 1, "")
	w.Body()
	w.Append(req.Body)
	if _, err := nc.Write(w.Finish()); err != nil {
		t.Error(err)
	}
}

// A call that ran out of time leaves the connection usable, and its late answer is nobody's.
func TestClient_Invoke_Timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		k := NewClient(ClientConfig{Timeout: 5 * time.Second, Dial: p.dial})
		defer k.Close()
		start := time.Now()
		late := make(chan *protocol.Command, 1)
		var nc net.Conn
		go func() {
			nc = <-p.ends
			late <- readFrame(t, nc)
		}()
		_, err := k.Invoke(t.Context(), "a:1", request(1, "late"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Fatalf("Invoke = %v after %v", err, time.Since(start))
		}
		first := <-late
		go func() {
			second := readFrame(t, nc)
			respond(t, nc, first)
			respond(t, nc, second)
		}()
		got, err := k.Invoke(t.Context(), "a:1", request(1, "in time"))
		if err != nil || string(got.Body) != "in time" || p.dials.Load() != 1 {
			t.Errorf("Invoke = %+v, %v after %d dials", got, err, p.dials.Load())
		}
	})
}

// When a connection breaks, all that wait fail at once, and the next call makes a new one.
func TestClient_Invoke_BrokenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		k := NewClient(ClientConfig{Dial: p.dial})
		defer k.Close()
		start := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := k.Invoke(t.Context(), "a:1", request(1, "x")); !errors.Is(err, ErrClosed) {
					t.Errorf("Invoke = %v, want ErrClosed", err)
				}
			})
		}
		nc := <-p.ends
		for range 5 {
			readFrame(t, nc)
		}
		nc.Close()
		wg.Wait()
		if time.Since(start) != 0 || p.dials.Load() != 1 {
			t.Errorf("failed after %v and %d dials", time.Since(start), p.dials.Load())
		}
		go func() { answer(t, <-p.ends) }()
		if got, err := k.Invoke(t.Context(), "a:1", request(1, "again")); err != nil || string(got.Body) != "again" {
			t.Errorf("Invoke = %+v, %v", got, err)
		}
	})
}

// While an address cannot be reached, calls fail at once and dials are rare.
func TestClient_Dial_BackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		p.fail.Store(true)
		k := NewClient(ClientConfig{Dial: p.dial})
		defer k.Close()
		for range 1000 { // 10 s
			if err := k.Oneway(t.Context(), "a:1", request(1, "")); !errors.Is(err, errRefused) {
				t.Fatalf("Oneway = %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := p.dials.Load(); n < 5 || n > 12 {
			t.Errorf("%d dials in 10 s", n)
		}
		p.fail.Store(false)
		time.Sleep(maxBackOff)
		if err := k.Oneway(t.Context(), "a:1", request(1, "")); err != nil {
			t.Errorf("Oneway = %v", err)
		}
		readFrame(t, <-p.ends)
	})
}

// An idle connection is closed and forgotten; the next call makes a new one.
func TestClient_Idle_Redials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		k := NewClient(ClientConfig{Dial: p.dial})
		defer k.Close()
		for range 2 {
			ended := make(chan error)
			go func() {
				nc := <-p.ends
				answer(t, nc)
				_, err := nc.Read(make([]byte, 1))
				ended <- err
			}()
			if _, err := k.Invoke(t.Context(), "a:1", request(1, "")); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != io.EOF {
				t.Errorf("server read %v, want EOF", err)
			}
			synctest.Wait()
			if len(k.targets) != 0 {
				t.Errorf("%d targets are remembered", len(k.targets))
			}
		}
		if p.dials.Load() != 2 {
			t.Errorf("%d dials", p.dials.Load())
		}
	})
}

// Close ends what runs and what waits: calls, dials, connections. The bubble would not end with a goroutine left.
func TestClient_Close_EndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		k := NewClient(ClientConfig{Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "nowhere:1" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return p.dial(ctx, addr)
		}})
		var wg sync.WaitGroup
		for _, addr := range []string{"a:1", "nowhere:1"} {
			wg.Go(func() {
				if _, err := k.Invoke(t.Context(), addr, request(1, "")); err == nil {
					t.Errorf("%s answered", addr)
				}
			})
		}
		readFrame(t, <-p.ends)
		start := time.Now()
		k.Close()
		k.Close()
		wg.Wait()
		if time.Since(start) != 0 {
			t.Errorf("closing took %v", time.Since(start))
		}
		if _, err := k.Invoke(t.Context(), "a:1", request(1, "")); !errors.Is(err, ErrClosed) {
			t.Errorf("Invoke after Close = %v", err)
		}
	})
}

package remoting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"rocketd/protocol"
)

// Many callers share one connection; each must get the answer to its own request, in either form of the header.
func TestServer_Echo_ManyCallers(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		addr := serve(t, ServerConfig{PerConn: perConn, Loops: 2, NewHandler: funcs{serve: echo}.handler()})
		client := newClient(t, ClientConfig{})
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for j := range 50 {
					req := request(10, fmt.Sprintf("%d/%d", i, j))
					req.Form = protocol.Form(i % 2)
					got, err := client.Invoke(t.Context(), addr, req)
					if err != nil || !bytes.Equal(got.Body, req.Body) || got.Form != req.Form || !got.IsResponse() {
						t.Errorf("Invoke(%s) = %+v, %v", req.Body, got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// A frame must be served the same however it is cut on its way, and whatever size it has.
func TestServer_Serve_FramesInPieces(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		addr := serve(t, ServerConfig{PerConn: perConn, NewHandler: funcs{serve: echo}.handler()})
		for _, size := range []int{0, 1, 1000, readBuffer - 50, readBuffer, 3 * readBuffer, 4 << 20} {
			body := bytes.Repeat([]byte{'x'}, size)
			frame := request(10, string(body)).Append(nil)
			for _, piece := range []int{1, 7, len(frame)/3 + 1, len(frame)} {
				if len(frame)/piece > 2000 {
					continue
				}
				nc := dialRaw(t, addr)
				for from := 0; from < len(frame); from += piece {
					if _, err := nc.Write(frame[from:min(from+piece, len(frame))]); err != nil {
						t.Fatal(err)
					}
				}
				if got := readFrame(t, nc); !bytes.Equal(got.Body, body) {
					t.Fatalf("size %d in pieces of %d: got %d bytes", size, piece, len(got.Body))
				}
				nc.Close()
			}
		}
	})
}

// Frames of one write are answered in one turn, and a frame begun there is served when its end comes.
func TestServer_Serve_Pipelined(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		addr := serve(t, ServerConfig{PerConn: perConn, NewHandler: funcs{serve: echo}.handler()})
		nc := dialRaw(t, addr)
		const n = 3000
		var stream []byte
		for i := range n {
			req := request(10, fmt.Sprint(i))
			req.Opaque = int32(i)
			stream = req.Append(stream)
		}
		go func() {
			for len(stream) > 0 {
				k := min(len(stream), 10_007)
				if _, err := nc.Write(stream[:k]); err != nil {
					t.Error(err)
					return
				}
				stream = stream[k:]
			}
		}()
		for i := range n {
			if got := readFrame(t, nc); got.Opaque != int32(i) || string(got.Body) != fmt.Sprint(i) {
				t.Fatalf("answer %d has opaque %d, body %q", i, got.Opaque, got.Body)
			}
		}
	})
}

// A parked request is answered later, out of order and without a turn; a one-way request never.
func TestServer_Answer_LaterAndOutOfOrder(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		parked := make(chan protocol.Ticket, 1)
		serveOne := func(c *protocol.Call) {
			switch string(c.Body) {
			case "park":
				parked <- c.Ticket()
			case "wake":
				first := <-parked
				echo(c)
				go first.Answer(nil, 7, "late", nil, []byte("parked"))
			default:
				echo(c)
			}
		}
		addr := serve(t, ServerConfig{PerConn: perConn, NewHandler: funcs{serve: serveOne}.handler()})
		client := newClient(t, ClientConfig{})
		if err := client.Oneway(t.Context(), addr, request(1, "nobody answers")); err != nil {
			t.Fatal(err)
		}
		late := make(chan *protocol.Command, 1)
		go func() {
			got, err := client.Invoke(context.Background(), addr, request(11, "park"))
			if err != nil {
				t.Error(err)
			}
			late <- got
		}()
		parked <- <-parked // it is there
		if _, err := client.Invoke(t.Context(), addr, request(11, "wake")); err != nil {
			t.Fatal(err)
		}
		if got := <-late; got == nil || got.Code != 7 || got.Remark != "late" || string(got.Body) != "parked" {
			t.Errorf("got %+v", got)
		}
	})
}

// The server may ask its clients, by a call that waits and by one that does not; a client's answer finds its way.
func TestPeer_Invoke_AsksTheClient(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		oneway := make(chan string, 1)
		client := newClient(t, ClientConfig{OnRequest: func(c *protocol.Call) {
			if c.IsOneway() {
				oneway <- string(c.Body)
				return
			}
			echo(c)
		}})
		addr := serve(t, ServerConfig{PerConn: perConn, NewHandler: funcs{serve: func(c *protocol.Call) {
			k, peer := c.Ticket(), c.Peer
			peer.Send(c.Turn, request(40, "changed"))
			go func() {
				got, err := peer.Invoke(context.Background(), request(307, "how are you"))
				if err != nil {
					k.Answer(nil, 1, err.Error(), nil, nil)
					return
				}
				k.Answer(nil, 0, "", nil, got.Body)
			}()
		}}.handler()})
		got, err := client.Invoke(t.Context(), addr, request(10, ""))
		if err != nil || string(got.Body) != "how are you" {
			t.Errorf("got %+v, %v", got, err)
		}
		if got := <-oneway; got != "changed" {
			t.Errorf("one-way request said %q", got)
		}
	})
}

// What is posted runs in a turn of the peer's context: EndTurn follows, and answers leave. It runs even if the peer
// or the whole server is gone.
func TestPeer_Post_RunsInATurn(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		inTurn, ends := 0, 0 // the race detector tells if posts and turns overlap
		peers := make(chan protocol.Peer, 1)
		h := funcs{
			serve: func(c *protocol.Call) {
				k := c.Ticket()
				peers <- c.Peer
				for i := range 3 {
					go k.Peer.Post(func(turn *protocol.Turn) {
						inTurn++
						if turn.Now.IsZero() {
							t.Error("a turn without a time")
						}
						k.Answer(turn, int32(i), "", nil, nil)
					})
				}
			},
			endTurn: func(*protocol.Turn) { ends++ },
		}
		s, err := Listen(ServerConfig{Addrs: []string{"127.0.0.1:0"}, PerConn: perConn, NewHandler: h.handler()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		nc := dialRaw(t, s.Addrs()[0].String())
		if _, err := nc.Write(request(1, "").Append(nil)); err != nil {
			t.Fatal(err)
		}
		seen := map[int32]bool{}
		for range 3 {
			seen[readFrame(t, nc).Code] = true
		}
		if len(seen) != 3 {
			t.Errorf("answers %v", seen)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if ends == 0 || inTurn != 3 {
			t.Errorf("%d posts ran, %d turns ended", inTurn, ends)
		}
		p, before, ran := <-peers, ends, 0
		p.Post(func(turn *protocol.Turn) {
			p.Post(func(*protocol.Turn) { ran++ })
			p.Send(turn, request(1, "nobody reads it"))
			ran++
		})
		if ran != 2 || ends == before || !p.Closed() {
			t.Errorf("after the end %d of 2 posts ran, %d turns ended, closed %v", ran, ends-before, p.Closed())
		}
		if _, err := p.Invoke(t.Context(), request(1, "")); !errors.Is(err, ErrClosed) {
			t.Errorf("Invoke after the end = %v, want ErrClosed", err)
		}
	})
}

// A connection that ends is told once, whoever ended it, and fails what waits for its answer.
func TestServer_Closed_ToldOnce(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		type end struct {
			peer protocol.Peer
			turn *protocol.Turn
		}
		ended, met := make(chan end, 10), make(chan protocol.Peer, 10)
		h := funcs{
			serve: func(c *protocol.Call) {
				met <- c.Peer
				if string(c.Body) == "bye" {
					c.Peer.Close()
					c.Peer.Close()
					return
				}
				echo(c)
			},
			closed: func(turn *protocol.Turn, p protocol.Peer) { ended <- end{p, turn} },
		}
		addr := serve(t, ServerConfig{PerConn: perConn, NewHandler: h.handler()})
		check := func(how string, hangUp func(k *Client)) {
			t.Helper()
			k := newClient(t, ClientConfig{})
			if _, err := k.Invoke(t.Context(), addr, request(1, "hello")); err != nil {
				t.Fatal(err)
			}
			peer := <-met
			asked := make(chan error)
			go func() {
				_, err := peer.Invoke(context.Background(), request(307, ""))
				asked <- err
			}()
			hangUp(k)
			if got := <-ended; got.peer != peer || got.turn == nil || !peer.Closed() {
				t.Errorf("%s: told of %v in turn %v, want %v; closed %v", how, got.peer, got.turn, peer, peer.Closed())
			}
			if err := <-asked; !errors.Is(err, ErrClosed) {
				t.Errorf("%s: Invoke = %v, want ErrClosed", how, err)
			}
		}
		check("by the client", func(k *Client) { k.Close() })
		check("by the handler", func(k *Client) {
			if _, err := k.Invoke(t.Context(), addr, request(1, "bye")); !errors.Is(err, ErrClosed) {
				t.Errorf("Invoke = %v, want ErrClosed", err)
			}
			<-met
		})
		select {
		case e := <-ended:
			t.Errorf("told again of %v", e.peer)
		default:
		}
	})
}

// A stopping server writes what is pending before it closes, and leaves the port.
func TestServer_Run_StopsAfterPendingAnswers(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		const size = 6 << 20 // more than the sockets hold
		served := make(chan bool, 1)
		h := funcs{serve: func(c *protocol.Call) {
			c.Ticket().Answer(c.Turn, 0, "", nil, make([]byte, size))
			served <- true
		}}
		s, err := Listen(ServerConfig{Addrs: []string{"127.0.0.1:0"}, PerConn: perConn, Grace: 20 * time.Second, NewHandler: h.handler()})
		if err != nil {
			t.Fatal(err)
		}
		addr := s.Addrs()[0].String()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		nc := dialRaw(t, addr)
		if _, err := nc.Write(request(1, "").Append(nil)); err != nil {
			t.Fatal(err)
		}
		<-served
		if _, err := nc.Read(make([]byte, 1)); err != nil { // the answer is on its way
			t.Fatal(err)
		}
		cancel()
		n, err := io.Copy(io.Discard, nc)
		if err != nil || n < size {
			t.Errorf("read %d bytes of %d, %v", n, size, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		again, err := Listen(ServerConfig{Addrs: []string{addr}, NewHandler: h.handler()})
		if err != nil {
			t.Fatalf("the port is not free: %v", err)
		}
		again.Close()
	})
}

// An address that is taken fails the whole server, and frees what was bound before it.
func TestListen_TakenAddress(t *testing.T) {
	one, err := Listen(ServerConfig{Addrs: []string{"127.0.0.1:0"}, NewHandler: funcs{}.handler()})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	taken := one.Addrs()[0].String()
	free, err := Listen(ServerConfig{Addrs: []string{"127.0.0.1:0"}, NewHandler: funcs{}.handler()})
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addrs()[0].String()
	free.Close()
	if _, err := Listen(ServerConfig{Addrs: []string{addr, taken}, NewHandler: funcs{}.handler()}); err == nil {
		t.Fatal("listening twice on one address went well")
	}
	again, err := Listen(ServerConfig{Addrs: []string{addr}, NewHandler: funcs{}.handler()})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := Listen(ServerConfig{NewHandler: funcs{}.handler()}); err == nil {
		t.Error("a server without an address")
	}
}

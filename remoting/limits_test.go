package remoting

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/protocol"
)

// What is no frame closes the connection, with one line in the log; what came whole before it is still served.
func TestServer_Serve_BadFrames(t *testing.T) {
	good := request(10, "good").Append(nil)
	word := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	cases := map[string][]byte{
		"negative length":    word(0xFFFFFFFF),
		"length below 4":     word(3),
		"length above limit": word(1 << 20),
		"header beyond end":  append(word(8), 0, 0, 0, 9, 'a', 'b', 'c', 'd'),
		"unknown form":       append(word(8), 2, 0, 0, 4, 'a', 'b', 'c', 'd'),
		"no JSON":            append(word(8), 0, 0, 0, 4, 'a', 'b', 'c', 'd'),
		"short binary":       append(word(8), 1, 0, 0, 4, 'a', 'b', 'c', 'd'),
		"web browser":        []byte("GET / HTTP/1.1\r\n\r\n"),
		"TLS":                {0x16, 3, 1, 0, 0xA5, 1},
	}
	eachTransport(t, func(t *testing.T, perConn bool) {
		for name, bad := range cases {
			var log lines
			var served atomic.Int32
			closed := make(chan bool, 1)
			addr := serve(t, ServerConfig{PerConn: perConn, MaxFrame: 1 << 20, Log: log.logger(), NewHandler: funcs{
				serve:  func(*protocol.Call) { served.Add(1) },
				closed: func(*protocol.Turn, protocol.Peer) { closed <- true },
			}.handler()})
			nc := dialRaw(t, addr)
			if _, err := nc.Write(append(good[:len(good):len(good)], bad...)); err != nil {
				t.Fatal(err)
			}
			if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%s: read %d, %v", name, n, err)
			}
			<-closed
			if n := served.Load(); n != 1 {
				t.Errorf("%s: %d frames were served", name, n)
			}
			if n := log.count("\n"); n != 1 || log.count("bad frame") != 1 {
				t.Errorf("%s: log has %d lines: %s", name, n, log.text.String())
			}
		}
	})
}

// A client that does not read its answers is not served any further than the high water mark, and gets all of them
// when it reads.
func TestServer_HighWater_SlowReader(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		const requests, size, highWater = 400, 64 << 10, 256 << 10
		var most atomic.Int64
		addr := serve(t, ServerConfig{PerConn: perConn, HighWater: highWater, NewHandler: funcs{serve: func(c *protocol.Call) {
			p := c.Peer.(*conn)
			p.mu.Lock()
			most.Store(max(most.Load(), int64(len(p.out)+len(p.rest))))
			p.mu.Unlock()
			c.Ticket().Answer(c.Turn, 0, "", nil, make([]byte, size))
		}}.handler()})
		nc := dialRaw(t, addr)
		var stream []byte
		for i := range requests {
			req := request(11, strings.Repeat("x", 1000)) // more than one read takes
			req.Opaque = int32(i)
			stream = req.Append(stream)
		}
		go nc.Write(stream)
		for i := range requests {
			if got := readFrame(t, nc); got.Opaque != int32(i) || len(got.Body) != size {
				t.Fatalf("answer %d: opaque %d, %d bytes", i, got.Opaque, len(got.Body))
			}
		}
		if most.Load() > highWater {
			t.Errorf("a request was served with %d bytes unwritten", most.Load())
		}
	})
}

// What is pushed to a client that reads nothing ends with the connection, not with the memory.
func TestServer_HardCap_ClosesTheConnection(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		var log lines
		closed := make(chan bool, 1)
		addr := serve(t, ServerConfig{PerConn: perConn, MaxFrame: 1 << 20, HighWater: 1 << 20, Log: log.logger(), NewHandler: funcs{
			serve: func(c *protocol.Call) {
				peer := c.Peer
				go func() {
					for !peer.Closed() {
						peer.Send(nil, request(40, strings.Repeat("x", 100<<10)))
					}
				}()
			},
			closed: func(*protocol.Turn, protocol.Peer) { closed <- true },
		}.handler()})
		nc := dialRaw(t, addr)
		if _, err := nc.Write(request(1, "").Append(nil)); err != nil {
			t.Fatal(err)
		}
		<-closed
		if log.count("\n") != 1 || log.count("too many unread answers") != 1 {
			t.Errorf("log: %s", log.text.String())
		}
	})
}

// A frame that was only begun costs what has arrived of it, not what its length announces.
func TestServer_HalfFrames_BoundedMemory(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		const conns, perConnection = 300, 64 << 10
		addr := serve(t, ServerConfig{PerConn: perConn, NewHandler: funcs{serve: echo}.handler()})
		half := append(binary.BigEndian.AppendUint32(nil, 15<<20), make([]byte, 300)...)
		whole := request(1, "").Append(nil)
		before := heap()
		for range conns {
			nc := dialRaw(t, addr)
			// The answer to the whole frame tells that the half one has arrived too.
			if _, err := nc.Write(append(whole[:len(whole):len(whole)], half...)); err != nil {
				t.Fatal(err)
			}
			readFrame(t, nc)
		}
		if grown := heap() - before; grown > conns*perConnection {
			t.Errorf("%d half frames cost %d bytes", conns, grown)
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A connection on which nothing happens is closed.
func TestServer_Idle_Closes(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		const idle = 400 * time.Millisecond
		closed := make(chan bool, 1)
		addr := serve(t, ServerConfig{PerConn: perConn, Idle: idle, NewHandler: funcs{
			serve:  echo,
			closed: func(*protocol.Turn, protocol.Peer) { closed <- true },
		}.handler()})
		nc := dialRaw(t, addr)
		start := time.Now()
		for range 3 {
			if _, err := nc.Write(request(1, "still here").Append(nil)); err != nil {
				t.Fatal(err)
			}
			readFrame(t, nc)
		}
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read = %v, want EOF", err)
		}
		if d := time.Since(start); d < idle {
			t.Errorf("closed after %v", d)
		}
		<-closed
	})
}

// Idle is neither read nor written for 120 s: each byte in or out begins it anew.
func TestNetConn_Idle_CountsFromTheLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		limits := newLimits(0, 0, 0, nil)
		var crew crew
		n := newNetConn(there, &limits, lane{handler: funcs{serve: echo}, turn: new(protocol.Turn)}, &crew, func() {})
		crew.start(n.run)
		start := time.Now()
		for range 3 {
			time.Sleep(100 * time.Second) // of the bubble: no time at all
			if _, err := here.Write(request(1, "").Append(nil)); err != nil {
				t.Fatal(err)
			}
			readFrame(t, here)
		}
		time.Sleep(100 * time.Second)
		go n.Send(nil, request(40, "")) // out counts as well
		readFrame(t, here)
		if _, err := here.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read = %v, want EOF", err)
		}
		if d := time.Since(start); d < 520*time.Second || d > 570*time.Second {
			t.Errorf("closed after %v, want 400 s and 120 s", d)
		}
		crew.wait()
	})
}

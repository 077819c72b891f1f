package remoting

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"rocketd/protocol"
)

// Connections that come and go in disorder, while others write to them, must not get each other's bytes though
// descriptors are used again at once; and in the end no goroutine is left.
func TestServer_Churn_NoCrosstalkNoLeak(t *testing.T) {
	eachTransport(t, func(t *testing.T, perConn bool) {
		before := runtime.NumGoroutine()
		var writers sync.WaitGroup
		s, err := Listen(ServerConfig{Addrs: []string{"127.0.0.1:0"}, PerConn: perConn, Loops: 2, NewHandler: funcs{serve: func(c *protocol.Call) {
			k, body := c.Ticket(), c.Clone().Body
			for range 3 {
				writers.Go(func() { k.Answer(nil, 0, "", nil, body) })
			}
			writers.Go(func() { k.Peer.Post(func(t *protocol.Turn) { k.Answer(t, 0, "", nil, body) }) })
			if binary.BigEndian.Uint32(body)%3 == 0 {
				writers.Go(k.Peer.Close)
			}
		}}.handler()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				for j := range 60 {
					if err := oneVisit(s.Addrs()[0].String(), uint32(i*1000+j)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		clients.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		writers.Wait()
		for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
			runtime.Gosched()
		}
		if n := runtime.NumGoroutine(); n > before {
			buf := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
		}
	})
}

// oneVisit sends one request and reads up to two of its four answers before it goes away.
func oneVisit(addr string, id uint32) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	req := protocol.Command{Body: binary.BigEndian.AppendUint32(nil, id), Opaque: int32(id)}
	if _, err := nc.Write(req.Append(nil)); err != nil {
		return nil // closed by the server, as it may
	}
	for range id % 3 {
		got, err := tryFrame(nc)
		if err != nil {
			return nil
		}
		if got.Opaque != int32(id) || binary.BigEndian.Uint32(got.Body) != id {
			return fmt.Errorf("connection %d got the answer to %d", id, got.Opaque)
		}
	}
	return nil
}

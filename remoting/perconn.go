package remoting

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// runPerConn serves with a goroutine per connection.
func (s *Server) runPerConn(ctx context.Context) error {
	p := &perConn{server: s, conns: make(map[*netConn]struct{})}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var acceptors sync.WaitGroup
	errs := make([]error, len(s.listeners))
	for i, l := range s.listeners {
		acceptors.Go(func() {
			errs[i] = p.accept(ctx, l)
			cancel() // one listener alone is no server
		})
	}
	<-ctx.Done()
	s.Close()
	acceptors.Wait()
	p.stop()
	return errors.Join(errs...)
}

// perConn is the set of connections of a server with a goroutine per connection.
type perConn struct {
	server *Server
	crew   crew

	mu    sync.Mutex // guards conns
	conns map[*netConn]struct{}
}

func (p *perConn) accept(ctx context.Context, l net.Listener) error {
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			p.add(nc)
		case ctx.Err() != nil:
			return nil
		default:
			// Too many open files, most likely. Clients wait in the backlog.
			p.server.limits.log.Error("cannot accept", "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

func (p *perConn) add(nc net.Conn) {
	var n *netConn
	n = newNetConn(nc, &p.server.limits, p.server.cfg.newLane(), &p.crew, func() {
		p.mu.Lock()
		delete(p.conns, n)
		p.mu.Unlock()
	})
	p.mu.Lock()
	p.conns[n] = struct{}{}
	p.mu.Unlock()
	p.crew.start(n.run)
}

// stop gives clients the grace time to read what is pending, and closes all connections.
func (p *perConn) stop() {
	conns := p.all()
	for _, n := range conns {
		n.stopReading()
	}
	for end := time.Now().Add(p.server.cfg.Grace); time.Now().Before(end) && !settled(conns); {
		<-time.After(10 * time.Millisecond)
	}
	for _, n := range conns {
		n.Close()
	}
	p.crew.wait()
}

func (p *perConn) all() []*netConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.conns))
}

func settled(conns []*netConn) bool {
	return !slices.ContainsFunc(conns, func(n *netConn) bool { return !n.settled() })
}

// Package remoting is module 1: it listens and connects, cuts frames out of streams, hands requests to a handler,
// matches answers to requests, and writes what is to be written. It knows that codes exist, not what they mean.
//
// A server runs one of two transports over the same conn: epoll loops, each on a thread of its own, where Linux
// offers them, and else a goroutine per connection. The client uses the second one.
//
// Goroutines: one per loop; or one per connection, one more while its answers are written for somebody else and one
// more while its posts run. All of them have ended when Run, or Client.Close, returns.
package remoting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"rocketd/protocol"
)

// Handler serves one I/O context. Its methods are called one at a time and must not block; what may block goes to a
// pool and comes back by Peer.Post or by an answer without a turn.
type Handler interface {
	// Serve takes one request. Call and everything in it are valid until it returns.
	Serve(c *protocol.Call)
	// EndTurn runs when all that was ready has been served, before the answers leave.
	EndTurn(t *protocol.Turn)
	// Closed tells once that a connection is gone; no request of it follows.
	Closed(t *protocol.Turn, p protocol.Peer)
}

// ServerConfig says where to listen and what to bear from clients. Zero values mean the defaults.
type ServerConfig struct {
	Addrs     []string      // host:port to listen on, at least one; port 0 lets the system choose
	Loops     int           // epoll loops; default max(1, cores/2)
	PerConn   bool          // a goroutine per connection instead of epoll; always so where there is no epoll
	Idle      time.Duration // a connection without a byte read and written for so long is closed; default 120 s
	MaxFrame  int           // bytes of the largest frame, length word included; default protocol.MaxFrame
	HighWater int           // bytes of unwritten answers above which a connection is no longer read; default 8 MiB
	Grace     time.Duration // how long a stopping server goes on writing pending answers; default 2 s

	// NewHandler makes the handler of one I/O context: of a loop, or of a connection with PerConn. They may be the
	// same one, if it can be called from several contexts at once.
	NewHandler func() Handler
	// NewTurn makes the Turn of one I/O context; nil means an empty one.
	NewTurn func() *protocol.Turn
	Log     *slog.Logger
}

func (cfg *ServerConfig) setDefaults() error {
	if len(cfg.Addrs) == 0 || cfg.NewHandler == nil {
		return errors.New("remoting: a server needs an address and a handler")
	}
	if cfg.Loops <= 0 {
		cfg.Loops = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if cfg.Grace == 0 {
		cfg.Grace = 2 * time.Second
	}
	if cfg.NewTurn == nil {
		cfg.NewTurn = func() *protocol.Turn { return new(protocol.Turn) }
	}
	return nil
}

func (cfg *ServerConfig) newLane() lane {
	return lane{handler: cfg.NewHandler(), turn: cfg.NewTurn()}
}

// Server is a set of listeners and the connections that came in through them.
type Server struct {
	cfg       ServerConfig
	limits    limits
	listeners []net.Listener
	addrs     []netip.AddrPort
	close     func() error
}

// Listen binds all addresses, or none. Clients can connect from now on; they are served once Run runs.
func Listen(cfg ServerConfig) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, limits: newLimits(cfg.Idle, cfg.MaxFrame, cfg.HighWater, cfg.Log)}
	s.close = sync.OnceValue(func() error {
		var errs []error
		for _, l := range s.listeners {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	})
	for _, addr := range cfg.Addrs {
		l, err := listenTCP(addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot listen on %q: %w", addr, err), s.Close())
		}
		s.listeners = append(s.listeners, l)
		s.addrs = append(s.addrs, addrPort(l.Addr()))
	}
	return s, nil
}

// listenTCP listens for plain TCP without keep-alive: idle connections are closed by us, as Java does.
func listenTCP(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", addr)
}

// Addrs are the addresses that are listened on, in the order of the config, with the ports that the system chose.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs }

// Close stops listening. It is for a server whose Run is never called; Run does it at its end.
func (s *Server) Close() error { return s.close() }

// Run serves until the context ends: then it stops accepting and reading, writes pending answers for the grace time,
// and closes every connection. It returns what kept it from serving, or nil. It can be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	if haveEpoll && !s.cfg.PerConn {
		return s.runLoops(ctx)
	}
	return s.runPerConn(ctx)
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

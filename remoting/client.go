package remoting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rocketd/protocol"
)

// ClientConfig says how to call. Zero values mean the defaults.
type ClientConfig struct {
	Timeout   time.Duration // of an Invoke whose context has no deadline; default 3 s
	Idle      time.Duration // a connection without a byte read and written for so long is closed; default 120 s
	MaxFrame  int           // bytes of the largest frame that is read; default protocol.MaxFrame
	HighWater int           // bytes of unwritten requests above which nothing is read; default 8 MiB
	Log       *slog.Logger

	// OnRequest takes what the other side asks of us, in a turn of the connection; it must not block. With nil such
	// requests are dropped.
	OnRequest func(c *protocol.Call)
	// Dial makes a connection; default is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// dialTimeout bounds the making of a connection. Source: Java NettyClientConfig, connectTimeoutMillis.
const dialTimeout = 3 * time.Second

// After a failed dial the next ones fail at once for a while, which doubles from the least to the most.
const (
	minBackOff = 50 * time.Millisecond
	maxBackOff = 2 * time.Second
)

// Client calls servers: one connection per address, made when it is first used and shared by all that call.
type Client struct {
	cfg    ClientConfig
	limits limits
	crew   crew
	ctx    context.Context // of dials; ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	targets map[string]*target
	closed  bool
}

// target is an address that somebody called.
type target struct {
	conn    *netConn // nil if there is none
	dial    *dial    // nil if none is under way
	backOff time.Duration
	retryAt time.Time
	err     error // of the last dial
}

// dial is a connection in the making; conn and err may be read once done is closed.
type dial struct {
	done chan struct{}
	conn *netConn
	err  error
}

// NewClient returns a client without connections.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Dial == nil {
		d := net.Dialer{KeepAlive: -1}
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	k := &Client{cfg: cfg, limits: newLimits(cfg.Idle, cfg.MaxFrame, cfg.HighWater, cfg.Log), targets: make(map[string]*target)}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Invoke sends a request and waits for its response, whatever code that has. The request is not changed; its Opaque is
// ours to choose. Errors are those of dialling, of ctx, and ErrClosed: the connection broke, and the request may have
// been served or not.
func (k *Client) Invoke(ctx context.Context, addr string, req *protocol.Command) (*protocol.Command, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.cfg.Timeout)
		defer cancel()
	}
	var answer *protocol.Command
	err := k.with(ctx, addr, func(c *conn) (err error) {
		answer, err = c.Invoke(ctx, req)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("no answer from %s to request code %d: %w", addr, req.Code, err)
	}
	return answer, nil
}

// Oneway sends a request that nobody answers. It returns when the request is on its way, not when it has arrived.
func (k *Client) Oneway(ctx context.Context, addr string, req *protocol.Command) error {
	err := k.with(ctx, addr, func(c *conn) error {
		if c.Closed() {
			return errNotSent
		}
		c.Send(nil, req)
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot send request code %d to %s: %w", req.Code, addr, err)
	}
	return nil
}

// with calls fn with the connection to addr, and once more with a new one if the first had just ended.
func (k *Client) with(ctx context.Context, addr string, fn func(c *conn) error) error {
	for again := true; ; again = false {
		n, err := k.connect(ctx, addr)
		if err != nil {
			return err
		}
		if err := fn(&n.conn); !again || !errors.Is(err, errNotSent) {
			return err
		}
	}
}

// connect returns the connection to addr, or waits for one that is being made.
func (k *Client) connect(ctx context.Context, addr string) (*netConn, error) {
	d, n, err := k.find(addr)
	if d == nil {
		return n, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (k *Client) find(addr string) (*dial, *netConn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, nil, errNotSent
	}
	t := k.targets[addr]
	if t == nil {
		t = new(target)
		k.targets[addr] = t
	}
	switch {
	case t.conn != nil && !t.conn.Closed():
		return nil, t.conn, nil
	case t.dial != nil:
	case time.Now().Before(t.retryAt):
		return nil, nil, t.err
	default:
		d := &dial{done: make(chan struct{})}
		t.dial = d
		k.crew.start(func() { k.dial(addr, t, d) })
	}
	return t.dial, nil, nil
}

func (k *Client) dial(addr string, t *target, d *dial) {
	defer close(d.done)
	ctx, cancel := context.WithTimeout(k.ctx, dialTimeout)
	defer cancel()
	nc, err := k.cfg.Dial(ctx, addr)
	k.mu.Lock()
	defer k.mu.Unlock()
	t.dial = nil
	if err == nil && k.closed {
		nc.Close()
		err = errNotSent
	}
	if err != nil {
		t.backOff = min(max(2*t.backOff, minBackOff), maxBackOff)
		t.retryAt = time.Now().Add(t.backOff)
		t.err, d.err = err, err
		return
	}
	t.backOff = 0
	n := newNetConn(nc, &k.limits, lane{handler: clientHandler{k.cfg.OnRequest}, turn: new(protocol.Turn)}, &k.crew, func() { k.forget(addr, nc) })
	t.conn, d.conn = n, n
	k.crew.start(n.run)
}

// forget drops the connection of an address when it has ended.
func (k *Client) forget(addr string, nc net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.targets[addr]; t != nil && t.conn != nil && t.conn.nc == nc && t.dial == nil {
		delete(k.targets, addr)
	}
}

// Close ends all connections and waits for their goroutines. Calls that wait fail, and so do later ones.
func (k *Client) Close() {
	k.cancel()
	k.mu.Lock()
	k.closed = true
	for _, t := range k.targets {
		if t.conn != nil {
			t.conn.Close()
		}
	}
	k.mu.Unlock()
	k.crew.wait()
}

// clientHandler serves what servers ask of a client.
type clientHandler struct {
	onRequest func(c *protocol.Call)
}

func (h clientHandler) Serve(c *protocol.Call) {
	if h.onRequest != nil {
		h.onRequest(c)
	}
}

func (h clientHandler) EndTurn(*protocol.Turn) {}

func (h clientHandler) Closed(*protocol.Turn, protocol.Peer) {}

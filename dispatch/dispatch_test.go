package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/protocol"
)

// peer is a connection without a socket: answers are decoded as they come, what is posted waits in posts.
type peer struct {
	mu      sync.Mutex // guards what follows
	out     []byte
	answers []string
	posts   []func(*protocol.Turn)
}

func (p *peer) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }
func (p *peer) LocalAddr() netip.AddrPort  { return netip.AddrPort{} }
func (p *peer) LockOut() []byte {
	p.mu.Lock()
	return p.out
}
func (p *peer) UnlockOut(_ *protocol.Turn, out []byte) {
	defer p.mu.Unlock()
	var c protocol.Command
	if err := c.Decode(bytes.Clone(out[4:])); err != nil {
		panic(err)
	}
	s := fmt.Sprintf("%d: code %d", c.Opaque, c.Code)
	if c.Remark != "" {
		s += " " + c.Remark
	}
	if len(c.Body) > 0 {
		s += " body " + string(c.Body)
	}
	p.answers = append(p.answers, s)
	p.out = out[:0]
}
func (p *peer) Flush() {}
func (p *peer) Post(fn func(*protocol.Turn)) {
	p.mu.Lock()
	p.posts = append(p.posts, fn)
	p.mu.Unlock()
}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return false }
func (p *peer) Close()                                 {}

// want checks the answers since it was last asked.
func (p *peer) want(t *testing.T, answers ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got, want := strings.Join(p.answers, "\n\t"), strings.Join(answers, "\n\t"); got != want {
		t.Errorf("got\n\t%s\nwant\n\t%s", got, want)
	}
	p.answers = nil
}

// serve hands a request to the table as a turn does: the call and its bytes are overwritten afterwards.
func serve(table *Table, p *peer, code, opaque int32, body string, oneway bool) {
	c := protocol.Call{Command: protocol.Command{Code: code, Opaque: opaque, Body: []byte(body)}, Peer: p, Turn: new(protocol.Turn)}
	if oneway {
		c.SetOneway()
	}
	raw := c.Body
	table.Serve(&c)
	for i := range raw {
		raw[i] = '#'
	}
}

// run serves the pool until the test ends.
func run(t *testing.T, table *Table) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- table.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// Every request but a one-way one gets one answer, under its own opaque: from the handler or, for an error, a panic or
// an unknown code, from the table.
func TestTable_Serve(t *testing.T) {
	known := protocol.Errorf(protocol.TopicNotExist, "no such topic")
	rows := []Row{
		{Code: 1, InTurn: func(c *protocol.Call) error {
			c.Ticket().Answer(c.Turn, protocol.Success, "", nil, c.Body)
			return nil
		}},
		{Code: 2, InTurn: func(*protocol.Call) error { return fmt.Errorf("while looking: %w", known) }},
		{Code: 3, InTurn: func(*protocol.Call) error { return errors.New("disk on fire") }},
		{Code: 4, InTurn: func(*protocol.Call) error { panic("no hands") }},
		{Code: 11, Pooled: func(_ context.Context, c *protocol.Call) (*Reply, error) {
			if c.Turn != nil {
				return nil, errors.New("a turn on the pool")
			}
			return &Reply{Code: protocol.SlaveNotAvailable, Remark: "hm", Body: c.Body}, nil
		}},
		{Code: 12, Pooled: func(context.Context, *protocol.Call) (*Reply, error) { return nil, known }},
		{Code: 13, Pooled: func(context.Context, *protocol.Call) (*Reply, error) { return nil, errors.New("disk on fire") }},
		{Code: 14, Pooled: func(context.Context, *protocol.Call) (*Reply, error) { panic("no hands") }},
		{Code: 15, Pooled: func(context.Context, *protocol.Call) (*Reply, error) { return nil, nil }},
		{Code: 16, Pooled: func(context.Context, *protocol.Call) (*Reply, error) { return Answered, nil }},
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		table := New(Config{Workers: 1, Log: slog.New(slog.NewTextHandler(&log, nil))}, rows)
		defer run(t, table)()
		p := new(peer)
		for _, c := range []struct {
			code int32
			want string
		}{
			{1, "code 0 body hello"},
			{2, "code 17 no such topic"},
			{3, "code 1 disk on fire"},
			{4, "code 1 handler panicked: no hands"},
			{11, "code 11 hm body hello"},
			{12, "code 17 no such topic"},
			{13, "code 1 disk on fire"},
			{14, "code 1 handler panicked: no hands"},
			{15, "code 0"},
			{99, "code 3  request type 99 not supported"},
			{-1, "code 3  request type -1 not supported"},
		} {
			serve(table, p, c.code, 100+c.code, "hello", false)
			synctest.Wait()
			p.want(t, fmt.Sprintf("%d: %s", 100+c.code, c.want))
			serve(table, p, c.code, 100+c.code, "hello", true)
			synctest.Wait()
			p.want(t)
		}
		serve(table, p, 16, 1, "", false)
		synctest.Wait()
		p.want(t)
		if n := strings.Count(log.String(), "dispatch_test.go"); n < 4 {
			t.Errorf("the stack of a panic is logged %d times: %s", n, log.String())
		}
		if n := strings.Count(log.String(), "request failed"); n != 8 {
			t.Errorf("%d errors are logged, want those that are ours: %s", n, log.String())
		}
		if table.held.Load() != 0 {
			t.Errorf("%d bytes are held", table.held.Load())
		}
	})
}

// When too many calls wait, or their bodies are too large together, the next one is told so at once.
func TestTable_Offload_Full(t *testing.T) {
	echo := []Row{{Code: 1, Pooled: func(_ context.Context, c *protocol.Call) (*Reply, error) { return &Reply{Body: c.Body}, nil }}}
	const busy = "code 2 [OVERLOAD]system busy, start flow control for a while"
	for _, c := range []struct {
		name   string
		cfg    Config
		bodies []string
		want   []string // at once
		later  []string
	}{
		{"calls", Config{Queue: 2}, []string{"a", "b", "c"}, []string{"2: " + busy}, []string{"0: code 0 body a", "1: code 0 body b"}},
		{"bytes", Config{Bytes: 5}, []string{"aaa", "bbb", "cc", ""}, []string{"1: " + busy}, []string{"0: code 0 body aaa", "2: code 0 body cc", "3: code 0"}},
		{"one alone", Config{Bytes: 5}, []string{"aaaaaaaaaaa", "b"}, []string{"1: " + busy}, []string{"0: code 0 body aaaaaaaaaaa"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.Log, c.cfg.Workers = slog.New(slog.DiscardHandler), 1
				table, p := New(c.cfg, echo), new(peer)
				for i, body := range c.bodies {
					serve(table, p, 1, int32(i), body, false)
				}
				p.want(t, c.want...)
				if n := table.Waiting(); n != len(c.later) {
					t.Errorf("%d calls wait, want %d", n, len(c.later))
				}
				defer run(t, table)()
				synctest.Wait()
				p.want(t, c.later...)
				serve(table, p, 1, 50, "z", false)
				synctest.Wait()
				p.want(t, "50: code 0 body z")
			})
		})
	}
}

// A call that lacked something comes back from the pool in a turn of its connection, and goes through the table as if
// it were new: with its own bytes, and safe from a panic.
func TestTable_Again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there := false
		var table *Table
		table = New(Config{Log: slog.New(slog.DiscardHandler)}, []Row{{Code: 1, InTurn: func(c *protocol.Call) error {
			switch {
			case !there:
				table.Offload(c, func(_ context.Context, c *protocol.Call) (*Reply, error) {
					time.Sleep(time.Second)
					there = true
					table.Again(c)
					return Answered, nil
				})
			case string(c.Body) == "panic":
				panic("late")
			case c.Turn.Now.IsZero():
				return errors.New("not in the turn that it came back in")
			default:
				c.Ticket().Answer(c.Turn, protocol.Success, "", nil, c.Body)
			}
			return nil
		}}})
		defer run(t, table)()
		p := new(peer)
		for opaque, body := range map[int32]string{5: "hello", 6: "panic"} {
			there = false
			serve(table, p, 1, opaque, body, false)
			time.Sleep(2 * time.Second)
			p.want(t)
			for _, fn := range p.posts {
				fn(&protocol.Turn{Now: time.Now()})
			}
			p.posts = nil
			p.want(t, map[int32]string{5: "5: code 0 body hello", 6: "6: code 1 handler panicked: late"}[opaque])
		}
	})
}

// A code in two rows, or a row with no handler or two, is a mistake that shows at the start.
func TestNew_BadRows(t *testing.T) {
	turn := func(*protocol.Call) error { return nil }
	pool := func(context.Context, *protocol.Call) (*Reply, error) { return nil, nil }
	for name, rows := range map[string][]Row{
		"twice":   {{Code: 1, InTurn: turn}, {Code: 1, Pooled: pool}},
		"nothing": {{Code: 1}},
		"both":    {{Code: 1, InTurn: turn, Pooled: pool}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("taken")
				}
			}()
			New(Config{}, rows)
		})
	}
}

// staging notes when a turn's appends are committed.
type staging struct{ log *[]string }

func (s staging) Commit(*protocol.Turn) { *s.log = append(*s.log, "commit") }

// The end of a turn commits what was staged, before anything else hears of it; closed connections are passed on.
func TestTable_EndTurn(t *testing.T) {
	var log []string
	table := New(Config{
		EndTurn: func(*protocol.Turn) { log = append(log, "end") },
		Closed:  func(_ *protocol.Turn, p protocol.Peer) { log = append(log, fmt.Sprint("closed ", p != nil)) },
	}, nil)
	table.EndTurn(&protocol.Turn{Appends: staging{&log}})
	table.EndTurn(new(protocol.Turn))
	table.Closed(nil, new(peer))
	New(Config{}, nil).EndTurn(new(protocol.Turn))
	New(Config{}, nil).Closed(nil, new(peer))
	if got := fmt.Sprint(log); got != "[commit end end closed true]" {
		t.Errorf("got %s", got)
	}
}

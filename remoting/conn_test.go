package remoting

import (
	"errors"
	"testing"

	"rocketd/protocol"
)

// script is a link whose writes the test answers one by one.
type script struct {
	writes  []func(b []byte) (int, error) // next first; none left means a write that takes all
	written string
	shuts   int
	frees   int
	resumes int
}

func (s *script) write(b []byte) (int, error) {
	if len(s.writes) == 0 {
		s.written += string(b)
		return len(b), nil
	}
	next := s.writes[0]
	s.writes = s.writes[1:]
	n, err := next(b)
	s.written += string(b[:n])
	return n, err
}

func (s *script) background() bool            { return false }
func (s *script) post(func(t *protocol.Turn)) {}
func (s *script) resume()                     { s.resumes++ }
func (s *script) shut()                       { s.shuts++ }
func (s *script) release()                    { s.frees++ }

func scripted(highWater int, writes ...func(b []byte) (int, error)) (*conn, *script) {
	s := &script{writes: writes}
	l := newLimits(0, 100, highWater, nil)
	return &conn{limits: &l, link: s}, s
}

func (c *conn) say(t *protocol.Turn, text string) { c.UnlockOut(t, append(c.LockOut(), text...)) }

// In a turn the bytes wait for its end, and the peer is touched once; without a turn they leave at once.
func TestConn_UnlockOut_OneWritePerTurn(t *testing.T) {
	calls := 0
	c, s := scripted(1000, func(b []byte) (int, error) { calls++; return len(b), nil })
	var turn protocol.Turn
	c.say(&turn, "a")
	c.say(&turn, "b")
	if p := turn.Touched(); len(p) != 1 || p[0] != protocol.Peer(c) || s.written != "" {
		t.Fatalf("touched %v, written %q", p, s.written)
	}
	c.Flush()
	if s.written != "ab" || calls != 1 {
		t.Errorf("written %q", s.written)
	}
	c.say(nil, "c")
	if s.written != "abc" {
		t.Errorf("written %q", s.written)
	}
	c.say(&turn, "d")
	if len(turn.Touched()) != 1 {
		t.Error("not touched in the next turn")
	}
}

// What is appended while somebody writes is written by him, in order.
func TestConn_Flush_WriterTakesWhatComes(t *testing.T) {
	var c *conn
	c, s := scripted(1000, func(b []byte) (int, error) {
		c.say(nil, "b") // as another goroutine might: the lock is free
		c.Flush()
		return len(b), nil
	})
	c.say(nil, "a")
	if s.written != "ab" {
		t.Errorf("written %q", s.written)
	}
}

// A full socket stops the writing until there is room. Room that came between the refusal and its being noted counts.
func TestConn_Flush_FullSocket(t *testing.T) {
	refuse := func(b []byte) (int, error) { return 1, errAgain }
	c, s := scripted(1000, refuse)
	c.say(nil, "abc")
	c.say(nil, "def")
	if s.written != "a" || c.settled() {
		t.Fatalf("written %q, settled %v", s.written, c.settled())
	}
	c.writable()
	if s.written != "abcdef" || !c.settled() {
		t.Errorf("written %q, settled %v", s.written, c.settled())
	}
	s.writes = []func(b []byte) (int, error){func(b []byte) (int, error) { c.writable(); return refuse(b) }}
	c.say(nil, "ghi")
	if s.written != "abcdefghi" {
		t.Errorf("written %q: the room that came in between was missed", s.written)
	}
}

// Above the high water mark the conn is full, until half of it is written. Far above it is hung up.
func TestConn_UnlockOut_HighWater(t *testing.T) {
	refuse := func(b []byte) (int, error) { return 0, errAgain }
	c, s := scripted(4, refuse, func(b []byte) (int, error) { return 3, errAgain }, refuse)
	c.say(nil, "1234")
	if c.full.Load() {
		t.Error("full at the mark")
	}
	c.say(nil, "5")
	if !c.full.Load() {
		t.Error("not full above the mark")
	}
	c.writable() // takes 3 of 5, which leaves 2
	if c.full.Load() || s.resumes != 1 {
		t.Errorf("full %v, resumed %d times with 2 bytes left", c.full.Load(), s.resumes)
	}
	c.say(nil, string(make([]byte, c.limits.hardCap-2)))
	if c.Closed() {
		t.Fatal("closed at the cap")
	}
	c.say(nil, "1")
	if !c.Closed() || s.shuts != 1 {
		t.Errorf("closed %v, shut %d times", c.Closed(), s.shuts)
	}
}

// The socket is given back when neither context nor writer use it, and once.
func TestConn_End_ReleasesAfterTheWriter(t *testing.T) {
	c, s := scripted(1000)
	c.end()
	if s.frees != 1 {
		t.Errorf("released %d times", s.frees)
	}
	c.say(nil, "x")
	c.Flush()
	c.Close()
	if s.frees != 1 || s.shuts != 0 || s.written != "" || len(c.out) != 0 {
		t.Errorf("after the end: released %d times, shut %d times, written %q, %d bytes kept", s.frees, s.shuts, s.written, len(c.out))
	}

	c, s = scripted(1000, func(b []byte) (int, error) {
		c.end()
		if s.frees != 0 {
			t.Error("released during a write")
		}
		return 0, errors.New("reset")
	})
	c.say(nil, "x")
	if s.frees != 1 {
		t.Errorf("released %d times after the write", s.frees)
	}
}

// While many requests of a conn are away no further one is served; when they are done it goes on.
func TestConn_Away(t *testing.T) {
	c := &conn{limits: &limits{highWater: 1 << 20, hardCap: 8 << 20}}
	resumed := 0
	c.link = &countingLink{resumed: &resumed}
	for range maxAway - 1 {
		c.Away(1)
	}
	if c.full.Load() {
		t.Error("full too early")
	}
	c.Away(1)
	if !c.full.Load() {
		t.Error("not full")
	}
	c.Away(-1)
	if c.full.Load() || resumed != 1 {
		t.Errorf("full %t, resumed %d times", c.full.Load(), resumed)
	}
}

type countingLink struct {
	link
	resumed *int
}

func (l *countingLink) resume() { *l.resumed++ }

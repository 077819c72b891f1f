package ha

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// raw connects to a master from some host.
func raw(t *testing.T, n *network, host string, m *node) net.Conn {
	t.Helper()
	c, err := n.dial(host)(context.Background(), "tcp", m.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// closedWithin waits for the master to close a connection.
func closedWithin(t *testing.T, c net.Conn, limit time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatalf("it is still open: %v", err)
	}
}

// frame reads one frame of a master.
func frame(t *testing.T, c net.Conn) (at int64, body []byte) {
	t.Helper()
	var head [headSize]byte
	if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	body = make([]byte, binary.BigEndian.Uint32(head[8:]))
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return int64(binary.BigEndian.Uint64(head[:])), body
}

// Whatever a stranger sends, he is left, the log has a few lines, and the slave beside him has all.
func TestMaster_Strangers(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(100, 100)
		m.lead()
		s.follow(m)
		caughtUp(m, s, time.Second)
		end := m.store.MaxPhysical()
		for name, b := range map[string][]byte{
			"http":              []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			"tls":               {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
			"remoting":          []byte("\x00\x00\x01\x00\x00\x00\x00\xf8{\"code\":105}"),
			"negative":          appendReport(nil, -1),
			"least":             appendReport(nil, -1<<63),
			"huge":              appendReport(nil, 1<<62),
			"acknowledges much": appendReport(nil, 0),
			"half a report":     appendReport(nil, 0)[:5],
			"nothing":           nil,
		} {
			c := raw(t, n, "stranger", m)
			say(t, c, b)
			if name == "acknowledges much" {
				if at, body := frame(t, c); at != 0 || int64(len(body)) != fileSize {
					t.Fatal(at, len(body))
				}
				say(t, c, appendReport(nil, 1<<40))
			}
			closedWithin(t, c, 21*time.Second)
		}
		for range 500 {
			c := raw(t, n, "stranger", m)
			say(t, c, []byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
			closedWithin(t, c, time.Second)
		}
		if got := m.master.Acked(1); got != end {
			t.Fatal(got, end)
		}
		total := 0
		for msg, count := range m.lines.count {
			if strings.Contains(msg, "HA port") {
				total += count
			}
		}
		if total == 0 || total > 20 {
			t.Fatal(total, "lines about strangers")
		}
		m.send(10, 100)
		caughtUp(m, s, time.Second)
	})
}

// A thousand connections that say nothing: few are kept, for a short time, and a slave finds its place among them.
func TestMaster_IdleConnections(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(100, 100)
		m.lead()
		synctest.Wait()
		before := runtime.NumGoroutine()
		var conns []net.Conn
		for range 1000 {
			conns = append(conns, raw(t, n, "stranger", m))
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got > 2*maxSilent {
			t.Fatal(got, "goroutines for those who say nothing")
		}
		s.follow(m)
		caughtUp(m, s, time.Second)
		for _, c := range conns {
			closedWithin(t, c, 21*time.Second)
		}
		if got := len(m.master.Slaves()); got != 1 {
			t.Fatal(got)
		}
		if got := m.lines.of("HA port: too many connections that say nothing, the oldest is closed"); got != 1 {
			t.Fatal(got, "lines")
		}
	})
}

// A thousand that pretend to be slaves: as many as are allowed get the log.
func TestMaster_TooManySlaves(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(10, 100)
		m.lead(func(c *MasterConfig) { c.MaxSlaves = 3 })
		s.follow(m)
		caughtUp(m, s, time.Second)
		for i := range 100 {
			c := raw(t, n, "stranger", m)
			say(t, c, appendReport(nil, 0))
			synctest.Wait()
			if i >= 2 {
				closedWithin(t, c, time.Second)
			}
		}
		m.send(10, 100)
		caughtUp(m, s, time.Second)
		if got := len(m.master.Slaves()); got != 3 {
			t.Fatal(got)
		}
	})
}

// Who reads slowly, or not at all, holds up nobody and is left.
func TestMaster_SlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, s *node) {
		m.send(100, 100)
		m.lead()
		c := raw(t, n, "stranger", m)
		say(t, c, appendReport(nil, 0))
		s.follow(m)
		caughtUp(m, s, time.Second)
		for range 40 {
			m.send(100, 1000)
			caughtUp(m, s, 100*time.Millisecond)
			if _, err := c.Write(appendReport(nil, 0)); err != nil { // he does say something
				break
			}
			time.Sleep(time.Second)
		}
		if got := len(m.master.Slaves()); got != 1 {
			t.Fatal(got, "slaves are kept")
		}
	})
}

// What a slave asks for that is not there: heartbeats, and nothing of what comes later. Another one at the same place
// that asks when it is there gets it.
func TestMaster_OutsideOfTheLog(t *testing.T) {
	bubble(t, func(t *testing.T, n *network, m, _ *node) {
		m.send(500, 100)
		flush(m)
		if err := m.store.DropBefore(m.store.MaxPhysical()); err != nil {
			t.Fatal(err)
		}
		m.lead()
		min, max := m.store.MinPhysical, m.store.MaxPhysical
		for _, where := range []func() int64{func() int64 { return 1 }, func() int64 { return min() - 1 }, func() int64 { return max() + 1 }, func() int64 { return max() + 50 }} {
			at := where()
			c := raw(t, n, "java", m)
			say(t, c, appendReport(nil, at))
			for beat := range 5 {
				if pos, body := frame(t, c); pos != at || len(body) > 0 {
					t.Fatal(pos, len(body))
				}
				m.send(1, 100)
				say(t, c, appendReport(nil, at))
				if beat == 4 && m.master.Acked(1) != 0 {
					t.Fatal(m.master.Acked(1))
				}
			}
			c.Close()
		}
		end := max()
		c := raw(t, n, "java", m)
		say(t, c, appendReport(nil, end))
		if at, body := frame(t, c); at != end || len(body) > 0 {
			t.Fatal(at, body)
		}
		m.send(1, 100)
		if at, body := frame(t, c); at != end || int64(len(body)) != max()-end {
			t.Fatal(at, body)
		}
	})
}

// An empty slave that leaves the start to the master gets all, or the last file, as the master is told.
func TestMaster_StartIsItsChoice(t *testing.T) {
	for _, last := range []bool{false, true} {
		bubble(t, func(t *testing.T, n *network, m, s *node) {
			m.send(500, 100)
			m.lead(func(c *MasterConfig) { c.FromLastFile = last })
			want := m.store.MinPhysical()
			if last {
				want = m.store.MaxPhysical() / fileSize * fileSize
			}
			c := raw(t, n, "java", m)
			say(t, c, appendReport(nil, 0))
			if at, _ := frame(t, c); at != want {
				t.Fatal(at, want)
			}
			s.follow(m, func(c *SlaveConfig) { c.LastFile = true })
			caughtUp(m, s, time.Second)
			if got := s.store.MinPhysical(); got != want {
				t.Fatal(got, want)
			}
		})
	}
}

// One slave with several connections counts once; those of one machine with itself are told apart.
func TestMaster_ConnectionsOfOneSlave(t *testing.T) {
	for host, want := range map[string]int{"10.0.0.2": 1, "127.0.0.1": 10} {
		bubble(t, func(t *testing.T, n *network, m, s *node) {
			m.send(10, 100)
			m.lead()
			end := m.store.MaxPhysical()
			for range 10 {
				c := raw(t, n, host, m)
				say(t, c, appendReport(nil, end)) // asks
				frame(t, c)
				say(t, c, appendReport(nil, end)) // acknowledges
			}
			synctest.Wait()
			if got := m.master.InSync(end, 1); got != want {
				t.Fatal(host, got, want)
			}
			if got := m.master.Acked(2) == end; got != (want > 1) {
				t.Fatal(host, m.master.Acked(2))
			}
			s.follow(m)
			caughtUp(m, s, time.Second)
			if m.master.Acked(2) != end || m.master.InSync(end, 1) != want+1 {
				t.Fatal(m.master.Acked(2), m.master.InSync(end, 1))
			}
		})
	}
}

// A master that sends what no master sends is left, and the slave's log stays as it is.
func TestSlave_StrangeMaster(t *testing.T) {
	for name, answer := range map[string][]byte{
		"http":              []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"negative position": appendHead(nil, -1, 5),
		"negative size":     appendHead(nil, 0, -5),
		"huge size":         appendHead(nil, 0, 1<<30),
		"elsewhere":         append(appendHead(nil, 4096, 5), "abcde"...),
		"no records":        append(appendHead(nil, 1, 200), make([]byte, 200)...),
		"huge record":       append(appendHead(nil, 1, 50), "\xff\xff\xff\xda\xa3\x20\xa7"+string(make([]byte, 43))...),
		"foreign blank":     append(appendHead(nil, 1, 50), "\x00\x10\x00\xcb\xd4\x31\x94"+string(make([]byte, 43))...),
		"closed":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network, m, s *node) {
				l, err := n.listen("m")("tcp", "")
				if err != nil {
					t.Fatal(err)
				}
				served := make(chan int)
				go func() {
					count := 0
					for {
						c, err := l.Accept()
						if err != nil {
							served <- count
							return
						}
						count++
						c.Write(answer)
						if name == "closed" {
							c.Close()
						}
					}
				}()
				s.follow(m)
				time.Sleep(time.Minute)
				if s.store.MaxPhysical() != 0 || s.slave.Status().State != Connecting || s.slave.Status().Err == "" {
					t.Fatal(s.store.MaxPhysical(), s.slave.Status())
				}
				l.Close()
				if got := <-served; got < 30 || got > 80 {
					t.Fatal(got, "tries in a minute")
				}
				if got := s.lines.of("the log of the master is not copied; it is tried again"); got < 1 || got > 4 {
					t.Fatal(got, "lines in a minute")
				}
			})
		})
	}
}

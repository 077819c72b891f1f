package remoting

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"rocketd/protocol"
)

// BenchmarkEcho is what a small request and its answer cost, headers included, generator and server together. The
// generator is one thread with an epoll of its own and frames that are encoded before.
// The floor is a loop that only counts frames and writes as many answers.
func BenchmarkEcho(b *testing.B) {
	server := func(perConn bool) func(b *testing.B) string {
		return func(b *testing.B) string {
			return serve(b, ServerConfig{PerConn: perConn, Loops: 1, NewHandler: funcs{serve: echoHeader}.handler()})
		}
	}
	for _, load := range []struct{ conns, inFlight int }{{1, 1}, {64, 1}, {16, 16}} {
		for _, s := range []struct {
			name  string
			start func(b *testing.B) string
		}{{"floor", serveFloor}, {"epoll", server(false)}, {"perconn", server(true)}} {
			b.Run(fmt.Sprintf("%dx%d/%s", load.conns, load.inFlight, s.name), func(b *testing.B) {
				g := newGenerator(b, s.start(b), load.conns, load.inFlight)
				defer g.close()
				g.run(b, 1000*load.conns) // warm up
				b.ReportAllocs()
				b.ResetTimer()
				before := cpuTime(b)
				g.run(b, b.N)
				b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// serveFloor runs the least server that the generator takes for one. It ends with its last connection.
func serveFloor(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	epfd, err := unix.EpollCreate1(0)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	var listener int
	_ = raw.Control(func(fd uintptr) { listener, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	watch := func(fd int) {
		if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			b.Error(err)
		}
	}
	watch(listener)
	l.Close()
	done := make(chan bool)
	b.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer unix.Close(epfd)
		defer unix.Close(listener)
		var answers []byte
		for range 1000 {
			w := protocol.NewFrame(answers, protocol.Binary, 0, 1, 1, "")
			w.Str("msgId", "7F0000010000ABCD0000000000000042")
			w.Int("queueId", 3)
			w.Int("queueOffset", 1234567)
			answers = w.Finish()
		}
		answer := len(answers) / 1000
		events, buf, conns := make([]unix.EpollEvent, 128), make([]byte, 64<<10), 0
		parts := make([]int, 1000)
		for {
			n, err := unix.EpollWait(epfd, events, -1)
			if err != nil && err != unix.EINTR {
				return
			}
			for _, e := range events[:max(n, 0)] {
				fd := int(e.Fd)
				if fd == listener {
					if fd, _, err = unix.Accept4(fd, unix.SOCK_NONBLOCK); err == nil {
						watch(fd)
						conns++
					}
					continue
				}
				m, err := unix.Read(fd, buf)
				if m <= 0 {
					if err != unix.EAGAIN {
						unix.Close(fd)
						if conns--; conns == 0 {
							return
						}
					}
					continue
				}
				parts[fd] += m
				k := parts[fd] / frameSize
				parts[fd] %= frameSize
				_, _ = unix.Write(fd, answers[:k*answer])
			}
		}
	}()
	return l.Addr().String()
}

// cpuTime is what the process has used, in nanoseconds. Unlike the time of the day it bears with a busy machine.
func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// echoHeader answers as to a send, without a body.
func echoHeader(c *protocol.Call) {
	w := c.Ticket().Open(protocol.Success, "")
	w.Str("msgId", "7F0000010000ABCD0000000000000042")
	w.Int("queueId", 3)
	w.Int("queueOffset", 1234567)
	w.Send(c.Turn)
}

// generator keeps a number of requests in flight on each of its connections.
type generator struct {
	epfd   int
	conns  map[int32]*[]byte // what a connection has got of its next answer
	frames []byte            // inFlight frames
	window int
}

// frame is a send of 128 bytes.
var frame, frameSize = func() ([]byte, int) {
	req := protocol.Command{Code: protocol.SendMessageV2, Form: protocol.Binary, Body: make([]byte, 128)}
	for _, f := range []string{"a=ProducerGroup", "b=BenchmarkTest", "c=TBW102", "d=4", "e=2", "f=0", "g=1700000000000", "h=0", "i=UNIQ_KEY\x017F000001000018B4AAC2000000000000\x02WAIT\x01true\x02", "j=0", "k=false", "m=false"} {
		req.Set(f[:1], f[2:])
	}
	f := req.Append(nil)
	return f, len(f)
}()

func newGenerator(b *testing.B, addr string, conns, inFlight int) *generator {
	g := &generator{conns: make(map[int32]*[]byte), frames: bytes.Repeat(frame, inFlight), window: inFlight}
	var err error
	if g.epfd, err = unix.EpollCreate1(0); err != nil {
		b.Fatal(err)
	}
	to := netip.MustParseAddrPort(addr)
	for range conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
		}
		if err == nil {
			err = unix.EpollCtl(g.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		}
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		g.conns[int32(fd)] = new([]byte)
	}
	return g
}

// run has n requests answered.
func (g *generator) run(b *testing.B, n int) {
	sent, got := 0, 0
	send := func(fd int32, k int) {
		if k = min(k, n-sent); k > 0 {
			sent += k
			if m, err := unix.Write(int(fd), g.frames[:k*len(frame)]); m != k*len(frame) {
				b.Fatalf("wrote %d bytes of %d: %v", m, k*len(frame), err)
			}
		}
	}
	for fd := range g.conns {
		send(fd, g.window)
	}
	events, buf := make([]unix.EpollEvent, 128), make([]byte, 64<<10)
	for got < n {
		k, err := unix.EpollWait(g.epfd, events, 0)
		if k == 0 {
			k, err = unix.EpollWait(g.epfd, events, 5000)
		}
		if err == unix.EINTR {
			continue
		}
		if k <= 0 {
			b.Fatalf("%d of %d requests were not answered: %v", n-got, n, err)
		}
		for _, e := range events[:k] {
			part := g.conns[e.Fd]
			have := copy(buf, *part)
			m, err := unix.Read(int(e.Fd), buf[have:])
			if m <= 0 {
				b.Fatalf("read %d: %v", m, err)
			}
			rest, answers := buf[:have+m], 0
			for len(rest) >= 4 && len(rest) >= 4+int(binary.BigEndian.Uint32(rest)) {
				rest = rest[4+int(binary.BigEndian.Uint32(rest)):]
				answers++
			}
			*part = append((*part)[:0], rest...)
			got += answers
			send(e.Fd, answers)
		}
	}
}

func (g *generator) close() {
	for fd := range g.conns {
		unix.Close(int(fd))
	}
	unix.Close(g.epfd)
}

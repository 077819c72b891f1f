package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// An engine is the generator's heart: one locked thread, one epoll instance, many connections. It measures others,
// so it must be cheap: no goroutine, lock or allocation per request, all requests that a connection may send leave
// with one write, and the thread keeps its P while it waits (raw system calls; the wait is bounded by tick).
type engine struct {
	poll  int
	conns []*conn
	tick  func(now int64) (more bool) // called at least every tickEvery with the time; false ends the run
	lost  func(err error) error       // a connection broke; what it returns ends the run, nil only drops the connection
	base  time.Time
}

// A source decides what one connection sends and reads what comes back. Times are nanoseconds of the engine's clock.
type source interface {
	// fill appends to out the frames that may leave now.
	fill(out []byte, now int64) []byte
	// due is the time of the next frame that waits for its time; never if frames wait for answers only.
	due() int64
	// answer takes one response: the bytes after the length word.
	answer(frame []byte, now int64) error
}

const (
	never      = math.MaxInt64
	tickEvery  = 10 * time.Millisecond
	readSize   = 64 << 10
	maxAnswer  = 64 << 20
	epollPwait = 441 // epoll_pwait2, the same on every architecture of Linux
)

type conn struct {
	fd         int
	index      int32 // in the engine's conns
	source     source
	in         []byte
	from, to   int // in[from:to] has been read and not yet handed over
	out        []byte
	sent       int
	wantsWrite bool
}

func newEngine() (*engine, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create an epoll instance: %w", err)
	}
	return &engine{poll: fd, base: time.Now(), lost: func(err error) error { return err }}, nil
}

func (e *engine) now() int64 { return int64(time.Since(e.base)) }

// dial adds a connection with its source.
func (e *engine) dial(addr string, s source) error {
	fd, err := connect(addr)
	if err != nil {
		return err
	}
	return e.add(fd, s)
}

func (e *engine) add(fd int, s source) error {
	c := &conn{fd: fd, index: int32(len(e.conns)), source: s, in: make([]byte, readSize)}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: c.index}
	if err := syscall.EpollCtl(e.poll, syscall.EPOLL_CTL_ADD, fd, &ev); err != nil {
		_ = syscall.Close(fd)
		return fmt.Errorf("epoll: %w", err)
	}
	e.conns = append(e.conns, c)
	return nil
}

func (e *engine) close() {
	for _, c := range e.conns {
		if c != nil {
			_ = syscall.Close(c.fd)
		}
	}
	_ = syscall.Close(e.poll)
}

// run drives all connections until tick says that it is enough, or the first error.
func (e *engine) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Timers of this thread fire on the nanosecond, not 50 µs later.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, 29 /* PR_SET_TIMERSLACK */, 1, 0)

	events := make([]syscall.EpollEvent, 256)
	now := e.now()
	next, lastTick := now, now
	for {
		if next <= now {
			next = never
			for _, c := range e.conns {
				if c == nil {
					continue
				}
				if c.source.due() <= now {
					if err := e.fill(c, now); err != nil {
						return err
					}
				}
				next = min(next, c.source.due())
			}
		}
		n, err := e.wait(events, min(next-now, int64(tickEvery)))
		if err != nil {
			return err
		}
		for i := range events[:n] {
			c := e.conns[events[i].Fd]
			now = e.now()
			if err := e.serve(c, events[i].Events, now); err != nil {
				if err = e.lost(err); err != nil {
					return err
				}
				e.conns[c.index] = nil
				_ = syscall.Close(c.fd)
				continue
			}
			next = min(next, c.source.due())
		}
		now = e.now()
		if now-lastTick >= int64(tickEvery) || n == 0 {
			lastTick = now
			if !e.tick(now) {
				return nil
			}
			next = now // a tick may have changed what is due
		}
	}
}

func (e *engine) serve(c *conn, events uint32, now int64) error {
	if events&^syscall.EPOLLOUT != 0 {
		if err := c.read(now); err != nil {
			return err
		}
	}
	return e.fill(c, now)
}

func (e *engine) fill(c *conn, now int64) error {
	c.out = c.source.fill(c.out, now)
	pending, err := c.write()
	if err != nil || pending == c.wantsWrite {
		return err
	}
	c.wantsWrite = pending
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: c.index}
	if pending {
		ev.Events |= syscall.EPOLLOUT
	}
	return syscall.EpollCtl(e.poll, syscall.EPOLL_CTL_MOD, c.fd, &ev)
}

func (e *engine) wait(events []syscall.EpollEvent, ns int64) (int, error) {
	ts := syscall.NsecToTimespec(max(ns, 0))
	n, _, errno := syscall.RawSyscall6(epollPwait, uintptr(e.poll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	case syscall.ENOSYS:
		return 0, errors.New("this kernel has no epoll_pwait2; Linux 5.11 or newer is needed")
	}
	return 0, fmt.Errorf("epoll: %w", errno)
}

// read takes what has arrived and hands over every whole frame.
func (c *conn) read(now int64) error {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&c.in[c.to])), uintptr(len(c.in)-c.to))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("connection lost: %w", errno)
	case n == 0:
		return errors.New("the server closed the connection")
	}
	c.to += int(n)
	for c.to-c.from >= 4 {
		size := int(binary.BigEndian.Uint32(c.in[c.from:])) + 4
		if size < 8 || size > maxAnswer {
			return fmt.Errorf("the server sent a frame of %d bytes", size)
		}
		if c.to-c.from < size {
			c.room(size)
			return nil
		}
		if err := c.source.answer(c.in[c.from+4:c.from+size], now); err != nil {
			return err
		}
		c.from += size
	}
	c.room(4)
	return nil
}

// room moves the unread bytes to the start of the buffer, and lets it hold a frame of that size with space to read.
func (c *conn) room(size int) {
	rest := c.in[c.from:c.to]
	if size > len(c.in)-c.from || c.from == c.to || c.to == len(c.in) {
		if size >= len(c.in) {
			c.in = make([]byte, size+readSize)
		}
		c.to = copy(c.in, rest)
		c.from = 0
	}
}

// write sends what it can of out and tells whether bytes are left.
func (c *conn) write() (pending bool, err error) {
	for c.sent < len(c.out) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&c.out[c.sent])), uintptr(len(c.out)-c.sent))
		switch {
		case errno == syscall.EAGAIN:
			return true, nil
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return false, fmt.Errorf("connection lost: %w", errno)
		}
		c.sent += int(n)
	}
	c.out, c.sent = c.out[:0], 0
	return false, nil
}

// connect opens a TCP connection; it is non-blocking and without Nagle's delay, as Go's are.
func connect(addr string) (int, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return -1, fmt.Errorf("cannot connect to %s: %w", addr, err)
	}
	defer func() { _ = nc.Close() }()
	fd, err := detach(nc)
	if err != nil {
		return -1, fmt.Errorf("cannot connect to %s: %w", addr, err)
	}
	return fd, nil
}

// detach takes the socket out of Go's hands.
func detach(nc net.Conn) (int, error) {
	defer func() { _ = nc.Close() }()
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return -1, os.ErrInvalid
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(sock uintptr) { fd, dupErr = syscall.Dup(int(sock)) }); err != nil || dupErr != nil {
		return -1, errors.Join(err, dupErr)
	}
	syscall.CloseOnExec(fd)
	return fd, nil
}

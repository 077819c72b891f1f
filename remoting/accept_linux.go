package remoting

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"rocketd/protocol"
)

// acceptor is a listening socket in a loop. It deals the connections out to all loops.
type acceptor struct {
	fd     int // -1 when closed
	loops  *[]*loop
	next   int
	paused bool // out of descriptors: not watched until the next tick
}

// maxAccepts bounds the connections that are accepted in one turn from one listener.
const maxAccepts = 64

// listen takes the listeners over.
func (l *loop) listen(listeners []net.Listener, loops *[]*loop) error {
	for _, ln := range listeners {
		raw, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			return fmt.Errorf("cannot take over listener %v: %w", ln.Addr(), err)
		}
		fd := -1
		var dupErr error
		err = raw.Control(func(from uintptr) { fd, dupErr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
		if err := errors.Join(err, dupErr); err != nil {
			return fmt.Errorf("cannot take over listener %v: %w", ln.Addr(), err)
		}
		ln.Close()
		l.acceptors = append(l.acceptors, &acceptor{fd: fd, loops: loops})
		if err := l.watch(fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) accept(a *acceptor) {
	for range maxAccepts {
		fd, sa, err := unix.Accept4(a.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EAGAIN:
			return
		default:
			// Too many open files, most likely. Clients wait in the backlog until the next tick.
			l.limits.log.Error("cannot accept", "err", err)
			a.paused = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, a.fd, nil) == nil
			return
		}
		to := (*a.loops)[a.next]
		a.next = (a.next + 1) % len(*a.loops)
		if to == l {
			l.add(fd, sa, l.turn.Now)
		} else {
			to.post(func(t *protocol.Turn) { to.add(fd, sa, t.Now) })
		}
	}
}

func (l *loop) resumeAccept(a *acceptor) {
	if a.paused && a.fd >= 0 {
		a.paused = l.watch(a.fd, unix.EPOLLIN) != nil
	}
}

func (l *loop) stopAccept() {
	for _, a := range l.acceptors {
		if a.fd >= 0 {
			unix.Close(a.fd)
			a.fd = -1
		}
	}
}

// add makes an accepted socket a conn of the loop.
func (l *loop) add(fd int, from unix.Sockaddr, now time.Time) {
	if !l.deadline.IsZero() {
		unix.Close(fd)
		return
	}
	c := &fdConn{loop: l, fd: fd, quiet: now}
	c.limits, c.link = l.limits, c
	c.remote = sockaddr(from)
	if sa, err := unix.Getsockname(fd); err == nil {
		c.local = sockaddr(sa)
	}
	// Without it answers still arrive, only later.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	for fd >= len(l.conns) {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	if err := l.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		l.limits.log.Error("cannot serve a connection", "addr", c.remote, "err", err)
		l.drop(c)
	}
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

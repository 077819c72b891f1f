package remoting

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rocketd/protocol"
)

const haveEpoll = true

// loop is one epoll loop: an I/O context on a thread of its own. Sockets are registered once, edge-triggered, for
// everything; so the loop keeps a list of conns that have or may have more to read, and reads each of them once a turn.
type loop struct {
	lane
	limits *limits
	grace  time.Duration
	epfd   int

	acceptors []*acceptor // the first loop has one for each listener, the others none
	conns     []*fdConn   // by descriptor
	ready     []*fdConn   // to be read in the next turn
	reading   []*fdConn   // the list of this turn
	buf       []byte      // what the conn at hand has sent
	worked    bool        // something happened that ends with EndTurn
	ticked    time.Time
	deadline  time.Time // not zero: the loop is stopping, and then no longer waits for clients to read

	asleep atomic.Bool // blocked in epoll, or about to be: whoever posts must wake it

	mu     sync.Mutex // guards what follows
	wakefd int        // an eventfd; -1 when the loop has ended
	posted []func(t *protocol.Turn)
	late   bool // somebody works off what was posted after the end

	running []func(t *protocol.Turn) // the other half of posted, owned by the turn
}

func newLoop(s *Server) (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make an epoll instance: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("cannot make an eventfd: %w", err)
	}
	l := &loop{lane: s.cfg.newLane(), limits: &s.limits, grace: s.cfg.Grace, epfd: epfd, wakefd: wakefd, buf: make([]byte, readBuffer)}
	// Edge-triggered, each post wakes the loop, and nobody has to read the count.
	if err := l.watch(wakefd, unix.EPOLLIN|unix.EPOLLET); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// runLoops serves by epoll. The first loop accepts, and deals the connections out.
func (s *Server) runLoops(ctx context.Context) error {
	var loops []*loop
	for range s.cfg.Loops {
		l, err := newLoop(s)
		if err == nil {
			loops = append(loops, l)
			if len(loops) == 1 {
				err = l.listen(s.listeners, &loops)
			}
		}
		if err != nil {
			for _, l := range loops {
				l.close()
			}
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() {
		for _, l := range loops {
			l.post(l.stop)
		}
	})
	var wg sync.WaitGroup
	errs := make([]error, len(loops))
	for i, l := range loops {
		wg.Go(func() {
			pprof.Do(ctx, pprof.Labels("goroutine", "remoting loop"), func(context.Context) { errs[i] = l.run() })
			cancel() // without one of its loops a server is none
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l *loop) watch(fd int, events uint32) error {
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("cannot add descriptor %d to epoll: %w", fd, err)
	}
	return nil
}

// run takes turns until the loop is stopped.
func (l *loop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.close()
	events := make([]unix.EpollEvent, 512)
	for l.deadline.IsZero() || l.mayDrain() {
		n, err := l.wait(events)
		if err != nil {
			return fmt.Errorf("cannot wait for epoll: %w", err)
		}
		l.begin()
		l.runPosted()
		for i := range events[:n] {
			l.event(int(events[i].Fd), events[i].Events)
		}
		l.readAll()
		l.endTurn()
		if l.turn.Now.Sub(l.ticked) >= l.tick() {
			l.ticked = l.turn.Now
			l.lookAfter()
		}
	}
	return nil
}

// endTurn ends the turn, if anything happened in it.
func (l *loop) endTurn() {
	if l.worked {
		l.worked = false
		l.end(nil)
	}
}

// tick is how often the loop looks for conns that are idle or quiet.
func (l *loop) tick() time.Duration { return min(time.Second, l.limits.idle/4) }

// wait returns how many events there are. It blocks only if there is nothing else to do. It does not spin before: on
// two cores that it shares with its clients spinning took more from them than it saved (20 µs of it: a third more CPU
// for a lone request, no better time).
func (l *loop) wait(events []unix.EpollEvent) (n int, err error) {
	timeout := 0
	if len(l.ready) == 0 {
		timeout = int(l.tick()/time.Millisecond) + 1
		if !l.deadline.IsZero() {
			timeout = 10
		}
		l.asleep.Store(true)
		l.mu.Lock()
		if len(l.posted) > 0 {
			timeout = 0
		}
		l.mu.Unlock()
	}
	n, err = unix.EpollWait(l.epfd, events, timeout)
	l.asleep.Store(false)
	if err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

func (l *loop) event(fd int, events uint32) {
	if fd < len(l.conns) && l.conns[fd] != nil {
		l.conns[fd].event(events)
		return
	}
	for _, a := range l.acceptors {
		if a.fd == fd {
			l.accept(a)
		}
	}
}

// enqueue has a conn read in the next turn, or in this one if that has not got to reading.
func (l *loop) enqueue(c *fdConn) {
	if !c.queued {
		c.queued = true
		l.ready = append(l.ready, c)
	}
}

func (l *loop) readAll() {
	if !l.deadline.IsZero() {
		l.ready = l.ready[:0]
		return
	}
	l.ready, l.reading = l.reading[:0], l.ready
	for i, c := range l.reading {
		l.reading[i] = nil
		c.queued = false
		if l.conns[c.fd] == c {
			l.worked = true
			c.read()
		}
	}
}

// lookAfter closes idle conns and takes back the buffers of quiet ones.
func (l *loop) lookAfter() {
	for _, c := range l.conns {
		if c == nil {
			continue
		}
		if c.active.Swap(false) {
			c.quiet = l.turn.Now
		} else if l.turn.Now.Sub(c.quiet) >= l.limits.idle {
			l.limits.log.Debug("idle connection closed", "addr", c.remote)
			l.drop(c)
		} else {
			c.giveBackAll()
		}
	}
	l.endTurn()
	for _, a := range l.acceptors {
		l.resumeAccept(a)
	}
}

// drop lets go of a conn, in a turn.
func (l *loop) drop(c *fdConn) {
	l.conns[c.fd] = nil
	c.end()
	l.worked = true
	l.handler.Closed(l.turn, &c.conn)
}

// stop is posted when the server stops: no more accepting and reading.
func (l *loop) stop(t *protocol.Turn) {
	l.deadline = t.Now.Add(l.grace)
	l.stopAccept()
}

// mayDrain tells whether clients still have time to read what is pending.
func (l *loop) mayDrain() bool {
	if l.turn.Now.After(l.deadline) {
		return false
	}
	for _, c := range l.conns {
		if c != nil && !c.settled() {
			return true
		}
	}
	return false
}

// close ends all conns in a last turn and gives back what the loop holds.
func (l *loop) close() {
	l.begin()
	l.stopAccept()
	for _, c := range l.conns {
		if c != nil {
			l.drop(c)
		}
	}
	l.endTurn()
	l.mu.Lock()
	unix.Close(l.wakefd)
	l.wakefd = -1
	l.late = true
	l.mu.Unlock()
	l.runLate()
	unix.Close(l.epfd)
}

package remoting

import (
	"golang.org/x/sys/unix"

	"rocketd/protocol"
)

// post queues fn for a turn. After the end of the loop it runs in the caller.
func (l *loop) post(fn func(t *protocol.Turn)) {
	l.mu.Lock()
	l.posted = append(l.posted, fn)
	if l.wakefd >= 0 {
		if l.asleep.CompareAndSwap(true, false) {
			// Under the lock, because the descriptor may not be closed meanwhile. It neither blocks nor fails.
			_, _ = unix.Write(l.wakefd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		l.mu.Unlock()
		return
	}
	mine := !l.late
	l.late = true
	l.mu.Unlock()
	if mine {
		l.runLate()
	}
}

// runLate works off what is posted after the end of the loop, in the goroutine of whoever posted first.
func (l *loop) runLate() {
	for {
		l.begin()
		l.runPosted()
		l.endTurn()
		l.mu.Lock()
		if len(l.posted) == 0 {
			l.late = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

func (l *loop) runPosted() {
	l.mu.Lock()
	l.posted, l.running = l.running[:0], l.posted
	l.mu.Unlock()
	for i, fn := range l.running {
		l.running[i] = nil
		l.worked = true
		fn(l.turn)
	}
}

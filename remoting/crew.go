package remoting

import "sync"

// crew is a set of goroutines that somebody waits for, and which may start more of them meanwhile.
type crew struct {
	mu      sync.Mutex
	n       int
	gone    chan struct{} // closed when n falls to 0 after wait was called
	waiting bool
	over    bool
}

// start runs fn in a goroutine; after the end of the crew, in the caller.
func (w *crew) start(fn func()) {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		fn()
		return
	}
	w.n++
	w.mu.Unlock()
	go func() {
		defer w.done()
		fn()
	}()
}

func (w *crew) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
	if w.n == 0 && w.waiting && !w.over {
		w.over = true
		close(w.gone)
	}
}

// wait returns when no goroutine is left. There will be no more.
func (w *crew) wait() {
	w.mu.Lock()
	if !w.waiting {
		w.waiting, w.gone = true, make(chan struct{})
		if w.n == 0 {
			w.over = true
			close(w.gone)
		}
	}
	w.mu.Unlock()
	<-w.gone
}

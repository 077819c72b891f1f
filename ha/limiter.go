package ha

import (
	"log/slog"
	"sync"
	"time"
)

// limiter lets lines of one kind into the log now and then, and says how many were left out: a connection that flaps, or
// a stranger who knocks, does not fill it.
type limiter struct {
	logger *slog.Logger

	mu   sync.Mutex // guards:
	last map[string]*lines
}

// lines are those of one kind.
type lines struct {
	at      time.Time // of the last one that was written
	skipped int
}

var discard = slog.New(slog.DiscardHandler)

// of returns where a line of a kind goes.
func (l *limiter) of(kind string) *slog.Logger {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.last[kind]
	if c == nil {
		c = new(lines)
		if l.last == nil {
			l.last = make(map[string]*lines)
		}
		l.last[kind] = c
	} else if now.Sub(c.at) < logEvery {
		c.skipped++
		return discard
	}
	logger := l.logger
	if c.skipped > 0 {
		logger = logger.With("more", c.skipped)
	}
	c.at, c.skipped = now, 0
	return logger
}

package ha

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// limiter logs lines of one kind now and then, and how many were left out: a connection that flaps, or a stranger who
// knocks, does not fill the log.
type limiter struct {
	logger *slog.Logger

	mu   sync.Mutex // guards:
	last map[string]*complaint
}

type complaint struct {
	at      time.Time
	skipped int
}

func (l *limiter) warn(kind, msg string, args ...any) { l.log(slog.LevelWarn, kind, msg, args...) }

func (l *limiter) log(level slog.Level, kind, msg string, args ...any) {
	now := time.Now()
	l.mu.Lock()
	c := l.last[kind]
	if c != nil && now.Sub(c.at) < logEvery {
		c.skipped++
		l.mu.Unlock()
		return
	}
	if c == nil {
		c = new(complaint)
		if l.last == nil {
			l.last = make(map[string]*complaint)
		}
		l.last[kind] = c
	}
	c.at = now
	n := c.skipped
	c.skipped = 0
	l.mu.Unlock()
	if n > 0 {
		args = append(args, "more", n)
	}
	l.logger.Log(context.Background(), level, msg, args...)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

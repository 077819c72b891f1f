package timer

import "time"

// unread are the messages that are due and cannot be read from the log. They are tried again, ever more seldom, and hold up
// nothing that can be read; but the time that is kept stays before them, so none is lost if the broker ends meanwhile.
type unread struct {
	tries map[int64]int // by item.seq
}

// How long such a message waits for its next try: the first time, and at most.
const (
	unreadFirst = 200 * time.Millisecond
	unreadMost  = 10 * time.Second
)

// wait has an item come again later. The first of all that wait is logged.
func (u *unread) wait(s *Service, it *item, nowMs int64, err error) {
	if len(u.tries) == 0 {
		u.tries = make(map[int64]int)
		s.cfg.Log.Error("timed messages are late; they are tried again", "physical", it.physical, "size", it.size, "due", time.UnixMilli(it.dueMs), "err", err)
	}
	n := min(u.tries[it.seq]+1, 16)
	u.tries[it.seq] = n
	it.dueMs = nowMs + min(unreadFirst<<(n-1), unreadMost).Milliseconds()
	s.plan.Again(it)
}

// read notes that an item could be read, or is gone.
func (u *unread) read(s *Service, it *item) {
	if len(u.tries) == 0 {
		return
	}
	if delete(u.tries, it.seq); len(u.tries) == 0 {
		u.tries = nil
		s.cfg.Log.Info("timed messages can be read again")
	}
}

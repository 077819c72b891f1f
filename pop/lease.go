package pop

import "sync"

// lease is a check point that this process wrote, until all of its messages are acknowledged or delivered again. The
// fields are guarded by the cursor.
type lease struct {
	Checkpoint
	revive int32
	cursor *cursor
	bits   int32 // acknowledged
	due    bool  // it is being delivered again: what comes now is too late
	alarm  alarm
}

// leaseKey is what a handle says of its check point, beside the queue.
type leaseKey struct{ start, popMs int64 }

// alarm stands in the schedule.
type alarm struct {
	at         int64  // tick
	lease      *lease // nil: a queue popped in order is free
	cursor     *cursor
	list       *alarms
	next, prev *alarm
}

// tickMs is how exact the schedule is.
const tickMs = 20

// schedule holds what is to be done at a time. It is a hash of ticks: what is acknowledged in time leaves without a trace.
type schedule struct {
	mu    sync.Mutex // guards all below; nothing is called out while it is held
	last  int64      // ticks up to here have been emptied
	ticks map[int64]*alarms
	len   int
}

type alarms struct{ head, tail *alarm }

func newSchedule(nowMs int64) *schedule {
	return &schedule{last: nowMs / tickMs, ticks: make(map[int64]*alarms)}
}

// add sets an alarm, which rings at the first tick that is not before dueMs.
func (s *schedule) add(a *alarm, dueMs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(a, dueMs)
}

func (s *schedule) put(a *alarm, dueMs int64) {
	a.at = max((dueMs+tickMs-1)/tickMs, s.last+1)
	l := s.ticks[a.at]
	if l == nil {
		l = new(alarms)
		s.ticks[a.at] = l
	}
	a.list, a.next, a.prev = l, nil, l.tail
	if l.tail == nil {
		l.head = a
	} else {
		l.tail.next = a
	}
	l.tail = a
	s.len++
}

// remove takes an alarm back; one that is not set is left alone.
func (s *schedule) remove(a *alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut(a)
}

func (s *schedule) cut(a *alarm) {
	if a.list == nil {
		return
	}
	if a.prev == nil {
		a.list.head = a.next
	} else {
		a.prev.next = a.next
	}
	if a.next == nil {
		a.list.tail = a.prev
	} else {
		a.next.prev = a.prev
	}
	if a.list.head == nil {
		delete(s.ticks, a.at)
	}
	a.list, a.next, a.prev = nil, nil, nil
	s.len--
}

// move sets an alarm to another time.
func (s *schedule) move(a *alarm, dueMs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut(a)
	s.put(a, dueMs)
}

// due appends what is due to dst, at most limit more.
func (s *schedule) due(dst []*alarm, nowMs int64, limit int) []*alarm {
	now := nowMs / tickMs
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = min(s.last, now)                   // the clock was set back: what is set from now on rings by the new time
	if now-s.last > int64(len(s.ticks))+1<<10 { // the clock jumped: look at what there is, not at each tick
		for at, l := range s.ticks {
			for at <= now && l.head != nil && limit > 0 {
				dst = append(dst, s.pop(l))
				limit--
			}
		}
		if limit > 0 {
			s.last = now
		}
		return dst
	}
	for s.last < now {
		for l := s.ticks[s.last+1]; l != nil && l.head != nil; {
			if limit == 0 {
				return dst
			}
			dst = append(dst, s.pop(l))
			limit--
		}
		s.last++
	}
	return dst
}

func (s *schedule) pop(l *alarms) *alarm {
	a := l.head
	s.cut(a)
	return a
}

// count is how many alarms are set.
func (s *schedule) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.len
}

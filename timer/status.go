package timer

import (
	"sync/atomic"
	"time"

	"rocketd/topic"
)

// Status is how far the service is.
type Status struct {
	ReadMs    int64 // all that was due before is delivered; 0: this broker does not deliver
	Behind    int64 // messages of the timer topic that are not in the wheel
	Waiting   int64 // messages in the wheel
	Taken     int64 // into the wheel, since the start
	Delivered int64 // since the start
}

type status struct {
	readMs, nextMs, offset, waiting, taken, delivered atomic.Int64
}

// note shows others how far it is.
func (s *Service) note(nowMs int64) {
	s.status.offset.Store(s.plan.offset)
	if s.serving {
		s.status.readMs.Store(s.plan.readMs)
		s.status.nextMs.Store(s.nextMs(nowMs))
	} else {
		s.status.readMs.Store(0)
	}
	s.status.waiting.Store(s.counts.total)
}

// Status may be called from any goroutine.
func (s *Service) Status() Status {
	st := Status{ReadMs: s.status.readMs.Load(), Waiting: s.status.waiting.Load(), Taken: s.status.taken.Load(), Delivered: s.status.delivered.Load()}
	if st.ReadMs > 0 { // nothing is due before nextMs, so nothing was done about it
		st.ReadMs = max(st.ReadMs, min(time.Now().UnixMilli(), s.status.nextMs.Load()))
	}
	if q := s.cfg.Store.Find([]byte(topic.Timer), 0); q != nil {
		st.Behind = max(0, q.Max()-s.status.offset.Load())
	}
	return st
}

// WaitingAt is how many messages wait for the moment of a time. It may be called from any goroutine.
func (s *Service) WaitingAt(ms int64) int64 { return int64(s.wheel.Count(ms)) }

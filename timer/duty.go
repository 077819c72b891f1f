package timer

import (
	"math"
	"time"

	"rocketd/message"
	"rocketd/meta"
	"rocketd/topic"
)

// leaveGrace is how long the end of a duty waits for the end of the moment that is under way, beside its own length.
const leaveGrace = 2 * time.Second

// setDuty begins to deliver, or says that this is to end.
func (s *Service) setDuty(on bool, now time.Time) {
	if !on {
		s.leaving, s.lastMs, s.leaveAt = true, s.plan.doneMs, now.Add(s.cfg.Precision+leaveGrace)
		return
	}
	s.serving, s.leaving, s.again = true, false, time.Time{}
	s.follow()
	s.plan.rewind(now.UnixMilli())
	s.plan.restart(s.plan.readMs)
	s.catchUp = 0
	if q := s.cfg.Store.Find([]byte(topic.Timer), 0); q != nil {
		s.catchUp = q.Max()
	}
	past, err := s.history(now)
	if err != nil {
		s.cfg.Log.Error("cannot look at what was delivered before; some timed messages may come twice", "err", err)
	}
	s.past = past
	s.counts.load(s.cfg.Counts.Bytes())
	s.recount(now.UnixMilli())
	waiting, _, _ := s.wheel.Waiting(s.plan.readMs)
	s.cfg.Log.Info("delivering timed messages", "from", time.UnixMilli(s.plan.readMs), "waiting", waiting, "offset", s.plan.offset, "delivered before", len(past.left))
}

// endDuty stops delivering, and keeps how far that came.
func (s *Service) endDuty() {
	if !s.serving {
		return
	}
	s.unready()
	s.keepAll()
	s.serving, s.leaving = false, false
	s.plan.restart(s.plan.readMs)
	s.past, s.recalls, s.unreadMs, s.unread = past{}, nil, 0, unread{}
}

func (s *Service) checkpoint() meta.TimerCheckpoint {
	return meta.ParseTimerCheckpoint(s.cfg.Checkpoint.Bytes())
}

// follow takes over how far the broker that delivers has come.
func (s *Service) follow() {
	ms := s.checkpoint().ReadMs
	if ms != s.plan.readMs && ms > 0 {
		s.plan.restart(ms)
	}
}

// past is what was delivered before this duty, after the time that was kept.
type past struct {
	left     map[uint64]int
	physical int64 // of messages that came before this only
	offset   int64 // the same in the timer topic
	ms       int64 // when the duty began
}

// delivered tells whether a message is among them, once for each time it is.
func (p *past) delivered(id uint64, physical int64) bool {
	if physical >= p.physical || p.left[id] == 0 {
		return false
	}
	if p.left[id]--; p.left[id] == 0 {
		delete(p.left, id)
	}
	return true
}

// forget ends it when all are found that can be.
func (p *past) forget(plan *Plan) {
	if p.left != nil && plan.readMs > p.ms && plan.offset >= p.offset && plan.late == 0 {
		*p = past{}
	}
}

// history looks at what was stored since the time that was kept, and since the first message of the topic that is not in
// the wheel, for what was delivered.
func (s *Service) history(now time.Time) (past, error) {
	end := s.cfg.Store.MaxPhysical()
	p := past{left: make(map[uint64]int), physical: end, ms: now.UnixMilli()}
	q := s.cfg.Store.Find([]byte(topic.Timer), 0)
	if q == nil {
		return past{}, nil
	}
	p.offset = q.Max()
	if _, first, _ := s.wheel.Waiting(s.plan.readMs); first == math.MaxInt64 && s.plan.offset >= p.offset {
		return past{}, nil // there is nothing to deliver
	}
	from := s.cfg.Store.PlaceByTime(s.plan.readMs)
	if at := s.cfg.Store.PlaceOf(q, s.plan.offset); at >= 0 {
		from = min(from, at)
	}
	err := s.cfg.Store.Each(from, func(r *message.Record) bool {
		f := look(r.Properties)
		if f.dequeued == nil || f.out == nil {
			return true
		}
		rolls := int64(-1)
		if string(r.Topic) == topic.Timer {
			rolls = f.rollTimes()
		}
		p.left[f.identity(r, rolls)]++
		return true
	})
	if len(p.left) == 0 {
		p = past{}
	}
	return p, err
}

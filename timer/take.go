package timer

import (
	"errors"
	"math"

	"rocketd/message"
	"rocketd/store"
	"rocketd/topic"
)

var errUnreadable = errors.New("the timer topic cannot be read")

// take reads messages of the timer topic into the plan. more says that there are others.
func (s *Service) take(nowMs int64) (more bool, err error) {
	q := s.cfg.Store.Find([]byte(topic.Timer), 0)
	if q == nil || s.cfg.StopEnqueue() {
		return false, nil
	}
	if cut := s.cut.Swap(math.MaxInt64); cut != math.MaxInt64 {
		s.plan.offset = min(s.plan.offset, s.cfg.Store.OffsetAt(q, cut))
	}
	end := q.Max()
	s.plan.offset = min(s.plan.offset, end)
	if !s.serving { // what its master has not read yet may still be taken back
		end = min(end, s.checkpoint().MasterOffset)
	}
	for n := 0; n < stepTake && s.plan.offset < end; {
		r := store.Read{From: s.plan.offset, Max: int32(min(32, end-s.plan.offset))}
		var res store.ReadResult
		s.buf, res = s.cfg.Store.Get(q, r, s.buf[:0])
		switch res.Status {
		case store.Unreadable:
			return false, errUnreadable
		case store.OffsetOverflowOne, store.OffsetOverflowBadly, store.NoMatchedLogicQueue, store.NoMessageInQueue, store.OnDisk:
			return false, nil
		case store.OffsetTooSmall:
			s.cfg.Log.Error("timed messages were removed with old files of the log before they came into the wheel", "from", s.plan.offset, "to", res.Next)
		}
		for rest := s.buf; len(rest) > 0; n++ {
			record, err := message.Decode(rest)
			if err != nil {
				return false, err
			}
			rest = rest[record.Size:]
			if !s.takeOne(&record, nowMs) {
				return false, nil
			}
		}
		if s.plan.offset = max(s.plan.offset, res.Next); res.Next <= r.From {
			return false, nil
		}
	}
	return s.plan.offset < end && (s.plan.late == 0 || s.plan.offset < s.catchUp), nil
}

// takeOne puts one message into the plan; false says that it has to wait.
func (s *Service) takeOne(r *message.Record, nowMs int64) bool {
	if r.QueueOffset < s.plan.offset {
		return true
	}
	f := look(r.Properties)
	out, err := f.outMs()
	if err == nil {
		_, _, err = f.target()
	}
	if err != nil {
		s.cfg.Log.Error("timed message dropped", "offset", r.QueueOffset, "physical", r.Physical, "err", err)
	}
	if err != nil || s.rebuild.skips(r, &f, s.plan.wheel.Floor(out)) {
		s.plan.offset = r.QueueOffset + 1
		return true
	}
	m := Timed{Offset: r.QueueOffset, Physical: r.Physical, Size: r.Size, OutMs: out, TopicHash: int32(message.TagsCode(f.topic)), Recalls: f.recalls}
	taken := s.plan.Take(&m, nowMs, s.serving)
	switch taken {
	case NoRoom:
		return false
	case Waits:
		s.flush.dirty = true
		if s.serving && f.recalls == nil {
			s.counts.add(f.topic, 1, nowMs)
		}
	}
	s.status.taken.Add(1)
	return true
}

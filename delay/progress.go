package delay

import (
	"context"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
)

// flushPatience is how long the progress waits for the copies to be on the disk before it is kept, where nobody else waits for
// them. If they are late, it is kept the next time; after the last time, a start finds the copies in the log.
const flushPatience = 3 * time.Second

// load takes up the progress, and what the log has of the copies that it does not know.
func (s *Service) load(ctx context.Context) error {
	t, err := decode(s.cfg.Progress.Bytes())
	if err != nil {
		return err
	}
	for _, l := range s.levels {
		l.mu.Lock()
		l.next, l.end = t.OffsetTable[l.number], 0
		l.mu.Unlock()
		if q := l.queue(); q != nil {
			l.correct(q)
		}
	}
	return s.catchUp(ctx, time.Now())
}

// keepEvery keeps the progress from time to time.
func (s *Service) keepEvery(ctx context.Context) error {
	for rungroup.Sleep(ctx, s.cfg.Interval) == nil {
		patience, cancel := context.WithTimeout(ctx, flushPatience)
		s.keep(patience)
		cancel()
	}
	return nil
}

// keep writes the progress, when the copies it counts on are on the disk: a power cut must not leave a file that is ahead of
// the log. If ctx ends before, it writes nothing.
func (s *Service) keep(ctx context.Context) {
	s.kept.Lock()
	defer s.kept.Unlock()
	t, err := decode(s.cfg.Progress.Bytes())
	if err != nil {
		s.cfg.Log.Error("the offsets of the delay levels cannot be read", "err", err)
		return
	}
	last, changed := int64(0), false
	for _, l := range s.levels {
		next, end := l.at()
		if was, ok := t.OffsetTable[l.number]; was != next || !ok && next > 0 {
			t.OffsetTable[l.number], changed = next, true
		}
		last = max(last, end)
	}
	if !changed {
		return
	}
	for s.cfg.Store.Flushed() < last {
		if rungroup.Sleep(ctx, 10*time.Millisecond) != nil {
			return
		}
	}
	if t.DataVersion == nil {
		t.DataVersion = new(protocol.DataVersion)
	}
	t.DataVersion.Next(time.Now())
	wire, err := t.Marshal()
	if err == nil {
		err = s.cfg.Progress.Put(wire)
	}
	if err != nil {
		s.cfg.Log.Error("the offsets of the delay levels are not kept", "err", err)
	}
}

// catchUp finds the copies that the log has of messages beyond the progress: those of the last seconds before a crash. They
// come in the order of their level. A copy is stored when its message is due or later, so the log is read from the file on
// that can hold the first.
func (s *Service) catchUp(ctx context.Context, now time.Time) error {
	waiting := make(map[int32]*tracker)
	var first int64
	for _, l := range s.levels {
		q := l.queue()
		if q == nil {
			continue
		}
		next, _ := l.at()
		t := &tracker{level: l, pos: next}
		if !t.advance() || s.cfg.Levels.Tag(&t.record) > now.UnixMilli() {
			continue
		}
		if due := s.cfg.Levels.Tag(&t.record); len(waiting) == 0 || due < first {
			first = due
		}
		waiting[l.number] = t
	}
	if len(waiting) == 0 {
		return nil
	}
	from := s.fileOf(first)
	oldest := int64(-1)
	for _, t := range waiting {
		if oldest < 0 || t.record.Physical < oldest {
			oldest = t.record.Physical
		}
	}
	found := 0
	err := s.cfg.Store.Each(max(from, oldest), func(r *message.Record) bool {
		value, ok := message.Property(r.Properties, message.PropDelayTimeLevel)
		if !ok || string(r.Topic) == string(delayTopic) {
			return ctx.Err() == nil
		}
		number, err := message.DelayLevel(value)
		if err != nil {
			return true
		}
		if t := waiting[number]; t != nil && isCopy(r, &t.draft) {
			t.level.set(t.pos+1, r.Physical+int64(r.Size))
			found++
			if t.pos++; !t.advance() {
				delete(waiting, number)
			}
		}
		return ctx.Err() == nil
	})
	if found > 0 {
		s.cfg.Log.Info("delayed messages were delivered that their offsets did not know", "messages", found)
	}
	return err
}

// fileOf is the start of the last file of the log whose records begin before a time, ms.
func (s *Service) fileOf(ms int64) int64 {
	size, least := s.cfg.Store.FileSize(), s.cfg.Store.MinPhysical()
	at := s.cfg.Store.MaxPhysical() / size * size
	for at > least {
		b, err := s.cfg.Store.Record(at, nil)
		if err == nil && message.PeekStoreMs(b) < ms {
			break
		}
		at -= size
	}
	return max(at, least)
}

// tracker walks along the messages of a level.
type tracker struct {
	level  *level
	pos    int64 // the message that comes next
	raw    []byte
	record message.Record
	draft  message.Draft // its copy
}

// advance reads the message at pos, or the next one of which there can be a copy; false if there is none.
func (t *tracker) advance() bool {
	q := t.level.queue()
	for {
		raw, res := t.level.cfg.Store.Get(q, store.Read{From: t.pos, Max: 1}, t.raw[:0])
		if t.raw = raw; res.Status != store.Found {
			if res.Next <= t.pos {
				return false
			}
			t.pos = res.Next
			continue
		}
		var err error
		if t.record, err = message.Decode(raw); err != nil {
			return false
		}
		var ok bool
		if t.draft, ok = Copy(&t.record); ok {
			t.pos = t.record.QueueOffset
			return true
		}
		t.pos = res.Next
	}
}

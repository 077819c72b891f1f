package store

import (
	"errors"

	"rocketd/internal/vfs"
	"rocketd/store/compaction"
	"rocketd/store/consumequeue"
)

// getCompacted is Get of what a compaction log has. Offsets have gaps there, and the first message from the offset on is the
// first that is given. Records say where they lie in that log. Source: Java CompactionLog.getMessage.
func (s *Store) getCompacted(l *compaction.Log, q *consumequeue.Queue, r Read, dst []byte) ([]byte, ReadResult) {
	cuts, had := s.cuts.Load(), len(dst)
	res := ReadResult{Next: r.From, Min: l.Min(), Max: max(q.Max(), l.Max())}
	_, end := l.Bytes()
	waits, looks := false, max(scanUnits, int(r.Max))
	err := l.Each(r.From, r.NoWait, func(e compaction.Entry) bool {
		if looks--; looks < 0 {
			return false
		}
		if r.Match != nil && !r.Match(e.Tag) {
			res.Next = e.Base + 1
			return true
		}
		if s.fullOf(&r, &res, e.Unit, end-e.Physical) {
			return false
		}
		at := len(dst)
		dst = grow(dst, int(e.Size))
		err := e.Read(dst[at:])
		if errors.Is(err, vfs.ErrWouldWait) {
			waits, dst = true, dst[:at]
			return false
		}
		if err != nil {
			s.cfg.Log.Error("cannot read a message of a compaction log", "topic", q.Topic(), "queue", q.ID(), "offset", e.Base, "err", err)
			if dst = dst[:at]; !errors.Is(err, compaction.ErrDamaged) {
				res.Status = Unreadable
				return false
			}
		}
		res.Next, res.Behind = e.Base+1, end-e.Physical
		if err != nil || r.Wants != nil && !r.Wants(dst[at:]) {
			dst = dst[:at]
			return true
		}
		res.Count++
		res.Bytes += int(e.Size)
		res.LastPhysical = e.Physical
		if r.Offsets != nil {
			*r.Offsets = append(*r.Offsets, e.Base)
		}
		return true
	})
	if s.cutSince(cuts) {
		if r.Offsets != nil {
			*r.Offsets = (*r.Offsets)[:len(*r.Offsets)-res.Count]
		}
		return dst[:had], ReadResult{Status: MessageWasRemoving, Next: r.From, Min: res.Min, Max: res.Max}
	}
	if errors.Is(err, vfs.ErrWouldWait) {
		waits = true
	} else if err != nil {
		s.cfg.Log.Error("cannot read a compaction log", "topic", q.Topic(), "queue", q.ID(), "offset", res.Next, "err", err)
		res.Status = Unreadable
	}
	switch {
	case res.Count > 0:
		res.Status = Found
	case res.Next > r.From:
		res.Status = NoMatchedMessage
	case waits:
		res.Status = OnDisk
	case res.Status == Unreadable:
	default: // what was there was taken off meanwhile: the queue is asked next
		res.Status, res.Next = NoMatchedMessage, max(r.From, l.Max())
	}
	return dst, res
}

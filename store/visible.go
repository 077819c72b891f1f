package store

import (
	"errors"
	"sort"

	"rocketd/store/consumequeue"
)

// Visible is the log position up to which messages can be read: with SyncFlush what is on the disk, else all, and of that
// what Config.Confirm has let through at any time. It never goes back while the log is not cut. Java's name for it is
// confirm offset.
func (s *Store) Visible() int64 {
	end := s.log.Max()
	if s.cfg.SyncFlush {
		end = s.log.Flushed()
	}
	if s.cfg.Confirm == nil {
		return end
	}
	confirm := min(s.cfg.Confirm(), end)
	for {
		seen := s.confirmed.Load()
		switch {
		case confirm <= seen:
			return min(seen, end)
		case s.confirmed.CompareAndSwap(seen, confirm):
			if end := s.log.Max(); end < confirm { // it was cut meanwhile
				s.unconfirm(end)
			}
			return confirm
		}
	}
}

// HotBytes is how far from the end of the log records are taken to be in memory.
func (s *Store) HotBytes() int64 { return s.cfg.HotBytes }

// nothingConfirmed stands in the checkpoint for a log of which nothing can be read yet; 0 means unknown there.
const nothingConfirmed = 1

// loadConfirmed takes over from the checkpoint how much could be read before. Where that is not known, it is all, and
// from then on it is known: a crash may come before the next checkpoint.
func (s *Store) loadConfirmed() error {
	end := s.log.Max()
	if at := s.check.confirmPhysical; at > 0 {
		end = min(at, end)
	}
	s.confirmed.Store(end)
	if s.cfg.Confirm == nil || s.check.confirmPhysical > 0 {
		return nil
	}
	check := s.check
	check.confirmPhysical = max(end, nothingConfirmed)
	if err := errors.Join(check.write(s.cfg.FS, s.path("checkpoint")), s.cfg.FS.SyncDir(s.cfg.Dir)); err != nil {
		return err
	}
	s.check = check
	return nil
}

// confirmedNow is what the checkpoint says about it: never more than is on the disk.
func (s *Store) confirmedNow() int64 {
	end := min(s.Visible(), s.log.Flushed())
	if end == 0 && (s.log.Max() > 0 || s.cfg.Confirm != nil) {
		return nothingConfirmed
	}
	return end
}

// unconfirm lets go of what was confirmed from a position on, as the log is cut there.
func (s *Store) unconfirm(physical int64) {
	for {
		seen := s.confirmed.Load()
		if seen <= physical || s.confirmed.CompareAndSwap(seen, physical) {
			return
		}
	}
}

// MaxVisible is the offset behind the last message of a queue that can be read (Visible). It may wait for the disk, though
// what it looks at lies near the end of the queue. 0 is for a queue of nil.
func (s *Store) MaxVisible(q *consumequeue.Queue) int64 {
	if q == nil {
		return 0
	}
	offset := q.Max()
	visible := s.Visible()
	if visible >= s.log.Max() {
		return offset
	}
	set := s.set(q)
	first, end := q.Units()
	hidden := func(number int64) bool {
		u, err := set.Unit(q, number)
		return err == nil && !u.Filler() && u.Physical+int64(u.Size) > visible
	}
	lo, hi := end, end // all from hi on are hidden
	for step := int64(1); lo > first; step *= 2 {
		if lo = max(first, end-step); !hidden(lo) {
			break
		}
		hi = lo
	}
	n := lo + int64(sort.Search(int(hi-lo), func(i int) bool { return hidden(lo + int64(i)) }))
	if n == end {
		return offset
	}
	if q.Kind() == consumequeue.Simple {
		return n
	}
	u, err := set.Unit(q, n)
	if err != nil {
		return offset
	}
	return u.Base
}

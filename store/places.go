package store

import (
	"sort"

	"rocketd/store/consumequeue"
)

// OffsetAt returns the offset of the first message of a plain queue whose record starts at physical or behind it; Max if
// there is none.
func (s *Store) OffsetAt(q *consumequeue.Queue, physical int64) int64 {
	lo, hi := q.Min(), q.Max()
	return lo + int64(sort.Search(int(hi-lo), func(i int) bool {
		u, err := s.Unit(q, lo+int64(i))
		return err == nil && !u.Filler() && u.Physical >= physical
	}))
}

// PlaceOf returns where the record of a message starts; -1 if it is not there (any more).
func (s *Store) PlaceOf(q *consumequeue.Queue, offset int64) int64 {
	if q == nil || offset < q.Min() || offset >= q.Max() {
		return -1
	}
	u, err := s.Unit(q, offset)
	if err != nil || u.Filler() || u.Physical < s.log.Min() {
		return -1
	}
	return u.Physical
}

// PlaceByTime returns the start of a record from which on every message was stored at the time ms or later, as far as the
// queues tell, or that lies a little before: they are asked for their last message before that time.
func (s *Store) PlaceByTime(ms int64) int64 {
	place := s.log.Min()
	for _, topic := range s.Topics() {
		for _, q := range s.Queues(topic) {
			at := s.PlaceOf(q, q.Max()-1)
			if at > place && s.timeAt(at) >= ms { // most queues say nothing new, without a look into the log
				at = s.PlaceOf(q, s.OffsetByTime(q, ms, Lower)-1)
			}
			place = max(place, at)
		}
	}
	return place
}

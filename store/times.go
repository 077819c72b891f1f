package store

import (
	"sort"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// Boundary says which of several messages of one time is meant, and which neighbour if none has that time.
// Source: Java BoundaryType.
type Boundary uint8

// The boundaries.
const (
	Lower Boundary = iota // the first at that time or later
	Upper                 // the last at that time or earlier
)

// StoreTime returns the store time of a message, ms; -1 if it is not there (any more).
func (s *Store) StoreTime(q *consumequeue.Queue, offset int64) int64 {
	if at := s.PlaceOf(q, offset); at >= 0 {
		return s.timeAt(at)
	}
	return -1
}

// timeAt returns the store time of the record at physical, or -1.
func (s *Store) timeAt(physical int64) int64 {
	var head [message.PeekBytes]byte
	if s.readLog(head[:], physical) != nil || message.PeekPhysical(head[:]) != physical {
		return -1
	}
	return message.PeekStoreMs(head[:])
}

// EarliestTime returns the store time of the first record of the log, ms, or -1.
func (s *Store) EarliestTime() int64 { return s.timeAt(s.log.Min()) }

// OffsetByTime finds the message of a queue that was stored at the time ms, or next to it. Where all are later, the
// answer is Min; where all are earlier, Lower answers Max and Upper the last message.
// Source: Java ConsumeQueue.getOffsetInQueueByTime.
func (s *Store) OffsetByTime(q *consumequeue.Queue, ms int64, b Boundary) int64 {
	if q == nil {
		return 0
	}
	if q.Kind() == consumequeue.Batch {
		return s.batchByTime(q, ms, b)
	}
	lo, hi := q.Min(), q.Max()
	// Messages whose record is gone count as old.
	first := func(t int64) int64 {
		return lo + int64(sort.Search(int(hi-lo), func(i int) bool { return s.StoreTime(q, lo+int64(i)) >= t }))
	}
	if b == Lower {
		return first(ms)
	}
	return max(first(ms+1)-1, lo)
}

package store

import "rocketd/store/consumequeue"

// batchByTime is OffsetByTime for a Batch queue: the answer is the first offset of a record. Where all are earlier, both
// boundaries answer the last record. Upper is as Java has it, which is not what the word says: between two records it
// answers the later one or Min, as the search happens to go.
// Source: Java BatchConsumeQueue.getOffsetInQueueByTime, binarySearchRight.
func (s *Store) batchByTime(q *consumequeue.Queue, ms int64, b Boundary) int64 {
	first, end := q.Units()
	// Units whose record is gone are in front of first. One that cannot be read counts as old.
	unit := func(number int64) consumequeue.Unit {
		u, err := s.batches.Unit(q, number)
		if err != nil {
			return consumequeue.Unit{StoreMs: -1, Base: q.Min()}
		}
		return u
	}
	if first == end {
		return q.Min()
	}
	if last := unit(end - 1); ms >= last.StoreMs {
		return last.Base
	}
	for lo, hi := first, end-1; ; {
		mid := (lo + hi) / 2
		u := unit(mid)
		switch {
		case mid == hi || mid == lo && u.StoreMs >= ms:
			if u.StoreMs < ms {
				return q.Min()
			}
			return u.Base
		case mid == lo:
			lo++
		case b == Lower && u.StoreMs < ms:
			lo = mid + 1
		case b == Lower:
			hi = mid
		case u.StoreMs <= ms:
			lo = mid
		default:
			hi = mid - 1
		}
	}
}

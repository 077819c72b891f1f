package store

import (
	"sort"

	"rocketd/store/consumequeue"
)

// batchByTime is OffsetByTime for a Batch queue: the answer is the first offset of a record. The search goes on in one
// file: the last that begins at that time or earlier, else the first. Where all in it are earlier, both boundaries answer
// its last record. Upper is as Java has it, which is not what the word says: between two records it answers the later one
// or Min, as the search happens to go, for which the borders of the files matter.
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
	perFile := s.cfg.BatchFileSize / consumequeue.BatchUnitSize
	file := first / perFile
	later := sort.Search(int((end-1)/perFile-file), func(i int) bool { return unit((file+1+int64(i))*perFile).StoreMs > ms })
	lo := (file + int64(later)) * perFile
	hi := min(lo+perFile, end) - 1
	if last := unit(hi); ms >= last.StoreMs {
		return last.Base
	}
	for {
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

package store

import "rocketd/store/consumequeue"

// InMemory tells whether the record of a message is taken to be in memory: it is there and not further than HotBytes
// from the end of the log. Source: Java DefaultMessageStore.checkInMemByConsumeOffset.
func (s *Store) InMemory(q *consumequeue.Queue, offset int64) bool {
	if q == nil || offset < q.Min() || offset >= q.Max() {
		return false
	}
	u, err := s.Unit(q, offset)
	return err == nil && !u.Filler() && u.Physical >= s.log.Min() && s.log.Max()-u.Physical <= s.cfg.HotBytes
}

package store

import "rocketd/store/consumequeue"

// Tag returns the tag of the unit at an offset of a queue, whether its record can be read already or not; ok is false if there
// is no unit, or it cannot be read. It may wait for the disk.
func (s *Store) Tag(q *consumequeue.Queue, offset int64) (tag int64, ok bool) {
	if q == nil || offset < q.Min() || offset >= q.Max() {
		return 0, false
	}
	u, err := s.Unit(q, offset)
	if err != nil || u.Filler() {
		return 0, false
	}
	if q.Kind() == consumequeue.Simple && consumequeue.IsExt(u.Tag) {
		e, err := s.queues.Ext(q, u, true)
		return e.Tag, err == nil
	}
	return u.Tag, true
}

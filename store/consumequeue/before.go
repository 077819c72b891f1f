package consumequeue

// Before returns the last unit of a queue whose record starts before physical; ok is false if there is none.
func (s *Set) Before(q *Queue, physical int64) (u Unit, ok bool, err error) {
	first, end := q.Units()
	if first >= end {
		return u, false, nil
	}
	n, err := s.search(q, first, end, func(u Unit) bool { return !u.Filler() && u.Physical >= physical })
	if err != nil || n == first {
		return u, false, err
	}
	u, err = s.Unit(q, n-1)
	return u, err == nil && !u.Filler(), err
}

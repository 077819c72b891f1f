package store

import (
	"errors"

	"rocketd/message"
	"rocketd/store/commitlog"
)

var errEnough = errors.New("enough")

// Each calls fn for the whole records of the log from the one at from on, in order, until fn returns false or the end
// that the log has now is reached. What is damaged is passed over. A record is valid until fn returns. It reads the
// disk and may run beside appends.
func (s *Store) Each(from int64, fn func(r *message.Record) bool) error {
	end := s.log.Max()
	if from >= end {
		return nil
	}
	_, err := s.log.Walk(from, commitlog.Visit{
		Record: func(r *message.Record) error {
			if !fn(r) {
				return errEnough
			}
			return nil
		},
		Until: end,
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// Clean tells whether the store was closed in order before this Open. IndexTime is what Config.IndexMs had said by
// the last checkpoint then, ms: an index on the disk is whole up to there.
func (s *Store) Clean() bool      { return s.orderly }
func (s *Store) IndexTime() int64 { return s.indexTime }

package pop

import (
	"rocketd/protocol"
	"rocketd/store"
)

// warm reads on the pool what a pop will find, so that it is in memory, and lets the pop through again.
func (s *Service) warm(c *protocol.Call, a *ask) error {
	retries := s.retries(a.shelf)
	for _, x := range []*shelf{a.shelf, retries[0], retries[1]} {
		if x == nil {
			continue
		}
		cfg := s.cfg.Topics.Get(x.topic)
		if cfg == nil {
			continue
		}
		for id := range cfg.ReadQueueNums {
			if x == a.shelf && a.queue >= 0 && id != a.queue {
				continue
			}
			if q := s.queue(x, id); q != nil {
				from, known := x.cursor(id).position(s.cfg.Offsets)
				if !known {
					from = s.initial(x, q, a.initMode)
				}
				s.cfg.Queues.Get(q, store.Read{From: from, Max: a.max, Match: a.want.Func(), Wants: a.want.Wants()}, nil)
			}
		}
	}
	s.cfg.Again(c)
	return nil
}

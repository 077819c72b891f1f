package transaction

import (
	"context"
	"fmt"
)

// hand is the round of a slave that acts for its master. It can end no transaction, so it asks nobody: it hands every half message
// that is open, however young, to another set, which asks for it and ends it, and keeps how far it has come. Who comes back as
// the master begins there. They go one by one and in their order: a kept offset says that all before it are done, and what one
// set has taken must not go to a second one. Source: Java TransactionalMessageServiceImpl.check.
func (r *round) hand(ctx context.Context, marked opMark) error {
	s := r.s
	s.courierMu.Lock()
	defer s.courierMu.Unlock()
	handed := 0
	var err error
	for offset := s.next(0); offset < marked.half && err == nil && ctx.Err() == nil; offset = s.next(offset + 1) {
		h, ok, e := r.half(offset)
		if e != nil {
			err = e
			break
		}
		if !ok {
			continue
		}
		d := h.draft(h.Topic, h.QueueID, h.Properties, s.cfg.Host())
		s.courier.Stage(s.half, &d, 0)
		if _, e := s.courier.Commit(ctx, s.cfg.Now()); e != nil {
			err = fmt.Errorf("cannot hand half message %d over: %w", offset, e)
			break
		}
		handed++
		s.mu.Lock()
		s.ledger.finish(offset)
		s.ledger.forget(string(h.uniq), offset)
		s.mu.Unlock()
		s.settle(marked)
	}
	if handed > 0 {
		s.cfg.Log.Info("half messages were handed to another set", "messages", handed)
	}
	s.settle(marked)
	return err
}

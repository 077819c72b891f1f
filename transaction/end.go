package transaction

import (
	"context"
	"errors"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
)

// End serves END_TRANSACTION (37) in the turn. Fields: EndTransactionRequestHeader. Clients send it one-way, so the
// answer is for tools and logs. Unknown and values that are none are no outcome and get no answer. Source: Java
// EndTransactionProcessor; in other than Java, the first outcome is the only one (SYSTEM_ERROR for all others), under the
// offsets of any copy of the half message, and only half messages can be ended.
func (s *Service) End(c *protocol.Call) error {
	if s.cfg.Slave() {
		return protocol.Errorf(protocol.SlaveNotAvailable, "the broker is a slave: transactions end at its master")
	}
	var h protocol.EndTransactionRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if h.CommitOrRollback != message.FlagCommit && h.CommitOrRollback != message.FlagRollback {
		return nil
	}
	if !s.cfg.Store.Hot(h.CommitLogOffset) {
		s.cfg.Offload(c, s.endCold)
		return nil
	}
	t := s.turn(c.Turn)
	record, err := s.cfg.Store.Record(h.CommitLogOffset, t.record[:0])
	t.record = record
	if err != nil {
		return notFound(err)
	}
	return s.end(c, &h, t, record)
}

// endCold is End for a half message that is not in memory: the pool reads it.
func (s *Service) endCold(_ context.Context, c *protocol.Call) error {
	var h protocol.EndTransactionRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	record, err := s.cfg.Store.Record(h.CommitLogOffset, nil)
	if err != nil {
		return notFound(err)
	}
	s.cfg.Resume(c, func(c *protocol.Call) error { return s.end(c, &h, s.turn(c.Turn), record) })
	return nil
}

// end checks what Java checks, in its order, and ends the transaction if nobody did.
func (s *Service) end(c *protocol.Call, h *protocol.EndTransactionRequest, t *turn, record []byte) error {
	half, err := parseHalf(record)
	if err != nil {
		return notFound(err)
	}
	rules := s.cfg.Rules()
	if !h.FromTransactionCheck && rules.late(&half, c.Turn.Now) {
		return protocol.Errorf(protocol.IllegalOperation, "the transaction is older than its %s, the answer to a check decides", message.PropCheckImmunityTimeInSeconds)
	}
	switch {
	case string(half.group) != string(h.ProducerGroup):
		return protocol.Errorf(protocol.SystemError, "The producer group wrong: producerGroup %s", h.ProducerGroup)
	case half.QueueOffset != h.TranStateTableOffset:
		return protocol.Errorf(protocol.SystemError, "The transaction state table offset wrong: tranStateTableOffset %d", h.TranStateTableOffset)
	case half.Physical != h.CommitLogOffset:
		return protocol.Errorf(protocol.SystemError, "The commit log offset wrong: commitLogOffset %d", h.CommitLogOffset)
	}
	commit := h.CommitOrRollback == message.FlagCommit
	physical, moving, err := s.take(c, t, &half, commit)
	if moving != nil {
		s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
			select {
			case <-moving:
			case <-ctx.Done():
			}
			s.cfg.Resume(c, s.End)
			return nil
		})
		return nil
	}
	if err == nil && commit {
		if e := s.commit(c, &half, t, physical); e != nil {
			s.giveBack(t)
			return e
		}
	}
	return err
}

// commit stages the message that consumers get.
func (s *Service) commit(c *protocol.Call, half *half, t *turn, physical int64) *protocol.Error {
	d, tag := half.restored(t.props, physical, s.cfg.Host())
	t.props = d.Properties
	q, tag, e := s.cfg.Divert(&d, tag, c.Turn.Now)
	if e != nil {
		return e
	}
	b := put.Of(c.Turn)
	if err := b.Fits(d.Size()); err != nil { // by itself, and the op message would be stored
		return put.Refusal(err)
	}
	b.Stage(q, &d, tag, false, nil, c.Ticket(), s.answer)
	return nil
}

// answer says what became of a commit. Source of the statuses: Java EndTransactionProcessor.sendFinalMessage.
func (s *Service) answer(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	if k.Oneway {
		return
	}
	code, remark := int32(protocol.Success), ""
	if o.Status == put.Refused {
		e := put.Refusal(o.Err)
		code, remark = e.Code, e.Remark
	}
	w := k.Open(code, remark)
	w.Body()
	w.Send(t)
}

// take gives a transaction to this turn, which says that it is over when its batch is written. It returns the place of the
// open copy. moving, if not nil, is closed when it is worth to ask again.
func (s *Service) take(c *protocol.Call, t *turn, h *half, commit bool) (physical int64, moving <-chan struct{}, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ledger == nil {
		return 0, nil, protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the open transactions are not known yet")
	}
	at, v := place{}, over
	if h.QueueOffset < s.half.Max() {
		at, v = s.ledger.take(h.QueueOffset, h.uniq)
	}
	switch v {
	case unsure:
		return 0, s.moved, nil
	case over:
		return 0, nil, protocol.Errorf(protocol.SystemError, "The transaction state table offset wrong: the transaction of tranStateTableOffset %d is over", h.QueueOffset)
	}
	if at.physical == 0 {
		at.physical = h.Physical
	}
	e := end{place: at, commit: commit, ticket: c.Ticket()}
	if at.offset != h.QueueOffset || h.copied() {
		e.uniq = string(h.uniq)
	}
	t.ends = append(t.ends, e)
	return at.physical, nil, nil
}

// giveBack undoes the last take of a turn.
func (s *Service) giveBack(t *turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(t.ends) - 1
	s.ledger.reopen(t.ends[last].offset)
	t.ends[last] = end{}
	t.ends = t.ends[:last]
}

func notFound(err error) error {
	if errors.Is(err, store.ErrClosed) {
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: the broker is stopping")
	}
	return protocol.Errorf(protocol.SystemError, "Find prepared transaction message failed: commitLogOffset: %v", err)
}

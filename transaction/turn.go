package transaction

import (
	"rocketd/protocol"
	"rocketd/put"
)

// turn is what END_TRANSACTION ended in one turn of an I/O context. Behind the messages that are committed, in the same
// write, one op message says of all of them that they are done; so a crash can leave the first without the second only
// at the very end of the log, where load looks. Java writes it up to 3 s later (transactionOpBatchInterval), and a broker
// that ends in between asks for transactions that are over.
type turn struct {
	svc     *Service
	batch   *put.Batch
	begun   bool
	nowMs   int64
	ends    []end // guarded by svc.mu, but for its own I/O context
	pending int   // op messages that are staged
	record  []byte
	props   []byte
	body    []byte

	stage func(*protocol.Turn)
	told  put.Answer
}

// end is one transaction.
type end struct {
	place
	uniq   string // if place comes from the ledger's copies
	commit bool   // answered with the message
	ticket protocol.Ticket
}

// keepTurn is the most memory a turn keeps for its next use, bytes.
const keepTurn = 1 << 20

// turn returns the one of a turn of an I/O context, which begins with it.
func (s *Service) turn(now *protocol.Turn) *turn {
	b := put.Of(now)
	t, ok := b.Kept(s).(*turn)
	if !ok {
		t = &turn{svc: s, batch: b}
		t.stage, t.told = t.stageOps, t.tell
		b.Keep(s, t)
	}
	if !t.begun {
		t.begun, t.nowMs = true, now.Now.UnixMilli()
		s.mu.Lock()
		s.open[t] = struct{}{}
		s.mu.Unlock()
		b.Before(t.stage)
	}
	return t
}

// stageOps stages the op messages of the turn, one but where it would be much longer than MaxOp.
func (t *turn) stageOps(*protocol.Turn) {
	limit := t.svc.cfg.MaxOp()
	body := t.body[:0]
	stage := func() {
		d := opDraft(body, t.svc.cfg.Host(), t.nowMs)
		t.batch.Stage(t.svc.op, &d, opTagCode, false, nil, t.ends[0].ticket, t.told)
		t.pending++
		body = body[:0]
	}
	for i := range t.ends {
		e := &t.ends[i]
		body = appendOp(body, e.offset)
		for _, older := range e.also {
			body = appendOp(body, older)
		}
		if len(body) >= limit {
			stage()
		}
	}
	if len(body) > 0 {
		stage()
	}
	t.body = body
	if t.pending == 0 { // all were refused
		t.free()
	}
}

// tell is the answer of an op message: with the last one, the transactions are over, or nothing was written.
func (t *turn) tell(at *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
	if t.pending--; t.pending > 0 {
		return
	}
	s := t.svc
	s.mu.Lock()
	for i := range t.ends {
		e := &t.ends[i]
		switch {
		case o.Status == put.Refused:
			s.ledger.reopen(e.offset)
		case e.uniq != "":
			s.ledger.forget(e.uniq, e.offset)
		}
	}
	s.mu.Unlock()
	for i := range t.ends {
		if !t.ends[i].commit {
			s.answer(at, t.ends[i].ticket, o)
		}
	}
	t.free()
}

// free ends the turn.
func (t *turn) free() {
	s := t.svc
	s.mu.Lock()
	delete(s.open, t)
	clear(t.ends)
	t.ends = t.ends[:0]
	s.mu.Unlock()
	if cap(t.record)+cap(t.props) > keepTurn {
		t.record, t.props = nil, nil
	}
	t.begun, t.pending = false, 0
}

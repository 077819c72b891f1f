package transaction

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// Bounds of one write of a round: after so many half messages, or bytes.
const (
	roundCount = 64
	roundBytes = 1 << 20
)

// mark is how far the half queue was done when the log ended at end: it is for good when that much is safe.
type mark struct{ half, end int64 }

// opMark says that all op messages before op name half messages before half only.
type opMark struct{ half, op int64 }

// maxMarks bounds the marks; without a new one, a restart reads more.
const maxMarks = 1024

// round is one look at all open half messages.
type round struct {
	s      *Service
	now    time.Time
	rules  Rules
	counts map[string]int64
	staged []staged
	ops    []int64
	record []byte
	props  []byte
	alone  map[string]bool // groups without a producer
}

// staged is a half message whose copy is staged.
type staged struct {
	offset int64
	uniq   string
	at     place
	group  string // to be asked; "" for one that is discarded
	body   []byte
}

// check looks at every open half message: those that are due are put back and their producers asked, those that were asked
// for often enough are put aside.
func (s *Service) check(ctx context.Context, now time.Time) error {
	marked := opMark{op: s.op.Max()}
	marked.half = s.half.Max() // in this order: what an op message names was there before
	r := round{s: s, now: now, rules: s.cfg.Rules(), counts: make(map[string]int64), alone: make(map[string]bool)}
	if s.cfg.Slave() {
		return r.hand(ctx, marked)
	}
	var err error
	for offset := s.next(0); offset < marked.half && err == nil; offset = s.next(offset + 1) {
		if err = ctx.Err(); err == nil {
			err = r.look(ctx, offset)
		}
	}
	err = errors.Join(err, r.flush(ctx))
	if err == nil {
		s.cfg.Counts.Set(r.counts, now)
	}
	s.settle(marked)
	return errors.Join(err, s.cfg.Counts.Persist(now))
}

func (s *Service) next(from int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.next(from)
}

// half reads an open half message. One that is lost is done, and none.
func (r *round) half(offset int64) (h half, ok bool, err error) {
	s := r.s
	record, err := s.read(s.half, offset, r.record[:0])
	r.record = record
	if err == nil {
		h, err = parseHalf(record)
	}
	switch {
	case err == nil:
		return h, true, nil
	case errors.Is(err, errGone), errors.Is(err, errNoHalf), errors.Is(err, message.ErrMalformed):
		s.mu.Lock()
		lost := s.ledger.finish(offset)
		s.mu.Unlock()
		if lost {
			s.cfg.Log.Error("half message is lost", "offset", offset, "err", err)
		}
		return h, false, nil
	}
	return h, false, fmt.Errorf("cannot read half message %d: %w", offset, err)
}

// look reads one half message and stages what is to be done with it. An error is the end of the round.
func (r *round) look(ctx context.Context, offset int64) error {
	h, ok, err := r.half(offset)
	if !ok {
		return err
	}
	todo := r.rules.judge(&h, r.now)
	if todo != discard {
		r.counts[string(h.realTopic)]++
	}
	if todo != leave {
		return r.stage(ctx, &h, todo)
	}
	return nil
}

// stage takes a half message out of the queue and stages its copy.
func (r *round) stage(ctx context.Context, h *half, todo action) error {
	s := r.s
	if todo == discard {
		if err := s.cfg.Ensure(topic.NewConfig(topic.TransCheckMax, 1)); err != nil {
			return err
		}
	}
	if len(r.staged) == 0 {
		s.courierMu.Lock()
	}
	one := staged{offset: h.QueueOffset, uniq: string(h.uniq)}
	if !s.move(h.QueueOffset) { // it was ended meanwhile
		if len(r.staged) == 0 {
			s.courierMu.Unlock()
		}
		return nil
	}
	host := s.cfg.Host()
	if todo == discard {
		s.cfg.Log.Warn("transaction is discarded", "topic", string(h.realTopic), "uniq", one.uniq, "group", string(h.group), "checks", h.times, "offset", h.QueueOffset)
		d, tag := h.discarded(host)
		s.courier.Stage(s.cfg.Store.Queue(topic.TransCheckMax, 0), &d, tag)
	} else {
		one.group = string(h.group)
		d, tag := h.renewed(r.props, h.times+1, host)
		r.props = d.Properties
		s.courier.Stage(s.half, &d, tag)
		one.body = h.asked(d.Properties, host)
	}
	r.staged = append(r.staged, one)
	r.ops = append(r.ops, one.offset)
	r.ops = append(r.ops, s.older(one.uniq, one.offset)...)
	if len(r.staged) >= roundCount || s.courier.Bytes() >= roundBytes {
		return r.flush(ctx)
	}
	return nil
}

// move begins to put a half message back. False: it is open no more.
func (s *Service) move(offset int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ledger.move(offset) {
		return false
	}
	if s.moved == nil {
		s.moved = make(chan struct{})
	}
	return true
}

// older are the copies before one that no op message has named.
func (s *Service) older(uniq string, offset int64) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.ledger.newest[uniq]; ok && at.offset == offset {
		return at.also
	}
	return nil
}

// flush writes what is staged, and behind it the op message for what it replaces, then asks. If it fails, all stays as
// it was.
func (r *round) flush(ctx context.Context) error {
	if len(r.staged) == 0 {
		return nil
	}
	s := r.s
	s.stageOp(r.ops, r.now)
	placed, err := s.courier.Commit(ctx, s.cfg.Now())
	written := err == nil || errors.Is(err, put.ErrUnsafe)
	s.mu.Lock()
	for i := range r.staged {
		one := &r.staged[i]
		switch {
		case !written:
			s.ledger.stay(one.offset)
			continue
		case one.group == "":
			s.ledger.forget(one.uniq, one.offset)
		default:
			one.at = place{offset: placed[i].Offset, physical: placed[i].Physical}
			s.ledger.copied(one.uniq, one.at)
		}
		s.ledger.moved(one.offset)
	}
	close(s.moved)
	s.moved = nil
	s.mu.Unlock()
	s.courierMu.Unlock()
	if written {
		for i := range r.staged {
			if one := &r.staged[i]; one.group != "" {
				r.ask(one)
			}
		}
	} else {
		err = fmt.Errorf("cannot put half messages back: %w", err)
	}
	clear(r.staged)
	r.staged, r.ops = r.staged[:0], r.ops[:0]
	if written {
		return nil
	}
	return err
}

// ask sends CHECK_TRANSACTION_STATE to one of the group's producers, in turn. It answers with END_TRANSACTION, or not.
// Source: Java AbstractTransactionalMessageCheckListener, ProducerManager.getAvailableChannel.
func (r *round) ask(one *staged) {
	s := r.s
	var peer protocol.Peer
	if clients := s.cfg.Producers.Clients(one.group); len(clients) > 0 {
		for i, from := 0, int(s.asked.Add(1)); i < len(clients) && peer == nil; i++ {
			if c := clients[(from+i)%len(clients)]; !c.Peer.Closed() {
				peer = c.Peer
			}
		}
	}
	if peer == nil {
		if !r.alone[one.group] {
			r.alone[one.group] = true
			s.cfg.Log.Warn("no producer of the group is there to be asked for its transactions", "group", one.group)
		}
		return
	}
	message.Patch(one.body, one.at.offset, one.at.physical, message.PeekStoreMs(one.body))
	c := &protocol.Command{Code: protocol.CheckTransactionState, Body: one.body}
	c.Set("topic", topic.TransHalf)
	c.Set("tranStateTableOffset", strconv.FormatInt(one.at.offset, 10))
	c.Set("commitLogOffset", strconv.FormatInt(one.at.physical, 10))
	if one.uniq != "" {
		c.Set("msgId", one.uniq)
		c.Set("transactionId", one.uniq)
	}
	c.Set("offsetMsgId", string(message.AppendOffsetID(nil, s.cfg.Host(), one.at.physical)))
	c.Set("bname", s.cfg.Broker)
	peer.Send(nil, c)
}

// settle moves the offsets that a restart begins at, as far as what they rest on is safe, on the disk and at slaves. The
// half queue's comes first: an op message that is read again does no harm.
func (s *Service) settle(now opMark) {
	st := s.cfg.Store
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.ledger
	floor := min(l.next(0), s.half.Max())
	for t := range s.open {
		for i := range t.ends {
			floor = min(floor, t.ends[i].offset)
		}
	}
	for offset := range l.moving { // Resume's: it is in no log yet that it moved
		floor = min(floor, offset)
	}
	if len(s.marks) < maxMarks {
		s.marks = append(s.marks, mark{floor, st.MaxPhysical()})
		s.opMark = append(s.opMark, now)
	}
	kept := l.kept
	for safe := min(st.Flushed(), st.Visible()); len(s.marks) > 0 && s.marks[0].end <= safe; s.marks = s.marks[1:] {
		kept = max(kept, s.marks[0].half)
	}
	if kept > l.kept {
		l.keep(kept)
		s.cfg.Offsets.Commit([]byte(group), []byte(topic.TransHalf), 0, kept)
	}
	op := int64(-1)
	for ; len(s.opMark) > 0 && s.opMark[0].half <= kept; s.opMark = s.opMark[1:] {
		op = s.opMark[0].op
	}
	if op >= 0 {
		s.cfg.Offsets.Commit([]byte(group), []byte(topic.TransOpHalf), 0, op)
	}
}

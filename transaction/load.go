package transaction

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"rocketd/message"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// tailOps is how many op messages before the end of their queue the log is read from for messages that were committed
// without one. Ours stand behind them at once, so that only the last write can be torn in between; Java has up to 20,000
// transactions for which it has not written one yet, at most 40 of its op messages.
const tailOps = 64

// loading is the state of one load.
type loading struct {
	s      *Service
	ledger *ledger
	counts map[string]int64
	early  map[int64]struct{} // offsets before the ledger's base that an op message names
	last   map[string]place   // by UNIQ_KEY: the latest copy of each open half message
	first  int64              // position in the log of the first open half message
	open   int
	record []byte
}

// Load learns from the log which transactions are open, once. Nothing of this is in a file: a half message is over if an
// op message says so, or a message was committed or put aside from it, or a newer copy of it is there. No half message may
// be committed meanwhile. Source of the rules: Java TransactionalMessageServiceImpl.
func (s *Service) Load(ctx context.Context) error {
	s.mu.Lock()
	done := s.ledger != nil
	s.mu.Unlock()
	if done {
		return nil
	}
	l := loading{s: s, counts: make(map[string]int64), early: make(map[int64]struct{}), last: make(map[string]place), ledger: newLedger(s.start(s.half))}
	if err := l.readOps(ctx); err != nil {
		return err
	}
	if err := l.readHalves(ctx); err != nil {
		return err
	}
	unmarked, err := l.readTail()
	if err == nil && len(unmarked) > 0 && !s.cfg.Slave() { // a slave's log takes no op message; it finds the same each time
		err = s.writeOps(ctx, unmarked)
	}
	if err != nil {
		return err
	}
	s.cfg.Counts.Set(l.counts, s.cfg.Now())
	s.mu.Lock()
	s.ledger = l.ledger
	s.mu.Unlock()
	if l.open > 0 {
		s.cfg.Log.Info("transactions are open", "half", l.open-len(unmarked), "over", len(unmarked))
	}
	return nil
}

// start is the offset at which to begin to read a queue. A queue that became shorter has nothing before its end that is
// not done; what comes behind it from now on is not, so the offset is taken back.
func (s *Service) start(q *consumequeue.Queue) int64 {
	offset, ok := s.cfg.Offsets.Get([]byte(group), []byte(q.Topic()), q.ID())
	if !ok {
		return q.Min()
	}
	if end := q.Max(); offset > end {
		s.cfg.Offsets.Commit([]byte(group), []byte(q.Topic()), q.ID(), end)
		return end
	}
	return max(offset, q.Min())
}

// readOps notes what op messages say.
func (l *loading) readOps(ctx context.Context) error {
	s := l.s
	halves, end := s.half.Max(), s.op.Max()
	for offset := s.start(s.op); offset < end; offset++ {
		record, err := s.read(s.op, offset, l.record[:0])
		l.record = record
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errGone):
			s.cfg.Log.Warn("op message cannot be read", "offset", offset, "err", err)
			continue
		case err != nil:
			return fmt.Errorf("cannot read op message %d: %w", offset, err)
		}
		r, err := message.Decode(record)
		if err != nil {
			continue // read has looked at it
		}
		if tag, _ := message.Property(r.Properties, message.PropTags); string(tag) != opTag {
			continue
		}
		eachOp(r.Body, func(half int64) {
			switch {
			case half >= halves:
			case half >= l.ledger.base:
				l.ledger.finish(half)
			default:
				l.early[half] = struct{}{}
			}
		})
	}
	return nil
}

// readHalves looks at the half messages that no op message names. Of several copies of one only the last is open, and one
// that Java put back before its time is over if the op message names the first.
func (l *loading) readHalves(ctx context.Context) error {
	s := l.s
	end := s.half.Max()
	for offset := l.ledger.next(0); offset < end; offset = l.ledger.next(offset + 1) {
		record, err := s.read(s.half, offset, l.record[:0])
		l.record = record
		var h half
		if err == nil {
			h, err = parseHalf(record)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errGone), errors.Is(err, errNoHalf), errors.Is(err, message.ErrMalformed):
			s.cfg.Log.Error("half message is lost", "offset", offset, "err", err)
			l.ledger.finish(offset)
			continue
		case err != nil:
			return fmt.Errorf("cannot read half message %d: %w", offset, err)
		}
		if h.first >= 0 && l.named(h.first) {
			l.ledger.finish(offset)
			continue
		}
		if l.open++; l.open == 1 {
			l.first = h.Physical
		}
		l.note(&h)
	}
	return nil
}

// note takes an open half message for the latest copy of its transaction.
func (l *loading) note(h *half) {
	at, uniq := place{offset: h.QueueOffset, physical: h.Physical}, string(h.uniq)
	older, ok := l.last[uniq]
	if ok && uniq != "" {
		l.ledger.finish(older.offset)
		at.also = append(older.also, older.offset)
	} else {
		l.counts[string(h.realTopic)]++
	}
	if l.last[uniq] = at; h.copied() || len(at.also) > 0 {
		l.ledger.copied(uniq, at)
	}
}

// named tells whether an op message names a half message.
func (l *loading) named(offset int64) bool {
	_, ok := l.early[offset]
	return ok || offset >= l.ledger.base && !l.ledger.open(offset)
}

// readTail finds what came of half messages that no op message names: the process ended, or the power, between the two.
func (l *loading) readTail() (unmarked []int64, err error) {
	s := l.s
	if l.open == 0 {
		return nil, nil
	}
	from := l.first
	if first := s.op.Max() - tailOps; first >= s.op.Min() {
		u, err := s.cfg.Store.Unit(s.op, first)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read op message %d: %w", first, err)
		}
		if err == nil && !u.Filler() {
			from = max(from, u.Physical)
		}
	}
	err = s.cfg.Store.Each(from, func(r *message.Record) bool {
		if !decides(r) {
			return true
		}
		uniq, _ := message.Property(r.Properties, message.PropUniqKey)
		at, ok := l.last[string(uniq)]
		if !ok || r.PreparedOffset < at.physical || !l.ledger.finish(at.offset) {
			return true
		}
		l.ledger.forget(string(uniq), at.offset)
		unmarked = append(append(unmarked, at.offset), at.also...)
		if name, ok := message.Property(r.Properties, message.PropRealTopic); ok { // it was delayed, or put aside
			l.counts[string(name)]--
		} else {
			l.counts[string(r.Topic)]--
		}
		return true
	})
	return unmarked, err
}

// decides tells whether a record may be what came of a half message.
func decides(r *message.Record) bool {
	return r.SysFlag&message.FlagRollback == message.FlagCommit || string(r.Topic) == topic.TransCheckMax
}

// writeOps brings op messages into the log outside of a turn.
func (s *Service) writeOps(ctx context.Context, halves []int64) error {
	now := s.cfg.Now()
	s.courierMu.Lock()
	defer s.courierMu.Unlock()
	for part := range slices.Chunk(halves, 256) {
		s.stageOp(part, now)
		if _, err := s.courier.Commit(ctx, now); err != nil {
			return fmt.Errorf("cannot write op message: %w", err)
		}
	}
	return nil
}

// stageOp stages an op message with the courier.
func (s *Service) stageOp(halves []int64, now time.Time) {
	var body []byte
	for _, offset := range halves {
		body = appendOp(body, offset)
	}
	d := opDraft(body, s.cfg.Host(), now.UnixMilli())
	s.courier.Stage(s.op, &d, opTagCode)
}

// errGone says that a record is lost for good.
var errGone = errors.New("record is gone")

// read appends the record of a queue to dst. It is errGone if nobody can read it any more; another error is the disk's.
func (s *Service) read(q *consumequeue.Queue, offset int64, dst []byte) ([]byte, error) {
	u, err := s.cfg.Store.Unit(q, offset)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && u.Filler(), offset < q.Min():
		return dst, errGone
	case err != nil:
		return dst, err
	}
	record, err := s.cfg.Store.Record(u.Physical, dst)
	if errors.Is(err, commitlog.ErrNoRecord) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return record, err
}

package put

import (
	"sync/atomic"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
)

// Status is what became of staged records.
type Status uint8

// The statuses. All but Refused mean that the records are in the log.
const (
	OK Status = iota
	FlushDiskTimeout
	FlushSlaveTimeout // and perhaps the disk, too
	Refused
)

// Outcome tells a stager what became of its records. It is valid until the answer function returns.
type Outcome struct {
	Status   Status
	Err      error // why, when Refused; see Refusal
	Queue    *consumequeue.Queue
	Offset   int64   // queue offset of the first record
	Physical int64   // offset of the first record in the log
	More     []int64 // physical offsets of the further records of a client batch
	Uniq     []byte  // what the stager gave along
}

// Answer is called when a staged record may be answered, in a turn of the context that staged it.
type Answer func(t *protocol.Turn, k protocol.Ticket, o *Outcome)

// Batch is what one I/O context has staged in this turn, and the answers of earlier turns that wait for disk or slaves.
// Only the context's own turn uses it.
type Batch struct {
	svc    *Service
	log    store.Batch
	staged []staged
	term   *term // of what is parked
	asked  bool  // Replicas.Admit was, in this turn,
	admit  error // and said so
	parked []parked
	head   int          // parked[:head] are done
	unseen []unseen     // queues that grew by what cannot be read yet, in order
	due    atomic.Int64 // log position at which a parked answer or a bell may be due
	rung   atomic.Bool  // wake was posted and has not run
	wake   func(t *protocol.Turn)
	before []func(t *protocol.Turn)
	kept   map[any]any
	out    Outcome // of the record that is being answered
	more   []int64
	uniq   []byte // bytes that staged entries refer to
	// Scratch is for the stager's own use while it builds a record; it has no content between calls.
	Scratch []byte
}

type staged struct {
	first, n         int
	uniqFrom, uniqTo int
	err              error // it is not to be stored
	wait             bool
	ticket           protocol.Ticket
	answer           Answer
}

// Of returns the batch of the turn.
func Of(t *protocol.Turn) *Batch { return t.Appends.(*Batch) }

// Stage adds one record. uniq is copied and comes back with the outcome; wait says whether the answer has to wait
// for disk and slaves where the mode asks for it.
func (b *Batch) Stage(q *consumequeue.Queue, d *message.Draft, tag int64, wait bool, uniq []byte, k protocol.Ticket, answer Answer) {
	if err := b.check(d.Size(), wait); err != nil {
		b.stage(staged{err: err, ticket: k, answer: answer}, uniq)
		return
	}
	first := b.log.Add(q, d, tag)
	b.stage(staged{first: first, n: 1, wait: wait, ticket: k, answer: answer}, uniq)
}

// StageAll adds several records to one queue; they get adjoining offsets and stand in one file.
func (b *Batch) StageAll(q *consumequeue.Queue, ds []message.Draft, tags []int64, wait bool, uniq []byte, k protocol.Ticket, answer Answer) {
	size := 0
	for i := range ds {
		size += ds[i].Size()
	}
	if err := b.check(size, wait); err != nil {
		b.stage(staged{err: err, ticket: k, answer: answer}, uniq)
		return
	}
	first := b.log.Add(q, &ds[0], tags[0])
	for i := 1; i < len(ds); i++ {
		b.log.AddNext(q, &ds[i], tags[i])
	}
	b.stage(staged{first: first, n: len(ds), wait: wait, ticket: k, answer: answer}, uniq)
}

// Fits is an error that Refusal knows if a record of so many bytes would be refused by itself, for its size: for a stager
// whose other records must not be stored without it.
func (b *Batch) Fits(size int) error { return b.svc.fits(size) }

// check tells why records are not to be stored: they are too large, or what waits for slaves would wait for too few.
// Source of the second: Java CommitLog.asyncPutMessage.
func (b *Batch) check(size int, wait bool) error {
	if err := b.svc.fits(size); err != nil || !wait {
		return err
	}
	if !b.asked {
		b.asked, b.admit = true, b.svc.term.Load().admit()
	}
	return b.admit
}

// stage notes whom to answer.
func (b *Batch) stage(s staged, uniq []byte) {
	s.uniqFrom = len(b.uniq)
	b.uniq = append(b.uniq, uniq...)
	s.uniqTo = len(b.uniq)
	b.staged = append(b.staged, s)
}

// Before has fn called once, when this turn's batch is about to be appended: for a stager that puts together what a turn
// brings.
func (b *Batch) Before(fn func(t *protocol.Turn)) { b.before = append(b.before, fn) }

// Keep has the batch hold what a stager has for each I/O context, Kept returns it, or nil.
func (b *Batch) Keep(stager, what any) {
	if b.kept == nil {
		b.kept = make(map[any]any)
	}
	b.kept[stager] = what
}

// Kept returns what a stager keeps here.
func (b *Batch) Kept(stager any) any { return b.kept[stager] }

// Commit appends everything staged with one write, rings the bells and answers what need not wait.
func (b *Batch) Commit(t *protocol.Turn) {
	for i, fn := range b.before {
		b.before[i] = nil
		fn(t)
	}
	b.before = b.before[:0]
	if len(b.staged) == 0 {
		return
	}
	carried := b.svc.cfg.Elsewhere != nil
	if carried && b.away() {
		b.clear()
		return
	}
	if b.term != b.svc.term.Load() {
		b.settle(t)
	}
	err := ErrCopy
	if !carried {
		err = b.svc.cfg.Log.Append(&b.log, t.Now)
	}
	if err == nil {
		visible := b.svc.cfg.Log.Visible()
		b.svc.account(&b.log, func(q *consumequeue.Queue, end int64) { b.grew(t, q, end, visible) })
	}
	for i := range b.staged {
		s := &b.staged[i]
		out := &b.out
		*out = Outcome{Status: Refused, Err: err, Uniq: b.uniq[s.uniqFrom:s.uniqTo]}
		if s.err != nil {
			out.Err = s.err
		} else if err == nil {
			e := b.log.At(s.first)
			out.Status, out.Queue, out.Offset, out.Physical = OK, e.Queue, e.Offset, e.Physical
			b.more = b.more[:0]
			for j := 1; j < s.n; j++ {
				b.more = append(b.more, b.log.At(s.first+j).Physical)
			}
			out.More = b.more
			if s.wait && b.park(t, s, out) {
				continue
			}
		}
		s.answer(t, s.ticket, out)
	}
	if b.waits() {
		b.mark()
		b.svc.mu.Lock()
		b.svc.waiting[b] = b.staged[0].ticket.Peer
		b.svc.mu.Unlock()
		b.settle(t) // what became safe before we stood in the table rang for nobody
	}
	b.clear()
}

// clear forgets what was staged.
func (b *Batch) clear() {
	clear(b.staged)
	b.staged, b.uniq, b.asked = b.staged[:0], b.uniq[:0], false
	b.log.Reset()
}

// grew rings for a queue, or notes to do so when the log can be read up to end.
func (b *Batch) grew(t *protocol.Turn, q *consumequeue.Queue, end, visible int64) {
	if end > visible {
		b.unseen = append(b.unseen, unseen{end, q})
	} else {
		b.svc.cfg.Grew(t, q)
	}
}

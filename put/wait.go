package put

import (
	"math"
	"slices"
	"time"

	"rocketd/protocol"
)

// parked is an answer that waits until the log is safe up to end. They stand in the order of their ends, and of their
// times, so the first is always the one that may go.
type parked struct {
	end     int64
	since   time.Time
	ticket  protocol.Ticket
	answer  Answer
	outcome Outcome
	uniq    [40]byte
}

// maxParked is how many answers of one I/O context wait; one more is given at once, as a timeout. They take some 30 MB.
const maxParked = 1 << 17

// park keeps an answer that has to wait. It returns false if it is to be given now: where the mode lets no answer wait, or
// because too many do.
func (b *Batch) park(t *protocol.Turn, s *staged, out *Outcome) bool {
	switch {
	case !b.svc.cfg.SyncFlush && b.term.replicas == nil:
		return false
	case len(b.parked)-b.head < maxParked:
	case b.term.replicas != nil:
		out.Status = FlushSlaveTimeout
		return false
	default:
		out.Status = FlushDiskTimeout
		return false
	}
	last := b.log.At(s.first + s.n - 1)
	b.parked = append(b.parked, parked{
		end:    last.Physical + int64(last.Size),
		since:  t.Now,
		ticket: s.ticket,
		answer: s.answer,
	})
	p := &b.parked[len(b.parked)-1]
	p.outcome = *out
	if len(out.More) > 0 {
		p.outcome.More = slices.Clone(out.More)
	}
	p.outcome.Uniq = append(p.uniq[:0], out.Uniq...) // its own array holds any usual id
	return true
}

// waits tells whether anything of this batch depends on disk or slaves.
func (b *Batch) waits() bool { return b.head < len(b.parked) || len(b.unseen) > 0 }

// mark says from which position on a bell matters to this batch.
func (b *Batch) mark() {
	due := int64(math.MaxInt64)
	if b.head < len(b.parked) {
		due = b.parked[b.head].end
	}
	if len(b.unseen) > 0 {
		due = min(due, b.unseen[0].end)
	}
	b.due.Store(due)
}

// ring runs in a turn of this context after a bell.
func (b *Batch) ring(t *protocol.Turn) {
	b.rung.Store(false)
	b.settle(t)
}

// settle answers the parked ones that are safe now, or have waited too long, and rings for what can be read.
func (b *Batch) settle(t *protocol.Turn) {
	v := b.look(t)
	for b.head < len(b.parked) {
		p := &b.parked[b.head]
		status, decided := v.status(p)
		if !decided {
			break
		}
		p.outcome.Status = status
		if len(p.outcome.Uniq) <= len(p.uniq) {
			p.outcome.Uniq = p.uniq[:len(p.outcome.Uniq)] // parked may have moved since
		}
		p.answer(t, p.ticket, &p.outcome)
		*p = parked{}
		b.head++
	}
	n := seen(b.unseen, v.visible)
	for i := range n {
		b.svc.cfg.Grew(t, b.unseen[i].queue)
	}
	b.unseen = slices.Delete(b.unseen, 0, n)
	if b.waits() {
		b.mark()
	} else {
		b.svc.mu.Lock()
		delete(b.svc.waiting, b)
		b.svc.mu.Unlock()
	}
	if b.head == len(b.parked) {
		b.parked, b.head = b.parked[:0], 0
	} else if b.head > 1024 && b.head > len(b.parked)/2 {
		n := copy(b.parked, b.parked[b.head:])
		clear(b.parked[n:])
		b.parked, b.head = b.parked[:n], 0
	}
}

// view is how safe the log is at a moment, as far as it matters to what is parked.
type view struct {
	flushed    int64 // math.MaxInt64 without SyncFlush
	replicated int64
	visible    int64
	over       bool // nothing gets safer any more
	now        time.Time
	cfg        *Config
}

// look takes a view, and goes over to the term of now. What could not be read in another term is looked for anew.
func (b *Batch) look(t *protocol.Turn) view {
	now := b.svc.term.Load()
	v := b.svc.view(b.term, now, t.Now)
	b.term = now
	return v
}

// view is how safe the log is, in the term of now, for what was appended in a term. If that was another one, it is not safe,
// wherever its position is, as far as anything was to be waited for.
func (s *Service) view(began, present *term, now time.Time) view {
	cfg := &s.cfg
	v := view{flushed: math.MaxInt64, replicated: math.MaxInt64, over: s.fenced(), now: now, cfg: cfg}
	if began != present {
		v.over, v.visible = true, math.MaxInt64
		if began.replicas != nil {
			v.replicated = -1
		}
		if cfg.SyncFlush {
			v.flushed = -1
		}
		return v
	}
	if cfg.SyncFlush {
		v.flushed = cfg.Log.Flushed()
	}
	v.replicated, v.visible = began.replicated(), cfg.Log.Visible()
	return v
}

// status is what a parked answer says; decided is false if that is not known yet: the disk and the slaves have their own time
// each, and it waits for both. If both are late, it says the slaves. Source: Java CommitLog.handleDiskFlushAndHA.
func (v *view) status(p *parked) (status Status, decided bool) {
	if p.end > v.flushed {
		if !v.over && v.now.Before(p.since.Add(v.cfg.FlushTimeout)) {
			return OK, false
		}
		status = FlushDiskTimeout
	}
	if p.end > v.replicated {
		if !v.over && v.now.Before(p.since.Add(v.cfg.SlaveTimeout)) {
			return OK, false
		}
		status = FlushSlaveTimeout
	}
	return status, true
}

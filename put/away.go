package put

import (
	"context"
	"slices"

	"rocketd/protocol"
)

// Bounds of what turns have staged and other brokers are being asked to take.
const (
	maxAway     = 1024 // turns
	awayWorkers = 8
)

// parcel is what one turn has staged where the log takes nothing: another broker is asked to take it, and it is answered in a
// later turn.
type parcel struct {
	batch   *Batch
	records [][]byte
	staged  []staged
	uniq    []byte
	outs    []Outcome
	took    int
	err     error
}

// away hands over what is staged. Where too much is under way, or nobody carries it, it is refused at once.
func (b *Batch) away(t *protocol.Turn) {
	p := &parcel{batch: b}
	keep := true
	for i := range b.staged {
		s := &b.staged[i]
		if s.err != nil || s.n != 1 {
			keep = false
		}
	}
	if keep {
		p.staged, p.uniq = slices.Clone(b.staged), slices.Clone(b.uniq)
		for i := range p.staged {
			p.records = append(p.records, slices.Clone(b.log.Record(p.staged[i].first)))
			p.outs = append(p.outs, Outcome{Queue: b.log.At(p.staged[i].first).Queue, Offset: -1, Physical: -1})
		}
		b.svc.away.Add(1)
		select {
		case b.svc.parcels <- p:
		default:
			b.svc.away.Add(-1)
			keep = false
		}
	}
	if !keep {
		for i := range b.staged {
			s := &b.staged[i]
			out := Outcome{Status: Refused, Err: ErrCopy, Uniq: b.uniq[s.uniqFrom:s.uniqTo]}
			if s.err != nil {
				out.Err = s.err
			}
			s.answer(t, s.ticket, &out)
		}
	}
}

// Away is how many turns have staged what goes elsewhere and are not answered yet.
func (s *Service) Away() int64 { return s.away.Load() }

// carry brings parcels elsewhere until the context ends.
func (s *Service) carry(ctx context.Context) {
	for {
		select {
		case p := <-s.parcels:
			p.took, p.err = s.cfg.Elsewhere(ctx, p.records)
			p.staged[0].ticket.Peer.Post(p.answer)
		case <-ctx.Done():
			return
		}
	}
}

// answer answers in a turn of the context that staged.
func (p *parcel) answer(t *protocol.Turn) {
	defer p.batch.svc.away.Add(-1)
	for i := range p.staged {
		s, out := &p.staged[i], &p.outs[i]
		out.Uniq = p.uniq[s.uniqFrom:s.uniqTo]
		if i >= p.took {
			out.Status, out.Err = Refused, p.err
		}
		s.answer(t, s.ticket, out)
	}
}

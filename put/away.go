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

// away hands over what is staged. It returns false where too much is under way, or some of it cannot be carried.
func (b *Batch) away() bool {
	p := &parcel{batch: b}
	for i := range b.staged {
		s := &b.staged[i]
		if s.err != nil || s.n != 1 {
			return false
		}
		p.records = append(p.records, slices.Clone(b.log.Record(s.first)))
		p.outs = append(p.outs, Outcome{Queue: b.log.At(s.first).Queue, Offset: -1, Physical: -1})
	}
	p.staged, p.uniq = slices.Clone(b.staged), slices.Clone(b.uniq)
	b.svc.away.Add(1)
	select {
	case b.svc.parcels <- p:
		return true
	default:
		b.svc.away.Add(-1)
		return false
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

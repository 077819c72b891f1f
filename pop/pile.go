package pop

import (
	"rocketd/protocol"
	"rocketd/put"
)

// pile is what the turns of one I/O context are asked to acknowledge. Consumers acknowledge one message at a time, but all
// that they popped at nearly the same time: what one turn brings of one check point becomes one record.
type pile struct {
	svc   *Service
	batch *put.Batch
	flush func(t *protocol.Turn) // p.stage
	list  []pending
}

// pending is one acknowledgement.
type pending struct {
	cursor   *cursor
	key      leaseKey
	revive   int32
	reviveMs int64
	offset   int64
	ticket   protocol.Ticket
}

// pile returns the pile of an I/O context.
func (s *Service) pile(b *put.Batch) *pile {
	if p, ok := b.Kept(s).(*pile); ok {
		return p
	}
	p := &pile{svc: s, batch: b}
	p.flush = p.stage
	b.Keep(s, p)
	return p
}

func (p *pile) add(a pending) {
	if len(p.list) == 0 {
		p.batch.Before(p.flush)
	}
	p.list = append(p.list, a)
}

// stage puts together what adjoins in the pile: one record for each run of one check point.
func (p *pile) stage(t *protocol.Turn) {
	for i := 0; i < len(p.list); {
		first := &p.list[i]
		w := p.svc.acks.Get().(*acking)
		w.cursor, w.key = first.cursor, first.key
		for ; i < len(p.list) && len(w.offsets) < MaxMessages && first.joins(&p.list[i]); i++ {
			w.offsets = append(w.offsets, p.list[i].offset)
			w.tickets = append(w.tickets, p.list[i].ticket)
		}
		w.stage(t, first.revive, first.reviveMs)
	}
	clear(p.list)
	p.list = p.list[:0]
}

// joins tells whether two acknowledgements are of one check point.
func (a *pending) joins(b *pending) bool {
	return a.cursor == b.cursor && a.key == b.key && a.revive == b.revive && a.reviveMs == b.reviveMs
}

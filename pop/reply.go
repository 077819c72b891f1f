package pop

import (
	"rocketd/protocol"
	"rocketd/put"
)

// stage has the check points written with this turn's batch.
func (r *reply) stage(t *protocol.Turn) {
	s := r.svc
	j := s.journals.Get().(*journal)
	defer s.journals.Put(j)
	b := put.Of(t)
	var diffs [MaxMessages]int32
	r.left = len(r.takes)
	for i := range r.takes {
		k := &r.takes[i]
		ck := r.checkpoint(k, diffs[:0])
		rec := j.checkpoint(&ck, r.revive, r.popMs)
		b.Stage(rec.queue, &rec.draft, rec.tag, true, nil, r.ticket, r.staged)
	}
}

func (r *reply) checkpoint(k *taken, diffs []int32) Checkpoint {
	for _, o := range r.offsets[k.first : k.first+k.n] {
		diffs = append(diffs, int32(o-k.from))
	}
	x := k.cursor.shelf
	return Checkpoint{
		Broker: r.svc.cfg.Broker, Group: x.groupName, Topic: x.name, QueueID: k.cursor.id, Diffs: diffs, Num: int8(k.n),
		Start: k.from, PopMs: r.popMs, InvisibleMs: r.ask.invisible,
	}
}

// answer is called once for each check point; the last one sends the messages.
func (r *reply) answer(t *protocol.Turn, _ protocol.Ticket, o *put.Outcome) {
	if o.Status == put.Refused {
		r.err = o.Err
	}
	if r.left--; r.left > 0 {
		return
	}
	s := r.svc
	for i := range r.takes {
		k := &r.takes[i]
		if r.err == nil {
			s.lend(r.checkpoint(k, nil), r.revive, k.cursor)
		}
		k.cursor.finish(s.cfg.Offsets, k.number, r.err == nil)
	}
	if r.err != nil {
		e := put.Refusal(r.err)
		r.ticket.Answer(t, e.Code, e.Remark, nil, nil)
	} else {
		r.send(t, protocol.Success, "FOUND")
	}
	r.release()
}

// send writes the answer. Java clients read all of its fields without asking.
func (r *reply) send(t *protocol.Turn, code int32, remark string) {
	if r.ticket.Oneway {
		return
	}
	w := r.ticket.Open(code, remark)
	w.Int("popTime", r.popMs)
	w.Int("invisibleTime", r.ask.invisible)
	w.Int("reviveQid", int64(r.revive))
	w.Int("restNum", r.rest)
	w.Bytes("startOffsetInfo", r.infos.start)
	w.Bytes("msgOffsetInfo", r.infos.offsets)
	if r.ask.order {
		w.Bytes("orderCountInfo", r.infos.counts)
	}
	w.Body()
	w.Append(r.records)
	w.Send(t)
}

// lend keeps a check point in memory. Where there are too many, this one is revived from the log; that of an acting slave, from
// that of another set.
func (s *Service) lend(ck Checkpoint, revive int32, c *cursor) {
	if s.cfg.Slave() {
		return
	}
	if s.live.Add(1) > int64(s.cfg.MaxLeases) {
		s.live.Add(-1)
		return
	}
	l := &lease{Checkpoint: ck, revive: revive, cursor: c, bits: ck.BitMap}
	l.alarm.lease = l
	c.mu.Lock()
	if old := c.leases[leaseKey{ck.Start, ck.PopMs}]; old != nil { // a reset, within the same millisecond
		s.live.Add(-1)
		s.schedule.remove(&old.alarm)
	}
	c.leases[leaseKey{ck.Start, ck.PopMs}] = l
	s.schedule.add(&l.alarm, ck.ReviveMs())
	c.mu.Unlock()
}

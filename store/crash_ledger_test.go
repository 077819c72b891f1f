package store

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"rocketd/message"
)

// rec is one record that somebody tried to append.
type rec struct {
	physical int64
	topic    string
	id       int32
	offset   int64
	queue    bool // has a queue, not only a place in the log
	raw      []byte
}

type queueKey struct {
	topic string
	id    int32
}

func (r *rec) end() int64    { return r.physical + int64(len(r.raw)) }
func (r *rec) key() queueKey { return queueKey{r.topic, r.id} }
func (r *rec) String() string {
	return fmt.Sprintf("%d-%d %s/%d@%d", r.physical, r.end(), r.topic, r.id, r.offset)
}

func recOf(r *message.Record, raw []byte) *rec {
	return &rec{r.Physical, string(r.Topic), r.QueueID, r.QueueOffset, r.HasQueue(), bytes.Clone(raw)}
}

// recsOf returns the records of a batch that was placed in the log, whatever became of it; nil if it was not placed.
func recsOf(b *Batch) []*rec {
	if b == nil || len(b.runs) == 0 {
		return nil
	}
	var list []*rec
	for i := range b.Len() {
		r, err := message.Decode(b.Record(i))
		if err != nil {
			panic(err)
		}
		list = append(list, recOf(&r, b.Record(i)))
	}
	return list
}

// ledger is what a store was given, beside the store.
type ledger struct {
	log       []*rec             // what Append took, in order
	refused   map[int64][]*rec   // what it refused when some may have been written, by position
	deleted   map[string]int64   // topic: records before this position may be gone from its queues
	untrimmed bool               // queues may say what is gone from the log: trimming them has failed
	dropped   int64              // the log may begin at any file up to here
	floor     map[queueKey]int64 // offsets below were given to messages that were safe then
}

// given is floor with what is in the log up to bound.
func (l *ledger) given(bound int64) map[queueKey]int64 {
	floor := maps.Clone(l.floor)
	if floor == nil {
		floor = make(map[queueKey]int64)
	}
	for _, r := range l.log {
		if r.queue && r.end() <= bound && r.physical >= l.deleted[r.topic] {
			floor[r.key()] = r.offset + 1
		}
	}
	return floor
}

// seen is what was found in a store.
type seen struct {
	log   []*rec
	min   int64
	end   int64
	next  map[queueKey]int64 // offset that the next message must get
	floor map[queueKey]int64
}

// demand is what must be found.
type demand struct {
	bound    int64  // records that end up to here must be there
	durable  int64  // and up to here also after a further power cut, before the store was open again
	exact    bool   // nothing else but log, and the first of inflight, may be there
	inflight []*rec // an Append had not yet returned
	where    string // for people
}

// check reads all of a store and compares it with the ledger.
func (l *ledger) check(s *Store, d demand) (*seen, error) {
	got := &seen{min: s.MinPhysical(), end: s.MaxPhysical(), next: make(map[queueKey]int64)}
	if n := s.DamageCount(); n > 0 {
		return nil, fmt.Errorf("nothing was damaged, the store says so of %d pieces: %+v", n, s.Damage())
	}
	if got.min > l.dropped {
		return nil, fmt.Errorf("the log begins at %d, nothing behind %d was dropped", got.min, l.dropped)
	}
	all := make(map[int64][]*rec) // what may lie at a position
	for _, r := range l.log {
		all[r.physical] = append(all[r.physical], r)
	}
	for _, r := range d.inflight {
		all[r.physical] = append(all[r.physical], r)
	}
	if !d.exact {
		for at, list := range l.refused {
			all[at] = append(all[at], list...)
		}
	}
	end, err := s.log.Scan(got.min, func(r *message.Record) error {
		raw := make([]byte, r.Size)
		if err := s.log.ReadAt(raw, r.Physical); err != nil {
			return err
		}
		if r.Physical >= got.end {
			return fmt.Errorf("record at %d is behind the end %d", r.Physical, got.end)
		}
		for _, c := range all[r.Physical] {
			if bytes.Equal(c.raw, raw) {
				got.log = append(got.log, c)
				return nil
			}
		}
		return fmt.Errorf("record at %d was never appended: %s", r.Physical, recOf(r, raw))
	})
	if err != nil {
		return nil, err
	}
	if end.Physical != got.end {
		return nil, fmt.Errorf("the log ends at %d, records at %d: %s", got.end, end.Physical, end.Reason)
	}
	if err := l.lost(got, d); err != nil {
		return nil, err
	}
	got.floor = l.given(d.bound)
	return got, l.queues(s, got)
}

// lost looks for what must be in the log and is not.
func (l *ledger) lost(got *seen, d demand) error {
	want := l.log
	for len(want) > 0 && want[0].physical < got.min {
		want = want[1:]
	}
	for i, r := range want {
		if i < len(got.log) && got.log[i] == r {
			continue
		}
		if r.end() <= d.bound {
			return fmt.Errorf("acknowledged record %v is not in the log, which goes from %d to %d; known safe up to %d", r, got.min, got.end, d.bound)
		}
		if d.exact {
			return fmt.Errorf("record %v is not in the log, which goes from %d to %d", r, got.min, got.end)
		}
		return nil
	}
	if d.exact && len(got.log) > len(want)+len(d.inflight) {
		return fmt.Errorf("%d records in the log, not %d", len(got.log), len(want))
	}
	return nil
}

// queues compares the queues of a store with its log.
func (l *ledger) queues(s *Store, got *seen) error {
	at := make(map[int64]*rec, len(got.log))
	need := make(map[queueKey]int64) // first offset that must be there
	byQueue := make(map[queueKey][]*rec)
	for _, r := range got.log {
		at[r.physical] = r
		if !r.queue {
			continue
		}
		list := byQueue[r.key()]
		if n := len(list); n > 0 && r.physical >= l.deleted[r.topic] && list[n-1].physical >= l.deleted[r.topic] && list[n-1].offset+1 != r.offset {
			return fmt.Errorf("offsets of %v and %v do not follow", list[n-1], r)
		}
		byQueue[r.key()] = append(list, r)
		if r.physical >= l.deleted[r.topic] {
			// A file of the log that was removed may come back; what queues said about it need not.
			if _, ok := need[r.key()]; !ok && r.physical-r.physical%s.cfg.FileSize+s.cfg.FileSize > l.dropped {
				need[r.key()] = r.offset
			}
			got.next[r.key()] = r.offset + 1
		}
	}
	for k, first := range need {
		q := s.Find([]byte(k.topic), k.id)
		if q == nil {
			return fmt.Errorf("queue %v is missing, its messages are in the log from offset %d", k, first)
		}
		if q.Min() > first || q.Max() != got.next[k] {
			return fmt.Errorf("queue %v goes from %d to %d, the log says from %d to %d", k, q.Min(), q.Max(), first, got.next[k])
		}
	}
	for k, floor := range got.floor {
		q := s.Find([]byte(k.topic), k.id)
		if q == nil || q.Max() < floor {
			return fmt.Errorf("offsets of queue %v below %d were given, the queue does not know", k, floor)
		}
		got.next[k] = q.Max()
	}
	for _, topic := range s.Topics() {
		for _, q := range s.Queues(topic) {
			k := queueKey{topic, q.ID()}
			if err := l.queue(s, k, at, byQueue[k], need); err != nil {
				return fmt.Errorf("queue %v from %d to %d: %w", k, q.Min(), q.Max(), err)
			}
		}
	}
	return nil
}

// queue compares one queue, unit by unit and as a consumer reads it.
func (l *ledger) queue(s *Store, k queueKey, at map[int64]*rec, list []*rec, need map[queueKey]int64) error {
	q := s.Find([]byte(k.topic), k.id)
	from := q.Min()
	if l.untrimmed {
		for ; from < q.Max(); from++ {
			if u, err := s.queues.Unit(q, from); err != nil || !u.Filler() && u.Physical >= s.MinPhysical() {
				break
			}
		}
	}
	last := make(map[int64]*rec) // the last record with an offset is the one that counts
	for _, r := range list {
		last[r.offset] = r
	}
	before := int64(-1)
	for offset := from; offset < q.Max(); offset++ {
		u, err := s.queues.Unit(q, offset)
		if err != nil {
			return err
		}
		r := at[u.Physical]
		if first, ok := need[k]; u.Filler() && (!ok || offset < first) {
			continue // of a topic that was deleted; readers pass over it
		}
		if u.Filler() || r == nil || r.key() != k || r.offset != offset || int(u.Size) != len(r.raw) {
			return fmt.Errorf("unit %d says %d+%d, there is %v", offset, u.Physical, u.Size, r)
		}
		if first, ok := need[k]; ok && offset >= first && last[offset] != r {
			return fmt.Errorf("unit %d leads to %v and not to %v", offset, r, last[offset])
		}
		if u.Physical <= before {
			return fmt.Errorf("unit %d goes back in the log, from %d to %d", offset, before, u.Physical)
		}
		before = u.Physical
	}
	var dst []byte
	for offset := from; offset < q.Max(); {
		var res ReadResult
		dst, res = s.Get(q, Read{From: offset, Max: int32(1 + offset%5)}, dst[:0])
		if u, _ := s.queues.Unit(q, offset); res.Status != Found && u.Filler() && res.Next > offset {
			offset = res.Next
			continue
		}
		if res.Status != Found {
			u, _ := s.queues.Unit(q, offset)
			if res.Status == OffsetOverflowOne && u.Physical+int64(u.Size) > s.Visible() {
				return nil // not yet on the disk
			}
			return fmt.Errorf("read from %d: %+v", offset, res)
		}
		for rest := dst; len(rest) > 0; offset++ {
			r, err := message.Decode(rest)
			if err != nil {
				return err
			}
			for u, _ := s.queues.Unit(q, offset); u.Filler(); u, _ = s.queues.Unit(q, offset) {
				offset++
			}
			if want := at[r.Physical]; want == nil || want.offset != offset || !bytes.Equal(want.raw, rest[:r.Size]) {
				return fmt.Errorf("read %v where %v was expected", recOf(&r, nil), want)
			}
			rest = rest[r.Size:]
		}
		for u, _ := s.queues.Unit(q, offset); offset < res.Next && u.Filler(); u, _ = s.queues.Unit(q, offset) {
			offset++
		}
		if offset != res.Next {
			return fmt.Errorf("next is %d after %d", res.Next, offset)
		}
	}
	return nil
}

// recovered makes what was found the truth: it is on the disk now up to flushed.
func (l *ledger) recovered(got *seen, flushed int64) *ledger {
	floor := got.floor
	if flushed < got.end { // after a kill, what had not been synced is not synced yet
		floor = l.given(flushed)
	}
	old, _ := slices.BinarySearchFunc(l.log, got.min, func(r *rec, at int64) int { return cmp.Compare(r.physical, at) })
	to := &ledger{log: slices.Concat(l.log[:old], got.log), refused: make(map[int64][]*rec), deleted: maps.Clone(l.deleted), dropped: l.dropped, floor: floor}
	for topic, at := range to.deleted {
		to.deleted[topic] = min(at, got.end)
	}
	return to
}

func (l *ledger) refuse(list []*rec) {
	for _, r := range list {
		l.refused[r.physical] = append(l.refused[r.physical], r)
	}
}

// take says that Append took a batch.
func (l *ledger) take(list []*rec) { l.log = slices.Concat(l.log, list) }

// end is where what Append took ends.
func (l *ledger) end() int64 {
	if n := len(l.log); n > 0 {
		return l.log[n-1].end()
	}
	return 0
}

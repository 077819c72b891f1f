package inspect

import (
	"fmt"
	"path/filepath"
	"strings"

	"rocketd/segment"
)

// find returns the queue of an entry. One that has no files is made, so that the records that lack it are counted.
func (v *verifier) find(e *entry) *queue {
	ids := v.queues[string(e.topic)]
	if q := ids[e.id]; q != nil {
		return q
	}
	name := string(e.topic)
	if ids == nil {
		ids = make(map[int32]*queue)
		v.queues[name] = ids
	}
	q := newQueue(&queueFiles{topic: name, id: e.id, batch: e.batch || v.batches[name]})
	ids[e.id] = q
	v.order = append(v.order, q)
	return q
}

// entry looks for the entry of a record.
func (v *verifier) entry(e *entry) error {
	q := v.find(e)
	if e.batch && !q.batch { // has no entry in a queue of the usual kind
		return nil
	}
	if e.offset <= q.last { // the topic was deleted and made again: its numbers begin anew
		q.orphans += q.lost.count
		q.lost = run{}
	}
	q.last = e.offset
	i := e.offset
	if q.batch {
		i = q.next
		for i < q.end() {
			u, ok, err := v.unit(q, i)
			if err != nil {
				return err
			}
			if !ok || u.Physical >= e.unit.Physical {
				break
			}
			i++
		}
	}
	u, ok, err := v.unit(q, i)
	if err != nil {
		return err
	}
	if !ok || u.Physical != e.unit.Physical || u.Filler() {
		v.lost(q, e, u, ok)
		return nil
	}
	if err := v.skip(q, i); err != nil {
		return err
	}
	v.settle(q)
	q.next, q.max = i+1, i+1
	v.lastEntry = e.unit.Physical
	v.report.Queues.Entries++
	if text := v.compare(q, &u, e); text != "" {
		q.broken = true
		v.queueFinding(q, i, Damage, text)
	}
	return nil
}

// compare tells what is wrong with an entry that points at the right record.
func (v *verifier) compare(q *queue, u *unit, e *entry) string {
	var bad []string
	if u.Size != e.unit.Size {
		bad = append(bad, fmt.Sprintf("says %d bytes, the record has %d", u.Size, e.unit.Size))
	}
	tag, where := u.Tag, ""
	if !q.batch && tag < minExt {
		var err error
		if tag, err = v.ext.tag(q, tag); err != nil {
			return "its extension cannot be read: " + err.Error()
		}
		where = " of its extension"
	}
	d := tag - e.ms
	switch {
	case e.delay != 0 && (d < 0 || d%1000 != 0):
		bad = append(bad, fmt.Sprintf("time of delivery%s is %d, which is no whole seconds behind the store time %d", where, tag, e.ms))
	case e.delay != 0:
		v.delays[e.delay] = d
	case tag != e.unit.Tag:
		bad = append(bad, fmt.Sprintf("tag code%s is %d, of the record %d", where, tag, e.unit.Tag))
	}
	if q.batch && (u.base != e.offset || u.count != e.count || u.storeMs != e.ms) {
		bad = append(bad, fmt.Sprintf("says %d messages from offset %d stored at %d, the record has %d from %d at %d",
			u.count, u.base, u.storeMs, e.count, e.offset, e.ms))
	}
	return strings.Join(bad, "; ")
}

// lost notes that a record has no entry.
func (v *verifier) lost(q *queue, e *entry, u unit, written bool) {
	l := &q.lost
	if l.count == 0 {
		l.offset, l.physical, l.instead = e.offset, e.unit.Physical, ""
		if written && !q.batch {
			if l.instead = fmt.Sprintf("the entry points at %d", u.Physical); u.Filler() {
				l.instead = "a filler stands there"
			}
		}
	}
	l.count++
	l.last = e.unit.Physical
}

// settle reports records without entries when it is known that the queue goes on behind them.
func (v *verifier) settle(q *queue) {
	if q.lost.count > 0 {
		v.reportLost(q, Damage, "")
	}
}

func (v *verifier) reportLost(q *queue, level Level, more string) {
	l := q.lost
	q.lost, q.broken = run{}, true
	text := "the record has no entry"
	if l.count > 1 {
		text = fmt.Sprintf("%d records, the last at %d, have no entries", l.count, l.last)
	}
	if l.instead != "" {
		text += ": " + l.instead
	}
	f := Finding{Level: level, Kind: KindQueue, Topic: q.topic, Queue: &q.id, Offset: &l.offset, Physical: &l.physical, Text: text + more}
	if l.count > 1 {
		f.Count = l.count
	}
	f.File = v.s.relative(q.dir)
	if start, ok := q.file(l.offset * q.unitSize()); ok && !q.batch {
		at := l.offset*q.unitSize() - start
		f.File, f.At = v.s.relative(filepath.Join(q.dir, segment.Name(start))), &at
	}
	v.report.add(f)
}

// skip looks at entries up to i that no record asked for.
func (v *verifier) skip(q *queue, i int64) error {
	var wrong, ahead run
	flush := func(r *run, level Level, one, many string) {
		if r.count == 0 {
			return
		}
		text := one
		if r.count > 1 {
			text = fmt.Sprintf(many, r.count)
		}
		q.broken = true
		v.queueFinding(q, r.offset, level, fmt.Sprintf("%s, at %d", text, r.physical))
		*r = run{}
	}
	note := func(r *run, at int64, u *unit) {
		if r.count == 0 {
			r.offset, r.physical = at, u.Physical
		}
		r.count++
	}
	flushAll := func() {
		flush(&wrong, Damage, "the entry points at no record of this queue", "%d entries point at no record of this queue, the first")
		v.report.Queues.Ahead += ahead.count
		level := v.mended()
		flush(&ahead, level, "the entry points behind the end of the log", "%d entries point behind the end of the log, the first")
	}
	for ; q.next < i; q.next++ {
		u, ok, err := v.unit(q, q.next)
		if err != nil {
			return err
		}
		switch {
		case !ok:
			flushAll()
		case u.Filler():
			v.report.Queues.Fillers++
			flushAll()
		case u.Physical < v.s.minPhysical():
			v.report.Queues.Expired++
			flushAll()
		case v.damaged(u.Physical): // its record is reported
			q.broken = true
			flushAll()
		case v.done && u.Physical >= v.report.Log.End:
			note(&ahead, q.next, &u)
		default:
			is, err := v.foreign(q, q.next, &u)
			if err != nil {
				return err
			}
			if !is {
				note(&wrong, q.next, &u)
			}
		}
	}
	flushAll()
	return nil
}

// maxHeaders bounds how many wrong headers are looked for.
const maxHeaders = 1000

// header is a record whose topic, queue id or offset was changed: an entry knows better.
type header struct {
	physical int64
	topic    string
	topicAt  int64 // from the start of the record
	id       int32
	offset   int64
}

// foreign tells whether an entry points at a whole record that says another place, where nothing points at it, and
// reports it: no checksum covers topic, queue id and offset.
func (v *verifier) foreign(q *queue, i int64, u *unit) (bool, error) {
	if q.batch || len(v.headers) >= maxHeaders {
		return false, nil
	}
	r, _, err := v.peek.record(u.Physical)
	if err != nil || len(r.Topic) != len(q.topic) || r.Size != u.Size || !r.HasQueue() {
		return false, nil
	}
	place := fmt.Sprintf("queue %d, offset %d", r.QueueID, r.QueueOffset)
	if string(r.Topic) != q.topic {
		place = fmt.Sprintf("topic %q, %s", r.Topic, place)
	} else if r.QueueID == q.id && r.QueueOffset == i {
		return false, nil
	}
	topicAt := int64(r.Size) - int64(len(r.Properties)) - 2 - int64(len(r.Topic))
	if said := v.queues[string(r.Topic)][r.QueueID]; said != nil {
		if there, ok, err := v.unit(said, r.QueueOffset); err != nil || ok && there.Physical == u.Physical {
			return false, err
		}
	}
	v.headers = append(v.headers, header{u.Physical, q.topic, topicAt, q.id, i})
	v.queueFinding(q, i, Damage, "the record there says "+place)
	q.broken = true
	return true, nil
}

// finish looks at what is left of a queue when the log ends.
func (v *verifier) finish(q *queue) error {
	end := q.next
	for end < q.end() {
		_, ok, err := v.unit(q, end)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		end++
	}
	if err := v.skip(q, end); err != nil {
		return err
	}
	if q.lost.count > 0 {
		v.missing(q)
	}
	at, ok, err := v.behind(q, end)
	if err != nil {
		return err
	}
	if ok {
		q.broken, q.junk = true, at
		v.queueFinding(q, at, v.mended(), fmt.Sprintf("something is written behind the last entry, which is %d", end-1))
	}
	q.max, q.buf = max(q.max, end), nil
	return nil
}

// missing reports records at the end of a queue that have no entries.
func (v *verifier) missing(q *queue) {
	switch {
	case v.s.rocks && !q.batch:
		q.lost = run{}
	case len(q.starts) == 0 && v.gone(q.topic):
		q.orphans += q.lost.count
		q.lost = run{}
	case q.lost.physical >= v.rebuiltFrom:
		v.report.Queues.Behind += q.lost.count
		v.reportLost(q, Mended, "; the next start builds them")
	case len(q.starts) == 0:
		v.reportLost(q, Damage, "; the queue has no files (unless its topic was deleted and made again)")
	default:
		v.reportLost(q, Damage, "")
	}
}

// queueFinding reports something about entry i of a queue.
func (v *verifier) queueFinding(q *queue, i int64, level Level, text string) {
	f := Finding{Level: level, Kind: KindQueue, File: v.s.relative(q.dir), Topic: q.topic, Queue: &q.id, Text: text}
	if !q.batch {
		f.Offset = &i
	}
	if start, ok := q.file(i * q.unitSize()); ok {
		at := i*q.unitSize() - start
		f.File, f.At = v.s.relative(filepath.Join(q.dir, segment.Name(start))), &at
	}
	v.report.add(f)
}

package timer

import (
	"math"

	"rocketd/message"
	"rocketd/timer/wheel"
)

// Plan says what becomes of timed messages, and when: a state that takes messages and the time, and gives what is due. It
// reads and writes the wheel and the units of its log, and nothing else. One goroutine uses it.
type Plan struct {
	wheel  *wheel.Wheel
	log    *wheel.Log
	window int64 // how far ahead a message is put into the wheel, ms

	readMs   int64 // all that was due in a moment before is done
	loadedMs int64 // the slots before are in items
	doneMs   int64 // the last slot of which something is done; -1: none
	offset   int64 // of the next message of the timer topic

	items   heap
	waiting map[int64]int       // items by slot, those that were popped and are not done too
	recalls map[recall]struct{} // of the slots that are not done
	marks   map[int64][]recall  // the same by slot
	late    int                 // items that are in no slot
	lateAt  int64               // offset of the first of them
}

// recall takes back the message of a slot whose key it is.
type recall struct {
	slotMs int64
	key    string
}

// lead is how long before its start a slot is read, ms; maxItems how many may be at hand before another one is.
const (
	lead     = 1000
	maxItems = 1 << 18
)

// newPlan starts at a state that was kept.
func newPlan(w *wheel.Wheel, l *wheel.Log, window, readMs, offset int64) *Plan {
	p := &Plan{wheel: w, log: l, window: window, offset: offset}
	p.restart(readMs)
	return p
}

// restart forgets what is at hand, and goes on from a time.
func (p *Plan) restart(readMs int64) {
	p.readMs = p.wheel.Floor(readMs)
	p.loadedMs = p.readMs
	p.items, p.late, p.doneMs = nil, 0, -1
	p.waiting, p.recalls, p.marks = make(map[int64]int), make(map[recall]struct{}), make(map[int64][]recall)
}

// Timed is a message of the timer topic.
type Timed struct {
	Offset, Physical int64
	Size             int32
	OutMs            int64  // TIMER_OUT_MS
	TopicHash        int32  // of the topic that it is for
	Recalls          []byte // TIMER_DEL_UNIQKEY; nil: it recalls nothing
}

// Taken is what became of a message.
type Taken uint8

// What Take does with a message.
const (
	Waits  Taken = iota // it is in the wheel
	IsLate              // it is due, and at hand
	NoRoom              // nothing: an older moment that is not done has the entry of the wheel
)

// Take puts a message into the wheel; one that is due already is at hand at once, if this broker delivers. Source: Java
// TimerMessageStore.doEnqueue.
func (p *Plan) Take(m *Timed, nowMs int64, deliver bool) Taken {
	p.rewind(nowMs)
	precision := p.wheel.Precision()
	due := message.TimerDue(m.OutMs, precision)
	slot := p.wheel.Floor(m.OutMs)
	if deliver && due <= nowMs && (m.Recalls == nil || slot < p.readMs) { // a late recall is kept with its slot
		if m.Recalls != nil {
			p.Recall(slot, string(m.Recalls))
		} else {
			if p.late++; p.late == 1 {
				p.lateAt = m.Offset
			}
			p.items.push(item{dueMs: due, seq: p.log.End(), physical: m.Physical, slotMs: late, writeMs: neverMs, size: m.Size})
		}
		p.offset = m.Offset + 1
		return IsLate
	}
	write := min(p.wheel.Floor(nowMs), slot)
	at, magic, count := m.OutMs, wheel.MagicDefault, int32(1)
	if over := at - write - p.window; over >= 0 {
		magic |= wheel.MagicRoll
		if at = write + p.window; over < p.window/precision/3*precision {
			at = write + p.window/precision/2*precision // time enough for the next round
		}
	}
	if m.Recalls != nil {
		magic |= wheel.MagicDelete
		count = -1
	}
	slot = p.wheel.Floor(at)
	if held := p.wheel.Holds(at); held != slot && held >= p.readMs && held != 0 {
		return NoRoom
	}
	last := int64(-1)
	if s, ok := p.wheel.At(at); ok {
		last = s.Last
	}
	u := wheel.Unit{Prev: last, Magic: magic, WriteMs: write, DelayMs: int32(at - write), Physical: m.Physical, Size: m.Size, TopicHash: m.TopicHash}
	pos := p.log.Append(&u)
	p.wheel.Add(at, pos, count)
	if slot < p.loadedMs && slot >= p.readMs && deliver {
		p.at(pos, &u, m.Recalls)
	}
	p.offset = m.Offset + 1
	return Waits
}

// rewind follows a clock that was set back: what is done stays done, and what comes now finds its slot.
func (p *Plan) rewind(nowMs int64) {
	if now := p.wheel.Floor(nowMs); now < p.readMs {
		p.wheel.Clear(now, p.readMs)
		p.readMs = now
	}
}

// Load reads slots that begin soon, and returns the units of recalls in them, whose records say what they recall: for Recall.
func (p *Plan) Load(nowMs int64) (recalls []wheel.Unit) {
	end := nowMs + lead
	for len(p.items) < maxItems {
		ms, ok := p.wheel.Next(p.loadedMs, end+1)
		if !ok {
			p.loadedMs = max(p.loadedMs, p.wheel.Floor(end)+p.wheel.Precision())
			break
		}
		recalls = append(recalls, p.load(ms)...)
		p.loadedMs = ms + p.wheel.Precision()
	}
	return recalls
}

// load reads the chain of a slot, from its end. Messages are taken in the order of their records, so a unit whose record is
// not before that of the one behind it is there twice.
func (p *Plan) load(slotMs int64) (recalls []wheel.Unit) {
	s, _ := p.wheel.At(slotMs)
	first := int64(math.MaxInt64) // record of those that are read
	for pos, before := s.Last, int64(math.MaxInt64); pos >= p.log.Min() && pos < before; {
		u, ok := p.log.Read(pos)
		if !ok || p.wheel.Floor(u.TimeMs()) != slotMs {
			break
		}
		if u.Physical < first {
			first = u.Physical
			if u.Magic&wheel.MagicDelete != 0 && u.Magic&wheel.MagicRoll == 0 {
				recalls = append(recalls, u)
			} else {
				p.at(pos, &u, nil)
			}
		}
		pos, before = u.Prev, pos
	}
	return recalls
}

// at has the unit at pos at hand.
func (p *Plan) at(pos int64, u *wheel.Unit, recalls []byte) {
	slot := p.wheel.Floor(u.TimeMs())
	roll := u.Magic&wheel.MagicRoll != 0
	if recalls != nil && !roll {
		p.Recall(slot, string(recalls))
		return
	}
	p.waiting[slot]++
	p.items.push(item{dueMs: message.TimerDue(u.TimeMs(), p.wheel.Precision()), seq: pos, physical: u.Physical, slotMs: slot, writeMs: u.WriteMs, size: u.Size, roll: roll})
}

// Recall takes a message of a slot back, if it is not delivered yet. The key is what TIMER_DEL_UNIQKEY says.
func (p *Plan) Recall(slotMs int64, key string) {
	r := recall{slotMs, key}
	if _, ok := p.recalls[r]; ok || slotMs < p.readMs && p.late == 0 {
		return
	}
	p.recalls[r] = struct{}{}
	p.marks[slotMs] = append(p.marks[slotMs], r)
}

// Recalled tells whether a message of a slot was recalled: by its key, or, as before Java 5.5 and with
// appendTopicForTimerDeleteKey, by topic+key.
func (p *Plan) Recalled(slotMs int64, topic, key []byte) bool {
	if len(p.recalls) == 0 || len(key) == 0 {
		return false
	}
	if _, ok := p.recalls[recall{slotMs, string(key)}]; ok {
		return true
	}
	_, ok := p.recalls[recall{slotMs, string(topic) + "+" + string(key)}]
	return ok
}

// First is the item that is due first, of those at hand; Next takes it. It is done when Done says so, and comes again after
// Again.
func (p *Plan) First() (it *item, ok bool) {
	if len(p.items) == 0 {
		return nil, false
	}
	return &p.items[0], true
}
func (p *Plan) Next() item { return p.items.pop() }

// Done says that an item was delivered, or will never be.
func (p *Plan) Done(it *item) {
	if it.slotMs == late {
		p.late--
		return
	}
	p.doneMs = max(p.doneMs, it.slotMs)
	if p.waiting[it.slotMs]--; p.waiting[it.slotMs] == 0 {
		delete(p.waiting, it.slotMs)
	}
}

// Again has an item that was taken wait on.
func (p *Plan) Again(it *item) { p.items.push(*it) }

// Advance says that time has come: moments that are over, and of which nothing waits, are done.
func (p *Plan) Advance(nowMs int64) {
	to := min(p.wheel.Floor(nowMs), p.loadedMs)
	for slot := range p.waiting {
		to = min(to, slot)
	}
	if to <= p.readMs {
		return
	}
	p.readMs = to
	if p.late > 0 { // they may be recalled, too
		return
	}
	for slot, marks := range p.marks {
		if slot >= to {
			continue
		}
		for _, r := range marks {
			delete(p.recalls, r)
		}
		delete(p.marks, slot)
	}
}

// Halfway tells whether some messages of a moment that is not over are delivered: who goes on from Kept would find them again.
func (p *Plan) Halfway() bool { return p.doneMs >= p.readMs }

// Kept is what of the plan is to be kept: from where on it goes on after a crash.
func (p *Plan) Kept() (readMs, offset int64) {
	if p.late > 0 {
		return p.readMs, p.lateAt
	}
	return p.readMs, p.offset
}

// NextMs is when there is something to do again, if nothing comes: math.MaxInt64 for never, as far as the wheel is known.
func (p *Plan) NextMs(nowMs int64) int64 {
	next := int64(math.MaxInt64)
	if len(p.items) > 0 {
		next = p.items[0].dueMs
	}
	if ms, ok := p.wheel.Next(p.loadedMs, nowMs+10*lead); ok {
		next = min(next, ms-lead)
	}
	return next
}

package wheel

import (
	"encoding/binary"
	"math"
	"sync"
)

// Slots is how many moments the wheel is meant to reach ahead: seconds of seven days, if a moment is a second. The wheel has
// twice as many entries, so that what is late has not been written over.
const Slots = 7 * 86400

const (
	entrySize   = 32
	pageEntries = 128
	pageSize    = pageEntries * entrySize
)

// Slot is one moment of the wheel: the units of its chain in the log.
type Slot struct {
	First, Last int64 // positions in the log
	Count       int32 // messages, less those that recall one
	Magic       int32 // 0
}

// Wheel is the slots in memory; only pages that have any take some. It belongs to one goroutine, but for Count. The file is
// entries of 32 bytes, big-endian, at time/precision % entries:
//
//	 0  time/precision  int64  an entry counts for this moment only
//	 8  first           int64
//	16  last            int64
//	24  count           int32
//	28  magic           int32
//
// Source: Java TimerWheel, Slot.
type Wheel struct {
	precision int64
	pages     []*page
	dirty     []int32 // numbers of pages

	mu sync.Mutex // held while an entry is changed, for Count
}

type page struct {
	entries [pageEntries]entry
	dirty   bool
}

type entry struct {
	moment int64 // time/precision; 0: the entry is empty
	Slot
}

// New makes an empty wheel with 2*slots entries of precision ms each. slots is a multiple of 64; it is Slots but in tests.
func New(slots int, precision int64) *Wheel {
	return &Wheel{precision: precision, pages: make([]*page, 2*slots/pageEntries)}
}

// Precision is the length of a moment, ms. Floor is the start of the moment of a time.
func (w *Wheel) Precision() int64         { return w.precision }
func (w *Wheel) Floor(ms int64) int64     { return ms - ms%w.precision }
func (w *Wheel) entries() int64           { return int64(len(w.pages)) * pageEntries }
func (w *Wheel) index(moment int64) int64 { return moment % w.entries() }

// At returns the slot of a time.
func (w *Wheel) At(ms int64) (Slot, bool) {
	moment := ms / w.precision
	i := w.index(moment)
	if p := w.pages[i/pageEntries]; p != nil && p.entries[i%pageEntries].moment == moment && moment != 0 {
		return p.entries[i%pageEntries].Slot, true
	}
	return Slot{First: -1, Last: -1}, false
}

// Holds returns the time of the moment whose slot has the entry of a time; 0: none.
func (w *Wheel) Holds(ms int64) int64 {
	i := w.index(ms / w.precision)
	if p := w.pages[i/pageEntries]; p != nil {
		return p.entries[i%pageEntries].moment * w.precision
	}
	return 0
}

// Add puts the unit at pos, whose time is ms, at the end of its slot's chain. count is what it adds. A unit that the slot
// has is not added again. If the entry was another moment's, that is gone.
func (w *Wheel) Add(ms, pos int64, count int32) {
	s, ok := w.At(ms)
	switch {
	case !ok:
		s = Slot{First: pos, Last: pos, Count: count}
	case s.Last >= pos:
		return
	default:
		s.Last, s.Count = pos, s.Count+count
	}
	w.set(w.index(ms/w.precision), entry{ms / w.precision, s})
}

// Clear empties the slots of the times in [from, to).
func (w *Wheel) Clear(from, to int64) {
	if (to-from)/w.precision < w.entries() {
		for at := w.Floor(from); at < to; at += w.precision {
			if _, ok := w.At(at); ok {
				w.set(w.index(at/w.precision), entry{})
			}
		}
		return
	}
	w.each(func(i int64, e *entry) {
		if at := e.moment * w.precision; at >= w.Floor(from) && at < to {
			w.set(i, entry{})
		}
	})
}

// Reset empties all slots.
func (w *Wheel) Reset() { w.Clear(0, math.MaxInt64) }

// Count is how many messages the slot of a time has; any goroutine may ask.
func (w *Wheel) Count(ms int64) int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, _ := w.At(ms)
	return s.Count
}

func (w *Wheel) set(i int64, e entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := i / pageEntries
	p := w.pages[n]
	if p == nil {
		p = new(page)
		w.pages[n] = p
	}
	p.entries[i%pageEntries] = e
	if !p.dirty {
		p.dirty = true
		w.dirty = append(w.dirty, int32(n))
	}
}

// Next returns the first time in [from, to) that has a slot.
func (w *Wheel) Next(from, to int64) (ms int64, ok bool) {
	end := (to + w.precision - 1) / w.precision
	for m := max(from/w.precision, 1); m < end; {
		i := w.index(m)
		p := w.pages[i/pageEntries]
		if p == nil {
			m += pageEntries - i%pageEntries
			continue
		}
		if p.entries[i%pageEntries].moment == m {
			return m * w.precision, true
		}
		m++
	}
	return 0, false
}

// Waiting returns how many messages the slots from a time on have, and the first position that one of them points to:
// math.MaxInt64 if there is none. last is the last one.
func (w *Wheel) Waiting(from int64) (count, first, last int64) {
	first, last = math.MaxInt64, -1
	w.each(func(_ int64, e *entry) {
		if e.moment*w.precision >= w.Floor(from) {
			count += int64(e.Count)
			first, last = min(first, e.First), max(last, e.Last)
		}
	})
	return count, first, last
}

func (w *Wheel) each(fn func(i int64, e *entry)) {
	for n, p := range w.pages {
		if p == nil {
			continue
		}
		for i := range p.entries {
			if p.entries[i].moment != 0 {
				fn(int64(n*pageEntries+i), &p.entries[i])
			}
		}
	}
}

// Piece is some bytes of the wheel's file.
type Piece struct {
	At   int64
	Data []byte
}

// Changed returns the pages that have changed since the last call, as bytes of the file.
func (w *Wheel) Changed() []Piece {
	pieces := make([]Piece, 0, len(w.dirty))
	for _, n := range w.dirty {
		p := w.pages[n]
		p.dirty = false
		pieces = append(pieces, Piece{int64(n) * pageSize, appendPage(make([]byte, 0, pageSize), p)})
	}
	w.dirty = w.dirty[:0]
	return pieces
}

func appendPage(dst []byte, p *page) []byte {
	be := binary.BigEndian
	for i := range p.entries {
		e := &p.entries[i]
		dst = be.AppendUint64(dst, uint64(e.moment))
		dst = be.AppendUint64(dst, uint64(e.First))
		dst = be.AppendUint64(dst, uint64(e.Last))
		dst = be.AppendUint32(dst, uint32(e.Count))
		dst = be.AppendUint32(dst, uint32(e.Magic))
	}
	return dst
}

// load takes over the entries of some bytes of the file, which begin at a page. Entries that cannot be are empty.
func (w *Wheel) load(at int64, b []byte) {
	be := binary.BigEndian
	for ; len(b) >= entrySize; at, b = at+entrySize, b[entrySize:] {
		e := entry{int64(be.Uint64(b)), Slot{int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:])), int32(be.Uint32(b[24:])), int32(be.Uint32(b[28:]))}}
		i := at / entrySize
		if e.moment <= 0 || e.moment > math.MaxInt64/w.precision || w.index(e.moment) != i || e.First < 0 || e.Last < e.First {
			continue
		}
		if w.pages[i/pageEntries] == nil {
			w.pages[i/pageEntries] = new(page)
		}
		w.pages[i/pageEntries].entries[i%pageEntries] = e
	}
}

package transaction

import "math/bits"

// ledger knows which half messages of the half queue are open: neither committed, nor rolled back, nor discarded, nor put
// back as a newer copy. Its state follows from the log, so it is in no file; see load.go. It is plain state: the caller
// locks.
//
// Every half message from base on is open unless its bit says that it is done, so that a new one need not be told of, and
// a hundred million that are done between two that are not take 12 MB.
type ledger struct {
	base int64    // all before it are done; a multiple of 64
	bits []uint64 // bit i of word w: base + 64*w + i is done
	kept int64    // all before it are done for good: the offset that a restart begins at

	moving map[int64]struct{} // done, but perhaps not: their copies are being written
	// newest has, by UNIQ_KEY, where the latest copy of a half message is that was put back. A producer that knows an
	// older one still can end its transaction.
	newest map[string]place
}

// place is where a half message is.
type place struct {
	offset   int64   // in the half queue
	physical int64   // in the log, bytes
	also     []int64 // older copies that no op message has said to be done yet
}

// Bounds of the memory for copies, some 30 MB with the keys that clients make, of 32 bytes, and 80 MB at most. Of those beyond
// them, only the latest copy ends a transaction.
const (
	maxNewest = 1 << 18
	maxUniq   = 256 // bytes
)

func newLedger(base int64) *ledger {
	l := &ledger{base: base &^ 63, kept: base, moving: make(map[int64]struct{}), newest: make(map[string]place)}
	for q := l.base; q < base; q++ {
		l.finish(q)
	}
	return l
}

// open tells whether a half message is open, if there is one at that offset.
func (l *ledger) open(offset int64) bool {
	if offset < l.base {
		return false
	}
	w := (offset - l.base) / 64
	return w >= int64(len(l.bits)) || l.bits[w]&(1<<(uint64(offset)&63)) == 0
}

// finish notes that a half message is done. It returns false if it was before. The memory for it is that of the distance
// from base: the caller knows that there is such a message.
func (l *ledger) finish(offset int64) bool {
	if !l.open(offset) {
		return false
	}
	w := int((offset - l.base) / 64)
	if w >= len(l.bits) {
		l.bits = append(l.bits, make([]uint64, w+1-len(l.bits))...)
	}
	l.bits[w] |= 1 << (uint64(offset) & 63)
	return true
}

// reopen takes a finish back: nothing of it reached the log.
func (l *ledger) reopen(offset int64) {
	if offset >= l.base && !l.open(offset) {
		l.bits[(offset-l.base)/64] &^= 1 << (uint64(offset) & 63)
	}
}

// next is the first open offset from one on. Those that were never told of are open, whether or not there is a message.
func (l *ledger) next(from int64) int64 {
	from = max(from, l.base)
	for w := (from - l.base) / 64; w < int64(len(l.bits)); w++ {
		free := ^l.bits[w]
		if at := l.base + 64*w; at < from {
			free &^= 1<<uint64(from-at) - 1
		}
		if free != 0 {
			return l.base + 64*w + int64(bits.TrailingZeros64(free))
		}
	}
	return max(from, l.base+64*int64(len(l.bits)))
}

// keep notes that all before offset are done for good, and lets go of the memory for them.
func (l *ledger) keep(offset int64) {
	l.kept = max(l.kept, offset)
	if words := min((l.kept-l.base)/64, int64(len(l.bits))); words > 0 {
		l.bits = append(l.bits[:0:0], l.bits[words:]...)
		l.base += 64 * words
	}
}

// verdict says what becomes of a request to end a transaction.
type verdict uint8

const (
	taken  verdict = iota // it is this one's now
	over                  // somebody was first
	unsure                // its copy is being written: ask again
)

// take decides who ends a transaction, given the offset of any of its copies and its UNIQ_KEY: the first, and exactly
// one. It returns the copy that is open; place.physical is 0 if that is the one which was asked for.
func (l *ledger) take(offset int64, uniq []byte) (place, verdict) {
	if _, ok := l.moving[offset]; ok {
		return place{}, unsure
	}
	at := l.latest(offset, uniq)
	if _, ok := l.moving[at.offset]; ok {
		return place{}, unsure
	}
	if !l.finish(at.offset) {
		return place{}, over
	}
	return at, taken
}

// latest is the copy that stands for one at an offset, or for one that is in the queue no more, -1: itself while it is open,
// else the newest that is known. place.physical is 0 if it is itself and no copy.
func (l *ledger) latest(offset int64, uniq []byte) place {
	if len(l.newest) > 0 {
		if at, ok := l.newest[string(uniq)]; ok && (at.offset == offset || !l.open(offset)) {
			return at
		}
	}
	return place{offset: offset}
}

// forget drops what is known of the copies of a transaction that is over.
func (l *ledger) forget(uniq string, offset int64) {
	if at, ok := l.newest[uniq]; ok && at.offset == offset {
		delete(l.newest, uniq)
	}
}

// move begins to put a half message back: nobody can end its transaction until moved or stay says where it is.
func (l *ledger) move(offset int64) bool {
	if !l.finish(offset) {
		return false
	}
	l.moving[offset] = struct{}{}
	return true
}

// moved ends a move: the message is done, or has a new copy.
func (l *ledger) moved(offset int64) { delete(l.moving, offset) }

// stay ends a move that came to nothing.
func (l *ledger) stay(offset int64) {
	delete(l.moving, offset)
	l.reopen(offset)
}

// copied notes where the latest copy of a half message is. One without a UNIQ_KEY, or with a long one, is known by its own
// offset only.
func (l *ledger) copied(uniq string, at place) {
	if uniq == "" || len(uniq) > maxUniq {
		return
	}
	if _, ok := l.newest[uniq]; ok || len(at.also) > 0 || len(l.newest) < maxNewest {
		l.newest[uniq] = at
	}
}

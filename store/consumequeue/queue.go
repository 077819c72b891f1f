package consumequeue

import (
	"sync"
	"sync/atomic"
)

// How the pieces grow that hold the units in memory.
const (
	firstChunk = 16 // units; the next ones are twice as large, up to
	fullChunk  = 256
)

// Queue is one queue. An idle one is this struct and nothing else: no file, no map, no goroutine.
//
// The newest units are in memory, and are written to files later (Set.Flush): they can be built again from the
// commit log. Put is called by one goroutine at a time, the store's appender.
type Queue struct {
	// What an append looks at lies in one line of the processor's caches (64 bytes): with many queues nothing of one is
	// there before.
	next    int64 // the offset that is given out next; owned by the appender
	max     atomic.Int64
	min     atomic.Int64
	mu      sync.Mutex            // guards the tail:
	written int64                 // numbers of units below it are in files
	tail    atomic.Pointer[chunk] // newest; the appender looks at it without the lock, too
	state   atomic.Uint32
	id      int32
	kind    Kind
	named   bool   // see below
	number  uint32 // of all queues of the set in the order in which they came

	topic  string
	units  *span // of a Batch queue; else units are numbered by offsets
	ext    atomic.Pointer[ext]
	oldest atomic.Int64 // start of the record of the first unit, so that Trim need not read it; -1: not known
	head   *chunk       // oldest; guarded by mu

	// Owned by who calls Set.Flush, like named: its directory was synced. A killed process may have made files and not
	// come to that.
	base  int64 // first byte of the first file; -1 while there is none
	quiet int32 // rounds without a new unit
	keep  int32 // units that stay in memory after they were written; guarded by mu
}

// Bits of state.
const (
	dead  = 1 << iota // deleted: nothing is written any more
	moved             // deleted, and another queue has taken its place
	due               // stands in the store's list of queues to write
)

// span is the numbers of the units of a Batch queue: the first whose record is still there, and the end.
type span struct{ first, end atomic.Int64 }

// chunk is a piece of the tail, units as they are in the file.
type chunk struct {
	first int64 // number of the first unit
	used  int   // bytes
	unit  int   // bytes of a unit
	buf   []byte
	next  *chunk
}

// newChunk makes an empty chunk. The small one of a queue that has little to hold is one piece of memory.
func newChunk(size, unit int) *chunk {
	if size*unit == firstChunk*UnitSize {
		c := new(struct {
			chunk
			room [firstChunk * UnitSize]byte
		})
		c.unit, c.buf = unit, c.room[:]
		return &c.chunk
	}
	return &chunk{unit: unit, buf: make([]byte, size*unit)}
}

func (c *chunk) end() int64 { return c.first + int64(c.used/c.unit) }

// Number tells queues apart that came one after the other.
func (q *Queue) Number() uint32 { return q.number }

// Topic and ID name the queue.
func (q *Queue) Topic() string { return q.topic }
func (q *Queue) ID() int32     { return q.id }

// Move says that the queue is deleted because all its messages are gone, and that the store has none, or another one,
// in its place. Moved tells so; who still holds this one takes the other for new messages.
func (q *Queue) Move()       { q.state.Or(moved) }
func (q *Queue) Moved() bool { return q.state.Load()&moved != 0 }

func (q *Queue) dead() bool { return q.state.Load()&dead != 0 }

// Kind is the form of the queue.
func (q *Queue) Kind() Kind { return q.kind }

// Min is the offset of the first message that is still there, Max the one behind the last.
func (q *Queue) Min() int64 { return q.min.Load() }
func (q *Queue) Max() int64 { return q.max.Load() }

// Units returns the numbers of the first unit whose record is still there and of the one behind the last. In a Simple
// queue they are Min and Max.
func (q *Queue) Units() (first, end int64) {
	if q.kind == Simple {
		return q.min.Load(), q.max.Load()
	}
	return q.units.first.Load(), q.units.end.Load()
}

func (q *Queue) firstUnit() int64 { first, _ := q.Units(); return first }
func (q *Queue) endUnit() int64   { _, end := q.Units(); return end }

// Next gives out an offset. Only the appender calls it; it gives the message to Put, or takes the offset back with
// Rewind.
func (q *Queue) Next() int64 { return q.Take(1) }

// Take gives out n offsets, those of the messages of one record, and returns the first.
func (q *Queue) Take(n int64) int64 {
	first := q.next
	q.next += n
	return first
}

// Rewind takes back all offsets that were given out and not Put.
func (q *Queue) Rewind() { q.next = q.max.Load() }

// Put adds the unit of the next message, or of those of the next record, which readers see from then on. It returns how
// many units wait to be written, that one included. Only the appender calls it.
func (q *Queue) Put(u Unit) (pending int64) {
	q.mu.Lock()
	at := q.endUnit()
	c := q.tail.Load()
	if c == nil || c.used == len(c.buf) {
		c = q.grow(at)
	}
	q.kind.put(c.buf[c.used:], u)
	c.used += c.unit
	end := at + 1
	if at == q.firstUnit() && !u.Filler() {
		q.oldest.Store(u.Physical)
	}
	if q.kind == Batch {
		if at == q.units.first.Load() {
			q.min.Store(u.Base)
		}
		q.units.end.Store(end)
		end = u.Base + int64(u.Count)
	}
	q.max.Store(end)
	if q.next < end {
		q.next = end
	}
	pending = at + 1 - q.written
	q.mu.Unlock()
	return pending
}

// Touch looks at the place of the next Put. With many queues nothing of one is in the caches of the processor: what is
// touched for all of a batch first arrives together, and Put does not wait for each by itself. Only the appender calls
// it, and keeps the answer somewhere so that the look is not left out.
func (q *Queue) Touch() byte {
	if c := q.tail.Load(); c != nil && c.used < len(c.buf) {
		return c.buf[c.used]
	}
	return 0
}

// MarkDue says that the queue stands in the list of those to write; it returns false if it did before. ClearDue, before
// the Flush, says that it was taken from there: units that this Flush does not see find MarkDue true again.
func (q *Queue) MarkDue() bool { return q.state.Load()&due == 0 && q.state.Or(due)&due == 0 }
func (q *Queue) ClearDue()     { q.state.And(^uint32(due)) }

// grow adds a chunk for the unit of number at: the oldest one again if all in it is written and enough stays. q.mu is
// held.
func (q *Queue) grow(at int64) *chunk {
	size, unit := firstChunk, q.kind.unit()
	tail := q.tail.Load()
	if tail != nil {
		size = min(2*len(tail.buf)/unit, max(int(q.keep)/4, firstChunk), fullChunk)
	}
	c := q.shed(at)
	if c == nil || len(c.buf) != size*unit {
		c = newChunk(size, unit)
	}
	c.first, c.used, c.next = at, 0, nil
	if tail == nil {
		q.head = c
	} else {
		tail.next = c
	}
	q.tail.Store(c)
	return c
}

// shed lets go of chunks that are written and that need not stay when the end is at, and returns the last of them, or
// nil. q.mu is held.
func (q *Queue) shed(at int64) (c *chunk) {
	tail := q.tail.Load()
	for q.head != nil && q.head != tail && q.head.end() <= q.written && at-q.head.end() >= int64(q.keep) {
		c = q.head
		q.head = c.next
	}
	return c
}

// copyTail copies units from number from on into dst as far as they are in memory in one piece, and returns the
// bytes; 0 means that they are in a file, or not there.
func (q *Queue) copyTail(from int64, dst []byte) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == nil || from < q.head.first {
		return 0
	}
	n := 0
	for c := q.head; c != nil && n < len(dst); c = c.next {
		if from >= c.end() {
			continue
		}
		k := copy(dst[n:], c.buf[(from-c.first)*int64(c.unit):c.used])
		n += k
		from += int64(k / c.unit)
	}
	return n
}

// end is the number behind the last unit that is in a file.
func (q *Queue) end() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.written
}

// tailFirst is the number of the first unit in memory, or that behind the last.
func (q *Queue) tailFirst() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == nil {
		return q.endUnit()
	}
	return q.head.first
}

// reset makes the queue one that holds the units [first, end), all in files. next follows. Of a Batch queue setOffsets
// then says which offsets they have.
func (q *Queue) reset(first, end int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.head, q.written = nil, end
	q.tail.Store(nil)
	q.oldest.Store(-1)
	if q.kind == Batch {
		q.units.first.Store(first)
		q.units.end.Store(end)
		return
	}
	q.min.Store(first)
	q.max.Store(end)
	q.next = end
}

func (q *Queue) setOffsets(min, max int64) {
	q.min.Store(min)
	q.max.Store(max)
	q.next = max
}

// release lets go of the memory of a tail that is all written.
func (q *Queue) release() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.written < q.endUnit() {
		return false
	}
	q.head = nil
	q.tail.Store(nil)
	return true
}

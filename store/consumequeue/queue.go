package consumequeue

import (
	"sync"
	"sync/atomic"
)

// Units that stay in memory for consumers at the tail, and how the pieces that hold them grow.
const (
	keepUnits   = 1024
	firstChunk  = 16
	secondChunk = 64
	fullChunk   = 256
)

// Queue is one queue. An idle one is this struct and nothing else: no file, no map, no goroutine.
//
// The newest units are in memory, and are written to files later (Set.Flush): they can be built again from the
// commit log. Put is called by one goroutine at a time, the store's appender.
type Queue struct {
	topic string
	id    int32
	dead  atomic.Bool // deleted: nothing is written any more
	due   atomic.Bool // stands in the store's list of queues to write
	min   atomic.Int64
	max   atomic.Int64
	next  int64 // the offset that is given out next; owned by the appender

	mu      sync.Mutex // guards the tail:
	head    *chunk     // oldest
	tail    *chunk     // newest
	written int64      // units below it are in files

	// Owned by who calls Set.Flush.
	base  int64 // first byte of the first file; -1 while there is none
	quiet int   // rounds without a new unit
	named bool  // its directory was synced: a killed process may have made files and not come to that
}

// chunk is a piece of the tail, units as they are in the file.
type chunk struct {
	first int64 // offset of the first unit
	used  int   // bytes
	buf   []byte
	next  *chunk
}

func (c *chunk) end() int64 { return c.first + int64(c.used/UnitSize) }

// Topic and ID name the queue.
func (q *Queue) Topic() string { return q.topic }
func (q *Queue) ID() int32     { return q.id }

// Min is the offset of the first message that is still there, Max the one behind the last.
func (q *Queue) Min() int64 { return q.min.Load() }
func (q *Queue) Max() int64 { return q.max.Load() }

// Next gives out an offset. Only the appender calls it; it gives the message to Put, or takes the offset back with
// Rewind.
func (q *Queue) Next() int64 {
	n := q.next
	q.next++
	return n
}

// Rewind takes back all offsets that were given out and not Put.
func (q *Queue) Rewind() { q.next = q.max.Load() }

// Put adds the unit of the next message, which readers see from then on. It returns how many units wait to be
// written, that one included. Only the appender calls it.
func (q *Queue) Put(u Unit) (pending int64) {
	q.mu.Lock()
	at := q.max.Load()
	c := q.tail
	if c == nil || c.used == len(c.buf) {
		c = q.grow(at)
	}
	u.put(c.buf[c.used:])
	c.used += UnitSize
	q.max.Store(at + 1)
	if q.next <= at {
		q.next = at + 1
	}
	pending = at + 1 - q.written
	q.mu.Unlock()
	return pending
}

// MarkDue says that the queue stands in the list of those to write; it returns false if it did before. ClearDue, before
// the Flush, says that it was taken from there: units that this Flush does not see find MarkDue true again.
func (q *Queue) MarkDue() bool { return !q.due.Load() && !q.due.Swap(true) }
func (q *Queue) ClearDue()     { q.due.Store(false) }

// grow adds a chunk for the unit at offset at: the oldest one again if all in it is written and enough stays.
func (q *Queue) grow(at int64) *chunk {
	var c *chunk
	size := firstChunk
	if q.tail != nil {
		size = secondChunk
		if len(q.tail.buf) > firstChunk*UnitSize {
			size = fullChunk
		}
	}
	for q.head != nil && q.head != q.tail && q.head.end() <= q.written && at-q.head.end() >= keepUnits {
		c = q.head
		q.head = c.next
	}
	if c == nil || len(c.buf) < size*UnitSize {
		c = &chunk{buf: make([]byte, size*UnitSize)}
	}
	c.first, c.used, c.next = at, 0, nil
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	return c
}

// copyTail copies units from offset from on into dst as far as they are in memory in one piece, and returns the
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
		k := copy(dst[n:], c.buf[(from-c.first)*UnitSize:c.used])
		n += k
		from += int64(k / UnitSize)
	}
	return n
}

// end is the offset behind the last unit that is in a file.
func (q *Queue) end() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.written
}

// tailFirst is the first offset in memory, or max.
func (q *Queue) tailFirst() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == nil {
		return q.max.Load()
	}
	return q.head.first
}

// reset makes the queue one that holds the units [min, max), all in files. next follows.
func (q *Queue) reset(min, max int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.head, q.tail, q.written = nil, nil, max
	q.min.Store(min)
	q.max.Store(max)
	q.next = max
}

// release lets go of the memory of a tail that is all written.
func (q *Queue) release() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.written < q.max.Load() {
		return false
	}
	q.head, q.tail = nil, nil
	return true
}

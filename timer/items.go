package timer

import "math"

// item is a message whose moment has come near: it was read from the wheel, or came too late for it.
type item struct {
	dueMs    int64
	seq      int64 // among those due at the same time
	physical int64 // of the record in the timer topic
	slotMs   int64 // of the wheel; late: it is in none
	writeMs  int64 // when it came into the wheel; math.MaxInt64: never
	size     int32 // of the record; 0: unknown
	roll     bool
}

// late is the slotMs of an item that is in no slot.
const late = -1

// neverMs is the writeMs of an item that was due when it came. Java writes it into the message.
const neverMs = math.MaxInt64

func (a *item) before(b *item) bool {
	return a.dueMs < b.dueMs || a.dueMs == b.dueMs && a.seq < b.seq
}

// heap holds items, the earliest at the top.
type heap []item

func (h *heap) push(it item) {
	*h = append(*h, it)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s[i].before(&s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *heap) pop() item {
	s := *h
	top, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && s[down+1].before(&s[down]) {
			down++
		}
		if !s[down].before(&s[i]) {
			break
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
	if *h = s; n == 0 && cap(s) > 1<<12 {
		*h = nil
	}
	return top
}

// Package order keeps what a group has popped of a queue in order: nobody gets more of that queue before it is acknowledged
// or visible again. It is pure: the callers hold the locks and know the time.
package order

import (
	"maps"
	"slices"
	"time"
)

// Queue stands for the queue of the revive topic in handles, and in answers, of what was popped in order: it has no check point. Source:
// Java KeyBuilder.
const Queue = 999

// Life is how long an entry is kept that nobody pops or acknowledges. Source: Java QueueLevelConsumerManager.
const Life = 24 * time.Hour

// Entry is what one pop found. It is an entry of consumerOrderInfo.json, and nil where nothing was popped yet:
//
//	{"table":{"T@G":{0:{"a":"…","cm":1,"i":60000,"l":1700000000000,"o":[100,1],"oc":{101:1},"ot":{101:1700000090000},"popTime":1700000000000}}}}
//
// Source: Java QueueLevelConsumerManager.
type Entry struct {
	Attempt     *string         `json:"a"`
	Committed   int64           `json:"cm"` // bit i: message i is acknowledged
	InvisibleMs int64           `json:"i"`
	LastMs      int64           `json:"l"`
	Offsets     []int64         `json:"o"`            // the first, then distances from it
	Consumed    map[int64]int32 `json:"oc,omitempty"` // by offset: how often it was popped before
	VisibleMs   map[int64]int64 `json:"ot,omitempty"` // by offset, where it was changed
	PopMs       int64           `json:"popTime"`
}

// Next makes the entry of a pop at now that found the offsets, after the entry of the pop before it, which may be nil. A
// message that comes again counts once more, unless the client asks for its last attempt again.
func Next(old *Entry, attempt string, invisibleMs, nowMs int64, offsets []int64) *Entry {
	o := &Entry{InvisibleMs: invisibleMs, LastMs: nowMs, PopMs: nowMs, Offsets: slices.Clone(offsets)}
	for i := 1; i < len(o.Offsets); i++ {
		o.Offsets[i] -= o.Offsets[0]
	}
	if attempt != "" {
		o.Attempt = &attempt
	}
	switch {
	case old == nil:
	case old.is(attempt):
		o.Consumed = old.Consumed
	default:
		for i := range old.Offsets {
			offset := old.offset(i)
			if _, again := slices.BinarySearch(offsets, offset); again {
				if o.Consumed == nil {
					o.Consumed = make(map[int64]int32)
				}
				o.Consumed[offset] = old.Consumed[offset] + 1
			}
		}
	}
	return o
}

func (o *Entry) is(attempt string) bool {
	return attempt != "" && o.Attempt != nil && *o.Attempt == attempt
}

func (o *Entry) offset(i int) int64 {
	if i == 0 {
		return o.Offsets[0]
	}
	return o.Offsets[0] + o.Offsets[i]
}

func (o *Entry) acked(i int) bool { return i < 64 && o.Committed&(1<<i) != 0 }

// visible is when message i may be popped again.
func (o *Entry) visible(i int) int64 {
	if ms, ok := o.VisibleMs[o.offset(i)]; ok {
		return ms
	}
	return o.PopMs + o.InvisibleMs
}

// FreeAt is when the queue may be popped again if nobody acknowledges anything; 0 is at once.
func (o *Entry) FreeAt() (ms int64) {
	if o == nil {
		return 0
	}
	for i := range o.Offsets {
		if !o.acked(i) {
			ms = max(ms, o.visible(i))
		}
	}
	return ms
}

// Blocks tells whether the queue may not be popped: a message is still invisible, and it is not the same attempt.
func (o *Entry) Blocks(attempt string, nowMs int64) bool {
	return o != nil && !o.is(attempt) && nowMs < o.FreeAt()
}

// Ack marks a message and returns the offset to commit. It is -1 if the pop had no such message, and -2 if the handle is of
// another pop. Where nothing is known of a pop, since before the start of this process, only the message at committed (-1: nowhere) can
// be acknowledged: else those before it would be too.
func (o *Entry) Ack(offset, popMs, committed int64) (next int64) {
	switch {
	case o == nil && (offset < 0 || offset != committed):
		return -1
	case o == nil:
		return offset + 1
	case len(o.Offsets) == 0:
		return -1
	case popMs != o.PopMs:
		return -2
	}
	at := o.index(offset)
	if at < 0 {
		return -1
	}
	o.Committed |= 1 << at
	for i := range o.Offsets {
		if !o.acked(i) {
			return o.offset(i)
		}
	}
	return o.offset(len(o.Offsets)-1) + 1
}

func (o *Entry) index(offset int64) int {
	for i := range o.Offsets {
		if o.offset(i) == offset {
			return i
		}
	}
	return -1
}

// Change says from when on a message may be popped again. It returns false if the handle is of another pop.
func (o *Entry) Change(offset, popMs, visibleMs int64) bool {
	if o == nil || popMs != o.PopMs || o.index(offset) < 0 {
		return false
	}
	if o.VisibleMs == nil {
		o.VisibleMs = make(map[int64]int64)
	}
	o.VisibleMs[offset] = visibleMs
	return true
}

// Suspend hands the whole pop back until visibleMs, as one that did not count. It returns false if the handle is of another
// pop. Source: Java MemoryConsumerOrderInfoManager.suspendQueue.
func (o *Entry) Suspend(popMs, visibleMs int64) bool {
	if o == nil || popMs != o.PopMs {
		return false
	}
	for offset, times := range o.Consumed {
		o.Consumed[offset] = max(times-1, 0)
	}
	o.VisibleMs, o.InvisibleMs = nil, visibleMs-o.PopMs
	return true
}

// Counts shows the messages and how often each was popped before; known is false where that was never counted.
func (o *Entry) Counts(show func(offset int64, times int32, known bool)) {
	for i := range o.Offsets {
		offset := o.offset(i)
		times, known := o.Consumed[offset]
		show(offset, times, known)
	}
}

// Clone returns a copy that shares nothing.
func (o *Entry) Clone() *Entry {
	d := *o
	d.Offsets, d.Consumed, d.VisibleMs = slices.Clone(o.Offsets), maps.Clone(o.Consumed), maps.Clone(o.VisibleMs)
	return &d
}

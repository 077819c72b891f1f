package pop

import (
	"maps"
	"slices"
)

// OrderInfo is what a group has popped of a queue in order: nobody gets more of that queue before these are acknowledged or
// visible again. It is an entry of consumerOrderInfo.json:
//
//	{"table":{"T@G":{0:{"a":"…","cm":1,"i":60000,"l":1700000000000,"o":[100,1],"oc":{101:1},"ot":{101:1700000090000},"popTime":1700000000000}}}}
//
// Source: Java QueueLevelConsumerManager.
type OrderInfo struct {
	Attempt     *string         `json:"a"`
	Committed   int64           `json:"cm"` // bit i: message i is acknowledged
	InvisibleMs int64           `json:"i"`
	LastMs      int64           `json:"l"`
	Offsets     []int64         `json:"o"`            // the first, then distances from it
	Consumed    map[int64]int32 `json:"oc,omitempty"` // by offset: how often it was popped before
	VisibleMs   map[int64]int64 `json:"ot,omitempty"` // by offset, where it was changed
	PopMs       int64           `json:"popTime"`
}

// newOrder makes the entry of a pop at now that found the offsets, after the entry of the pop before it, which may be nil. A
// message that comes again counts once more, unless the client asks for its last attempt again.
func newOrder(old *OrderInfo, attempt string, invisibleMs, nowMs int64, offsets []int64) *OrderInfo {
	o := &OrderInfo{InvisibleMs: invisibleMs, LastMs: nowMs, PopMs: nowMs, Offsets: slices.Clone(offsets)}
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

func (o *OrderInfo) is(attempt string) bool {
	return attempt != "" && o.Attempt != nil && *o.Attempt == attempt
}

func (o *OrderInfo) offset(i int) int64 {
	if i == 0 {
		return o.Offsets[0]
	}
	return o.Offsets[0] + o.Offsets[i]
}

func (o *OrderInfo) acked(i int) bool { return i < 64 && o.Committed&(1<<i) != 0 }

// visible is when message i may be popped again.
func (o *OrderInfo) visible(i int) int64 {
	if ms, ok := o.VisibleMs[o.offset(i)]; ok {
		return ms
	}
	return o.PopMs + o.InvisibleMs
}

// freeAt is when the queue may be popped again if nobody acknowledges anything; 0 is at once.
func (o *OrderInfo) freeAt() (ms int64) {
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

// blocks tells whether the queue may not be popped: a message is still invisible, and it is not the same attempt.
func (o *OrderInfo) blocks(attempt string, nowMs int64) bool {
	return o != nil && !o.is(attempt) && nowMs < o.freeAt()
}

// ack marks a message and returns the offset to commit. It is -1 if the pop had no such message, and -2 if the handle is of
// another pop.
func (o *OrderInfo) ack(offset, popMs int64) (next int64) {
	switch {
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

func (o *OrderInfo) index(offset int64) int {
	for i := range o.Offsets {
		if o.offset(i) == offset {
			return i
		}
	}
	return -1
}

// change says from when on a message may be popped again. It returns false if the handle is of another pop.
func (o *OrderInfo) change(offset, popMs, visibleMs int64) bool {
	if o == nil || popMs != o.PopMs || o.index(offset) < 0 {
		return false
	}
	if o.VisibleMs == nil {
		o.VisibleMs = make(map[int64]int64)
	}
	o.VisibleMs[offset] = visibleMs
	return true
}

// count appends to the answer of a pop how often its messages were consumed in vain. Clients before 5.0 know the number of
// the queue only: the least of all.
func (o *OrderInfo) count(f *infos, retry byte, queue int32) {
	least := int32(0)
	if len(o.Consumed) == len(o.Offsets) {
		least = 1<<31 - 1
	}
	for i := range o.Offsets {
		if n, ok := o.Consumed[o.offset(i)]; ok {
			f.count(retry, queue, o.offset(i), n)
			least = min(least, n)
		}
	}
	f.count(retry, queue, -1, least)
}

func (o *OrderInfo) clone() *OrderInfo {
	d := *o
	d.Offsets, d.Consumed, d.VisibleMs = slices.Clone(o.Offsets), maps.Clone(o.Consumed), maps.Clone(o.VisibleMs)
	return &d
}

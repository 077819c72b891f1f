package lite

import (
	"container/heap"
	"math"

	"rocketd/order"
)

// lines keeps what groups have popped of lite topics: all are popped in order. It is in memory only, as in Java: after a start
// what was not acknowledged is popped again.
type lines struct {
	all  map[string]map[string]*line // by queue and group
	ends ends
	n    int
}

// line is a queue as one group pops it.
type line struct {
	queue, group string
	entry        *order.Entry
	busy         bool  // somebody reads the queue
	missed       bool  // and somebody else wanted to
	freeMs       int64 // when what is popped is visible again, if it is in ends
	at           int   // in ends, -1: it is not
}

func newLines() lines { return lines{all: make(map[string]map[string]*line)} }

func (l *lines) find(queue, group string) *line { return l.all[queue][group] }

func (l *lines) get(queue, group string) *line {
	groups := l.all[queue]
	if groups == nil {
		groups = make(map[string]*line)
		l.all[queue] = groups
	}
	x := groups[group]
	if x == nil {
		x = &line{queue: queue, group: group, at: -1}
		groups[group] = x
		l.n++
	}
	return x
}

// begin lets one at a time read a queue. Who may not, leaves word, and end says so.
func (l *lines) begin(queue, group string) bool {
	x := l.get(queue, group)
	if x.busy {
		x.missed = true
		return false
	}
	x.busy = true
	return true
}

// end is the end of a read. It returns whether somebody was turned away meanwhile.
func (l *lines) end(queue, group string) (missed bool) {
	x := l.find(queue, group)
	if x == nil { // it was forgotten meanwhile
		return false
	}
	missed = x.missed
	x.busy, x.missed = false, false
	if x.entry == nil {
		l.drop(x)
	}
	return missed
}

// blocked tells whether a group holds messages of a queue, so that nobody of it gets more.
func (l *lines) blocked(queue, group, attempt string, nowMs int64) bool {
	x := l.find(queue, group)
	return x != nil && x.entry.Blocks(attempt, nowMs)
}

// popped notes what a pop found.
func (l *lines) popped(queue, group, attempt string, invisibleMs, nowMs int64, offsets []int64) *order.Entry {
	x := l.get(queue, group)
	x.entry = order.Next(x.entry, attempt, invisibleMs, nowMs, offsets)
	l.changed(x)
	return x.entry
}

// clear forgets what a group has popped of a queue: its offset was set.
func (l *lines) clear(queue, group string) {
	if x := l.find(queue, group); x != nil {
		x.entry = nil
		l.changed(x)
		if !x.busy {
			l.drop(x)
		}
	}
}

// ack acknowledges a message of a queue whose group is at committed (-1: nowhere). next is the offset to commit; -1: the message is
// not among those that were popped, -2: it was popped again since. free tells that the queue may be popped now.
func (l *lines) ack(queue, group string, offset, popMs, committed, nowMs int64) (next int64, free bool) {
	var e *order.Entry
	if x := l.find(queue, group); x != nil {
		e = x.entry
		defer l.changed(x)
	}
	next = e.Ack(offset, popMs, committed)
	return next, next >= 0 && !e.Blocks("", nowMs)
}

// change says from when on a message may be popped again, or with suspend all of its pop.
func (l *lines) change(queue, group string, offset, popMs, visibleMs int64, suspend bool) {
	x := l.find(queue, group)
	if x == nil {
		return
	}
	if suspend {
		x.entry.Suspend(popMs, visibleMs)
	} else {
		x.entry.Change(offset, popMs, visibleMs)
	}
	l.changed(x)
}

// changed puts a line in its place among ends.
func (l *lines) changed(x *line) {
	free := x.entry.FreeAt()
	switch {
	case free == 0 && x.at >= 0:
		heap.Remove(&l.ends, x.at)
	case free > 0 && x.at >= 0:
		x.freeMs = free
		heap.Fix(&l.ends, x.at)
	case free > 0:
		x.freeMs = free
		heap.Push(&l.ends, x)
	}
}

// first is when the first line is free, math.MaxInt64 if there is none.
func (l *lines) first() int64 {
	if len(l.ends) == 0 {
		return math.MaxInt64
	}
	return l.ends[0].freeMs
}

// due takes a line whose messages are visible again.
func (l *lines) due(nowMs int64) *line {
	if l.first() > nowMs {
		return nil
	}
	return heap.Pop(&l.ends).(*line)
}

// forget drops all that is popped of a queue.
func (l *lines) forget(queue string) {
	for _, x := range l.all[queue] {
		l.drop(x)
	}
}

// forgetIf drops the lines that nobody reads and of which fn says so.
func (l *lines) forgetIf(fn func(x *line) bool) {
	for _, groups := range l.all {
		for _, x := range groups {
			if !x.busy && fn(x) {
				l.drop(x)
			}
		}
	}
}

func (l *lines) drop(x *line) {
	if x.at >= 0 {
		heap.Remove(&l.ends, x.at)
	}
	delete(l.all[x.queue], x.group)
	if len(l.all[x.queue]) == 0 {
		delete(l.all, x.queue)
	}
	l.n--
}

// ends are lines by when they are free, the first first.
type ends []*line

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].freeMs < e[j].freeMs }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i]; e[i].at, e[j].at = i, j }

// Push is for container/heap.
func (e *ends) Push(x any) {
	l := x.(*line)
	l.at = len(*e)
	*e = append(*e, l)
}

// Pop is for container/heap.
func (e *ends) Pop() any {
	old := *e
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	l.at = -1
	return l
}

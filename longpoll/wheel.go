package longpoll

import "time"

// Tick is how exact deadlines are: a request is answered at most one Tick after its deadline, plus what Expire is
// late, and never before.
const Tick = 20 * time.Millisecond

const slots = 1024 // 20.48 s, a little more than clients want to wait; a power of two

// wheel sorts requests by the tick from which they are expired. Those further away than a whole turn share the
// slots and are left in place when their slot comes by too early.
type wheel[K comparable, W any] struct {
	last  int64 // all slots up to here have been emptied
	slots [slots]list[K, W]
}

// slot returns where a request goes that is due at the given tick: one that is overdue goes where the wheel looks
// next.
func (w *wheel[K, W]) slot(due int64) *list[K, W] {
	return &w.slots[max(due, w.last+1)&(slots-1)]
}

// turn moves on to tick now, unlinks what is due and returns it chained.
func (w *wheel[K, W]) turn(now int64, unlink func(*waiter[K, W])) (chain *waiter[K, W]) {
	for at := max(w.last+1, now-slots+1); at <= now; at++ {
		for x := w.slots[at&(slots-1)].head; x != nil; {
			next := x.next[byTime]
			if x.due <= now {
				unlink(x)
				x.next[byKey], chain = chain, x
			}
			x = next
		}
	}
	w.last = max(w.last, now)
	return chain
}

func (r *Room[K, W]) tick(now time.Time) int64 { return int64(now.Sub(r.origin) / Tick) }

// tickAfter is the first tick that is not before a deadline.
func (r *Room[K, W]) tickAfter(deadline time.Time) int64 {
	d := deadline.Sub(r.origin)
	tick := int64(d / Tick)
	if d%Tick > 0 {
		tick++
	}
	return tick
}

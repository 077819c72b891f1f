package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kind is the kind of a Violation.
type Kind string

// What servers can do wrong.
const (
	Lost      Kind = "acknowledged and lost" // no message stands at the offset
	Twice     Kind = "one offset for two messages"
	Duplicate Kind = "one message at two offsets" // of one attempt
	Order     Kind = "out of order"               // sent after another was acknowledged, and stands before it
	Phantom   Kind = "nobody sent this"
	TakenBack Kind = "seen and taken back" // a consumer was given what is not there in the end
	Gap       Kind = "passed over"         // a consumer was not given what lies between two messages that it was given
	Back      Kind = "a committed offset went back"
	Ahead     Kind = "an offset that nobody committed"
)

// Violation is one broken promise.
type Violation struct {
	Kind Kind
	Text string
}

func (v Violation) String() string { return string(v.Kind) + ": " + v.Text }

// Promise is what the servers promised, beside what they always promise: no message that was not sent, none twice, in
// order, read without a gap.
type Promise struct {
	// Acked: what was acknowledged is there in the end, at its offset, which no other message ever has.
	Acked bool
	// Reads: what a consumer was given is there in the end, and so is all before an offset that a group has.
	Reads bool
	// Commits: an offset that was committed so long ago is not forgotten, unless a fault struck within that time after it: it
	// may have been in one memory only. 0 promises every one, a negative one none.
	Commits time.Duration
}

// Check returns everything that breaks the promise.
func (h *History) Check(p Promise) []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &check{h: h, promise: p, found: slices.Clone(h.strange), given: make(map[place]ID), at: make(map[ID]place)}
	c.sent = make(map[ID]*Send, len(h.sends))
	for _, s := range h.sends {
		if c.sent[s.id] != nil {
			panic(fmt.Sprintf("history: message %v was sent twice by the test", s.id))
		}
		c.sent[s.id] = s
	}
	c.held()
	if p.Acked {
		c.acked()
	}
	c.read()
	c.committed()
	return c.found
}

type place struct {
	queue  Queue
	offset int64
}

func (p place) String() string { return fmt.Sprintf("%v@%d", p.queue, p.offset) }

type check struct {
	h       *History
	promise Promise
	found   []Violation
	sent    map[ID]*Send
	given   map[place]ID // what stands in the end, then also what was acknowledged
	at      map[ID]place // in the end
}

func (c *check) add(k Kind, format string, args ...any) {
	c.found = append(c.found, Violation{k, fmt.Sprintf(format, args...)})
}

// held looks at what is there in the end.
func (c *check) held() {
	for _, q := range slices.SortedFunc(maps.Keys(c.h.final), compareQueues) {
		f := c.h.final[q]
		// The earliest moment at which something further behind had been acknowledged.
		acked, whose := never, ID{}
		for i := len(f.ids) - 1; i >= 0; i-- {
			id, p := f.ids[i], place{q, f.first + int64(i)}
			if id == (ID{}) {
				continue // strange, and told
			}
			s := c.sent[id]
			if s == nil || s.queue != q {
				c.add(Phantom, "%v at %v", id, p)
				continue
			}
			if other, ok := c.at[id]; ok {
				c.add(Duplicate, "%v at %v and %v", id, p, other)
			}
			if s.began > acked {
				c.add(Order, "%v at %v was sent after %v, which stands behind it, had been acknowledged", id, p, whose)
			}
			if s.ended < acked {
				acked, whose = s.ended, id
			}
			c.at[id], c.given[p] = p, id
		}
	}
}

// acked looks for what was acknowledged.
func (c *check) acked() {
	for _, s := range c.h.sends {
		if s.ended == never || s.offset < c.h.final[s.queue].first {
			continue
		}
		p := place{s.queue, s.offset}
		other, ok := c.given[p]
		_, there := c.at[s.id]
		switch {
		case ok && other == s.id:
			continue
		case ok:
			c.add(Twice, "%v for %v and for %v", p, s.id, other)
		}
		if !there {
			c.add(Lost, "%v at %v, acknowledged at %v", s.id, p, s.ended)
		} else if !ok {
			c.add(Twice, "%v stands at %v and was acknowledged at %v", s.id, c.at[s.id], p)
		}
		c.given[p] = s.id // for the next one that was promised this offset
	}
}

// read looks at what consumers were given.
func (c *check) read() {
	type session struct {
		name  string
		queue Queue
	}
	last := make(map[session]int64)
	for i := range c.h.reads {
		r := &c.h.reads[i]
		k := session{r.session, r.queue}
		if before, ok := last[k]; ok && r.offset != before+1 {
			kind := Gap
			if r.offset <= before {
				kind = Order
			}
			c.add(kind, "%s read %v@%d after %d", r.session, r.queue, r.offset, before)
		}
		last[k] = r.offset
		if s := c.sent[r.id]; s == nil || s.queue != r.queue || s.began > r.at {
			c.add(Phantom, "%s read %v at %v@%d", r.session, r.id, r.queue, r.offset)
			continue
		}
		p := place{r.queue, r.offset}
		if !c.promise.Reads || r.offset < c.h.final[r.queue].first {
			continue
		}
		if id, ok := c.given[p]; !ok || id != r.id {
			what := "nothing"
			if ok {
				what = id.String()
			}
			c.add(TakenBack, "%s read %v at %v, where in the end is %s", r.session, r.id, p, what)
		}
	}
}

// committed looks at where groups were said to stand.
func (c *check) committed() {
	if c.promise.Commits < 0 {
		return
	}
	type key struct {
		group string
		queue Queue
	}
	commits := make(map[key][]*Commit)
	for _, m := range c.h.commits {
		k := key{m.group, m.queue}
		commits[k] = append(commits[k], m)
	}
	for _, list := range commits {
		slices.SortStableFunc(list, func(a, b *Commit) int { return cmp.Compare(a.began, b.began) })
	}
	for _, f := range c.h.fetches {
		// The last one that may not be forgotten; a later one counts if it is lower.
		lowest, highest := int64(-1), int64(-1)
		for _, m := range commits[key{f.group, f.queue}] {
			if m.began > f.ended {
				break
			}
			if m.ended <= f.began-c.promise.Commits && !c.struck(m.began, m.ended+c.promise.Commits) {
				lowest = m.offset
			} else {
				lowest = min(lowest, m.offset)
			}
			highest = max(highest, m.offset)
		}
		end := c.h.final[f.queue].first + int64(len(c.h.final[f.queue].ids))
		switch {
		case f.offset < lowest:
			c.add(Back, "%s stood at %v@%d at %v, %d had been committed", f.group, f.queue, f.offset, f.ended, lowest)
		case f.offset > highest:
			c.add(Ahead, "%s stood at %v@%d at %v, no more than %d had been committed", f.group, f.queue, f.offset, f.ended, highest)
		case c.promise.Reads && f.offset > end:
			c.add(Ahead, "%s stood at %v@%d at %v, the queue ends at %d", f.group, f.queue, f.offset, f.ended, end)
		}
	}
}

// struck tells whether a fault lies between two times, which are none where nothing was to be waited for.
func (c *check) struck(from, to time.Duration) bool {
	return c.promise.Commits > 0 && slices.ContainsFunc(c.h.faults, func(f note) bool { return from <= f.at && f.at <= to })
}

func compareQueues(a, b Queue) int {
	return cmp.Or(cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}

// Package history keeps what producers and consumers of a test saw, and checks afterwards whether the servers kept their
// word. It knows no server: a test records every attempt, answer, read and committed offset with its time, strikes the
// servers meanwhile, reads all queues in the end, and asks Check.
//
// An attempt whose answer never came, or was not a success, may be stored or not; it must not be stored twice. Who sends
// never repeats a message: another attempt is another message.
package history

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// ID names a message: the n-th of a producer, which sends one after the other.
type ID struct {
	Producer string
	N        int
}

func (id ID) String() string { return fmt.Sprintf("%s#%d", id.Producer, id.N) }

// Queue is a queue of a topic of a broker name.
type Queue struct {
	Broker, Topic string
	ID            int
}

func (q Queue) String() string { return fmt.Sprintf("%s/%s/%d", q.Broker, q.Topic, q.ID) }

// never is the end of what has not ended.
const never = time.Duration(1<<63 - 1)

// Send is an attempt to send a message. It belongs to its producer's goroutine until the history is checked.
type Send struct {
	id           ID
	queue        Queue
	began, ended time.Duration // ended is never unless it was acknowledged
	offset       int64
	h            *History
}

// Commit is an attempt to commit an offset; see Send.
type Commit struct {
	group        string
	queue        Queue
	offset       int64 // of the next message to read
	began, ended time.Duration
	h            *History
}

type read struct {
	session string
	queue   Queue
	offset  int64
	id      ID
	at      time.Duration
}

type fetched struct {
	group        string
	queue        Queue
	offset       int64
	began, ended time.Duration
}

type note struct {
	at   time.Duration
	text string
}

// held is what a queue holds in the end.
type held struct {
	first int64
	ids   []ID
}

// History is what was recorded. Its methods may be called from any goroutine; Check comes when all is recorded.
type History struct {
	clock func() time.Duration

	mu      sync.Mutex // guards what follows
	sends   []*Send
	commits []*Commit
	reads   []read
	fetches []fetched
	faults  []note
	final   map[Queue]held
	strange []Violation // what cannot even be recorded
}

// New makes a history. clock is the time since some moment; it never goes back.
func New(clock func() time.Duration) *History {
	return &History{clock: clock, final: make(map[Queue]held)}
}

// Send records that a message is about to be sent.
func (h *History) Send(id ID, q Queue) *Send {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Send{id: id, queue: q, began: h.clock(), ended: never, h: h}
	h.sends = append(h.sends, s)
	return s
}

// Acked records that the message was acknowledged at an offset.
func (s *Send) Acked(offset int64) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.ended, s.offset = s.h.clock(), offset
}

// Read records that a consumer was given a message. A session is one consumer that reads a queue on and on from some
// offset; when it starts anew, it is another session.
func (h *History) Read(session string, q Queue, offset int64, body []byte) {
	id, err := Parse(body)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.strange = append(h.strange, Violation{Phantom, fmt.Sprintf("%s read at %v@%d: %v", session, q, offset, err)})
		return
	}
	h.reads = append(h.reads, read{session, q, offset, id, h.clock()})
}

// Commit records that a group is about to commit the offset of the next message that it will read.
func (h *History) Commit(group string, q Queue, offset int64) *Commit {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Commit{group: group, queue: q, offset: offset, began: h.clock(), ended: never, h: h}
	h.commits = append(h.commits, c)
	return c
}

// Acked records that the offset was taken.
func (c *Commit) Acked() {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.ended = c.h.clock()
}

// Now is the time of the history, for Fetched.
func (h *History) Now() time.Duration { return h.clock() }

// Fetched records the answer to a question, asked at began, where a group stands; -1 is nowhere.
func (h *History) Fetched(group string, q Queue, began time.Duration, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetches = append(h.fetches, fetched{group, q, offset, began, h.clock()})
}

// Fault records what was done to the servers.
func (h *History) Fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, note{h.clock(), fmt.Sprintf(format, args...)})
}

// Faults is how many were recorded.
func (h *History) Faults() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.faults)
}

// Final records what a queue holds in the end, from its first offset on without a gap.
func (h *History) Final(q Queue, first int64, bodies [][]byte) {
	f := held{first: first}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, b := range bodies {
		id, err := Parse(b)
		if err != nil {
			h.strange = append(h.strange, Violation{Phantom, fmt.Sprintf("in the end at %v@%d: %v", q, first+int64(i), err)})
		}
		f.ids = append(f.ids, id)
	}
	h.final[q] = f
}

// Counts says how much was recorded.
type Counts struct {
	Sent, Acked, Held, Read, Committed, Fetched, Faults int
}

// Counts counts.
func (h *History) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := Counts{Sent: len(h.sends), Read: len(h.reads), Fetched: len(h.fetches), Faults: len(h.faults)}
	for _, s := range h.sends {
		if s.ended != never {
			c.Acked++
		}
	}
	for _, m := range h.commits {
		if m.ended != never {
			c.Committed++
		}
	}
	for _, f := range h.final {
		c.Held += len(f.ids)
	}
	return c
}

// Dump writes everything in the order of time, for whoever looks for a cause.
func (h *History) Dump(w io.Writer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []note
	add := func(at time.Duration, format string, args ...any) {
		lines = append(lines, note{at, fmt.Sprintf(format, args...)})
	}
	for _, s := range h.sends {
		add(s.began, "send %v to %v", s.id, s.queue)
		if s.ended != never {
			add(s.ended, "acked %v at %v@%d", s.id, s.queue, s.offset)
		}
	}
	for _, r := range h.reads {
		add(r.at, "%s read %v at %v@%d", r.session, r.id, r.queue, r.offset)
	}
	for _, c := range h.commits {
		add(c.began, "%s commits %v@%d", c.group, c.queue, c.offset)
		if c.ended != never {
			add(c.ended, "%s has committed %v@%d", c.group, c.queue, c.offset)
		}
	}
	for _, f := range h.fetches {
		add(f.ended, "%s stands at %v@%d, asked at %v", f.group, f.queue, f.offset, f.began)
	}
	for _, f := range h.faults {
		add(f.at, "FAULT %s", f.text)
	}
	slices.SortStableFunc(lines, func(a, b note) int { return cmp.Compare(a.at, b.at) })
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "%12.6f %s\n", l.at.Seconds(), l.text); err != nil {
			return err
		}
	}
	for q, f := range h.final {
		for i, id := range f.ids {
			if _, err := fmt.Fprintf(w, "in the end %v at %v@%d\n", id, q, f.first+int64(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

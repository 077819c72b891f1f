package pop

import (
	"sync"
	"sync/atomic"

	"rocketd/order"
	"rocketd/store/consumequeue"
)

// cursor is how far a group has popped a queue.
type cursor struct {
	shelf *shelf
	id    int32

	// reading lets one pop at a time read; who comes meanwhile goes on to other queues and leaves word in missed.
	reading sync.Mutex
	missed  atomic.Bool

	// mu guards all below. It is taken after reading; the offset table is asked while it is held, so that offsets are
	// committed in order.
	mu     sync.Mutex
	ahead  []flight // pops whose check points are not in the log yet, in order
	first  int64    // number of ahead[0]
	leases map[leaseKey]*lease
	order  *order.Entry // of a pop in order
	alarm  alarm        // when order lets go
}

// flight is a pop between its reading and its check point being in the log.
type flight struct {
	next         int64 // where the next pop reads on
	done, failed bool
}

// position is where a pop reads: behind what is popped but not committed, else at the committed offset. known is false for a
// group that never had one. The caller holds reading.
func (c *cursor) position(o Offsets) (offset int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	offset, known = o.Get(c.shelf.group, c.shelf.topic, c.id)
	if n := len(c.ahead); n > 0 {
		return max(offset, c.ahead[n-1].next), true
	}
	return offset, known
}

// begin notes that a pop has read up to next, and returns its number for finish. The caller holds reading.
func (c *cursor) begin(next int64) (number int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = append(c.ahead, flight{next: next})
	return c.first + int64(len(c.ahead)) - 1
}

// finish says what became of a pop: its check point is in the log, or the store refused it. Offsets are committed in the
// order of the reads. After a failure the next pop reads from the committed offset again: what others popped behind it may
// come twice. A number from before a reset means nothing any more.
func (c *cursor) finish(o Offsets, number int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := number - c.first
	if i < 0 || i >= int64(len(c.ahead)) {
		return
	}
	c.ahead[i].done, c.ahead[i].failed = ok, !ok
	n := 0
	for n < len(c.ahead) && c.ahead[n].done {
		n++
	}
	if n > 0 {
		o.Commit(c.shelf.group, c.shelf.topic, c.id, c.ahead[n-1].next)
	}
	if n < len(c.ahead) && c.ahead[n].failed {
		n = len(c.ahead)
	}
	c.drop(n)
}

// drop forgets the first n of ahead. The caller holds mu.
func (c *cursor) drop(n int) {
	c.first += int64(n)
	if n == len(c.ahead) {
		c.ahead = c.ahead[:0]
	} else {
		c.ahead = append(c.ahead[:0], c.ahead[n:]...)
	}
}

// reset takes up an offset that an operator has set: pops under way do not commit any more, and a queue popped in order is
// free. The caller holds c.reading.
func (s *Service) reset(c *cursor, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(len(c.ahead))
	if c.order != nil {
		c.order = nil
		s.orderChanged(c)
	}
	s.cfg.Offsets.Commit(c.shelf.group, c.shelf.topic, c.id, offset)
}

// shelf is what a group pops of one topic: the topic itself, or one of its retry topics.
type shelf struct {
	name, groupName string
	topic, group    []byte
	retry           byte // as handles say it
	waits           *shelf
	used            atomic.Bool                  // of a light queue: since prune looked last
	cursors         atomic.Pointer[[]*cursor]    // by queue ID
	retryShelves    atomic.Pointer[retryShelves] // of this topic's retry topics, whether they are there or not

	grow sync.Mutex // one at a time makes cursors

	// waiting room
	home atomic.Pointer[home] // in whose turns those who wait are looked at
	rung atomic.Bool          // that was asked for and has not begun
}

// cursor returns the cursor of a queue.
func (s *shelf) cursor(id int32) *cursor {
	if all := s.cursors.Load(); all != nil && int(id) < len(*all) {
		return (*all)[id]
	}
	s.grow.Lock()
	defer s.grow.Unlock()
	var all []*cursor
	if old := s.cursors.Load(); old != nil {
		all = append(all, *old...)
	}
	for int32(len(all)) <= id {
		all = append(all, &cursor{shelf: s, id: int32(len(all)), leases: make(map[leaseKey]*lease)})
	}
	s.cursors.Store(&all)
	return all[id]
}

// all returns the cursors there are.
func (s *shelf) all() []*cursor {
	if all := s.cursors.Load(); all != nil {
		return *all
	}
	return nil
}

// shelves are all of them, by group and topic.
type shelves struct {
	mu      sync.RWMutex // guards all below; nothing is called out while it is held
	byGroup map[string]map[string]*shelf
	byTopic map[string][]*shelf
	count   atomic.Int64
}

func newShelves() *shelves {
	return &shelves{byGroup: make(map[string]map[string]*shelf), byTopic: make(map[string][]*shelf)}
}

// find allocates nothing.
func (s *shelves) find(group, name []byte) *shelf {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byGroup[string(group)][string(name)]
}

// get finds or makes a shelf. waits is who waits for its messages, nil for the shelf itself.
func (s *shelves) get(group, name string, waits *shelf) *shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	topics := s.byGroup[group]
	if topics == nil {
		topics = make(map[string]*shelf)
		s.byGroup[group] = topics
	}
	x := topics[name]
	if x == nil {
		x = &shelf{name: name, groupName: group, topic: []byte(name), group: []byte(group), retry: retryFlag(name), waits: waits}
		if waits == nil {
			x.waits = x
		}
		x.used.Store(true)
		topics[name] = x
		s.byTopic[name] = append(s.byTopic[name][:len(s.byTopic[name]):len(s.byTopic[name])], x)
		s.count.Add(1)
	}
	return x
}

// of returns the shelves of a topic; the slice must not be changed.
func (s *shelves) of(name string) []*shelf {
	if s.count.Load() == 0 {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byTopic[name]
}

// prune forgets shelves that nobody may need any more.
func (s *shelves) prune(gone func(x *shelf) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for group, topics := range s.byGroup {
		for name, x := range topics {
			if !gone(x) {
				continue
			}
			delete(topics, name)
			var rest []*shelf
			for _, y := range s.byTopic[name] {
				if y != x {
					rest = append(rest, y)
				}
			}
			if s.byTopic[name] = rest; rest == nil {
				delete(s.byTopic, name)
			}
			s.count.Add(-1)
		}
		if len(topics) == 0 {
			delete(s.byGroup, group)
		}
	}
}

// each calls fn for all shelves, outside of the lock.
func (s *shelves) each(fn func(x *shelf)) {
	var all []*shelf
	s.mu.RLock()
	for _, topics := range s.byGroup {
		for _, x := range topics {
			all = append(all, x)
		}
	}
	s.mu.RUnlock()
	for _, x := range all {
		fn(x)
	}
}

// fresh tells whether a queue has something behind an offset.
func fresh(q *consumequeue.Queue, offset int64) int64 {
	if q == nil {
		return 0
	}
	return max(q.Max()-max(offset, q.Min()), 0)
}

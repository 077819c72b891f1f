//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// msgID names a message: the n-th of a writer in a round.
type msgID struct{ round, writer, n int }

func (id msgID) String() string { return fmt.Sprintf("r%d-w%d#%d", id.round, id.writer, id.n) }

// body is what the message holds: its name, again and again, some 30 to 2,000 bytes, now and then 20,000.
func (id msgID) body() []byte {
	word := []byte(id.String() + ".")
	size := 30 + (id.writer*131+id.n*17)%1970
	if (id.writer+id.n)%97 == 0 {
		size = 20_000
	}
	return bytes.Repeat(word, size/len(word)+1)
}

// key is the key that every eighth message has, or "".
func (id msgID) key() string {
	if id.n%8 != 0 {
		return ""
	}
	return "key-" + id.String()
}

// idOf reads the name of a message and compares all of its body.
func idOf(body []byte) (id msgID, err error) {
	word, _, _ := bytes.Cut(body, []byte("."))
	if _, err := fmt.Sscanf(string(word), "r%d-w%d#%d", &id.round, &id.writer, &id.n); err != nil || !bytes.Equal(id.body(), body) {
		return id, fmt.Errorf("nobody wrote %.80q (%d bytes)", body, len(body))
	}
	return id, nil
}

type queueName struct {
	topic string
	id    int
}

func (q queueName) String() string { return fmt.Sprintf("%s/%d", q.topic, q.id) }

type place struct {
	queue  queueName
	offset int64
}

// promised is a message that somebody was told of.
type promised struct {
	id       msgID
	physical int64 // in the log
	acked    bool  // and not only read
	at       time.Time
}

// promises is what a broker told its clients, and what was found after it had come back.
type promises struct {
	sync.Mutex // guards what follows
	queues     map[queueName]*promisedQueue
	where      map[msgID]place
	attempted  map[[2]int]int // round and writer: how many messages it tried to send
	verified   int            // the last round whose messages were looked for: none of its others may come back
	disk       diskState
	counts     promiseCounts

	topics, groups map[string]*entry
	register       register
	commits        map[queueName]*commits
}

// diskState is what a broker that still runs has under it.
//
// The kernel does not cut the power in one moment: a sync that is under way during the ioctl may be told success, and its
// data is lost all the same. So nothing that a broker says from the ioctl's beginning on is a promise. What it was asked
// after the ioctl's end it has to refuse, for nothing can be written any more.
type diskState int

const (
	diskAlive diskState = iota
	diskDying
	diskDead
)

type promisedQueue struct {
	at      map[int64]promised
	end     int64 // offset behind the last acknowledged or read
	durable int64 // the messages before were found and cannot be lost any more
}

type promiseCounts struct {
	acked, found, read, lost, topics, groups, deleted, registered, commits, keys, ids int
	oldestLost                                                                        time.Duration // from its answer to the loss
}

// entry is a topic or group: whether it is there, and whether that is sure: no request was left without an answer.
type entry struct{ there, sure bool }

// register is one topic whose number of queues goes up by one at a time.
type register struct{ acked, asked int }

// commits are the offsets that the group committed of a queue, ever higher.
type commits struct {
	values map[int64]bool // all
	found  int64          // after the last start; 0: none
	last   int64          // the last one answered since then
}

func newPromises() *promises {
	return &promises{queues: map[queueName]*promisedQueue{}, where: map[msgID]place{}, attempted: map[[2]int]int{}, verified: -1,
		topics: map[string]*entry{}, groups: map[string]*entry{}, commits: map[queueName]*commits{}}
}

// queue returns the promises of a queue. The lock is held.
func (p *promises) queue(name queueName) *promisedQueue {
	q := p.queues[name]
	if q == nil {
		q = &promisedQueue{at: map[int64]promised{}}
		p.queues[name] = q
	}
	return q
}

// commitsOf returns the commits of a queue. The lock is held.
func (p *promises) commitsOf(name queueName) *commits {
	c := p.commits[name]
	if c == nil {
		c = &commits{values: map[int64]bool{}}
		p.commits[name] = c
	}
	return c
}

// committed returns where the group goes on in a queue: where it was found, or at the end if that is lost.
func (p *promises) committed(name queueName) int64 {
	p.Lock()
	defer p.Unlock()
	return min(p.commitsOf(name).found, p.queue(name).end)
}

// top returns the offset behind the last one promised.
func (p *promises) top(name queueName) int64 {
	p.Lock()
	defer p.Unlock()
	return p.queue(name).end
}

// attempt notes that messages up to the n-th are about to be sent, and returns onto what.
func (p *promises) attempt(id msgID) diskState {
	p.Lock()
	defer p.Unlock()
	w := [2]int{id.round, id.writer}
	p.attempted[w] = max(p.attempted[w], id.n+1)
	return p.disk
}

// onto says what the disk is from now on.
func (p *promises) onto(d diskState) {
	p.Lock()
	defer p.Unlock()
	p.disk = d
}

// see takes down where a message is, and tells what is wrong with that. The lock is held.
func (p *promises) see(how string, id msgID, name queueName, offset, physical int64) error {
	q, here := p.queue(name), place{name, offset}
	if other, there := q.at[offset]; there && (other.id != id || other.physical != physical) {
		return fmt.Errorf("%s %v at %v@%d, physical %d, where %v was promised, physical %d", how, id, name, offset, physical, other.id, other.physical)
	}
	if before, there := p.where[id]; there && before != here {
		return fmt.Errorf("%s %v at %v@%d, and it was promised at %v@%d", how, id, name, offset, before.queue, before.offset)
	}
	if id.n >= p.attempted[[2]int{id.round, id.writer}] {
		return fmt.Errorf("%s %v at %v@%d, which was never sent", how, id, name, offset)
	}
	if _, there := p.where[id]; !there {
		if id.round <= p.verified {
			return fmt.Errorf("%s %v at %v@%d, which was not there after an earlier start", how, id, name, offset)
		}
		q.at[offset] = promised{id: id, physical: physical, at: time.Now()}
		p.where[id] = here
	}
	q.end = max(q.end, offset+1)
	return nil
}

// ack takes down an answer. All that was promised in the queue when the message was sent lies before it.
func (p *promises) ack(id msgID, name queueName, offset, physical, sentAt int64) error {
	p.Lock()
	defer p.Unlock()
	if p.disk != diskAlive {
		return nil
	}
	if offset < sentAt {
		return fmt.Errorf("%v was given offset %d of %v, when %d was promised before it was sent", id, offset, name, sentAt-1)
	}
	if err := p.see("acknowledged", id, name, offset, physical); err != nil {
		return err
	}
	m := p.queues[name].at[offset]
	if m.acked {
		return fmt.Errorf("%v was acknowledged twice", id)
	}
	m.acked = true
	p.queues[name].at[offset] = m
	p.counts.acked++
	return nil
}

// saw takes down a record that was given out.
func (p *promises) saw(how string, r *record) error {
	id, err := idOf(r.body)
	if err != nil {
		return fmt.Errorf("%s at %s/%d@%d: %w", how, r.topic, r.queue, r.queueOffset, err)
	}
	if key := id.key(); r.properties["KEYS"] != key {
		return fmt.Errorf("%s %v with key %q", how, id, r.properties["KEYS"])
	}
	p.Lock()
	defer p.Unlock()
	if p.disk != diskAlive {
		return nil
	}
	return p.see(how, id, queueName{r.topic, r.queue}, r.queueOffset, r.physical)
}

// forget removes what an ASYNC_FLUSH broker may have lost with the power: the end of its log, and nothing before that.
// found is the end of each queue now. cut is when the power went.
func (p *promises) forget(found map[queueName]int64, cut time.Time) error {
	var last promised // the last in the log of what is there
	for name, q := range p.queues {
		for offset, m := range q.at {
			if offset < found[name] && m.physical > last.physical {
				last = m
			}
		}
	}
	for name, q := range p.queues {
		for offset, m := range q.at {
			if offset < found[name] {
				continue
			}
			if m.physical < last.physical {
				return fmt.Errorf("%v, physical %d, is lost, but %v at %d is there: what is left is not a prefix", m.id, m.physical, last.id, last.physical)
			}
			if offset < q.durable {
				return fmt.Errorf("%v@%d, %v, is lost; it was there after an earlier cut", name, offset, m.id)
			}
			delete(q.at, offset)
			delete(p.where, m.id)
			p.counts.lost++
			p.counts.oldestLost = max(p.counts.oldestLost, cut.Sub(m.at))
		}
		q.end = found[name]
	}
	return nil
}

// some returns a promised message at random, of those that want accepts; nil if it finds none soon.
func (p *promises) some(want func(promised) bool) (place, *promised) {
	p.Lock()
	defer p.Unlock()
	tries := 0
	for name, q := range p.queues { // in no order
		for range 20 {
			if q.end == 0 {
				break
			}
			offset := rand.Int64N(q.end)
			if rand.IntN(2) == 0 { // of the end, rather
				offset = max(0, q.end-1-rand.Int64N(min(64, q.end)))
			}
			if m, ok := q.at[offset]; ok && want(m) {
				return place{name, offset}, &m
			}
		}
		if tries++; tries == 10 {
			break
		}
	}
	return place{}, nil
}

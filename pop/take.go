package pop

import (
	"math/rand/v2"
	"strconv"

	"rocketd/order"
	"rocketd/protocol"
	"rocketd/put"
)

// outcome of a look for messages.
type outcome uint8

const (
	nothing outcome = iota
	took            // it is or will be answered
	onDisk          // what comes next is not in memory
)

// byPriority tells whether this pop begins with the queue of the highest priority. Source: Java PopMessageProcessor.
func (s *Service) byPriority(a *ask) bool {
	if a.topic.Attributes["message.type"] != "PRIORITY" {
		return false
	}
	factor := 100
	if g := s.cfg.Groups.Get(a.shelf.group); g != nil {
		if n, err := strconv.Atoi(g.Attributes["priority.factor"]); err == nil {
			factor = n
		}
	}
	return rand.IntN(100) < factor
}

// reply is the answer of a pop while it is made, and until its check points are in the log.
type reply struct {
	svc     *Service
	staged  put.Answer // r.answer
	ask     ask
	ticket  protocol.Ticket
	popMs   int64
	revive  int32
	rest    int64
	count   int
	waits   bool // what comes next is not in memory
	records []byte
	again   []byte // records of retry topics, before they are written anew
	packed  []byte // records that are batches, before they are taken apart
	bases   []int64
	props   []byte // of one of them
	offsets []int64
	infos   infos
	takes   []taken
	left    int   // check points not in the log yet
	err     error // why not
}

// taken is what was popped of one queue.
type taken struct {
	cursor *cursor
	number int64
	from   int64
	first  int // in offsets
	n      int
}

// take looks for messages and, if there are any, answers as soon as their check points are in the log.
func (s *Service) take(t *protocol.Turn, k protocol.Ticket, a *ask) outcome {
	r := s.replies.Get().(*reply)
	r.reset(k, a, t.Now.UnixMilli())
	if a.order {
		r.revive = order.Queue
	} else {
		r.revive = int32(s.revives.Add(1) % uint32(max(s.cfg.ReviveQueues, 1)))
	}
	dice := rand.IntN(100)
	first := dice < s.choices.Load().RetryFirst
	if !a.order && s.byPriority(a) {
		first, dice = dice < s.choices.Load().RetryPriority, 0
	}
	retries := s.retries(a.shelf)
	if retries[1] != nil && dice%2 == 0 { // an answer may hold one of them only: its flags are one kind
		retries[0] = retries[1]
	}
	if first {
		r.takeRetry(retries[0])
	}
	if a.queue >= 0 {
		r.takeQueue(a.shelf, a.queue)
	} else {
		r.takeTopic(a.shelf, a.topic.ReadQueueNums, dice)
	}
	if !first {
		r.takeRetry(retries[0])
	}
	switch {
	case r.count == 0 && r.waits:
		r.release()
		return onDisk
	case r.count == 0:
		r.release()
		return nothing
	case a.order:
		r.send(t, protocol.Success, "FOUND")
		r.release()
		return took
	}
	r.stage(t)
	return took
}

func (r *reply) reset(k protocol.Ticket, a *ask, popMs int64) {
	r.ask, r.ticket, r.popMs = *a, k, popMs
	r.rest, r.count, r.waits, r.left, r.err = 0, 0, false, 0, nil
	r.records, r.offsets, r.takes = r.records[:0], r.offsets[:0], r.takes[:0]
	r.infos.reset()
}

func (r *reply) release() {
	if cap(r.records) <= 1<<20 && cap(r.again) <= 1<<20 {
		r.ask = ask{}
		clear(r.takes)
		r.svc.replies.Put(r)
	}
}

func (r *reply) takeRetry(x *shelf) {
	if x == nil || r.ask.order {
		return
	}
	if cfg := r.svc.cfg.Topics.Get(x.topic); cfg != nil && cfg.Perm.Readable() {
		r.takeTopic(x, cfg.ReadQueueNums, 0)
	}
}

// takeTopic walks through all queues of a topic. Source: Java PopMessageProcessor.popMsgFromTopic.
func (r *reply) takeTopic(x *shelf, queues int32, dice int) {
	for i := range queues {
		id := int32((int64(dice) + int64(i)) % int64(queues))
		if r.svc.choices.Load().Downwards {
			id = int32((int64(dice) + int64(queues-1-i)) % int64(queues))
		}
		r.takeQueue(x, id)
	}
}

// takeQueue pops of one queue as much as still goes in.
func (r *reply) takeQueue(x *shelf, id int32) {
	q := r.svc.queue(x, id)
	if q == nil || r.waits && r.count == 0 { // it is read on the pool first, or it would never come
		return
	}
	c := x.cursor(id)
	if !c.reading.TryLock() {
		c.missed.Store(true)
		if c.reading.TryLock() { // whoever had it may not have seen that
			c.missed.Store(false)
		} else {
			r.rest++
			return
		}
	}
	r.read(x, c, q)
	c.reading.Unlock()
	if c.missed.Swap(false) {
		r.svc.ring(x.waits)
	}
}

package pop

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Courier is a way into the store outside of a turn, a put.Courier. Stage copies what it is given; Commit appends what was
// staged with one write and waits until it is as safe as the mode promises. It says how many of the records are stored: all,
// or with an error none, but where they go to other sets, the first so many.
type Courier interface {
	Stage(q *consumequeue.Queue, d *message.Draft, tag int64)
	Commit(ctx context.Context, now time.Time) (stored int, err error)
}

// Bounds of one round of deliveries.
const (
	roundLeases = 256
	roundBytes  = 4 << 20
)

// retryLater is when a round is tried again that the store refused.
const retryLater = time.Second

// rePutAfter are the waits of a message that cannot be read, in seconds. Source: Java PopReviveService.
var rePutAfter = []int64{10, 20, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200}

// reviver delivers again what was not acknowledged in time. It belongs to one goroutine.
type reviver struct {
	s          *Service
	courier    Courier
	journal    *journal
	queues     []*reviveQueue
	due        []*alarm
	buf        []byte
	offsets    []int64
	staged     int      // bytes
	moved      []moving // messages that are staged
	away       string   // a set that did not answer in this round
	complained time.Time
	lent       []relent // check points written anew, to be lent once they are in the log
}

// moving is a message of a check point on its way to the retry topic.
type moving struct {
	ck *Checkpoint
	i  int
}

type relent struct {
	ck     Checkpoint
	revive int32
}

// Run delivers again what is not acknowledged in time, until the context ends. It is a duty of the master.
func (s *Service) Run(ctx context.Context) error {
	r := s.newReviver()
	tick := time.NewTicker(tickMs * time.Millisecond)
	defer tick.Stop()
	var read, pruned time.Time
	more := false // is due in the revive topic
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := time.Now()
		r.expire(ctx, now)
		r.away = ""
		if more || now.Sub(read) >= s.cfg.ReviveInterval {
			read, more = now, false
			for _, q := range r.queues {
				more = r.follow(ctx, q, now) || more
			}
		}
		if now.Sub(pruned) >= time.Minute {
			pruned = now
			s.prune()
		}
	}
}

func (s *Service) newReviver() *reviver {
	r := &reviver{s: s, courier: s.cfg.NewCourier(), journal: newJournal(&s.cfg)}
	for id := range s.cfg.ReviveQueues {
		q := &reviveQueue{id: id, most: maxLogged, byKey: make(map[loggedKey]*logged), early: make(map[loggedKey]struct{})}
		if committed, ok := s.cfg.Offsets.Get([]byte(topic.ReviveGroup), []byte(topic.ReviveTopic(s.cfg.Cluster)), id); ok {
			q.next = committed + 1
		}
		r.queues = append(r.queues, q)
	}
	return r
}

// prune forgets what belongs to topics and groups that are gone, and light queues that nobody pops any more: any name may be one.
func (s *Service) prune() {
	idle := make(map[*shelf]bool)
	s.shelves.each(func(x *shelf) {
		if x.waits == x && topic.IsLMQ(x.name) && !x.used.Swap(false) && s.idle(x) {
			idle[x] = true
		}
	})
	s.shelves.prune(func(x *shelf) bool {
		return idle[x.waits] || s.cfg.Groups.Get(x.group) == nil || s.cfg.Topics.Get(x.waits.topic) == nil
	})
}

// idle tells whether nothing is lent of a shelf and its retry topics, and nobody waits for it.
func (s *Service) idle(x *shelf) bool {
	family := []*shelf{x}
	if r := x.retryShelves.Load(); r != nil {
		family = append(family, r.versions[:]...)
	}
	for _, y := range family {
		if y == nil {
			continue
		}
		for _, c := range y.all() {
			c.mu.Lock()
			busy := len(c.ahead) > 0 || len(c.leases) > 0 || c.order != nil
			c.mu.Unlock()
			if busy {
				return false
			}
		}
	}
	return !s.room.Has(x)
}

// expire does what is due by now: queues popped in order become free, leases end.
func (r *reviver) expire(ctx context.Context, now time.Time) {
	for ctx.Err() == nil {
		r.due = r.s.schedule.due(r.due[:0], now.UnixMilli(), roundLeases)
		if len(r.due) == 0 {
			return
		}
		leases := r.due[:0]
		for _, a := range r.due {
			if a.lease == nil {
				r.s.ring(a.cursor.shelf.waits)
			} else {
				leases = append(leases, a)
			}
		}
		r.deliver(ctx, leases, now)
	}
}

// deliver delivers again what is open of leases that have ended. What a write refuses ends later.
func (r *reviver) deliver(ctx context.Context, leases []*alarm, now time.Time) {
	for len(leases) > 0 {
		n := 0
		for n < len(leases) && r.staged < roundBytes {
			l := leases[n].lease
			l.cursor.mu.Lock()
			l.due = true
			l.BitMap = l.bits
			l.cursor.mu.Unlock()
			r.stage(ctx, &l.Checkpoint, l.revive, now)
			n++
		}
		err := r.commit(ctx, now)
		if err != nil {
			r.complain(now, err)
		}
		for _, a := range leases[:n] {
			l := a.lease
			l.cursor.mu.Lock()
			l.due = false
			if err != nil && l.bits != l.Full() {
				r.s.schedule.add(a, now.Add(retryLater).UnixMilli())
			} else {
				if key := (leaseKey{l.Start, l.PopMs}); l.cursor.leases[key] == l {
					delete(l.cursor.leases, key)
					r.s.live.Add(-1)
				}
				if l.revive >= 0 && int(l.revive) < len(r.queues) {
					r.queues[l.revive].delivered(&l.Checkpoint)
				}
			}
			l.cursor.mu.Unlock()
		}
		leases = leases[n:]
	}
}

// complain says from time to time that nothing can be delivered.
func (r *reviver) complain(now time.Time, err error) {
	if now.Sub(r.complained) >= time.Minute {
		r.complained = now
		r.s.cfg.Log.Warn("popped messages not delivered again", "err", err)
	}
}

// commit writes what is staged, and lends anew what could not be read.
func (r *reviver) commit(ctx context.Context, now time.Time) error {
	if r.staged == 0 {
		return nil
	}
	if r.s.cfg.Slave() { // what another set has of a check point that it has not wholly would come again from the master
		ctx = context.WithoutCancel(ctx)
	}
	stored, err := r.courier.Commit(ctx, now)
	for _, m := range r.moved[:min(stored, len(r.moved))] {
		if err != nil { // another set has it
			m.ck.BitMap |= 1 << m.i
		}
	}
	if err == nil {
		for _, l := range r.lent {
			r.s.lend(l.ck, l.revive, r.s.shelf([]byte(l.ck.Group), []byte(l.ck.Topic)).cursor(l.ck.QueueID))
		}
	}
	r.staged, r.lent, r.moved = 0, r.lent[:0], r.moved[:0]
	return err
}

// stage puts together what the end of a check point writes: its open messages for the retry topic, and that they are
// acknowledged in the check point, so that nobody who reads the log delivers them once more.
func (r *reviver) stage(ctx context.Context, ck *Checkpoint, revive int32, now time.Time) {
	s := r.s
	if s.cfg.Topics.Get([]byte(topic.OfPopRetry(ck.Topic, ck.Group))) == nil || !r.groupThere(ctx, ck) {
		return
	}
	var done []int64
	for i := range int(ck.Num) {
		if ck.BitMap&(1<<i) != 0 {
			continue
		}
		offset := ck.Offset(i)
		if r.message(ctx, ck, offset, revive, now) {
			done = append(done, offset)
		}
	}
	if len(done) == 0 || s.cfg.Slave() { // who acts for a master brings messages elsewhere, and this record would mean nothing there
		return
	}
	a := Ack{Offset: -1, Offsets: done, Broker: ck.Broker, Group: ck.Group, PopMs: ck.PopMs, QueueID: ck.QueueID, Start: ck.Start, Topic: ck.Topic}
	r.put(r.journal.ack(&a, revive, ck.ReviveMs(), now.UnixMilli()))
}

// groupThere tells whether there is the group of a check point. One that has popped of another set may not have come here yet:
// it is made, where that is allowed.
func (r *reviver) groupThere(ctx context.Context, ck *Checkpoint) bool {
	s := r.s
	if s.cfg.Groups.Get([]byte(ck.Group)) != nil {
		return true
	}
	if ck.Broker == s.cfg.Broker {
		return false
	}
	g, err := s.cfg.Groups.Create(ctx, ck.Group)
	if err != nil || g == nil {
		s.cfg.Log.Warn("messages that were popped of another set are dropped: their group is not known here", "set", ck.Broker, "group", ck.Group, "topic", ck.Topic, "err", err)
	}
	return g != nil
}

func (r *reviver) put(rec record) {
	r.staged += rec.draft.Size()
	r.courier.Stage(rec.queue, &rec.draft, rec.tag)
}

// message stages one message for the retry topic, or a check point of its own if it cannot be read now. It returns false
// if it is nowhere any more. Source: Java PopReviveService.reviveRetry, rePutCK.
func (r *reviver) message(ctx context.Context, ck *Checkpoint, offset int64, revive int32, now time.Time) (staged bool) {
	s := r.s
	found, err := r.read(ctx, ck, offset)
	if err != nil {
		return r.rePut(ck, offset, revive, now)
	}
	if !found {
		return false
	}
	m, err := message.Decode(r.buf)
	if err != nil || !unpackOne(&m, offset-r.offsets[0]) {
		return false
	}
	name := ck.Topic
	if !topic.IsRetry(name) {
		name = topic.PopRetryTopic(name, ck.Group, s.choices.Load().RetryV2)
	}
	queue, err := r.ensure(name, ck)
	if err != nil {
		s.cfg.Log.Warn("retry topic not created", "topic", name, "err", err)
		return r.rePut(ck, offset, revive, now)
	}
	host := s.cfg.StoreHost()
	times := m.ReconsumeTimes + 1
	if ck.Suspend {
		times = m.ReconsumeTimes
	}
	d := m.Draft()
	d.Topic, d.Properties, d.QueueID = []byte(name), retryProperties(&m, ck), queue
	d.BornHost, d.StoreHost, d.ReconsumeTimes = host, host, times
	r.put(record{queue: s.cfg.Queues.Queue(name, queue), tag: message.TagOf(m.Properties), draft: d})
	r.moved = append(r.moved, moving{ck, ck.Index(offset)})
	return true
}

// errUnreadable says that the disk does not give a message now.
var errUnreadable = errors.New("the disk does not give it")

// read reads one message of a check point into buf, here or in the set that it was popped in; found is false if it is nowhere any
// more. A set that has not answered is not asked again in this round.
func (r *reviver) read(ctx context.Context, ck *Checkpoint, offset int64) (found bool, err error) {
	s := r.s
	if ck.Broker == s.cfg.Broker {
		var res store.ReadResult
		r.offsets = r.offsets[:0]
		r.buf, res = s.cfg.Queues.Get(s.cfg.Queues.Find([]byte(ck.Topic), ck.QueueID), store.Read{From: offset, Max: 1, Offsets: &r.offsets}, r.buf[:0])
		if res.Status == store.Unreadable {
			return false, errUnreadable
		}
		return res.Count > 0, nil
	}
	if ck.Broker == r.away {
		return false, errUnreadable
	}
	if r.buf, err = s.cfg.Fetch(ctx, ck.Broker, ck.Topic, ck.QueueID, offset); err != nil {
		r.away = ck.Broker
		s.cfg.Log.Warn("cannot read a message that was popped of another set; it is tried again", "set", ck.Broker, "topic", ck.Topic, "queue", ck.QueueID, "offset", offset, "err", err)
	}
	if len(r.buf) < message.PeekBytes || err != nil {
		return false, err
	}
	m, err := message.Decode(r.buf)
	if err != nil {
		return false, nil
	}
	first := m.QueueOffset // another one, where this is gone, or that of the whole batch
	if topic.IsLMQ(ck.Topic) {
		first = offset // the record says where it is in its own topic
	}
	r.offsets = append(r.offsets[:0], first)
	return true, nil
}

// retryProperties are those of a message that comes again: when it was popped first, and by which group.
func retryProperties(m *message.Record, ck *Checkpoint) []byte {
	var digits [20]byte
	first, has := message.Property(m.Properties, message.PropFirstPopTime)
	if !has || m.ReconsumeTimes == 0 {
		first = strconv.AppendInt(digits[:0], ck.PopMs, 10)
	}
	p := message.WithoutProperty(nil, m.Properties, message.PropFirstPopTime, message.PropOriginGroup)
	p = message.AppendProperty(p, message.PropFirstPopTime, first)
	p = message.AppendProperty(p, message.PropOriginGroup, []byte(ck.Group))
	if len(p) > message.MaxProperties {
		return m.Properties // better delivered without them than not at all
	}
	return p
}

// ensure makes the retry topic of a group, which begins with its first message, and says to which queue a message goes.
func (r *reviver) ensure(name string, ck *Checkpoint) (queue int32, _ error) {
	s := r.s
	cfg := s.cfg.Topics.Get([]byte(name))
	if len(name) > topic.MaxRetryLength { // of a dead-letter topic with a long name
		return 0, fmt.Errorf("its name would be longer than %d bytes", topic.MaxRetryLength)
	}
	if cfg == nil && !s.cfg.Slave() { // a slave's topics are its master's
		queues := int32(1)
		if normal := s.cfg.Topics.Get([]byte(ck.Topic)); s.choices.Load().RetryQueues && normal != nil {
			queues = max(normal.WriteQueueNums, 1)
		}
		cfg = topic.NewConfig(name, queues)
		if err := s.cfg.Topics.Ensure(cfg); err != nil {
			return 0, err
		}
		for id := range queues {
			if _, known := s.cfg.Offsets.Get([]byte(ck.Group), []byte(name), id); !known {
				s.cfg.Offsets.Commit([]byte(ck.Group), []byte(name), id, 0)
			}
		}
	}
	if s.choices.Load().RetryQueues && cfg != nil && ck.QueueID < cfg.WriteQueueNums {
		return ck.QueueID, nil
	}
	return 0, nil
}

// rePut gives a message that cannot be delivered now a check point of its own.
func (r *reviver) rePut(ck *Checkpoint, offset int64, revive int32, now time.Time) bool {
	n := ck.rePuts()
	if n >= len(rePutAfter) && r.s.choices.Load().SkipManyRePuts {
		r.s.cfg.Log.Warn("popped message given up", "topic", ck.Topic, "group", ck.Group, "queue", ck.QueueID, "offset", offset)
		return true
	}
	again := Checkpoint{
		Broker: ck.Broker, Group: ck.Group, Topic: ck.Topic, QueueID: ck.QueueID, Diffs: []int32{0}, Num: 1, Start: offset,
		PopMs: ck.PopMs, InvisibleMs: now.UnixMilli() - ck.PopMs + 1000*rePutAfter[min(n, len(rePutAfter)-1)],
		RePut: strconv.Itoa(n + 1), Suspend: ck.Suspend,
	}
	if again.Start == ck.Start {
		again.PopMs++ // else it would be taken for the one that ends
		again.InvisibleMs--
	}
	r.put(r.journal.checkpoint(&again, revive, now.UnixMilli()))
	r.lent = append(r.lent, relent{again, revive})
	r.moved = append(r.moved, moving{ck, ck.Index(offset)})
	return true
}

package store

import (
	"fmt"

	"rocketd/store/consumequeue"
)

// set is where the files of a queue are.
func (s *Store) set(q *consumequeue.Queue) *consumequeue.Set {
	if q.Kind() == consumequeue.Batch {
		return s.batches
	}
	return s.queues
}

// sets are all sets.
func (s *Store) sets() [2]*consumequeue.Set { return [2]*consumequeue.Set{s.queues, s.batches} }

// kindOf is the kind that the queues of a topic must have; guess if nobody knows the topic.
func (s *Store) kindOf(topic string, guess consumequeue.Kind) consumequeue.Kind {
	if s.cfg.QueueKind != nil {
		if k, known := s.cfg.QueueKind(topic); known {
			return k
		}
	}
	return guess
}

// queue finds a queue, or makes it: of the kind that its topic has, else of that of its other queues, else of guess.
func (s *Store) queue(topic []byte, id int32, guess consumequeue.Kind) *consumequeue.Queue {
	if q := s.Find(topic, id); q != nil {
		return q
	}
	name := string(topic)
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	if i, ok := search(s.table[name], id); ok {
		return s.table[name][i]
	}
	if qs := s.table[name]; len(qs) > 0 {
		guess = qs[0].Kind()
	}
	set := s.queues
	if s.kindOf(name, guess) == consumequeue.Batch {
		set = s.batches
	}
	q := set.New(name, id)
	s.insert(q)
	return q
}

// checkKind refuses a queue on the disk whose kind is not that of its topic: its numbers would mean something else.
// Source: Java ConsumeQueueStore.queueTypeShouldBe.
func (s *Store) checkKind(q *consumequeue.Queue) error {
	if want := s.kindOf(q.Topic(), q.Kind()); want != q.Kind() {
		return fmt.Errorf("topic %s has queue.type=%s in its attributes, but its queues on the disk are of type %s (%s): "+
			"set the attribute to %s in topics.json, or move that directory away if the topic shall begin anew",
			q.Topic(), want, q.Kind(), s.set(q).Dir(q), q.Kind())
	}
	if other := s.Queues(q.Topic()); len(other) > 0 && other[0].Kind() != q.Kind() {
		return fmt.Errorf("topic %s has queues of both types on the disk: %s and %s; move away the one that does not belong to it",
			q.Topic(), s.set(other[0]).Dir(other[0]), s.set(q).Dir(q))
	}
	return nil
}

// Unit returns the unit of the message of a queue at offset, which says where its record is; fs.ErrNotExist says that there
// is none. It may wait for the disk.
func (s *Store) Unit(q *consumequeue.Queue, offset int64) (consumequeue.Unit, error) {
	u, _, err := s.set(q).Find(q, offset)
	return u, err
}

package offset

import (
	"strings"

	"rocketd/protocol"
)

// All are offsets of a broker by "topic@group" and queue, as brokers exchange them.
type All map[string]map[int32]int64

// Follow makes the table that of a master: now is what the master has, before what the same master showed the last time,
// nil if that is not known. Slaves commit for clients too, while there is no master, so the two may differ. Per queue:
//
//	the master has more, or we have none    the master's
//	the master has less than it showed      the master's: it was reset, and a group must get its messages again
//	the master has less, it grew or stands  ours: a client has committed it here, or the master forgot it in a crash
//	the master showed it, and has it no more  gone: topic, group or offsets were deleted
//	the master never showed it              ours
//
// So an offset goes back, or away, only where the master itself took it back. The version is the master's.
func (t *Table) Follow(now, before All, version protocol.DataVersion) {
	changed := int64(0)
	for key, queues := range now {
		topic, group, ok := strings.Cut(key, "@")
		if ok && len(queues) > 0 {
			changed += t.follow(group, topic, queues, before[key])
		}
	}
	for key, queues := range before {
		if topic, group, ok := strings.Cut(key, "@"); ok {
			changed += t.forget(group, topic, queues, now[key])
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version != version {
		t.version = version
		changed++
	}
	t.counted = t.changes.Add(changed)
}

// follow takes over the offsets of one group in one topic.
func (t *Table) follow(group, topic string, now, before map[int32]int64) (changed int64) {
	s := t.shard([]byte(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.groups[group][topic]
	for queue, offset := range now {
		if q != nil {
			own, known := q.committed[queue]
			shown, seen := before[queue]
			if known && (own == offset || own > offset && (!seen || offset >= shown)) {
				continue
			}
		} else {
			q = s.create(group, topic)
		}
		put(&q.committed, queue, offset)
		changed++
	}
	return changed
}

// forget drops the offsets that a master had before and has no more.
func (t *Table) forget(group, topic string, before, now map[int32]int64) (changed int64) {
	s := t.shard([]byte(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.groups[group][topic]
	if q == nil {
		return 0
	}
	for queue := range before {
		if _, still := now[queue]; still {
			continue
		}
		if _, known := q.committed[queue]; known {
			delete(q.committed, queue)
			changed++
		}
		if _, pending := q.reset[queue]; pending {
			delete(q.reset, queue)
			t.resets.Add(-1)
		}
	}
	if len(q.committed)+len(q.pulled)+len(q.reset) == 0 {
		delete(s.groups[group], topic)
		if len(s.groups[group]) == 0 {
			delete(s.groups, group)
		}
	}
	return changed
}

// TookBack tells whether a master has now an offset that is smaller than it was, or none where there was one.
func (before All) TookBack(now All) bool {
	for key, queues := range before {
		for queue, offset := range queues {
			if o, ok := now[key][queue]; !ok || o < offset {
				return true
			}
		}
	}
	return false
}

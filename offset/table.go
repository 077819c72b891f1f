// Package offset keeps how far each consumer group has come: the committed offset of every queue, which is on disk
// every few seconds, and, in memory only, the offset of its latest pull and a pending reset.
//
// An offset is the position in a queue that is consumed next.
package offset

import (
	"hash/maphash"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
	"rocketd/protocol"
)

// Config of a Table.
type Config struct {
	FS  vfs.FS
	Dir string // the config directory of the store, where consumerOffset.json is
	// Interval between two writes of a changed table; 0 means 5 s (flushConsumerOffsetInterval).
	Interval time.Duration
	// VersionStep is the number of commits that make a new data version; 0 means 500
	// (consumerOffsetUpdateVersionStep).
	VersionStep int64
	// Light: the file is lmqConsumerOffset.json, in which groups whose names begin with %LMQ% have a table of their own
	// (enableLmq).
	Light bool
	Log   *slog.Logger
}

// Table holds the offsets of all groups. All methods may be called from any goroutine; those that take byte slices
// are for the turn: they do not block and allocate nothing for a queue that is already known.
type Table struct {
	cfg     Config
	path    string
	seed    maphash.Seed
	shards  [64]shard // by group; many, so that nobody waits long for the writer of the file
	changes atomic.Int64
	resets  atomic.Int64 // pending ones

	began time.Time // when the file was written that the table began with

	saving sync.Mutex // one Persist at a time; taken before mu

	mu      sync.Mutex // guards what follows
	version protocol.DataVersion
	counted int64 // changes that version has seen
	saved   int64 // changes that the file has
}

type shard struct {
	mu     sync.RWMutex
	groups map[string]map[string]*queues // by group and topic
}

// queues are the offsets of one topic and group by queue ID. A nil map is empty.
type queues struct {
	committed, pulled, reset map[int32]int64
}

func (s *shard) find(group, topic []byte) *queues {
	return s.groups[string(group)][string(topic)]
}

func (s *shard) create(group, topic string) *queues {
	topics := s.groups[group]
	if topics == nil {
		topics = make(map[string]*queues)
		s.groups[group] = topics
	}
	q := topics[topic]
	if q == nil {
		q = new(queues)
		topics[topic] = q
	}
	return q
}

// at finds or creates. It allocates only what is new.
func (s *shard) at(group, topic []byte) *queues {
	if q := s.find(group, topic); q != nil {
		return q
	}
	return s.create(string(group), string(topic))
}

func newTable(cfg Config) *Table {
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Second
	}
	if cfg.VersionStep == 0 {
		cfg.VersionStep = 500
	}
	t := &Table{cfg: cfg, path: filepath.Join(cfg.Dir, fileName(cfg.Light)), seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].groups = make(map[string]map[string]*queues)
	}
	return t
}

func (t *Table) shard(group []byte) *shard {
	return &t.shards[maphash.Bytes(t.seed, group)%uint64(len(t.shards))]
}

// maxQueues bounds the queues of a topic and group: clients may commit for queues that are not there, since Java
// keeps those too, but not fill the memory with them.
const maxQueues = 1 << 16

func put(m *map[int32]int64, queue int32, offset int64) {
	if *m == nil {
		*m = make(map[int32]int64)
	}
	if _, known := (*m)[queue]; known || len(*m) < maxQueues {
		(*m)[queue] = offset
	}
}

// Get returns the offset that a group goes on from: a pending reset if there is one, else what was committed. A
// negative offset counts as none.
func (t *Table) Get(group, topic []byte, queue int32) (offset int64, ok bool) {
	s := t.shard(group)
	s.mu.RLock()
	defer s.mu.RUnlock()
	q := s.find(group, topic)
	if q == nil {
		return 0, false
	}
	if offset, ok = q.reset[queue]; !ok {
		offset, ok = q.committed[queue]
	}
	if offset < 0 {
		return 0, false
	}
	return offset, ok
}

// Commit stores an offset; it may be smaller than the one before. While a reset is pending it is ignored, and
// Commit returns false. Source: Java ConsumerManageProcessor.
func (t *Table) Commit(group, topic []byte, queue int32, offset int64) bool {
	s := t.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.at(group, topic)
	if _, pending := q.reset[queue]; pending {
		return false
	}
	put(&q.committed, queue, offset)
	t.changes.Add(1)
	return true
}

// SetPulled remembers where the latest pull of a group ended.
func (t *Table) SetPulled(group, topic []byte, queue int32, offset int64) {
	s := t.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	put(&s.at(group, topic).pulled, queue, offset)
}

// Pulled returns where the latest pull of a group ended, if it pulled since the start.
func (t *Table) Pulled(group, topic []byte, queue int32) (offset int64, ok bool) {
	s := t.shard(group)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if q := s.find(group, topic); q != nil {
		offset, ok = q.pulled[queue]
	}
	return offset, ok
}

// Reset makes an offset win over all commits until a pull takes it. It also becomes the committed offset, for a
// group that is not there and a broker that is restarted.
func (t *Table) Reset(group, topic string, queue int32, offset int64) {
	s := t.shard([]byte(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.create(group, topic)
	if _, pending := q.reset[queue]; !pending {
		t.resets.Add(1)
	}
	put(&q.reset, queue, offset)
	put(&q.committed, queue, offset)
	t.changes.Add(1)
}

// Pending returns a reset that no pull has taken yet.
func (t *Table) Pending(group, topic []byte, queue int32) (offset int64, ok bool) {
	if t.resets.Load() == 0 {
		return 0, false
	}
	s := t.shard(group)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if q := s.find(group, topic); q != nil {
		offset, ok = q.reset[queue]
	}
	return offset, ok
}

// TakeReset returns a pending reset and ends it.
func (t *Table) TakeReset(group, topic []byte, queue int32) (offset int64, ok bool) {
	if t.resets.Load() == 0 {
		return 0, false
	}
	s := t.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.find(group, topic)
	if q == nil {
		return 0, false
	}
	if offset, ok = q.reset[queue]; ok {
		delete(q.reset, queue)
		t.resets.Add(-1)
	}
	return offset, ok
}

// Queues returns a copy of the committed offsets of a group in a topic by queue ID, pending resets included.
func (t *Table) Queues(group, topic string) map[int32]int64 {
	s := t.shard([]byte(group))
	s.mu.RLock()
	defer s.mu.RUnlock()
	offsets := make(map[int32]int64)
	if q := s.groups[group][topic]; q != nil {
		maps.Copy(offsets, q.committed)
		maps.Copy(offsets, q.reset)
	}
	return offsets
}

// Topics returns the topics that a group has committed offsets of, sorted.
func (t *Table) Topics(group string) []string {
	s := t.shard([]byte(group))
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for topic, q := range s.groups[group] {
		if len(q.committed) > 0 {
			names = append(names, topic)
		}
	}
	slices.Sort(names)
	return names
}

// Groups returns the groups that have committed offsets of a topic, sorted. The offsets that broadcasting
// consumers leave with the broker, under group@broadcast, do not count.
func (t *Table) Groups(topic string) []string {
	var names []string
	t.each(func(group string, topics map[string]*queues) {
		if q := topics[topic]; q != nil && len(q.committed) > 0 && !strings.Contains(group, "@") {
			names = append(names, group)
		}
	})
	slices.Sort(names)
	return names
}

// Len counts the topics of all groups that have committed offsets.
func (t *Table) Len() (n int) {
	t.each(func(_ string, topics map[string]*queues) {
		for _, q := range topics {
			if len(q.committed) > 0 {
				n++
			}
		}
	})
	return n
}

// each shows all groups, one shard locked for reading at a time.
func (t *Table) each(show func(group string, topics map[string]*queues)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for group, topics := range s.groups {
			show(group, topics)
		}
		s.mu.RUnlock()
	}
}

// RemoveGroup forgets a group.
func (t *Table) RemoveGroup(group string) {
	s := t.shard([]byte(group))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.groups[group] {
		t.drop(q)
	}
	delete(s.groups, group)
}

// RemoveTopic forgets a topic in all groups.
func (t *Table) RemoveTopic(topic string) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for group, topics := range s.groups {
			if q := topics[topic]; q != nil {
				t.drop(q)
				delete(topics, topic)
			}
			if len(topics) == 0 {
				delete(s.groups, group)
			}
		}
		s.mu.Unlock()
	}
}

func (t *Table) drop(q *queues) {
	t.resets.Add(-int64(len(q.reset)))
	t.changes.Add(1)
}

// Clone gives group to the committed offsets of group from in a topic, in place of its own. Without any it does
// nothing.
func (t *Table) Clone(from, to, topic string) {
	offsets := t.Queues(from, topic)
	if len(offsets) == 0 {
		return
	}
	s := t.shard([]byte(to))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(to, topic).committed = offsets
	t.changes.Add(1)
}

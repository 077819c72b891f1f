package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/message"
	"rocketd/store/compaction"
	"rocketd/store/consumequeue"
)

// Compaction says how topics are kept of which only the last message of each key is wanted. Source: Java
// MessageStoreConfig; see docs/messages/compaction.md.
type Compaction struct {
	// Of tells whether a topic is one of them; nil is that none is. It is often called and must not block.
	Of func(topic string) bool
	// FileSize and UnitFileSize are compactionMappedFileSize, default 100 MiB, and compactionCqMappedFileSize, default
	// 10 MiB; see compaction.Sizes.
	FileSize, UnitFileSize int64
	Every                  time.Duration // compactionScheduleInternal, default 15 min
	Memory                 int64         // maxOffsetMapSize, bytes, default 100 MiB
}

func (c *Compaction) withDefaults() {
	c.FileSize = cmp.Or(max(c.FileSize, 0), 100<<20)
	c.UnitFileSize = cmp.Or(max(c.UnitFileSize, 0), 10<<20)
	c.FileSize, c.UnitFileSize = compaction.Sizes(c.FileSize, c.UnitFileSize)
	c.Every = cmp.Or(max(c.Every, 0), 15*time.Minute)
	c.Memory = cmp.Or(max(c.Memory, 0), 100<<20)
}

// Directories of compaction topics.
const (
	compactionDir      = "compaction"
	compactionLogDir   = "compaction/compactionLog"
	compactionUnitsDir = "compaction/compactionCq"
)

// compacted is the queues whose messages are kept by key. Each has a log of its own that follows the queue: messages that it
// does not have yet are read from the queue.
type compacted struct {
	logs  atomic.Pointer[compactLogs] // nil: there are none; the map is never changed
	clean bool                        // Open found a store that was closed

	// copying is held by who copies messages from queues into their logs. It stands below writing; cutting does not take it.
	copying sync.Mutex

	// mu is held while a log gets messages or loses some, and while logs come and go. It stands below all other locks of the
	// store but those of queues and logs. It guards:
	mu        sync.Mutex
	next      map[*consumequeue.Queue]int64 // offset to copy from, where that is not the end of the log
	positions map[string]int64              // as the file has them
}

type compactLogs map[*consumequeue.Queue]*compaction.Log

// compactLog returns the log of a queue, or nil. For a store without such topics it is one look at a pointer.
func (s *Store) compactLog(q *consumequeue.Queue) *compaction.Log {
	if logs := s.compact.logs.Load(); logs != nil {
		return (*logs)[q]
	}
	return nil
}

// openCompacted opens the logs that are there, after the queues were loaded. A queue whose files and whose records are gone goes on
// with the number that its log ends with.
func (s *Store) openCompacted(clean bool) error {
	if s.cfg.Compaction.Of == nil {
		return nil
	}
	s.compact.positions = compaction.ReadPositions(s.cfg.FS, s.path(filepath.Join(compactionDir, compaction.PositionFile)), s.cfg.Log)
	s.compact.next = map[*consumequeue.Queue]int64{}
	s.compact.clean = clean
	s.compact.mu.Lock()
	defer s.compact.mu.Unlock()
	logs := compactLogs{}
	err := eachQueueDir(s.cfg.FS, s.path(compactionLogDir), func(dir string) error {
		topic := filepath.Base(filepath.Dir(dir))
		id, err := strconv.ParseInt(filepath.Base(dir), 10, 32)
		if err != nil || id < 0 || !s.cfg.Compaction.Of(topic) {
			return nil
		}
		return s.openCompactLog(logs, s.Queue(topic, int32(id)))
	})
	s.setCompacted(logs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.findCompacted()
}

// findCompacted opens the logs of queues that have none yet. s.compact.mu is held.
func (s *Store) findCompacted() error {
	logs := s.compactLogs()
	defer s.setCompacted(logs)
	for _, topic := range s.Topics() {
		if !s.cfg.Compaction.Of(topic) {
			continue
		}
		for _, q := range s.Queues(topic) {
			if q.Kind() == consumequeue.Simple && logs[q] == nil {
				if err := s.openCompactLog(logs, q); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// openCompactLog opens the log of a queue and adds it to logs. s.compact.mu is held.
func (s *Store) openCompactLog(logs compactLogs, q *consumequeue.Queue) error {
	if q.Kind() != consumequeue.Simple {
		return nil
	}
	name := filepath.Join(q.Topic(), strconv.FormatInt(int64(q.ID()), 10))
	position, ok := s.compact.positions[compaction.PositionKey(q.Topic(), q.ID())]
	if !ok {
		position = -1
	}
	again := q.Min()
	if again == q.Max() { // there is nothing to copy from
		again = math.MaxInt64
	}
	l, err := compaction.Open(compaction.Config{
		LogDir: s.path(filepath.Join(compactionLogDir, name)), UnitDir: s.path(filepath.Join(compactionUnitsDir, name)),
		Topic: q.Topic(), Queue: q.ID(), FileSize: s.cfg.Compaction.FileSize, UnitFileSize: s.cfg.Compaction.UnitFileSize,
		Clean: s.compact.clean, Again: again, Position: position, Tag: s.cfg.Tag, FS: s.cfg.FS, Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	end := l.Max()
	if q.Max() == 0 && end > 0 {
		s.queues.Number(q, end)
	}
	if end > q.Max() { // the log of the broker has lost more than this one
		s.cfg.Log.Warn("compaction log ends behind its queue and is cut", "topic", q.Topic(), "queue", q.ID(), "offset", end, "end", q.Max())
		if err := l.Cut(q.Max()); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	logs[q] = l
	return nil
}

// compactLogs returns a copy of the table of logs, to be changed and set. s.compact.mu is held.
func (s *Store) compactLogs() compactLogs {
	if logs := s.compact.logs.Load(); logs != nil {
		return maps.Clone(*logs)
	}
	return compactLogs{}
}

// setCompacted sets the table of logs. s.compact.mu is held.
func (s *Store) setCompacted(logs compactLogs) {
	if len(logs) == 0 {
		s.compact.logs.Store(nil)
		return
	}
	s.compact.logs.Store(&logs)
}

// eachCompacted calls fn for each log, in the order of their queues; an error of one keeps no other from its turn.
func (s *Store) eachCompacted(fn func(q *consumequeue.Queue, l *compaction.Log) error) error {
	logs := s.compact.logs.Load()
	if logs == nil {
		return nil
	}
	queues := slices.SortedFunc(maps.Keys(*logs), func(a, b *consumequeue.Queue) int {
		return cmp.Or(cmp.Compare(a.Topic(), b.Topic()), cmp.Compare(a.ID(), b.ID()))
	})
	var err error
	for _, q := range queues {
		err = errors.Join(err, fn(q, (*logs)[q]))
	}
	return err
}

// copyMessages is how many messages are copied at once.
const copyMessages = 32

// copyCompacted copies into the logs what their queues have more, as far as that is on the disk: a message that the commit log
// may still lose is not copied. With all, queues are looked for that have no log yet.
func (s *Store) copyCompacted(all bool) error {
	if s.cfg.Compaction.Of == nil {
		return nil
	}
	s.compact.copying.Lock()
	defer s.compact.copying.Unlock()
	if all {
		s.compact.mu.Lock()
		err := s.findCompacted()
		s.compact.mu.Unlock()
		if err != nil {
			return err
		}
	}
	var buf []byte
	return s.eachCompacted(func(q *consumequeue.Queue, l *compaction.Log) (err error) {
		for more := true; more; {
			if buf, more, err = s.copyPiece(q, l, buf[:0]); err != nil {
				return fmt.Errorf("cannot copy into the compaction log %s/%d: %w", q.Topic(), q.ID(), err)
			}
		}
		return nil
	})
}

// copyPiece copies some messages; more says that there may be further ones now. s.compact.copying is held.
func (s *Store) copyPiece(q *consumequeue.Queue, l *compaction.Log, buf []byte) (_ []byte, more bool, err error) {
	s.compact.mu.Lock()
	from, cuts := max(l.Max(), s.compact.next[q]), s.cuts.Load()
	s.compact.mu.Unlock()
	if from >= q.Max() {
		return buf, false, nil
	}
	flushed := s.log.Flushed()
	buf, res := s.getPlain(q, Read{From: from, Max: copyMessages}, buf)
	next := res.Next
	switch res.Status {
	case Found, NoMatchedMessage, MessageWasRemoving, OffsetTooSmall, OffsetFoundNull: // of the second, all have been lost
	case Unreadable:
		return buf, false, errors.New("the disk does not give the messages")
	default:
		return buf, false, nil
	}
	var batch []compaction.Message
	more = true
	for rest := buf; len(rest) > 0; {
		r, err := message.Decode(rest)
		if err != nil {
			return buf, false, err
		}
		if r.Physical+int64(r.Size) > flushed {
			next, more = r.QueueOffset, false
			break
		}
		if key, _ := message.Property(r.Properties, message.PropKeys); len(bytes.TrimSpace(key)) > 0 {
			batch = append(batch, compaction.Message{Record: rest[:r.Size], Offset: r.QueueOffset, Tag: s.cfg.Tag(&r), StoreMs: r.StoreMs})
		}
		rest = rest[r.Size:]
	}
	s.compact.mu.Lock()
	defer s.compact.mu.Unlock()
	if s.cutSince(cuts) { // perhaps it is not in the queue any more; the next look copies what is
		return buf, false, nil
	}
	if err := l.Append(batch); err != nil {
		if errors.Is(err, compaction.ErrClosed) { // its topic was deleted
			err = nil
		}
		return buf, false, err
	}
	s.compact.next[q] = max(next, from)
	return buf, more, nil
}

// syncCompacted brings the logs to the disk, and then what is known about their keys.
func (s *Store) syncCompacted() error {
	err := s.eachCompacted(func(_ *consumequeue.Queue, l *compaction.Log) error {
		if err := l.Sync(); !errors.Is(err, compaction.ErrClosed) { // else its topic was deleted
			return err
		}
		return nil
	})
	return errors.Join(err, s.keepPositions())
}

// keepPositions writes the file of positions if they have changed.
func (s *Store) keepPositions() error {
	s.compact.mu.Lock()
	defer s.compact.mu.Unlock()
	now := maps.Clone(s.compact.positions)
	_ = s.eachCompacted(func(q *consumequeue.Queue, l *compaction.Log) error {
		key := compaction.PositionKey(q.Topic(), q.ID())
		if p := l.Position(); p >= 0 {
			now[key] = p
		} else {
			delete(now, key)
		}
		return nil
	})
	if maps.Equal(now, s.compact.positions) {
		return nil
	}
	s.compact.positions = now
	return compaction.WritePositions(s.cfg.FS, s.path(filepath.Join(compactionDir, compaction.PositionFile)), now)
}

// keepCompacted makes sure, before files of the commit log go, that what is in them for compaction logs is on the disk there.
func (s *Store) keepCompacted() error {
	if err := s.copyCompacted(true); err != nil {
		return err
	}
	return s.syncCompacted()
}

// cutCompacted takes off the logs what their queues have lost. s.cuts is odd, so that nothing is appended that was read before.
func (s *Store) cutCompacted() error {
	s.compact.mu.Lock()
	defer s.compact.mu.Unlock()
	return s.eachCompacted(func(q *consumequeue.Queue, l *compaction.Log) error {
		s.compact.next[q] = min(s.compact.next[q], q.Max())
		if l.Max() <= q.Max() {
			return nil
		}
		if p := l.Position(); p >= q.Max() {
			s.cfg.Log.Warn("compaction log is cut where it was compacted: of some keys it may have no message until the next one",
				"topic", q.Topic(), "queue", q.ID(), "offset", q.Max(), "position", p)
		}
		return l.Cut(q.Max())
	})
}

// deleteCompacted removes the logs of a topic.
func (s *Store) deleteCompacted(topic string) error {
	if s.cfg.Compaction.Of == nil {
		return nil
	}
	s.compact.mu.Lock()
	defer s.compact.mu.Unlock()
	logs, found := s.compactLogs(), false
	err := s.eachCompacted(func(q *consumequeue.Queue, l *compaction.Log) error {
		if q.Topic() != topic {
			return nil
		}
		found = true
		delete(logs, q)
		delete(s.compact.next, q)
		delete(s.compact.positions, compaction.PositionKey(topic, q.ID()))
		return l.Delete()
	})
	if found {
		s.setCompacted(logs)
		for _, dir := range []string{compactionLogDir, compactionUnitsDir} {
			if e := s.cfg.FS.Remove(s.path(filepath.Join(dir, topic))); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		err = errors.Join(err, compaction.WritePositions(s.cfg.FS, s.path(filepath.Join(compactionDir, compaction.PositionFile)), s.compact.positions))
	}
	return err
}

// closeCompacted closes the logs.
func (s *Store) closeCompacted() error {
	return s.eachCompacted(func(_ *consumequeue.Queue, l *compaction.Log) error { return l.Close() })
}

// findEvery is how many looks apart queues are looked for that have no log yet; messages are read from the queue so long.
const findEvery = 10

// copyLoop has the compaction logs follow their queues.
func (s *Store) copyLoop(ctx context.Context) {
	if s.cfg.Compaction.Of == nil {
		return
	}
	t := time.NewTicker(lookInterval)
	defer t.Stop()
	for looks := 0; ; looks++ {
		err := s.copyCompacted(looks%findEvery == 0)
		if err == nil && looks%findEvery == 0 {
			err = s.syncCompacted()
		}
		if err != nil && looks%findEvery == 0 {
			s.cfg.Log.Error("cannot write compaction logs; files of the commit log stay until that is mended", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// compactLoop compacts the logs, one after the other, and takes as long a rest after each piece as the piece took.
func (s *Store) compactLoop(ctx context.Context) {
	if s.cfg.Compaction.Of == nil {
		return
	}
	t := time.NewTicker(s.cfg.Compaction.Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.compactAll(ctx, func(ctx context.Context, took time.Duration) { pause(ctx, took) })
		}
	}
}

// compactAll compacts the logs of all queues.
func (s *Store) compactAll(ctx context.Context, pace func(ctx context.Context, took time.Duration)) {
	_ = s.eachCompacted(func(q *consumequeue.Queue, l *compaction.Log) error {
		for more := true; more && ctx.Err() == nil; {
			began := time.Now()
			res, err := l.Compact(ctx, compaction.Round{Memory: s.cfg.Compaction.Memory, Pace: pace})
			if err == nil && res.Had > 0 {
				err = s.keepPositions()
				s.cfg.Log.Info("queue compacted", "topic", q.Topic(), "queue", q.ID(), "messages", res.Had, "kept", res.Kept, "took", time.Since(began))
			}
			if err != nil && !errors.Is(err, compaction.ErrClosed) {
				s.cfg.Log.Error("cannot compact queue", "topic", q.Topic(), "queue", q.ID(), "err", err)
			}
			more = res.More && err == nil
		}
		return ctx.Err()
	})
}

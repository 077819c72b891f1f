package store

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// flushEvery is how many records a recovery builds units of before it writes them.
const flushEvery = 1 << 16

// recover makes log and queues agree after Open: it finds the end of the log, cuts what is torn, and builds the
// units of records whose units may be missing. clean says that the store was closed; then all units on the disk
// are believed, else only those before the checkpoint.
// Source: Java DefaultMessageStore.recover, CommitLog.recoverNormally, recoverAbnormally.
func (s *Store) recover(clean bool) error {
	began := time.Now()
	from := s.scanStart()
	limit, unsafe := int64(math.MaxInt64), int64(math.MaxInt64) // from where units, records may not be on the disk
	if !clean {
		limit = from
		if s.check.flushed > 0 {
			unsafe = s.check.flushed
		}
	}
	// Without SYNC_FLUSH nobody was promised that what readers see is on the disk. It is written again, and left to the next sync.
	wait := clean || s.cfg.SyncFlush || s.check.flushed == 0 || s.check.cutting != 0
	if err := s.keepCheckpoint(clean); err != nil {
		return err
	}
	lastUnit, unitsEnd, err := s.loadQueues(limit)
	if err != nil {
		return err
	}
	s.loaded = true
	if lastUnit < 0 { // nothing to believe in
		from = s.log.Min()
	} else if clean && (lastUnit < from || s.check.logicsPhysical <= 0) {
		if _, ok := s.log.Check(lastUnit); ok {
			from = lastUnit
		}
	}

	anew := from < s.check.logicsPhysical
	if anew { // the checkpoint vouches for units that are built only now; until they are synced, it may not
		c := s.check
		c.logicsPhysical, c.logicsMs = 0, 0
		if err := c.write(s.cfg.FS, s.path("checkpoint")); err != nil {
			return err
		}
	}

	var built int
	end, err := s.log.Walk(from, commitlog.Visit{
		Record: func(r *message.Record) error {
			if built++; built%flushEvery == 0 {
				if err := s.writeBuilt(); err != nil {
					return err
				}
			}
			before := s.lastMs.Swap(r.StoreMs)
			if !clean && s.check.flushed == 0 && (r.StoreMs >= s.check.physicMs || r.StoreMs < before) {
				unsafe = min(unsafe, r.Physical)
			}
			return s.build(r)
		},
		Gap:     func(g commitlog.Gap) (bool, error) { return s.gap(g, clean) },
		Follows: s.follows,
	})
	if err != nil {
		return err
	}
	torn := end.Reason != commitlog.NothingWritten && end.Reason != "end of the last file"
	s.tail(&end, clean, unitsEnd)
	if err := s.writeBuilt(); err != nil {
		return err
	}
	if s.check.flushed > end.Physical { // what was on the disk is gone; what takes its place is not there yet
		s.check.flushed, s.check.physicMs = end.Physical, min(s.check.physicMs, end.LastMs)
		if err := s.check.write(s.cfg.FS, s.path("checkpoint")); err != nil {
			return err
		}
	}
	if err := s.log.Cut(min(unsafe, end.Physical), end.Physical, wait); err != nil {
		return err
	}
	if unitsEnd > end.Physical {
		if err := s.cutQueues(end.Physical); err != nil {
			return err
		}
	}
	if anew {
		s.check.logicsPhysical, s.check.logicsMs = 0, 0
	}
	s.last.Store(end.Last)
	s.lastMs.Store(end.LastMs)
	if s.physicMs.Store(end.LastMs); s.log.Flushed() < end.Physical {
		s.physicMs.Store(min(s.check.physicMs, end.LastMs))
	}

	level := s.cfg.Log.Info
	if torn {
		level = s.cfg.Log.Warn
	}
	level("store recovered", "clean", clean, "from", from, "physical", end.Physical, "records", end.Records,
		"end", end.Reason, "took", time.Since(began))
	return nil
}

// keepCheckpoint brings the checkpoint that was read after a crash to the disk, with a word that the log is being cut, which stays
// until the cut is done. It may have been in the page cache alone, and what the disk has may vouch for units that are taken off now.
func (s *Store) keepCheckpoint(clean bool) error {
	name := s.path("checkpoint")
	if _, err := s.cfg.FS.Stat(name); clean || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s.check.cutting = 1
	return s.check.write(s.cfg.FS, name)
}

// scanStart returns where the log is read from: the last record that the checkpoint vouches for; if it names none
// that is there, the start of the last file whose first record is old enough; else the first file.
func (s *Store) scanStart() int64 {
	if at := s.check.logicsPhysical; at > 0 {
		if _, ok := s.log.Check(at); ok {
			return at
		}
	}
	starts := s.log.Starts()
	for i := len(starts) - 1; i >= 0; i-- {
		r, ok := s.log.Check(starts[i])
		if !ok {
			continue
		}
		if at := s.check.logicsPhysical; (at > 0 && r.Physical <= at) || (at <= 0 && r.StoreMs < s.check.logicsMs) {
			return starts[i]
		}
	}
	return s.log.Min()
}

// loadQueues finds the queues on the disk and takes off what they say about records before the start of the log, so that
// no gap shows where the rest was dropped with the log. It returns the start of the last record that has a unit, -1 if
// none has, and the end of that record.
func (s *Store) loadQueues(limit int64) (last, end int64, err error) {
	last = -1
	found := func(q *consumequeue.Queue) error {
		if err := s.checkKind(q); err != nil {
			return err
		}
		if err := s.set(q).Trim(q, s.log.Min()); err != nil {
			return err
		}
		u, ok, err := s.set(q).Last(q)
		if err != nil {
			return err
		}
		if ok && u.Physical > last {
			last, end = u.Physical, u.Physical+int64(u.Size)
		}
		s.insert(q)
		return nil
	}
	for _, set := range s.sets() {
		if err := set.Load(limit, found); err != nil {
			return 0, 0, err
		}
	}
	return last, end, nil
}

// build adds the units of a record to its queues. An inner batch makes a Batch queue if nobody knows its topic, and is
// left out where the queue is of the other kind.
func (s *Store) build(r *message.Record) error {
	if !r.HasQueue() {
		return nil
	}
	if !isName(r.Topic) || r.QueueID < 0 {
		s.cfg.Log.Error("record left out of its queue: topic or queue id cannot be right",
			"topic", string(r.Topic), "queue", r.QueueID, "physical", r.Physical)
		return nil
	}
	inner := r.SysFlag&message.FlagInnerBatch != 0
	q := s.queue(r.Topic, r.QueueID, guessKind(r))
	u := consumequeue.Unit{Physical: r.Physical, Size: r.Size, Tag: s.cfg.Tag(r), StoreMs: r.StoreMs, Count: r.InnerCount()}
	switch {
	case inner && q.Kind() != consumequeue.Batch:
		s.cfg.Log.Error("inner batch left out of its queue: the topic has plain queues", "topic", q.Topic(), "physical", r.Physical)
		return nil
	case u.Count == 0:
		s.cfg.Log.Error("inner batch left out of its queue: it does not say how many messages it holds", "topic", q.Topic(), "physical", r.Physical)
		return nil
	}
	if r.QueueOffset >= q.Max() {
		s.addExt(q, &u, nil)
	}
	if err := s.buildUnit(q, r.QueueOffset, u); err != nil {
		return err
	}
	return s.buildMulti(r)
}

// guessKind is the kind of queue that a record looks like it has.
func guessKind(r *message.Record) consumequeue.Kind {
	if r.SysFlag&message.FlagInnerBatch != 0 {
		return consumequeue.Batch
	}
	return consumequeue.Simple
}

// buildUnit adds one unit at its offset, unless it is there.
func (s *Store) buildUnit(q *consumequeue.Queue, offset int64, u consumequeue.Unit) error {
	ok, err := s.set(q).Build(q, offset, u)
	if err != nil {
		return err
	}
	if !ok {
		s.cfg.Log.Error("record left out of its queue: its offset cannot be right",
			"topic", q.Topic(), "queue", q.ID(), "offset", offset, "physical", u.Physical)
	}
	if q.MarkDue() {
		s.dirty = append(s.dirty, q)
	}
	return nil
}

// isName tells whether a topic can be the name of a directory. Nobody creates others; a damaged record may have one.
func isName(topic []byte) bool {
	t := string(topic)
	return t != "" && t != "." && t != ".." && len(t) <= 255 && !strings.ContainsAny(t, "/\x00")
}

// writeBuilt writes the units that were built. On a full disk they stay in memory: the store must start all the same.
func (s *Store) writeBuilt() error {
	err := s.writeDirty()
	if vfs.IsFull(err) {
		s.need.Store(commitlog.SomeRoom)
		return nil
	}
	return err
}

// cutQueues takes off units of records behind the end of the log.
func (s *Store) cutQueues(end int64) error {
	topics := s.Topics()
	slices.Sort(topics)
	for _, topic := range topics {
		for _, q := range s.Queues(topic) {
			if err := s.cutQueue(q, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutQueue takes the units of records behind end off a queue. Those in front of the log, which may be in the files
// still, stay off.
func (s *Store) cutQueue(q *consumequeue.Queue, end int64) error {
	if err := s.set(q).Cut(q, end); err != nil {
		return err
	}
	return s.set(q).Trim(q, s.log.Min())
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rocketd/store/consumequeue"
)

// manualRounds is how many rounds of the cleaner a wish to delete is good for. Source: Java
// MAX_MANUAL_DELETE_FILE_TIMES.
const manualRounds = 20

// DeleteExpired has the cleaner remove what is old enough now, at any hour, and in its next rounds.
func (s *Store) DeleteExpired() {
	s.manual.Store(manualRounds)
	ring(s.cleanDue)
}

// cleanLoop looks each second how full the disk is, keeps the ballast, and removes old files from time to time.
func (s *Store) cleanLoop(ctx context.Context) {
	t := time.NewTicker(lookInterval)
	defer t.Stop()
	last := time.Now()
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-s.cleanDue:
			due = true
		case now := <-t.C:
			due = now.Sub(last) >= s.retention.Load().Every
		}
		used := s.measure()
		s.keepBallast()
		if !due || s.log.Fenced() != nil {
			continue
		}
		last = time.Now()
		if err := s.clean(ctx, used); err != nil {
			s.cfg.Log.Error("cannot remove old files", "err", err)
		}
	}
}

// measure returns how much of the fuller one of the disks of log and queues is in use, percent, and stops appends
// when it is too much.
func (s *Store) measure() (used int) {
	r := s.retention.Load()
	for i, dir := range s.log.Dirs() {
		if n := s.usage(dir); i == 0 || n < used { // new files go where there is room
			used = n
		}
	}
	used = max(used, s.usage(s.cfg.Dir))
	over := s.over.Load()
	switch {
	case used > r.Full:
		err := fmt.Errorf("%w: %d %% of it are in use, more than %d %% stop it (diskSpaceWarningLevelRatio)", ErrDiskFull, used, r.Full)
		s.over.Store(&err)
		if over == nil {
			s.cfg.Log.Error("no more messages are taken: the disk is nearly full", "used", used, "limit", r.Full)
		}
	case over != nil && used <= r.Forced:
		s.over.Store(nil)
		s.cfg.Log.Info("messages are taken again", "used", used)
	}
	return used
}

// usage is how much of the disk of a directory is in use, percent, rounded up; 0 if that cannot be told: nothing is
// stopped, and nothing removed, because of an answer that did not come.
func (s *Store) usage(dir string) int {
	free, total, err := s.cfg.FS.Free(dir)
	if err != nil || total <= 0 {
		return 0
	}
	return min(int(((total-free)*100+total-1)/total), 100)
}

// dirFull tells whether no new log file goes to a directory, if there are others. Source: Java
// DefaultMessageStore.isSpaceToDelete, getFullStorePaths.
func (s *Store) dirFull(dir string) bool { return s.usage(dir) > s.retention.Load().Forced }

// clean is one round: it removes the oldest files of the log, and what was cut off it, as far as hour, disk, or wish say
// so. The queues follow.
func (s *Store) clean(ctx context.Context, used int) error {
	r := s.retention.Load()
	now := s.cfg.Now()
	wished := s.manual.Load() > 0
	if wished {
		s.manual.Add(-1)
	}
	if !wished && used <= r.Used && !slices.Contains(r.Hours, now.Local().Hour()) {
		return nil
	}
	dropped := 0
	removed, err := s.dropDiverged(r.Reserved, !r.KeepYoung && used > r.Forced)
	if removed > 0 {
		used = s.measure()
	}
	for ; dropped < r.Batch; dropped++ {
		if dropped > 0 && !pause(ctx, r.Pause) {
			break
		}
		o, ok, e := s.log.Oldest()
		if err = errors.Join(err, e); !ok {
			break
		}
		forced := !r.KeepYoung && used > r.Forced
		if !forced && now.Sub(o.Changed) < r.Reserved {
			break
		}
		if e := s.dropLog(o.End); e != nil {
			err = errors.Join(err, e)
			break
		}
		s.cfg.Log.Info("old commit log file removed", "file", o.Name, "changed", o.Changed, "used", used, "forced", forced)
		used = s.measure()
	}
	if dropped == 0 {
		if used > r.Forced {
			s.cfg.Log.Warn("the disk is nearly full, and there is no file to remove", "used", used)
		}
		return err
	}
	return errors.Join(err, s.follow())
}

// pause waits; false says that the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// DropBefore removes log files that end at physical or before it, but the last, and what queues say about them. It
// waits for the disk.
func (s *Store) DropBefore(physical int64) error {
	before := s.log.Min()
	err := s.dropLog(physical)
	if s.log.Min() == before {
		return err
	}
	return errors.Join(err, s.follow())
}

// dropLog removes files of the log. What is dropped cannot be read again to find the numbers of the queues, so the queues
// are brought to the disk first.
func (s *Store) dropLog(physical int64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if physical < s.log.Min()+s.cfg.FileSize {
		return nil
	}
	if s.synced < min(physical, s.log.Max()) {
		if err := s.queuesFailed(s.withBallast(s.syncAll)); err != nil {
			return err
		}
	}
	if err := s.withBallast(s.keepCompacted); err != nil {
		return err
	}
	return s.log.DropBefore(physical)
}

// follow takes off the queues what is gone from the log, and rings the bell.
func (s *Store) follow() error {
	first := s.log.Min()
	err := s.eachQueue(func(q *consumequeue.Queue) error {
		if err := s.set(q).Trim(q, first); err != nil {
			return fmt.Errorf("cannot trim queue %s/%d: %w", q.Topic(), q.ID(), err)
		}
		return nil
	})
	if s.cfg.Dropped != nil {
		s.cfg.Dropped(first)
	}
	return err
}

// eachQueue calls fn for every queue, in the order of their names, and lets others at the queues' files in between.
func (s *Store) eachQueue(fn func(q *consumequeue.Queue) error) error {
	topics := s.Topics()
	slices.Sort(topics)
	for _, topic := range topics {
		for _, q := range s.Queues(topic) {
			s.writing.Lock()
			err := fn(q)
			s.writing.Unlock()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// CleanExpiredQueues removes the queues that had messages and have none any more, but those of topics that keep
// names, and those with a compaction log, and returns how many. The next message of such a queue gets offset 0. It waits for the disk.
// Source: Java ConsumeQueueStore.cleanExpired.
func (s *Store) CleanExpiredQueues(keep func(topic string) bool) (removed int, err error) {
	err = s.eachQueue(func(q *consumequeue.Queue) error {
		if keep != nil && keep(q.Topic()) || s.compactLog(q) != nil || !s.expire(q) {
			return nil
		}
		delete(s.warm, q)
		if err := s.set(q).Delete(q); err != nil {
			return fmt.Errorf("cannot delete queue %s/%d: %w", q.Topic(), q.ID(), err)
		}
		removed++
		return nil
	})
	return removed, err
}

// expire takes a queue without messages out of the table. Under the append lock none comes meanwhile; who has found the
// queue before learns that it has moved.
func (s *Store) expire(q *consumequeue.Queue) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Max() == 0 || q.Min() < q.Max() {
		return false
	}
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	qs := slices.DeleteFunc(slices.Clone(s.table[q.Topic()]), func(o *consumequeue.Queue) bool { return o == q })
	if len(qs) == len(s.table[q.Topic()]) {
		return false
	}
	if s.table[q.Topic()] = qs; len(qs) == 0 {
		delete(s.table, q.Topic())
	}
	q.Move()
	return true
}

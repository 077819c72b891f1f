package store

import (
	"cmp"
	"context"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"rocketd/internal/vfs"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// How often the background looks what to do, and after what it writes all queues and moves the checkpoint on: what
// lies behind it is read again after a crash.
const (
	lookInterval = time.Second
	syncInterval = 10 * time.Second
	syncBytes    = 64 << 20 // of the log
	quietRounds  = 6        // in which a queue has no new unit, until its memory is let go
	quietLooks   = 10       // from one of them to the next
)

// With many queues that is put off, since it costs a write for each, so that it is not at work all the time; but not for
// ever.
const (
	syncRest    = 16 // times as long as the last writing took
	maxInterval = time.Minute
	fewBytes    = 512 << 20 // of the log, with few queues
	queueBytes  = 16 << 10  // more for each
	maxBytes    = 2 << 30   // at most
)

// Run brings to the disk what is appended, prepares the next file of the log, writes the queues and the checkpoint,
// until ctx ends. A disk error does not end it: it fences the store (Writable tells), readers go on, and Run returns
// the error in the end. Close does the rest.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	loops := map[string]func(context.Context){
		"store flusher":      s.flushLoop,
		"store preallocator": s.fileLoop,
		"store queue writer": s.queueLoop,
		"store read-ahead":   s.aheadLoop,
		"store cleaner":      s.cleanLoop,
		"store copier":       s.copyLoop,
		"store compactor":    s.compactLoop,
	}
	for name, loop := range loops {
		wg.Go(func() { pprof.Do(ctx, pprof.Labels("loop", name), loop) })
	}
	wg.Wait()
	return s.log.Fenced()
}

// flushLoop syncs the log: with SyncFlush whenever something is new, one time after the other while more comes;
// otherwise by the clock, and has the system write evenly between.
func (s *Store) flushLoop(ctx context.Context) {
	tick := make(<-chan time.Time)
	if !s.cfg.SyncFlush {
		t := time.NewTicker(s.cfg.FlushInterval)
		defer t.Stop()
		tick = t.C
	}
	written := s.log.Max()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.logDue:
			if s.cfg.SyncFlush {
				for s.log.Flushed() < s.log.Max() && s.flush() == nil {
				}
				continue
			}
			end := s.log.Max()
			s.log.Writeback(written, end)
			written = end
		case <-tick:
			if s.log.Flushed() < s.log.Max() {
				_ = s.flush()
			}
		}
	}
}

// flush syncs the log once and rings the bell. The first failure fences the log and is logged; Run and Writable
// report it.
func (s *Store) flush() error {
	fenced := s.log.Fenced() != nil
	end, err := s.sync()
	if err != nil && !fenced {
		s.cfg.Log.Error("store is read-only from now on", "physical", end, "err", err)
	}
	if s.cfg.SyncFlush && s.cfg.Flushed != nil {
		s.cfg.Flushed(end)
	}
	return err
}

// sync syncs the log and keeps in mind up to which time it is on the disk.
func (s *Store) sync() (end int64, err error) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	ms := s.lastMs.Load()
	if end, err = s.log.Sync(); err == nil {
		s.physicMs.Store(ms)
	}
	return end, err
}

// fileLoop creates the next file of the log before it is needed.
func (s *Store) fileLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.fileDue:
			if err := s.log.Prepare(); err != nil {
				s.cfg.Log.Warn("cannot prepare the next commit log file", "err", err)
			}
		}
	}
}

// queueLoop writes pages of units, and now and then all of them, syncs them and moves the checkpoint.
func (s *Store) queueLoop(ctx context.Context) {
	t := time.NewTicker(lookInterval)
	defer t.Stop()
	if err := s.look(true); err != nil { // so that a next start does not build again what this one did
		s.cfg.Log.Error("cannot write consume queues", "err", err)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.queuesDue:
			err = s.writePages()
		case now := <-t.C:
			err = s.look(s.syncDue(now))
		}
		if err != nil {
			s.cfg.Log.Error("cannot write consume queues", "err", err)
		}
	}
}

// writePages writes the queues that have a whole page of units.
func (s *Store) writePages() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	todo := s.pages
	s.pages = nil
	s.mu.Unlock()
	if s.log.Fenced() != nil {
		return nil
	}
	for _, q := range todo { // after an error all are still dirty
		if err := s.flushQueue(q); err != nil {
			return s.queuesFailed(err)
		}
	}
	return nil
}

// look is what is done each second: let go of memory, and move the checkpoint; on its time, or when much was
// appended, for the queues too.
func (s *Store) look(syncDue bool) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.log.Fenced() != nil {
		return nil
	}
	if s.looks++; s.looks%quietLooks == 0 {
		s.coolDown()
	}
	if err := s.writeDamage(); err != nil { // tried again
		s.cfg.Log.Warn("cannot write down what is damaged", "err", err)
	}
	if syncDue {
		return s.queuesFailed(s.syncAll())
	}
	if ms := s.physicMs.Load(); ms != s.check.physicMs || s.confirmedNow() != s.check.confirmPhysical {
		s.check.physicMs, s.check.flushed = ms, s.log.Flushed()
		return s.writeCheckpoint()
	}
	return nil
}

// syncDue tells whether queues and checkpoint are to be brought to the disk: after a time, or when much was appended.
func (s *Store) syncDue(now time.Time) bool {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	queues := int64(len(s.dirty))
	s.mu.Unlock()
	passed, bytes := now.Sub(s.syncedAt), s.log.Max()-s.synced
	rest := syncRest * s.syncTook
	return bytes >= min(fewBytes+queues*queueBytes, maxBytes) || passed >= min(max(syncInterval, rest), maxInterval) || bytes >= syncBytes && passed >= rest
}

// coolDown lets go of the memory of queues that have had no new unit for some time. s.writing is held.
func (s *Store) coolDown() {
	for q := range s.warm {
		if s.set(q).Quiet(q, quietRounds) {
			delete(s.warm, q)
		}
	}
}

// queuesFailed stops appends after an error: units in memory would grow without end.
func (s *Store) queuesFailed(err error) error {
	if err == nil {
		return nil
	}
	if vfs.IsFull(err) {
		s.need.CompareAndSwap(0, commitlog.SomeRoom)
		return err
	}
	return s.log.Fence(err)
}

// writeDirty writes all units that wait. s.writing is held.
func (s *Store) writeDirty() error {
	s.mu.Lock()
	todo := s.dirty
	s.dirty = nil
	s.mu.Unlock()
	// One behind the other as they lie in memory, and as their files were made, which is how they lie on the disk.
	slices.SortFunc(todo, func(a, b *consumequeue.Queue) int { return cmp.Compare(a.Number(), b.Number()) })
	for i, q := range todo {
		q.ClearDue()
		if err := s.flushQueue(q); err != nil { // what is left stays to be written
			s.mu.Lock()
			if q.MarkDue() {
				s.dirty = append(s.dirty, q)
			}
			s.dirty = append(s.dirty, todo[i+1:]...)
			s.mu.Unlock()
			return err
		}
	}
	return nil
}

func (s *Store) flushQueue(q *consumequeue.Queue) error {
	s.warm[q] = true
	set := s.set(q)
	set.Share(len(s.warm))
	return set.Flush(q)
}

// syncAll brings log and queues to the disk and then says so in the checkpoint. s.writing is held.
func (s *Store) syncAll() error {
	began := time.Now()
	s.mu.Lock()
	last, ms, end := s.last.Load(), s.lastMs.Load(), s.log.Max()
	s.mu.Unlock()
	if end == s.synced && s.physicMs.Load() == s.check.physicMs && s.confirmedNow() == s.check.confirmPhysical {
		return nil
	}
	if err := s.writeDirty(); err != nil {
		return err
	}
	for _, set := range s.sets() {
		if err := set.Sync(); err != nil {
			return err
		}
	}
	took := time.Since(began)
	if err := s.flush(); err != nil {
		return err
	}
	s.syncedAt, s.syncTook = began, took
	s.check.physicMs, s.check.flushed = s.physicMs.Load(), s.log.Flushed()
	if last > 0 { // 0 would mean unknown, and times alone do not tell records of one millisecond apart
		s.check.logicsMs, s.check.logicsPhysical = ms, last
	}
	if err := s.writeCheckpoint(); err != nil {
		return err
	}
	s.synced = end
	return nil
}

// writeCheckpoint writes down what is on the disk. s.writing is held.
func (s *Store) writeCheckpoint() error {
	if s.cfg.IndexMs != nil {
		s.check.indexMs = s.cfg.IndexMs(s.log.Flushed())
	}
	s.check.confirmPhysical, s.check.cutting = s.confirmedNow(), 0
	return s.check.write(s.cfg.FS, s.path("checkpoint"))
}

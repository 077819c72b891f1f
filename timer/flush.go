package timer

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"rocketd/meta"
	"rocketd/timer/wheel"
)

// flush brings the files to the disk: the log, then the wheel, then the checkpoint, so that none is ahead of what it refers
// to. The checkpoint is not ahead of the commit log either: it says what was delivered when all that was on the disk.
type flush struct {
	dirty bool // something was put into the wheel or delivered since the last job
	last  time.Time
	seen  int64 // end of the commit log then
	jobs  chan job
	busy  atomic.Bool // a job is under way
	owed  atomic.Bool // the checkpoint is behind what was delivered

	// What the goroutine that works off jobs has for itself.
	pieces []wheel.Piece
	synced int64 // position of the log
	marks  []mark
	failed error
	drop   time.Time // when the log was cleaned
}

// mark is a state that is kept when the commit log is on the disk up to end.
type mark struct{ readMs, offset, end int64 }

// job is what is to be kept.
type job struct {
	mark
	logEnd  int64
	pieces  []wheel.Piece
	counts  []byte
	serving bool
	now     time.Time
}

// dropEvery is how often old files of the log are looked for. Source: Java TimerMessageStore.start.
const dropEvery = 30 * time.Second

// wanted tells whether there is something to keep.
func (f *flush) wanted() bool { return (f.dirty || f.owed.Load()) && !f.busy.Load() }

// offerFlush hands a job to the other goroutine, if it is time and it has none. While something waits, the checkpoint follows the
// commit log, so that the next start has little to look through.
func (s *Service) offerFlush(now time.Time) {
	f := &s.flush
	grown := s.serving && s.status.waiting.Load() > 0 && now.Sub(f.last) >= idle && f.seen != s.cfg.Store.MaxPhysical()
	if f.busy.Load() || !f.wanted() && !grown || now.Sub(f.last) < s.cfg.Flush {
		return
	}
	j := s.job(now)
	f.busy.Store(true)
	f.jobs <- j
}

func (s *Service) job(now time.Time) job {
	readMs, offset := s.plan.Kept()
	end := s.cfg.Store.MaxPhysical()
	s.flush.last, s.flush.dirty, s.flush.seen = now, false, end
	return job{mark{readMs, offset, end}, s.log.Written(), s.wheel.Changed(), s.counts.take(), s.serving, now}
}

// runFlush works off jobs until ctx ends.
func (s *Service) runFlush(ctx context.Context) error {
	for {
		select {
		case j := <-s.flush.jobs:
			s.keep(&j)
		case <-ctx.Done():
			select {
			case j := <-s.flush.jobs:
				s.keep(&j)
			default:
			}
			return nil
		}
	}
}

// keep works off one job. What fails is tried again with the next.
func (s *Service) keep(j *job) {
	f := &s.flush
	err := s.write(j)
	if err != nil && f.failed == nil {
		s.cfg.Log.Error("cannot keep the state of timed messages; trying on", "err", err)
	}
	f.failed = err
	f.owed.Store(err != nil || len(f.marks) > 0)
	f.busy.Store(false)
	s.Ring()
}

func (s *Service) write(j *job) error {
	f := &s.flush
	f.pieces = append(f.pieces, j.pieces...)
	f.marks = append(f.marks, j.mark)
	if err := s.log.Sync(f.synced, j.logEnd); err != nil {
		return err
	}
	f.synced = j.logEnd
	if len(f.pieces) > 0 {
		if err := s.file.Write(f.pieces); err != nil {
			return err
		}
		f.pieces = nil
	}
	if err := s.keepCheckpoint(j); err != nil {
		return err
	}
	if j.counts != nil {
		if err := s.cfg.Counts.Put(j.counts); err != nil {
			return err
		}
	}
	err := s.log.Prepare(j.logEnd)
	if j.now.Sub(f.drop) >= dropEvery {
		f.drop = j.now
		err = errors.Join(err, s.log.Drop(s.cfg.Store.MinPhysical()))
	}
	return err
}

// keepCheckpoint writes timercheck.
func (s *Service) keepCheckpoint(j *job) error {
	f := &s.flush
	flushed := s.cfg.Store.Flushed()
	var safe *mark
	for len(f.marks) > 0 && f.marks[0].end <= flushed {
		safe, f.marks = &f.marks[0], f.marks[1:]
	}
	if n := len(f.marks); n > 8 { // the middle ones would come too late anyway
		f.marks = append(f.marks[:4], f.marks[n-1])
	}
	return s.cfg.Checkpoint.Change(func(wire []byte) []byte {
		c := meta.ParseTimerCheckpoint(wire)
		c.LogEnd = j.logEnd
		switch {
		case safe == nil:
		case !j.serving:
			c.Offset = min(safe.offset, c.MasterOffset)
		default:
			c.ReadMs, c.Offset, c.MasterOffset = safe.readMs, safe.offset, safe.offset
			c.Version.Next(j.now)
		}
		return c.Bytes()
	})
}

// keepAll brings everything to the disk at the end of a duty, and waits for the commit log, but not for long.
func (s *Service) keepAll() {
	for s.flush.busy.Load() {
		time.Sleep(time.Millisecond)
	}
	if err := s.log.Write(); err != nil {
		s.cfg.Log.Error("cannot write the timer log", "err", err)
	}
	now := time.Now()
	j := s.job(now)
	for s.cfg.Store.Flushed() < j.end && time.Since(now) < leaveGrace {
		time.Sleep(5 * time.Millisecond)
	}
	s.keep(&j)
}

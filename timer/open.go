package timer

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rocketd/message"
	"rocketd/meta"
	"rocketd/store/consumequeue"
	"rocketd/timer/wheel"
	"rocketd/topic"
)

// rebuild says, while a wheel is built again from the topic, what it does not get: messages that had been read by the
// checkpoint and whose moment is done, and those that were put into the topic again.
type rebuild struct {
	until, readMs int64
	rolled        map[uint64]int // the copies
	end           int64          // of the topic, when the copies were looked for
}

// skips tells whether a message is one of them.
func (b *rebuild) skips(r *message.Record, f *fields, slotMs int64) bool {
	if r.QueueOffset >= b.end {
		b.rolled = nil
		return false
	}
	if id := f.identity(r, f.rollTimes()+1); b.rolled[id] > 0 {
		b.rolled[id]--
		return true
	}
	return r.QueueOffset < b.until && slotMs < b.readMs
}

// buildAgain begins a rebuild, and returns the offset in the topic from which on it is read.
func (s *Service) buildAgain(q *consumequeue.Queue, check *meta.TimerCheckpoint) (offset int64, err error) {
	s.wheel.Reset()
	if err = s.log.Reset(); err != nil || q == nil {
		return check.Offset, err
	}
	s.rebuild = rebuild{check.Offset, check.ReadMs, make(map[uint64]int), q.Max()}
	err = s.cfg.Store.Each(max(s.cfg.Store.PlaceOf(q, q.Min()), s.cfg.Store.MinPhysical()), func(r *message.Record) bool {
		if string(r.Topic) == topic.Timer {
			if f := look(r.Properties); f.dequeued != nil && f.rollTimes() > 0 {
				s.rebuild.rolled[f.identity(r, f.rollTimes())]++
			}
		}
		return true
	})
	if err != nil {
		s.cfg.Log.Error("cannot look at which timed messages were stored again; some may come twice", "err", err)
	}
	return q.Min(), nil
}

// Open loads the files and makes them one state again: units of the log that the wheel on the disk does not have are put
// into it, and where the wheel or the log is missing or damaged, the one is built from the other, and both from the topic.
// It starts nothing. Java's recovery is that of TimerMessageStore.recover.
func Open(cfg Config) (*Service, error) {
	cfg.defaults()
	s := &Service{
		cfg: cfg, counts: new(counts), bell: make(chan struct{}, 1), duty: make(chan bool), ended: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	s.flush.jobs = make(chan job, 1)
	s.cut.Store(math.MaxInt64)
	s.counts.load(cfg.Counts.Bytes())
	check := s.checkpoint()
	readMs, flushed, offset := check.ReadMs, check.LogEnd, check.Offset

	s.wheel = wheel.New(cfg.Slots, cfg.Precision.Milliseconds())
	file, found, err := wheel.OpenFile(cfg.FS, filepath.Join(cfg.Dir, "timerwheel"), s.wheel)
	if err != nil {
		return nil, err
	}
	s.file = file
	snapshots, err := s.snapshots()
	if err == nil {
		err = s.openLog(flushed)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	queue := cfg.Store.Find([]byte(topic.Timer), 0)
	_, _, last := s.wheel.Waiting(readMs)
	switch {
	case s.log.End() < flushed || s.log.Min() == s.log.End() && (flushed > 0 || last >= 0):
		s.cfg.Log.Warn("the timer log is not whole; it is built from the timer topic again", "end", s.log.End(), "kept", flushed)
		offset, err = s.buildAgain(queue, &check)
	case !found || len(snapshots) > 0 || last >= s.log.End():
		if s.log.Min() < s.log.End() {
			s.cfg.Log.Warn("the timer wheel is built from its log again", "from", s.log.Min(), "to", s.log.End())
		}
		s.wheel.Reset()
		err = s.refill(s.log.Min(), readMs)
		offset = max(offset, s.nextOffset(queue))
	default:
		err = s.refill(flushed, readMs)
		offset = max(offset, s.nextOffset(queue))
	}
	window := min(int64(cfg.Window)*cfg.Precision.Milliseconds(), 1<<31-1)
	s.plan = newPlan(s.wheel, s.log, s.wheel.Floor(window), readMs, offset)
	s.flush.synced, s.flush.dirty = min(flushed, s.log.End()), true // a kill may have left more, which is not on the disk
	if err == nil && len(snapshots) > 0 {
		err = s.dropSnapshots(snapshots)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openLog opens the log, which ends before the first unit behind flushed that refers to no message of the topic: what was not
// brought to the disk may be there in part.
func (s *Service) openLog(flushed int64) (err error) {
	var buf []byte
	s.log, err = wheel.OpenLog(s.cfg.FS, filepath.Join(s.cfg.Dir, "timerlog"), s.cfg.FileSize, flushed-s.cfg.FileSize, func(pos int64, u *wheel.Unit) bool {
		if pos < flushed {
			return true
		}
		if buf, err = s.cfg.Store.Record(u.Physical, buf[:0]); err != nil {
			return false
		}
		r, err := message.Decode(buf)
		return err == nil && r.Size == u.Size && string(r.Topic) == topic.Timer
	})
	return err
}

// refill puts the units of the log from a position on into the wheel, as far as it does not have them.
func (s *Service) refill(from, readMs int64) error {
	if s.log.Min() == s.log.End() {
		return nil
	}
	_, err := s.log.Scan(max(from, s.log.Min()), func(pos int64, u *wheel.Unit) bool {
		if at := u.TimeMs(); at >= s.wheel.Floor(readMs) {
			count := int32(1)
			if u.Magic&wheel.MagicDelete != 0 {
				count = -1
			}
			s.wheel.Add(at, pos, count)
		}
		return true
	})
	return err
}

// nextOffset is the offset of the first message that the log does not have: the one behind that of its last unit.
func (s *Service) nextOffset(q *consumequeue.Queue) int64 {
	last, ok := s.log.Last()
	if q == nil || !ok {
		return 0
	}
	return s.cfg.Store.OffsetAt(q, last.Physical+1)
}

// snapshots are the files that Java keeps instead of the wheel with timerWheelSnapshotFlush. It would find them before ours,
// so they must go when ours is up to date.
func (s *Service) snapshots() (names []string, err error) {
	entries, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), "timerwheel."); ok {
			if _, err := strconv.ParseInt(rest, 10, 64); err == nil {
				names = append(names, filepath.Join(s.cfg.Dir, e.Name()))
			}
		}
	}
	return names, err
}

func (s *Service) dropSnapshots(names []string) error {
	if err := s.file.Write(s.wheel.Changed()); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.cfg.FS.Remove(name); err != nil {
			return fmt.Errorf("cannot remove a snapshot of the timer wheel: %w", err)
		}
	}
	return s.cfg.FS.SyncDir(s.cfg.Dir)
}

// Close releases the files of a service that never ran.
func (s *Service) Close() error {
	select {
	case <-s.stopped:
		return nil
	default:
		return s.close()
	}
}

func (s *Service) close() error {
	if s.plan != nil && s.flush.dirty {
		if err := s.log.Write(); err == nil {
			j := s.job(time.Now())
			s.keep(&j)
		}
	}
	return errors.Join(s.log.Close(), s.file.Close())
}

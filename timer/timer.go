// Package timer delivers timed messages: those that a producer gave a time, and that `send` has put into the topic
// rmq_sys_wheel_timer. They are read from there into a wheel on the disk, in the files of Java's broker, and stored again,
// in the topic that they are for, when they are due: not before, and once, also where the broker dies on the way.
//
// What is delivered is found in the commit log itself: who begins to deliver looks at what was stored since the time that
// was kept last, and passes over what is there already. So the files only have to be near the truth, never ahead of it.
package timer

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/timer/wheel"
)

// Store is what timer needs of the store.
type Store interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Queue(topic string, id int32) *consumequeue.Queue
	Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult)
	Record(physical int64, dst []byte) ([]byte, error)
	Each(from int64, fn func(r *message.Record) bool) error
	OffsetAt(q *consumequeue.Queue, physical int64) int64
	PlaceOf(q *consumequeue.Queue, offset int64) int64
	PlaceByTime(ms int64) int64
	MinPhysical() int64
	MaxPhysical() int64
	Flushed() int64
}

// Courier brings what is due into the store; put.Courier is one.
type Courier interface {
	Stage(q *consumequeue.Queue, d *message.Draft, tag int64)
	Bytes() int
	Commit(ctx context.Context, now time.Time) ([]put.Placed, error)
}

// Config of a Service.
type Config struct {
	FS      vfs.FS
	Dir     string // of the store, which has the files timerwheel and timerlog/
	Store   Store
	Courier Courier
	// Checkpoint and Counts are timercheck and timermetrics.
	Checkpoint, Counts *meta.Text
	// Topics are the names of all topics, to count by.
	Topics func() []string

	Precision   time.Duration // of the wheel, timerPrecisionMs; 0 means 1 s
	Window      int           // moments that a message is put ahead at most, timerRollWindowSlot
	FileSize    int64         // of the log, mappedFileSizeTimerLog; where there are files, theirs counts
	Flush       time.Duration // how often files are brought to the disk, timerFlushIntervalMs; 0 means 1 s
	StopEnqueue func() bool   // timerStopEnqueue: nothing is read from the topic; nil is never

	Slots int // of the wheel; 0 means wheel.Slots; others are for tests
	Log   *slog.Logger
}

// Service keeps the wheel, and delivers while it is on duty. Open makes it, Run works, Serve says that it is on duty.
type Service struct {
	cfg    Config
	log    *wheel.Log
	wheel  *wheel.Wheel
	file   *wheel.File
	plan   *Plan
	counts *counts
	flush  flush

	bell    chan struct{} // something came
	cut     atomic.Int64  // position of the commit log that it was cut at; math.MaxInt64: it was not
	duty    chan bool     // Serve begins, ends
	ended   chan struct{} // the duty has
	stopped chan struct{} // Run has

	// What the goroutine of Run has for itself.
	serving  bool
	leaving  bool      // the duty ends when no moment is halfway,
	lastMs   int64     // none after this one is begun,
	leaveAt  time.Time // and then at the latest
	rebuild  rebuild
	catchUp  int64 // offset in the topic when the duty began
	past     past
	ready    []ready
	arena    []byte // what ready refers to
	scratch  []byte // what else batch refers to
	batch    []ready
	buf      []byte
	recalls  []wheel.Unit // to be read before anything is delivered
	unreadMs int64        // since when the first of them cannot be; 0: it was not tried
	unread   unread
	again    time.Time // after an error, when to go on
	failed   error     // the last one

	status status
}

func (cfg *Config) defaults() {
	if cfg.Precision <= 0 {
		cfg.Precision = time.Second
	}
	if cfg.Slots == 0 {
		cfg.Slots = wheel.Slots
	}
	if cfg.Window < 2 || cfg.Window > cfg.Slots-60 {
		cfg.Window = cfg.Slots - 60
	}
	if cfg.Flush <= 0 {
		cfg.Flush = time.Second
	}
	if cfg.StopEnqueue == nil {
		cfg.StopEnqueue = func() bool { return false }
	}
	if cfg.Topics == nil {
		cfg.Topics = func() []string { return nil }
	}
}

// Ring says that something came into the timer topic. It never blocks.
func (s *Service) Ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// Cut says that the end of the commit log was cut off at physical: what comes there now is to be read. It does not wait.
func (s *Service) Cut(physical int64) {
	for {
		at := s.cut.Load()
		if at <= physical || s.cut.CompareAndSwap(at, physical) {
			s.Ring()
			return
		}
	}
}

// Serve has the service deliver until ctx ends. It returns when that is over: at the end of a moment of which some messages
// are delivered, since Java's checkpoint knows whole moments only.
func (s *Service) Serve(ctx context.Context) error {
	select {
	case s.duty <- true:
	case <-s.stopped:
		return nil
	}
	select {
	case <-ctx.Done():
	case <-s.stopped:
		return nil
	}
	select {
	case s.duty <- false:
		select {
		case <-s.ended:
		case <-s.stopped:
		}
	case <-s.stopped:
	}
	return nil
}

// Run keeps the wheel up to date, and delivers while on duty, until ctx ends. It closes the files.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.stopped)
	below := rungroup.New(context.WithoutCancel(ctx))
	below.Go(rungroup.Part{Name: "timer files", Run: s.runFlush})
	wake := time.NewTimer(0)
	defer wake.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case on := <-s.duty:
			s.setDuty(on, time.Now())
		case <-s.bell:
		case <-wake.C:
		}
		now := time.Now()
		next := s.step(ctx, now)
		if s.leaving && (!s.plan.Halfway() || now.After(s.leaveAt)) {
			s.endDuty()
			s.ended <- struct{}{}
		}
		wake.Reset(time.Until(next))
	}
	err := below.Stop()
	s.endDuty()
	return errors.Join(err, s.close())
}

// Limits of one step.
const (
	stepBytes = 1 << 20 // delivered with one write
	stepItems = 2048    // delivered or dropped
	stepTake  = 512     // messages read from the topic
	retry     = 200 * time.Millisecond
	copyRetry = 10 * time.Second // after a log that is not ours to write, and nobody who takes what is due
	idle      = 5 * time.Second  // how often the files are looked at when nothing happens
)

// step does some of what there is to do now, and says when there is more.
func (s *Service) step(ctx context.Context, now time.Time) (next time.Time) {
	nowMs := now.UnixMilli()
	busy := false
	if !now.Before(s.again) {
		var err error
		if busy, err = s.work(ctx, now); err != nil {
			s.again = now.Add(retry)
			if errors.Is(err, put.ErrCopy) {
				s.again = now.Add(copyRetry)
			}
			if s.failed == nil {
				s.cfg.Log.Error("timed messages are late; trying on", "err", err)
			}
		} else if s.failed != nil {
			s.cfg.Log.Info("timed messages are served again")
		}
		s.failed = err
	}
	s.note(nowMs)
	s.offerFlush(now)
	failing := now.Before(s.again)
	switch {
	case failing:
		next = s.again
	case busy:
		return now
	default:
		next = now.Add(idle)
		if s.serving {
			next = earlier(next, s.nextMs(nowMs))
		}
	}
	if s.flush.wanted() && !failing {
		next = earlier(next, s.flush.last.Add(s.cfg.Flush).UnixMilli())
	}
	if s.leaving {
		next = earlier(next, nowMs+20)
	}
	return next
}

func earlier(t time.Time, ms int64) time.Time {
	if t.UnixMilli() <= ms {
		return t
	}
	return time.UnixMilli(ms)
}

// work takes what came, delivers what is due, and reads what is due soon. What was in the topic when the duty began is taken
// first: it may recall what is due. busy says that there is more to do now.
func (s *Service) work(ctx context.Context, now time.Time) (busy bool, err error) {
	nowMs := now.UnixMilli()
	if !s.serving {
		s.follow()
		busy, err = s.take(nowMs)
		return busy, errors.Join(err, s.log.Write())
	}
	behind := s.plan.offset < s.catchUp && len(s.plan.items) < maxItems
	if !s.leaving && (s.plan.late == 0 || behind) {
		if busy, err = s.take(nowMs); err != nil {
			return false, err
		}
	}
	if err := s.load(nowMs); err != nil {
		return false, err
	}
	if !behind || !busy {
		more, err := s.deliver(ctx, now)
		if err != nil {
			return false, err
		}
		busy = busy || more
	}
	s.plan.Advance(nowMs)
	s.past.forget(s.plan)
	busy = busy || !s.leaving && s.prepare(nowMs)
	return busy, s.log.Write()
}

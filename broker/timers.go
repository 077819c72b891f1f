package broker

import (
	"time"

	"rocketd/internal/rungroup"
	"rocketd/manage"
	"rocketd/protocol"
	"rocketd/send"
	"rocketd/store/consumequeue"
	"rocketd/timer"
	"rocketd/topic"
)

// openTimers opens what keeps timed messages, unless it is switched off. It is one of the duties of a master; a slave keeps
// its wheel up to date without.
func (b *Broker) openTimers() (err error) {
	s := b.cfg.Settings
	if !s.Bool("timerWheelEnable") {
		return nil
	}
	stop := liveFlag(s, "timerStopEnqueue")
	b.timers, err = timer.Open(timer.Config{
		FS: b.cfg.FS, Dir: newDirs(s).root, Store: b.store, Courier: b.put.NewCourier(),
		Checkpoint: b.carried.TimerCheckpoint, Counts: b.carried.TimerMetrics,
		Topics: func() (names []string) {
			all, _ := b.topics.All()
			for name := range all {
				names = append(names, name)
			}
			return names
		},
		Precision:   s.Duration("timerPrecisionMs"),
		Window:      s.Int("timerRollWindowSlot"),
		FileSize:    s.Int64("mappedFileSizeTimerLog"),
		Flush:       s.Duration("timerFlushIntervalMs"),
		StopEnqueue: stop.Load,
		Log:         b.component("timers"),
	})
	if err == nil {
		b.duties.parts = append(b.duties.parts, rungroup.Part{Name: "timers", Run: b.timers.Serve})
	}
	return err
}

// timing is how `send` takes timed messages.
func (b *Broker) timing() *send.Timers {
	s := b.cfg.Settings
	most, limit := liveNumber(s, "timerMaxDelaySec"), liveNumber(s, "timerCongestNumEachSlot")
	return &send.Timers{
		Enabled:   s.Bool("timerWheelEnable"),
		Precision: max(s.Duration("timerPrecisionMs").Milliseconds(), 1),
		MaxDelay:  func() int64 { return most.Load() * 1000 },
		Limit:     limit.Load,
		Waiting:   func(ms int64) int64 { return b.timers.WaitingAt(ms) },
	}
}

// recalls is how `send` takes recalls of them.
func (b *Broker) recalls() *send.Recalls {
	s := b.cfg.Settings
	return &send.Recalls{
		Enabled:      liveFlag(s, "recallMessageEnable").Load,
		WhenReadOnly: liveFlag(s, "allowRecallWhenBrokerNotWriteable").Load,
		LongKey:      liveFlag(s, "appendTopicForTimerDeleteKey").Load,
	}
}

// grew is the bell of the store: messages of a queue can be read.
func (b *Broker) grew(t *protocol.Turn, q *consumequeue.Queue) {
	if b.timers != nil && q.Topic() == topic.Timer {
		b.timers.Ring()
	}
	b.room.Wake(t, q)
	b.pop.Grew(q.Topic())
	b.lite.Grew(t, q.Topic())
}

// timerStatus is what runtime information says about timers.
func (b *Broker) timerStatus() (t manage.Timers) {
	if b.timers == nil {
		return t
	}
	st := b.timers.Status()
	if st.ReadMs > 0 {
		t.ReadBehind = time.Since(time.UnixMilli(st.ReadMs))
	}
	t.OffsetBehind, t.Waiting = st.Behind, st.Waiting
	return t
}

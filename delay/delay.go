// Package delay brings messages with a delay level to their topics when they are due. Until then they stand in the delay
// topic, one queue for each level, in the order in which they are due; how far each level is delivered is in
// delayOffset.json. What the file does not know yet after a crash is seen in the log: the copies are there.
package delay

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Store is what delay needs of the store.
type Store interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Queue(topic string, id int32) *consumequeue.Queue
	Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult)
	Tag(q *consumequeue.Queue, offset int64) (tag int64, ok bool)
	// Flushed is how far the log is on the disk.
	Flushed() int64
	MinPhysical() int64
	MaxPhysical() int64
	FileSize() int64
	Record(physical int64, dst []byte) ([]byte, error)
	Each(from int64, fn func(r *message.Record) bool) error
}

// Courier stores what is due, as put.Courier does: in the log of this broker, or, of one that acts for its master, elsewhere.
type Courier interface {
	Stage(q *consumequeue.Queue, d *message.Draft, tag int64)
	Commit(ctx context.Context, now time.Time) ([]put.Placed, error)
}

// Progress keeps how far each level is delivered (meta.Carried.DelayOffsets).
type Progress interface {
	Bytes() []byte
	Put(wire []byte) error
}

// Config of a Service.
type Config struct {
	Store      Store
	Levels     message.DelayLevels
	Progress   Progress
	NewCourier func() Courier // one for each level
	// Interval is how often the progress is kept, flushDelayOffsetInterval; 0 means 10 s.
	Interval time.Duration
	Log      *slog.Logger
}

// Service delivers while Run runs, on one broker of a set at a time.
type Service struct {
	cfg    Config
	levels []*level
	kept   sync.Mutex // one keeps the progress at a time
}

// New makes a service; it starts nothing.
func New(cfg Config) *Service {
	if cfg.Interval <= 0 {
		cfg.Interval = 10 * time.Second
	}
	s := &Service{cfg: cfg}
	for i := range cfg.Levels {
		s.levels = append(s.levels, &level{Service: s, number: int32(i + 1), log: cfg.Log.With("level", i+1)})
	}
	return s
}

// Run takes up the progress where it stands, and delivers what is due until the context ends; the progress is then kept as it
// is. Each level is on its own: one that cannot go on holds up no other.
func (s *Service) Run(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	g := rungroup.New(ctx)
	for _, l := range s.levels {
		g.Go(rungroup.Part{Name: "delay level", Run: l.run})
	}
	g.Go(rungroup.Part{Name: "delay progress", Run: s.keepEvery})
	<-g.Done()
	err := g.Stop()
	if ctx.Err() != nil || err == nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushPatience)
		defer cancel()
		s.keep(last)
	}
	return err
}

// Offsets says for each level how far it is delivered and where its queue ends.
func (s *Service) Offsets() map[int32][2]int64 {
	all := make(map[int32][2]int64)
	for _, l := range s.levels {
		next, _ := l.at()
		if q := l.queue(); q != nil {
			all[l.number] = [2]int64{next, q.Max()}
		}
	}
	return all
}

// Copy makes the message that is to be delivered of the record of a waiting one: all of it is as it was sent but its topic and
// queue, and it keeps the properties that say how it came. ok is false for a record that says no place where messages may go,
// or that of half messages: it would come out of there as one. The draft aliases r. Source: Java
// ScheduleMessageService.messageTimeUp.
func Copy(r *message.Record) (d message.Draft, ok bool) {
	name, queue, ok := message.Real(r.Properties)
	if !ok || queue < 0 || topic.CheckTopic(string(name)) != nil || !topic.MaySend(name) {
		return d, false
	}
	d = r.Draft()
	d.Topic, d.QueueID = name, queue
	return d, true
}

// isCopy tells whether a record of the log is the copy of a waiting one.
func isCopy(r *message.Record, of *message.Draft) bool {
	return r.QueueID == of.QueueID && r.BornMs == of.BornMs && r.ReconsumeTimes == of.ReconsumeTimes && r.Flag == of.Flag &&
		r.SysFlag == of.SysFlag && bytes.Equal(r.Topic, of.Topic) && sameProperties(r.Properties, of.Properties) && bytes.Equal(r.Body, of.Body)
}

// sameProperties tells whether both say the same. Java writes them in another order than it found them.
func sameProperties(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	n := 0
	same := true
	message.EachProperty(b, func(name, value []byte) bool {
		if string(name) == message.PropCRC32 {
			return true
		}
		n++
		other, ok := message.Property(a, string(name))
		same = ok && bytes.Equal(other, value)
		return same
	})
	message.EachProperty(a, func(name, _ []byte) bool {
		switch string(name) {
		case message.PropCRC32, message.PropInnerMultiQueueOffset: // the store's
		default:
			n--
		}
		return true
	})
	return same && n == 0
}

var delayTopic = []byte(topic.Schedule)

// decode reads the table of offsets; one without any is empty.
func decode(wire []byte) (t protocol.DelayOffsetSerializeWrapper, err error) {
	err = t.Unmarshal(wire)
	if t.OffsetTable == nil {
		t.OffsetTable = make(map[int32]int64)
	}
	return t, err
}

package timer

import (
	"bytes"
	"errors"
	"hash/maphash"
	"math"
	"strconv"

	"rocketd/message"
	"rocketd/topic"
)

// fields are the properties of a message of the timer topic that matter here. They alias the record.
type fields struct {
	out, topic, queue, uniq, recalls, rolls, dequeued, tags []byte
	times                                                   bool // it has properties that a delivery replaces
}

func look(props []byte) (f fields) {
	message.EachProperty(props, func(name, value []byte) bool {
		switch string(name) {
		case message.PropTimerOutMs:
			f.out = value
		case message.PropRealTopic:
			f.topic = value
		case message.PropRealQueueID:
			f.queue = value
		case message.PropUniqKey:
			f.uniq = value
		case message.PropTimerDelUniqkey:
			f.recalls = value
		case message.PropTags:
			f.tags = value
		case message.PropTimerRollTimes:
			f.rolls, f.times = value, true
		case message.PropTimerDequeueMs:
			f.dequeued, f.times = value, true
		case message.PropTimerEnqueueMs, message.PropCRC32:
			f.times = true
		}
		return true
	})
	return f
}

// What is wrong with a message of the timer topic that nobody can deliver.
var (
	errNoTime   = errors.New("it does not say when it is due (TIMER_OUT_MS)")
	errNoTarget = errors.New("it does not say whom it is for (REAL_TOPIC, REAL_QID)")
	errTarget   = errors.New("it is for a topic of the broker itself")
)

// outMs is TIMER_OUT_MS.
func (f *fields) outMs() (int64, error) {
	ms, err := strconv.ParseInt(string(f.out), 10, 64)
	if err != nil || ms < 0 || ms > math.MaxInt64/4 {
		return 0, errNoTime
	}
	return ms, nil
}

// target is where the message goes when it is due. Clients can send to the timer topic, so it may say anything: a name that
// is no name of a directory, or a topic where a message would be taken for the broker's own.
func (f *fields) target() (name []byte, queue int32, err error) {
	id, err := strconv.ParseInt(string(f.queue), 10, 32)
	switch {
	case err != nil || id < 0 || len(f.topic) == 0 || len(f.topic) > message.MaxTopic,
		bytes.IndexByte(f.topic, '/') >= 0, string(f.topic) == ".", string(f.topic) == "..":
		return nil, 0, errNoTarget
	case string(f.topic) == topic.Timer, !topic.MaySend(f.topic):
		return nil, 0, errTarget
	}
	return f.topic, int32(id), nil
}

func (f *fields) rollTimes() int64 {
	n, _ := strconv.ParseInt(string(f.rolls), 10, 32)
	return n
}

// seed makes identities of this process.
var seed = maphash.MakeSeed()

// identity tells deliveries apart: the message by its key, times and body, and rolls, how often it was put into the timer topic, or
// -1 for the delivery to its own topic.
func (f *fields) identity(r *message.Record, rolls int64) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.Write(f.uniq)
	_ = h.WriteByte(0)
	_, _ = h.Write(f.out)
	for _, n := range [3]int64{r.BornMs, int64(r.BodyCRC), rolls} {
		maphash.WriteComparable(&h, n)
	}
	return h.Sum64()
}

// appendDelivered appends to dst the properties with which a message is stored again: its own, when it came into the wheel,
// and now. A message with so many that these do not fit keeps its own. Source: Java TimerMessageStore.convert.
func appendDelivered(dst, props []byte, f *fields, it *item, nowMs int64) []byte {
	start := len(dst)
	if f.times {
		message.EachProperty(props, func(name, value []byte) bool {
			switch string(name) {
			case message.PropTimerEnqueueMs, message.PropTimerDequeueMs, message.PropCRC32:
			case message.PropTimerRollTimes:
				if !it.roll {
					dst = message.AppendProperty(dst, message.PropTimerRollTimes, value)
				}
			default:
				dst = message.AppendProperty(dst, string(name), value)
			}
			return true
		})
	} else {
		dst = append(dst, props...)
	}
	var digits [20]byte
	dst = message.AppendProperty(dst, message.PropTimerEnqueueMs, strconv.AppendInt(digits[:0], it.writeMs, 10))
	if it.roll {
		dst = message.AppendProperty(dst, message.PropTimerRollTimes, strconv.AppendInt(digits[:0], f.rollTimes()+1, 10))
	}
	dst = message.AppendProperty(dst, message.PropTimerDequeueMs, strconv.AppendInt(digits[:0], nowMs, 10))
	if len(dst)-start > message.MaxProperties-message.PropCRCSize-1 {
		return append(dst[:start], props...)
	}
	return dst
}

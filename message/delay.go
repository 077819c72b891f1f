package message

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"rocketd/topic"
)

// DelayLevels is how long a message of each delay level waits, level 1 first. Source: Java ScheduleMessageService.
type DelayLevels []time.Duration

// DefaultDelayLevels is the table in the text form of messageDelayLevel that a broker has unless it is told another.
const DefaultDelayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// ParseDelayLevels reads the value of messageDelayLevel: whole numbers with a unit s, m, h or d, one space between them.
func ParseDelayLevels(text string) (DelayLevels, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	var levels DelayLevels
	for i, one := range strings.Split(strings.TrimRight(text, " "), " ") {
		if len(one) < 2 {
			return nil, fmt.Errorf("level %d: %q is no number with a unit (s, m, h, d)", i+1, one)
		}
		unit := units[one[len(one)-1]]
		n, err := strconv.ParseInt(one[:len(one)-1], 10, 32)
		if unit == 0 || err != nil || n < 0 {
			return nil, fmt.Errorf("level %d: %q is no number with a unit (s, m, h, d)", i+1, one)
		}
		levels = append(levels, time.Duration(n)*unit)
	}
	return levels, nil
}

// Cap is the level that a message of a level above the table has; the others are as they are.
func (l DelayLevels) Cap(level int32) int32 { return min(level, int32(len(l))) }

// Wait is how long a message of a level above 0 waits.
func (l DelayLevels) Wait(level int32) time.Duration { return l[l.Cap(level)-1] }

// Divert turns the draft of a message with a level above 0 into that of a record which waits in the delay topic: with
// REAL_TOPIC and REAL_QID, the level capped, and without a time of its own, which a level overrules. It returns the tag for
// Draft.Timed; buf grows by the properties. Source: Java HookUtils.transformDelayLevelMessage.
func (l DelayLevels) Divert(d *Draft, level int32, buf []byte) (tag int64, _ []byte) {
	level = l.Cap(level)
	at := len(buf)
	buf = AppendReal(buf, d.Properties, d.Topic, d.QueueID, PropDelayTimeLevel, PropTimerDeliverMs, PropTimerDelaySec, PropTimerDelayMs)
	var digits [12]byte
	buf = AppendProperty(buf, PropDelayTimeLevel, strconv.AppendInt(digits[:0], int64(level), 10))
	d.Topic, d.QueueID, d.Properties, d.Timed = delayTopic, level-1, buf[at:], true
	return l.Wait(level).Milliseconds(), buf
}

var delayTopic = []byte(topic.Schedule)

// DeliverMs is when a record of the delay topic is due, ms; ok is false for one that has no level, and for all other topics.
// Source: Java CommitLog.checkMessageAndReturnSize.
func (l DelayLevels) DeliverMs(r *Record) (ms int64, ok bool) {
	if string(r.Topic) != topic.Schedule {
		return 0, false
	}
	value, _ := Property(r.Properties, PropDelayTimeLevel)
	level, err := DelayLevel(value)
	if err != nil || level <= 0 {
		return 0, false
	}
	return r.StoreMs + l.Wait(level).Milliseconds(), true
}

// Tag is what the unit of a record has as tag: when it is due, or the hash of its tags.
func (l DelayLevels) Tag(r *Record) int64 {
	if ms, ok := l.DeliverMs(r); ok {
		return ms
	}
	return TagOf(r.Properties)
}

// DelayLevel reads the value of a DELAY property.
func DelayLevel(value []byte) (int32, error) {
	level, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("property %s is no number: %q", PropDelayTimeLevel, value)
	}
	return int32(level), nil
}

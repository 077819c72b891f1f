package message

import (
	"fmt"
	"strconv"

	"rocketd/topic"
)

// TimerOut is the TIMER_OUT_MS of a message that is to be delivered at deliverMs, for a wheel whose moments are precision ms
// long. Java rounds down to a whole moment, and a whole one to the one before, and delivers when that is over. We say the
// millisecond before, and so keep the time, but never a whole moment, which would be Java's for any time in it. Java's broker
// finds the same moment in both. Source: Java HookUtils.transformTimerMessage.
func TimerOut(deliverMs, precision int64) int64 {
	out := deliverMs - 1
	if precision > 1 && out%precision == 0 {
		out++
	}
	return out
}

// TimerDue is when a message with that TIMER_OUT_MS may be delivered.
func TimerDue(out, precision int64) int64 {
	if out%precision == 0 {
		return out + precision
	}
	return out + 1
}

// AppendTimed appends props to dst as they are for a message that waits in the timer topic until out: see AppendReal.
func AppendTimed(dst, props, topic []byte, queue int32, out int64) []byte {
	dst = AppendReal(dst, props, topic, queue, PropTimerOutMs)
	var digits [20]byte
	return AppendProperty(dst, PropTimerOutMs, strconv.AppendInt(digits[:0], out, 10))
}

// TimeOf reads when a message is to be delivered, ms, from its properties; timed is false if they do not ask for a time, or
// say that it has waited (TIMER_OUT_MS). A delay level overrules it, which the caller looks at. The error names the property
// that is no number, or no time. Source: Java HookUtils.transformTimerMessage, checkIfTimerMessage.
func TimeOf(props []byte, nowMs int64) (deliverMs int64, timed bool, err error) {
	var sec, ms, deliver, out []byte
	EachProperty(props, func(name, value []byte) bool {
		switch string(name) {
		case PropTimerDelaySec:
			sec = value
		case PropTimerDelayMs:
			ms = value
		case PropTimerDeliverMs:
			deliver = value
		case PropTimerOutMs:
			out = value
		}
		return true
	})
	switch {
	case out != nil:
		return 0, false, nil
	case sec != nil:
		deliverMs, err = timeIn(PropTimerDelaySec, sec, 1000)
		return nowMs + deliverMs, true, err
	case ms != nil:
		deliverMs, err = timeIn(PropTimerDelayMs, ms, 1)
		return nowMs + deliverMs, true, err
	case deliver != nil:
		deliverMs, err = timeIn(PropTimerDeliverMs, deliver, 1)
		return deliverMs, true, err
	}
	return 0, false, nil
}

func timeIn(name string, value []byte, unit int64) (int64, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n > maxTimeMs/unit || n < -maxTimeMs/unit {
		return 0, fmt.Errorf("property %s is no time: %.40q", name, value)
	}
	return n * unit, nil
}

// maxTimeMs is later than any time that is meant.
const maxTimeMs = 1 << 53

// DivertTimed makes of a message that is to be delivered at deliverMs the record that waits, in the timer topic. buf grows by
// its properties. It returns TIMER_OUT_MS.
func DivertTimed(d *Draft, deliverMs, precision int64, buf []byte) (out int64, _ []byte) {
	out, at := TimerOut(deliverMs, precision), len(buf)
	buf = AppendTimed(buf, d.Properties, d.Topic, d.QueueID, out)
	d.Topic, d.QueueID, d.Properties = timerTopic, 0, buf[at:]
	return out, buf
}

var timerTopic = []byte(topic.Timer)

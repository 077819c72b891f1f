package message

import "strconv"

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

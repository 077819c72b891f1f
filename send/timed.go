package send

import (
	"encoding/base64"
	"math"
	"math/rand/v2"
	"strconv"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// Timers says how messages with a time of delivery are taken (TIMER_DELIVER_MS, TIMER_DELAY_SEC, TIMER_DELAY_MS).
type Timers struct {
	Enabled   bool         // timerWheelEnable; without it they are refused
	Precision int64        // length of a moment of the wheel, ms: timerPrecisionMs
	MaxDelay  func() int64 // how far ahead a time may be, ms: timerMaxDelaySec
	// Limit is how many messages may wait for one moment (timerCongestNumEachSlot). Beyond it some are refused, beyond twice
	// as many all. Waiting says how many wait for the moment of a time; it is asked only where there is a limit.
	Limit   func() int64
	Waiting func(ms int64) int64
}

// noLimit is the value of timerCongestNumEachSlot that is none.
const noLimit = math.MaxInt32

// time says when a message is to be delivered; 0: at once. Source: Java HookUtils.handleScheduleMessage,
// SendMessageProcessor.handlePutMessageResult.
func (s *Service) time(props []byte, found *seen, nowMs int64) (deliverMs int64, _ *protocol.Error) {
	if !found.timed || found.level > 0 {
		return 0, nil
	}
	t := s.cfg.Timers
	deliverMs, timed, err := message.TimeOf(props, nowMs)
	switch {
	case !timed:
		return 0, nil
	case t == nil:
		return 0, protocol.Errorf(protocol.RequestCodeNotSupported, "timed messages are not served by this broker")
	case !t.Enabled:
		return 0, protocol.Errorf(protocol.SystemError, "accurate timer message is not enabled, timerWheelEnable is false")
	case err != nil:
		return 0, protocol.Errorf(protocol.MessageIllegal, "timer message illegal: %v", err)
	case deliverMs <= nowMs && !found.recalls:
		return 0, nil
	case deliverMs <= nowMs || deliverMs-nowMs > t.MaxDelay():
		return 0, protocol.Errorf(protocol.MessageIllegal,
			"timer message illegal, the delay time should not be bigger than the max delay %dms; or if set del msg, the delay time should be bigger than the current time (it is to be delivered in %d ms)",
			t.MaxDelay(), deliverMs-nowMs)
	case t.crowded(deliverMs):
		return 0, protocol.Errorf(protocol.SystemError,
			"timer message is under flow control, max num limit is %d or the current value is greater than %d and less than %d, trigger random flow control",
			2*t.Limit(), t.Limit(), 2*t.Limit())
	}
	return deliverMs, nil
}

// crowded tells whether one more message for a time is refused. Source: Java TimerMessageStore.isReject, whose chance is the
// smaller the more wait.
func (t *Timers) crowded(deliverMs int64) bool {
	limit := t.Limit()
	if limit >= noLimit {
		return false
	}
	over := t.Waiting(message.TimerOut(deliverMs, t.Precision)) - limit
	return over > 0 && (over >= limit || rand.Int64N(limit) < over)
}

// appendHandle appends the handle with which a producer can recall a message that waits. Source: Java RecallMessageHandle,
// SendMessageProcessor.attachRecallHandle.
func (s *Service) appendHandle(dst []byte, topicName []byte, out int64, uniq []byte) []byte {
	if topic.IsRetry(topicName) {
		return dst
	}
	raw := append(make([]byte, 0, 160), handleVersion+" "...)
	raw = append(append(raw, topicName...), ' ')
	raw = append(append(raw, s.cfg.Broker...), ' ')
	raw = append(strconv.AppendInt(raw, out+1, 10), ' ')
	return base64.URLEncoding.AppendEncode(dst, append(raw, uniq...))
}

const handleVersion = "v1"

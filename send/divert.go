package send

import (
	"encoding/binary"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
)

// waits tells whether a message is not to be read where it was sent to, and so is stored elsewhere.
func (found *seen) waits() bool {
	return found.half || found.level > 0 || found.badLevel != nil || found.deliverMs > 0 || found.dead
}

// divert changes a message into the record that is stored in its stead elsewhere: in a topic of the broker's own where no
// consumer reads, while it waits, or with the dead letters. It returns the tag of that record. d says where the message was
// sent to, with all its properties; buf grows by those of the record. This is the one place where sends are diverted: each
// kind is a case, and a function of package message that others who store messages use, too. Source: Java
// SendMessageProcessor.handleRetryAndDLQ, HookUtils.handleScheduleMessage.
func (s *Service) divert(d *message.Draft, found *seen, buf []byte) (tag int64, _ []byte, _ *protocol.Error) {
	switch {
	case found.dead:
		return message.TagsCode(found.tags), bury(d, buf), nil
	case found.badLevel != nil:
		return 0, buf, protocol.Errorf(protocol.SystemError, "%v", found.badLevel)
	case found.half:
		return s.prepare(d, found, buf)
	case found.deliverMs > 0:
		_, buf = message.DivertTimed(d, found.deliverMs, s.cfg.Timers.Precision, buf)
		tag = message.TagsCode(found.tags)
	default:
		tag, buf = s.cfg.DelayLevels.Divert(d, found.level, buf)
	}
	return tag, buf, nil
}

// timedRoom is what a timed message's properties grow by when it is stored again, bytes: when it came into the wheel and out
// of it, and how often.
const timedRoom = 128

// stageElsewhere stages a message that is diverted. d has its properties in the batch's Scratch. The answer says the queue that it
// was sent to, and the offsets of the record that waits, as Java's does, and for a time the handle that recalls it.
func (s *Service) stageElsewhere(c *protocol.Call, d *message.Draft, found *seen, uniq []byte) *protocol.Error {
	b := put.Of(c.Turn)
	var room [512]byte
	sentTo := binary.BigEndian.AppendUint32(room[:0], uint32(found.sentTo))
	sentTo = binary.BigEndian.AppendUint16(sentTo, 0)
	reserved, name := 0, len(d.Topic)
	if found.deliverMs > 0 {
		sentTo = s.appendHandle(sentTo, d.Topic, message.TimerOut(found.deliverMs, s.cfg.Timers.Precision), uniq)
		binary.BigEndian.PutUint16(sentTo[4:], uint16(len(sentTo)-6))
		reserved = timedRoom
	}
	if found.half {
		reserved = halfRoom
	}
	tag, buf, e := s.divert(d, found, b.Scratch)
	b.Scratch = buf
	if e != nil {
		return e
	}
	if e := s.checkRoom(len(d.Properties)+reserved, found.further, false); e != nil {
		return e
	}
	if err := b.Fits(d.Size() + name + reserved); err != nil { // else what comes of it later could not be stored
		return put.Refusal(err)
	}
	b.Stage(s.queueOf(d.Topic, d.QueueID), d, tag, !found.noWait, append(sentTo, uniq...), c.Ticket(), s.moved)
	return nil
}

// answerElsewhere is answer for what stageElsewhere staged.
func (s *Service) answerElsewhere(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	queue, n := int32(binary.BigEndian.Uint32(o.Uniq)), 6+int(binary.BigEndian.Uint16(o.Uniq[4:]))
	handle := o.Uniq[6:n]
	o.Uniq = o.Uniq[n:]
	s.write(t, k, o, queue, handle, false)
}

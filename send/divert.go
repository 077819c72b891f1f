package send

import (
	"encoding/binary"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
)

// waits tells whether a message is not to be read yet, and so is stored elsewhere.
func (found *seen) waits() bool { return found.level > 0 || found.badLevel != nil }

// divert changes a message that waits into the record that is stored in its stead, in a topic of the broker's own where no
// consumer reads, and returns the tag of that record. d says where the message was sent to, with all its properties; buf
// grows by those of the record. This is the one place where sends are diverted: each kind is a case, and a function of
// package message that others who store messages use, too. Source: Java HookUtils.handleScheduleMessage.
func (s *Service) divert(d *message.Draft, found *seen, buf []byte) (tag int64, _ []byte, _ *protocol.Error) {
	switch {
	case found.badLevel != nil:
		return 0, buf, protocol.Errorf(protocol.SystemError, "%v", found.badLevel)
	default:
		tag, buf = s.cfg.DelayLevels.Divert(d, found.level, buf)
	}
	return tag, buf, nil
}

// stageElsewhere stages a message that waits. d has its properties in the batch's Scratch. The answer says the queue that it
// was sent to, and the offsets of the record that waits, as Java's does.
func (s *Service) stageElsewhere(c *protocol.Call, d *message.Draft, found *seen, uniq []byte) *protocol.Error {
	b := put.Of(c.Turn)
	var sentTo [64]byte
	binary.BigEndian.PutUint32(sentTo[:], uint32(d.QueueID))
	tag, buf, e := s.divert(d, found, b.Scratch)
	b.Scratch = buf
	if e != nil {
		return e
	}
	if e := s.checkRoom(len(d.Properties), 0, false); e != nil {
		return e
	}
	q := s.cfg.Queues.Find(d.Topic, d.QueueID)
	if q == nil {
		q = s.cfg.Queues.Queue(string(d.Topic), d.QueueID)
	}
	b.Stage(q, d, tag, !found.noWait, append(sentTo[:4], uniq...), c.Ticket(), s.moved)
	return nil
}

// answerElsewhere is answer for what stageElsewhere staged.
func (s *Service) answerElsewhere(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	queue := int32(binary.BigEndian.Uint32(o.Uniq))
	o.Uniq = o.Uniq[4:]
	s.write(t, k, o, queue, false)
}

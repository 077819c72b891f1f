package send

import (
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// halfRoom is what the properties of a half message may grow by later, bytes: the number of checks, and what a time needs.
const halfRoom = 64 + timedRoom

// prepared tells whether a message is the first half of a transaction. A message to be consumed again is not, though clients
// before 4.6.1 leave TRAN_MSG in its properties. Source: Java SendMessageProcessor.sendMessage.
func (found *seen) prepared(reconsumeTimes int32) bool {
	return found.half && !(reconsumeTimes > 0 && found.level > 0)
}

// prepare turns the draft of a prepared message into a half message, which no consumer reads: what becomes of it, its
// producer says later. A delay counts from then. Source: Java TransactionalMessageBridge.parseHalfMessageInner.
func (s *Service) prepare(d *message.Draft, found *seen, buf []byte) (tag int64, _ []byte, _ *protocol.Error) {
	switch {
	case s.cfg.RejectHalf():
		return 0, buf, protocol.Errorf(protocol.NoPermission, "the broker[%s] sending transaction message is forbidden", s.cfg.StoreHost().Addr())
	case found.further > 0:
		return 0, buf, protocol.Errorf(protocol.MessageIllegal, "a transactional message may not go to further queues (property %s)", message.PropInnerMultiDispatch)
	}
	uniq, _ := message.Property(d.Properties, message.PropUniqKey)
	at := len(buf)
	buf = message.AppendReal(buf, d.Properties, d.Topic, d.QueueID,
		message.PropTransactionID, message.PropTransactionCheckTimes, message.PropTransactionPreparedQueueOffset)
	buf = message.AppendProperty(buf, message.PropTransactionID, uniq)
	d.Topic, d.QueueID, d.Properties = halfTopic, 0, buf[at:]
	d.SysFlag &^= message.FlagRollback
	return message.TagsCode(found.tags), buf, nil
}

var halfTopic = []byte(topic.TransHalf)

// Place returns where a message goes that was sent before and may be read from now on, and the tag of its unit: to its own
// queue, or to where it waits for its time, for which the draft is changed. It is for transactions that are committed.
func (s *Service) Place(d *message.Draft, tag int64, now time.Time) (*consumequeue.Queue, int64, *protocol.Error) {
	found, e := look(d.Properties)
	if e != nil {
		return nil, 0, e
	}
	if found.deliverMs, e = s.time(d.Properties, &found, now.UnixMilli()); e != nil {
		return nil, 0, e
	}
	if found.half = false; found.waits() {
		if tag, _, e = s.divert(d, &found, nil); e != nil {
			return nil, 0, e
		}
	}
	if e = s.checkRoom(len(d.Properties), found.further, false); e != nil {
		return nil, 0, e
	}
	return s.queueOf(d.Topic, d.QueueID), tag, nil
}

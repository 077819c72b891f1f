package send

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/topic"
)

// seen is what one pass over a property string found. The slices alias it.
type seen struct {
	uniq, tags []byte
	noWait     bool // WAIT=false: the producer does not wait for disk and slaves
	cluster    bool // one of the properties that the broker adds is there already
	popCk      bool // a client may not send a POP handle
	keys       bool
	level      int32 // above 0: it waits for that delay level
	badLevel   error // its level is no number
	dead       bool  // it goes to the dead letters of the group whose retry topic it was sent to
	timed      bool  // it asks for a time of delivery; a level overrules that
	recalls    bool  // it recalls a message that waits
	deliverMs  int64 // above 0: it waits until then
	half       bool
	sentTo     int32 // the queue that the producer named
	inner      bool  // counts the messages of an inner batch
	ordered    bool  // it has a sharding key
	priority   int32
	ranked     bool // it has a priority
	further    int  // queues beside its own that INNER_MULTI_DISPATCH names:
	multi      []byte
	lite       []byte // it goes to that lite topic of its topic
}

// look reads the properties that matter here in one pass, without allocation.
func look(props []byte) (seen, *protocol.Error) {
	var s seen
	if len(props) > message.MaxProperties {
		return s, tooManyProperties(len(props))
	}
	message.EachProperty(props, func(name, value []byte) bool {
		switch string(name) {
		case message.PropUniqKey:
			s.uniq = value
		case message.PropTags:
			s.tags = value
		case message.PropKeys:
			s.keys = len(bytes.TrimSpace(value)) > 0
		case message.PropWaitStoreMsgOK:
			s.noWait = bytes.EqualFold(value, []byte("false"))
		case message.PropCluster, message.PropMsgRegion, message.PropTraceSwitch:
			s.cluster = true
		case message.PropPopCK:
			s.popCk = true
		case message.PropDelayTimeLevel:
			s.level, s.badLevel = message.DelayLevel(value)
		case message.PropTimerDelayMs, message.PropTimerDelaySec, message.PropTimerDeliverMs:
			s.timed = true
		case message.PropTimerDelUniqkey:
			s.recalls = true
		case message.PropTransactionPrepared:
			s.half = bytes.EqualFold(value, []byte("true"))
		case message.PropInnerNum:
			s.inner = true
		case message.PropShardingKey:
			s.ordered = len(value) > 0
		case message.PropPriority:
			s.priority, s.ranked = priority(value)
		case message.PropInnerMultiDispatch:
			s.further, s.multi = bytes.Count(value, []byte{','})+1, value
		case message.PropLiteTopic:
			s.lite = value
		}
		return true
	})
	return s, nil
}

// unserved refuses the kinds of message that this broker cannot keep its promise for yet: to store one as a plain
// message would deliver it too early, or before its transaction is decided, or lose it when the queues are built again
// from the log, where such a sysFlag means that a record is in no queue.
func (s *Service) unserved(found *seen, sysFlag int32) *protocol.Error {
	switch {
	case sysFlag&message.FlagPrepared != 0 && !found.half: // rolled back ones have the bit too
		return protocol.Errorf(protocol.MessageIllegal, "sysFlag %d is that of a transaction, and there is no property %s", sysFlag, message.PropTransactionPrepared)
	case found.multi != nil && s.tooManyLight(found.multi):
		return protocol.Errorf(protocol.SystemError, "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]there are as many light queues as maxLmqConsumeQueueNum allows, and property %s names a new one", message.PropInnerMultiDispatch)
	case found.inner || sysFlag&(message.FlagInnerBatch|message.FlagNeedUnwrap) != 0:
		return protocol.Errorf(protocol.MessageIllegal, "inner batches are not for topics with plain queues (sysFlag %d, property %s)", sysFlag, message.PropInnerNum)
	}
	return nil
}

// unbatched refuses what may not be in a batch, nor be said of one as a whole. Source: Java CommitLog.asyncPutMessages.
func (s *Service) unbatched(found *seen, sysFlag int32) *protocol.Error {
	switch {
	case found.level > 0:
		return protocol.Errorf(protocol.MessageIllegal, "a batch may not hold delayed messages (property %s)", message.PropDelayTimeLevel)
	case found.half:
		return protocol.Errorf(protocol.MessageIllegal, "a batch may not be transactional (property %s)", message.PropTransactionPrepared)
	case sysFlag&message.FlagRollback != 0:
		return protocol.Errorf(protocol.MessageIllegal, "a batch may not be transactional (sysFlag %d)", sysFlag)
	}
	if found.timed {
		return protocol.Errorf(protocol.MessageIllegal, "a batch may not hold timed messages (properties %s, %s, %s)",
			message.PropTimerDelaySec, message.PropTimerDelayMs, message.PropTimerDeliverMs)
	}
	return s.unserved(found, sysFlag)
}

// checkKeys refuses a message without a key for a topic that keeps the last message of each key.
func checkKeys(s *seen, cfg *topic.Config) *protocol.Error {
	if !s.keys && cfg.Compacts() {
		return protocol.Errorf(protocol.MessageIllegal, "Required message key is missing")
	}
	return nil
}

// ours are the properties that the broker sets, whatever a client sent.
var ours = []string{message.PropCluster, message.PropMsgRegion, message.PropTraceSwitch, message.PropPopCK}

// properties appends the client's properties and those that the broker adds to dst.
func (s *Service) properties(dst, props []byte, found *seen) []byte {
	lite := len(found.lite) > 0
	if unranked := found.ranked && !found.byPriority(); found.cluster || found.popCk || unranked || lite {
		message.EachProperty(props, func(name, value []byte) bool {
			switch {
			case slices.Contains(ours, string(name)):
			case unranked && string(name) == message.PropPriority:
			case lite && string(name) == message.PropInnerMultiDispatch:
			default:
				dst = message.AppendProperty(dst, string(name), value)
			}
			return true
		})
	} else {
		dst = append(dst, props...)
	}
	if lite {
		dst = message.AppendProperty(dst, message.PropInnerMultiDispatch, found.multi)
	}
	if found.uniq == nil {
		dst = message.AppendProperty(dst, message.PropUniqKey, s.cfg.NewID())
	}
	dst = message.AppendProperty(dst, message.PropCluster, []byte(s.cfg.Cluster))
	return append(dst, s.added...)
}

// checkSize holds a message against the limits of a record. One without a body says of a topic that keeps the last message of
// each key that the key is deleted, and is no message elsewhere. Source: storage.md 3.5, Java HookUtils.
func (s *Service) checkSize(name, body, props []byte, deletes bool) *protocol.Error {
	limit := s.cfg.MaxMessageSize()
	switch {
	case len(name) > topic.MaxLength && !topic.IsRetry(name), len(name) > topic.MaxRetryLength:
		return protocol.Errorf(protocol.MessageIllegal, "message topic length too long %d", len(name))
	case len(body) == 0 && !deletes:
		return protocol.Errorf(protocol.MessageIllegal, "the message has no body")
	case len(body) > limit:
		return tooLong(len(body), limit)
	case len(props) > message.MaxProperties:
		return tooManyProperties(len(props))
	}
	return nil
}

// describe prints a topic as Java's TopicConfig.toString does, which is part of a remark.
func describe(c *topic.Config) string {
	var attributes []string
	for _, k := range slices.Sorted(maps.Keys(c.Attributes)) {
		attributes = append(attributes, k+"="+c.Attributes[k])
	}
	return fmt.Sprintf("TopicConfig [topicName=%s, readQueueNums=%d, writeQueueNums=%d, perm=%s, topicFilterType=%s, topicSysFlag=%d, order=%t, attributes={%s}]",
		c.Name, c.ReadQueueNums, c.WriteQueueNums, c.Perm, c.FilterType, c.SysFlag, c.Order, strings.Join(attributes, ", "))
}

func checkName(name []byte) *protocol.Error {
	if err := topic.CheckTopic(string(name)); err != nil {
		return protocol.Errorf(protocol.InvalidParameter, "%v", err)
	}
	return nil
}

func forbidden(name []byte) *protocol.Error {
	return protocol.Errorf(protocol.NoPermission, "Sending message to topic[%s] is forbidden.", name)
}

func noGroup(group []byte) *protocol.Error {
	return protocol.Errorf(protocol.SubscriptionGroupNotExist, "subscription group not exist, %s", group)
}

// checkRoom leaves room for what the store will add to n bytes of properties.
func (s *Service) checkRoom(n, further int, inner bool) *protocol.Error {
	room := 0
	if inner || further > 0 {
		room = store.LateRoom(further)
	} else if s.cfg.PropCRC {
		room = message.PropCRCSize + 1
	}
	if n > message.MaxProperties-room {
		return tooManyProperties(n + room)
	}
	return nil
}

func tooLong(n, limit int) *protocol.Error {
	return protocol.Errorf(protocol.MessageIllegal, "the message body has %d bytes, maxMessageSize is %d", n, limit)
}

func tooManyProperties(n int) *protocol.Error {
	return protocol.Errorf(protocol.MessageIllegal, "the message properties have %d bytes, at most %d", n, message.MaxProperties)
}

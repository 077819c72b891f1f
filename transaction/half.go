package transaction

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/topic"
)

// half is a half message as it lies in the log, and what its properties say. It aliases the record.
//
// A half message is the message that a producer prepared, as a plain record of the topic RMQ_SYS_TRANS_HALF_TOPIC:
// REAL_TOPIC and REAL_QID say where it wants to go, __transactionId__ repeats its UNIQ_KEY, and the transaction bits of its
// sysFlag are 0. Source: Java TransactionalMessageBridge.parseHalfMessageInner.
type half struct {
	message.Record
	uniq, group, realTopic []byte
	realQueue              int32
	times                  int           // how often its producers were asked; 0: never
	immunity               time.Duration // CHECK_IMMUNITY_TIME_IN_SECONDS; -1: not given, or not a number
	first                  int64         // TRAN_PREPARED_QUEUE_OFFSET, -1: none
}

// errNoHalf says that a record is no half message that this broker could end.
var errNoHalf = errors.New("it is no half message")

// parseHalf reads a record. Its properties may be anything, as clients and other brokers wrote them.
func parseHalf(record []byte) (h half, err error) {
	if h.Record, err = message.Decode(record); err != nil {
		return h, err
	}
	if string(h.Topic) != topic.TransHalf {
		return h, fmt.Errorf("%w: its topic is %s", errNoHalf, h.Topic)
	}
	h.first, h.realQueue, h.immunity = -1, -1, -1
	message.EachProperty(h.Properties, func(name, value []byte) bool {
		switch string(name) {
		case message.PropUniqKey:
			h.uniq = value
		case message.PropProducerGroup:
			h.group = value
		case message.PropRealTopic:
			h.realTopic = value
		case message.PropRealQueueID:
			h.realQueue = int32(number(value, -1, math.MaxInt32))
		case message.PropTransactionCheckTimes:
			h.times = int(number(value, 0, math.MaxInt32))
		case message.PropCheckImmunityTimeInSeconds:
			if n := number(value, -1, maxImmunity); n >= 0 {
				h.immunity = time.Duration(n) * time.Second
			}
		case message.PropTransactionPreparedQueueOffset:
			h.first = number(value, -1, math.MaxInt64)
		}
		return true
	})
	switch {
	case len(h.realTopic) == 0 || len(h.realTopic) > message.MaxTopic:
		return h, fmt.Errorf("%w: property %s", errNoHalf, message.PropRealTopic)
	case h.realQueue < 0:
		return h, fmt.Errorf("%w: property %s", errNoHalf, message.PropRealQueueID)
	}
	return h, nil
}

// maxImmunity is what more seconds are taken for: some 68 years.
const maxImmunity = math.MaxInt32

// number reads a property; what is no number from 0 to limit is otherwise, or the limit.
func number(value []byte, otherwise, limit int64) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	switch {
	case err != nil || n < 0:
		return otherwise
	case n > limit:
		return limit
	}
	return n
}

// copied tells whether h was put back before, so that an older copy may be about.
func (h *half) copied() bool { return h.times > 0 || h.first >= 0 }

// draft is the message of h with other properties.
func (h *half) draft(name []byte, queue int32, props []byte, host netip.AddrPort) message.Draft {
	d := h.Draft()
	d.Topic, d.Properties, d.QueueID, d.StoreHost = name, props, queue, host
	return d
}

// restored is the message that consumers get when the transaction of h is committed, its properties in buf, and the code of
// its tags. It keeps TRAN_MSG, PGROUP and __transactionId__, as with Java; what says where it wants to go is gone.
// PreparedOffset is physical, the place of the copy that is committed: load relies on it. Source: Java
// EndTransactionProcessor.endMessageTransaction, and a store that Java 5.5 wrote.
func (h *half) restored(buf []byte, physical int64, host netip.AddrPort) (message.Draft, int64) {
	buf = message.WithoutProperty(buf[:0], h.Properties, message.PropRealTopic, message.PropRealQueueID, message.PropTransactionPreparedQueueOffset, message.PropCRC32)
	d := h.draft(h.realTopic, h.realQueue, buf, host)
	d.SysFlag = d.SysFlag&^message.FlagRollback | message.FlagCommit
	d.PreparedOffset = physical
	return d, message.TagOf(h.Properties)
}

// renewed is a copy of h to be put back, its properties in buf, with a number of checks. Source: Java
// TransactionalMessageBridge.renewHalfMessageInner.
func (h *half) renewed(buf []byte, times int, host netip.AddrPort) (message.Draft, int64) {
	buf = message.WithoutProperty(buf[:0], h.Properties, message.PropTransactionCheckTimes, message.PropTransactionPreparedQueueOffset, message.PropCRC32)
	buf = message.AppendProperty(buf, message.PropTransactionCheckTimes, strconv.AppendInt(nil, int64(times), 10))
	if len(buf) > message.MaxProperties-message.PropCRCSize { // Java's, full to the brim: it is not counted
		buf = message.WithoutProperty(buf[:0], h.Properties, message.PropCRC32)
	}
	return h.draft([]byte(topic.TransHalf), 0, buf, host), message.TagOf(h.Properties)
}

// discarded is h for the topic of those whose producers were asked too often. Its PreparedOffset is that of h, as with a
// restored one. Source: Java DefaultTransactionalMessageCheckListener.
func (h *half) discarded(host netip.AddrPort) (message.Draft, int64) {
	d := h.draft([]byte(topic.TransCheckMax), 0, h.Properties, host)
	d.PreparedOffset = h.Physical
	return d, message.TagOf(h.Properties)
}

// asked is h as the body of CHECK_TRANSACTION_STATE: a record with the topic and queue that it wants to go to, and with
// other properties. Its places are to be patched. Source: Java AbstractTransactionalMessageCheckListener.sendCheckMessage.
func (h *half) asked(props []byte, host netip.AddrPort) []byte {
	d := h.draft(h.realTopic, h.realQueue, props, host)
	record := message.AppendRecord(nil, &d)
	message.Patch(record, 0, 0, h.StoreMs)
	return record
}

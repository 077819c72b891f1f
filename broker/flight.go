package broker

import (
	"fmt"
	"strconv"

	"rocketd/message"
	"rocketd/pop"
	"rocketd/put"
	"rocketd/topic"
)

// flight is a record of a slave's own services on its way to another set, as the message that it is there.
type flight struct {
	record  message.Record
	topic   string   // where it is stored
	home    string   // the sets that have this topic may get it
	key     []byte   // those with one key meet in one set; nil: any will do
	queue   int32    // of the topic; -1: any
	sysFlag int32    //
	props   []byte   //
	group   []byte   // of producers; nil: the broker itself
	to      []refuge // where it may go, the best first
}

// waits are the properties that make a message wait. What has waited must not wait again.
var waits = []string{message.PropDelayTimeLevel, message.PropTimerDelaySec, message.PropTimerDelayMs, message.PropTimerDeliverMs}

// newFlight makes a message of a record, which it keeps a part of. Source of the kinds: Java EscapeBridge,
// TransactionalMessageUtil.buildTransactionalMessageFromHalfMessage.
//
//	a message of a user, a retry of one   as it is, at once
//	one in the timer topic                 in its own topic, with its time: the other set has a wheel, too
//	a half message                         prepared in its own topic: the other set asks for it and ends it
//	check points and acknowledgements      in the revive topic, those of one check point together
func newFlight(r *message.Record, precision int64) (flight, error) {
	f := flight{record: *r, topic: string(r.Topic), queue: -1, sysFlag: r.SysFlag &^ (message.FlagBornHostV6 | message.FlagStoreHostV6)}
	if r.SysFlag&message.FlagInnerBatch != 0 {
		return f, fmt.Errorf("%w: a batch is not for another set", put.ErrCopy)
	}
	p := message.WithoutProperty(nil, r.Properties, message.PropWaitStoreMsgOK, message.PropCRC32)
	real, queue, hasReal := message.Real(p)
	switch f.topic {
	case topic.Timer:
		out, _ := message.Property(p, message.PropTimerOutMs)
		ms, err := strconv.ParseInt(string(out), 10, 64)
		if err != nil || !hasReal {
			return f, fmt.Errorf("%w: it does not say when it is due, and where", put.ErrCopy)
		}
		p = message.WithoutProperty(nil, p, append(wheelProps, waits...)...)
		p = message.AppendProperty(p, message.PropTimerDeliverMs, strconv.AppendInt(nil, message.TimerDue(ms, precision), 10))
		f.topic, f.queue = string(real), queue
	case topic.TransHalf:
		if !hasReal {
			return f, fmt.Errorf("%w: it does not say where it goes", put.ErrCopy)
		}
		p = message.WithoutProperty(nil, p, message.PropRealTopic, message.PropRealQueueID, message.PropTransactionCheckTimes,
			message.PropTransactionPreparedQueueOffset, message.PropTransactionPrepared)
		p = message.AppendProperty(p, message.PropTransactionPrepared, []byte("true"))
		f.topic, f.sysFlag = string(real), f.sysFlag&^message.FlagRollback|message.FlagPrepared
	default:
		p = message.WithoutProperty(nil, p, waits...)
	}
	f.home = f.topic
	switch {
	case topic.IsRevive(f.topic):
		ck, key, err := pop.KeyOf(r)
		if err != nil {
			return f, fmt.Errorf("%w: %w", put.ErrCopy, err)
		}
		f.home, f.key = ck, key
		if f.queue < 0 {
			f.queue = r.QueueID
		}
	case topic.IsSystem(f.topic):
		return f, fmt.Errorf("%w: records of topic %s mean nothing to another set", put.ErrCopy, f.topic)
	case topic.IsRetry(f.topic):
		f.home, f.queue = retriedFrom(f.topic, p), 0
	default:
		f.queue = -1
	}
	f.group, _ = message.Property(p, message.PropProducerGroup)
	f.props = message.AppendProperty(p, message.PropWaitStoreMsgOK, []byte("false"))
	return f, nil
}

// wheelProps are what a message has while it waits in a wheel.
var wheelProps = []string{message.PropRealTopic, message.PropRealQueueID, message.PropTimerOutMs, message.PropTimerEnqueueMs, message.PropTimerDequeueMs, message.PropTimerRollTimes}

// retriedFrom is the topic whose messages come again in a retry topic: where that is, its consumers are, and the broker there
// makes the retry topic.
func retriedFrom(name string, props []byte) string {
	if group, ok := message.Property(props, message.PropOriginGroup); ok {
		if of := topic.OfPopRetry(name, string(group)); of != name {
			return of
		}
	}
	if of, ok := message.Property(props, message.PropRetryTopic); ok && !topic.IsRetry(of) {
		return string(of)
	}
	return name
}

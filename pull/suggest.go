package pull

import (
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/topic"
)

// Place is where a broker stands among those of its name, as far as it matters to who pulls from it. The zero value is a
// master that sends nobody to its slaves.
type Place struct {
	Slave       bool  // brokerRole is SLAVE, and the broker does not act as master
	OffsetCheck bool  // offsetCheckInSlave: a slave corrects offsets too
	SlaveRead   bool  // slaveReadEnable
	Far         int64 // bytes behind the end of the log from which on a reader is sent to a slave, see store.Config.HotBytes
}

// master is the broker id of a master.
const master = 0

// moves tells whether an offset that is outside of a queue is corrected. A slave may lag behind its master, and does not.
// Source: Java DefaultMessageStore.nextOffsetCorrection.
func (p Place) moves() bool { return !p.Slave || p.OffsetCheck }

// suggest says which broker a consumer whose last message lies so many bytes behind the end of the log is told to ask next,
// and the code of the answer, which may become PULL_RETRY_IMMEDIATELY: another broker is to say whether there is anything. A
// slave sends nobody to the master by itself, as outside of a container no Java broker does: the least id of a set is its
// own there. Source: Java PullMessageProcessor.composeResponseHeader, DefaultPullMessageResultHandler,
// DefaultMessageStore.getMessage.
func (p Place) suggest(code int32, behind int64, group *topic.GroupConfig) (broker int64, newCode int32) {
	far := behind > p.Far
	switch {
	case !p.SlaveRead:
		broker = master
	case far:
		broker = group.WhichBrokerWhenConsumeSlowly
	default:
		broker = group.BrokerID
	}
	if code == protocol.PullOffsetMoved && !p.moves() {
		broker, code = group.BrokerID, protocol.PullRetryImmediately
	}
	return broker, code
}

// uncorrect takes the correction of an offset out of a result.
func uncorrect(res *store.ReadResult, from int64) {
	switch res.Status {
	case store.NoMatchedLogicQueue, store.NoMessageInQueue, store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull:
		res.Next = from
	}
}

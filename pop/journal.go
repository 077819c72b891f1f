package pop

import (
	"strconv"

	"rocketd/message"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// ackInterval is how much earlier than its end a check point comes to the revive topic, so that it is there before its
// acknowledgements. Source: Java PopAckConstants.
const ackInterval = 1000 // ms

// journal makes the records that keep what was popped and acknowledged: timed messages for the revive topic. Until they
// are due they lie in the topic of the timer, and there a broker that starts again, or a Java one, finds them. Source: Java
// PopMessageProcessor, AckMessageProcessor, HookUtils.
type journal struct {
	cfg    *Config
	revive []byte // the topic
	body   []byte
	props  []byte
	uniq   []byte
}

func newJournal(cfg *Config) *journal {
	return &journal{cfg: cfg, revive: []byte(topic.ReviveTopic(cfg.Cluster))}
}

// record is one record to be staged. It aliases the journal and is valid until the next.
type record struct {
	queue *consumequeue.Queue
	draft message.Draft
	tag   int64
}

var (
	ckCode   = message.TagsCode([]byte(tagCheckpoint))
	ackCode  = message.TagsCode([]byte(tagAck))
	bAckCode = message.TagsCode([]byte(tagBatchAck))
)

// checkpoint makes the record of a check point.
func (j *journal) checkpoint(c *Checkpoint, revive int32, nowMs int64) record {
	j.body = c.AppendJSON(j.body[:0])
	j.identity(c.Topic, c.QueueID, c.Start, c.Group, c.PopMs, c.Broker, tagCheckpoint)
	return j.timed(tagCheckpoint, ckCode, revive, c.ReviveMs()-ackInterval, nowMs)
}

// ack makes the record of one or more acknowledgements, which is due with its check point at reviveMs.
func (j *journal) ack(a *Ack, revive int32, reviveMs, nowMs int64) record {
	j.body = a.AppendJSON(j.body[:0])
	if len(a.Offsets) > 0 {
		j.batchIdentity(a)
		return j.timed(tagBatchAck, bAckCode, revive, reviveMs, nowMs)
	}
	j.identity(a.Topic, a.QueueID, a.Offset, a.Group, a.PopMs, a.Broker, tagAck)
	return j.timed(tagAck, ackCode, revive, reviveMs, nowMs)
}

// batchIdentity makes the UNIQ_KEY of a batch: T@Q@[o1, o2]@G@popTime@bAck.
func (j *journal) batchIdentity(a *Ack) {
	b := append(append(j.uniq[:0], a.Topic...), '@')
	b = append(strconv.AppendInt(b, int64(a.QueueID), 10), '@', '[')
	for i, o := range a.Offsets {
		if i > 0 {
			b = append(b, ',', ' ')
		}
		b = strconv.AppendInt(b, o, 10)
	}
	b = append(append(append(b, ']', '@'), a.Group...), '@')
	b = append(strconv.AppendInt(b, a.PopMs, 10), '@')
	j.uniq = append(b, tagBatchAck...)
}

// identity makes the UNIQ_KEY: T@Q@offset@G@popTime@broker@tag.
func (j *journal) identity(name string, queue int32, offset int64, group string, popMs int64, broker, tag string) {
	b := append(append(j.uniq[:0], name...), '@')
	b = append(strconv.AppendInt(b, int64(queue), 10), '@')
	b = append(strconv.AppendInt(b, offset, 10), '@')
	b = append(append(b, group...), '@')
	b = append(strconv.AppendInt(b, popMs, 10), '@')
	b = append(append(b, broker...), '@')
	j.uniq = append(b, tag...)
}

// timed addresses the record: to the timer, or to the revive topic itself if it is due.
func (j *journal) timed(tag string, code int64, revive int32, dueMs, nowMs int64) record {
	var digits [20]byte
	p := message.AppendProperty(j.props[:0], message.PropUniqKey, j.uniq)
	p = message.AppendProperty(p, message.PropTags, []byte(tag))
	p = message.AppendProperty(p, message.PropTimerDeliverMs, strconv.AppendInt(digits[:0], dueMs, 10))
	host := j.cfg.StoreHost()
	d := message.Draft{Topic: j.revive, Body: j.body, Properties: p, QueueID: revive, BornMs: nowMs, BornHost: host, StoreHost: host}
	if dueMs > nowMs {
		_, p = message.DivertTimed(&d, dueMs, j.cfg.TimerPrecisionMs, p)
	}
	j.props = p
	queue := j.cfg.Queues.Find(d.Topic, d.QueueID)
	if queue == nil {
		queue = j.cfg.Queues.Queue(string(d.Topic), d.QueueID)
	}
	return record{queue: queue, tag: code, draft: d}
}

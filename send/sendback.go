package send

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strconv"
	"strings"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// maxReconsumeSince is the version of clients from which on they may say how often a message is tried: V3_4_9.
const maxReconsumeSince = 121

// firstRetryLevel is the delay level of a message that comes back for the first time. Source: Java
// AbstractSendMessageProcessor.consumerSendMsgBack.
const firstRetryLevel = 3

// SendBack serves CONSUMER_SEND_MSG_BACK (36): a consumer could not consume a message and is to get it again, later each
// time; one that was tried often enough goes to the dead letters of the group. Fields: ConsumerSendMsgBackRequestHeader. The
// answer leaves when the copy is as safe as a message of a producer, though its WAIT says false: the consumer then forgets
// the message. Source: Java AbstractSendMessageProcessor.consumerSendMsgBack; the order of checks is Java's.
func (s *Service) SendBack(c *protocol.Call) error {
	var h protocol.ConsumerSendMsgBackRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if s.cfg.Slave() {
		return protocol.Errorf(protocol.SystemError, "no master available along with %s", s.cfg.StoreHost().Addr())
	}
	group := s.cfg.Groups.Get([]byte(h.Group))
	switch {
	case group == nil:
		return noGroup([]byte(h.Group))
	case !s.cfg.Writable():
		return protocol.Errorf(protocol.NoPermission, "the broker[%s] sending message is forbidden", s.cfg.StoreHost().Addr())
	case group.RetryQueueNums <= 0: // the group wants nothing again
		w := c.Ticket().Open(protocol.Success, "")
		w.Body()
		if !c.Ticket().Oneway {
			w.Send(c.Turn)
		}
		return nil
	}
	s.cfg.Offload(c, func(_ context.Context, c *protocol.Call) error {
		b, err := s.back(c, &h, group)
		if err == nil {
			s.cfg.Resume(c, func(c *protocol.Call) error { return s.stageBack(c, b) })
		}
		return err
	})
	return nil
}

// back is a message on its way back to its group.
type back struct {
	draft   message.Draft
	level   int32  // above 0: it waits
	counted []byte // topic and group, for the statistics
}

// back makes the topics that are needed and the copy. It may block.
func (s *Service) back(c *protocol.Call, h *protocol.ConsumerSendMsgBackRequest, group *topic.GroupConfig) (*back, error) {
	cfg := topic.NewConfig(topic.RetryTopic(h.Group), group.RetryQueueNums)
	if h.UnitMode {
		cfg.SysFlag = topic.FlagUnitSub
	}
	cfg, err := s.ensure(cfg)
	if err != nil {
		return nil, err
	}
	if !cfg.Perm.Writable() {
		return nil, protocol.Errorf(protocol.NoPermission, "the topic[%s] sending message is forbidden", cfg.Name)
	}
	raw, err := s.cfg.Queues.Record(h.Offset, nil)
	if err != nil {
		return nil, notFound(h.Offset)
	}
	r, err := message.Decode(raw)
	if err != nil || !r.HasQueue() || !topic.MaySend(r.Topic) || string(r.Topic) == topic.Timer {
		return nil, notFound(h.Offset) // no consumer can have it
	}
	if r.SysFlag&message.FlagInnerBatch != 0 { // the whole batch; the client sends the one message then
		return nil, protocol.Errorf(protocol.SystemError, "MESSAGE_ILLEGAL: the message at offset %d is a batch", h.Offset)
	}
	most := group.RetryMaxTimes
	if h.MaxReconsumeTimes.Set && c.Version >= maxReconsumeSince {
		most = h.MaxReconsumeTimes.V
	}
	b := &back{level: h.DelayLevel}
	b.draft = r.Draft()
	b.draft.Topic, b.draft.QueueID, b.draft.StoreHost = []byte(cfg.Name), rand.Int32N(group.RetryQueueNums), s.cfg.StoreHost()
	b.draft.ReconsumeTimes++
	switch {
	case r.ReconsumeTimes >= most || b.level < 0:
		if cfg, err = s.ensure(topic.NewConfig(topic.DLQTopic(h.Group), 1)); err != nil {
			return nil, err
		}
		b.draft.Topic, b.draft.QueueID, b.level = []byte(cfg.Name), 0, 0
	case b.level == 0:
		b.level = firstRetryLevel + r.ReconsumeTimes
	}
	var origin []byte
	b.draft.Properties, origin = backProperties(&r, b.level)
	found, e := look(b.draft.Properties)
	if e == nil {
		e = s.checkRoom(len(b.draft.Properties), found.further, false)
	}
	if e != nil {
		return nil, protocol.Errorf(protocol.SystemError, "PROPERTIES_SIZE_EXCEEDED: %d bytes", len(b.draft.Properties))
	}
	b.counted = append(append(bytes.Clone(origin), 0), h.Group...)
	return b, nil
}

// ensure returns a topic of the group, and makes it if it is missing.
func (s *Service) ensure(cfg *topic.Config) (*topic.Config, error) {
	if err := s.cfg.Topics.Ensure(cfg); err != nil {
		return nil, err
	}
	if now := s.cfg.Topics.Get([]byte(cfg.Name)); now != nil {
		return now, nil
	}
	return cfg, nil
}

func notFound(offset int64) *protocol.Error {
	return protocol.Errorf(protocol.SystemError, "look message by offset failed, %d", offset)
}

// backProperties are the properties of the copy of a record: where it came from at first, topic and message id, stays when it
// comes back again. origin is that topic.
func backProperties(r *message.Record, level int32) (props, origin []byte) {
	var id []byte
	message.EachProperty(r.Properties, func(name, value []byte) bool {
		switch string(name) {
		case message.PropRetryTopic:
			origin = value
		case message.PropOriginMessageID:
			id = value
		case message.PropDelayTimeLevel, message.PropWaitStoreMsgOK, message.PropCRC32:
			return true
		}
		props = message.AppendProperty(props, string(name), value)
		return true
	})
	if origin == nil {
		origin = r.Topic
		props = message.AppendProperty(props, message.PropRetryTopic, origin)
	}
	if len(strings.TrimSpace(string(id))) == 0 {
		props = message.AppendProperty(props, message.PropOriginMessageID, message.AppendOffsetID(nil, r.StoreHost, r.Physical))
	}
	props = message.AppendProperty(props, message.PropWaitStoreMsgOK, []byte("false"))
	return message.AppendProperty(props, message.PropDelayTimeLevel, strconv.AppendInt(nil, int64(level), 10)), origin
}

// stageBack stores a copy, in a turn.
func (s *Service) stageBack(c *protocol.Call, b *back) error {
	batch, d := put.Of(c.Turn), &b.draft
	tag := message.TagOf(d.Properties)
	if b.level > 0 {
		tag, batch.Scratch = s.cfg.DelayLevels.Divert(d, b.level, batch.Scratch[:0])
		if e := s.checkRoom(len(d.Properties), 0, false); e != nil {
			return protocol.Errorf(protocol.SystemError, "PROPERTIES_SIZE_EXCEEDED: %s", e.Remark)
		}
	}
	batch.Stage(s.queueOf(d.Topic, d.QueueID), d, tag, true, b.counted, c.Ticket(), s.answerBack)
	return nil
}

// answerBack says that a message came back. What is stored but not safe is no success: the consumer then sends it in
// another way, and has it twice rather than not at all.
func (s *Service) answerBack(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	code, remark := int32(protocol.SystemError), ""
	switch o.Status {
	case put.OK:
		code = protocol.Success
		name, group, _ := strings.Cut(string(o.Uniq), "\x00")
		s.cfg.SentBack(name, group)
	case put.FlushDiskTimeout:
		remark = "FLUSH_DISK_TIMEOUT"
	case put.FlushSlaveTimeout:
		remark = "FLUSH_SLAVE_TIMEOUT"
	case put.Refused:
		s.cfg.Failed()
		remark = put.Refusal(o.Err).Remark
	}
	if k.Oneway {
		return
	}
	w := k.Open(code, remark)
	w.Body()
	w.Send(t)
}

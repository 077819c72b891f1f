// Package send takes messages from producers: single, batch and one-way, the replies of consumers, and what consumers send
// back. It checks what Java checks, in Java's order, stages the record and answers when put says that it is safe.
package send

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Topics is what send needs of the topic table.
type Topics interface {
	Get(name []byte) *topic.Config
	// Create makes a topic that a producer asked for, durable when it returns. It returns nil when there is no
	// template to make it from. It may block.
	Create(ctx context.Context, name, template string, queues int32) (*topic.Config, error)
	// Ensure makes topics that are missing as they are given. It may block.
	Ensure(configs ...*topic.Config) error
}

// Groups is what send needs of the subscription-group table.
type Groups interface {
	Get(name []byte) *topic.GroupConfig
}

// Queues finds the consume queues of a topic.
type Queues interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Queue(topic string, id int32) *consumequeue.Queue
	// Record appends the record at a position of the log to dst. It may block.
	Record(physical int64, dst []byte) ([]byte, error)
}

// Config of a Service.
type Config struct {
	Topics Topics
	Groups Groups
	Queues Queues
	// Offload hands a call to the pool; an error that run returns is answered. Again has a call of the pool served from
	// the start, in a turn of its peer.
	Offload func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	Again   func(c *protocol.Call)
	// Resume runs the rest of an offloaded call in a turn of its peer; an error that run returns is answered.
	Resume func(c *protocol.Call, run func(c *protocol.Call) error)
	// Locked tells whether anybody holds a queue lock of a group: it consumes in order; nil is never.
	Locked func(now time.Time, group []byte) bool
	// SentBack counts a message of a topic that came back from a group.
	SentBack func(topic, group string)

	Mappings       Mappings              // the static topics; nil is none
	MaxMessageSize func() int            // bytes of a body, maxMessageSize
	StoreHost      func() netip.AddrPort // brokerIP1:listenPort, part of each record and message ID
	Cluster        string
	Broker         string // brokerName
	Region         string
	TraceOn        bool
	DelayLevels    message.DelayLevels // messageDelayLevel
	Timers         *Timers             // nil: timed messages are refused
	Recalls        *Recalls            // nil: nothing can be recalled
	RejectHalf     func() bool         // rejectTransactionMessage; nil is no
	PropCRC        bool                // the store ends the properties of each record with a checksum
	Writable       func() bool         // brokerPermission has the write bit
	Slave          func() bool         // brokerRole is SLAVE: nothing is taken; nil is never
	ActingMaster   bool                // enableSlaveActingMaster, under which a slave says so with another code
	NewID          func() []byte       // a UNIQ_KEY for a message that came without
	Failed         func()              // counts what the store refused
	StartAt        int64               // startAcceptSendRequestTimeStamp, ms; 0 is at once

	Replies Replies // what replies need
	// LightFull: there may be no further light queue (enableLmqQuota, maxLmqConsumeQueueNum); nil is never.
	LightFull func() bool
}

// Service serves SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE, CONSUMER_SEND_MSG_BACK, SEND_REPLY_MESSAGE and
// SEND_REPLY_MESSAGE_V2.
type Service struct {
	cfg    Config
	added  []byte // properties that the broker adds to every single message, after CLUSTER
	trace  string
	single put.Answer
	static put.Answer
	inner  put.Answer
	moved  put.Answer

	recalled put.Answer
}

// New makes a service.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, trace: "false"}
	if s.cfg.Slave == nil {
		s.cfg.Slave = func() bool { return false }
	}
	if s.cfg.Locked == nil {
		s.cfg.Locked = func(time.Time, []byte) bool { return false }
	}
	if s.cfg.RejectHalf == nil {
		s.cfg.RejectHalf = func() bool { return false }
	}
	if cfg.TraceOn {
		s.trace = "true"
	}
	s.added = message.AppendProperty(s.added, message.PropMsgRegion, []byte(cfg.Region))
	s.added = message.AppendProperty(s.added, message.PropTraceSwitch, []byte(s.trace))
	if s.cfg.Mappings == nil {
		s.cfg.Mappings = none{}
	}
	s.single, s.static, s.inner, s.moved, s.recalled = s.answer, s.answerStatic, s.answerInner, s.answerElsewhere, s.answerRecall
	return s
}

// Send serves codes 10, 310 and 320. Fields: SendMessageRequestHeader, or its one-letter form V2. The answers
// carry MSG_REGION and TRACE_ON, errors too, but for a plain slave's: Java looks at the role before all else. Source: Java
// SendMessageProcessor, rejectRequest; the order of checks is Java's.
func (s *Service) Send(c *protocol.Call) error {
	if e := s.slave(); e != nil {
		return e
	}
	h, err := header(c)
	if err != nil {
		return err
	}
	if e := s.take(c, &h); e != nil {
		return s.refuse(c, e)
	}
	return nil
}

// header reads the header of a send or of a reply, in either form.
func header(c *protocol.Call) (h protocol.SendMessageRequest, err error) {
	if c.Code == protocol.SendMessage || c.Code == protocol.SendReplyMessage {
		err = h.Decode(c.Fields)
	} else {
		err = h.DecodeV2(c.Fields)
	}
	return h, err
}

// slave refuses what a plain slave is sent.
func (s *Service) slave() error {
	if s.cfg.Slave() && !s.cfg.ActingMaster {
		return protocol.Errorf(protocol.SystemBusy, "[REJECTREQUEST]system busy, start flow control for a while")
	}
	return nil
}

// take checks and stages; what it returns is answered.
func (s *Service) take(c *protocol.Call, h *protocol.SendMessageRequest) *protocol.Error {
	q, cfg, e := s.queue(c, h)
	switch {
	case e != nil || q == nil:
		return e
	case h.Batch.V || c.Code == protocol.SendBatchMessage:
		return s.stageBatch(c, h, q, cfg)
	}
	return s.stageOne(c, h, q, cfg)
}

// queue finds the queue that a send is for. With neither a queue nor an error the call comes again when its topic was made.
func (s *Service) queue(c *protocol.Call, h *protocol.SendMessageRequest) (*consumequeue.Queue, *topic.Config, *protocol.Error) {
	if s.cfg.StartAt > c.Turn.Now.UnixMilli() {
		return nil, nil, protocol.Errorf(protocol.SystemError, "broker unable to service, until %d", s.cfg.StartAt)
	}
	if s.cfg.Slave() { // before a topic is made: a slave's topics are its master's
		return nil, nil, protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: this broker is a slave, messages are put to its master")
	}
	cfg := s.cfg.Topics.Get(h.Topic)
	if cfg == nil {
		if e := checkName(h.Topic); e != nil {
			return nil, nil, e
		}
		if !topic.MaySend(h.Topic) {
			return nil, nil, forbidden(h.Topic)
		}
		if group, ok := topic.GroupOfRetry(h.Topic); ok && s.cfg.Groups.Get(group) == nil {
			return nil, nil, noGroup(group)
		}
		s.create(c, h)
		return nil, nil, nil
	}
	if !s.cfg.Writable() && cfg.Order {
		return nil, nil, protocol.Errorf(protocol.NoPermission, "the broker sending message is forbidden")
	}
	if !topic.MaySend(h.Topic) {
		return nil, nil, forbidden(h.Topic)
	}
	id := h.QueueID
	m := s.cfg.Mappings.For(h.Topic, h.RPC.Logical)
	if h.RPC.Logical.V = m != nil; m != nil {
		var e *protocol.Error
		if id, e = physical(m, h); e != nil {
			return nil, nil, e
		}
	}
	if id >= max(cfg.ReadQueueNums, cfg.WriteQueueNums) {
		return nil, nil, protocol.Errorf(protocol.InvalidParameter, "request queueId[%d] is illegal, %s Producer: %s",
			id, describe(cfg), c.Peer.RemoteAddr())
	}
	if id < 0 {
		id = rand.Int32N(max(cfg.WriteQueueNums, 1))
	}
	if group, ok := topic.GroupOfRetry(h.Topic); ok && s.cfg.Groups.Get(group) == nil {
		return nil, nil, noGroup(group)
	}
	return s.queueOf(h.Topic, id), cfg, nil
}

func (s *Service) stageOne(c *protocol.Call, h *protocol.SendMessageRequest, q *consumequeue.Queue, cfg *topic.Config) *protocol.Error {
	if e := s.checkSize(h.Topic, c.Body, h.Properties, cfg.Compacts()); e != nil {
		return e
	}
	b := put.Of(c.Turn)
	seen, e := look(h.Properties)
	if e != nil {
		return e
	}
	if e := seen.toLite(h.Topic); e != nil {
		return e
	}
	if group, dead := s.dead(c, h); dead {
		if name := topic.DLQTopic(string(group)); s.cfg.Topics.Get([]byte(name)) == nil {
			s.createDLQ(c, name)
			return nil
		}
		seen.dead, seen.timed = true, false
	}
	if e := s.unserved(&seen, h.SysFlag); e != nil {
		return e
	}
	if seen.deliverMs, e = s.time(h.Properties, &seen, c.Turn.Now.UnixMilli()); e != nil {
		return e
	}
	if e := checkKeys(&seen, cfg); e != nil {
		return e
	}
	if seen.byPriority() && !h.RPC.Logical.V {
		q = s.queueOf(h.Topic, rank(cfg, seen.priority))
	}
	b.Scratch = s.properties(b.Scratch[:0], h.Properties, &seen)
	if e := s.checkRoom(len(b.Scratch), seen.further, false); e != nil {
		return e
	}
	uniq := seen.uniq
	if uniq == nil {
		uniq, _ = message.Property(b.Scratch, message.PropUniqKey)
	}
	d := message.Draft{
		Topic:          h.Topic,
		Body:           c.Body,
		Properties:     b.Scratch,
		QueueID:        q.ID(),
		Flag:           h.Flag,
		SysFlag:        h.SysFlag,
		BornMs:         h.BornTimestamp,
		BornHost:       c.Peer.RemoteAddr(),
		StoreHost:      s.cfg.StoreHost(),
		ReconsumeTimes: h.ReconsumeTimes.V,
	}
	switch {
	case seen.prepared(d.ReconsumeTimes) && !seen.dead:
		seen.deliverMs = 0 // it counts when the message is committed, and nobody can recall it before
	case seen.half:
		seen.half, d.SysFlag = false, d.SysFlag&^message.FlagRollback
	}
	if seen.waits() {
		if seen.sentTo = d.QueueID; h.RPC.Logical.V {
			seen.sentTo = h.QueueID
		}
		return s.stageElsewhere(c, &d, &seen, uniq)
	}
	b.Stage(q, &d, message.TagsCode(seen.tags), !seen.noWait, uniq, c.Ticket(), s.answerOf(h))
	return nil
}

// queueOf finds a queue by its name.
func (s *Service) queueOf(name []byte, id int32) *consumequeue.Queue {
	if q := s.cfg.Queues.Find(name, id); q != nil {
		return q
	}
	return s.cfg.Queues.Queue(string(name), id)
}

// stageBatch expands a client batch into records with adjoining offsets. Its inner messages keep just their own
// properties. Source: storage.md 3.7.
func (s *Service) stageBatch(c *protocol.Call, h *protocol.SendMessageRequest, q *consumequeue.Queue, cfg *topic.Config) *protocol.Error {
	if len(h.Topic) > topic.MaxLength {
		return protocol.Errorf(protocol.MessageIllegal, "message topic length too long %d", len(h.Topic))
	}
	if topic.IsRetry(h.Topic) {
		return protocol.Errorf(protocol.MessageIllegal, "batch request does not support retry group %s", h.Topic)
	}
	if len(c.Body) > s.cfg.MaxMessageSize() {
		return tooLong(len(c.Body), s.cfg.MaxMessageSize())
	}
	outer, e := look(h.Properties)
	if e != nil {
		return e
	}
	if e := s.unbatched(&outer, h.SysFlag); e != nil {
		return e
	}
	if outer.uniq != nil && q.Kind() == consumequeue.Batch {
		return s.stageInner(c, h, q, cfg, &outer)
	}
	var drafts []message.Draft
	var tags []int64
	var bad *protocol.Error
	err := message.EachInBatch(c.Body, func(flag int32, body, props []byte) error {
		in, e := look(props)
		if e == nil {
			e = s.unbatched(&in, h.SysFlag)
		}
		if e == nil {
			e = checkKeys(&in, cfg) // the keys are with the messages, not with the batch
		}
		if e == nil {
			e = s.checkSize(h.Topic, body, props, cfg.Compacts())
		}
		if e == nil {
			e = s.checkRoom(len(props), in.further, false)
		}
		if e != nil {
			bad = e
			return e
		}
		drafts = append(drafts, message.Draft{
			Topic: h.Topic, Body: body, Properties: props, QueueID: q.ID(), Flag: flag, SysFlag: h.SysFlag,
			BornMs: h.BornTimestamp, BornHost: c.Peer.RemoteAddr(), StoreHost: s.cfg.StoreHost(),
			ReconsumeTimes: h.ReconsumeTimes.V,
		})
		tags = append(tags, message.TagsCode(in.tags))
		return nil
	})
	switch {
	case bad != nil:
		return bad
	case err != nil:
		return protocol.Errorf(protocol.MessageIllegal, "the batch is malformed: %v", err)
	case len(drafts) == 0:
		return protocol.Errorf(protocol.MessageIllegal, "the batch holds no message")
	}
	put.Of(c.Turn).StageAll(q, drafts, tags, !outer.noWait, outer.uniq, c.Ticket(), s.answerOf(h))
	return nil
}

// create makes an unknown topic on the pool and sends the call through again. Source: Java
// AbstractSendMessageProcessor.msgCheck, TopicConfigManager.createTopicInSendMessageMethod.
func (s *Service) create(c *protocol.Call, h *protocol.SendMessageRequest) {
	name, template, queues := string(h.Topic), string(h.DefaultTopic), h.DefaultTopicQueueNums
	retry := topic.IsRetry(h.Topic)
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		var cfg *topic.Config
		var err error
		if retry {
			cfg = topic.NewConfig(name, 1)
			err = s.cfg.Topics.Ensure(cfg)
		} else {
			cfg, err = s.cfg.Topics.Create(ctx, name, template, queues)
		}
		if err != nil {
			return err
		}
		if cfg == nil {
			return s.refuse(c, protocol.Errorf(protocol.TopicNotExist, "topic[%s] not exist, apply first please! %s", name, topic.FAQ))
		}
		s.cfg.Again(c)
		return nil
	})
}

// answer writes what became of a message. Statuses other than success still carry the header, since the message is
// stored. Source: Java SendMessageProcessor.handlePutMessageResult.
func (s *Service) answer(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	s.write(t, k, o, place(o), nil, false)
}

// place is the queue of a record that was not refused.
func place(o *put.Outcome) int32 {
	if o.Queue == nil {
		return 0
	}
	return o.Queue.ID()
}

// write is answer: queue is that which the message was sent to, handle recalls it, inner tells the producer that
// its batch is one record.
func (s *Service) write(t *protocol.Turn, k protocol.Ticket, o *put.Outcome, queue int32, handle []byte, inner bool) {
	if o.Status == put.Refused {
		s.cfg.Failed()
	}
	if k.Oneway {
		return
	}
	code, remark := int32(protocol.Success), ""
	switch o.Status {
	case put.FlushDiskTimeout:
		code = protocol.FlushDiskTimeout
	case put.FlushSlaveTimeout:
		code = protocol.FlushSlaveTimeout
	case put.Refused:
		e := put.Refusal(o.Err)
		s.fail(t, k, e)
		return
	}
	w := k.Open(code, remark)
	var ids [64]byte
	host := s.cfg.StoreHost()
	id := message.AppendOffsetID(ids[:0], host, o.Physical)
	for _, physical := range o.More {
		id = message.AppendOffsetID(append(id, ','), host, physical)
	}
	w.Bytes("msgId", id)
	w.Int("queueId", int64(queue))
	w.Int("queueOffset", o.Offset)
	if len(o.Uniq) > 0 {
		w.Bytes("transactionId", o.Uniq)
	}
	if inner {
		w.Bytes("batchUniqId", o.Uniq)
	}
	if len(handle) > 0 {
		w.Bytes("recallHandle", handle)
	}
	w.Str("MSG_REGION", s.cfg.Region)
	w.Str("TRACE_ON", s.trace)
	w.Body()
	w.Send(t)
}

// refuse answers an error with the two fields that every answer to a send carries.
func (s *Service) refuse(c *protocol.Call, e *protocol.Error) error {
	s.fail(c.Turn, c.Ticket(), e)
	return nil
}

func (s *Service) fail(t *protocol.Turn, k protocol.Ticket, e *protocol.Error) {
	if k.Oneway {
		return
	}
	w := k.Open(e.Code, e.Remark)
	w.Str("MSG_REGION", s.cfg.Region)
	w.Str("TRACE_ON", s.trace)
	w.Body()
	w.Send(t)
}

package send

import (
	"context"
	"strconv"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Replies are what Reply needs beside the rest.
type Replies struct {
	// Push hands a call to the pool of those that wait for clients; an error that run returns is answered.
	Push     func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error)
	Producer func(clientID string) protocol.Peer // the connection of a client that produces, nil if there is none
	Keep     func() bool                         // storeReplyMessageEnable
}

// pushTimeout is how long a producer may take to confirm a reply. Source: Java Broker2Client.callClient.
const pushTimeout = 10 * time.Second

// Reply serves SEND_REPLY_MESSAGE (324) and SEND_REPLY_MESSAGE_V2 (325): the answer of a consumer to a message whose producer
// waits for it. It is checked as a send is, pushed to the client that REPLY_TO_CLIENT names (326), and with
// storeReplyMessageEnable kept in the reply topic, whatever became of the push. The code of the answer says whether the client
// has it: SYSTEM_ERROR if the property is missing, the client is not connected, or does not confirm. What the store says
// changes no code. Fields: SendMessageRequestHeader, or its form V2. Source: Java ReplyMessageProcessor.
func (s *Service) Reply(c *protocol.Call) error {
	if e := s.slave(); e != nil {
		return e
	}
	h, err := header(c)
	if err != nil {
		return err
	}
	q, cfg, e := s.queue(c, &h)
	if e == nil && q != nil {
		e = s.checkReply(c, &h)
	}
	switch {
	case e != nil:
		return s.refuse(c, e)
	case q == nil: // comes again when its topic is there
		return nil
	case cfg.Attributes[topic.AttrQueueType] == "BatchCQ":
		return s.refuse(c, protocol.Errorf(protocol.MessageIllegal, "the topic %s has batch queues, which are not for replies", h.Topic))
	}
	s.cfg.Replies.Push(c, func(ctx context.Context, c *protocol.Call) error {
		failed := s.push(ctx, c)
		s.cfg.Resume(c, func(c *protocol.Call) error { return s.keepReply(c, q, failed) })
		return nil
	})
	return nil
}

// checkReply refuses what could not be kept as it is.
func (s *Service) checkReply(c *protocol.Call, h *protocol.SendMessageRequest) *protocol.Error {
	if e := s.checkSize(h.Topic, c.Body, h.Properties, false); e != nil {
		return e
	}
	found, e := look(h.Properties)
	switch {
	case e != nil:
		return e
	case found.level > 0 || found.badLevel != nil:
		return protocol.Errorf(protocol.MessageIllegal, "a reply cannot be delayed (property %s)", message.PropDelayTimeLevel)
	case found.timed:
		return protocol.Errorf(protocol.MessageIllegal, "a reply cannot be delayed (properties %s, %s, %s)",
			message.PropTimerDelaySec, message.PropTimerDelayMs, message.PropTimerDeliverMs)
	case found.half || h.SysFlag&message.FlagPrepared != 0:
		return protocol.Errorf(protocol.MessageIllegal, "a reply cannot be part of a transaction (sysFlag %d)", h.SysFlag)
	case found.inner || h.SysFlag&(message.FlagInnerBatch|message.FlagNeedUnwrap) != 0 || h.Batch.V:
		return protocol.Errorf(protocol.MessageIllegal, "a reply cannot be a batch (sysFlag %d)", h.SysFlag)
	}
	return s.checkRoom(len(h.Properties), found.further, false)
}

// push hands a reply to who waits for it, and returns why it is not known to have it. It blocks.
func (s *Service) push(ctx context.Context, c *protocol.Call) *protocol.Error {
	h, _ := header(c) // which has been read without an error
	var client []byte
	var props []byte
	message.EachProperty(h.Properties, func(name, value []byte) bool {
		if string(name) == message.PropMessageReplyToClient {
			client = value
		}
		if string(name) != message.PropPushReplyTime {
			props = message.AppendProperty(props, string(name), value)
		}
		return true
	})
	if client == nil {
		return protocol.Errorf(protocol.SystemError, "reply message properties[%s] is null", message.PropMessageReplyToClient)
	}
	peer := s.cfg.Replies.Producer(string(client))
	if peer == nil {
		return protocol.Errorf(protocol.SystemError, "push reply message fail, channel of <%s> not found.", client)
	}
	now := time.Now().UnixMilli()
	props = message.AppendProperty(props, message.PropPushReplyTime, strconv.AppendInt(nil, now, 10))
	ctx, stop := context.WithTimeout(ctx, pushTimeout)
	defer stop()
	answer, err := peer.Invoke(ctx, protocol.NewRequest(protocol.PushReplyMessageToClient, &protocol.ReplyMessageRequest{
		ProducerGroup: string(h.ProducerGroup), Topic: string(h.Topic),
		DefaultTopic: string(h.DefaultTopic), DefaultTopicQueueNums: h.DefaultTopicQueueNums,
		QueueID: h.QueueID, SysFlag: h.SysFlag, BornTimestamp: h.BornTimestamp, Flag: h.Flag,
		Properties: string(props), ReconsumeTimes: h.ReconsumeTimes, UnitMode: h.UnitMode.V,
		BornHost: c.Peer.RemoteAddr().String(), StoreHost: s.cfg.StoreHost().String(), StoreTimestamp: now,
	}, c.Body))
	if err != nil || answer.Code != protocol.Success {
		return protocol.Errorf(protocol.SystemError, "push reply message to %sfail.", client)
	}
	return nil
}

// keepReply stores a reply that was pushed, or not, and answers.
func (s *Service) keepReply(c *protocol.Call, q *consumequeue.Queue, failed *protocol.Error) error {
	if !s.cfg.Replies.Keep() {
		if failed != nil {
			return s.refuse(c, failed)
		}
		s.answerReply(c.Turn, c.Ticket(), nil, []byte("0"), int64(q.ID()), 0)
		return nil
	}
	h, _ := header(c) // which has been read without an error
	found, _ := look(h.Properties)
	d := message.Draft{
		Topic: h.Topic, Body: c.Body, Properties: h.Properties, QueueID: q.ID(), Flag: h.Flag, SysFlag: h.SysFlag,
		BornMs: h.BornTimestamp, BornHost: c.Peer.RemoteAddr(), StoreHost: s.cfg.StoreHost(), ReconsumeTimes: h.ReconsumeTimes.V,
	}
	put.Of(c.Turn).Stage(q, &d, message.TagsCode(found.tags), !found.noWait, nil, c.Ticket(), func(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
		switch {
		case o.Status != put.Refused:
			s.answerReply(t, k, failed, message.AppendOffsetID(nil, s.cfg.StoreHost(), o.Physical), int64(o.Queue.ID()), o.Offset)
			return
		case failed != nil:
			s.fail(t, k, failed)
		default:
			s.answerReply(t, k, nil, []byte("0"), int64(q.ID()), 0)
		}
		s.cfg.Failed()
	})
	return nil
}

// answerReply says whether the client has the reply, and where it is kept; id "0" is nowhere.
func (s *Service) answerReply(t *protocol.Turn, k protocol.Ticket, failed *protocol.Error, id []byte, queue, offset int64) {
	if k.Oneway {
		return
	}
	code, remark := int32(protocol.Success), ""
	if failed != nil {
		code, remark = failed.Code, failed.Remark
	}
	w := k.Open(code, remark)
	w.Bytes("msgId", id)
	w.Int("queueId", queue)
	w.Int("queueOffset", offset)
	w.Str("MSG_REGION", s.cfg.Region)
	w.Str("TRACE_ON", s.trace)
	w.Body()
	w.Send(t)
}

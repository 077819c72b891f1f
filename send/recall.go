package send

import (
	"encoding/base64"
	"strconv"
	"strings"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/put"
)

// Recalls says whether and how messages that wait may be recalled.
type Recalls struct {
	Enabled      func() bool // recallMessageEnable
	WhenReadOnly func() bool // allowRecallWhenBrokerNotWriteable
	LongKey      func() bool // appendTopicForTimerDeleteKey
}

// recallTag is the tag of a message that recalls another one. Source: Java RecallMessageProcessor.
const recallTag = "_RECALL_TAG_"

// Recall serves RECALL_MESSAGE (370): a message that waits for its time is not delivered. Fields: RecallMessageRequestHeader.
// What recalls it is a message itself, in the timer topic and for the same time, so the answer is as safe as that of a send;
// it does not say whether there was such a message. Source: Java RecallMessageProcessor, in its order of checks.
func (s *Service) Recall(c *protocol.Call) error {
	var h protocol.RecallMessageRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	if e := s.recall(c, &h); e != nil {
		return s.refuse(c, e)
	}
	return nil
}

func (s *Service) recall(c *protocol.Call, h *protocol.RecallMessageRequest) *protocol.Error {
	r, t := s.cfg.Recalls, s.cfg.Timers
	switch {
	case r == nil || t == nil || !r.Enabled():
		return protocol.Errorf(protocol.NoPermission, "recall failed, operation is forbidden")
	case s.cfg.Slave():
		return protocol.Errorf(protocol.SlaveNotAvailable, "recall failed, broker service not available")
	case s.cfg.StartAt > c.Turn.Now.UnixMilli(), !s.cfg.Writable() && !r.WhenReadOnly():
		return protocol.Errorf(protocol.ServiceNotAvailable, "recall failed, broker service not available")
	case s.cfg.Topics.Get([]byte(h.Topic)) == nil:
		return protocol.Errorf(protocol.TopicNotExist, "recall failed, the topic[%s] not exist", h.Topic)
	}
	handle, ok := parseHandle(h.RecallHandle)
	left := handle.ms - c.Turn.Now.UnixMilli()
	switch {
	case !ok:
		return protocol.Errorf(protocol.IllegalOperation, "recall handle is invalid")
	case handle.topic != h.Topic:
		return protocol.Errorf(protocol.IllegalOperation, "recall failed, topic not match")
	case handle.broker != s.cfg.Broker:
		return protocol.Errorf(protocol.IllegalOperation, "recall failed, broker service not available")
	case left <= 0 || left >= t.MaxDelay():
		return protocol.Errorf(protocol.IllegalOperation, "recall failed, timestamp invalid")
	case !t.Enabled || t.crowded(handle.ms):
		return protocol.Errorf(protocol.SystemError, "recall failed, execute error")
	}
	b := put.Of(c.Turn)
	key := handle.key
	if r.LongKey() {
		key = handle.topic + "+" + handle.key
	}
	var digits [20]byte
	nowMs := c.Turn.Now.UnixMilli()
	props := message.AppendProperty(b.Scratch[:0], message.PropTimerDelUniqkey, []byte(key))
	props = message.AppendProperty(props, message.PropUniqKey, []byte(handle.key))
	props = message.AppendProperty(props, message.PropTimerDeliverMs, strconv.AppendInt(digits[:0], handle.ms, 10))
	props = message.AppendProperty(props, message.PropBornTimestamp, strconv.AppendInt(digits[:0], nowMs, 10))
	props = message.AppendProperty(props, message.PropProducerGroup, plain(h.ProducerGroup))
	props = message.AppendProperty(props, message.PropTags, []byte(recallTag))
	d := message.Draft{
		Topic: []byte(handle.topic), Body: []byte("0"), Properties: props,
		BornMs: nowMs, BornHost: c.Peer.RemoteAddr(), StoreHost: s.cfg.StoreHost(),
	}
	_, b.Scratch = message.DivertTimed(&d, handle.ms, t.Precision, props)
	if e := s.checkRoom(len(d.Properties)+timedRoom, 0, false); e != nil {
		return e
	}
	q := s.cfg.Queues.Queue(string(d.Topic), d.QueueID)
	b.Stage(q, &d, message.TagsCode([]byte(recallTag)), true, []byte(handle.key), c.Ticket(), s.recalled)
	return nil
}

// plain is a text from outside as the value of a property: nothing that could be taken for another one.
func plain(text string) []byte {
	if strings.ContainsAny(text, "\x01\x02") {
		return nil
	}
	return []byte(text)
}

// answerRecall answers a recall.
func (s *Service) answerRecall(t *protocol.Turn, k protocol.Ticket, o *put.Outcome) {
	if o.Status == put.Refused {
		s.cfg.Failed()
		s.fail(t, k, protocol.Errorf(protocol.SystemError, "recall failed, execute error: %v", put.Refusal(o.Err).Remark))
		return
	}
	if k.Oneway {
		return
	}
	w := k.Open(protocol.Success, "")
	w.Bytes("msgId", o.Uniq)
	w.Str("MSG_REGION", s.cfg.Region)
	w.Body()
	w.Send(t)
}

// recallHandle says which message is to be recalled.
type recallHandle struct {
	topic, broker, key string
	ms                 int64 // when it is to be delivered; -1: the handle says no number
}

// parseHandle reads a handle. Source: Java RecallMessageHandle.decodeHandle.
func parseHandle(text string) (h recallHandle, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	items := strings.Split(strings.TrimRight(string(raw), " "), " ")
	if err != nil || len(items) < 5 || items[0] != handleVersion || strings.ContainsAny(string(raw), "\x01\x02") {
		return h, false
	}
	h = recallHandle{topic: items[1], broker: items[2], key: items[4]}
	if h.ms, err = strconv.ParseInt(items[3], 10, 64); err != nil {
		h.ms = -1
	}
	return h, true
}

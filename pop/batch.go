package pop

import (
	"encoding/base64"

	"rocketd/internal/laxjson"
	"rocketd/order"
	"rocketd/protocol"
)

// batchAcks is the body of BATCH_ACK_MESSAGE:
//
//	{"acks":[{"b":"BQI=","c":"G","it":60000,"pt":1700000000000,"q":0,"r":"0","rq":3,"so":100,"t":"T"}],"brokerName":"broker-a"}
//
// b has a bit for each offset from so on, the lowest bit of the first byte first, in base64. Source: Java
// BatchAckMessageRequestBody, BatchAck.
type batchAcks struct {
	Acks   []batchAck `json:"acks"`
	Broker string     `json:"brokerName"`
}

type batchAck struct {
	Bits        string `json:"b"`
	Group       string `json:"c"`
	InvisibleMs int64  `json:"it"`
	PopMs       int64  `json:"pt"`
	QueueID     int32  `json:"q"`
	Retry       string `json:"r"`
	Revive      int32  `json:"rq"`
	Start       int64  `json:"so"`
	Topic       string `json:"t"` // without the retry topic's prefix
}

// maxBits bounds how far a filter may have spread out the messages of one entry. There are no more than a check point holds.
const maxBits = 1 << 16

// offsets are those whose bits are set, within [low, high].
func (a *batchAck) offsets(low, high int64) ([]int64, error) {
	bits, err := base64.StdEncoding.DecodeString(a.Bits)
	if err != nil || len(bits) > maxBits/8 {
		return nil, refuse(protocol.SystemError, "b of an entry of acks is no set of bits")
	}
	var list []int64
	for i := range int64(len(bits)) * 8 {
		if offset := a.Start + i; bits[i/8]&(1<<(i%8)) != 0 && offset >= low && offset <= high {
			if len(list) == MaxMessages {
				return nil, refuse(protocol.SystemError, "b of an entry of acks has more than %d bits", MaxMessages)
			}
			list = append(list, offset)
		}
	}
	return list, nil
}

// BatchAck serves BATCH_ACK_MESSAGE (200151): many messages are consumed. What is unknown or out of range is passed over.
// Source: Java AckMessageProcessor.
func (s *Service) BatchAck(c *protocol.Call) error {
	var body batchAcks
	if len(c.Body) > 0 {
		if err := laxjson.Unmarshal(c.Body, &body); err != nil {
			return refuse(protocol.SystemError, "the body is no batch of acknowledgements: %v", err)
		}
	}
	if len(body.Acks) == 0 {
		return refuse(protocol.NoMessage, "acks is empty")
	}
	if err := s.Closed(); err != nil {
		return err
	}
	now := c.Turn.Now.UnixMilli()
	w := &batchWait{ticket: c.Ticket()}
	var bad error
	for i := range body.Acks {
		if err := s.ackEntry(c, &body.Acks[i], body.Broker, now, w); err != nil && bad == nil {
			bad = err
		}
	}
	if bad == nil && w.left > 0 {
		w.armed = true
		return nil
	}
	if bad != nil {
		return bad
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
	return nil
}

// batchWait answers when the last of the records of a batch is in the log.
type batchWait struct {
	ticket protocol.Ticket
	left   int
	armed  bool // the answer is ours to give
	err    *protocol.Error
}

func (w *batchWait) done(t *protocol.Turn, err *protocol.Error) {
	if err != nil {
		w.err = err
	}
	if w.left--; w.left > 0 || !w.armed {
		return
	}
	if w.err != nil {
		w.ticket.Answer(t, w.err.Code, w.err.Remark, nil, nil)
		return
	}
	w.ticket.Answer(t, protocol.Success, "", nil, nil)
}

func (s *Service) ackEntry(c *protocol.Call, b *batchAck, broker string, nowMs int64, w *batchWait) error {
	if b.Topic == "" || b.Group == "" || len(b.Retry) > 1 {
		return nil
	}
	retry := byte('0')
	if b.Retry != "" {
		retry = b.Retry[0]
	}
	name := realTopic(b.Topic, b.Group, retry)
	cfg := s.cfg.Topics.Get([]byte(name))
	if cfg == nil || b.QueueID < 0 || b.QueueID >= cfg.ReadQueueNums || s.cfg.Groups.Get([]byte(b.Group)) == nil {
		return nil
	}
	q := s.cfg.Queues.Find([]byte(name), b.QueueID)
	if q == nil {
		return nil
	}
	offsets, err := b.offsets(q.Min(), q.Max())
	if err != nil || len(offsets) == 0 {
		return err
	}
	if b.Revive == order.Queue {
		for _, offset := range offsets {
			if err := s.commitInOrder([]byte(b.Group), []byte(name), b.QueueID, offset, q.Max(), b.PopMs, nowMs); err != nil {
				return err
			}
		}
		return nil
	}
	k := Handle{Start: b.Start, PopMs: b.PopMs, InvisibleMs: b.InvisibleMs, Revive: b.Revive, Broker: []byte(broker)}
	if b.Start < 0 || b.PopMs < 0 || b.InvisibleMs < 0 || b.Revive < 0 || s.foreign(&k, nowMs) != "" {
		return nil
	}
	x := s.shelf([]byte(b.Group), []byte(name))
	cur := x.cursor(b.QueueID)
	open := offsets[:0]
	for _, offset := range offsets {
		if known, acked := cur.holds(leaseKey{b.Start, b.PopMs}, offset); !known || !acked {
			open = append(open, offset)
		}
	}
	if len(open) > 0 {
		a := s.acks.Get().(*acking)
		a.cursor, a.key, a.offsets, a.done = cur, leaseKey{b.Start, b.PopMs}, append(a.offsets, open...), w.done
		w.left++
		a.stage(c.Turn, b.Revive, b.PopMs+b.InvisibleMs)
	}
	return nil
}

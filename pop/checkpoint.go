package pop

import (
	"fmt"
	"strconv"

	"rocketd/internal/laxjson"
)

// MaxMessages is how many messages one check point holds: its bit map is an int32. Source: Java PopMessageProcessor.
const MaxMessages = 32

// Tags of the records in the revive topic. Source: Java PopAckConstants.
const (
	tagCheckpoint = "ck"
	tagAck        = "ack"
	tagBatchAck   = "bAck"
)

// Checkpoint says which messages a pop took from one queue, and until when nobody else gets them. It is the JSON body of a
// record with the tag ck:
//
//	{"bm":0,"bn":"broker-a","c":"G","d":[0,2],"it":60000,"n":2,"pt":1700000000000,"q":0,"reviveTime":1700000060000,"ro":0,"so":100,"sp":false,"t":"T"}
//
// reviveTime and ro, the offset in the revive topic, mean nothing to a reader. Source: Java PopCheckPoint.
type Checkpoint struct {
	BitMap      int32   `json:"bm"` // acknowledged ones
	Broker      string  `json:"bn"`
	Group       string  `json:"c"`
	Diffs       []int32 `json:"d"` // offsets from Start; none: they follow each other
	InvisibleMs int64   `json:"it"`
	Num         int8    `json:"n"`
	PopMs       int64   `json:"pt"`
	QueueID     int32   `json:"q"`
	RePut       string  `json:"rp"` // how often it was written anew, as its messages could not be delivered
	Start       int64   `json:"so"`
	Suspend     bool    `json:"sp"` // the messages come back without a further attempt being counted
	Topic       string  `json:"t"`
}

// ReviveMs is when what is not acknowledged is delivered again.
func (c *Checkpoint) ReviveMs() int64 { return c.PopMs + c.InvisibleMs }

// Offset is the queue offset of message i.
func (c *Checkpoint) Offset(i int) int64 {
	if i < len(c.Diffs) {
		return c.Start + int64(c.Diffs[i])
	}
	return c.Start + int64(i)
}

// Index is which message has a queue offset, -1 if none.
func (c *Checkpoint) Index(offset int64) int {
	if len(c.Diffs) == 0 {
		if i := offset - c.Start; i >= 0 && i < int64(c.Num) {
			return int(i)
		}
		return -1
	}
	for i, d := range c.Diffs {
		if c.Start+int64(d) == offset {
			return i
		}
	}
	return -1
}

// Full is the bit map of a check point all of whose messages are acknowledged.
func (c *Checkpoint) Full() int32 { return int32(uint32(1)<<min(uint(c.Num), 32) - 1) }

// rePuts is how often the check point was written anew.
func (c *Checkpoint) rePuts() int {
	n, err := strconv.Atoi(c.RePut)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// AppendJSON appends the body of the record.
func (c *Checkpoint) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"bm":`...), int64(c.BitMap), 10)
	dst = appendText(dst, `,"bn":"`, c.Broker)
	dst = appendText(dst, `,"c":"`, c.Group)
	if len(c.Diffs) > 0 {
		dst = append(dst, `,"d":[`...)
		for i, d := range c.Diffs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(d), 10)
		}
		dst = append(dst, ']')
	}
	dst = strconv.AppendInt(append(dst, `,"it":`...), c.InvisibleMs, 10)
	dst = strconv.AppendInt(append(dst, `,"n":`...), int64(c.Num), 10)
	dst = strconv.AppendInt(append(dst, `,"pt":`...), c.PopMs, 10)
	dst = strconv.AppendInt(append(dst, `,"q":`...), int64(c.QueueID), 10)
	dst = strconv.AppendInt(append(dst, `,"reviveTime":`...), c.ReviveMs(), 10)
	dst = append(dst, `,"ro":0`...)
	if c.RePut != "" {
		dst = appendText(dst, `,"rp":"`, c.RePut)
	}
	dst = strconv.AppendInt(append(dst, `,"so":`...), c.Start, 10)
	dst = strconv.AppendBool(append(dst, `,"sp":`...), c.Suspend)
	return append(appendText(dst, `,"t":"`, c.Topic), '}')
}

func appendText(dst []byte, name, text string) []byte {
	return append(laxjson.AppendEscaped(append(dst, name...), text), '"')
}

// ParseCheckpoint reads the body of a ck record.
func ParseCheckpoint(b []byte) (*Checkpoint, error) {
	c := new(Checkpoint)
	if err := laxjson.Unmarshal(b, c); err != nil {
		return nil, err
	}
	switch {
	case c.Topic == "" || c.Group == "":
		return nil, fmt.Errorf("check point without topic or group")
	case c.Num < 0 || c.Num > MaxMessages || len(c.Diffs) > MaxMessages || len(c.Diffs) > 0 && len(c.Diffs) < int(c.Num):
		return nil, fmt.Errorf("check point of %d messages with %d offsets", c.Num, len(c.Diffs))
	}
	return c, nil
}

// Ack says that messages of a check point are consumed. It is the JSON body of a record with the tag ack, or bAck, which has
// many offsets:
//
//	{"ao":105,"bn":"broker-a","c":"G","pt":1700000000000,"q":0,"so":100,"t":"T"}
//	{"ao":-1,"aol":[101,103],"bn":…}
//
// Older brokers write long names. Source: Java AckMsg, BatchAckMsg.
type Ack struct {
	Offset  int64   `json:"ao"`
	Offsets []int64 `json:"aol"`
	Broker  string  `json:"bn"`
	Group   string  `json:"c"`
	PopMs   int64   `json:"pt"`
	QueueID int32   `json:"q"`
	Start   int64   `json:"so"`
	Topic   string  `json:"t"`
}

// AppendJSON appends the body of the record: of a batch if there are Offsets.
func (a *Ack) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"ao":`...), a.Offset, 10)
	if len(a.Offsets) > 0 {
		dst = append(dst, `,"aol":[`...)
		for i, o := range a.Offsets {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, o, 10)
		}
		dst = append(dst, ']')
	}
	dst = appendText(dst, `,"bn":"`, a.Broker)
	dst = appendText(dst, `,"c":"`, a.Group)
	dst = strconv.AppendInt(append(dst, `,"pt":`...), a.PopMs, 10)
	dst = strconv.AppendInt(append(dst, `,"q":`...), int64(a.QueueID), 10)
	dst = strconv.AppendInt(append(dst, `,"so":`...), a.Start, 10)
	return append(appendText(dst, `,"t":"`, a.Topic), '}')
}

// longAck has the names of older brokers.
type longAck struct {
	Offset  int64   `json:"ackOffset"`
	Offsets []int64 `json:"ackOffsetList"`
	Broker  string  `json:"brokerName"`
	Group   string  `json:"consumerGroup"`
	PopMs   int64   `json:"popTime"`
	QueueID int32   `json:"queueId"`
	Start   int64   `json:"startOffset"`
	Topic   string  `json:"topic"`
}

// consumed are the offsets that it is about, of one or of a batch.
func (a *Ack) consumed() []int64 {
	if len(a.Offsets) > 0 {
		return a.Offsets
	}
	return []int64{a.Offset}
}

// ParseAck reads the body of an ack or bAck record.
func ParseAck(b []byte) (*Ack, error) {
	a := new(Ack)
	if err := laxjson.Unmarshal(b, a); err != nil {
		return nil, err
	}
	if a.Topic == "" {
		l := new(longAck)
		if err := laxjson.Unmarshal(b, l); err != nil {
			return nil, err
		}
		*a = Ack(*l)
	}
	if a.Topic == "" || a.Group == "" {
		return nil, fmt.Errorf("acknowledgement without topic or group")
	}
	return a, nil
}

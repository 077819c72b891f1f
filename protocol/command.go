// Package protocol is the remoting protocol of RocketMQ as words: frames, codes, headers, bodies, and what a
// handler gets to see of a request. It does no I/O, starts nothing and knows no clock.
package protocol

// Form says how the header of a frame is written. It is the first byte of the frame's second word.
// Source: Java SerializeType.
type Form uint8

// The two forms. A request and its answer may differ; we answer in the form of the request.
const (
	JSON   Form = 0
	Binary Form = 1 // "ROCKETMQ": code and version are int16, an empty string reads as absent
)

// Flag bits of a command. A one-way request is never answered, not even with an error.
const (
	flagResponse int32 = 1
	flagOneway   int32 = 2
)

// Version is what we report in every header: the ordinal of V5_5_1. Java clients take the one in a heartbeat's
// answer for the broker's version. Source: Java MQVersion; tables/mq-versions.tsv.
const Version int32 = 515

// Field is one entry of a header's extFields. A null value has no Field.
type Field struct {
	Key, Value []byte
}

// Command is one frame, request or response. A decoded one aliases the bytes that it was decoded from (Fields
// and Body), so it lives as long as they do: in the turn until the handler returns. Clone makes it independent.
type Command struct {
	Code     int32
	Language Language
	Version  int32
	Opaque   int32
	Flag     int32
	Remark   string
	Form     Form
	Fields   []Field
	Body     []byte
}

// IsResponse tells whether the command answers a request of ours.
func (c *Command) IsResponse() bool { return c.Flag&flagResponse != 0 }

// IsOneway tells whether the sender wants no answer.
func (c *Command) IsOneway() bool { return c.Flag&flagOneway != 0 }

// SetOneway marks a request as one that wants no answer.
func (c *Command) SetOneway() { c.Flag |= flagOneway }

// NewRequest makes a request of ours in the JSON form. h may be nil; the command does not keep it, but it does keep
// body.
func NewRequest(code int32, h Fielder, body []byte) *Command {
	w := NewFrame(nil, JSON, code, 0, 0, "")
	if h != nil {
		h.AppendFields(&w)
	}
	c := &Command{}
	if err := c.Decode(w.Finish()[4:]); err != nil {
		panic(err) // what we wrote ourselves
	}
	c.Body = body
	return c
}

// Get returns the value of an ext field and whether it is there. The name is exact; the last of two counts.
func (c *Command) Get(key string) ([]byte, bool) {
	for i := len(c.Fields) - 1; i >= 0; i-- {
		if string(c.Fields[i].Key) == key {
			return c.Fields[i].Value, true
		}
	}
	return nil, false
}

// Set adds an ext field, or replaces its value.
func (c *Command) Set(key, value string) {
	for i := len(c.Fields) - 1; i >= 0; i-- {
		if string(c.Fields[i].Key) == key {
			c.Fields[i].Value = []byte(value)
			return
		}
	}
	c.Fields = append(c.Fields, Field{[]byte(key), []byte(value)})
}

// Clone returns a copy that shares no bytes with c.
func (c *Command) Clone() *Command {
	n := len(c.Body)
	for i := range c.Fields {
		n += len(c.Fields[i].Key) + len(c.Fields[i].Value)
	}
	buf := make([]byte, 0, n)
	keep := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		from := len(buf)
		buf = append(buf, b...)
		return buf[from:len(buf):len(buf)]
	}
	d := *c
	d.Fields = make([]Field, len(c.Fields))
	for i, f := range c.Fields {
		d.Fields[i] = Field{keep(f.Key), keep(f.Value)}
	}
	d.Body = keep(c.Body)
	return &d
}

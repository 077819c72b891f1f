package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rocketd/message"
	"rocketd/protocol"
)

// Opaques of the generator start here, so that each is a number of ten digits and can be patched into a JSON header.
const firstOpaque = 1_000_000_000

// sendFrame is a whole send request that is copied and patched for each message, so that a message costs the
// generator a copy and no encoding. The header is the one that Java's producer writes: all fields of the short form,
// properties UNIQ_KEY and WAIT.
//
// A body of at least idSize bytes begins with the message's identity; it is what the consuming side checks:
//
//	 0  run       uint64  a number of this run
//	 8  producer  uint32  the connection
//	12  sequence  uint32  the connection's messages, from 0
//	16  intended  int64   when it should have left, ns of the generator's clock
type sendFrame struct {
	bytes             []byte
	run               uint64
	form              protocol.Form
	opaque, key, body int   // places in bytes
	queue, digits     int   // place and length of the queue's number
	messages          int   // more than one: a client batch; body is then the first message's
	size              int   // of a message's body, bytes
	bodyStep          int   // from one message of a batch to the next
	counter, due      int   // places of the counting property and of the time of a timed message; 0: there is none
	base              int64 // timed: when the generator's clock was 0, ns since 1970
}

const (
	idSize    = 24
	keyPrefix = "AC1100010001" // then 4 digits of the run and 16 of producer and sequence

	producerGroup = "rocketd_bench"
)

// newSendFrame builds the request for the queues of a topic that have as many digits as the one that is given.
func newSendFrame(cfg *Config, run uint64, topic string, queue int) *sendFrame {
	const opaque = firstOpaque
	props := "UNIQ_KEY\x01" + keyPrefix + fmt.Sprintf("%04X%016X", uint16(run>>20), 0) + "\x02WAIT\x01true\x02"
	if cfg.Tag != "" {
		props += "TAGS\x01" + cfg.Tag + "\x02"
	}
	if cfg.Counter != "" {
		props += cfg.Counter + "\x0100\x02"
	}
	flags := int32(0)
	if cfg.half {
		flags = message.FlagPrepared
		props += message.PropTransactionPrepared + "\x01true\x02" + message.PropProducerGroup + "\x01" + producerGroup + "\x02"
	}
	if cfg.timed {
		props += message.PropTimerDeliverMs + "\x01" + strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10) + "\x02"
	}
	if name, value, ok := strings.Cut(cfg.Property, "="); ok {
		props += name + "\x01" + value + "\x02"
	}
	size, batch, form := cfg.Size, cfg.Batch, cfg.Form
	text := make([]byte, size)
	for i := range text {
		text[i] = byte('a' + i*7%26)
	}
	body, code, headerProps := text, int32(protocol.SendMessageV2), props
	f := &sendFrame{run: run, form: form, messages: batch, size: size}
	if batch > 1 {
		var one []byte
		one = binary.BigEndian.AppendUint32(one, uint32(4*5+size+2+len(props)))
		one = append(one, make([]byte, 12)...) // magic, checksum, flag
		one = binary.BigEndian.AppendUint32(one, uint32(size))
		one = append(one, text...)
		one = binary.BigEndian.AppendUint16(one, uint16(len(props)))
		one = append(one, props...)
		body, code, headerProps = bytes.Repeat(one, batch), protocol.SendBatchMessage, "WAIT\x01true\x02"
		f.bodyStep = len(one)
	}

	w := protocol.NewFrame(nil, form, code, opaque, 0, "")
	w.Str("a", producerGroup)
	w.Str("b", topic)
	w.Str("c", "TBW102")
	w.Int("d", int64(cfg.Queues))
	w.Int("e", int64(queue))
	w.Int("f", int64(flags))
	w.Int("g", time.Now().UnixMilli())
	w.Int("h", 0)
	w.Str("i", headerProps)
	w.Int("j", 0)
	w.Bool("k", false)
	w.Bool("m", batch > 1)
	w.Body()
	w.Append(body)
	f.bytes = w.Finish()

	if form == protocol.Binary {
		f.opaque = 8 + 5
	} else {
		f.opaque = bytes.Index(f.bytes, []byte(`"opaque":`)) + len(`"opaque":`)
	}
	r, _ := readResponse(f.bytes[4:])
	f.queue, f.digits = 8+r.place("e"), len(strconv.Itoa(queue))
	f.body = len(f.bytes) - len(body)
	f.key = bytes.Index(f.bytes, []byte(keyPrefix)) + len(keyPrefix) + 4
	if batch > 1 {
		f.body += 20
	}
	if cfg.Counter != "" {
		f.counter = f.property(props, cfg.Counter)
	}
	if cfg.timed {
		f.due = f.property(props, message.PropTimerDeliverMs)
	}
	return f
}

// property is where the value of one of the properties of the first message starts.
func (f *sendFrame) property(props, name string) int {
	at := strings.Index(props, "\x02"+name+"\x01") + len(name) + 2
	if f.form == protocol.JSON && f.messages == 1 { // a separator is \u0001 or \u0002
		at += 5 * (strings.Count(props[:at], "\x01") + strings.Count(props[:at], "\x02"))
	}
	return bytes.Index(f.bytes, []byte(message.PropUniqKey)) + at
}

// append appends the request with its own opaque, queue, keys and identities. sequence counts messages. A timed message is due
// when it should have left; with 0, in an hour.
func (f *sendFrame) append(out []byte, slot, queue int, producer, sequence uint32, intended int64) []byte {
	at := len(out)
	out = append(out, f.bytes...)
	b := out[at:]
	putOpaque(b[f.opaque:], f.form, int32(firstOpaque+slot))
	putDecimal(b[f.queue:][:f.digits], int64(queue))
	if f.due > 0 && intended > 0 {
		putDecimal(b[f.due:][:13], (f.base+intended)/1e6)
	}
	for i := range f.messages {
		step := i * f.bodyStep
		putHex(b[f.key+step:], uint64(producer)<<32|uint64(sequence)+uint64(i))
		if f.counter > 0 {
			putDecimal(b[f.counter+step:][:2], int64(sequence+uint32(i))%100)
		}
		if body := b[f.body+step:]; f.size >= idSize {
			binary.BigEndian.PutUint64(body, f.run)
			binary.BigEndian.PutUint32(body[8:], producer)
			binary.BigEndian.PutUint32(body[12:], sequence+uint32(i))
			binary.BigEndian.PutUint64(body[16:], uint64(intended))
		}
	}
	return out
}

func putOpaque(b []byte, form protocol.Form, opaque int32) {
	if form == protocol.Binary {
		binary.BigEndian.PutUint32(b, uint32(opaque))
		return
	}
	putDecimal(b[:10], int64(opaque))
}

// putDecimal fills b with the last digits of a number.
func putDecimal(b []byte, v int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
}

func putHex(b []byte, v uint64) {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], v)
	hex.Encode(b[:16], raw[:])
}

// response is what the generator needs of a response's header.
type response struct {
	opaque int32
	code   int32
	body   []byte
	header []byte
	form   protocol.Form
}

var errResponse = errors.New("the server sent something that is no RocketMQ response")

// readResponse reads a frame without its length word. It looks only for what it needs; the fields of an answer that
// is not a success are read with explain.
func readResponse(frame []byte) (r response, err error) {
	word := binary.BigEndian.Uint32(frame)
	n := int(word & 0xFFFFFF)
	if 4+n > len(frame) {
		return r, errResponse
	}
	r.form, r.header, r.body = protocol.Form(word>>24), frame[4:4+n], frame[4+n:]
	switch r.form {
	case protocol.Binary:
		if n < 21 {
			return r, errResponse
		}
		r.code = int32(int16(binary.BigEndian.Uint16(r.header)))
		r.opaque = int32(binary.BigEndian.Uint32(r.header[5:]))
		return r, nil
	case protocol.JSON:
		code, ok1 := jsonNumber(r.header, `"code":`)
		opaque, ok2 := jsonNumber(r.header, `"opaque":`)
		if !ok1 || !ok2 {
			return r, errResponse
		}
		r.code, r.opaque = int32(code), int32(opaque)
		return r, nil
	}
	return r, errResponse
}

// number returns a numeric ext field of the response. hint is where the name stood in the answer before, to be looked
// at first: a broker's answers to one kind of request look alike. It starts at 0.
func (r *response) number(key string, hint *int) (int64, bool) {
	if r.form == protocol.JSON {
		return r.jsonField(key, hint)
	}
	h, at := r.header, *hint
	if at+2+len(key)+4 > len(h) || string(h[at+2:at+2+len(key)]) != key || int(binary.BigEndian.Uint16(h[at:])) != len(key) {
		if at = r.seek(key); at < 0 {
			return 0, false
		}
		*hint = at
	}
	value := h[at+2+len(key):]
	n := binary.BigEndian.Uint32(value)
	if uint64(n) > uint64(len(value)-4) {
		return 0, false
	}
	return digits(value[4 : 4+n])
}

// place is where the value of an ext field starts in the header; -1 if there is none.
func (r *response) place(key string) int {
	hint := 0
	if _, ok := r.number(key, &hint); !ok {
		return -1
	}
	if r.form == protocol.JSON {
		return hint + len(key) + len(`"":"`)
	}
	return hint + 2 + len(key) + 4
}

// seek walks through the ext fields of a binary header to the one with that name; -1 if there is none.
func (r *response) seek(key string) int {
	h := r.header
	at := 13 + 4 + int(binary.BigEndian.Uint32(h[13:])) + 4 // behind the remark and the length of the fields
	for at+2 <= len(h) {
		k := int(binary.BigEndian.Uint16(h[at:]))
		if at+2+k+4 > len(h) {
			break
		}
		if string(h[at+2:at+2+k]) == key {
			return at
		}
		at += 2 + k + 4 + int(binary.BigEndian.Uint32(h[at+2+k:]))
	}
	return -1
}

func (r *response) jsonField(key string, hint *int) (int64, bool) {
	var room [40]byte
	quoted := append(append(append(room[:0], '"'), key...), `":"`...)
	at := *hint
	if at+len(quoted) > len(r.header) || !bytes.Equal(r.header[at:at+len(quoted)], quoted) {
		if at = bytes.Index(r.header, quoted); at < 0 {
			return 0, false
		}
		*hint = at
	}
	return digits(r.header[at+len(quoted):])
}

// text is the value of an ext field that needs no escaping; nil if there is none.
func (r *response) text(key string) []byte {
	if r.form == protocol.JSON {
		_, rest, _ := bytes.Cut(r.header, []byte(`"`+key+`":"`))
		value, _, _ := bytes.Cut(rest, []byte{'"'})
		return value
	}
	at := r.seek(key)
	if at < 0 {
		return nil
	}
	value := r.header[at+2+len(key):]
	n := binary.BigEndian.Uint32(value)
	if uint64(n) > uint64(len(value)-4) {
		return nil
	}
	return value[4 : 4+n]
}

// explain says what an answer with another code than 0 means.
func explain(frame []byte) string {
	var c protocol.Command
	if err := c.Decode(bytes.Clone(frame)); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("code %d: %s", c.Code, c.Remark)
}

func jsonNumber(header []byte, key string) (int64, bool) {
	at := bytes.Index(header, []byte(key))
	if at < 0 {
		return 0, false
	}
	return digits(header[at+len(key):])
}

// digits reads the decimal number at the start of b.
func digits(b []byte) (int64, bool) {
	i, neg := 0, false
	if len(b) > 0 && b[0] == '-' {
		i, neg = 1, true
	}
	from, v := i, int64(0)
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		v = v*10 + int64(b[i]-'0')
	}
	if neg {
		v = -v
	}
	return v, i > from && i-from < 19
}

package protocol

import (
	"encoding/binary"
	"strconv"

	"rocketd/internal/laxjson"
)

// FrameWriter writes one frame at the end of a buffer, straight into the place that it leaves from: length word,
// header in either form, body. It is a value on the stack of whoever writes; nothing is allocated but the growth
// of the buffer.
//
// The order is: fields (Str, Bytes, Int, Bool), Body, then Append or Buf, then Send or Finish. The names of fields are
// ours and need no escaping. An absent field is one that is not written.
type FrameWriter struct {
	peer     Peer // nil outside Ticket.Open
	buf      []byte
	remark   string
	start    int // where the frame's length word is
	ext      int // Binary: where the length of the ext block is; JSON: how many fields were written
	opaque   int32
	flag     int32
	version  int32
	form     Form
	language Language
	inBody   bool
}

// maxRemark bounds the remark of a frame, in bytes: it may quote what a client sent.
const maxRemark = 16 << 10

// NewFrame begins a frame at the end of dst, for a peer that is not at hand. Finish ends it.
func NewFrame(dst []byte, form Form, code, opaque, flag int32, remark string) FrameWriter {
	w := FrameWriter{buf: dst}
	w.begin(form, code, opaque, flag, remark)
	return w
}

func (w *FrameWriter) begin(form Form, code, opaque, flag int32, remark string) {
	if len(remark) > maxRemark {
		remark = remark[:maxRemark]
	}
	w.start, w.form, w.opaque, w.flag, w.remark = len(w.buf), form, opaque, flag, remark
	w.language, w.version = LanguageGo, Version
	if form == Binary {
		w.buf = append(w.buf, 0, 0, 0, 0, byte(Binary), 0, 0, 0, byte(code>>8), byte(code))
		return
	}
	w.buf = append(w.buf, "\x00\x00\x00\x00\x00\x00\x00\x00{\"code\":"...)
	w.buf = strconv.AppendInt(w.buf, int64(code), 10)
}

// preamble writes what stands between the code and the first ext field in the binary form.
func (w *FrameWriter) preamble() {
	w.buf = append(w.buf, byte(w.language), byte(w.version>>8), byte(w.version))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(w.opaque))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(w.flag))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(w.remark)))
	w.buf = append(w.buf, w.remark...)
	w.ext = len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0)
}

// openField writes the name of a field, and in JSON the opening quote of its value.
func (w *FrameWriter) openField(key string) {
	if w.form == Binary {
		if w.ext == 0 {
			w.preamble()
		}
		w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(key)))
		w.buf = append(w.buf, key...)
		return
	}
	if w.ext == 0 {
		w.buf = append(w.buf, `,"extFields":{"`...)
	} else {
		w.buf = append(w.buf, `,"`...)
	}
	w.ext++
	w.buf = append(w.buf, key...)
	w.buf = append(w.buf, `":"`...)
}

// Str writes a text.
func (w *FrameWriter) Str(key, val string) {
	w.openField(key)
	if w.form == Binary {
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(val)))
		w.buf = append(w.buf, val...)
		return
	}
	w.buf = append(laxjson.AppendEscaped(w.buf, val), '"')
}

// Bytes writes a text.
func (w *FrameWriter) Bytes(key string, val []byte) {
	w.openField(key)
	if w.form == Binary {
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(val)))
		w.buf = append(w.buf, val...)
		return
	}
	w.buf = append(laxjson.AppendEscaped(w.buf, val), '"')
}

// Int writes a decimal number.
func (w *FrameWriter) Int(key string, v int64) {
	w.openField(key)
	if w.form == Binary {
		at := len(w.buf)
		w.buf = append(w.buf, 0, 0, 0, 0)
		w.buf = strconv.AppendInt(w.buf, v, 10)
		w.buf[at+3] = byte(len(w.buf) - at - 4)
		return
	}
	w.buf = append(strconv.AppendInt(w.buf, v, 10), '"')
}

// Bool writes true or false.
func (w *FrameWriter) Bool(key string, v bool) {
	if v {
		w.Str(key, "true")
	} else {
		w.Str(key, "false")
	}
}

// field writes a field whose name came from somebody else.
func (w *FrameWriter) field(key, val []byte) {
	if w.form == Binary && len(key) > 1<<15-1 {
		return // such a name cannot be said in the binary form
	}
	if w.form == JSON {
		var room [64]byte
		key = laxjson.AppendEscaped(room[:0], key)
	}
	w.Bytes(string(key), val)
}

// Body ends the header. Fields can no longer be written.
func (w *FrameWriter) Body() {
	if w.inBody {
		return
	}
	w.inBody = true
	if w.form == Binary {
		if w.ext == 0 {
			w.preamble()
		}
		binary.BigEndian.PutUint32(w.buf[w.ext:], uint32(len(w.buf)-w.ext-4))
	} else {
		w.endJSON()
	}
	n := len(w.buf) - w.start - 8
	binary.BigEndian.PutUint32(w.buf[w.start+4:], uint32(w.form)<<24|uint32(n)&0xFFFFFF)
}

func (w *FrameWriter) endJSON() {
	b := w.buf
	if w.ext != 0 {
		b = append(b, '}')
	}
	b = append(b, `,"flag":`...)
	b = strconv.AppendInt(b, int64(w.flag), 10)
	b = append(b, `,"language":"`...)
	b = append(b, w.language.String()...)
	b = append(b, `","opaque":`...)
	b = strconv.AppendInt(b, int64(w.opaque), 10)
	if w.remark != "" {
		b = append(b, `,"remark":"`...)
		b = append(laxjson.AppendEscaped(b, w.remark), '"')
	}
	b = append(b, `,"serializeTypeCurrentRPC":"JSON","version":`...)
	b = strconv.AppendInt(b, int64(w.version), 10)
	w.buf = append(b, '}')
}

// Append adds bytes to the body. Body was called before.
func (w *FrameWriter) Append(b []byte) { w.buf = append(w.buf, b...) }

// Buf is the buffer itself, to append a body in place. Body was called before; what is there may not be touched.
func (w *FrameWriter) Buf() *[]byte { return &w.buf }

// Finish ends the frame and returns the buffer.
func (w *FrameWriter) Finish() []byte {
	w.finish()
	return w.buf
}

func (w *FrameWriter) finish() {
	w.Body()
	binary.BigEndian.PutUint32(w.buf[w.start:], uint32(len(w.buf)-w.start-4))
}

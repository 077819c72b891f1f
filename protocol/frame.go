package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxFrame is the default limit of a whole frame with its length word, in bytes.
// Source: Java NettySystemConfig, com.rocketmq.remoting.frameMaxLength.
const MaxFrame = 16 << 20

// Errors of a frame that cannot be read. None of them can be answered, because the request's opaque is not known or
// the place of the next frame is not: the connection is closed, as Java does.
var (
	ErrFrameLength = errors.New("frame length out of bounds")
	ErrFrameHeader = errors.New("malformed frame header")
)

// maxFields bounds how many ext fields one header may have, so that a header of 16 MiB does not become a slice many
// times its size. Java's largest header has some thirty.
const maxFields = 1024

// FrameLength returns how many bytes the whole frame at the start of b has, length word included. b holds at
// least 4 bytes. A limit of 0 means MaxFrame. The error is an ErrFrameLength.
func FrameLength(b []byte, limit int) (total int, err error) {
	if limit == 0 {
		limit = MaxFrame
	}
	n := int64(int32(binary.BigEndian.Uint32(b)))
	if n < 4 || n+4 > int64(limit) {
		return 0, fmt.Errorf("%w: %d bytes, allowed are 4 to %d", ErrFrameLength, n, limit-4)
	}
	return int(n) + 4, nil
}

// Decode reads a frame without its length word:
//
//	0            form    uint8    0 JSON, 1 binary
//	1            length  uint24   of the header, bytes
//	4            header
//	4+length     body             what is left
//
// c.Fields is used again. Fields and Body alias frame, and escapes in JSON strings are undone in place, so a
// frame can be decoded once. A header without escapes, remark and strange languages costs no allocation. The error
// is an ErrFrameHeader and c is then of no use.
func (c *Command) Decode(frame []byte) error {
	if len(frame) < 4 {
		return fmt.Errorf("%w: %d bytes are too short for a frame", ErrFrameHeader, len(frame))
	}
	word := binary.BigEndian.Uint32(frame)
	end := 4 + int(word&0xFFFFFF)
	if end > len(frame) {
		return fmt.Errorf("%w: header of %d bytes in a frame of %d", ErrFrameHeader, end-4, len(frame))
	}
	*c = Command{Form: Form(word >> 24), Fields: c.Fields[:0]}
	if end < len(frame) {
		c.Body = frame[end:len(frame):len(frame)]
	}
	header := frame[4:end:end]
	switch c.Form {
	case JSON:
		return c.decodeJSON(header)
	case Binary:
		return c.decodeBinary(header)
	}
	return fmt.Errorf("%w: unknown form %d", ErrFrameHeader, c.Form)
}

// Append appends the whole frame, length word included, in the command's form.
// With a Version of 0 it speaks for us: our language and our version.
func (c *Command) Append(dst []byte) []byte {
	w := NewFrame(dst, c.Form, c.Code, c.Opaque, c.Flag, c.Remark)
	if c.Version != 0 {
		w.language, w.version = c.Language, c.Version
	}
	for i := range c.Fields {
		w.field(c.Fields[i].Key, c.Fields[i].Value)
	}
	w.Body()
	w.Append(c.Body)
	return w.Finish()
}

package protocol

import (
	"encoding/binary"
	"fmt"
)

// decodeBinary reads a header of the binary form, all big-endian:
//
//	 0  code      int16   sign-extended; codes above 32,767 arrive cut and mean nothing
//	 2  language  int8
//	 3  version   int16
//	 5  opaque    int32
//	 9  flag      int32
//	13  remark    int32 length, UTF-8
//	    ext       int32 length of the block, then entries of
//	              int16 length, key, int32 length, value
//
// A text of length 0 reads as absent, so an empty value has no Field. Source: Java RocketMQSerializable.
func (c *Command) decodeBinary(b []byte) error {
	if len(b) < 21 {
		return fmt.Errorf("%w: binary header of %d bytes, the shortest has 21", ErrFrameHeader, len(b))
	}
	c.Code = int32(int16(binary.BigEndian.Uint16(b)))
	c.Language = languageOf(int64(b[2]))
	c.Version = int32(int16(binary.BigEndian.Uint16(b[3:])))
	c.Opaque = int32(binary.BigEndian.Uint32(b[5:]))
	c.Flag = int32(binary.BigEndian.Uint32(b[9:]))
	remark, b, ok := cutText(b[13:])
	if !ok {
		return fmt.Errorf("%w: remark is longer than the header", ErrFrameHeader)
	}
	c.Remark = string(remark)
	ext, _, ok := cutText(b)
	if !ok {
		return fmt.Errorf("%w: ext fields are longer than the header", ErrFrameHeader)
	}
	for len(ext) > 0 {
		if len(ext) < 2 {
			return fmt.Errorf("%w: ext field is cut", ErrFrameHeader)
		}
		n := 2 + int(binary.BigEndian.Uint16(ext))
		if n > len(ext) {
			return fmt.Errorf("%w: key of an ext field is longer than the header", ErrFrameHeader)
		}
		key, rest := ext[2:n:n], ext[n:]
		var value []byte
		if value, ext, ok = cutText(rest); !ok {
			return fmt.Errorf("%w: value of ext field %q is longer than the header", ErrFrameHeader, key)
		}
		if len(value) == 0 {
			continue
		}
		if len(c.Fields) == maxFields {
			return fmt.Errorf("%w: more than %d ext fields", ErrFrameHeader, maxFields)
		}
		c.Fields = append(c.Fields, Field{key, value})
	}
	return nil
}

// cutText takes a text with an int32 length off the front of b.
func cutText(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b)) + 4 // a negative length is too long as well
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[4:n:n], b[n:], true
}

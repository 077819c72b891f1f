package message

import "fmt"

// EachInBatch calls fn for every message in the body of a batch request, in order, until fn returns an error, which
// it returns. The slices alias body. Bytes that are no batch are ErrMalformed; fn may have been called before.
//
//	size int32 (this message, bytes) | magic int32 | crc int32 | flag int32 | body int32 + n | properties int16 + n
//
// Magic and checksum are zero on the wire and not looked at. Source: Java MessageDecoder.encodeMessage.
func EachInBatch(body []byte, fn func(flag int32, body, props []byte) error) error {
	for at := 0; at < len(body); {
		c := cursor{b: body, at: at}
		size := int(int32(c.uint(4)))
		c.uint(8)
		flag := int32(c.uint(4))
		text := c.take(int(int32(c.uint(4))))
		props := c.take(int(int16(c.uint(2))))
		if c.bad || c.at-at != size {
			return fmt.Errorf("%w: message at byte %d of a batch", ErrMalformed, at)
		}
		if err := fn(flag, text, props); err != nil {
			return err
		}
		at = c.at
	}
	return nil
}

package remoting

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"rocketd/protocol"
)

// FuzzLane_Serve cuts a stream anywhere: the same frames must come out as of the whole stream, up to the same error.
func FuzzLane_Serve(f *testing.F) {
	var stream []byte
	for i := range 3 {
		c := request(int32(i), fmt.Sprint("body ", i))
		c.Form = protocol.Form(i % 2)
		c.Set("topic", "T\u0001\"")
		stream = c.Append(stream)
	}
	f.Add(stream, uint16(1))
	f.Add(stream, uint16(50))
	f.Add(append(stream[:len(stream):len(stream)], 0, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4), uint16(7))
	f.Add([]byte{0, 0, 0, 3}, uint16(1))
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0}, uint16(2))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		whole, wholeErr := serveInPieces(stream, len(stream))
		cut, cutErr := serveInPieces(stream, int(piece))
		if !slices.Equal(whole, cut) || (wholeErr == nil) != (cutErr == nil) {
			t.Errorf("whole: %q, %v; in pieces of %d: %q, %v", whole, wholeErr, piece, cut, cutErr)
		}
	})
}

func serveInPieces(stream []byte, piece int) (seen []string, err error) {
	stream, piece = bytes.Clone(stream), max(piece, 1)
	c, _ := scripted(1000)
	c.limits.maxFrame = 1 << 16
	l := lane{turn: new(protocol.Turn), handler: funcs{serve: func(c *protocol.Call) {
		seen = append(seen, fmt.Sprintf("%d %d %s %q", c.Code, c.Opaque, c.Body, c.Fields))
	}}}
	var buf []byte
	for len(stream) > 0 {
		n := min(piece, len(stream))
		buf = append(buf, stream[:n]...)
		stream = stream[n:]
		used, need, err := l.serve(c, buf)
		if err != nil {
			return seen, err
		}
		buf = buf[used:]
		if len(buf) >= 4 && (need <= len(buf) || need > 1<<16) {
			return seen, fmt.Errorf("%d bytes are left of a frame of %d", len(buf), need)
		}
	}
	return seen, nil
}

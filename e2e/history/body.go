package history

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Body makes the body of a message: its name, its length, and letters that depend on both, so that no byte can be
// changed, lost or taken from another message without Parse seeing it. It is longer than size where that is too small.
func Body(id ID, size int) []byte {
	const letters = 5 // at least, or one more
	name := fmt.Sprintf("%s#%d.", id.Producer, id.N)
	size = max(size, len(name)+len("99.")+letters)
	return pad(fmt.Appendf(nil, "%s%d.", name, size), id.N, size)
}

// pad adds letters up to size.
func pad(b []byte, n, size int) []byte {
	x := uint32(n)*2654435761 + uint32(size)
	for len(b) < size {
		x = x*1664525 + 1013904223
		b = append(b, 'a'+byte(x>>24)%26)
	}
	return b
}

// Parse tells which message a body belongs to. The error says that it is none that Body has made.
func Parse(b []byte) (ID, error) {
	bad := func(why string) (ID, error) { return ID{}, fmt.Errorf("%s: %.80q", why, b) }
	parts := strings.SplitN(string(b), ".", 3)
	if len(parts) < 3 {
		return bad("nobody wrote this")
	}
	producer, number, ok := strings.Cut(parts[0], "#")
	n, err := strconv.Atoi(number)
	size, err2 := strconv.Atoi(parts[1])
	if !ok || errors.Join(err, err2) != nil || size != len(b) {
		return bad("nobody wrote this")
	}
	id := ID{producer, n}
	if !bytes.Equal(b, Body(id, size)) {
		return bad(fmt.Sprintf("this is not what was written as %v", id))
	}
	return id, nil
}

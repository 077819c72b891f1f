package consumequeue

import (
	"testing"
	"unsafe"
)

// What an append looks at of a queue is one line of the processor's caches; the allocator places pieces of 128 bytes on
// multiples of it.
func TestQueue_Line(t *testing.T) {
	var q Queue
	if n := unsafe.Sizeof(q); n != 128 {
		t.Errorf("a queue has %d bytes", n)
	}
	if n := unsafe.Offsetof(q.topic); n != 64 {
		t.Errorf("what an append looks at has %d bytes", n)
	}
}

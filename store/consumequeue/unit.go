// Package consumequeue is the index of one queue of a topic: for each message in order, where its record lies in the
// commit log.
package consumequeue

import "encoding/binary"

// UnitSize is the length of a unit, bytes.
const UnitSize = 20

// Unit is one entry of a queue, 20 bytes, big-endian. The unit of offset n is at byte 20 * n of the queue.
//
//	 0  physical  int64  start of the record in the commit log, bytes
//	 8  size      int32  length of the record, bytes
//	12  tag       int64  hash of the tags; in the delay topic the due time, ms
//
// Source: Java ConsumeQueue, CQ_STORE_UNIT_SIZE.
type Unit struct {
	Physical int64
	Size     int32
	Tag      int64
}

// fillerSize stands in the size of units that hold no message: they fill a first file up to the first real one.
const fillerSize = 0x7fffffff

// ParseUnit reads the unit at the start of b.
func ParseUnit(b []byte) Unit {
	_ = b[UnitSize-1]
	return Unit{
		Physical: int64(binary.BigEndian.Uint64(b)),
		Size:     int32(binary.BigEndian.Uint32(b[8:])),
		Tag:      int64(binary.BigEndian.Uint64(b[12:])),
	}
}

// Filler tells that the unit holds no message.
func (u Unit) Filler() bool { return u.Size == fillerSize }

// valid tells a written unit from the zeros behind the last.
func (u Unit) valid() bool { return u.Physical >= 0 && u.Size > 0 }

func (u Unit) put(b []byte) {
	_ = b[UnitSize-1]
	binary.BigEndian.PutUint64(b, uint64(u.Physical))
	binary.BigEndian.PutUint32(b[8:], uint32(u.Size))
	binary.BigEndian.PutUint64(b[12:], uint64(u.Tag))
}

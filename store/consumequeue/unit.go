// Package consumequeue is the index of one queue of a topic: for each message in order, where its record lies in the
// commit log.
package consumequeue

import "encoding/binary"

// UnitSize and BatchUnitSize are the lengths of a unit of a Simple and of a Batch queue, bytes.
const (
	UnitSize      = 20
	BatchUnitSize = 46
)

// Kind is the form of a queue, the attribute queue.type of its topic.
type Kind uint8

// The kinds. A Batch queue has one unit for each record, which may hold several messages.
const (
	Simple Kind = iota
	Batch
)

// String is the value of the attribute queue.type.
func (k Kind) String() string {
	if k == Batch {
		return "BatchCQ"
	}
	return "SimpleCQ"
}

// unit is the length of a unit, bytes.
func (k Kind) unit() int {
	if k == Batch {
		return BatchUnitSize
	}
	return UnitSize
}

// Unit is one entry of a queue, big-endian. In a Simple queue it has 20 bytes, and that of offset n is at byte 20 * n.
// In a Batch queue it has 46 bytes and says itself which offsets it stands for.
//
//	 0  physical   int64  start of the record in the commit log, bytes
//	 8  size       int32  length of the record, bytes
//	12  tag        int64  hash of the tags; in the delay topic the due time, ms; or an address in the queue's Ext
//	20  storeMs    int64  store time of the record
//	28  base       int64  offset of its first message
//	36  count      int16  messages in the record
//	38  compacted  int32  -1
//	42  reserved   int32  0
//
// Source: Java ConsumeQueue and BatchConsumeQueue, CQ_STORE_UNIT_SIZE.
type Unit struct {
	Physical int64
	Size     int32
	Tag      int64

	StoreMs int64 // these three in Batch queues only
	Base    int64
	Count   int32
}

// MaxCount is the most messages that a record of a Batch queue can hold.
const MaxCount = 1<<15 - 1

// fillerSize stands in the size of units that hold no message: they fill a first file up to the first real one.
const fillerSize = 0x7fffffff

// ParseUnit reads the unit of a Simple queue at the start of b.
func ParseUnit(b []byte) Unit {
	_ = b[UnitSize-1]
	return Unit{
		Physical: int64(binary.BigEndian.Uint64(b)),
		Size:     int32(binary.BigEndian.Uint32(b[8:])),
		Tag:      int64(binary.BigEndian.Uint64(b[12:])),
	}
}

// ParseBatchUnit reads the unit of a Batch queue at the start of b.
func ParseBatchUnit(b []byte) Unit {
	_ = b[BatchUnitSize-1]
	u := ParseUnit(b)
	u.StoreMs = int64(binary.BigEndian.Uint64(b[20:]))
	u.Base = int64(binary.BigEndian.Uint64(b[28:]))
	u.Count = int32(int16(binary.BigEndian.Uint16(b[36:])))
	return u
}

func (k Kind) parse(b []byte) Unit {
	if k == Batch {
		return ParseBatchUnit(b)
	}
	return ParseUnit(b)
}

// SoundUnit tells whether b begins with what can be the first unit of a queue, a filler, or what a crash leaves of one:
// zeros at the end.
func SoundUnit(b []byte) bool {
	if len(b) < UnitSize {
		return false
	}
	u := ParseUnit(b)
	return u.Physical >= 0 && u.Physical < maxPhysical && (u.Size >= tornFiller || u.Size >= 0 && u.Size < maxRecord)
}

// What no commit log can hold.
const (
	maxPhysical = 1 << 56
	maxRecord   = 1 << 30
	tornFiller  = fillerSize &^ 0xffffff // the least that is left of a filler whose write ended in its size
)

// Filler tells that the unit holds no message.
func (u Unit) Filler() bool { return u.Size == fillerSize }

// valid tells a written unit from the zeros behind the last.
func (k Kind) valid(u Unit) bool {
	return u.Physical >= 0 && u.Size > 0 && (u.Size < maxRecord || u.Filler()) && (k == Simple || u.Base >= 0 && u.Count > 0)
}

func (k Kind) put(b []byte, u Unit) {
	_ = b[UnitSize-1]
	binary.BigEndian.PutUint64(b, uint64(u.Physical))
	binary.BigEndian.PutUint32(b[8:], uint32(u.Size))
	binary.BigEndian.PutUint64(b[12:], uint64(u.Tag))
	if k == Batch {
		_ = b[BatchUnitSize-1]
		binary.BigEndian.PutUint64(b[20:], uint64(u.StoreMs))
		binary.BigEndian.PutUint64(b[28:], uint64(u.Base))
		binary.BigEndian.PutUint16(b[36:], uint16(u.Count))
		binary.BigEndian.PutUint32(b[38:], 0xffffffff)
		binary.BigEndian.PutUint32(b[42:], 0)
	}
}

// PutBatchUnit writes the unit of a Batch queue to the start of b.
func PutBatchUnit(b []byte, u Unit) { Batch.put(b, u) }

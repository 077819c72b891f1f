// Package wheel keeps the files in which Java's broker keeps timed messages: a log of units, one per message that waits, and
// a wheel of slots, one per moment, that say where in the log the units of that moment are. It knows positions and times,
// not messages.
package wheel

import "encoding/binary"

// UnitSize is the length of a unit of the log, bytes.
const UnitSize = 52

// Bits of Unit.Magic.
const (
	MagicDefault int32 = 1
	MagicRoll    int32 = 2 // at its time the message is put into the timer topic again, since it is due later than the wheel reaches
	MagicDelete  int32 = 4 // the message recalls another one
)

// The end of a log file that no unit fits into: the bytes that are left int32, 0 int64, magicBlank int32.
const (
	blankSize  = 16
	magicBlank = -875286124 // 0xCBD43194
)

// Unit is one entry of the timer log: 52 bytes, big-endian.
//
//	 0  size       int32  52
//	 4  prev       int64  position of the unit before it in its slot, -1: none
//	12  magic      int32  MagicDefault, and MagicRoll and MagicDelete
//	16  writeMs    int64  when it was written, in whole steps of the wheel
//	24  delayMs    int32  what its time is behind that
//	28  physical   int64  start of the message's record in the commit log
//	36  size       int32  length of that record
//	40  topicHash  int32  Java's hash of the real topic, for counts
//	44  reserved   int64  0
//
// Source: Java TimerLog, TimerMessageStore.doEnqueue.
type Unit struct {
	Prev      int64
	Magic     int32
	WriteMs   int64
	DelayMs   int32
	Physical  int64
	Size      int32
	TopicHash int32
}

// TimeMs is the time of the unit, which its slot follows from.
func (u *Unit) TimeMs() int64 { return u.WriteMs + int64(u.DelayMs) }

// AppendUnit appends the bytes of a unit to dst.
func AppendUnit(dst []byte, u *Unit) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, UnitSize)
	dst = be.AppendUint64(dst, uint64(u.Prev))
	dst = be.AppendUint32(dst, uint32(u.Magic))
	dst = be.AppendUint64(dst, uint64(u.WriteMs))
	dst = be.AppendUint32(dst, uint32(u.DelayMs))
	dst = be.AppendUint64(dst, uint64(u.Physical))
	dst = be.AppendUint32(dst, uint32(u.Size))
	dst = be.AppendUint32(dst, uint32(u.TopicHash))
	return be.AppendUint64(dst, 0)
}

// ParseUnit reads the unit at the start of b. It is false for what no broker writes: too few bytes, another size, a magic
// with other bits, a record that cannot be.
func ParseUnit(b []byte) (Unit, bool) {
	be := binary.BigEndian
	if len(b) < UnitSize || be.Uint32(b) != UnitSize {
		return Unit{}, false
	}
	u := Unit{
		Prev:      int64(be.Uint64(b[4:])),
		Magic:     int32(be.Uint32(b[12:])),
		WriteMs:   int64(be.Uint64(b[16:])),
		DelayMs:   int32(be.Uint32(b[24:])),
		Physical:  int64(be.Uint64(b[28:])),
		Size:      int32(be.Uint32(b[36:])),
		TopicHash: int32(be.Uint32(b[40:])),
	}
	return u, u.Magic|0xF == 0xF && u.Prev >= -1 && u.WriteMs > 0 && u.Physical >= 0 && u.Size > 0
}

func appendBlank(dst []byte, left int64) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(left))
	dst = be.AppendUint64(dst, 0)
	magic := int32(magicBlank)
	return be.AppendUint32(dst, uint32(magic))
}

// isBlank tells whether the rest of a file is none of the log.
func isBlank(b []byte) bool {
	return len(b) >= blankSize && int32(binary.BigEndian.Uint32(b[12:])) == magicBlank
}

package consumequeue

import (
	"encoding/binary"
	"math"
	"sync"
)

// ExtUnit is what a Simple queue keeps of a message beside its unit, where enableConsumeQueueExt is set. The tag of the
// unit is then the address of this one: its byte in the queue's Ext files + math.MinInt64. Big-endian:
//
//	 0  size     int16  of the unit, bytes, at least 20
//	 2  tag      int64  what the tag of the unit would be
//	10  storeMs  int64  store time of the record
//	18  bits     int16  length, bytes
//	20  bits     bloom filter of the SQL subscriptions that want the message; may be empty
//
// A unit lies in one file. Where the next one does not fit with 4 bytes to spare, an int16 of -1 ends the file.
// Source: Java ConsumeQueueExt, CqExtUnit.
type ExtUnit struct {
	Tag     int64
	StoreMs int64
	Bits    []byte
}

// Lengths of the layout, bytes.
const (
	extMin   = 20
	extMax   = math.MaxInt16
	extSpare = 4
)

// IsExt tells that the tag of a unit is an address. Tags are hashes of 32 bits, and due times are positive.
func IsExt(tag int64) bool { return tag < math.MinInt32 }

func extAddress(at int64) int64 { return at + math.MinInt64 }
func extPlace(tag int64) int64  { return tag - math.MinInt64 }

func (u *ExtUnit) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, uint16(extMin+len(u.Bits)))
	dst = be.AppendUint64(dst, uint64(u.Tag))
	dst = be.AppendUint64(dst, uint64(u.StoreMs))
	dst = be.AppendUint16(dst, uint16(len(u.Bits)))
	return append(dst, u.Bits...)
}

// parseExt reads the unit at the start of b; ok is false if there is none.
func parseExt(b []byte) (u ExtUnit, size int, ok bool) {
	if len(b) < extMin {
		return u, 0, false
	}
	be := binary.BigEndian
	size, bits := int(int16(be.Uint16(b))), int(int16(be.Uint16(b[18:])))
	if bits < 0 || size != extMin+bits || size > len(b) {
		return u, 0, false
	}
	return ExtUnit{int64(be.Uint64(b[2:])), int64(be.Uint64(b[10:])), b[extMin:size]}, size, true
}

// SoundExt tells whether b begins with what can be the first unit of an Ext file, or what a crash leaves of one.
func SoundExt(b []byte) bool {
	if len(b) < extMin {
		return false
	}
	be := binary.BigEndian
	size, bits, ms := int(int16(be.Uint16(b))), int(int16(be.Uint16(b[18:]))), int64(be.Uint64(b[10:]))
	return ms >= 0 && ms < maxStoreMs && bits >= 0 && (size == 0 || size >= extMin+bits)
}

// maxStoreMs is later than any store time.
const maxStoreMs = 1 << 43

// ext is the Ext of one queue. The newest bytes are in memory and written before the units that point to them.
type ext struct {
	size int64 // of a file
	base int64 // first byte of the first file, -1 while there is none; owned by who calls Set.Flush

	mu      sync.Mutex // guards:
	written int64      // bytes below it are in files
	pending []byte     // the ones behind
}

// add adds a unit and returns its address; ok is false if no file can hold it. Only the appender calls it.
func (e *ext) add(u *ExtUnit) (address int64, ok bool) {
	n := int64(extMin + len(u.Bits))
	if n > extMax || n > e.size-extSpare {
		return 0, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.written + int64(len(e.pending))
	if left := e.size - at%e.size; n > left-extSpare {
		e.pending = append(e.pending, 0xff, 0xff)
		e.pending = append(e.pending, make([]byte, left-2)...)
		at += left
	}
	e.pending = u.append(e.pending)
	return extAddress(at), true
}

// inMemory copies up to n bytes from byte at on, if they are in memory.
func (e *ext) inMemory(at int64, n int) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at < e.written {
		return nil, false
	}
	from := min(at-e.written, int64(len(e.pending)))
	return append([]byte(nil), e.pending[from:min(from+int64(n), int64(len(e.pending)))]...), true
}

// unitInMemory copies the unit at byte at, if it is in memory.
func (e *ext) unitInMemory(at int64) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at < e.written {
		return nil, false
	}
	_, n, _ := parseExt(e.pending[min(at-e.written, int64(len(e.pending))):])
	return append([]byte(nil), e.pending[min(at-e.written, int64(len(e.pending))):][:n]...), true
}

// unwritten returns a copy of the bytes in memory, and where they go.
func (e *ext) unwritten() ([]byte, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]byte(nil), e.pending...), e.written
}

// wrote lets go of n bytes that are in a file now.
func (e *ext) wrote(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.written += int64(n)
	e.pending = append([]byte(nil), e.pending[n:]...)
}

// reset makes the end of what is in files the end.
func (e *ext) reset(end int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.written, e.pending = end, nil
}

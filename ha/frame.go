// Package ha ships the log of a master to its slaves and counts how far they have it, in the frames of Java's default
// HA service: a connection from slave to master on which bytes of the log flow down, in order, and positions flow up.
//
//	slave → master   report, 8 bytes:  position int64: all before it is in the slave's log; the first one asks from where
//	                                   on to send: 0 leaves that to the master
//	master → slave   frame, 12 bytes:  position int64, size int32; then size bytes of the log from position on, all in
//	                                   one file. Size 0 is a heartbeat: position is where the next frame will begin
//
// All numbers are big-endian, and there is nothing else: no greeting, no name, no checksum. Source: Java
// DefaultHAConnection, DefaultHAClient. See docs/format/ha.md.
package ha

import (
	"encoding/binary"
	"fmt"
)

// Sizes and limits of the frames.
const (
	reportSize = 8
	headSize   = 12
	maxBody    = 64 << 20 // a frame that says more is none; Java's have at most haTransferBatchSize
	maxAt      = 1 << 56  // no log is so long
)

func appendReport(dst []byte, position int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(position))
}

func appendHead(dst []byte, position int64, size int) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(position))
	return binary.BigEndian.AppendUint32(dst, uint32(size))
}

// frames cuts the stream of a master, in whatever pieces it comes.
type frames struct {
	head [headSize]byte
	have int   // bytes of head
	at   int64 // position of the next byte of the body
	left int   // of the body
}

// next takes what it can from b and returns what it found: a piece of a body that begins at a position; or, with no piece,
// heartbeat; or neither: b ended before. The piece aliases b.
func (f *frames) next(b []byte) (at int64, piece []byte, heartbeat bool, rest []byte, err error) {
	if f.left == 0 {
		n := copy(f.head[f.have:], b)
		f.have += n
		b = b[n:]
		if f.have < headSize {
			return 0, nil, false, b, nil
		}
		f.have = 0
		position, size := int64(binary.BigEndian.Uint64(f.head[:])), int32(binary.BigEndian.Uint32(f.head[8:]))
		if position < 0 || position > maxAt || size < 0 || size > maxBody {
			return 0, nil, false, b, fmt.Errorf("a frame says position %d and size %d: that is no master of default HA", position, size)
		}
		f.at, f.left = position, int(size)
		if size == 0 {
			return f.at, nil, true, b, nil
		}
	}
	n := min(f.left, len(b))
	at = f.at
	f.at += int64(n)
	f.left -= n
	return at, b[:n], false, b[n:], nil
}

// reports cuts the stream of a slave.
type reports struct {
	buf  [64 * reportSize]byte
	have int
}

// room is where to read to.
func (r *reports) room() []byte { return r.buf[r.have:] }

// took says that n bytes were read there. It returns the last whole report among them, as Java's master takes it; ok is
// false if there is none yet.
func (r *reports) took(n int) (position int64, ok bool) {
	r.have += n
	whole := r.have / reportSize * reportSize
	if whole == 0 {
		return 0, false
	}
	position = int64(binary.BigEndian.Uint64(r.buf[whole-reportSize:]))
	r.have = copy(r.buf[:], r.buf[whole:r.have])
	return position, true
}

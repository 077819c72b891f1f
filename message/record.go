// Package message is a message as words: the record that is the same in the commit log and in the body of a pull
// answer, its property string, its flags and its ids. It does no I/O and knows no clock.
package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// Magic numbers, the second word of a record. V2 has a topic length of two bytes instead of one. Blank stands at the
// end of a commit log file, behind a first word that counts the bytes to the end of the file.
const (
	MagicV1    int32 = -626843481 // 0xDAA320A7
	MagicV2    int32 = -626843477 // 0xDAA320AB
	MagicBlank int32 = -875286124 // 0xCBD43194
)

// Limits of the layout.
const (
	BlankSize     = 8     // a record of n bytes fits into a file only if n+BlankSize bytes are left
	MinSize       = 91    // a V1 record between IPv4 hosts with nothing in it
	MaxProperties = 32767 // bytes of a property string: its length is a signed int16
	MaxTopic      = 255   // bytes of a topic name, the longest that Java lets in
)

// Positions of what is patched or peeked at, from the start of a record.
const (
	posMagic       = 4
	posCRC         = 8
	posQueueID     = 12
	posFlag        = 16
	posQueueOffset = 20
	posPhysical    = 28
	posSysFlag     = 36
	posBornMs      = 40
	posBornHost    = 48
	posStoreMs     = 56 // 12 more if the born host is IPv6
)

// Errors of Decode. Both mean that the bytes are no record of the commit log.
var (
	ErrShort     = errors.New("record is cut short")
	ErrMalformed = errors.New("record is malformed")
)

// Record is a decoded message: numbers, and views into the bytes that it was decoded from.
//
//	 0 size           int32   whole record, bytes
//	 4 magic          int32   MagicV1 or MagicV2
//	 8 bodyCRC        int32   CRC-32 (IEEE) of the body & 0x7fffffff
//	12 queueID        int32
//	16 flag           int32   the user's
//	20 queueOffset    int64   count in the queue; 0 in prepared and rolled-back messages
//	28 physical       int64   own position in the log, bytes
//	36 sysFlag        int32   see flags.go
//	40 bornMs         int64   client's clock, ms
//	48 bornHost       4 or 16 bytes address, int32 port
//	   storeMs        int64   broker's clock, ms
//	   storeHost      4 or 16 bytes address, int32 port
//	   reconsumeTimes int32
//	   preparedOffset int64   position of the half message of a committed one, else 0
//	   body           int32 length, bytes
//	   topic          V1: int8, V2: int16 length, bytes
//	   properties     int16 length, bytes
//
// All numbers are big-endian. Source: Java MessageExtEncoder, MessageDecoder.
type Record struct {
	Size           int32
	Magic          int32
	BodyCRC        int32
	QueueID        int32
	Flag           int32
	QueueOffset    int64
	Physical       int64
	SysFlag        int32
	BornMs         int64
	BornHost       netip.AddrPort
	StoreMs        int64
	StoreHost      netip.AddrPort
	ReconsumeTimes int32
	PreparedOffset int64
	Body           []byte
	Topic          []byte
	Properties     []byte
}

// Decode reads the record at the start of b; b may go on behind it. The lengths inside must add up to the size;
// the body's checksum is not looked at (CheckCRC does). Slices of the result alias b. It returns ErrShort if b
// ends before the record, ErrMalformed for anything that no encoder writes.
func Decode(b []byte) (Record, error) {
	var r Record
	if len(b) < posMagic+4 {
		return r, ErrShort
	}
	r.Size, r.Magic = be32(b, 0), be32(b, posMagic)
	if r.Magic != MagicV1 && r.Magic != MagicV2 {
		return r, fmt.Errorf("%w: magic %#08x", ErrMalformed, uint32(r.Magic))
	}
	if r.Size < MinSize {
		return r, fmt.Errorf("%w: size %d", ErrMalformed, r.Size)
	}
	if int64(len(b)) < int64(r.Size) {
		return r, ErrShort
	}
	b = b[:r.Size:r.Size]
	r.BodyCRC, r.QueueID, r.Flag = be32(b, posCRC), be32(b, posQueueID), be32(b, posFlag)
	r.QueueOffset, r.Physical = be64(b, posQueueOffset), be64(b, posPhysical)
	r.SysFlag, r.BornMs = be32(b, posSysFlag), be64(b, posBornMs)

	c := cursor{b: b, at: posBornHost}
	r.BornHost = c.host(r.SysFlag&FlagBornHostV6 != 0)
	r.StoreMs = int64(c.uint(8))
	r.StoreHost = c.host(r.SysFlag&FlagStoreHostV6 != 0)
	r.ReconsumeTimes = int32(c.uint(4))
	r.PreparedOffset = int64(c.uint(8))
	r.Body = c.take(int(int32(c.uint(4))))
	if r.Magic == MagicV1 {
		r.Topic = c.take(int(int8(c.uint(1))))
	} else {
		r.Topic = c.take(int(int16(c.uint(2))))
	}
	r.Properties = c.take(int(int16(c.uint(2))))
	if c.bad || c.at != len(b) {
		return r, fmt.Errorf("%w: lengths inside do not add up to size %d", ErrMalformed, r.Size)
	}
	return r, nil
}

// CheckCRC tells whether the body is the one that was stored. An empty body is always right, as in Java.
func (r *Record) CheckCRC() bool { return len(r.Body) == 0 || r.BodyCRC == CRC(r.Body) }

// CRC is the checksum of a body as records hold it.
func CRC(body []byte) int32 { return int32(crc32.ChecksumIEEE(body) & 0x7fffffff) }

// cursor walks over the variable part of a record. After a step beyond the end it is bad and returns zeros.
type cursor struct {
	b   []byte
	at  int
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.b)-c.at {
		c.bad = true
		return nil
	}
	c.at += n
	return c.b[c.at-n : c.at : c.at]
}

func (c *cursor) uint(n int) uint64 {
	var v uint64
	for _, x := range c.take(n) {
		v = v<<8 | uint64(x)
	}
	return v
}

func (c *cursor) host(v6 bool) netip.AddrPort {
	n := 4
	if v6 {
		n = 16
	}
	addr, _ := netip.AddrFromSlice(c.take(n))
	return netip.AddrPortFrom(addr, uint16(c.uint(4)))
}

func be32(b []byte, at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }
func be64(b []byte, at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }

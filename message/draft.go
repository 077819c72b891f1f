package message

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Draft is a message before it has a place in the log. The two host bits of SysFlag follow from the hosts; whatever
// the draft says there is replaced.
type Draft struct {
	Topic          []byte // 1 to MaxTopic bytes
	Body           []byte
	Properties     []byte // at most MaxProperties bytes
	QueueID        int32
	Flag           int32
	SysFlag        int32
	BornMs         int64
	BornHost       netip.AddrPort
	StoreHost      netip.AddrPort // the address that clients are told, brokerIP1 and the listen port
	ReconsumeTimes int32
	PreparedOffset int64
	// Timed is no part of the record: the tag that is given along with the draft is ms after the time of the store, which
	// only the store knows. Records of the delay topic have such a tag.
	Timed bool
}

// Draft is r as a message that has no place yet: a change of it is written as another record, which is of no half message. Its
// slices alias r's.
func (r *Record) Draft() Draft {
	return Draft{
		Topic: r.Topic, Body: r.Body, Properties: r.Properties, QueueID: r.QueueID, Flag: r.Flag, SysFlag: r.SysFlag, BornMs: r.BornMs,
		BornHost: r.BornHost, StoreHost: r.StoreHost, ReconsumeTimes: r.ReconsumeTimes,
	}
}

// Size is the length of the draft's record, bytes.
func (d *Draft) Size() int {
	n := MinSize + len(d.Body) + len(d.Topic) + len(d.Properties)
	if isV6(d.BornHost) {
		n += 12
	}
	if isV6(d.StoreHost) {
		n += 12
	}
	if len(d.Topic) > 127 {
		n++
	}
	return n
}

// AppendRecord appends the draft's record to dst, V2 if the topic is longer than 127 bytes, with the checksum of the
// body. Queue offset, physical offset and store time are zero: Patch fills them in when they are known. The caller
// has checked the limits of Draft; a draft beyond them panics.
func AppendRecord(dst []byte, d *Draft) []byte {
	if len(d.Properties) > MaxProperties || len(d.Topic) > MaxTopic {
		panic(fmt.Sprintf("message: draft with %d bytes of properties and %d of topic", len(d.Properties), len(d.Topic)))
	}
	magic := MagicV1
	if len(d.Topic) > 127 {
		magic = MagicV2
	}
	sysFlag := d.SysFlag &^ (FlagBornHostV6 | FlagStoreHostV6)
	if isV6(d.BornHost) {
		sysFlag |= FlagBornHostV6
	}
	if isV6(d.StoreHost) {
		sysFlag |= FlagStoreHostV6
	}
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(d.Size()))
	dst = be.AppendUint32(dst, uint32(magic))
	dst = be.AppendUint32(dst, uint32(CRC(d.Body)))
	dst = be.AppendUint32(dst, uint32(d.QueueID))
	dst = be.AppendUint32(dst, uint32(d.Flag))
	dst = be.AppendUint64(dst, 0) // queue offset
	dst = be.AppendUint64(dst, 0) // physical offset
	dst = be.AppendUint32(dst, uint32(sysFlag))
	dst = be.AppendUint64(dst, uint64(d.BornMs))
	dst = appendHost(dst, d.BornHost)
	dst = be.AppendUint64(dst, 0) // store time
	dst = appendHost(dst, d.StoreHost)
	dst = be.AppendUint32(dst, uint32(d.ReconsumeTimes))
	dst = be.AppendUint64(dst, uint64(d.PreparedOffset))
	dst = be.AppendUint32(dst, uint32(len(d.Body)))
	dst = append(dst, d.Body...)
	if magic == MagicV1 {
		dst = append(dst, byte(len(d.Topic)))
	} else {
		dst = be.AppendUint16(dst, uint16(len(d.Topic)))
	}
	dst = append(dst, d.Topic...)
	dst = be.AppendUint16(dst, uint16(len(d.Properties)))
	return append(dst, d.Properties...)
}

// Patch fills the three holes of a record that AppendRecord wrote.
func Patch(rec []byte, queueOffset, physical, storeMs int64) {
	be := binary.BigEndian
	be.PutUint64(rec[posQueueOffset:], uint64(queueOffset))
	be.PutUint64(rec[posPhysical:], uint64(physical))
	be.PutUint64(rec[storeMsAt(rec):], uint64(storeMs))
}

// PeekSize returns the size and the magic of a record from its first 8 bytes.
func PeekSize(b []byte) (size, magic int32) { return be32(b, 0), be32(b, posMagic) }

// PeekPhysical returns a record's own position from its first PeekBytes bytes.
func PeekPhysical(b []byte) int64 { return be64(b, posPhysical) }

// PeekQueueOffset returns a record's number in its queue from its first PeekBytes bytes.
func PeekQueueOffset(b []byte) int64 { return be64(b, posQueueOffset) }

// PeekStoreMs returns a record's store time from its first PeekBytes bytes.
func PeekStoreMs(b []byte) int64 { return be64(b, storeMsAt(b)) }

// PeekBytes are enough for every Peek function; no record is shorter.
const PeekBytes = posStoreMs + 12 + 8

func storeMsAt(rec []byte) int {
	if be32(rec, posSysFlag)&FlagBornHostV6 != 0 {
		return posStoreMs + 12
	}
	return posStoreMs
}

func isV6(h netip.AddrPort) bool { return h.Addr().Is6() && !h.Addr().Is4In6() }

// appendHost writes address and port. A host without an address is written as 0.0.0.0.
func appendHost(dst []byte, h netip.AddrPort) []byte {
	if isV6(h) {
		a := h.Addr().As16()
		dst = append(dst, a[:]...)
	} else {
		var a [4]byte
		if h.Addr().IsValid() {
			a = h.Addr().Unmap().As4()
		}
		dst = append(dst, a[:]...)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(h.Port()))
}

// HeadBytes are enough for PeekBody. MaxOverhead is the most that a record is larger than its body.
const (
	HeadBytes   = posStoreMs + 12 + 8 + 20 + 4 + 8 + 4
	MaxOverhead = MinSize + 12 + 12 + 1 + 32767 + MaxProperties
)

// PeekBody returns the body length of a record from its first HeadBytes bytes.
func PeekBody(b []byte) int64 { return int64(be32(b, bodyAt(b)-4)) }

// bodyAt is where the body starts.
func bodyAt(b []byte) int {
	at := storeMsAt(b) + 8 + 8 + 4 + 8 + 4
	if be32(b, posSysFlag)&FlagStoreHostV6 != 0 {
		at += 12
	}
	return at
}

// PeekProperties returns the property string of a record, a view into it: what Decode finds, at a fraction of the cost. It
// returns false if Decode would return an error, or if b goes on behind the record.
func PeekProperties(b []byte) ([]byte, bool) {
	if len(b) < MinSize || int(be32(b, 0)) != len(b) {
		return nil, false
	}
	at := bodyAt(b)
	if at > len(b) {
		return nil, false
	}
	at += int(uint32(be32(b, at-4)))
	magic := be32(b, posMagic)
	switch {
	case magic == MagicV1 && at < len(b) && b[at] < 1<<7:
		at += 1 + int(b[at])
	case magic == MagicV2 && at+1 < len(b) && b[at] < 1<<7:
		at += 2 + int(binary.BigEndian.Uint16(b[at:]))
	default:
		return nil, false
	}
	if at+1 >= len(b) || b[at] >= 1<<7 || at+2+int(binary.BigEndian.Uint16(b[at:])) != len(b) {
		return nil, false
	}
	return b[at+2:], true
}

package message

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
)

// PropCRCSize is what the checksum of a record takes at the very end of its properties: the name, a separator, ten
// digits, a separator.
const PropCRCSize = len(PropCRC32) + 1 + propCRCDigits + 1

const propCRCDigits = 10

// ErrProperties says that the properties of a record would be longer than MaxProperties.
var ErrProperties = fmt.Errorf("properties are longer than %d bytes", MaxProperties)

// AppendLate appends the record rec to dst with what could not be known when it was encoded: the property string more
// behind its properties, and, if crc is set, room for SealCRC; a checksum that is there already is dropped then. rec is a
// record of AppendRecord. After an error dst is as it was. Source: Java MessageExtEncoder, enabledAppendPropCRC.
func AppendLate(dst, rec, more []byte, crc bool) ([]byte, error) {
	r, err := Decode(rec)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	at := start + len(rec) - len(r.Properties)
	dst = append(dst, rec[:len(rec)-len(r.Properties)]...)
	if crc {
		dst = WithoutProperty(dst, r.Properties, PropCRC32)
	} else {
		dst = append(dst, r.Properties...)
	}
	if n := len(dst); n > at && dst[n-1] != valueEnd && (crc || len(more) > 0) {
		dst = append(dst, valueEnd)
	}
	dst = append(dst, more...)
	if crc {
		dst = append(dst, PropCRC32...)
		dst = append(append(dst, nameEnd), "0000000000"...)
		dst = append(dst, valueEnd)
	}
	if len(dst)-at > MaxProperties {
		return dst[:start], ErrProperties
	}
	binary.BigEndian.PutUint16(dst[at-2:], uint16(len(dst)-at))
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst, nil
}

// SealCRC writes the checksum of all that is before it into the room that AppendLate left at the end of rec. The digits
// stand in reverse, the last one first, as Java writes them.
func SealCRC(rec []byte) {
	sum := propCRC(rec)
	for at := len(rec) - 1 - propCRCDigits; at < len(rec)-1; at++ {
		rec[at] = '0' + byte(sum%10)
		sum /= 10
	}
}

// CheckPropCRC tells whether a record ends with its checksum and whether that is right. Source: Java CommitLog,
// forceVerifyPropCRC.
func CheckPropCRC(rec []byte) bool {
	at := len(rec) - PropCRCSize
	if at < 0 || rec[len(rec)-1] != valueEnd || string(rec[at:at+len(PropCRC32)]) != PropCRC32 || rec[at+len(PropCRC32)] != nameEnd {
		return false
	}
	digits := rec[len(rec)-1-propCRCDigits : len(rec)-1]
	sum := propCRC(rec)
	for _, d := range digits {
		if d != '0'+byte(sum%10) {
			return false
		}
		sum /= 10
	}
	return true
}

// propCRC is the checksum of a record without its last PropCRCSize bytes.
func propCRC(rec []byte) uint32 {
	return crc32.ChecksumIEEE(rec[:len(rec)-PropCRCSize]) & 0x7fffffff
}

// InnerCount returns how many messages a record holds: INNER_NUM of an inner batch, else 1. It returns 0 if an inner
// batch does not say, or says what cannot be.
func (r *Record) InnerCount() int32 {
	if r.SysFlag&FlagInnerBatch == 0 {
		return 1
	}
	v, _ := Property(r.Properties, PropInnerNum)
	n, err := strconv.ParseUint(string(v), 10, 15)
	if err != nil {
		return 0
	}
	return int32(n)
}

package message

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

const upperHex = "0123456789ABCDEF"

// AppendOffsetID appends the id of a stored message: upper-case hex of address, port as int32, physical offset;
// 32 characters, 56 with IPv6. Tools connect to that address. Source: Java MessageDecoder.createMessageId.
func AppendOffsetID(dst []byte, host netip.AddrPort, physical int64) []byte {
	var buf [28]byte
	b := appendHost(buf[:0], host)
	b = binary.BigEndian.AppendUint64(b, uint64(physical))
	return appendHex(dst, b)
}

// ParseOffsetID takes the id of a stored message apart.
func ParseOffsetID(id string) (host netip.AddrPort, physical int64, err error) {
	b, err := hex.DecodeString(id)
	if err != nil || (len(b) != 16 && len(b) != 28) {
		return host, 0, fmt.Errorf("offset message id %.60q is not 32 or 56 hex digits", id)
	}
	n := len(b) - 12
	addr, _ := netip.AddrFromSlice(b[:n])
	port := binary.BigEndian.Uint32(b[n:])
	if port > 65535 {
		return host, 0, fmt.Errorf("offset message id %q has port %d", id, port)
	}
	return netip.AddrPortFrom(addr, uint16(port)), be64(b, n+4), nil
}

// UniqKeys makes values of PropUniqKey for messages that came without one: upper-case hex of address, process id
// (int16), a number of this generator (int32), ms since the month began (int32), a counter (int16).
// Source: Java MessageClientIDSetter.
type UniqKeys struct {
	prefix [22]byte
	size   int
	count  atomic.Uint32
}

// NewUniqKeys returns a generator. number tells generators of one process apart.
func NewUniqKeys(ip netip.Addr, number int32) *UniqKeys {
	g := new(UniqKeys)
	var b []byte
	if ip.Is6() && !ip.Is4In6() {
		a := ip.As16()
		b = append(g.prefix[:0], a[:]...)
	} else {
		var a [4]byte
		if ip.IsValid() {
			a = ip.Unmap().As4()
		}
		b = append(g.prefix[:0], a[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(os.Getpid()))
	b = binary.BigEndian.AppendUint32(b, uint32(number))
	g.size = len(b)
	return g
}

// Append appends a new key to dst; it may be called from any goroutine.
func (g *UniqKeys) Append(dst []byte, now time.Time) []byte {
	var buf [28]byte
	b := append(buf[:0], g.prefix[:g.size]...)
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, now.Location())
	b = binary.BigEndian.AppendUint32(b, uint32(now.Sub(month).Milliseconds()))
	b = binary.BigEndian.AppendUint16(b, uint16(g.count.Add(1)-1))
	return appendHex(dst, b)
}

func appendHex(dst, b []byte) []byte {
	for _, x := range b {
		dst = append(dst, upperHex[x>>4], upperHex[x&15])
	}
	return dst
}

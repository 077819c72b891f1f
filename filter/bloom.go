package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Bloom says which bits of a map stand for which name. A map with the bits of several names answers that a name is not in it, or that
// it may be. Source: Java BloomFilter, BitsArray; vectors in testdata.
type Bloom struct {
	hashes int   // bits of a name
	size   int32 // of a map, bits; a multiple of 8
}

// NewBloom makes one whose maps answer wrongly, where they say that a name may be in them, in percent of all cases, as long as they hold
// so many names at most. The errors name the key of the configuration.
func NewBloom(percent, names int) (Bloom, error) {
	if percent < 1 || percent > 99 {
		return Bloom{}, fmt.Errorf("maxErrorRateOfBloomFilter is %d: it must be between 1 and 99", percent)
	}
	if names < 1 || names > 1<<20 {
		return Bloom{}, fmt.Errorf("expectConsumerNumUseFilter is %d: it must be between 1 and %d", names, 1<<20)
	}
	rate := float64(percent) / 100
	hashes := math.Ceil(math.Log(rate) / math.Log(0.5))
	size := math.Ceil(float64(names) * (math.Log(1/rate) / math.Log(2)) * (math.Log(math.E) / math.Log(2)))
	return Bloom{int(hashes), 8 * int32(math.Ceil(size/8))}, nil
}

// Size is the length of a map, bits.
func (b Bloom) Size() int32 { return b.size }

// Bits are the bits of a name, in no order; a bit may be there twice.
func (b Bloom) Bits(name string) []int32 {
	h := murmur3([]byte(name))
	list := make([]int32, b.hashes)
	for i := range list {
		n := int32(h) + int32(i+1)*int32(h>>32) // wraps around
		if n < 0 {
			n = ^n
		}
		list[i] = n % b.size
	}
	return list
}

// SetBits sets bits in a map.
func SetBits(m []byte, list []int32) {
	for _, i := range list {
		m[i/8] |= 1 << (i % 8)
	}
}

// HasBits tells whether a map has all of these bits.
func HasBits(m []byte, list []int32) bool {
	for _, i := range list {
		if m[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
}

// murmur3 is the lower half of MurmurHash3 x64 128 with seed 0.
func murmur3(data []byte) uint64 {
	const c1, c2 = 0x87c37b91114253d5, 0x4cf5ad432745937f
	mix1 := func(k uint64) uint64 { return bits.RotateLeft64(k*c1, 31) * c2 }
	mix2 := func(k uint64) uint64 { return bits.RotateLeft64(k*c2, 33) * c1 }
	var h1, h2 uint64
	n := uint64(len(data))
	for ; len(data) >= 16; data = data[16:] {
		h1 ^= mix1(binary.LittleEndian.Uint64(data))
		h1 = (bits.RotateLeft64(h1, 27)+h2)*5 + 0x52dce729
		h2 ^= mix2(binary.LittleEndian.Uint64(data[8:]))
		h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
	}
	var tail [16]byte
	copy(tail[:], data)
	if len(data) > 8 {
		h2 ^= mix2(binary.LittleEndian.Uint64(tail[8:]))
	}
	if len(data) > 0 {
		h1 ^= mix1(binary.LittleEndian.Uint64(tail[:]))
	}
	h1 ^= n
	h2 ^= n
	h1 += h2
	h2 += h1
	return final(h1) + final(h2)
}

func final(k uint64) uint64 {
	k = (k ^ k>>33) * 0xff51afd7ed558ccd
	k = (k ^ k>>33) * 0xc4ceb9fe1a85ec53
	return k ^ k>>33
}

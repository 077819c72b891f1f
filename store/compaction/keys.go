package compaction

import (
	"bytes"
	"hash/maphash"
)

// slotBytes is what a key takes in the table of keys, as in Java: a hash of 16 bytes and an offset.
const slotBytes = 24

// keys knows for each key the offset of the last message that was put, in a table of a fixed size. What a key is known by
// are two hashes with seeds of this process, so that nobody can choose two keys that meet.
type keys struct {
	slots []slot
	free  int
	seeds [2]maphash.Seed
	last  int64 // the highest offset that was put; -1: none was
}

// slot is empty while its offset is 0: offsets are kept plus one.
type slot struct {
	hash [2]uint64
	next int64
}

// newKeys makes a table for n keys, at least one.
func newKeys(n int) *keys {
	n = max(n, 1)
	return &keys{slots: make([]slot, n+n/4+1), free: n, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, last: -1}
}

func (k *keys) find(key []byte) (s *slot, hash [2]uint64) {
	hash = [2]uint64{maphash.Bytes(k.seeds[0], key), maphash.Bytes(k.seeds[1], key)}
	for i := hash[0] % uint64(len(k.slots)); ; i = (i + 1) % uint64(len(k.slots)) {
		if s = &k.slots[i]; s.next == 0 || s.hash == hash {
			return s, hash
		}
	}
}

// put says that a key has a message at offset; offsets ascend. False means that there is no room for one more key.
func (k *keys) put(key []byte, offset int64) bool {
	s, hash := k.find(key)
	if s.next == 0 {
		if k.free == 0 {
			return false
		}
		k.free--
	}
	s.hash, s.next = hash, offset+1
	k.last = offset
	return true
}

// keeps decides what stays of a log whose keys were put up to last: of each key the last message, unless that has no body,
// which says that the key is deleted. What lies behind last always stays, and so does what has a key that was not put: in a log
// that was brought back from a copy, a message without a body may have others before it.
// Source: Java CompactionLog.shouldRetainMsg.
func (k *keys) keeps(key []byte, offset int64, body bool) bool {
	if offset > k.last {
		return true
	}
	s, _ := k.find(key)
	if s.next == 0 {
		return !blank(key)
	}
	return body && offset+1 >= s.next
}

// blank tells whether a key is none.
func blank(key []byte) bool { return len(bytes.TrimSpace(key)) == 0 }

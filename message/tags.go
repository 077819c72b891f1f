package message

import "unicode/utf8"

// TagsCode is the hash of a TAGS property as consume queues hold it: Java's String.hashCode over UTF-16 units,
// extended with its sign. No tags hash to 0.
func TagsCode(tags []byte) int64 {
	var h int32
	for i := 0; i < len(tags); {
		if c := tags[i]; c < utf8.RuneSelf {
			h = 31*h + int32(c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(tags[i:])
		i += n
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + 0xd800 + r>>10
			h = 31*h + 0xdc00 + r&0x3ff
			continue
		}
		h = 31*h + r
	}
	return int64(h)
}

// TagOf is the tag of the unit of a record with these properties that does not wait for a delay level: TagsCode of its tags.
func TagOf(props []byte) int64 {
	tags, _ := Property(props, PropTags)
	return TagsCode(tags)
}

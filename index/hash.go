package index

import (
	"bytes"
	"unicode/utf8"

	"rocketd/message"
)

// tagMark stands between topic and tags in the key string of a TAGS entry, which is topic#T#tags; that of any other
// key is topic#key. Source: Java IndexService.buildKey 5.5.
const tagMark = "T#"

// Names of properties with the byte that ends them, and the byte that ends a value. Source: Java MessageDecoder.
const (
	uniqueName = message.PropUniqKey + "\x01"
	keysName   = message.PropKeys + "\x01"
	tagsName   = message.PropTags + "\x01"
	valueEnd   = 2
)

// appendHash goes on with Java's String.hashCode, over UTF-16 units, where h has left off.
func appendHash[S []byte | string](h int32, s S) int32 {
	i := 0
	for ; i+4 <= len(s) && s[i]|s[i+1]|s[i+2]|s[i+3] < utf8.RuneSelf; i += 4 {
		h = 31*31*31*31*h + 31*31*31*int32(s[i]) + 31*31*int32(s[i+1]) + 31*int32(s[i+2]) + int32(s[i+3])
	}
	for i < len(s) {
		if c := s[i]; c < utf8.RuneSelf {
			h = 31*h + int32(c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		i += n
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + 0xd800 + r>>10
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	return h
}

// finishHash makes a hash one of an entry: its amount, and 0 where int32 has none.
// Source: Java IndexFile.indexKeyHashMethod.
func finishHash(h int32) int32 {
	if h < 0 {
		h = -h
	}
	return max(h, 0)
}

// hashOf is the hash of one key of a topic.
func hashOf(topic, key string, tags bool) int32 {
	h := appendHash(appendHash(0, topic), "#")
	if tags {
		h = appendHash(h, tagMark)
	}
	return finishHash(appendHash(h, key))
}

// key is one key of a message on its way into a file.
type key struct {
	physical, storeMs int64 // of the message
	hash              int32
}

// appendKeys appends all keys of a message in the order in which Java puts them: the unique key, the items of KEYS
// between single spaces, the tags. Source: Java IndexService.buildIndex.
func appendKeys(dst []key, topic, props []byte, physical, storeMs int64) []key {
	var unique, keys, tags []byte
	for len(props) > 0 { // as message.EachProperty does, but it looks at the names wanted only
		item := props
		if end := bytes.IndexByte(props, valueEnd); end >= 0 {
			item, props = props[:end], props[end+1:]
		} else {
			props = nil
		}
		switch {
		case len(item) < len(tagsName): // also what has no value
		case item[0] == 'U':
			valueOf(item, uniqueName, &unique)
		case item[0] == 'K':
			valueOf(item, keysName, &keys)
		case item[0] == 'T':
			valueOf(item, tagsName, &tags)
		}
	}
	h := appendHash(appendHash(0, topic), "#")
	if len(unique) > 0 {
		dst = append(dst, key{physical, storeMs, finishHash(appendHash(h, unique))})
	}
	for len(keys) > 0 {
		one := keys
		if end := bytes.IndexByte(keys, ' '); end >= 0 {
			one, keys = keys[:end], keys[end+1:]
		} else {
			keys = nil
		}
		if len(one) > 0 {
			dst = append(dst, key{physical, storeMs, finishHash(appendHash(h, one))})
		}
	}
	if len(tags) > 0 {
		dst = append(dst, key{physical, storeMs, finishHash(appendHash(appendHash(h, tagMark), tags))})
	}
	return dst
}

// valueOf sets value if the property has that name, and a value.
func valueOf(item []byte, name string, value *[]byte) {
	if len(item) > len(name) && string(item[:len(name)]) == name {
		*value = item[len(name):]
	}
}

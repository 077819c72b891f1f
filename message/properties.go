package message

import "bytes"

// Separators of the property string: name 1 value 2, repeated.
const (
	nameEnd  = 1
	valueEnd = 2
)

// Property returns the value of a property; if it is there twice, the last. The value aliases props.
func Property(props []byte, name string) ([]byte, bool) {
	var found []byte
	for rest := props; len(rest) > 0; {
		item := rest
		if end := bytes.IndexByte(rest, valueEnd); end >= 0 {
			item, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		// No name holds the sign that ends it.
		if n := len(name); len(item) > n+1 && item[n] == nameEnd && string(item[:n]) == name && n > 0 {
			found = item[n+1:]
		}
	}
	return found, found != nil
}

// EachProperty calls fn for every property in order until it returns false. Items that Java's decoder drops are
// skipped: without name, separator or value. A missing last separator is tolerated.
// Source: Java MessageDecoder.string2messageProperties.
func EachProperty(props []byte, fn func(name, value []byte) bool) {
	for rest := props; len(rest) > 0; {
		var k, v []byte
		k, v, rest = nextProperty(rest)
		if k != nil && !fn(k, v) {
			return
		}
	}
}

// AppendProperty appends one property to a property string. If dst lacks its last separator, it is added. A property
// with an empty value is left out: nobody could read it.
func AppendProperty(dst []byte, name string, value []byte) []byte {
	if len(value) == 0 {
		return dst
	}
	if n := len(dst); n > 0 && dst[n-1] != valueEnd {
		dst = append(dst, valueEnd)
	}
	dst = append(dst, name...)
	dst = append(dst, nameEnd)
	dst = append(dst, value...)
	return append(dst, valueEnd)
}

// WithoutProperty appends props to dst, without the properties of these names.
// Source: Java MessageUtils.deleteProperty.
func WithoutProperty(dst, props []byte, names ...string) []byte {
next:
	for len(props) > 0 {
		end := bytes.IndexByte(props, valueEnd) + 1
		if end == 0 {
			end = len(props)
		}
		item := props[:end]
		props = props[end:]
		for _, name := range names {
			if len(item) > len(name) && string(item[:len(name)]) == name && item[len(name)] == nameEnd {
				continue next
			}
		}
		dst = append(dst, item...)
	}
	return dst
}

// nextProperty cuts one item off; k is nil if there is nothing to read in it.
func nextProperty(b []byte) (k, v, rest []byte) {
	item := b
	if end := bytes.IndexByte(b, valueEnd); end >= 0 {
		item, rest = b[:end], b[end+1:]
	}
	cut := bytes.IndexByte(item, nameEnd)
	if cut <= 0 || cut == len(item)-1 {
		return nil, nil, rest
	}
	return item[:cut:cut], item[cut+1:], rest
}

package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"rocketd/internal/laxjson"
)

// scanError is what is wrong with a JSON header.
type scanError string

func (e scanError) Error() string { return string(e) }

const (
	errSyntax scanError = "unexpected character or end"
	errNumber scanError = "not an int32"
	errEscape scanError = "bad escape"
	errMany   scanError = "too many ext fields"
	errRest   scanError = "something follows the JSON object"
)

// decodeJSON reads a header of the JSON form. It is as lenient as Java's parser and a little more: keys in any order,
// unknown keys with any value, single quotes, trailing commas, numbers in quotes, null for absent, a language
// by name or number.
func (c *Command) decodeJSON(b []byte) error {
	s := scanner{b: b}
	err := c.scanHeader(&s)
	if err == nil && s.peek() != 0 {
		err = errRest
	}
	if err != nil {
		return fmt.Errorf("%w: %w at byte %d", ErrFrameHeader, err, s.i)
	}
	return nil
}

func (c *Command) scanHeader(s *scanner) error {
	if s.peek() != '{' {
		return errSyntax
	}
	for s.i++; ; {
		key, more, err := s.key()
		if err != nil || !more {
			return err
		}
		switch string(key) {
		case "code":
			c.Code, err = s.int32()
		case "version":
			c.Version, err = s.int32()
		case "opaque":
			c.Opaque, err = s.int32()
		case "flag":
			c.Flag, err = s.int32()
		case "language":
			var v []byte
			if v, _, err = s.value(); v != nil && err == nil {
				c.Language = ParseLanguage(v)
			}
		case "remark":
			var v []byte
			if v, _, err = s.value(); err == nil {
				c.Remark = string(v)
			}
		case "extFields":
			err = c.scanFields(s)
		default:
			_, _, err = s.value()
		}
		if err != nil {
			return err
		}
	}
}

func (c *Command) scanFields(s *scanner) error {
	if s.peek() != '{' {
		_, null, err := s.value()
		if err == nil && !null {
			err = errSyntax
		}
		return err
	}
	fields := c.Fields[:0] // the last of two extFields wins
	for s.i++; ; {
		key, more, err := s.key()
		if err != nil || !more {
			c.Fields = fields
			return err
		}
		value, null, err := s.value()
		if err != nil {
			return err
		}
		if null {
			continue
		}
		if len(fields) == maxFields {
			return errMany
		}
		fields = append(fields, Field{key, value})
	}
}

// scanner walks over one JSON object. It never goes past the end of b: peek is 0 there.
type scanner struct {
	b []byte
	i int
}

// peek skips white space and returns the next byte.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// key reads a key and its colon, or the end of the object. A comma before either is skipped.
func (s *scanner) key() (key []byte, more bool, err error) {
	c := s.peek()
	if c == ',' {
		s.i++
		c = s.peek()
	}
	switch c {
	case '"', '\'':
		from := s.i + 1
		end := stop(s.b, from, c)
		if end+1 < len(s.b) && s.b[end] == c && s.b[end+1] == ':' { // nearly always
			s.i = end + 2
			return s.b[from:end:end], true, nil
		}
		key, err = s.text(c)
	case '}':
		s.i++
		return nil, false, nil
	default:
		return nil, false, errSyntax
	}
	if err != nil {
		return nil, false, err
	}
	if s.peek() != ':' {
		return nil, false, errSyntax
	}
	s.i++
	return key, true, nil
}

// value reads any value. A string is returned without quotes and escapes, anything else as it stands; null tells a
// null from the string.
func (s *scanner) value() (v []byte, null bool, err error) {
	switch c := s.peek(); c {
	case '"', '\'':
		v, err = s.text(c)
		return v, false, err
	case '{', '[':
		v, err = s.nested()
		return v, false, err
	default:
		v = s.word()
		if len(v) == 0 {
			return nil, false, errSyntax
		}
		if string(v) == "null" {
			return nil, true, nil
		}
		return v, false, nil
	}
}

// word reads a number, a boolean or null: everything up to a delimiter.
func (s *scanner) word() []byte {
	from := s.i
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.' {
			s.i++
			continue
		}
		break
	}
	return s.b[from:s.i:s.i]
}

// nested skips an object or a list and returns its text. Brackets are counted, not matched: nobody looks inside.
func (s *scanner) nested() ([]byte, error) {
	from, depth := s.i, 0
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				s.i++
				return s.b[from:s.i:s.i], nil
			}
		case '"', '\'':
			if err := s.skipText(c); err != nil {
				return nil, err
			}
			continue
		}
		s.i++
	}
	return nil, errSyntax
}

func (s *scanner) skipText(quote byte) error {
	for s.i++; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '\\':
			s.i++
		case quote:
			s.i++
			return nil
		}
	}
	return errSyntax
}

// int32 reads a number, in quotes or not, with or without a fraction; null and "" are 0.
func (s *scanner) int32() (int32, error) {
	v, _, err := s.value()
	if err != nil || len(v) == 0 {
		return 0, err
	}
	n, ok := parseInt32(v)
	if !ok {
		if dot := bytes.IndexByte(v, '.'); dot > 0 {
			n, ok = parseInt32(v[:dot])
		}
	}
	if !ok {
		return 0, errNumber
	}
	return n, nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeroes has the high bit set of the lowest byte of x that is 0; bits above it mean nothing.
func zeroes(x uint64) uint64 { return (x - ones) &^ x & highs }

// stop returns where the string that has a byte at i ends or has its first escape; len(b) if it does neither.
func stop(b []byte, i int, quote byte) int {
	q := uint64(quote) * ones
	for i+8 <= len(b) { // eight bytes at a time
		x := binary.LittleEndian.Uint64(b[i:])
		if hit := zeroes(x^q) | zeroes(x^('\\'*ones)); hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] != quote && b[i] != '\\' {
		i++
	}
	return i
}

// text reads a string after its opening quote, which is at s.i. It returns a slice of the header; a string with
// escapes is shortened where it lies.
func (s *scanner) text(quote byte) ([]byte, error) {
	from := s.i + 1
	s.i = stop(s.b, from, quote)
	switch {
	case s.i == len(s.b):
		return nil, errSyntax
	case s.b[s.i] == quote:
		s.i++
		return s.b[from : s.i-1 : s.i-1], nil
	}
	return s.escaped(quote, from)
}

// escaped goes on with a string that started at from, at its first backslash.
func (s *scanner) escaped(quote byte, from int) ([]byte, error) {
	first := s.i
	for s.i+2 <= len(s.b) {
		s.i = stop(s.b, s.i+2, quote)
		if s.i < len(s.b) && s.b[s.i] == quote {
			text, ok := laxjson.AppendUnescaped(s.b[from:first], s.b[first:s.i])
			if !ok {
				return nil, errEscape
			}
			s.i++
			return text[:len(text):len(text)], nil
		}
	}
	return nil, errSyntax
}

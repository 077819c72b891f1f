package sql92

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type valueKind uint8

const (
	null valueKind = iota
	boolean
	integer // 32 bits
	long    // 64 bits
	double
	text
	failed
)

// value is what a part of an expression has for one message.
type value struct {
	kind valueKind
	is   bool
	i    int64
	f    float64
	s    []byte
}

// compare orders two values that are not null. A string becomes what it is compared with; numbers of different kinds
// become the wider one; a truth value is less than any number. ok is false if a string is no such number, or if a
// truth value stands left of a string. Source: Java ComparisonExpression.
func compare(l, r value) (c int, ok bool) {
	switch {
	case l.kind == text && r.kind == text:
		return bytes.Compare(l.s, r.s), true
	case l.kind == boolean && r.kind == text:
		return 0, false
	case l.kind == text:
		if l, ok = l.as(r.kind); !ok {
			return 0, false
		}
	case r.kind == text:
		if r, ok = r.as(l.kind); !ok {
			return 0, false
		}
	case (l.kind == boolean) != (r.kind == boolean):
		return -1, true
	}
	switch {
	case l.kind == boolean:
		return truthOf(l) - truthOf(r), true
	case l.kind == double || r.kind == double:
		return compareDouble(l.float(), r.float()), true
	default:
		return cmp.Compare(l.i, r.i), true
	}
}

func truthOf(v value) int {
	if v.is {
		return 1
	}
	return 0
}

func (v value) float() float64 {
	if v.kind == double {
		return v.f
	}
	return float64(v.i)
}

// compareDouble is Java's total order: NaN above all, -0.0 below 0.0.
func compareDouble(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	bits := func(f float64) int64 {
		if f != f {
			return 0x7ff8 << 48
		}
		return int64(math.Float64bits(f))
	}
	return cmp.Compare(bits(a), bits(b))
}

// as reads a string as another kind.
func (v value) as(k valueKind) (value, bool) {
	switch k {
	case boolean:
		return of(len(v.s) == 4 && strings.EqualFold(string(v.s), "true")), true
	case integer:
		n, ok := parseInt(v.s, 32)
		return value{kind: integer, i: n}, ok
	case long:
		n, ok := parseInt(v.s, 64)
		return value{kind: long, i: n}, ok
	default:
		return v.double()
	}
}

// parseInt reads a decimal number as Java's Integer.valueOf and Long.valueOf do: a sign, then digits of any script.
func parseInt(s []byte, bits int) (int64, bool) {
	if n, err := strconv.ParseInt(string(s), 10, bits); err == nil {
		return n, true
	}
	ascii := make([]byte, 0, len(s))
	foreign := false
	for _, r := range string(s) {
		if r >= utf8.RuneSelf {
			d, ok := digitOf(r)
			if !ok {
				return 0, false
			}
			r, foreign = '0'+d, true
		}
		ascii = append(ascii, byte(r))
	}
	if !foreign {
		return 0, false
	}
	n, err := strconv.ParseInt(string(ascii), 10, bits)
	return n, err == nil
}

// digitOf is the value of a digit of another script, of the basic plane as Java sees it.
func digitOf(r rune) (rune, bool) {
	if r > 0xffff || !unicode.Is(unicode.Nd, r) {
		return 0, false
	}
	for _, run := range unicode.Nd.R16 {
		if rune(run.Lo) <= r && r <= rune(run.Hi) {
			return (r - rune(run.Lo)) % 10, true
		}
	}
	return 0, false
}

// double reads a string as Java's Double.valueOf does: blanks around it do not count, a type letter may follow, a number
// too large is infinite.
func (v value) double() (value, bool) {
	s := v.s
	for len(s) > 0 && s[0] <= ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	unsigned := s
	if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
		unsigned = s[1:]
	}
	switch string(unsigned) {
	case "NaN":
		return value{kind: double, f: math.NaN()}, true
	case "Infinity":
	default:
		if len(unsigned) == 0 || !isDigit(unsigned[0]) && unsigned[0] != '.' || bytes.IndexByte(s, '_') >= 0 {
			return value{}, false
		}
		if c := s[len(s)-1] | 0x20; (c == 'f' || c == 'd') && (!isHex(unsigned) || bytes.ContainsAny(s, "pP")) {
			s = s[:len(s)-1]
		}
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil && !math.IsInf(f, 0) {
		return value{}, false
	}
	return value{kind: double, f: f}, true
}

func isHex(s []byte) bool { return len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x' }

package protocol

import "math"

// parseInt reads a decimal int64 with an optional sign, nothing else. It reports false for anything that Java's
// Long.parseLong refuses.
func parseInt(b []byte) (int64, bool) {
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return parseLongInt(b, neg)
	}
	var n uint64 // 19 digits fit
	for _, c := range b {
		c -= '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	if neg {
		if n > 1<<63 {
			return 0, false
		}
		return -int64(n), true
	}
	return int64(n), n <= math.MaxInt64
}

// parseLongInt takes the leading zeros off a number of more than 19 digits.
func parseLongInt(b []byte, neg bool) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	for len(b) > 19 && b[0] == '0' {
		b = b[1:]
	}
	if len(b) > 19 || b[0] == '-' || b[0] == '+' {
		return 0, false
	}
	n, ok := parseInt(b)
	if neg {
		n = -n
	}
	return n, ok
}

func parseInt32(b []byte) (int32, bool) {
	n, ok := parseInt(b)
	return int32(n), ok && n == int64(int32(n))
}

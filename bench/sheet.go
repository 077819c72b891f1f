package bench

import "math/bits"

// A sheet remembers which numbers from a first one on have been seen. They come nearly in order: all below low have been
// seen, and what came early has a bit.
type sheet struct {
	first  int64
	low    int64 // the least that is missing
	next   int64 // one above the highest number seen
	seen   int64
	twice  int64
	astray int64    // numbers that cannot be: below first, or too far ahead
	early  []uint64 // bit i of word w: low rounded down to a multiple of 64, + 64 * w + i
}

func newSheet(first int64) *sheet { return &sheet{first: first, low: first, next: first} }

// tooFar is how far ahead of what is missing a number may be.
const tooFar = 1 << 28

// mark notes a number.
func (s *sheet) mark(n int64) {
	switch {
	case n < s.first || n-s.low > tooFar:
		s.astray++
		return
	case n < s.low:
		s.twice++
		return
	case n == s.low && len(s.early) == 0:
		s.low++
		s.next = s.low
	default:
		word, bit := int(n/64-s.low/64), uint64(1)<<(n%64)
		for len(s.early) <= word {
			s.early = append(s.early, 0)
		}
		if s.early[word]&bit != 0 {
			s.twice++
			return
		}
		s.early[word] |= bit
		s.next = max(s.next, n+1)
		s.advance()
	}
	s.seen++
}

// advance moves low on to the least that is missing.
func (s *sheet) advance() {
	done := 0 // words
	for ; done < len(s.early); done++ {
		from := s.low % 64
		run := int64(bits.TrailingZeros64(^(s.early[done] >> from)))
		if s.low += run; from+run < 64 {
			break
		}
	}
	if s.low == s.next {
		done = len(s.early)
	}
	s.early = s.early[:copy(s.early, s.early[done:])]
}

// missing is how many numbers below the highest were not seen.
func (s *sheet) missing() int64 { return s.next - s.first - s.seen }

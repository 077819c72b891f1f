package bench

// A sheet remembers which numbers from a first one on have been seen: a bit each, in chunks that appear when needed.
type sheet struct {
	first  int64
	next   int64 // one above the highest number seen
	seen   int64
	twice  int64
	before int64 // numbers below first
	chunks [][]uint64
}

const chunkBits = 1 << 20

func newSheet(first int64) *sheet { return &sheet{first: first, next: first} }

// mark notes a number.
func (s *sheet) mark(n int64) {
	i := n - s.first
	if i < 0 {
		s.before++
		return
	}
	for int(i/chunkBits) >= len(s.chunks) {
		s.chunks = append(s.chunks, nil)
	}
	chunk := s.chunks[i/chunkBits]
	if chunk == nil {
		chunk = make([]uint64, chunkBits/64)
		s.chunks[i/chunkBits] = chunk
	}
	word, bit := i%chunkBits/64, uint64(1)<<(i%64)
	if chunk[word]&bit != 0 {
		s.twice++
		return
	}
	chunk[word] |= bit
	s.seen++
	s.next = max(s.next, n+1)
}

// missing is how many numbers below the highest were not seen.
func (s *sheet) missing() int64 { return s.next - s.first - s.seen }

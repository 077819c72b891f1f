package bench

import (
	"math/rand/v2"
	"testing"
)

// What is far ahead is kept, what is out of reach is not.
func TestSheet_Far(t *testing.T) {
	s := newSheet(10)
	for _, n := range []int64{10, 12, 12, 9, 2_000_010, 1 << 60} {
		s.mark(n)
	}
	if s.seen != 3 || s.twice != 1 || s.astray != 2 || s.missing() != 2_000_001-3 {
		t.Errorf("%+v, missing %d", s, s.missing())
	}
}

// A sheet counts as a set of all the numbers would, in whatever order they come.
func TestSheet(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		first, spread := rng.Int64N(200), 1+rng.Int64N(300)
		s, set := newSheet(first), map[int64]bool{}
		var twice, astray, top int64
		top = first
		for i := range int64(500) {
			n := first - 2 + i + rng.Int64N(spread)
			if seed%3 == 0 {
				n = first + i // in order, but for some
				if rng.IntN(50) == 0 {
					n += rng.Int64N(3) - 1
				}
			}
			switch s.mark(n); {
			case n < first:
				astray++
			case set[n]:
				twice++
			default:
				set[n] = true
				top = max(top, n+1)
			}
		}
		seen := int64(len(set))
		if s.seen != seen || s.twice != twice || s.astray != astray || s.missing() != top-first-seen {
			t.Fatalf("seed %d: %+v, want %d seen, %d twice, %d astray, %d missing", seed, s, seen, twice, astray, top-first-seen)
		}
		for n := first; n < top; n++ { // all that is missing
			if !set[n] {
				s.mark(n)
			}
		}
		if s.missing() != 0 || len(s.early) != 0 || s.low != top {
			t.Fatalf("seed %d: %+v after all up to %d", seed, s, top)
		}
	}
}

package bench

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets whose width grows with the value: exact below 128 ns, then 128 buckets to
// each power of two, so a quantile is at most 0.8 % above the true value. The zero value is empty and ready.
type Histogram struct {
	counts   [histogramBuckets]uint64
	n        uint64
	sum      int64
	min, max int64
}

const (
	histogramSub     = 7  // 2^7 buckets a power of two
	histogramBits    = 42 // longer than 2^42 ns, 73 minutes, counts as that
	histogramBuckets = (histogramBits - histogramSub + 1) << histogramSub
)

// Record counts one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	v := max(int64(d), 0)
	if h.n == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.n++
	h.sum += v
	h.counts[bucket(v)]++
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.n }

// Max returns the longest duration, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Min returns the shortest duration, exactly.
func (h *Histogram) Min() time.Duration { return time.Duration(h.min) }

// Mean returns the arithmetic mean, 0 if empty.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / int64(h.n))
}

// Quantile returns the duration that a share q (0 to 1) of all did not exceed, 0 if empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	if float64(rank) < q*float64(h.n) {
		rank++
	}
	rank = min(max(rank, 1), h.n)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			return time.Duration(min(bucketTop(i), h.max))
		}
	}
	return time.Duration(h.max)
}

func bucket(v int64) int {
	v = min(v, 1<<histogramBits-1)
	shift := max(bits.Len64(uint64(v))-histogramSub-1, 0)
	if shift == 0 {
		return int(v)
	}
	return shift<<histogramSub + int(v>>shift)
}

// bucketTop is the largest value that falls into bucket i.
func bucketTop(i int) int64 {
	if i < 2<<histogramSub {
		return int64(i)
	}
	shift := i>>histogramSub - 1
	return int64(i-shift<<histogramSub+1)<<shift - 1
}

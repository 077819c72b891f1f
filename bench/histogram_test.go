package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Every bucket holds the values from its neighbour's top to its own, without a gap.
func TestHistogram_Buckets(t *testing.T) {
	for i := range histogramBuckets {
		top := bucketTop(i)
		if bucket(top) != i {
			t.Fatalf("bucket(%d) = %d, want %d", top, bucket(top), i)
		}
		if i+1 < histogramBuckets && bucket(top+1) != i+1 {
			t.Fatalf("bucket(%d) = %d, want %d", top+1, bucket(top+1), i+1)
		}
	}
	if got := bucket(1 << 62); got != histogramBuckets-1 {
		t.Errorf("bucket(2^62) = %d, want the last one", got)
	}
}

// A quantile is never below the true one and at most 0.8 % above it.
func TestHistogram_Quantile(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 {
		t.Error("an empty histogram is not 0")
	}
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]int64, 10000)
	for i := range all {
		all[i] = int64(1) << r.IntN(36)
		all[i] += r.Int64N(all[i])
		h.Record(time.Duration(all[i]))
	}
	slices.Sort(all)
	for _, q := range []float64{0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all)))-1, 0)]
		got := int64(h.Quantile(q))
		if got < want || float64(got) > float64(want)*1.008+1 {
			t.Errorf("Quantile(%g) = %d, want %d to %d", q, got, want, int64(float64(want)*1.008+1))
		}
	}
	if int64(h.Min()) != all[0] || int64(h.Max()) != all[len(all)-1] || h.Count() != uint64(len(all)) {
		t.Errorf("min %d max %d count %d", h.Min(), h.Max(), h.Count())
	}
	h.Record(-time.Second)
	if h.Min() != 0 {
		t.Errorf("a negative duration counts as %v, want 0", h.Min())
	}
}

package store

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// env is a number from the environment. TestCrash knows
//
//	CRASH_STATES  how many crash states to look at; default 20,000
//	CRASH_SEED    the first seed; a failure names the one that shows it
//	CRASH_TRACE   how many of the last steps a failure shows; default 30
func env(name string, or uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return or
	}
	return n
}

// A store may be killed, lose power, fill up its disk and meet failing writes and syncs at any moment, also while it
// recovers from that: what was acknowledged is there, once, as it was, in order, and nothing else is.
func TestCrash(t *testing.T) {
	want, first := env("CRASH_STATES", 20_000), env("CRASH_SEED", 1)
	if testing.Short() && os.Getenv("CRASH_STATES") == "" {
		want = 2_000
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // much garbage, little memory
	began, told := time.Now(), time.Now()
	var n counts
	seed := first
	for ; uint64(n.states) < want; seed++ {
		w := newWorld(seed)
		failure := runWorld(w)
		n.add(w.counts)
		if failure != "" {
			tail := w.trace[max(0, len(w.trace)-int(env("CRASH_TRACE", 30))):]
			t.Fatalf("seed %d, %+v: %s\n\nlast steps:\n%s\n\n%d states were good before. Again with:\nCRASH_SEED=%d CRASH_STATES=1 go test ./store -run 'TestCrash$'",
				seed, w.plan, failure, strings.Join(tail, "\n"), n.states, seed)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Printf("%v: %d of %d crash states, seed %d\n", time.Since(began).Round(time.Second), n.states, want, seed)
		}
	}
	took := time.Since(began)
	t.Logf("%v in %d stores, %v, %.0f states a second", n, seed-first, took.Round(time.Second/10), float64(n.states)/took.Seconds())
}

// runWorld does the steps of a world until something is wrong.
func runWorld(w *world) (failure string) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(crashFailure)
			if !ok {
				panic(r)
			}
			failure = f.what
		}
	}()
	w.run(60)
	return ""
}

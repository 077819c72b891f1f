package index

import (
	"context"
	"fmt"
	"testing"
)

// cut ends the log at a position.
func (l *memLog) cut(at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = l.data[: at-l.base : at-l.base]
}

// After a Cut nothing behind it is found, all before it is, and what is put in its place is found too: with a builder at
// work or without, while the file that is cut is still in memory, and after the next start.
func TestIndex_Cut(t *testing.T) {
	const each = 1700 // keys; a file has 1,999
	for _, running := range []bool{false, true} {
		for _, keep := range []int{0, 1, 1000, 1998, 1999, 2000, 2 * each} {
			t.Run(fmt.Sprint(running, keep), func(t *testing.T) {
				dir, log := t.TempDir(), new(memLog)
				x := open(t, dir, log)
				stop := func() error { return nil }
				if running {
					stop = run(t, x)
				}
				var at []int64
				for i := range 2 * each {
					at = append(at, log.send(x, "T", int64(1000+i), "KEYS", fmt.Sprint("old", i), "UNIQ_KEY", fmt.Sprint("u", i)))
				}
				end := log.MaxPhysical()
				if keep = min(keep, len(at)); keep < len(at) {
					end = at[keep]
				}
				log.cut(end)
				if err := x.Cut(end); err != nil {
					t.Fatal(err)
				}
				for i := range 100 {
					at = append(at[:keep+i], log.send(x, "T", int64(9000+i), "KEYS", fmt.Sprint("new", i)))
				}
				if !running {
					stop = run(t, x)
				}
				caughtUp(x)
				check := func() {
					t.Helper()
					for i, want := range at {
						key := fmt.Sprint("old", i)
						if i >= keep {
							key = fmt.Sprint("new", i-keep)
						}
						got, err := x.Find(context.Background(), Query{Topic: "T", Key: key, Max: 10, End: 1 << 60})
						if err != nil || len(got.Physical) != 1 || got.Physical[0] != want {
							t.Fatalf("%s: %v, %v, want %d", key, got.Physical, err, want)
						}
					}
					for i := keep; i < 2*each; i++ {
						if got, err := x.Find(context.Background(), Query{Topic: "T", Key: fmt.Sprint("old", i), Max: 10, End: 1 << 60}); err != nil || len(got.Physical) > 0 {
							t.Fatalf("%d is found at %v, %v", i, got.Physical, err)
						}
					}
				}
				check()
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
				x = open(t, dir, log)
				check()
			})
		}
	}
}

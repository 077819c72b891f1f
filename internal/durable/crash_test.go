package durable

import (
	"errors"
	"fmt"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
)

// Wherever a process or the power ends, the file has the last state whose Write returned, or the one that was being
// written.
func TestWrite_Crash(t *testing.T) {
	check := func(b []byte) error {
		if len(b) != len("state 0") {
			return errors.New("torn")
		}
		return nil
	}
	for seed := range uint64(100) {
		for stop := range 60 {
			d := crashfs.New(crashfs.Options{Seed: seed, Ordered: seed%2 == 0})
			d.Before = func(vfs.Op, string) error {
				if stop--; stop < 0 {
					d.Stop()
					return crashfs.ErrStopped
				}
				return nil
			}
			done := -1
			for i := range 4 {
				if Write(d, "/data/config/x.json", fmt.Appendf(nil, "state %d", i)) != nil {
					break
				}
				done = i
			}
			for _, after := range []*crashfs.Disk{d.PowerCut(seed), d.Kill()} {
				data, _, err := Read(after, "/data/config/x.json", check)
				got := string(data)
				if err != nil || got != fmt.Sprint("state ", done) && got != fmt.Sprint("state ", done+1) && (done >= 0 || data != nil) {
					t.Fatalf("seed %d: %q after state %d was written (%v)", seed, got, done, err)
				}
			}
		}
	}
}

package filter

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Sizes, bits and maps are those of Java's own class.
func TestBloom_Java(t *testing.T) {
	data, err := os.ReadFile("testdata/bloom.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		percent, _ := strconv.Atoi(f[1])
		names, _ := strconv.Atoi(f[2])
		b, err := NewBloom(percent, names)
		if err != nil {
			t.Fatal(err)
		}
		switch f[0] {
		case "size":
			if got := fmt.Sprint(b.hashes, b.size); got != f[3]+" "+f[4] {
				t.Errorf("%d %% of %d names: %s, want %s %s", percent, names, got, f[3], f[4])
			}
		case "bits":
			list := b.Bits(f[3])
			if got := strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]"); got != f[4] {
				t.Errorf("%q: %s, want %s", f[3], got, f[4])
			}
			m := make([]byte, b.Size()/8)
			if HasBits(m, list) {
				t.Errorf("%q is in an empty map", f[3])
			}
			SetBits(m, list)
			if got := hex.EncodeToString(m); f[5] != "-" && got != f[5] {
				t.Errorf("map of %q: %s, want %s", f[3], got, f[5])
			}
			if !HasBits(m, list) {
				t.Errorf("%q is not in its map", f[3])
			}
		}
	}
	for _, bad := range [][2]int{{0, 1}, {100, 1}, {1, 0}, {1, 1<<20 + 1}} {
		if _, err := NewBloom(bad[0], bad[1]); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

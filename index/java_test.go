package index

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"rocketd/message"
)

// endless is a log that ends far behind everything, and has nothing to read.
type endless struct{ memLog }

func (*endless) MaxPhysical() int64 { return 1 << 60 }

// The hash of a key is Java's, also of characters outside of ASCII and outside of 16 bits.
func TestHash_Java(t *testing.T) {
	f, err := os.Open("testdata/hash.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var v struct {
			S         string
			IndexHash int32
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if got := hashOf("TopicX", v.S, false); got != v.IndexHash {
			t.Errorf("%q: %d, not %d", v.S, got, v.IndexHash)
		}
	}
	if n < 20 {
		t.Errorf("%d vectors", n)
	}
	equal(t, finishHash(-1<<31), 0)
}

// What Java finds in its files, we find there, at all settings: the sizes on the disk count. In the files of a killed
// broker we find it after we have built again what is in doubt.
func TestFind_Java(t *testing.T) {
	dir, log := unpack(t)
	for _, c := range []struct {
		name           string
		slots, entries int32
		safeMs         int64
	}{
		{"clean", 500, 2000, 0},
		{"clean", 5_000_000, 20_000_000, 0},
		{"slave", 500, 2000, 0},
		{"rolled", 100, 400, 0},
		{"rolled", 500, 2000, 0},
		{"killed", 500, 2000, 1795567685102},
	} {
		rows := javaRows(t, filepath.Join(dir, c.name, "index.jsonl"))
		if len(rows) < 290 {
			t.Fatalf("%s: %d rows", c.name, len(rows))
		}
		var src Log = new(endless)
		if c.name == "killed" { // this log ends where the other was still growing
			src = &memLog{data: log.data[:746015]}
		}
		x := open(t, filepath.Join(dir, c.name, "index"), src, func(cfg *Config) {
			cfg.Slots, cfg.Entries, cfg.Clean, cfg.SafeMs = c.slots, c.entries, c.name != "killed", c.safeMs
		})
		if c.name == "killed" {
			equal(t, len(*x.files.Load()), 2)
			if err := x.catchUp(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range rows {
			got := find(t, x, r.Topic, r.Key)
			slices.Sort(got)
			if !slices.Equal(got, r.Phy) {
				t.Errorf("%s: %s#%s: %v, not %v", c.name, r.Topic, r.Key, got, r.Phy)
			}
		}
	}
}

// From Java's log we write Java's files, byte for byte: those of a slave that was never killed.
func TestBuild_Java(t *testing.T) {
	dir, log := unpack(t)
	want := files(t, filepath.Join(dir, "slave", "index"))
	check := func(name string, dir string) {
		got := files(t, dir)
		if len(got) != len(want) {
			t.Fatalf("%s: %d files, not %d", name, len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s: file %d differs", name, i)
			}
		}
	}
	ours := t.TempDir()
	build(t, ours, log)
	check("from the log", ours)
	build(t, ours, log)
	check("opened again", ours)

	// In pieces, with an end of the process, in order, at every 20th record; or in the middle of a message.
	ours = t.TempDir()
	part := &memLog{}
	i := 0
	_ = log.Each(0, func(r *message.Record) bool {
		end := r.Physical + int64(r.Size)
		part.data = log.data[:end]
		if i++; i%20 == 0 {
			build(t, ours, part)
		}
		return true
	})
	build(t, ours, part)
	check("in pieces", ours)

	// What Java had when it was killed, goes on to the same.
	killed := filepath.Join(dir, "killed", "index")
	build(t, killed, log, func(c *Config) { c.Clean, c.SafeMs = false, 1795567685102 })
	check("killed", killed)
}

package inspect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The logs of Java's compaction topics are found to be right, and what is done to them is found.
func TestVerify_Compaction(t *testing.T) {
	const first = "00000000000000000000"
	flip := func(name string, at int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "compaction", name), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte{0x55}, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "compaction", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name     string
		do       func(t *testing.T, dir string)
		messages int64
		found    string
	}{
		{"whole", func(*testing.T, string) {}, 94, ""},
		{"record", flip("compactionLog/GfCompact/0/"+first, 100), 94, "a record of the compaction log is damaged"},
		{"unit", flip("compactionCq/GfCompact/0/"+first, 46), 85, "unit 1 is none of this log"},
		{"no units", remove("compactionCq/GfCompact/0/" + first), 84, "there are no units to these records"},
		{"no records", remove("compactionLog/GfCompact/0/" + first), 84, "there are no records to these units"},
		{"interrupted", func(t *testing.T, dir string) {
			name := filepath.Join(dir, "compaction/compactionLog/GfCompact/0/", first)
			if err := os.Rename(name, name+".delete"); err != nil {
				t.Fatal(err)
			}
		}, 84, "a compaction was interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, dir, filepath.Join("..", "testdata", "compaction.tar.gz"), "")
			c.do(t, dir)
			r := verify(t, Config{Dir: dir})
			if r.Compacted != c.messages {
				t.Errorf("%d messages, not %d", r.Compacted, c.messages)
			}
			if found := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == KindCompaction }); found != (c.found != "") || !strings.Contains(show(r), c.found) {
				t.Errorf("%v\n%s", r.Counts, show(r))
			}
		})
	}
}

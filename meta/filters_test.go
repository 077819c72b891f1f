package meta

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rocketd/filter"
	"rocketd/internal/vfs"
)

// bloom is Java's, with its defaults: 112 bits.
var bloom, _ = filter.NewBloom(20, 32)

func openFilters(t *testing.T, dir string, now time.Time) *Filters {
	t.Helper()
	f, err := OpenFilters(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)}, bloom, now)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What Java wrote is read, and comes out again the same.
func TestFilters_Java(t *testing.T) {
	java, err := os.ReadFile("testdata/consumerFilter.json")
	must(t, err)
	dir := t.TempDir()
	path := filepath.Join(dir, "consumerFilter.json")
	must(t, os.WriteFile(path, java, 0o644))
	f := openFilters(t, dir, time.UnixMilli(1795567570000))
	f.changed = true
	must(t, f.Persist())
	ours, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(ours, java) {
		t.Errorf("%s\nwant\n%s", ours, java)
	}
}

// A group is born with its expression, dies when it goes, comes to life again with the same one, and is forgotten in the end.
func TestFilters_Follow(t *testing.T) {
	dir, at := t.TempDir(), time.UnixMilli(1_000_000)
	f := openFilters(t, dir, at)
	want := func(expression string, version int64) []FilterData {
		return []FilterData{{Topic: "T", ConsumerGroup: "g", ExpressionType: "SQL92", Expression: expression, ClientVersion: version}}
	}
	follow := func(after time.Duration, w []FilterData) {
		at = at.Add(after)
		f.Follow(at, w, time.Hour)
		must(t, f.Persist())
	}
	check := func(what, expression string, version, born, dead int64) {
		t.Helper()
		for range 2 {
			d := f.table.Topics["T"].Groups["g"]
			if d.Expression != expression || d.ClientVersion != version || d.BornTime != born || d.DeadTime != dead || d.Dead != (dead > 0) {
				t.Errorf("%s: %+v", what, d)
			}
			if dead > 0 { // and after a start
				f = openFilters(t, dir, at)
			}
		}
	}
	follow(0, want("a > 1", 5))
	check("new", "a > 1", 5, 1_000_000, 0)
	follow(time.Second, want("a > 1", 6))
	check("newer", "a > 1", 6, 1_000_000, 0)
	follow(time.Second, want("a > 2", 4))
	check("older", "a > 1", 6, 1_000_000, 0)
	follow(time.Second, want("a > 2", 7))
	check("changed", "a > 2", 7, 1_003_000, 0)
	follow(time.Second, nil)
	check("dead", "a > 2", 7, 1_003_000, 1_004_000)
	follow(time.Second, want("a > 2", 7))
	check("alive", "a > 2", 7, 1_003_000, 0)
	f = openFilters(t, dir, at)
	check("dead since before the start", "a > 2", 7, 1_003_000, 1_003_000)
	follow(30*time.Minute, nil)
	if len(f.table.Topics) != 1 {
		t.Error("forgotten too early")
	}
	follow(30*time.Minute, nil)
	if len(f.table.Topics) != 0 {
		t.Error("not forgotten")
	}
}

// Whatever stands in the file, it is read or refused.
func FuzzOpenFilters(f *testing.F) {
	java, err := os.ReadFile("testdata/consumerFilter.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(java)
	f.Add([]byte(`{"filterDataByTopic":{"T":null,"U":{"groupFilterData":{"g":null}},"V":{}}}`))
	f.Add([]byte(`{"filterDataByTopic":{"T":{"groupFilterData":{"g":{"bloomFilterData":{"bitNum":112,"bitPos":[1,2,3]}}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "consumerFilter.json"), data, 0o644))
		if o, err := OpenFilters(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)}, bloom, time.UnixMilli(1)); err == nil {
			o.Follow(time.UnixMilli(2), []FilterData{{Topic: "T", ConsumerGroup: "g"}}, time.Second)
			must(t, o.Persist())
		}
	})
}

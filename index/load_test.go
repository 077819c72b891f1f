package index

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/internal/vfs"
)

// newest returns the name of the newest file of a directory.
func newest(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if isNumber(entries[i].Name()) {
			return filepath.Join(dir, entries[i].Name())
		}
	}
	return ""
}

// A file whose header does not agree with its tables is put aside, and built again with those behind it; so nothing
// is missing and no message is found that is not there.
func TestOpen_Damaged(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	for name, damage := range map[string]func([]byte){
		"count too large":    put32(36, 9),
		"count of a full":    put32(36, 8),
		"count too small":    put32(36, 2),
		"count negative":     put32(36, 1<<31),
		"used is 0":          put32(32, 0),
		"used too large":     put32(32, 100),
		"end position":       put32(28, 77),
		"begin behind end":   put32(16, 1),
		"slots are gone":     func(b []byte) { clear(b[headerSize : headerSize+4*slotSize]) },
		"entries are gone":   func(b []byte) { clear(b[headerSize+4*slotSize:]) },
		"all but the header": func(b []byte) { clear(b[headerSize:]) },
		"header is gone":     func(b []byte) { clear(b[:headerSize]) },
	} {
		log, dir := new(memLog), t.TempDir()
		w := fill(log, 5) // 20 keys: the last file has 6
		build(t, dir, log, small)
		path := newest(t, dir)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damage(data)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		build(t, dir, log, small)
		t.Run(name, func(t *testing.T) {
			x := open(t, dir, log, small)
			equal(t, len(*x.files.Load()), 3)
			w.check(t, x)
		})
	}
}

// What is no index file is not touched, and the error names it; what does not look like one at all is passed over.
func TestOpen_Foreign(t *testing.T) {
	for _, content := range []string{"some text", strings.Repeat("x", 1000), strings.Repeat("\x00", 1001)} {
		log, dir := new(memLog), t.TempDir()
		fill(log, 5)
		build(t, dir, log, small)
		path := filepath.Join(dir, "20200101000000000")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, clean := range []bool{true, false} {
			_, err := Open(Config{Dir: dir, Source: log, Slots: 4, Entries: 8, Clean: clean, Log: quiet})
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "maxHashSlotNum") {
				t.Error(err)
			}
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != content {
			t.Error(err)
		}
	}
	log, dir := new(memLog), t.TempDir()
	w := fill(log, 5)
	build(t, dir, log, small)
	for _, name := range []string{"notes", "123.damaged", "-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "42"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.check(t, open(t, dir, log, small))
	if _, err := Open(Config{Dir: filepath.Join(dir, "notes"), Source: log}); err == nil {
		t.Error("a file in the way is no error")
	}
	for _, c := range []Config{{}, {Dir: dir}, {Dir: dir, Source: log, Slots: -1}, {Dir: dir, Source: log, Entries: 1},
		{Dir: dir, Source: log, Slots: 1 << 30}} {
		if _, err := Open(c); err == nil {
			t.Error(c)
		}
	}
}

// Files keep their sizes when the settings differ, also one that is not full; new ones have those of the settings.
func TestOpen_OtherSizes(t *testing.T) {
	log, dir := new(memLog), t.TempDir()
	all := fill(log, 50)
	whole := log.data
	odd := func(c *Config) { c.Slots, c.Entries = 7, 30 }
	log.data = whole[:len(whole)/50*10]
	build(t, dir, log, odd) // 40 keys: one full, one not
	log.data = whole
	build(t, dir, log, small)
	x := open(t, dir, log)
	all.check(t, x)
	files := *x.files.Load()
	equal(t, []shape{files[0].shape, files[1].shape, files[2].shape}, []shape{{7, 30}, {7, 30}, {4, 8}})
}

// Files that hold more than the log, which was cut, are built again.
func TestOpen_CutLog(t *testing.T) {
	log, dir := new(memLog), t.TempDir()
	fill(log, 20)
	build(t, dir, log, small)
	log.data = nil
	w := fill(log, 10)
	build(t, dir, log, small)
	x := open(t, dir, log, small)
	w.check(t, x)
	equal(t, find(t, x, "T", "U00010"), []int64(nil))
}

// Whatever stands in a file: opening it, searching and going on with it ends, without a panic, and finds what the log
// has afterwards if the file was not believed.
func FuzzOpen(f *testing.F) {
	log := new(memLog)
	fill(log, 6)
	dir := f.TempDir()
	build(f, dir, log, small)
	for _, data := range files(f, dir) {
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Add([]byte{}, true)
	f.Add(make([]byte, (shape{4, 8}).size()), true)
	f.Fuzz(func(t *testing.T, data []byte, clean bool) {
		dir := t.TempDir()
		name := filepath.Join(dir, "20260101000000000")
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		x, err := Open(Config{Dir: dir, Source: log, Slots: 4, Entries: 8, Clean: clean, Log: quiet,
			FS: &vfs.Faulty{FS: vfs.OS, NoSync: true}})
		if err != nil {
			return
		}
		defer x.Close()
		for _, key := range []string{"a", "k0", "U00001"} {
			for _, begin := range []int64{0, 1003} {
				find(t, x, "T", key, func(q *Query) { q.Begin = begin })
			}
		}
		if err := x.catchUp(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		find(t, x, "T", "a")
	})
}

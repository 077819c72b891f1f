package store

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/segment"
)

// The files of Java's timers, and without enableCompaction those of compaction topics, come through a run of ours as they were:
// opened, written to, closed, and after a crash.
func TestStore_Carried(t *testing.T) {
	for _, name := range []string{"clean", "compaction"} {
		dir := unpack(t, name)
		rows := readDump(t, dir)
		write(t, filepath.Join(dir, "timerwheel"), nil)
		if err := os.Truncate(filepath.Join(dir, "timerwheel"), wheelSize); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "rocksdbstore/CURRENT"), []byte("MANIFEST-1"))
		carried := func() string {
			var b strings.Builder
			for _, sub := range []string{"timerwheel", "timerlog", "config", "compaction", "rocksdbstore"} {
				if _, err := os.Stat(filepath.Join(dir, sub)); err == nil {
					b.WriteString(tree(t, filepath.Join(dir, sub)))
				}
			}
			return b.String()
		}
		before := carried()
		var out bytes.Buffer
		cfg := goldenConfig(dir, rows, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&out, nil)) })
		for round := range 3 {
			s := openGolden(t, cfg)
			send(t, s, "GaCompact", 0, numbered(0, 100)...)
			end := s.Close
			if round == 1 {
				end = s.release
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		if after := carried(); after != before {
			t.Errorf("%s: changed from\n%s\nto\n%s", name, before, after)
		}
		if strings.Contains(out.String(), "a file of the Java broker") {
			t.Errorf("%s: %s", name, &out)
		}
	}
}

// Where Java would not start with such a file, the log says which and why; the store opens, and the file stays.
func TestStore_Carried_Bad(t *testing.T) {
	for _, c := range []struct {
		file string
		size int // -1: a directory
		want string
	}{
		{"timerwheel", 100, "has 100 bytes, not 38707200"},
		{"timerwheel", -1, "is a directory"},
		{"config/timercheck", 7, "has 7 bytes, not 4096"},
		{"timerlog/" + segment.Name(20480), 7, "the files beside it have 20480"},
		{"timerlog/notes", 7, "is no file of a row"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "timerlog/"+segment.Name(0)), make([]byte, 20480))
		name := filepath.Join(dir, c.file)
		if c.size >= 0 {
			write(t, name, text(c.size))
		} else if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
		before := tree(t, name)
		var out bytes.Buffer
		s := testStore(t, dir, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&out, nil)) })
		send(t, s, "t", 0, "x")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), c.want) || !strings.Contains(out.String(), c.file) {
			t.Errorf("%s: %s", c.file, &out)
		}
		if after := tree(t, name); after != before {
			t.Errorf("%s has changed", c.file)
		}
	}
}

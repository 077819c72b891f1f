package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rocketd/internal/vfs"
)

// check accepts what ends in a full stop.
func check(data []byte) error {
	if !strings.HasSuffix(string(data), ".") {
		return errors.New("no full stop")
	}
	return nil
}

func put(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "-"
	} else if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The file is the last state, the backup the one before; directories are made; nothing else stays.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	path := filepath.Join(dir, "x.json")
	for i, want := range []struct{ main, bak string }{{"a.", "-"}, {"b.", "a."}, {"c.", "b."}} {
		if err := Write(vfs.OS, path, []byte(want.main)); err != nil {
			t.Fatal(err)
		}
		if main, bak := content(t, path), content(t, path+".bak"); main != want.main || bak != want.bak {
			t.Fatalf("after write %d: %q and %q, want %q", i, main, bak, want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Fatalf("left behind: %v", files)
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, main, bak  string // "-" is a missing file
		want             string // "-" is nil
		fallback, broken string // parts of the two errors
		aside            string // what .broken holds afterwards
	}{
		{"both missing", "-", "-", "-", "", "", "-"},
		{"good", "new.", "old.", "new.", "", "", "-"},
		{"good without backup", "new.", "-", "new.", "", "", "-"},
		{"good, backup broken", "new.", "ol", "new.", "", "", "-"},
		{"missing", "-", "old.", "old.", "no such file", "", "-"},
		{"empty", "", "old.", "old.", "is empty", "", ""},
		{"torn", "ne", "old.", "old.", "no full stop", "", "ne"},
		{"both broken", "ne", "ol", "-", "", "no full stop", "-"},
		{"broken without backup", "ne", "-", "-", "", "no full stop", "-"},
		{"missing, backup broken", "-", "ol", "-", "", "no full stop", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			if c.main != "-" {
				put(t, path, c.main)
			}
			if c.bak != "-" {
				put(t, path+".bak", c.bak)
			}
			data, fallback, err := Read(vfs.OS, path, check)
			got := string(data)
			if data == nil {
				got = "-"
			}
			if got != c.want {
				t.Errorf("data %q, want %q", got, c.want)
			}
			for _, e := range []struct {
				err  error
				want string
			}{{fallback, c.fallback}, {err, c.broken}} {
				if (e.err != nil) != (e.want != "") || e.err != nil && !strings.Contains(e.err.Error(), e.want) {
					t.Errorf("error %v, want %q", e.err, e.want)
				}
			}
			if got := content(t, path+".broken"); got != c.aside {
				t.Errorf("set aside %q, want %q", got, c.aside)
			}
		})
	}
}

// A spoiled file never becomes the backup of the next write.
func TestWrite_AfterFallback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	put(t, path, "tor")
	put(t, path+".bak", "old.")
	if _, _, err := Read(vfs.OS, path, check); err != nil {
		t.Fatal(err)
	}
	if err := Write(vfs.OS, path, []byte("new.")); err != nil {
		t.Fatal(err)
	}
	if main, bak := content(t, path), content(t, path+".bak"); main != "new." || bak != "old." {
		t.Fatalf("file %q, backup %q", main, bak)
	}
}

// Whichever operation of a write fails, a reader gets the old or the new state, and the next write works.
func TestWrite_EveryFailure(t *testing.T) {
	for n := 0; ; n++ {
		path := filepath.Join(t.TempDir(), "x")
		put(t, path, "old.")
		put(t, path+".bak", "older.")
		step := 0
		broken := &vfs.Faulty{FS: vfs.OS, Fail: func(op vfs.Op, _ string) error {
			if op == vfs.OpRead {
				return nil
			}
			step++
			if step == n+1 {
				return syscall.ENOSPC
			}
			return nil
		}}
		err := Write(broken, path, []byte("new."))
		if step <= n {
			if err != nil || n < 4 {
				t.Fatalf("%d operations, %v", step, err)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("operation %d failed, Write says %v", n, err)
		}
		data, _, err := Read(vfs.OS, path, check)
		if s := string(data); err != nil || s != "old." && s != "new." {
			t.Fatalf("operation %d failed: read %q, %v", n, s, err)
		}
		if err := Write(vfs.OS, path, []byte("next.")); err != nil {
			t.Fatal(err)
		}
		if s := content(t, path); s != "next." {
			t.Fatalf("operation %d failed, next write left %q", n, s)
		}
	}
}

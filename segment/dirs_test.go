package segment

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/internal/vfs"
)

// New files go to the directories in turn, by Java's rule, and pass over full ones; all are read, and found again in
// whatever order the directories are named. Those of Read directories are read and dropped, and none is made there.
func TestOpenRows(t *testing.T) {
	root := t.TempDir()
	dir := func(name string) string { return filepath.Join(root, name) }
	where := func() string {
		var all []string
		for _, d := range []string{"a", "b", "c", "old"} {
			got, _ := os.ReadDir(dir(d))
			for _, e := range got {
				all = append(all, d+strings.TrimLeft(strings.TrimSuffix(e.Name(), "00"), "0"))
			}
		}
		return strings.Join(all, " ")
	}
	full := map[string]bool{}
	dirs := Dirs{Write: []string{dir("c"), " " + dir("a"), dir("b"), dir("a"), ""}, Full: func(d string) bool { return full[filepath.Base(d)] }}
	r, err := OpenRows(vfs.OS, dirs, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(4) {
		add(t, r, 100*i, "x")
	}
	full["b"] = true
	add(t, r, 400, "x")
	if r.Prepare(500) != nil {
		t.Fatal(err)
	}
	add(t, r, 500, "x")
	full["a"], full["c"] = true, true
	add(t, r, 600, "x") // all are full: as if none was
	add(t, r, 700, "x")
	if got := where(); got != "a a3 a4 a6 b1 b7 c2 c5" {
		t.Fatal(got)
	}
	if err := errors.Join(r.Close(), os.Rename(dir("a"), dir("old"))); err != nil {
		t.Fatal(err)
	}
	r, err = OpenRows(vfs.OS, Dirs{Write: []string{dir("b"), dir("c"), dir("old")}, Read: []string{dir("old")}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 1)
	for i := range int64(8) {
		if err := r.ReadAt(b, 100*i); err != nil || b[0] != 'x' {
			t.Fatal(i, err)
		}
	}
	add(t, r, 800, "x")
	add(t, r, 900, "x")
	if err := errors.Join(r.DropBefore(200), r.DropFrom(900)); err != nil {
		t.Fatal(err)
	}
	if got := where(); got != "b7 b8 c2 c5 old3 old4 old6" {
		t.Fatal(got)
	}
}

// A piece that is there twice, a gap, a directory in the way, or a directory to read from that is not there, are named.
func TestOpenRows_Bad(t *testing.T) {
	write := func(t *testing.T, names ...string) string {
		root := t.TempDir()
		for _, name := range names {
			name = filepath.Join(root, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, make([]byte, 100), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	for _, c := range []struct {
		name  string
		files []string
		want  string
	}{
		{"twice", []string{"a/" + Name(0), "b/" + Name(0)}, "b/" + Name(0) + " is the same piece"},
		{"gap", []string{"a/" + Name(0), "b/" + Name(200)}, "b/" + Name(200) + " does not follow"},
		{"directory", []string{"a/" + Name(0) + "/x", "b/x"}, "a/" + Name(0) + " is a directory"},
		{"missing", []string{"a/" + Name(0)}, "no such file"},
	} {
		root := write(t, c.files...)
		_, err := OpenRows(vfs.OS, Dirs{Write: []string{filepath.Join(root, "a")}, Read: []string{filepath.Join(root, "b")}}, 100)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := OpenRows(vfs.OS, Dirs{}, 100); err == nil {
		t.Error("a row without a directory was opened")
	}
}

package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rocketd/internal/vfs"
)

func open(t *testing.T, dir string, size int64) *Row {
	t.Helper()
	r, err := OpenRow(vfs.OS, dir, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func add(t *testing.T, r *Row, start int64, content string) *File {
	t.Helper()
	f, err := r.Add(start)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteAt([]byte(content), start); err != nil {
		t.Fatal(err)
	}
	return f
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range entries {
		s = append(s, strings.TrimLeft(e.Name(), "0"))
	}
	return strings.Join(s, " ")
}

// Names have 20 digits; only they are names.
func TestName(t *testing.T) {
	for start, want := range map[int64]string{0: "00000000000000000000", 1073741824: "00000000001073741824"} {
		if got := Name(start); got != want {
			t.Errorf("%d is %s", start, got)
		}
		if got, ok := ParseName(want); !ok || got != start {
			t.Errorf("%s is %d", want, got)
		}
	}
	for _, bad := range []string{"", "0", "lock", "0000000000000000000x", "-0000000000000000001", "99999999999999999999"} {
		if _, ok := ParseName(bad); ok {
			t.Errorf("%q is a name", bad)
		}
	}
}

// A row grows, is read, is found again, and loses files at both ends.
func TestRow(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 100)
	for i := range int64(5) {
		add(t, r, 300+100*i, fmt.Sprint("file ", i))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir, 100)
	b := make([]byte, 6)
	for i := range int64(5) {
		if err := r.ReadAt(b, 300+100*i); err != nil || string(b) != fmt.Sprint("file ", i) {
			t.Fatal(string(b), err)
		}
	}
	for _, off := range []int64{-1, 299, 395, 795, 800} { // outside, or over the end of a file
		if err := r.ReadAt(b, off); err != ErrGone {
			t.Errorf("read at %d: %v", off, err)
		}
	}
	some := []Span{{402, 2}, {400, 1}, {495, 5}, {496, 5}, {500, 1}} // the fourth is over the end
	if n, err := r.ReadEach(b, some[:2]); n != 2 || err != nil || string(b[:3]) != "lef" {
		t.Error(n, err, string(b))
	}
	if n, err := r.ReadEach(make([]byte, 14), some); n != 3 || err != nil {
		t.Error(n, err)
	}
	for _, off := range []int64{-1, 299, 496, 800} {
		if n, err := r.ReadEach(make([]byte, 5), []Span{{off, 5}}); n != 0 || err != ErrGone {
			t.Errorf("read at %d: %d, %v", off, n, err)
		}
	}
	if err := errors.Join(r.DropFrom(650), r.DropBefore(400)); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "400 500 600" {
		t.Fatal(got)
	}
	if err := r.DropBefore(10000); err != nil || names(t, dir) != "600" {
		t.Fatal(names(t, dir), err)
	}
	if err := r.ReadAt(b, 500); err != ErrGone {
		t.Fatal(err)
	}
	if err := r.DropFrom(0); err != nil || names(t, dir) != "" {
		t.Fatal(names(t, dir), err)
	}
}

// A prepared file becomes part of the row when it is added; at the end an unused one is removed.
func TestRow_Prepare(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 100)
	add(t, r, 0, "x")
	for range 2 {
		if err := r.Prepare(100); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Files()) != 1 || names(t, dir) != " 100" {
		t.Fatal(names(t, dir))
	}
	add(t, r, 100, "y")
	if err := r.Prepare(200); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || names(t, dir) != " 100" {
		t.Fatal(names(t, dir), err)
	}
}

// Wrong lengths and gaps are refused with the file's name; an empty last file goes, other names stay out of it.
func TestOpenRow_Bad(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]int
		want  string
	}{
		{"good", map[string]int{Name(0): 100, Name(100): 100, "notes": 7}, ""},
		{"empty last", map[string]int{Name(0): 100, Name(100): 0}, ""},
		{"empty first", map[string]int{Name(0): 0, Name(100): 100}, Name(0) + " has 0 bytes"},
		{"half created last", map[string]int{Name(0): 100, Name(100): 99}, ""},
		{"short first", map[string]int{Name(0): 99, Name(100): 100}, Name(0) + " has 99 bytes"},
		{"long", map[string]int{Name(0): 101}, Name(0) + " has 101 bytes"},
		{"gap", map[string]int{Name(0): 100, Name(200): 100}, Name(200) + " does not follow"},
	} {
		dir := t.TempDir()
		for name, size := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, err := OpenRow(vfs.OS, dir, 100)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if r != nil {
			_ = r.Close()
		}
	}
}

// A short last file with something in it is not ours to remove.
func TestOpenRow_ShortWithContent(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, Name(100)), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRow(vfs.OS, dir, 100); err == nil || names(t, dir) != "100" {
		t.Fatal(names(t, dir), err)
	}
}

// A file may be dropped while it is read: the reader gets its bytes or ErrGone, and no fault.
func TestRow_DropWhileRead(t *testing.T) {
	r := open(t, t.TempDir(), 4096)
	for i := range int64(50) {
		add(t, r, 4096*i, "x")
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			b := make([]byte, 4096)
			for i := int64(0); i < 49; {
				switch err := r.ReadAt(b, 4096*i); {
				case err == ErrGone:
					i++
				case err != nil || b[0] != 'x':
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range int64(50) {
		if err := r.DropBefore(4096 * i); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// A file that became shorter under us is an error, not the end of the process.
func TestRow_Fault(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 1<<16)
	add(t, r, 0, "x")
	b := make([]byte, 100)
	if err := r.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, Name(0)), 4096); err != nil {
		t.Fatal(err)
	}
	if err := r.ReadAt(b, 1<<15); err == nil {
		t.Fatal("read behind the end")
	}
	if err := r.ReadAt(b, 0); err != nil || b[0] != 'x' {
		t.Fatal(err)
	}
}

// Files are dropped at one end while others are added at the other; none is lost, none comes back.
func TestRow_DropWhileAdding(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 10)
	add(t, r, 0, "x")
	done := make(chan error, 1)
	go func() {
		for i := int64(1); i < 200; i++ {
			if _, err := r.Add(10 * i); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for end := int64(10); end < 1990; end += 10 {
		for len(r.Files()) < 2 {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				done <- nil
			default:
			}
		}
		if err := r.DropBefore(end); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(r.Files()) != 2 || got != "1980 1990" {
		t.Fatal(got)
	}
}

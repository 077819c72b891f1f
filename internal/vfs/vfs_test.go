package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is written can be read, mapped, zeroed and cut.
func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(10000); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Size(); n != 10000 || err != nil {
		t.Fatal(n, err)
	}
	m, err := f.Map(10000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte("x"), 9000), 500); err != nil {
		t.Fatal(err)
	}
	if err := f.Zero(1000, 5000); err != nil {
		t.Fatal(err)
	}
	f.Writeback(0, 10000)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	want := append(append(make([]byte, 500), bytes.Repeat([]byte("x"), 500)...), make([]byte, 5000)...)
	want = append(append(want, bytes.Repeat([]byte("x"), 3500)...), make([]byte, 500)...)
	if !bytes.Equal(m.Bytes(), want) {
		t.Fatal("map shows something else")
	}
	if err := errors.Join(f.Truncate(700), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(OS, name); err != nil || !bytes.Equal(got, want[:700]) {
		t.Fatal(len(got), err)
	}
	if err := m.Unmap(); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(OS, name, []byte("short")); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(OS, name); err != nil || string(got) != "short" {
		t.Fatalf("%q %v", got, err)
	}
	if _, err := ReadFile(OS, name+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestFree(t *testing.T) {
	free, total, err := OS.Free(t.TempDir())
	if err != nil || free <= 0 || total < free {
		t.Fatal(free, total, err)
	}
	if !IsFull(&fs.PathError{Err: syscall.ENOSPC}) || IsFull(syscall.EIO) {
		t.Fatal("full")
	}
}

// A lock is refused to others and to ourselves, with the holder's process id, until it is given back.
func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	l, err := OS.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(err error) {
		t.Helper()
		var locked *LockedError
		if !errors.As(err, &locked) || locked.Pid != os.Getpid() || !strings.Contains(err.Error(), name) {
			t.Fatal(err)
		}
	}
	for range 2 { // the second shows that asking does not drop it
		_, err = OS.Lock(name)
		refused(err)
		cmd := exec.Command(os.Args[0], "-test.run=^TestLockChild$")
		cmd.Env = append(os.Environ(), "VFS_LOCK="+name)
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("locked by process %d\n", os.Getpid())) {
			t.Fatalf("child says %q (%v)", out, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = OS.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLockChild is the other process of TestLock.
func TestLockChild(t *testing.T) {
	name := os.Getenv("VFS_LOCK")
	if name == "" {
		t.Skip("runs as a child of TestLock")
	}
	_, err := OS.Lock(name)
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatal(err)
	}
	fmt.Println(err)
}

// A faulty disk fails when asked to, and half of a failed write is there.
func TestFaulty(t *testing.T) {
	bad := Op("")
	f := &Faulty{FS: OS, NoMap: true, Fail: func(op Op, name string) error {
		if op == bad {
			return syscall.EIO
		}
		return nil
	}}
	name := filepath.Join(t.TempDir(), "f")
	file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bad = OpWrite
	if n, err := file.WriteAt([]byte("abcd"), 0); n != 2 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	for op, fn := range map[Op]func() error{
		OpSync: file.Sync, OpAllocate: func() error { return file.Allocate(9) }, OpZero: func() error { return file.Zero(0, 1) },
		OpOpen:   func() error { _, err := f.OpenFile(name, os.O_RDONLY, 0); return err },
		OpRename: func() error { return f.Rename(name, name+"2") }, OpRemove: func() error { return f.Remove(name) },
		OpRead: func() error { _, err := file.ReadAt(make([]byte, 1), 0); return err },
	} {
		bad = op
		if err := fn(); !errors.Is(err, syscall.EIO) {
			t.Error(op, err)
		}
	}
	bad = ""
	if _, err := file.Map(2); err != ErrNoMap {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if n, err := file.ReadAt(b, 0); n != 2 || err != io.EOF || string(b[:n]) != "ab" {
		t.Fatal(n, err)
	}
}

// Bytes that were just written are in memory, those that were dropped from there are not; holes are passed over.
func TestAdvice(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS, "faulty": &Faulty{FS: OS}} {
		t.Run(name, func(t *testing.T) {
			f, err := fsys.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Allocate(1 << 20); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("there"), 65536); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			RandomReads(f)
			WillNeed(f, 65536, 4096)
			var b [5]byte
			switch n, err := ReadCached(f, b[:], 65536); {
			case errors.Is(err, ErrWouldWait): // the system cannot tell, or needs its memory
			case err != nil || string(b[:n]) != "there":
				t.Fatal(n, err)
			}
			if _, err := ReadCached(f, b[:], 1<<20); err != io.EOF && !errors.Is(err, ErrWouldWait) {
				t.Fatal(err)
			}
			if at, err := NextData(f, 0); err != nil || at > 65536 {
				t.Fatal(at, err)
			}
			if at, err := NextData(f, 65538); err != nil || at != 65538 {
				t.Fatal(at, err)
			}
			if _, err := NextData(f, 1<<20); err != io.EOF {
				t.Fatal(err)
			}
			if err := SyncAll(fsys, os.TempDir()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Fatal(err)
			}
		})
	}
}

// Package vfs is the disk as the rest of the program sees it: a few operations on files and directories, so that a
// test can put something else in place of the operating system.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNoMap is returned by File.Map where files cannot be mapped. The caller reads with ReadAt instead.
var ErrNoMap = errors.New("file cannot be mapped")

// FS is a file system. Names are slash-separated paths as the operating system takes them. All methods may be
// called from any goroutine. Missing files are fs.ErrNotExist, a full disk is syscall.ENOSPC (IsFull asks).
type FS interface {
	// OpenFile opens or creates a file; flag and perm are those of os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(dir string, perm fs.FileMode) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename replaces to, if it exists, at once. It is durable after SyncDir.
	Rename(from, to string) error
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, removals and renames inside dir durable.
	SyncDir(dir string) error
	// Lock creates the file if needed and locks its first byte, exclusively, until the Closer is closed or the
	// process ends. If somebody holds it, the error is a *LockedError. A Java broker takes the same lock.
	Lock(name string) (io.Closer, error)
	// Free returns the bytes that an ordinary process may still write below path, and the size of that disk.
	Free(path string) (free, total int64, err error)
}

// File is an open file. ReadAt and WriteAt may be called at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync returns when the written bytes, and the size needed to find them, are on the disk (fdatasync). After an
	// error nobody knows what is on the disk: do not write on.
	Sync() error
	// Truncate sets the size. Growing leaves a hole that reads as zeros.
	Truncate(size int64) error
	// Allocate reserves the disk space of a file of that size, keeps what is in it, and makes it that long if it is
	// shorter. Where the file system cannot reserve, it only sets the size.
	Allocate(size int64) error
	// Zero makes n bytes from off read as zeros, without changing the size. Where it can, it gives their disk space
	// back; Allocate reserves it again.
	Zero(off, n int64) error
	// Writeback starts to write n bytes from off to the disk and does not wait. It promises nothing.
	Writeback(off, n int64)
	Size() (int64, error)
	// Map maps the first n bytes for reading, advised for random access. The bytes follow later writes. A read error
	// of the disk arrives as a fault. Unmap ends the mapping; it outlives Close.
	Map(n int64) (Mapping, error)
}

// Mapping is a file in memory. Bytes may not be used after Unmap.
type Mapping interface {
	Bytes() []byte
	Unmap() error
}

// LockedError says that somebody else holds a lock.
type LockedError struct {
	Name string // the lock file
	Pid  int    // process that holds it; 0 if the system cannot tell
}

func (e *LockedError) Error() string {
	if e.Pid == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Name)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Name, e.Pid)
}

// MakeDir makes a directory, and those above it, durably: from the top down, so that one that is there needs only that
// its own name is synced. If the directory above belongs to somebody else and cannot be opened, that was his to do.
func MakeDir(f FS, dir string) error {
	above := filepath.Dir(dir)
	if _, err := f.Stat(dir); errors.Is(err, fs.ErrNotExist) && above != dir {
		if err := MakeDir(f, above); err != nil {
			return err
		}
	}
	if err := f.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := f.SyncDir(above); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// ReadFile returns the whole content of a file.
func ReadFile(f FS, name string) ([]byte, error) {
	file, err := f.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := file.ReadAt(data, 0)
	if err == io.EOF {
		err = nil
	}
	return data[:n], err
}

// WriteFile creates or replaces a file with data and syncs it. It is not atomic: after a crash the file may be
// short or empty.
func WriteFile(f FS, name string, data []byte) error {
	file, err := f.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

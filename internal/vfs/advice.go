package vfs

import (
	"errors"
	"io"
)

// ErrWouldWait is returned by ReadCached for bytes that are not in memory.
var ErrWouldWait = errors.New("bytes are not in memory")

// Adviser is what an open file may know beyond its duties: see the functions of the same names.
type Adviser interface {
	ReadCached(b []byte, off int64) (int, error)
	WillNeed(off, n int64)
	RandomReads()
	NextData(off int64) (int64, error)
}

// ReadCached is ReadAt for who must not wait for the disk: it returns the bytes from off on that are in memory, at
// least one, or ErrWouldWait. A File that cannot tell is read as usual.
func ReadCached(f File, b []byte, off int64) (int, error) {
	if a, ok := f.(Adviser); ok {
		return a.ReadCached(b, off)
	}
	return f.ReadAt(b, off)
}

// WillNeed starts to read n bytes from off into memory and does not wait. It promises nothing.
func WillNeed(f File, off, n int64) {
	if a, ok := f.(Adviser); ok {
		a.WillNeed(off, n)
	}
}

// RandomReads says that reads of a file have no order: the system then reads what is asked for, and nothing ahead.
func RandomReads(f File) {
	if a, ok := f.(Adviser); ok {
		a.RandomReads()
	}
}

// NextData returns the first position from off on where a file may hold bytes other than zero; io.EOF says that there
// are none. A File that cannot tell may hold them anywhere.
func NextData(f File, off int64) (int64, error) {
	if a, ok := f.(Adviser); ok {
		return a.NextData(off)
	}
	size, err := f.Size()
	if err == nil && off >= size {
		err = io.EOF
	}
	return off, err
}

// AllSyncer is a file system that can sync all of a disk at once: see SyncAll.
type AllSyncer interface {
	SyncAll(dir string) error
}

// SyncAll brings everything that was written to the disk of dir onto it, with the names of new files: for many files,
// it costs less than to sync each. Where that is not possible, the error is errors.ErrUnsupported and nothing was done.
func SyncAll(f FS, dir string) error {
	if s, ok := f.(AllSyncer); ok {
		return s.SyncAll(dir)
	}
	return errors.ErrUnsupported
}

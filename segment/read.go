package segment

import (
	"errors"
	"fmt"
	"io"
	"time"

	"rocketd/internal/vfs"
)

// ErrWouldWait is returned by ReadCached for bytes that only the disk has.
var ErrWouldWait = vfs.ErrWouldWait

// ReadDisk is ReadAt with pread instead of the map: who waits for the disk then waits in a system call, which lets
// others work, and reads much at once.
func (r *Row) ReadDisk(dst []byte, off int64) error {
	f := r.Find(off)
	if f == nil || off+int64(len(dst)) > f.End() || !f.acquire() {
		return ErrGone
	}
	return errors.Join(f.pread(dst, off), f.release())
}

// ReadCached reads the bytes from off that are in memory, and returns how many it read: all that were asked for, or as
// far as they go, at least one. ErrWouldWait says that there is none.
func (r *Row) ReadCached(dst []byte, off int64) (int, error) {
	f := r.Find(off)
	if f == nil || off+int64(len(dst)) > f.End() || !f.acquire() {
		return 0, ErrGone
	}
	n, err := vfs.ReadCached(f.file, dst, off-f.start)
	if err == io.EOF && n == len(dst) {
		err = nil
	}
	if e := f.release(); err == nil {
		err = e
	}
	return n, err
}

// WillNeed has the system read the bytes in [from, to) of one file ahead.
func (r *Row) WillNeed(from, to int64) {
	f := r.Find(from)
	if f == nil || !f.acquire() {
		return
	}
	if to = min(to, f.End()); from < to {
		vfs.WillNeed(f.file, from-f.start, to-from)
	}
	_ = f.release()
}

// NextData returns the first position in f from off on where there may be bytes other than zero; End says that there
// are none.
func (f *File) NextData(off int64) (int64, error) {
	at, err := vfs.NextData(f.file, off-f.start)
	if err == io.EOF {
		return f.End(), nil
	}
	if err != nil {
		return off, fmt.Errorf("cannot look for data in %s: %w", f.name, err)
	}
	return min(max(f.start+at, off), f.End()), nil
}

// Name is the path of the file.
func (f *File) Name() string { return f.name }

// Changed is when a file was written to last, as the file system knows it.
func (r *Row) Changed(f *File) (time.Time, error) {
	info, err := r.fs.Stat(f.name)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot ask for the age of %s: %w", f.name, err)
	}
	return info.ModTime(), nil
}

// pread fills dst from off. The caller has a reference.
func (f *File) pread(dst []byte, off int64) error {
	n, err := f.file.ReadAt(dst, off-f.start)
	if n == len(dst) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot read %d bytes at %d of %s: %w", len(dst), off-f.start, f.name, err)
}

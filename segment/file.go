// Package segment keeps rows of files of one fixed length, each named by the offset of its first byte. It knows
// bytes, offsets and pages, and not what they mean.
package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"

	"rocketd/internal/vfs"
)

// Name is the file name for a first offset: 20 decimal digits.
func Name(start int64) string { return fmt.Sprintf("%020d", start) }

// ParseName is the reverse of Name; ok is false for any other name.
func ParseName(name string) (start int64, ok bool) {
	if len(name) != 20 {
		return 0, false
	}
	u, err := strconv.ParseUint(name, 10, 63)
	return int64(u), err == nil
}

// File is one file of a row. Offsets in its methods are those of the row. Bytes are written with pwrite and read
// through a read-only map, or with pread where files cannot be mapped.
type File struct {
	start int64
	size  int64
	name  string
	file  vfs.File

	refs    atomic.Int64 // one of the row, one of each reader at work; 0 is closed
	mapped  atomic.Pointer[vfs.Mapping]
	mapping sync.Mutex // held while mapped is made
	noMap   atomic.Bool
}

// Start is the offset of the first byte, End the one behind the last.
func (f *File) Start() int64 { return f.start }
func (f *File) End() int64   { return f.start + f.size }

// WriteAt writes b at off; it must lie inside the file. Only one goroutine may write.
func (f *File) WriteAt(b []byte, off int64) error {
	if _, err := f.file.WriteAt(b, off-f.start); err != nil {
		return fmt.Errorf("cannot write %d bytes at %d of %s: %w", len(b), off-f.start, f.name, err)
	}
	return nil
}

// Sync returns when everything written is on the disk. A file that was dropped meanwhile needs none.
func (f *File) Sync() error {
	if !f.acquire() {
		return nil
	}
	err := f.file.Sync()
	if err = errors.Join(err, f.release()); err != nil {
		return fmt.Errorf("cannot sync %s: %w", f.name, err)
	}
	return nil
}

// Writeback starts writing the bytes in [from, to) to the disk, as far as they are in this file.
func (f *File) Writeback(from, to int64) {
	from, to = max(from, f.start), min(to, f.End())
	if from < to && f.acquire() {
		f.file.Writeback(from-f.start, to-from)
		_ = f.release()
	}
}

// Zero makes the bytes in [from, to) zero. It is durable after Sync.
func (f *File) Zero(from, to int64) error {
	if err := f.file.Zero(from-f.start, to-from); err != nil {
		return fmt.Errorf("cannot zero %s from %d: %w", f.name, from-f.start, err)
	}
	return nil
}

// Reserve reserves the disk space of the file again, after Zero.
func (f *File) Reserve() error {
	if err := f.file.Allocate(f.size); err != nil {
		return fmt.Errorf("cannot reserve space for %s: %w", f.name, err)
	}
	return nil
}

// readAt fills dst from off. The caller has a reference.
func (f *File) readAt(dst []byte, off int64) (err error) {
	m := f.mapped.Load()
	if m == nil {
		m = f.makeMap()
	}
	if m == nil {
		return f.pread(dst, off)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot read %d bytes at %d of %s: %v", len(dst), off-f.start, f.name, r)
		}
	}()
	copy(dst, (*m).Bytes()[off-f.start:])
	return nil
}

// readEach reads the pieces up to the first that is not in the file.
func (f *File) readEach(dst []byte, spans []Span) (n int, err error) {
	m := f.mapped.Load()
	if m == nil {
		m = f.makeMap()
	}
	if m == nil {
		return 1, f.pread(dst[:spans[0].Size], spans[0].Off)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot read %d bytes at %d of %s: %v", spans[n].Size, spans[n].Off-f.start, f.name, r)
		}
	}()
	mapped := (*m).Bytes()
	for _, s := range spans {
		at := s.Off - f.start
		if at < 0 || at+int64(s.Size) > f.size {
			break
		}
		dst = dst[copy(dst[:s.Size], mapped[at:]):]
		n++
	}
	return n, nil
}

func (f *File) makeMap() *vfs.Mapping {
	if f.noMap.Load() {
		return nil
	}
	f.mapping.Lock()
	defer f.mapping.Unlock()
	if m := f.mapped.Load(); m != nil {
		return m
	}
	m, err := f.file.Map(f.size)
	if err != nil { // not supported, or too many maps: ReadAt does it as well
		f.noMap.Store(true)
		return nil
	}
	f.mapped.Store(&m)
	return &m
}

// acquire takes a reference; false means that the file was dropped.
func (f *File) acquire() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back; the last one closes the file.
func (f *File) release() error {
	if f.refs.Add(-1) > 0 {
		return nil
	}
	if m := f.mapped.Load(); m != nil {
		if err := (*m).Unmap(); err != nil {
			return err
		}
	}
	return f.file.Close()
}

// create makes a file of the full size with its disk space reserved, durable together with its name.
func create(fs vfs.FS, dir string, start, size int64) (*File, error) {
	name := filepath.Join(dir, Name(start))
	file, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot create segment: %w", err)
	}
	if err = file.Allocate(size); err == nil {
		if err = file.Sync(); err == nil {
			err = fs.SyncDir(dir)
		}
	}
	if err != nil {
		_ = file.Close()
		_ = fs.Remove(name)
		return nil, fmt.Errorf("cannot create segment %s of %d bytes: %w", name, size, err)
	}
	return newFile(name, file, start, size), nil
}

func newFile(name string, file vfs.File, start, size int64) *File {
	vfs.RandomReads(file)
	f := &File{start: start, size: size, name: name, file: file}
	f.refs.Store(1)
	return f
}

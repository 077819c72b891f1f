package vfs

import "io/fs"

// Op is an operation that can be made to fail.
type Op string

// The operations of Faulty.
const (
	OpOpen     Op = "open"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpAllocate Op = "allocate"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpZero     Op = "zero"
	OpRead     Op = "read"
)

// Faulty is a file system for tests: it asks Fail before every operation and fails with what Fail returns. A write
// that fails has written the first half of its bytes. Without maps, every read is an OpRead.
type Faulty struct {
	FS
	Fail   func(op Op, name string) error // may be called from several goroutines; nil never fails
	NoMap  bool
	NoSync bool // syncs do nothing, for speed
}

func (f *Faulty) fail(op Op, name string) error {
	if f.Fail == nil {
		return nil
	}
	return f.Fail(op, name)
}

func (f *Faulty) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := f.fail(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, name, f}, nil
}

func (f *Faulty) Rename(from, to string) error {
	if err := f.fail(OpRename, to); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *Faulty) Remove(name string) error {
	if err := f.fail(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *Faulty) SyncDir(dir string) error {
	if err := f.fail(OpSync, dir); err != nil {
		return err
	}
	if f.NoSync {
		return nil
	}
	return f.FS.SyncDir(dir)
}

type faultyFile struct {
	File
	name string
	fs   *Faulty
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fs.fail(OpWrite, f.name); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], off)
		return n, err
	}
	return f.File.WriteAt(b, off)
}

func (f *faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.fs.fail(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.fail(OpSync, f.name); err != nil {
		return err
	}
	if f.fs.NoSync {
		return nil
	}
	return f.File.Sync()
}

func (f *faultyFile) Allocate(size int64) error {
	if err := f.fs.fail(OpAllocate, f.name); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *faultyFile) Zero(off, n int64) error {
	if err := f.fs.fail(OpZero, f.name); err != nil {
		return err
	}
	return f.File.Zero(off, n)
}

func (f *faultyFile) Map(n int64) (Mapping, error) {
	if f.fs.NoMap {
		return nil, ErrNoMap
	}
	return f.File.Map(n)
}

func (f *faultyFile) ReadCached(b []byte, off int64) (int, error) {
	if err := f.fs.fail(OpRead, f.name); err != nil {
		return 0, err
	}
	return ReadCached(f.File, b, off)
}

func (f *faultyFile) WillNeed(off, n int64)             { WillNeed(f.File, off, n) }
func (f *faultyFile) RandomReads()                      { RandomReads(f.File) }
func (f *faultyFile) NextData(off int64) (int64, error) { return NextData(f.File, off) }

func (f *Faulty) SyncAll(dir string) error {
	if err := f.fail(OpSync, dir); err != nil {
		return err
	}
	if f.NoSync {
		return nil
	}
	return SyncAll(f.FS, dir)
}

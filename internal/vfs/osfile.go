package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

type osFile struct{ *os.File }

// Modes of fallocate(2) and sync_file_range(2).
const (
	fallocKeepSize  = 0x01
	fallocPunchHole = 0x02
	syncRangeWrite  = 0x02
)

// fd runs fn with the descriptor, and again when a signal interrupted it.
func (f osFile) fd(op string, fn func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var res error
	err = raw.Control(func(fd uintptr) {
		for {
			if res = fn(int(fd)); res != syscall.EINTR {
				return
			}
		}
	})
	if err == nil && res != nil {
		err = &fs.PathError{Op: op, Path: f.Name(), Err: res}
	}
	return err
}

func (f osFile) Sync() error { return f.fd("fdatasync", syscall.Fdatasync) }

func (f osFile) Allocate(size int64) error {
	err := f.fd("fallocate", func(fd int) error { return syscall.Fallocate(fd, 0, 0, size) })
	if unsupported(err) {
		return f.Truncate(size)
	}
	return err
}

func (f osFile) Zero(off, n int64) error {
	if n <= 0 {
		return nil
	}
	err := f.fd("fallocate", func(fd int) error { return syscall.Fallocate(fd, fallocPunchHole|fallocKeepSize, off, n) })
	if !unsupported(err) {
		return err
	}
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		part := zeros[:min(n, int64(len(zeros)))]
		if _, err := f.WriteAt(part, off); err != nil {
			return err
		}
		off += int64(len(part))
		n -= int64(len(part))
	}
	return nil
}

func (f osFile) Writeback(off, n int64) {
	_ = f.fd("sync_file_range", func(fd int) error { return syscall.SyncFileRange(fd, off, n, syncRangeWrite) })
}

func (f osFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}

func (f osFile) Map(n int64) (Mapping, error) {
	var m osMapping
	err := f.fd("mmap", func(fd int) (err error) {
		m, err = syscall.Mmap(fd, 0, int(n), syscall.PROT_READ, syscall.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Only an advice: without it the kernel reads megabytes ahead for every record.
	_ = syscall.Madvise(m, syscall.MADV_RANDOM)
	return m, nil
}

type osMapping []byte

func (m osMapping) Bytes() []byte { return m }
func (m osMapping) Unmap() error  { return syscall.Munmap(m) }

func unsupported(err error) bool {
	return errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS)
}

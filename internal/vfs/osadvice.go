package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

// Constants of preadv2(2), posix_fadvise(2) and lseek(2).
const (
	rwfNoWait      = 0x08
	fadviseRandom  = 1
	fadviseNeed    = 3
	seekData       = 3
	maxWillNeedRun = 2 << 20 // the kernel reads about that much for one advice
)

func (f osFile) ReadCached(b []byte, off int64) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	err = f.fd("preadv2", func(fd int) error {
		iov := syscall.Iovec{Base: &b[0]}
		iov.SetLen(len(b))
		r, _, e := syscall.Syscall6(sysPreadv2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), 0, rwfNoWait)
		n = int(r)
		if e != 0 {
			n = 0
			return e
		}
		return nil
	})
	switch {
	case errors.Is(err, syscall.EAGAIN), unsupported(err), errors.Is(err, syscall.EINVAL): // the last two cannot tell
		return 0, ErrWouldWait
	case err == nil && n == 0:
		err = io.EOF
	}
	return n, err
}

func (f osFile) WillNeed(off, n int64) {
	for end := off + n; off < end; off += maxWillNeedRun {
		f.advise(off, min(maxWillNeedRun, end-off), fadviseNeed)
	}
}

func (f osFile) RandomReads() { f.advise(0, 0, fadviseRandom) }

func (f osFile) advise(off, n int64, advice uintptr) {
	_ = f.fd("fadvise", func(fd int) error {
		if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, uintptr(fd), uintptr(off), uintptr(n), advice, 0, 0); e != 0 {
			return e
		}
		return nil
	})
}

func (f osFile) NextData(off int64) (at int64, err error) {
	err = f.fd("lseek", func(fd int) (err error) {
		at, err = syscall.Seek(fd, off, seekData)
		return err
	})
	switch {
	case errors.Is(err, syscall.ENXIO):
		return off, io.EOF
	case errors.Is(err, syscall.EINVAL), unsupported(err):
		return off, nil
	}
	return at, err
}

func (osFS) SyncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_, _, e := syscall.Syscall(sysSyncFS, d.Fd(), 0, 0)
	switch {
	case e == 0:
		return nil
	case unsupported(e):
		return errors.ErrUnsupported
	}
	return &fs.PathError{Op: "syncfs", Path: dir, Err: e}
}

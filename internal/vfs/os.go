package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

// IsFull tells whether an error says that the disk, or the user's share of it, is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (osFS) Remove(name string) error                    { return os.Remove(name) }
func (osFS) Rename(from, to string) error                { return os.Rename(from, to) }
func (osFS) Stat(name string) (fs.FileInfo, error)       { return os.Stat(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Free(path string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// locks remembers what this process has locked: a lock of fcntl belongs to the process, so the kernel would grant
// it twice, and closing any descriptor of the file would drop it.
var locks struct {
	sync.Mutex
	held map[fileKey]bool
}

type fileKey struct{ dev, ino uint64 }

type osLock struct {
	file *os.File
	key  fileKey
	once sync.Once
}

func (osFS) Lock(name string) (io.Closer, error) {
	locks.Lock()
	defer locks.Unlock()
	if s, err := os.Stat(name); err == nil && locks.held[keyOf(s)] {
		return nil, &LockedError{name, os.Getpid()}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	// The first byte, as Java's FileChannel.tryLock(0, 1, false) does.
	want := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: 0, Len: 1}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &want); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES) {
			return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
		}
		locked := &LockedError{Name: name}
		if syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &want) == nil && want.Type != syscall.F_UNLCK {
			locked.Pid = int(want.Pid)
		}
		return nil, locked
	}
	s, err := f.Stat()
	if err == nil && s.Size() == 0 {
		_, err = f.WriteString("lock") // what Java writes
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &osLock{file: f, key: keyOf(s)}
	if locks.held == nil {
		locks.held = make(map[fileKey]bool)
	}
	locks.held[l.key] = true
	return l, nil
}

func (l *osLock) Close() (err error) {
	l.once.Do(func() {
		locks.Lock()
		defer locks.Unlock()
		delete(locks.held, l.key)
		err = l.file.Close()
	})
	return err
}

func keyOf(s fs.FileInfo) fileKey {
	st := s.Sys().(*syscall.Stat_t)
	return fileKey{st.Dev, st.Ino}
}

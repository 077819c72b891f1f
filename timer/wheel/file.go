package wheel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"rocketd/internal/vfs"
)

// File is the wheel's file. Writes may run beside the goroutine that has the wheel.
type File struct {
	file vfs.File
	name string
}

// readPiece is how much of the file is read at once, bytes: whole pages.
const readPiece = 64 * pageSize

// OpenFile opens the file of a wheel, or makes it, and loads it into w, which is empty. found is false if there was none, or
// one of another length, which cannot be used and is emptied: the log says the same, but for the counts.
func OpenFile(f vfs.FS, name string, w *Wheel) (file *File, found bool, err error) {
	size := w.entries() * entrySize
	info, err := f.Stat(name)
	switch {
	case err == nil:
		found = info.Size() == size
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	}
	opened, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, false, fmt.Errorf("cannot open timer wheel: %w", err)
	}
	file = &File{opened, name}
	if found {
		err = file.load(w, size)
	} else {
		err = opened.Truncate(0)
		if err == nil {
			err = opened.Truncate(size)
		}
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("cannot read timer wheel %s: %w", name, err), opened.Close())
	}
	return file, found, nil
}

func (f *File) load(w *Wheel, size int64) error {
	b := make([]byte, readPiece)
	for at := int64(0); at < size; {
		next, err := vfs.NextData(f.file, at)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at = max(next-next%pageSize, at)
		n, err := f.file.ReadAt(b[:min(readPiece, size-at)], at)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return nil
		}
		w.load(at, b[:n])
		at += int64(n)
	}
	return nil
}

// Write writes pieces and returns when they are on the disk.
func (f *File) Write(pieces []Piece) error {
	for _, p := range pieces {
		if _, err := f.file.WriteAt(p.Data, p.At); err != nil {
			return fmt.Errorf("cannot write timer wheel %s: %w", f.name, err)
		}
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("cannot sync timer wheel %s: %w", f.name, err)
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

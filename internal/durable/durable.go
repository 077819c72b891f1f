// Package durable keeps small files that are replaced as a whole: a reader finds the state before a write or the
// state after it, whatever happens in between. Beside the file lies its predecessor, for a hand or a disk that
// spoils the file itself.
//
//	path          the state; complete and synced before it gets this name
//	path.bak      the state before the last write
//	path.tmp      a write that did not end; never read
//	path.broken   what Read found at path and could not use; never read
//
// The first two are what Java writes and reads (ConfigManager, MixAll). Java writes in place and leaves a torn file
// to the backup; we do not.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"rocketd/internal/vfs"
)

// Write replaces the file and returns when the new state is on the disk. After an error the old state, or the new
// one, is still there to be read. Writes to one path must not overlap. The directory is made if it is missing.
func Write(fsys vfs.FS, path string, data []byte) error {
	if err := write(fsys, path, data); err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return nil
}

func write(fsys vfs.FS, path string, data []byte) error {
	dir, tmp := filepath.Dir(path), path+".tmp"
	if err := vfs.MakeDir(fsys, dir); err != nil {
		return err
	}
	if err := vfs.WriteFile(fsys, tmp, data); err != nil {
		_ = fsys.Remove(tmp) // it is in nobody's way but takes up space
		return err
	}
	if err := fsys.Rename(path, path+".bak"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// Read returns the state of the file, as check accepts it: an empty file, one that cannot be read and one that
// check refuses are broken. A broken file is set aside as path.broken, so that the next Write does not make it the
// backup, and the backup is read instead; fallback then says why, for the log. If neither file is there the
// answer is nil data and no error. If the backup is broken too, or is not there to help, the error says so.
func Read(fsys vfs.FS, path string, check func(data []byte) error) (data []byte, fallback, err error) {
	data, main := read(fsys, path, check)
	if main == nil {
		return data, nil, nil
	}
	missing := errors.Is(main, fs.ErrNotExist)
	data, backup := read(fsys, path+".bak", check)
	switch {
	case backup == nil && missing:
		return data, main, nil
	case backup == nil:
		if err := fsys.Rename(path, path+".broken"); err != nil {
			return nil, nil, fmt.Errorf("cannot set broken file aside: %w", err)
		}
		return data, main, nil
	case missing && errors.Is(backup, fs.ErrNotExist):
		return nil, nil, nil
	default:
		return nil, nil, fmt.Errorf("cannot use file nor backup: %w", errors.Join(main, backup))
	}
}

func read(fsys vfs.FS, path string, check func([]byte) error) ([]byte, error) {
	data, err := vfs.ReadFile(fsys, path)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("file %q is empty", path)
	}
	if err := check(data); err != nil {
		return nil, fmt.Errorf("file %q is broken: %w", path, err)
	}
	return data, nil
}

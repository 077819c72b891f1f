package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Copy copies the store to a directory that is not there yet, or empty, and opens the copy. Holes stay holes. The log
// is in COPY/commitlog afterwards, wherever it was.
func (s *Store) Copy(ctx context.Context, to string) (*Store, error) {
	fsys := s.cfg.FS
	entries, err := fsys.ReadDir(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", to)
	}
	if err := fsys.MkdirAll(filepath.Join(to, "commitlog"), 0o755); err != nil {
		return nil, err
	}
	for _, f := range slices.Concat(s.log, s.strays) {
		if err := s.copyFile(ctx, f.name, filepath.Join(to, "commitlog", filepath.Base(f.name))); err != nil {
			return nil, err
		}
	}
	if err := s.copyDir(ctx, s.cfg.Dir, to); err != nil {
		return nil, err
	}
	cfg := s.cfg
	cfg.Dir, cfg.CommitLogDirs = to, nil
	return Open(cfg)
}

func (s *Store) copyDir(ctx context.Context, from, to string) error {
	fsys := s.cfg.FS
	entries, err := fsys.ReadDir(from)
	if err != nil {
		return err
	}
	if err := fsys.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		info, err := fsys.Stat(src)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a live store
			continue
		case err != nil:
			return err
		case slices.Contains(s.cfg.CommitLogDirs, src) || filepath.Clean(src) == filepath.Clean(filepath.Join(s.cfg.Dir, "lock")):
			continue
		case info.IsDir():
			err = s.copyDir(ctx, src, dst)
		default:
			err = s.copyFile(ctx, src, dst)
		}
		if err != nil {
			return err
		}
	}
	return fsys.SyncDir(to)
}

func (s *Store) copyFile(ctx context.Context, from, to string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fsys := s.cfg.FS
	src, err := fsys.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := src.Size()
	if err != nil {
		return err
	}
	dst, err := fsys.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err = dst.Truncate(size); err == nil {
		err = copyRange(src, dst, 0, size, 0)
	}
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return fmt.Errorf("cannot copy %s: %w", from, err)
	}
	return nil
}

package store

import (
	"errors"
	"os"

	"rocketd/internal/vfs"
)

// Ballast is the name of a file in the store's directory that holds nothing but disk space, so that a store on a full
// disk can come to a clean end, and start. Java does not know it.
const Ballast = "rocketd-ballast"

// ballastBytes is the size of the ballast: a 16th of a log file, at most 64 MiB.
func (s *Store) ballastBytes() int64 { return min(s.cfg.FileSize/16, 64<<20) }

// keepBallast makes the ballast when it is not there and the disk has room for it and for a file of the log.
func (s *Store) keepBallast() {
	if s.closed.Load() || s.ballast.Load() {
		return
	}
	if info, err := s.cfg.FS.Stat(s.path(Ballast)); err == nil && info.Size() >= s.ballastBytes() {
		s.ballast.Store(true)
		return
	}
	free, _, err := s.cfg.FS.Free(s.cfg.Dir)
	if err != nil || free < 2*s.cfg.FileSize+s.ballastBytes() {
		return
	}
	if err := makeBallast(s.cfg.FS, s.path(Ballast), s.ballastBytes()); err != nil {
		s.cfg.Log.Warn("cannot make the ballast", "file", s.path(Ballast), "err", err)
		return
	}
	s.ballast.Store(true)
}

// DropBallast gives the space of the ballast back, and returns true if there was any. It is made again when there is
// room. Who stops on a full disk and has more to write than the store calls it first.
func (s *Store) DropBallast() bool {
	s.ballast.Store(false)
	if err := s.cfg.FS.Remove(s.path(Ballast)); err != nil {
		return false
	}
	s.cfg.Log.Warn("disk is full: the ballast was given up", "file", s.path(Ballast), "bytes", s.ballastBytes())
	return true
}

// withBallast does something that must be possible on a full disk, too.
func (s *Store) withBallast(do func() error) error {
	err := do()
	if vfs.IsFull(err) && s.DropBallast() {
		err = do()
	}
	return err
}

func makeBallast(fs vfs.FS, name string, size int64) error {
	file, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err = errors.Join(file.Allocate(size), file.Close()); err != nil {
		_ = fs.Remove(name)
	}
	return err
}

package store

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/store/commitlog"
)

// When a disk is gone as a whole, or the system has no descriptor left, no reader passes over a message and nothing is
// called damaged: who may not wait is sent to who may, and is told there that nothing can be read now. All of it can be read
// when the disk is back.
func TestGet_Outage(t *testing.T) {
	for _, c := range []struct {
		name, topic string
		what        string // the files that cannot be reached
		fences      bool   // a disk that neither reads nor syncs is not written to again
	}{
		{"log", "a", "/commitlog/", true},
		{"queue", "a", "/consumequeue/", false},
		{"batch queue", "b", "/batchconsumequeue/", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := &goneFS{FS: vfs.OS, what: c.what}
			with := func(cfg *Config) { batchTopics(cfg); cfg.FS = disk }
			s := testStore(t, t.TempDir(), with)
			fillBatch(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = testStore(t, s.cfg.Dir, with) // nothing of it is in memory
			q := s.Find([]byte(c.topic), 0)
			read := func(noWait bool) ReadResult {
				_, res := s.Get(q, Read{From: 3, Max: 8, NoWait: noWait}, nil)
				return res
			}
			disk.gone.Store(true)
			if res := read(true); res.Status != OnDisk || res.Next != 3 || res.Count != 0 {
				t.Errorf("who may not wait got %v, next %d", res.Status, res.Next)
			}
			if res := read(false); res.Status != Unreadable || res.Next != 3 || res.Count != 0 {
				t.Errorf("who may wait got %v, next %d", res.Status, res.Next)
			}
			if _, err := s.Record(0, nil); c.fences && (err == nil || errors.Is(err, commitlog.ErrNoRecord)) {
				t.Errorf("a record that cannot be read: %v", err)
			}
			if _, err := s.Record(1, nil); !c.fences && !errors.Is(err, commitlog.ErrNoRecord) {
				t.Errorf("a record that is none: %v", err)
			}
			if n := s.DamageCount(); n != 0 {
				t.Errorf("%d pieces are called damaged", n)
			}
			if fenced := s.Writable() != nil; fenced != c.fences {
				t.Errorf("the store is fenced: %v", fenced)
			}
			disk.gone.Store(false)
			if res := read(false); res.Status != Found || res.Next <= 3 || res.Count == 0 {
				t.Errorf("the disk is back, and a reader got %v, next %d", res.Status, res.Next)
			}
		})
	}
}

// goneFS is a disk that fails everything that has to do with some of its files.
type goneFS struct {
	vfs.FS
	what string // part of their paths
	gone atomic.Bool
}

type goneFile struct {
	vfs.File
	fs *goneFS
}

func (g *goneFS) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	if !strings.Contains(name, g.what) {
		return g.FS.OpenFile(name, flag, perm)
	}
	if g.gone.Load() {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	f, err := g.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return goneFile{f, g}, nil
}

func (f goneFile) ReadAt(b []byte, off int64) (int, error) {
	if f.fs.gone.Load() {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, off)
}

func (f goneFile) ReadCached(b []byte, off int64) (int, error) { return f.ReadAt(b, off) }

func (f goneFile) Sync() error {
	if f.fs.gone.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

func (f goneFile) Map(int64) (vfs.Mapping, error) { return nil, vfs.ErrNoMap }

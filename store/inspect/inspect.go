// Package inspect looks at the files of a store, Java's or ours, without being its broker: it verifies them, counts what
// is in them, shows messages, and repairs what it can. All but Repair only reads: it takes no lock, removes nothing
// and writes nothing, so that a live store can be looked at too; what is written meanwhile may then show as unfinished.
//
// Memory does not grow with the messages: the log is read once, front to back, and beside it each queue and the index,
// which are in the order of the log. What grows is a few hundred bytes for each queue.
package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// Config says where a store lies. Dir must be set.
type Config struct {
	Dir           string   // storePathRootDir
	CommitLogDirs []string // storePathCommitLog and readOnlyCommitLogStorePaths; default Dir/commitlog

	// FileSize is the length of the log's files, bytes (mappedFileSizeCommitLog). 0 takes it from the files.
	FileSize int64

	// Progress, if set, is called now and then with how many bytes of how many were looked at.
	Progress func(done, total int64)

	FS vfs.FS // default vfs.OS
}

// Store is the files of a store.
type Store struct {
	cfg     Config
	log     []logFile // ascending
	strays  []logFile // do not fit between the others
	logSize int64     // of a file
	queues  []*queueFiles
	index   []string  // names, oldest first
	odd     []Finding // what is wrong with names and lengths
	rocks   bool      // the queues are in RocksDB
	aborted bool      // there is an abort file: in use, or not closed in order
	dataEnd int64     // end of the last log file
}

// logFile is one file of the log.
type logFile struct {
	name        string
	start, size int64
}

// queueFiles is what lies on the disk of one queue.
type queueFiles struct {
	topic  string
	id     int32
	dir    string
	batch  bool    // of a BatchConsumeQueue
	size   int64   // of a file, bytes
	starts []int64 // of files, ascending
}

// ErrNoStore is returned by Open for a directory that holds no commit log.
var ErrNoStore = errors.New("no store there")

// Open finds the files of a store. What is wrong with them is told by Verify; an error says that nothing can be read.
func Open(cfg Config) (*Store, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.OS
	}
	if len(cfg.CommitLogDirs) == 0 {
		cfg.CommitLogDirs = []string{filepath.Join(cfg.Dir, "commitlog")}
	}
	s := &Store{cfg: cfg}
	if err := s.findLog(); err != nil {
		return nil, err
	}
	for _, kind := range []struct {
		dir   string
		batch bool
	}{{"consumequeue", false}, {"batchconsumequeue", true}} {
		if err := s.findQueues(filepath.Join(cfg.Dir, kind.dir), kind.batch); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(s.queues, func(a, b *queueFiles) int { return compareQueues(a.topic, b.topic, a.id, b.id) })
	if err := s.findIndex(); err != nil {
		return nil, err
	}
	_, err := cfg.FS.Stat(s.path("abort"))
	s.aborted = err == nil
	return s, nil
}

func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, names...)...)
}

// relative is a file's name as findings show it.
func (s *Store) relative(name string) string {
	if r, err := filepath.Rel(s.cfg.Dir, name); err == nil && filepath.IsLocal(r) {
		return r
	}
	return name
}

// findLog lists the files of the log in all its directories.
func (s *Store) findLog() error {
	found := false
	for _, dir := range s.cfg.CommitLogDirs {
		entries, err := s.cfg.FS.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read commit log: %w", err)
		}
		found = true
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			start, ok := segment.ParseName(e.Name())
			if !ok || e.IsDir() {
				s.odd = append(s.odd, Finding{Kind: KindFile, Level: Note, File: s.relative(name), Text: "not a file of the commit log, passed over"})
				continue
			}
			info, err := e.Info()
			if err != nil {
				return fmt.Errorf("cannot read commit log: %w", err)
			}
			s.log = append(s.log, logFile{name, start, info.Size()})
		}
	}
	if !found {
		return fmt.Errorf("%w: %s has no directory commitlog (storePathCommitLog may be elsewhere)", ErrNoStore, s.cfg.Dir)
	}
	slices.SortFunc(s.log, func(a, b logFile) int { return cmp64(a.start, b.start) })
	if s.logSize = s.cfg.FileSize; s.logSize == 0 {
		s.logSize = rowSize(s.log)
	}
	s.checkLogFiles()
	return nil
}

// checkLogFiles says which files have a wrong length or lie twice, and drops those that no log can be read from.
func (s *Store) checkLogFiles() {
	var kept []logFile
	for i, f := range s.log {
		bad := Finding{Kind: KindFile, Level: Damage, File: s.relative(f.name)}
		switch {
		case len(kept) > 0 && f.start < kept[len(kept)-1].start+s.logSize:
			bad.Text = fmt.Sprintf("begins inside of %s, passed over", s.relative(kept[len(kept)-1].name))
			s.odd = append(s.odd, bad)
			s.strays = append(s.strays, f)
			continue
		case f.size < s.logSize && i == len(s.log)-1:
			bad.Text = fmt.Sprintf("last file has %d bytes instead of %d", f.size, s.logSize)
			if f.size == 0 {
				bad.Level = Mended
			}
			s.odd = append(s.odd, bad)
		case f.size != s.logSize:
			bad.Text = fmt.Sprintf("has %d bytes instead of %d", f.size, s.logSize)
			s.odd = append(s.odd, bad)
		}
		kept = append(kept, f)
	}
	if s.log = kept; len(kept) > 0 {
		s.dataEnd = kept[len(kept)-1].start + s.logSize
	}
}

// rowSize finds out how long the files of a row are meant to be: most of them are, and so far apart are their starts.
func rowSize(files []logFile) int64 {
	if len(files) == 0 {
		return 0
	}
	count := make(map[int64]int)
	size, apart := files[0].size, files[0].size
	for i, f := range files {
		if count[f.size]++; count[f.size] > count[size] {
			size = f.size
		}
		if i == 1 || i > 1 && f.start-files[i-1].start < apart {
			apart = f.start - files[i-1].start
		}
	}
	for _, f := range files {
		if size <= 0 || (f.start-files[0].start)%size != 0 {
			return apart
		}
	}
	return size
}

// minPhysical is where the log begins.
func (s *Store) minPhysical() int64 {
	if len(s.log) == 0 {
		return 0
	}
	return s.log[0].start
}

// findIndex lists the index files.
func (s *Store) findIndex() error {
	entries, err := s.cfg.FS.ReadDir(s.path("index"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read index: %w", err)
	}
	for _, e := range entries {
		name := s.path("index", e.Name())
		if !isNumber(e.Name()) || e.IsDir() {
			s.odd = append(s.odd, Finding{Kind: KindFile, Level: Note, File: s.relative(name), Text: "not an index file, passed over"})
			continue
		}
		s.index = append(s.index, name)
	}
	return nil
}

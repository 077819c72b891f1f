package consumequeue

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// files keeps the queue files that were used last open, at most budget of them.
type files struct {
	fs     vfs.FS
	dir    string // of all queues
	size   int64  // of a file, bytes
	budget int

	nameless bool // directories are synced each time: Queue.named is about other files

	mu       sync.Mutex // guards:
	open     map[fileKey]*openFile
	newest   openFile         // ring: newest.older is the one used last, newest.newer the one to close
	unsynced map[fileKey]bool // written since the last sync; true: created since then
	made     bool             // dir is there, durably
	order    []fileKey        // all of unsynced as they came, and some that are there no more
}

type fileKey struct {
	q     *Queue
	start int64 // first byte
}

type openFile struct {
	key          fileKey
	file         vfs.File
	users        int
	gone         bool // no longer in open; the last user closes
	newer, older *openFile
}

func (f *files) init() {
	f.open = make(map[fileKey]*openFile)
	f.unsynced = make(map[fileKey]bool)
	f.newest.newer, f.newest.older = &f.newest, &f.newest
}

func (f *files) queueDir(q *Queue) string {
	return filepath.Join(f.dir, q.topic, strconv.Itoa(int(q.id)))
}

// get opens a file of a queue, or finds it open; create makes it, at its full size without disk space, as Java does.
// The caller puts it back.
func (f *files) get(key fileKey, create bool) (*openFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.open[key]; o != nil {
		o.users++
		o.unlink()
		f.link(o)
		return o, nil
	}
	dir := f.queueDir(key.q)
	name := filepath.Join(dir, segment.Name(key.start))
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE
	}
	file, err := f.fs.OpenFile(name, flag, 0o644)
	if create && errors.Is(err, fs.ErrNotExist) {
		if !f.made {
			if err := vfs.MakeDir(f.fs, f.dir); err != nil {
				return nil, err
			}
			f.made = true
		}
		if err := f.fs.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		file, err = f.fs.OpenFile(name, flag, 0o644)
	}
	if err != nil {
		return nil, err
	}
	if create {
		size, err := file.Size()
		if err == nil && size != f.size {
			err = file.Truncate(f.size)
			f.mark(key, true)
		}
		if err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("cannot create %s: %w", name, err)
		}
	}
	for len(f.open) >= f.budget && f.newest.newer != &f.newest {
		if err := f.drop(f.newest.newer); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	o := &openFile{key: key, file: file, users: 1}
	f.open[key] = o
	f.link(o)
	return o, nil
}

// opened returns a file if it is open; the caller puts it back.
func (f *files) opened(key fileKey) *openFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[key]
	if o != nil {
		o.users++
		o.unlink()
		f.link(o)
	}
	return o
}

// put gives an open file back. wrote says that it was written to.
func (f *files) put(o *openFile, wrote bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wrote && !o.key.q.dead.Load() {
		f.mark(o.key, false)
	}
	o.users--
	if o.gone && o.users == 0 {
		return o.file.Close()
	}
	return nil
}

// drop takes a file out of the table and closes it, now or when its last user puts it back. f.mu is held.
func (f *files) drop(o *openFile) error {
	delete(f.open, o.key)
	o.unlink()
	o.gone = true
	if o.users > 0 {
		return nil
	}
	return o.file.Close()
}

// forget closes the file and forgets that it was to be synced.
func (f *files) forget(key fileKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.unsynced, key)
	if o := f.open[key]; o != nil {
		return f.drop(o)
	}
	return nil
}

// mark says that a file must be synced. f.mu is held.
func (f *files) mark(key fileKey, created bool) {
	before, ok := f.unsynced[key]
	if !ok {
		f.order = append(f.order, key)
	}
	f.unsynced[key] = before || created
}

// sync brings all files that were written onto the disk, and the names of new ones. After an error all of it is tried
// again at the next sync.
func (f *files) sync() (err error) {
	f.mu.Lock()
	todo, order := f.unsynced, f.order
	f.unsynced, f.order = make(map[fileKey]bool), nil
	f.mu.Unlock()
	defer func() {
		if err == nil {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, key := range order {
			if created, ok := todo[key]; ok {
				f.mark(key, created)
			}
		}
	}()
	dirs := make(map[string]bool)
	for _, key := range order {
		if created, ok := todo[key]; ok {
			if err := f.syncOne(key, created, dirs); err != nil {
				return err
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := f.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	for _, key := range order {
		key.q.named = key.q.named || !f.nameless
	}
	return nil
}

func (f *files) syncOne(key fileKey, created bool, dirs map[string]bool) error {
	if key.q.dead.Load() {
		return nil
	}
	o, err := f.get(key, false)
	if err != nil {
		return err
	}
	err = o.file.Sync()
	if e := f.put(o, false); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cannot sync consume queue %s/%d: %w", key.q.topic, key.q.id, err)
	}
	if created || !key.q.named || f.nameless {
		dir := f.queueDir(key.q)
		if err := f.fs.SyncDir(dir); err != nil {
			return err
		}
		dirs[filepath.Dir(dir)], dirs[f.dir] = true, true
	}
	return nil
}

// list returns where the files of a queue start, ascending. After a crash it mends them first.
func (f *files) list(q *Queue, clean bool) ([]int64, error) {
	starts, err := segment.List(f.fs, f.queueDir(q), f.size)
	if err != nil && !clean && !errors.Is(err, fs.ErrNotExist) {
		if err = f.mend(q); err == nil {
			starts, err = segment.List(f.fs, f.queueDir(q), f.size)
		}
	}
	return starts, err
}

// mend removes the files of a queue from the first one on that a crash left empty or that does not follow the one
// before: not every file system keeps the order of what was not synced, and what was not synced is built again.
func (f *files) mend(q *Queue) error {
	entries, err := f.fs.ReadDir(f.queueDir(q))
	if err != nil {
		return err
	}
	var bad []int64
	next := int64(-1)
	for _, e := range entries {
		start, ok := segment.ParseName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if len(bad) > 0 || info.Size() == 0 || next >= 0 && start != next {
			bad = append(bad, start)
		}
		next = start + f.size
	}
	for i := len(bad) - 1; i >= 0; i-- {
		if err := f.removeFile(q, bad[i]); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the files of a queue that start at byte from or behind it; with from 0 the directory too.
func (f *files) remove(q *Queue, from int64) error {
	dir := f.queueDir(q)
	starts, err := segment.List(f.fs, dir, f.size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := len(starts) - 1; i >= 0 && starts[i] >= from; i-- {
		if err := f.removeFile(q, starts[i]); err != nil {
			return err
		}
	}
	if from > 0 {
		return nil
	}
	if err := f.fs.Remove(dir); err != nil {
		return err
	}
	topic := filepath.Dir(dir)
	err = f.fs.SyncDir(topic)
	_ = f.fs.Remove(topic) // fails while it has other queues
	return err
}

// removeFile removes one file of a queue, durably: see segment.Row.
func (f *files) removeFile(q *Queue, start int64) error {
	if err := f.forget(fileKey{q, start}); err != nil {
		return err
	}
	dir := f.queueDir(q)
	if err := f.fs.Remove(filepath.Join(dir, segment.Name(start))); err != nil {
		return err
	}
	return f.fs.SyncDir(dir)
}

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.open {
		if err := f.drop(o); err != nil {
			return err
		}
	}
	return nil
}

func (f *files) link(o *openFile) {
	o.older, o.newer = f.newest.older, &f.newest
	o.older.newer, f.newest.older = o, o
}

func (o *openFile) unlink() {
	o.newer.older, o.older.newer = o.older, o.newer
	o.newer, o.older = nil, nil
}

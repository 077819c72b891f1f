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
	"sync/atomic"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// manyFiles is from how many on it is cheaper to sync the whole disk than each file.
const manyFiles = 64

// files keeps the queue files that were used last open, at most budget of them.
type files struct {
	fs     vfs.FS
	dir    string // of all queues
	size   int64  // of a file, bytes
	budget int

	nameless bool // directories are synced each time: Queue.named is about other files

	mu       sync.Mutex // guards:
	open     map[fileKey]*openFile
	forgets  int              // how often a file was forgotten
	round    int              // how often sync was called
	newest   openFile         // ring: newest.older is the one used last, newest.newer the one to close
	unsynced map[fileKey]bool // written since the last sync; true: created since then
	made     atomic.Bool      // dir is there, durably
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
	round        int  // when it was used last
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
// The caller puts it back. Others do not wait for the disk meanwhile.
func (f *files) get(key fileKey, create bool) (*openFile, error) {
	f.mu.Lock()
	if o := f.use(key); o != nil {
		f.mu.Unlock()
		return o, nil
	}
	forgets := f.forgets
	f.mu.Unlock()
	file, made, err := f.openFile(key, create)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if made {
		f.mark(key, true)
	}
	if o := f.use(key); o != nil { // another was faster
		return o, file.Close()
	}
	o := &openFile{key: key, file: file, users: 1}
	if f.forgets != forgets { // perhaps of this one: it is closed when it is put back
		o.gone = true
		return o, nil
	}
	if oldest := f.newest.newer; create && len(f.open) >= f.budget && oldest.round+1 >= f.round {
		o.gone = true // all are written in each round: to close one for another would open all of them each time
		return o, nil
	}
	for len(f.open) >= f.budget && f.newest.newer != &f.newest {
		if err := f.drop(f.newest.newer); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	f.open[key] = o
	f.link(o)
	o.round = f.round
	return o, nil
}

// openFile opens a file, and with create makes it if it is not there as it should be, which made tells.
func (f *files) openFile(key fileKey, create bool) (file vfs.File, made bool, err error) {
	dir := f.queueDir(key.q)
	name := filepath.Join(dir, segment.Name(key.start))
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE
	}
	file, err = f.fs.OpenFile(name, flag, 0o644)
	if create && errors.Is(err, fs.ErrNotExist) {
		if !f.made.Load() {
			if err := vfs.MakeDir(f.fs, f.dir); err != nil {
				return nil, false, err
			}
			f.made.Store(true)
		}
		if err := f.fs.MkdirAll(dir, 0o755); err != nil {
			return nil, false, err
		}
		file, err = f.fs.OpenFile(name, flag, 0o644)
	}
	if err != nil || !create {
		return file, false, err
	}
	size, err := file.Size()
	if err == nil && size != f.size {
		err, made = file.Truncate(f.size), true
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot create %s: %w", name, errors.Join(err, file.Close()))
	}
	return file, made, nil
}

// use returns a file that is open, for one more user, or nil. f.mu is held.
func (f *files) use(key fileKey) *openFile {
	o := f.open[key]
	if o != nil {
		o.users++
		o.round = f.round
		o.unlink()
		f.link(o)
	}
	return o
}

// opened returns a file if it is open; the caller puts it back.
func (f *files) opened(key fileKey) *openFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.use(key)
}

// put gives an open file back. wrote says that it was written to.
func (f *files) put(o *openFile, wrote bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wrote && !o.key.q.dead() {
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
	f.forgets++
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
	f.round++
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
	if len(order) > manyFiles && vfs.SyncAll(f.fs, f.dir) == nil { // what fails there is tried one by one
		f.nameAll(order)
		return nil
	}
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
	f.nameAll(order)
	return nil
}

// nameAll notes that the directories of queues are on the disk.
func (f *files) nameAll(order []fileKey) {
	for _, key := range order {
		key.q.named = key.q.named || !f.nameless
	}
}

// close1 closes a file that nobody will use soon.
func (f *files) close1(key fileKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.open[key]; o != nil && o.users == 0 {
		return f.drop(o)
	}
	return nil
}

func (f *files) syncOne(key fileKey, created bool, dirs map[string]bool) error {
	if key.q.dead() {
		return nil
	}
	if err := f.syncFile(key); err != nil {
		return err
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

// syncFile brings what was written to a file onto the disk.
func (f *files) syncFile(key fileKey) error {
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
	dir := f.queueDir(q)
	if err := f.fs.Remove(filepath.Join(dir, segment.Name(start))); err != nil {
		return err
	}
	if err := f.forget(fileKey{q, start}); err != nil { // now that nobody can open it any more
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

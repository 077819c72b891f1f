// Package crashfs is a disk in memory for tests: it fails and fills up on command, and tells what a crash may leave.
//
// # What is modelled
//
// A file has what programs read (the page cache) and what is on the medium. Sync carries one over to the other. What
// happened to the file since then may or may not be on the medium after a power cut:
//
//   - Written bytes: sectors of 512 bytes are atomic and independent of each other. Each has the content that it had
//     at some moment since the last sync, never a mixture of two moments.
//   - The size, allocation and holes (Truncate, Allocate, Zero, and the growth by a write): a beginning of what was
//     done to the file. A large Allocate happens in steps, as ext4 does it, and a cut may fall between them. What a
//     size covers and no write has reached reads as zeros, never as old blocks.
//   - Names: creations, removals and renames count after SyncDir of their directory. A rename is atomic. That a file
//     was synced says nothing about its name, as POSIX has it.
//
// What belongs to the journal of a file system (sizes, holes, names) reaches the medium in one of two ways. Ordered: in
// the order in which it happened, on the whole disk, and any sync commits all that was before it; so do ext4 and xfs.
// Otherwise: in order for one file, or for names that a rename ties together, and each independent of all others; that
// is the least that POSIX lets one count on.
//
// A failed sync loses what it should have written: pages become clean, programs go on reading them, a second sync
// succeeds without them. So does Linux. Sizes and holes are not lost: a file system that cannot write its journal stops.
//
// A kill of the process loses nothing, but what was not on the medium still is not. A write that is under way may have
// happened in part.
//
// Not modelled: sectors that are damaged without a power cut, times of change, permissions, links, and sub-sector tears.
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"

	"rocketd/internal/vfs"
)

// Sector is what the medium writes as a whole, bytes.
const Sector = 512

// allocateStep is how much Allocate does at a time, bytes.
const allocateStep = 2 * Sector

// ErrStopped is returned by every operation after Stop.
var ErrStopped = errors.New("the process has ended")

// Operations beside those of vfs. Syncing a directory is vfs.OpSync.
const (
	OpTruncate vfs.Op = "truncate"
	OpMkdir    vfs.Op = "mkdir"
)

// Options of a Disk.
type Options struct {
	Seed     uint64 // of what short writes and failed syncs leave
	Map      bool   // files can be mapped; maps are live and read without a lock
	Ordered  bool   // see the package comment
	Capacity int64  // bytes in whole sectors; 0 is without end
}

// Disk is a vfs.FS in memory. The same calls on the same seed give the same disk.
type Disk struct {
	// Before, if set, is called before each operation but reads, in the goroutine of the operation and without a lock of
	// the disk, so that it may look at the disk and make others of it. Its error is that of the operation: a write
	// has then written some of its bytes, a sync has lost what it was for, and anything else has done nothing.
	Before func(op vfs.Op, name string) error

	opt Options

	mu      sync.Mutex // guards all below, and all inodes:
	rng     *rand.Rand
	root    *inode
	names   []nameOp // not yet on the medium
	seq     int64    // number of the newest change
	journal int64    // Ordered: changes up to it are on the medium
	used    int64
	stopped bool
	locks   map[string]bool
}

// nameOp is one change of names.
type nameOp struct {
	seq     int64
	changes []nameChange // one, or two of a rename
}

type nameChange struct {
	dir  *inode
	name string
	node *inode // nil: the name is gone
}

// New returns an empty disk.
func New(o Options) *Disk {
	return &Disk{opt: o, rng: newRand(o.Seed), root: newDir(), locks: make(map[string]bool)}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// Stop makes every later operation fail: the process that used the disk is dead.
func (d *Disk) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
}

// SetCapacity changes the size of the disk, bytes; 0 is without end.
func (d *Disk) SetCapacity(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opt.Capacity = n
}

// Used is how much disk space files take, bytes.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// begin asks Before, then takes the lock; the caller unlocks in any case. An error of Before is injected: the
// operation may do what a failed one does. Any other means that nothing may be touched.
func (d *Disk) begin(op vfs.Op, name string) (err error, injected bool) {
	d.mu.Lock()
	if d.stopped || d.Before == nil {
		if d.stopped {
			err = ErrStopped
		}
		return err, false
	}
	d.mu.Unlock()
	err = d.Before(op, name)
	d.mu.Lock()
	return err, err != nil
}

func (d *Disk) next() int64 {
	d.seq++
	return d.seq
}

// find walks to a path.
func (d *Disk) find(name string) (*inode, bool) {
	n := d.root
	for rest := clean(name); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if n = n.names[part]; n == nil {
			return nil, false
		}
	}
	return n, true
}

func (d *Disk) parent(name string) (dir *inode, base string, ok bool) {
	at := clean(name)
	n, ok := d.find(path.Dir("/" + at))
	if !ok || !n.dir || at == "" {
		return nil, "", false
	}
	return n, path.Base(at), true
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func fail(op vfs.Op, name string, err error) error {
	return &fs.PathError{Op: string(op), Path: name, Err: err}
}

// change makes name changes at once.
func (d *Disk) change(changes ...nameChange) {
	for _, c := range changes {
		if c.node == nil {
			delete(c.dir.names, c.name)
		} else {
			c.dir.names[c.name] = c.node
		}
	}
	d.names = append(d.names, nameOp{d.next(), changes})
}

// commit says that the journal is on the medium up to now.
func (d *Disk) commit() {
	if !d.opt.Ordered {
		return
	}
	d.journal = d.seq
	d.saveNames(func(nameOp) bool { return true })
}

// saveNames puts changes of names on the medium.
func (d *Disk) saveNames(which func(nameOp) bool) {
	d.names = slices.DeleteFunc(d.names, func(op nameOp) bool {
		if !which(op) {
			return false
		}
		for _, c := range op.changes {
			if c.node == nil {
				delete(c.dir.saved, c.name)
			} else {
				c.dir.saved[c.name] = c.node
			}
		}
		return true
	})
}

// MkdirAll, and the methods below, are those of vfs.FS.
func (d *Disk) MkdirAll(name string, _ fs.FileMode) error {
	err, _ := d.begin(OpMkdir, name)
	defer d.mu.Unlock()
	if err != nil {
		return fail(OpMkdir, name, err)
	}
	n := d.root
	for rest := clean(name); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := n.names[part]
		if next == nil {
			next = newDir()
			d.change(nameChange{n, part, next})
		}
		if n = next; !n.dir {
			return fail(OpMkdir, name, errNotDir)
		}
	}
	return nil
}

func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.find(name)
	switch {
	case d.stopped:
		return nil, fail("readdir", name, ErrStopped)
	case !ok:
		return nil, fail("readdir", name, fs.ErrNotExist)
	case !n.dir:
		return nil, fail("readdir", name, errNotDir)
	}
	list := make([]fs.DirEntry, 0, len(n.names))
	for name, n := range n.names {
		list = append(list, fs.FileInfoToDirEntry(info{name, int64(len(n.data)), n.dir}))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

func (d *Disk) Stat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.find(name)
	if d.stopped {
		return nil, fail("stat", name, ErrStopped)
	}
	if !ok {
		return nil, fail("stat", name, fs.ErrNotExist)
	}
	return info{path.Base(name), int64(len(n.data)), n.dir}, nil
}

func (d *Disk) Remove(name string) error {
	err, _ := d.begin(vfs.OpRemove, name)
	defer d.mu.Unlock()
	if err != nil {
		return fail(vfs.OpRemove, name, err)
	}
	dir, base, ok := d.parent(name)
	if !ok || dir.names[base] == nil {
		return fail(vfs.OpRemove, name, fs.ErrNotExist)
	}
	n := dir.names[base]
	if len(n.names) > 0 {
		return fail(vfs.OpRemove, name, errNotEmpty)
	}
	d.change(nameChange{dir, base, nil})
	d.unlink(n)
	return nil
}

func (d *Disk) Rename(from, to string) error {
	err, _ := d.begin(vfs.OpRename, to)
	defer d.mu.Unlock()
	if err != nil {
		return fail(vfs.OpRename, to, err)
	}
	dir1, base1, ok1 := d.parent(from)
	dir2, base2, ok2 := d.parent(to)
	if !ok1 || !ok2 || dir1.names[base1] == nil {
		return fail(vfs.OpRename, from, fs.ErrNotExist)
	}
	n, old := dir1.names[base1], dir2.names[base2]
	switch {
	case n == old:
		return nil
	case old != nil && old.dir != n.dir:
		return fail(vfs.OpRename, to, errNotDir)
	case old != nil && len(old.names) > 0:
		return fail(vfs.OpRename, to, errNotEmpty)
	}
	d.change(nameChange{dir1, base1, nil}, nameChange{dir2, base2, n})
	if old != nil {
		d.unlink(old)
	}
	return nil
}

func (d *Disk) SyncDir(name string) error {
	err, _ := d.begin(vfs.OpSync, name)
	defer d.mu.Unlock()
	if err != nil {
		return fail(vfs.OpSync, name, err)
	}
	dir, ok := d.find(name)
	if !ok {
		return fail(vfs.OpSync, name, fs.ErrNotExist)
	}
	if !d.opt.Ordered {
		d.saveNames(func(op nameOp) bool {
			return slices.ContainsFunc(op.changes, func(c nameChange) bool { return c.dir == dir })
		})
	}
	d.commit()
	return nil
}

func (d *Disk) Free(string) (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return 0, 0, ErrStopped
	}
	return d.free(), max(d.opt.Capacity, d.used+d.free()), nil
}

// free is how much space is left.
func (d *Disk) free() int64 {
	if d.opt.Capacity == 0 {
		return 1 << 50
	}
	return max(d.opt.Capacity-d.used, 0)
}

// Lock locks by name.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	if d.locks[clean(name)] {
		d.mu.Unlock()
		return nil, &vfs.LockedError{Name: name}
	}
	d.mu.Unlock()
	f, err := d.OpenFile(name, osCreate, 0o644)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.locks[clean(name)] = true
	d.mu.Unlock()
	return &lock{File: f, disk: d, name: clean(name)}, nil
}

type lock struct {
	vfs.File
	disk *Disk
	name string
	once sync.Once
}

func (l *lock) Close() (err error) {
	l.once.Do(func() {
		l.disk.mu.Lock()
		delete(l.disk.locks, l.name)
		l.disk.mu.Unlock()
		err = l.File.Close()
	})
	return err
}

package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"rocketd/internal/vfs"
)

// ErrGone is returned for bytes of a file that is not, or no longer, part of a row.
var ErrGone = errors.New("no such segment")

// Row is a directory of Files that follow each other without a gap. Reading and Files may be called from any
// goroutine; the other methods by one at a time, but Prepare and DropBefore.
type Row struct {
	fs   vfs.FS
	dirs Dirs
	size int64

	files atomic.Pointer[[]*File] // ascending; the slice is never changed

	mu      sync.Mutex // held while a file is created, and when files changes; guards:
	next    *File      // prepared, not yet part of the row
	cutting bool       // DropFrom is at work
}

// OpenRow opens the files of a directory, which it creates if needed. A last file that is too short and holds nothing
// is what a crash leaves of a create, and is removed; any other file of a wrong length is an error, since the size of files
// cannot change under an existing row. Source: Java MappedFileQueue.load.
func OpenRow(fs vfs.FS, dir string, size int64) (*Row, error) {
	return OpenRows(fs, Dirs{Write: []string{dir}}, size)
}

// OpenRows is OpenRow for files that are spread over directories; those of Read must be there. Source: Java
// MultiPathMappedFileQueue.
func OpenRows(fs vfs.FS, dirs Dirs, size int64) (*Row, error) {
	r := &Row{fs: fs, dirs: dirs.clean(), size: size}
	if len(r.dirs.Write) == 0 {
		return nil, errors.New("no directory to write to")
	}
	for _, dir := range r.dirs.Write {
		if err := vfs.MakeDir(fs, dir); err != nil {
			return nil, fmt.Errorf("cannot create %s: %w", dir, err)
		}
	}
	all, err := list(fs, slices.Concat(r.dirs.Write, r.dirs.Read), size)
	if err != nil {
		return nil, err
	}
	files := make([]*File, 0, len(all))
	for _, e := range all {
		file, err := fs.OpenFile(e.name(), os.O_RDWR, 0)
		if err != nil && slices.Contains(r.dirs.Read, e.dir) {
			file, err = fs.OpenFile(e.name(), os.O_RDONLY, 0)
		}
		if err != nil {
			for _, f := range files {
				_ = f.release()
			}
			return nil, fmt.Errorf("cannot open segment: %w", err)
		}
		files = append(files, newFile(e.name(), file, e.start, size))
	}
	r.files.Store(&files)
	return r, nil
}

// List returns the first offsets of the files of a directory, ascending, and checks lengths and neighbours. Files
// whose names are no segment names are passed over.
func List(fs vfs.FS, dir string, size int64) ([]int64, error) {
	all, err := list(fs, []string{dir}, size)
	var starts []int64
	for _, e := range all {
		starts = append(starts, e.start)
	}
	return starts, err
}

// Dirs are the directories that new files go to; the slice may not be changed.
func (r *Row) Dirs() []string { return r.dirs.Write }

// Dir is the directory that the file that starts at start would be made in.
func (r *Row) Dir(start int64) string { return r.dirs.of(start, r.size) }

// startsZero tells whether nothing was ever written to a file: it is empty, or its first page is zero.
func startsZero(fs vfs.FS, name string) (bool, error) {
	file, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer file.Close()
	var page [4096]byte
	if _, err := file.ReadAt(page[:], 0); err != nil && err != io.EOF {
		return false, err
	}
	return page == [4096]byte{}, nil
}

// Files returns the files, ascending. The slice may not be changed.
func (r *Row) Files() []*File { return *r.files.Load() }

// Find returns the file that holds the byte at off, or nil.
func (r *Row) Find(off int64) *File {
	files := r.Files()
	if len(files) == 0 || off < files[0].start {
		return nil
	}
	if i := (off - files[0].start) / r.size; i < int64(len(files)) {
		return files[i]
	}
	return nil
}

// ReadAt fills dst with the bytes from off, which must lie in one file. ErrGone says that they do not, or that the
// file was dropped.
func (r *Row) ReadAt(dst []byte, off int64) error {
	f := r.Find(off)
	if f == nil || off+int64(len(dst)) > f.End() || !f.acquire() {
		return ErrGone
	}
	err := f.readAt(dst, off)
	if e := f.release(); err == nil {
		err = e
	}
	return err
}

// Span is a piece of a row.
type Span struct {
	Off  int64
	Size int
}

// ReadEach is ReadAt for pieces that follow each other in dst, at least one. It returns how many it read: as far as they lie in
// the file of the first. One look at the file for all of them lets the processor wait for the memory of several at a time.
func (r *Row) ReadEach(dst []byte, spans []Span) (n int, err error) {
	f := r.Find(spans[0].Off)
	if f == nil || spans[0].Off+int64(spans[0].Size) > f.End() || !f.acquire() {
		return 0, ErrGone
	}
	n, err = f.readEach(dst, spans)
	if e := f.release(); err == nil {
		err = e
	}
	return n, err
}

// Prepare creates the file that starts at start, where the last one ends, ahead of time, so that Add need not wait for
// the disk. It may be called while others use the row: when the last one changes meanwhile, it does nothing.
func (r *Row) Prepare(start int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if files := r.Files(); r.next != nil || r.cutting || len(files) > 0 && files[len(files)-1].End() != start {
		return nil
	}
	f, err := create(r.fs, r.Dir(start), start, r.size)
	if err == nil {
		r.next = f
	}
	return err
}

// Add makes the file that starts at start the last one of the row: the prepared one, or a new one.
func (r *Row) Add(start int64) (*File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.takePrepared(start)
	if err == ErrGone {
		var f *File
		if f, err = create(r.fs, r.Dir(start), start, r.size); err == nil {
			r.push(f)
		}
	}
	if err != nil {
		return nil, err
	}
	return r.Find(start), nil
}

// AddPrepared is Add for a file that was prepared; ErrGone says that there is none.
func (r *Row) AddPrepared(start int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.takePrepared(start)
}

// takePrepared makes the prepared file the last one; one that was prepared for another place is removed. r.mu is held.
func (r *Row) takePrepared(start int64) error {
	f := r.next
	r.next = nil
	switch {
	case f == nil:
		return ErrGone
	case f.start != start:
		if err := r.discard(f); err != nil {
			return err
		}
		return ErrGone
	}
	r.push(f)
	return nil
}

func (r *Row) push(f *File) {
	old := r.Files()
	files := append(old[:len(old):len(old)], f)
	r.files.Store(&files)
}

// DropFrom removes the files that start at off or behind it, last first, durably, and before them a prepared one. Also
// what was removed before, by a process that was killed then, does not come back.
func (r *Row) DropFrom(off int64) error {
	next := r.cut(true)
	defer r.cut(false)
	if next != nil {
		if err := errors.Join(r.discard(next), r.fs.SyncDir(filepath.Dir(next.name))); err != nil {
			return err
		}
	}
	for _, dir := range r.dirs.Write {
		if err := r.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	for files := r.Files(); len(files) > 0 && files[len(files)-1].start >= off; files = r.Files() {
		if err := r.drop(files[len(files)-1]); err != nil {
			return err
		}
	}
	return nil
}

// cut starts or ends that no file is prepared. It returns the one that is, for the caller to remove.
func (r *Row) cut(on bool) (next *File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cutting = on
	next, r.next = r.next, nil
	return next
}

// DropBefore removes the files that end at off or before it, first first, durably; the last file stays. Readers at
// work finish. It may be called while another goroutine adds files.
func (r *Row) DropBefore(off int64) error {
	for files := r.Files(); len(files) > 1 && files[0].End() <= off; files = r.Files() {
		if err := r.drop(files[0]); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the first or the last file. Each removal is synced by itself: not every file system keeps their order, and
// a gap would be left. What could not be removed stays in the row.
func (r *Row) drop(f *File) error {
	if err := r.fs.Remove(f.name); err != nil {
		return err
	}
	r.mu.Lock()
	rest := slices.DeleteFunc(slices.Clone(r.Files()), func(g *File) bool { return g == f })
	r.files.Store(&rest)
	r.mu.Unlock()
	return errors.Join(f.release(), r.fs.SyncDir(filepath.Dir(f.name)))
}

// Close closes all files; a prepared one that was never used is removed. It is idempotent.
func (r *Row) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	files := r.Files()
	r.files.Store(new([]*File))
	var errs []error
	for _, f := range files {
		errs = append(errs, f.release())
	}
	if r.next != nil {
		errs = append(errs, r.discard(r.next))
		r.next = nil
	}
	return errors.Join(errs...)
}

func (r *Row) discard(f *File) error {
	return errors.Join(r.fs.Remove(f.name), f.release())
}

package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// load opens the files of the directory, oldest first, and drops what is in doubt. What is not named by a number is
// passed over. Files opened so far are returned also with an error.
func (x *Index) load() ([]*file, error) {
	fs, dir := x.cfg.FS, x.cfg.Dir
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && isNumber(e.Name()) {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	var files []*file
	for i, name := range names {
		f, err := x.open(name, files)
		var bad *damage
		switch {
		case errors.Is(err, errDoubt):
			x.cfg.Log.Info("index is built again from the log", "file", name, "files", len(names)-i)
			return files, x.drop(names[i:])
		case errors.As(err, &bad):
			x.cfg.Log.Warn("index file is put aside and built again from the log", "file", name, "err", bad.reason)
			if err := fs.Rename(name, name+".damaged"); err != nil {
				return files, err
			}
			return files, x.drop(names[i+1:])
		case err != nil:
			return files, err
		case f == nil: // nothing was ever put into it
			if err := x.drop(names[i : i+1]); err != nil {
				return files, err
			}
		default:
			files = append(files, f)
		}
	}
	return files, nil
}

// drop removes files, newest first.
func (x *Index) drop(names []string) error {
	for i := len(names) - 1; i >= 0; i-- {
		if err := x.cfg.FS.Remove(names[i]); err != nil {
			return err
		}
	}
	return x.cfg.FS.SyncDir(x.cfg.Dir)
}

// errDoubt is what open returns of a file that may miss what a crash took.
var errDoubt = errors.New("index file is in doubt")

// damage is why a file cannot be right.
type damage struct{ reason string }

func (d *damage) Error() string { return d.reason }

// open opens one file, older being those before it. It returns nil if nothing was ever put into the file, errDoubt if
// what it says cannot be relied on, a *damage if it is an index file with contradictions, another error if it seems
// to be no index file.
func (x *Index) open(name string, older []*file) (_ *file, err error) {
	disk, err := x.cfg.FS.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	f := newFile(name, disk, x.shape)
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, f.release())
		}
	}()
	size, err := disk.Size()
	if err != nil || size == 0 { // a crash came between its making and its first key
		return nil, err
	}
	var head [headerSize]byte
	shapes := x.shapes(size, older)
	if size >= headerSize {
		if err := f.readAt(head[:], 0); err != nil {
			return nil, err
		}
		f.setHeader(head[:])
	}
	count, known := f.count.Load(), len(shapes) > 0
	switch {
	case known && count == 1:
		return nil, nil
	case known && x.doubt(f):
		return nil, errDoubt
	}
	for _, f.shape = range append(shapes, fullShape(size, count)...) {
		ok, err := f.fits()
		switch {
		case err != nil:
			return nil, err
		case ok && (x.doubt(f) || !x.cfg.Clean && !f.full()):
			return nil, errDoubt
		case ok:
			f.sealed.Store(true)
			keep = true
			return f, nil
		}
	}
	if known {
		return nil, &damage{fmt.Sprintf("its header (next entry %d, last message at %d) does not agree with its tables",
			count, f.endPhysical.Load())}
	}
	return nil, fmt.Errorf("%s has %d bytes, which is no index file of maxHashSlotNum=%d and maxIndexNum=%d (%d bytes); "+
		"set the two to what the file was written with, or move it away: it is built again from the log",
		name, size, x.shape.slots, x.shape.entries, x.shape.size())
}

// doubt tells whether a file holds more than what is known to be there: than the checkpoint says, after a crash, or
// than the log has.
func (x *Index) doubt(f *file) bool {
	return !x.cfg.Clean && f.endMs.Load() > x.cfg.SafeMs || f.endPhysical.Load() >= x.cfg.Source.MaxPhysical()
}

// shapes returns what a file of a size may look like: as the settings say, as the file before it, or with the tables
// in the relation that they have by default.
func (x *Index) shapes(size int64, older []*file) (known []shape) {
	const each = slotSize + 4*entrySize
	all := []shape{x.shape, {int32(min(size, maxSize)-headerSize) / each, int32(min(size, maxSize)-headerSize) / each * 4}}
	if n := len(older); n > 0 {
		all = append(all, older[n-1].shape)
	}
	for _, s := range all {
		if s.size() == size && s.slots > 0 {
			known = append(known, s)
		}
	}
	return known
}

// fullShape returns what a file of a size looks like if it is full, if that can be.
func fullShape(size int64, count int32) []shape {
	slots := (size - headerSize - entrySize*int64(count)) / slotSize
	if slots < 1 || slots > maxSize/slotSize {
		return nil
	}
	return []shape{{int32(slots), count}}
}

// fits tells whether the header agrees with the tables: the newest entry is of the last message, and first in its slot.
func (f *file) fits() (bool, error) {
	count := f.count.Load()
	if count > f.entries || f.used.Load() < 1 || f.used.Load() >= count ||
		f.beginPhysical.Load() < 0 || f.endPhysical.Load() < f.beginPhysical.Load() {
		return false, nil
	}
	e, err := f.readEntry(count - 1)
	if err != nil || e.physical != f.endPhysical.Load() || e.hash < 0 || e.previous >= count-1 {
		return false, err
	}
	slot, err := (&reader{f: f}).slot(f.slotOf(e.hash))
	return slot == count-1, err
}

func isNumber(name string) bool {
	_, err := strconv.ParseUint(name, 10, 63)
	return err == nil
}

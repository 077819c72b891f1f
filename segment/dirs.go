package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rocketd/internal/vfs"
)

// Dirs is where the files of a row lie.
type Dirs struct {
	Write []string // the directories that new files go to, in turn
	Read  []string // files are read and dropped there, none is made
	// Full tells whether a directory of Write is to be passed over; nil: none is. If all are, none is.
	Full func(dir string) bool
}

// clean sorts the directories and leaves out what is named twice.
func (d Dirs) clean() Dirs {
	tidy := func(dirs []string) []string {
		var out []string
		for _, dir := range dirs {
			if dir = strings.TrimSpace(dir); dir != "" {
				out = append(out, filepath.Clean(dir))
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	d.Write, d.Read = tidy(d.Write), tidy(d.Read)
	d.Write = slices.DeleteFunc(d.Write, func(dir string) bool { return slices.Contains(d.Read, dir) })
	return d
}

// of returns the directory of a new file: the directories of Write that are not full take turns.
// Source: Java MultiPathMappedFileQueue.tryCreateMappedFile.
func (d Dirs) of(start, size int64) string {
	dirs := d.Write
	if len(dirs) > 1 && d.Full != nil {
		free := slices.DeleteFunc(slices.Clone(dirs), d.Full)
		if len(free) > 0 {
			dirs = free
		}
	}
	return dirs[start/size%int64(len(dirs))]
}

// found is a file of a row, as its directory names it.
type found struct {
	dir   string
	start int64
	bytes int64
}

func (f found) name() string { return filepath.Join(f.dir, Name(f.start)) }

// scan returns the files of directories whose names are those of segments, ascending, of whatever length.
func scan(f vfs.FS, dirs []string) ([]found, error) {
	var all []found
	for _, dir := range dirs {
		entries, err := f.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			start, ok := ParseName(e.Name())
			if !ok {
				continue
			}
			if e.IsDir() {
				return nil, &ForeignError{filepath.Join(dir, e.Name()), "is a directory where a file of the store belongs", "move it away"}
			}
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			all = append(all, found{dir, start, info.Size()})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return int(min(max(a.start-b.start, -1), 1)) })
	return all, nil
}

// list is scan for files that must have the length size and follow each other. A last one that is too short and holds
// nothing is removed.
func list(f vfs.FS, dirs []string, size int64) ([]found, error) {
	all, err := scan(f, dirs)
	if err != nil {
		return nil, err
	}
	if n := len(all) - 1; n >= 0 && all[n].bytes < size {
		unused, err := startsZero(f, all[n].name())
		if err == nil && unused {
			err = f.Remove(all[n].name())
		}
		if err != nil {
			return nil, err
		}
		if unused {
			all = all[:n]
		}
	}
	for i, e := range all {
		switch {
		case e.bytes != size:
			return nil, &ForeignError{e.name(), fmt.Sprintf("has %d bytes, but the store is configured for files of %d bytes", e.bytes, size),
				"bring it back from a copy, or move it away"}
		case i > 0 && all[i-1].start == e.start:
			return nil, &ForeignError{e.name(), "is the same piece of the store as " + all[i-1].name(), "move one away"}
		case i > 0 && all[i-1].start+size != e.start:
			return nil, &ForeignError{e.name(), fmt.Sprintf("does not follow the file before it, which starts at %d", all[i-1].start),
				"bring the missing files back from a copy, or move away what is on one side of the gap"}
		}
	}
	return all, nil
}

// FileSize returns the length that the files of a row have, and the first of them; where there is none, or where they do
// not agree, want. All but the last must have it, start at its multiples and follow each other; a last file that holds
// nothing says nothing. sound is asked whether a single file is whole, as far as its two ends show it: the first and the last
// up to 64 bytes.
func FileSize(f vfs.FS, dirs Dirs, want int64, sound func(head, tail []byte) bool) (size int64, name string, err error) {
	dirs = dirs.clean()
	var all []found
	for _, dir := range slices.Concat(dirs.Write, dirs.Read) {
		some, err := scan(f, []string{dir})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, "", err
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b found) int { return int(min(max(a.start-b.start, -1), 1)) })
	if len(all) == 0 || all[0].bytes == want || all[0].bytes == 0 {
		return want, "", nil
	}
	size, name = all[0].bytes, all[0].name()
	if all[0].start%size != 0 {
		return want, "", nil
	}
	for i, e := range all[1:] {
		if e.start != all[0].start+int64(i+1)*size || i < len(all)-2 && e.bytes != size || e.bytes > size {
			return want, "", nil
		}
	}
	head, tail, err := ends(f, name, size)
	if err != nil || !sound(head, tail) {
		return want, "", err
	}
	if len(all) == 1 && size < want && len(bytes.Trim(head, "\x00")) == 0 {
		if unused, err := startsZero(f, name); err != nil || unused {
			return want, "", err
		}
	}
	return size, name, nil
}

// ends reads the first and the last bytes of a file.
func ends(f vfs.FS, name string, size int64) (head, tail []byte, err error) {
	file, err := f.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	n := min(size, 64)
	head, tail = make([]byte, n), make([]byte, n)
	if _, err = file.ReadAt(head, 0); err == nil {
		_, err = file.ReadAt(tail, size-n)
	}
	if err == io.EOF {
		err = nil
	}
	return head, tail, errors.Join(err, file.Close())
}

package wheel

import (
	"errors"
	"fmt"
	"io/fs"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// Log is the timer log: files of one length that hold units, each unit in one file. Append and Write are for one goroutine,
// Sync and Drop for another one, which may work at the same time; Read may be called from any.
type Log struct {
	row  *segment.Row
	size int64
	end  int64  // behind the last unit, with those in buf
	buf  []byte // not yet written, from end-len(buf) on
}

// OpenLog opens the files of a directory, whose length is taken over if there are any, and reads the units from the position
// from on, which is moved back to the start of its file, until the first that is none or that accept refuses: the log ends
// there, and what is behind is removed.
func OpenLog(f vfs.FS, dir string, fileSize, from int64, accept func(pos int64, u *Unit) bool) (*Log, error) {
	if fileSize < UnitSize+blankSize {
		return nil, fmt.Errorf("mappedFileSizeTimerLog is %d, at least %d is needed", fileSize, UnitSize+blankSize)
	}
	size, _, err := segment.FileSize(f, segment.Dirs{Write: []string{dir}}, fileSize, func(head, _ []byte) bool {
		_, ok := ParseUnit(head)
		return ok
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	row, err := segment.OpenRow(f, dir, size)
	if err != nil {
		return nil, fmt.Errorf("cannot open timer log: %w", err)
	}
	l := &Log{row: row, size: size}
	from = max(from, 0)
	if files := row.Files(); len(files) > 0 {
		from = min(max(from, files[0].Start()), files[len(files)-1].Start())
	}
	if l.end, err = l.Scan(from-from%size, accept); err == nil {
		err = l.cut()
	}
	if err != nil {
		return nil, errors.Join(err, row.Close())
	}
	return l, nil
}

// Min is the position of the first byte that is there, End the one behind the last unit.
func (l *Log) Min() int64 {
	if files := l.row.Files(); len(files) > 0 {
		return files[0].Start()
	}
	return l.Written()
}
func (l *Log) End() int64 { return l.end }

// Scan calls fn for the units from the position from on, the start of a file or of a unit, until one is none or fn returns
// false, and returns where that is.
func (l *Log) Scan(from int64, fn func(pos int64, u *Unit) bool) (end int64, err error) {
	b := make([]byte, 1260*UnitSize)
	for at := from; ; {
		f := l.row.Find(at)
		if f == nil {
			return at, nil
		}
		n := min(int64(len(b)), f.End()-at)
		if err := l.row.ReadDisk(b[:n], at); err != nil {
			return at, err
		}
		for rest := b[:n]; ; {
			u, ok := ParseUnit(rest)
			if !ok {
				if len(rest) < UnitSize && at+int64(len(rest)) < f.End() { // goes on in the next piece
					break
				}
				if !isBlank(rest) {
					return at, nil
				}
				at = f.End()
				break
			}
			if !fn(at, &u) {
				return at, nil
			}
			at, rest = at+UnitSize, rest[UnitSize:]
		}
	}
}

// cut removes what is behind the end.
func (l *Log) cut() error {
	f := l.row.Find(l.end)
	if f == nil {
		return nil
	}
	if f.Start() == l.end {
		return l.row.DropFrom(l.end)
	}
	if err := l.row.DropFrom(f.End()); err != nil {
		return err
	}
	if next, err := f.NextData(l.end); err != nil || next == f.End() {
		return err
	}
	return errors.Join(f.Zero(l.end, f.End()), f.Reserve(), f.Sync())
}

// Append adds a unit and returns its position. It is written by Write.
func (l *Log) Append(u *Unit) int64 {
	if left := l.size - l.end%l.size; left < UnitSize+blankSize {
		n := len(l.buf) + int(left)
		l.buf = appendBlank(l.buf, left)
		l.buf = append(l.buf, make([]byte, n-len(l.buf))...)
		l.end += left
	}
	pos := l.end
	l.buf = AppendUnit(l.buf, u)
	l.end += UnitSize
	return pos
}

// Written is the position behind what is written.
func (l *Log) Written() int64 { return l.end - int64(len(l.buf)) }

// Write writes what was appended. After an error it is kept, and the next call tries again.
func (l *Log) Write() error {
	for len(l.buf) > 0 {
		at := l.Written()
		f := l.row.Find(at)
		if f == nil {
			var err error
			if f, err = l.row.Add(at - at%l.size); err != nil {
				return fmt.Errorf("cannot make a file of the timer log: %w", err)
			}
		}
		n := min(int64(len(l.buf)), f.End()-at)
		if err := f.WriteAt(l.buf[:n], at); err != nil {
			return err
		}
		l.buf = l.buf[:copy(l.buf, l.buf[n:])]
	}
	return nil
}

// Read reads the unit at a position; false if there is none.
func (l *Log) Read(pos int64) (Unit, bool) {
	if at := pos - l.Written(); at >= 0 {
		if at+UnitSize > int64(len(l.buf)) {
			return Unit{}, false
		}
		return ParseUnit(l.buf[at:])
	}
	var b [UnitSize]byte
	if l.row.ReadAt(b[:], pos) != nil {
		return Unit{}, false
	}
	return ParseUnit(b[:])
}

// Last returns the last unit.
func (l *Log) Last() (Unit, bool) {
	end := l.end
	if end%l.size == 0 { // behind the blank of a file
		end -= (l.size-blankSize)%UnitSize + blankSize
	}
	if end-UnitSize < l.Min() {
		return Unit{}, false
	}
	return l.Read(end - UnitSize)
}

// Sync returns when what was written of [from, to) is on the disk.
func (l *Log) Sync(from, to int64) error {
	for _, f := range l.row.Files() {
		if f.End() > from && f.Start() < to {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Prepare makes the file behind the one that holds the position end, if that is half full.
func (l *Log) Prepare(end int64) error {
	if f := l.row.Find(end); f != nil && end-f.Start() > l.size/2 {
		return l.row.Prepare(f.End())
	}
	return nil
}

// Drop removes the first files whose last unit is of a record before physical, which is gone; the last file stays. Source:
// Java MappedFileQueue.deleteExpiredFileByOffsetForTimerLog.
func (l *Log) Drop(physical int64) error {
	last := l.size - (l.size-blankSize)%UnitSize - blankSize - UnitSize
	for files := l.row.Files(); len(files) > 1; files = l.row.Files() {
		var b [UnitSize]byte
		if err := l.row.ReadDisk(b[:], files[0].Start()+last); err != nil {
			return err
		}
		if u, ok := ParseUnit(b[:]); !ok || u.Physical >= physical {
			return nil
		}
		if err := l.row.DropBefore(files[0].End()); err != nil {
			return err
		}
	}
	return nil
}

// Reset removes all files; the log goes on behind them.
func (l *Log) Reset() error {
	l.buf = nil
	if rest := l.end % l.size; rest != 0 {
		l.end += l.size - rest
	}
	return l.row.DropFrom(0)
}

// Close writes what was appended and closes the files.
func (l *Log) Close() error { return errors.Join(l.Write(), l.row.Close()) }

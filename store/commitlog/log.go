// Package commitlog is the log that every message of a broker goes into: records one behind the other, never changed.
package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
)

// Errors of Append. In each case nothing of what was to be appended is in the log.
var (
	// ErrFenced: a write or a sync has failed, and nobody knows what is on the disk. It stays so until the log is
	// opened anew. Reading goes on.
	ErrFenced = errors.New("commit log is read-only after a disk error")
	// ErrDiskFull: there is no room for the next file. A later Append tries again.
	ErrDiskFull = errors.New("disk is full")
	// ErrTooLarge: a record, or records that belong together, do not fit into one file.
	ErrTooLarge = errors.New("record is larger than a commit log file")
)

// ErrNoRecord is returned by readers who ask for a record where none starts.
var ErrNoRecord = errors.New("no record there")

// Log is the commit log. Append may be called by one goroutine at a time, the rest from any.
//
// Its files have a fixed length and end with a blank, which says that the log goes on in the next file:
//
//	remaining int32 (bytes from here to the end of the file) | message.MagicBlank int32 | anything
//
// Source: Java CommitLog, END_FILE_MIN_BLANK_LENGTH.
type Log struct {
	row   *segment.Row
	fs    vfs.FS
	size  int64 // of a file
	props bool

	max     atomic.Int64 // end of what is written: where the next record goes
	flushed atomic.Int64 // end of what is on the disk
	fence   atomic.Pointer[error]
	syncing sync.Mutex              // held by Sync
	blank   [message.BlankSize]byte // scratch of Append
}

// SomeRoom is what must be free, bytes, on a disk that was full, before something small is tried again.
const SomeRoom = 1 << 20

// Run is a piece of an Append: whole records without a gap, all in one file.
type Run struct {
	Physical int64
	Data     []byte
}

// Config of a Log.
type Config struct {
	FS       vfs.FS
	Dirs     segment.Dirs // Full beside what is full anyhow: where a new file has no room
	FileSize int64        // bytes
	// Props: only records that end with a right property checksum are whole. Source: Java forceVerifyPropCRC.
	Props bool
}

// Open opens the files. The log may be read, and must be recovered (Scan, then Cut) before the first Append.
func Open(cfg Config) (*Log, error) {
	l := &Log{fs: cfg.FS, size: cfg.FileSize, props: cfg.Props}
	full := cfg.Dirs.Full
	cfg.Dirs.Full = func(dir string) bool {
		free, _, err := l.fs.Free(dir)
		return err != nil || free < l.newFile() || full != nil && full(dir)
	}
	row, err := segment.OpenRows(cfg.FS, cfg.Dirs, cfg.FileSize)
	if err != nil {
		return nil, fmt.Errorf("cannot open commit log: %w", err)
	}
	l.row = row
	if files := row.Files(); len(files) > 0 {
		l.max.Store(files[len(files)-1].End())
	}
	return l, nil
}

// Min is the position of the first byte that is still there, Max the one behind the last byte, Flushed the one
// behind the last byte that is known to be on the disk.
func (l *Log) Min() int64 {
	if files := l.row.Files(); len(files) > 0 {
		return files[0].Start()
	}
	return l.Max()
}
func (l *Log) Max() int64     { return l.max.Load() }
func (l *Log) Flushed() int64 { return l.flushed.Load() }

// Fenced is nil, or ErrFenced with its cause.
func (l *Log) Fenced() error {
	if err := l.fence.Load(); err != nil {
		return *err
	}
	return nil
}

// Fence makes the log read-only for good. The first cause stays.
func (l *Log) Fence(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFenced, cause)
	l.fence.CompareAndSwap(nil, &err)
	return l.Fenced()
}

// Place returns where n bytes that must stay together go when the log ends at end: there, or at the start of the
// next file. Source: Java, "n + 8 > remaining".
func (l *Log) Place(end, n int64) int64 {
	if next := end - end%l.size + l.size; end+n+message.BlankSize > next {
		return next
	}
	return end
}

// Fits tells whether n bytes that must stay together can be placed at all.
func (l *Log) Fits(n int64) bool { return n+message.BlankSize <= l.size }

// Append writes runs whose positions follow from Place, one after the other from Max on: one write for each file
// touched, and a blank where a file is left. After an error nothing of them is in the log.
func (l *Log) Append(runs []Run) error {
	if err := l.Fenced(); err != nil {
		return err
	}
	// All files first: a disk that is full shows here, before anything is written.
	for i := range runs {
		if l.row.Find(runs[i].Physical) != nil {
			continue
		}
		if err := l.add(runs[i].Physical - runs[i].Physical%l.size); err != nil {
			if errors.Is(err, ErrDiskFull) {
				return err
			}
			return l.Fence(err)
		}
	}
	start := l.Max()
	end := start
	for i := range runs {
		err := l.leave(end, runs[i].Physical)
		if err == nil {
			end = runs[i].Physical + int64(len(runs[i].Data))
			err = l.row.Find(runs[i].Physical).WriteAt(runs[i].Data, runs[i].Physical)
		}
		if err != nil {
			return l.undo(start, end, err)
		}
	}
	l.max.Store(end)
	return nil
}

// add makes the file at start the last one. With it, an eighth of its size must be free, for the queues of what it
// will hold, unless the space is reserved already.
func (l *Log) add(start int64) error {
	err := l.row.AddPrepared(start)
	if !errors.Is(err, segment.ErrGone) {
		return err
	}
	free, err := l.free(start)
	if err == nil && free < l.newFile() {
		return fmt.Errorf("%w: the next commit log file needs %d bytes, %d are free", ErrDiskFull, l.newFile(), free)
	}
	if err == nil {
		_, err = l.row.Add(start)
	}
	if vfs.IsFull(err) {
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// Dirs are the directories that new files go to.
func (l *Log) Dirs() []string { return l.row.Dirs() }

// Free is how many bytes may be written where the next file would go.
func (l *Log) Free() (int64, error) {
	files := l.row.Files()
	if len(files) == 0 {
		return l.free(0)
	}
	return l.free(files[len(files)-1].End())
}

func (l *Log) free(start int64) (int64, error) {
	free, _, err := l.fs.Free(l.row.Dir(start))
	return free, err
}

// newFile is what must be free for a new file.
func (l *Log) newFile() int64 { return l.size + l.size/8 }

// Needs returns how many bytes must be free on a disk that was full, before an Append of runs may try again.
func (l *Log) Needs(runs []Run) int64 {
	for i := range runs {
		if l.row.Find(runs[i].Physical) == nil {
			return l.newFile()
		}
	}
	return SomeRoom
}

// leave writes the blank at end if the next record does not go there.
func (l *Log) leave(end, next int64) error {
	f := l.row.Find(end)
	if end == next || f == nil || end == f.Start() {
		return nil
	}
	binary.BigEndian.PutUint32(l.blank[:], uint32(f.End()-end))
	blank := message.MagicBlank
	binary.BigEndian.PutUint32(l.blank[4:], uint32(blank))
	return f.WriteAt(l.blank[:], end)
}

// undo makes what a failed Append wrote unreadable. If that fails too, or if the disk is not just full, the log is
// fenced.
func (l *Log) undo(from, to int64, cause error) error {
	for _, f := range l.row.Files() {
		a, b := max(from, f.Start()), min(to+message.BlankSize, f.End())
		if a >= b {
			continue
		}
		if err := f.Zero(a, b); err != nil {
			return l.Fence(errors.Join(cause, err))
		}
	}
	if vfs.IsFull(cause) {
		return fmt.Errorf("%w: %w", ErrDiskFull, cause)
	}
	return l.Fence(cause)
}

// Sync brings everything up to Max onto the disk and returns how far that is. After an error the log is fenced.
func (l *Log) Sync() (int64, error) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.Fenced(); err != nil {
		return l.Flushed(), err
	}
	from, to := l.Flushed(), l.Max()
	for _, f := range l.row.Files() {
		if f.End() <= from || f.Start() >= to {
			continue
		}
		if err := f.Sync(); err != nil {
			return from, l.Fence(err)
		}
	}
	l.flushed.Store(to)
	return to, nil
}

// Writeback starts writing the bytes in [from, to) to the disk and promises nothing.
func (l *Log) Writeback(from, to int64) {
	for _, f := range l.row.Files() {
		f.Writeback(from, to)
	}
}

// Prepare creates the file behind the last one ahead of time, unless the last is still empty: it may be called later than it
// was asked for. A full disk is no error here: Append will tell.
func (l *Log) Prepare() error {
	files := l.row.Files()
	if len(files) == 0 || l.Max() <= files[len(files)-1].Start() {
		return nil
	}
	free, err := l.free(files[len(files)-1].End())
	if err != nil || free < l.newFile() {
		return err
	}
	if err = l.row.Prepare(files[len(files)-1].End()); vfs.IsFull(err) {
		return nil
	}
	return err
}

// Close closes the files. What was not synced is the system's to write.
func (l *Log) Close() error { return l.row.Close() }

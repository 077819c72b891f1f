// Package index finds messages by key: it keeps hash files of (topic, key) to positions in the commit log, as Java
// writes and reads them. One goroutine builds them behind the log; whoever appends only copies a few bytes for it.
//
// Nothing here is the only copy of anything: files that a crash left in doubt are dropped by Open and built again from
// the log by Run. In doubt is every file that was not full and on the disk when the store's checkpoint was last
// written (Safe). So a crash costs reading the log from the end of the last such file on, in the background; keys
// of that part are found when it is done. After Close nothing is in doubt.
package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// Log is what the index reads when it was not fed: at the start, after a crash, or when Put came too fast.
type Log interface {
	// MinPhysical and MaxPhysical are the ends of the log, bytes.
	MinPhysical() int64
	MaxPhysical() int64
	// Each calls fn for the records from the one at from on, in order, until fn returns false or the log ends; an error
	// says that it did not come so far. At from is a record, the blank behind the last record of a file, or the
	// end of the log. A record is valid until fn returns. All that was given to Put before the call is seen.
	Each(from int64, fn func(r *message.Record) bool) error
}

// Config of an Index. Dir and Source must be set.
type Config struct {
	Dir    string // storePathRootDir/index
	Source Log

	// Slots and Entries are the lengths of the two tables of a new file: maxHashSlotNum, default 5,000,000, and
	// maxIndexNum, default 20,000,000. Files on the disk keep theirs.
	Slots, Entries int32

	// Clean says that the store was closed in order. Else only files are believed that were full before SafeMs, which is
	// indexMsgTimestamp of the store's checkpoint, ms.
	Clean  bool
	SafeMs int64

	FS  vfs.FS       // default vfs.OS
	Log *slog.Logger // default slog.Default()
}

// ErrClosed is returned by Find after Close.
var ErrClosed = errors.New("index is closed")

// Times of the builder.
const (
	pace       = time.Millisecond // between two looks at what was put
	retryAfter = time.Second      // on a full disk
	closeLimit = 5 * time.Second  // for catching up in Close, as Java waits at its stop
)

// Index is the index files of a store. Put may be called by one goroutine at a time, Find, Safe and DeleteBefore from
// any.
type Index struct {
	cfg   Config
	shape shape

	files   atomic.Pointer[[]*file] // oldest first; the slice is never changed
	filesMu sync.Mutex              // held while files is replaced; guards:
	safe    Safe

	sealing sync.Mutex // held while full files are brought to the disk

	feed    feed
	due     chan struct{} // bell of the builder: something was put
	now     chan struct{} // the same, and somebody waits for it
	sealDue chan struct{} // bell of the sealer: a file is full

	gate  sync.Mutex         // held by Cut, and while Run begins; above builder; guards:
	pause context.CancelFunc // ends the loops of Run

	builder sync.Mutex // held by who is the builder: the loops of Run, Cut, or Close; guards:
	pos     int64      // in the log, behind the last record looked at
	from    int64      // records before this position are in the files
	have    int        // keys of the record at from that are in the files
	failed  error

	closed atomic.Bool
}

// Safe is a position in log and time up to which the index is on the disk for good.
type Safe struct {
	Ms       int64 // store time of the last message of a full file: indexMsgTimestamp of the checkpoint
	Physical int64 // its start in the log; from there on a crash makes Run read the log
}

// Open opens the files in cfg.Dir, which it creates if needed. It starts no goroutine. Files that cannot be right
// are put aside (renamed to NAME.damaged), with a warning, and built again; a file that is of no index at all is an
// error. Source: Java IndexService.load.
func Open(cfg Config) (*Index, error) {
	cfg.Slots = cmp.Or(cfg.Slots, 5_000_000)
	cfg.Entries = cmp.Or(cfg.Entries, 20_000_000)
	if cfg.FS == nil {
		cfg.FS = vfs.OS
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Dir == "" || cfg.Source == nil {
		return nil, errors.New("index: no directory or no log given")
	}
	sh := shape{cfg.Slots, cfg.Entries}
	if sh.slots < 1 || sh.entries < 2 || sh.size() > maxSize {
		return nil, fmt.Errorf("index: files of %d slots and %d entries are not possible", sh.slots, sh.entries)
	}
	x := &Index{
		cfg:     cfg,
		shape:   sh,
		due:     make(chan struct{}, 1),
		now:     make(chan struct{}, 1),
		sealDue: make(chan struct{}, 1),
	}
	files, err := x.load()
	if err == nil {
		err = x.resume(files)
	}
	if err != nil {
		for _, f := range files {
			err = errors.Join(err, f.release())
		}
		return nil, fmt.Errorf("cannot open index: %w", err)
	}
	x.files.Store(&files)
	return x, nil
}

// resume finds where the log is read on: at the last record of the newest file, of which some keys may be missing.
func (x *Index) resume(files []*file) error {
	for i, f := range files {
		if f.full() {
			x.safe = Safe{f.endMs.Load(), f.endPhysical.Load()}
		}
		if i == len(files)-1 {
			x.from = f.endPhysical.Load()
		}
	}
	for i := len(files) - 1; i >= 0; i-- {
		r := files[i].reader()
		for n := files[i].count.Load() - 1; n > 0; n-- {
			e, err := r.entry(n)
			if err != nil {
				return err
			}
			if e.physical != x.from {
				return nil
			}
			x.have++
		}
	}
	return nil
}

// Run builds the index until ctx ends: first of what the log has more than the files, then of what is Put. A full
// disk is waited for; any other failure to write ends Run with its error, and Find goes on with what there is.
func (x *Index) Run(ctx context.Context) error {
	var err error
	for err == nil && ctx.Err() == nil {
		err = x.run(ctx)
	}
	return err
}

// run is Run until the next Cut.
func (x *Index) run(ctx context.Context) error {
	ctx, done := x.own(ctx)
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	for name, loop := range map[string]func(context.Context) error{"index build": x.buildLoop, "index seal": x.sealLoop} {
		wg.Go(func() {
			pprof.Do(ctx, pprof.Labels("loop", name), func(ctx context.Context) {
				if err := loop(ctx); err != nil {
					failed <- err
					cancel()
				}
			})
		})
	}
	wg.Wait()
	x.feed.stop()
	select {
	case x.failed = <-failed:
	default:
	}
	return x.failed
}

// Close takes in what was put, brings everything to the disk and closes the files; the caller has ended Run and Put.
// It may be called again. After an error the store must count as not closed in order (abort stays).
func (x *Index) Close() error {
	if x.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	err := x.failed
	if err == nil {
		err = x.finish(ctx)
	}
	files := *x.files.Load()
	for _, f := range files {
		if err == nil && !f.sealed.Load() {
			err = f.seal()
		}
	}
	x.filesMu.Lock()
	x.files.Store(new([]*file))
	x.filesMu.Unlock()
	for _, f := range files {
		err = errors.Join(err, f.release())
	}
	return err
}

// Safe returns what the checkpoint may say when the log is on the disk up to flushed: a full file whose records could
// still be lost does not count.
func (x *Index) Safe(flushed int64) Safe {
	x.filesMu.Lock()
	defer x.filesMu.Unlock()
	for _, f := range *x.files.Load() {
		if !f.full() || !f.sealed.Load() || f.endPhysical.Load() >= flushed {
			break
		}
		if s := (Safe{f.endMs.Load(), f.endPhysical.Load()}); s.Physical >= x.safe.Physical {
			x.safe = s
		}
	}
	return x.safe
}

// DeleteBefore removes files all of whose records lie before min in the log; the newest file stays. Readers at work
// finish. Source: Java IndexService.deleteExpiredFile.
func (x *Index) DeleteBefore(min int64) error {
	x.filesMu.Lock()
	files := *x.files.Load()
	n := 0
	for n < len(files)-1 && files[n].endPhysical.Load() < min {
		n++
	}
	rest := files[n:]
	x.files.Store(&rest)
	x.filesMu.Unlock()
	if n == 0 {
		return nil
	}
	var errs []error
	for _, f := range files[:n] {
		errs = append(errs, x.cfg.FS.Remove(f.name), f.release())
	}
	return errors.Join(append(errs, x.cfg.FS.SyncDir(x.cfg.Dir))...)
}

// add makes a new file the newest.
func (x *Index) add(f *file) {
	x.filesMu.Lock()
	files := append(slices.Clip(*x.files.Load()), f)
	x.files.Store(&files)
	x.filesMu.Unlock()
}

// last returns the newest file, or nil.
func (x *Index) last() *file {
	if files := *x.files.Load(); len(files) > 0 {
		return files[len(files)-1]
	}
	return nil
}

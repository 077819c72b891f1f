package compaction

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"sync/atomic"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// unitSize is the length of a unit. One of them in each file is kept for the mark of the end.
const unitSize = consumequeue.BatchUnitSize

// place is where pairs of files lie, and how long they are.
type place struct {
	fs              vfs.FS
	logDir, unitDir string
	log, units      int64 // bytes of a file
}

// in is the place of the same pairs in a directory below.
func (pl place) in(sub string) place {
	pl.logDir, pl.unitDir = filepath.Join(pl.logDir, sub), filepath.Join(pl.unitDir, sub)
	return pl
}

// pair is a file of records and the file of their units, which has the same name.
type pair struct {
	start      int64 // position of the first byte of the log file
	log, units vfs.File
	end        atomic.Int64 // bytes of records
	count      atomic.Int64 // units
	first      atomic.Int64 // offset of the first message; if there is one
	last       atomic.Int64 // and of the last
	refs       atomic.Int64 // one of the log, one of each reader at work; 0 is closed
	dirty      atomic.Bool  // not all is on the disk
}

func (p *pair) acquire() bool {
	for {
		n := p.refs.Load()
		if n == 0 {
			return false
		}
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *pair) release() error {
	if p.refs.Add(-1) > 0 {
		return nil
	}
	return errors.Join(p.log.Close(), p.units.Close())
}

// sync brings both files to the disk.
func (p *pair) sync() error {
	if !p.dirty.Swap(false) {
		return nil
	}
	return errors.Join(p.log.Sync(), p.units.Sync())
}

// open opens the files of a pair, and makes those that are not there; they have holes where nothing is written.
func (pl place) open(start int64, flag int) (p *pair, err error) {
	p = &pair{start: start}
	p.refs.Store(1)
	p.dirty.Store(true)
	name := segment.Name(start)
	if p.log, err = pl.openFile(pl.logDir, name, pl.log, flag); err != nil {
		return nil, err
	}
	if p.units, err = pl.openFile(pl.unitDir, name, pl.units, flag); err != nil {
		return nil, errors.Join(err, p.log.Close())
	}
	return p, nil
}

func (pl place) openFile(dir, name string, size int64, flag int) (vfs.File, error) {
	f, err := pl.fs.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|flag, 0o644)
	if err != nil {
		return nil, err
	}
	have, err := f.Size()
	if err == nil && have < size {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// create makes the pair that starts at start, durably, empty.
func (pl place) create(start int64) (*pair, error) {
	for _, dir := range []string{pl.logDir, pl.unitDir} {
		if err := vfs.MakeDir(pl.fs, dir); err != nil {
			return nil, fmt.Errorf("cannot create %s: %w", dir, err)
		}
	}
	p, err := pl.open(start, os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("cannot create a file of a compaction log: %w", err)
	}
	if err := errors.Join(p.sync(), pl.fs.SyncDir(pl.logDir), pl.fs.SyncDir(pl.unitDir)); err != nil {
		return nil, errors.Join(err, p.release())
	}
	return p, nil
}

// remove removes the files of a pair; what is not there need not be removed.
func (pl place) remove(name string) error {
	return errors.Join(removeFile(pl.fs, filepath.Join(pl.logDir, name)), removeFile(pl.fs, filepath.Join(pl.unitDir, name)))
}

// readAt reads from a file; with cached what is not in memory is ErrWouldWait.
func readAt(f vfs.File, b []byte, off int64, cached bool) error {
	n, err := 0, error(nil)
	if cached {
		n, err = vfs.ReadCached(f, b, off)
	} else {
		n, err = f.ReadAt(b, off)
	}
	switch {
	case n == len(b):
		return nil
	case err == nil && cached:
		return vfs.ErrWouldWait
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// unit reads the unit of a number.
func (p *pair) unit(n int64, cached bool) (u consumequeue.Unit, err error) {
	var b [unitSize]byte
	if err = readAt(p.units, b[:], n*unitSize, cached); err == nil {
		u = consumequeue.ParseBatchUnit(b[:])
	}
	return u, err
}

// search finds the number of the first unit whose offset is at least from.
func (p *pair) search(from int64, cached bool) (int64, error) {
	if from <= p.first.Load() {
		return 0, nil
	}
	var failed error
	n := sort.Search(int(p.count.Load()), func(i int) bool {
		u, err := p.unit(int64(i), cached)
		if err != nil {
			failed = err
		}
		return u.Base >= from
	})
	return int64(n), failed
}

// record reads the whole record of a unit, and checks that it is that.
func (p *pair) record(u consumequeue.Unit, dst []byte, cached bool) error {
	if err := readAt(p.log, dst, u.Physical-p.start, cached); err != nil {
		return err
	}
	r, err := message.Decode(dst)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case r.Size != u.Size || r.Physical != u.Physical || r.QueueOffset != u.Base || !r.CheckCRC():
		return fmt.Errorf("%w: offset %d at %d", ErrDamaged, u.Base, u.Physical)
	}
	return nil
}

// sound tells whether a unit can be one of this pair.
func (pl place) sound(p *pair, u consumequeue.Unit) bool {
	return u.Size > 0 && u.Base >= 0 && u.Count > 0 && u.Physical >= p.start && u.Physical+int64(u.Size) <= p.start+pl.log
}

package compaction

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// damagedSuffix is what files get that cannot be part of the log.
const damagedSuffix = ".damaged"

// Open opens the log, or begins one; nothing is on the disk then until the first Append. A compaction that was interrupted
// is brought to an end. Units that do not agree with the records are built again from them. After a crash the last file loses
// what can be got again (Config.Again).
func Open(cfg Config) (*Log, error) {
	l := &Log{cfg: cfg, pl: place{fs: cfg.FS, logDir: cfg.LogDir, unitDir: cfg.UnitDir, log: cfg.FileSize, units: cfg.UnitFileSize}}
	l.pairs.Store(new([]*pair))
	if err := l.load(); err != nil {
		for _, p := range *l.pairs.Load() {
			err = errors.Join(err, p.release())
		}
		return nil, fmt.Errorf("cannot open compaction log %s/%d: %w", cfg.Topic, cfg.Queue, err)
	}
	return l, nil
}

func (l *Log) load() error {
	if err := l.pl.settle(); err != nil {
		return err
	}
	logs, err := names(l.cfg.FS, l.cfg.LogDir)
	if err != nil {
		return err
	}
	units, err := names(l.cfg.FS, l.cfg.UnitDir)
	if err != nil {
		return err
	}
	for _, name := range units {
		if !slices.Contains(logs, name) { // what it says of is not there
			if err := removeFile(l.cfg.FS, filepath.Join(l.cfg.UnitDir, name)); err != nil {
				return err
			}
		}
	}
	if l.pl.log, err = l.size(l.cfg.LogDir, logs, l.cfg.FileSize, 1); err != nil {
		return err
	}
	if l.pl.units, err = l.size(l.cfg.UnitDir, units, l.cfg.UnitFileSize, unitSize); err != nil {
		return err
	}
	for i, name := range logs {
		if err := l.loadPair(name, i == len(logs)-1); err != nil {
			return err
		}
	}
	l.follow(*l.pairs.Load())
	l.position = min(l.cfg.Position, l.Max()-1) // what comes again must be looked at again
	return nil
}

// size returns how long files are: as the longest one that anything was written to. One that is shorter is what a crash
// left of a create, and is made longer.
func (l *Log) size(dir string, files []string, want, unit int64) (size int64, err error) {
	for _, name := range files {
		info, err := l.cfg.FS.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it had no records
		}
		if err != nil {
			return 0, err
		}
		if used, err := begun(l.cfg.FS, filepath.Join(dir, name)); err != nil {
			return 0, err
		} else if used {
			size = max(size, info.Size())
		}
	}
	if size == 0 {
		return want, nil
	}
	for _, name := range files {
		start, _ := segment.ParseName(name)
		if size%unit != 0 || unit == 1 && start%size != 0 {
			return 0, &segment.ForeignError{Name: filepath.Join(dir, name), Problem: fmt.Sprintf("is no file of a compaction log with files of %d bytes", size),
				Remedy: "move the directory away, its messages are taken from the commit log then, as far as that goes"}
		}
	}
	return size, nil
}

// begun tells whether anything was written to a file.
func begun(f vfs.FS, name string) (bool, error) {
	file, err := f.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	var page [4096]byte
	_, err = file.ReadAt(page[:], 0)
	if err == io.EOF {
		err = nil
	}
	return page != [4096]byte{}, errors.Join(err, file.Close())
}

// loadPair opens a pair and adds it, if there is anything in it that may follow what is there.
func (l *Log) loadPair(name string, last bool) error {
	start, _ := segment.ParseName(name)
	if err := vfs.MakeDir(l.cfg.FS, l.cfg.UnitDir); err != nil {
		return err
	}
	p, err := l.pl.open(start, 0)
	if err != nil {
		return err
	}
	if l.cfg.Clean {
		p.dirty.Store(false)
	}
	used, err := begun(l.cfg.FS, filepath.Join(l.cfg.LogDir, name))
	if err == nil {
		err = l.examine(p, last && !l.cfg.Clean)
	}
	pairs := *l.pairs.Load()
	switch {
	case err != nil:
		return errors.Join(err, p.release())
	case p.count.Load() == 0 && used && (l.cfg.Clean || !last):
		l.cfg.Log.Error("file of a compaction log is put aside: it does not begin with a message", "file", filepath.Join(l.cfg.LogDir, name))
		return errors.Join(p.release(), l.putAside(name))
	case p.count.Load() == 0:
		l.cfg.Log.Info("file of a compaction log without messages removed", "file", filepath.Join(l.cfg.LogDir, name))
		return l.drop(p)
	case len(pairs) > 0 && pairs[len(pairs)-1].last.Load() >= p.first.Load():
		l.cfg.Log.Error("file of a compaction log is put aside: its messages do not follow those before it",
			"file", filepath.Join(l.cfg.LogDir, name), "offset", p.first.Load(), "before", pairs[len(pairs)-1].last.Load())
		return errors.Join(p.release(), l.putAside(name))
	}
	l.added(p)
	return nil
}

func (l *Log) putAside(name string) error {
	for _, dir := range []string{l.cfg.LogDir, l.cfg.UnitDir} {
		if err := l.cfg.FS.Rename(filepath.Join(dir, name), filepath.Join(dir, name+damagedSuffix)); err != nil {
			return err
		}
		if err := l.cfg.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// examine finds out how much is in a pair. Where its units agree with the records at both ends, they are believed, but not
// of one that may be torn.
func (l *Log) examine(p *pair, torn bool) error {
	if !torn {
		ok, err := l.believe(p)
		if ok || err != nil {
			return err
		}
	}
	return l.rebuild(p, torn)
}

// believe counts the units and looks at the first and the last of them.
func (l *Log) believe(p *pair) (bool, error) {
	var failed error
	n := int64(sort.Search(int(l.pl.units/unitSize), func(i int) bool {
		u, err := p.unit(int64(i), false)
		if err != nil {
			failed = err
		}
		return !l.pl.sound(p, u)
	}))
	if failed != nil || n == 0 {
		return false, failed
	}
	var ends [2]consumequeue.Unit
	for i, number := range []int64{0, n - 1} {
		u, err := p.unit(number, false)
		if err != nil {
			return false, err
		}
		err = p.record(u, make([]byte, u.Size), false)
		if errors.Is(err, ErrDamaged) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		ends[i] = u
	}
	end := ends[1].Physical + int64(ends[1].Size) - p.start
	more, err := l.next(&compacting{log: l}, p, end)
	if err != nil || more != nil || ends[1].Base-ends[0].Base < n-1 { // there are units missing
		return false, err
	}
	p.first.Store(ends[0].Base)
	p.last.Store(ends[1].Base)
	p.end.Store(end)
	p.count.Store(n)
	return true, nil
}

// rebuild reads the records of a pair and writes their units. One that may be torn ends before what can be got again, and
// what lies behind is made zero: there, a record may be whole but for a piece of its properties, which have no checksum.
func (l *Log) rebuild(p *pair, torn bool) error {
	t := make([]byte, 0, 64<<10)
	c := &compacting{log: l, p: nil}
	end, count, offset := int64(0), int64(0), int64(-1)
	for (count+2)*unitSize <= l.pl.units {
		r, err := l.next(c, p, end)
		if err != nil {
			return err
		}
		if r == nil || r.QueueOffset <= offset || torn && r.QueueOffset >= l.cfg.Again {
			break
		}
		if count == 0 {
			p.first.Store(r.QueueOffset)
		}
		var b [unitSize]byte
		consumequeue.PutBatchUnit(b[:], consumequeue.Unit{Physical: r.Physical, Size: r.Size, Tag: l.cfg.Tag(r), StoreMs: r.StoreMs, Base: r.QueueOffset, Count: 1})
		t = append(t, b[:]...)
		offset, end, count = r.QueueOffset, end+int64(r.Size), count+1
	}
	p.last.Store(offset)
	p.end.Store(end)
	p.count.Store(count)
	p.dirty.Store(true)
	if _, err := p.units.WriteAt(t, 0); err != nil {
		return err
	}
	err := zero(p.units, int64(len(t)), l.pl.units)
	if torn {
		err = errors.Join(err, zero(p.log, end, l.pl.log))
	}
	return errors.Join(err, p.sync())
}

// next returns the record at a place in a pair, or nil if there is none that belongs there.
func (l *Log) next(c *compacting, p *pair, at int64) (*message.Record, error) {
	if at+message.MinSize > l.pl.log {
		return nil, nil
	}
	if c.p != p || at < c.at || at+message.MinSize > c.at+int64(len(c.buf)) {
		if err := c.window(p, at, min(windowBytes, l.pl.log-at)); err != nil {
			return nil, err
		}
	}
	size, magic := message.PeekSize(c.buf[at-c.at:])
	if size < message.MinSize || at+int64(size) > l.pl.log || magic != message.MagicV1 && magic != message.MagicV2 {
		return nil, nil
	}
	if at+int64(size) > c.at+int64(len(c.buf)) {
		if err := c.window(p, at, max(min(windowBytes, l.pl.log-at), int64(size))); err != nil {
			return nil, err
		}
	}
	r, err := message.Decode(c.buf[at-c.at:])
	if err != nil || r.Physical != p.start+at || !r.CheckCRC() || string(r.Topic) != l.cfg.Topic || r.QueueID != l.cfg.Queue {
		return nil, nil
	}
	return &r, nil
}

// Package compaction keeps the messages of a queue of which only the last of each key is wanted: a log of its own beside the
// commit log, in Java's files, that stays when the commit log's files go.
//
// It gets copies of the records, in their order, and is compacted from time to time: of all files but the last one, the
// messages that stay are written to new files, which then take the place of the old ones at once (swap.go). Messages keep
// the offsets that they have in their queue, so that there are gaps between them.
//
// See docs/format/compaction.md.
package compaction

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/consumequeue"
)

// Errors. ErrDamaged says that something else lies where a record should be.
var (
	ErrDamaged  = errors.New("a record of the compaction log is damaged")
	ErrTooLarge = errors.New("message does not fit into a file of the compaction log")
	ErrClosed   = errors.New("compaction log is closed")
)

// Config of a Log. All but Log must be set.
type Config struct {
	LogDir  string // compaction/compactionLog/<topic>/<queue>
	UnitDir string // compaction/compactionCq/<topic>/<queue>
	Topic   string
	Queue   int32

	// FileSize and UnitFileSize are the lengths of new files, bytes, as Sizes makes them. A log that is there keeps its own.
	FileSize     int64
	UnitFileSize int64

	// Clean says that whoever wrote last has closed the files in order.
	Clean bool
	// Again is the offset from which on the messages can be appended again. What came before it was brought to the disk
	// (Sync) while that was still so.
	Again int64
	// Position is what Log.Position was, -1: unknown.
	Position int64
	// Tag gives the tag of the unit of a record whose unit is lost.
	Tag func(r *message.Record) int64

	FS  vfs.FS
	Log *slog.Logger
}

// Sizes returns how long files are for the settings compactionMappedFileSize and compactionCqMappedFileSize. Source: Java
// CompactionLog.getCompactionLogSize.
func Sizes(log, units int64) (fileSize, unitFileSize int64) {
	units = max(units/unitSize, 2) * unitSize
	n, rest := log/units, log%units
	switch {
	case n < 5:
		n = 5
	case rest == 0 || rest >= units/2:
		n++
	}
	return n * units, units
}

// Log is the compaction log of one queue. Its methods may be called from any goroutine.
type Log struct {
	cfg Config
	pl  place

	pairs atomic.Pointer[[]*pair] // ascending; the slice is never changed
	max   atomic.Int64            // offset behind the last message; 0: none

	work sync.Mutex // held by who compacts; above mu

	mu sync.Mutex // held while messages are added or taken off, and when pairs changes; guards:
	// position is the offset up to which keys were looked at: what lies before it is the last of its key as far as that goes.
	position int64
	tail     tail
	failed   error // the files are in doubt: nothing is written any more
	closed   bool
	cuts     atomic.Int64 // changes when messages were taken off: a compaction at work is for nothing then
}

// Max is the offset behind the last message, 0 without messages. Min is the offset of the first, or Max.
func (l *Log) Max() int64 { return l.max.Load() }
func (l *Log) Min() int64 {
	for _, p := range *l.pairs.Load() {
		if p.count.Load() > 0 {
			return p.first.Load()
		}
	}
	return l.Max()
}

// Position is the offset up to which compactions have looked at the keys, -1 before the first. It is kept beside the log;
// an older one, or none, costs looking again.
func (l *Log) Position() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position
}

// Bytes is the length of the records, and the position of the end of the last.
func (l *Log) Bytes() (bytes, end int64) {
	for _, p := range *l.pairs.Load() {
		bytes += p.end.Load()
		end = p.start + p.end.Load()
	}
	return bytes, end
}

// Append adds messages whose offsets ascend; those that are there are passed over. When the disk is full,
// the same may be tried again; after another error of the disk nothing is written any more.
func (l *Log) Append(ms []Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	for _, m := range ms {
		if m.Offset < l.max.Load() {
			continue
		}
		switch err := l.tail.add(m); {
		case errors.Is(err, ErrTooLarge):
			l.cfg.Log.Error("message left out of the compaction log", "topic", l.cfg.Topic, "queue", l.cfg.Queue, "offset", m.Offset, "err", err)
		case err != nil:
			return l.broken(err)
		}
	}
	if err := l.tail.flush(); err != nil {
		return l.broken(err)
	}
	l.seen()
	return nil
}

// seen moves max to the end of what is written. l.mu is held.
func (l *Log) seen() {
	end := int64(0)
	for _, p := range *l.pairs.Load() {
		if p.count.Load() > 0 {
			end = p.last.Load() + 1
		}
	}
	l.max.Store(end)
}

// broken keeps an error after which nobody knows what is on the disk; only a full one can be waited for. What was written
// before it counts. l.mu is held.
func (l *Log) broken(err error) error {
	l.tail.log, l.tail.units = l.tail.log[:0], l.tail.units[:0]
	l.seen()
	if !vfs.IsFull(err) {
		l.failed = err
	}
	return err
}

func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// Sync brings what was appended to the disk.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	for _, p := range *l.pairs.Load() {
		if err := p.sync(); err != nil {
			l.failed = err
			return err
		}
	}
	return nil
}

// added makes a pair the last one. l.mu is held.
func (l *Log) added(p *pair) {
	pairs := append(slices.Clip(*l.pairs.Load()), p)
	l.pairs.Store(&pairs)
}

// Cut takes off the messages from an offset on, durably.
func (l *Log) Cut(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil || offset >= l.max.Load() {
		return err
	}
	l.cuts.Add(1)
	if err := l.cut(offset); err != nil {
		l.failed = err
		return err
	}
	return nil
}

func (l *Log) cut(offset int64) error {
	pairs := *l.pairs.Load()
	for i := len(pairs) - 1; i >= 0; i-- {
		p := pairs[i]
		if p.count.Load() > 0 && p.first.Load() < offset {
			break
		}
		rest := pairs[:i:i]
		l.pairs.Store(&rest)
		if err := l.drop(p); err != nil {
			return err
		}
		pairs = rest
	}
	l.follow(pairs)
	l.position = min(l.position, offset-1)
	if l.tail.p == nil {
		return nil
	}
	p := l.tail.p
	n, err := p.search(offset, false)
	if err == nil && n < p.count.Load() {
		err = l.pl.shorten(p, n)
	}
	l.seen()
	return err
}

// drop removes a pair durably, one at a time: not every file system keeps the order of removals.
func (l *Log) drop(p *pair) error {
	return errors.Join(l.pl.remove(nameOf(p)), p.release(), l.pl.fs.SyncDir(l.pl.logDir), l.pl.fs.SyncDir(l.pl.unitDir))
}

// follow has the tail write behind the last pair. l.mu is held.
func (l *Log) follow(pairs []*pair) {
	l.tail = tail{pl: l.pl, made: l.added, log: l.tail.log[:0], units: l.tail.units[:0]}
	if n := len(pairs); n > 0 {
		l.tail.p, l.tail.next = pairs[n-1], pairs[n-1].start+l.pl.log
	}
	l.seen()
}

// shorten makes n the number of units of a pair, and what lies behind them zero, durably.
func (pl place) shorten(p *pair, n int64) error {
	end := int64(0)
	if n > 0 {
		u, err := p.unit(n-1, false)
		if err != nil {
			return err
		}
		end = u.Physical + int64(u.Size) - p.start
		p.last.Store(u.Base)
	}
	p.count.Store(n)
	p.end.Store(end)
	p.dirty.Store(true)
	return errors.Join(zero(p.units, n*unitSize, pl.units), zero(p.log, end, pl.log), p.sync())
}

// zero makes the bytes in [from, to) zero.
func zero(f vfs.File, from, to int64) error {
	if from >= to {
		return nil
	}
	return f.Zero(from, to-from)
}

// Close brings everything to the disk and closes the files; a compaction at work is given up. It may be called again.
func (l *Log) Close() error {
	l.cuts.Add(1)
	l.work.Lock()
	defer l.work.Unlock()
	err := l.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for _, p := range *l.pairs.Load() {
		err = errors.Join(err, p.release())
	}
	l.pairs.Store(new([]*pair))
	return err
}

// Delete closes the log and removes its directories.
func (l *Log) Delete() error {
	_ = l.Close()
	return errors.Join(removeTree(l.cfg.FS, l.cfg.LogDir), removeTree(l.cfg.FS, l.cfg.UnitDir))
}

// Entry is a message as Each shows it.
type Entry struct {
	consumequeue.Unit
	p      *pair
	cached bool
}

// Read reads the record, of Size bytes, into dst.
func (e Entry) Read(dst []byte) error { return e.p.record(e.Unit, dst, e.cached) }

// Each calls fn for the messages from an offset on, in order, until it returns false. The entry is valid until fn returns.
// With cached nothing is waited for: what is not in memory is vfs.ErrWouldWait.
func (l *Log) Each(from int64, cached bool, fn func(e Entry) bool) error {
	for from < l.Max() {
		p := l.find(from)
		if p == nil {
			return nil
		}
		last, more, err := p.each(from, cached, fn)
		if e := p.release(); err == nil {
			err = e
		}
		if err != nil || !more {
			return err
		}
		from = max(from, last+1)
	}
	return nil
}

// find returns the pair of the first message from an offset on, with a reference.
func (l *Log) find(from int64) *pair {
	for {
		pairs := *l.pairs.Load()
		i, _ := slices.BinarySearchFunc(pairs, from, func(p *pair, from int64) int {
			if p.count.Load() == 0 || p.last.Load() >= from {
				return 1
			}
			return -1
		})
		if i == len(pairs) || pairs[i].count.Load() == 0 {
			return nil
		}
		if pairs[i].acquire() {
			return pairs[i]
		}
	}
}

// each is Each in one pair; last is the offset of the last message of it.
func (p *pair) each(from int64, cached bool, fn func(e Entry) bool) (last int64, more bool, err error) {
	count := p.count.Load()
	n, err := p.search(from, cached)
	var buf [32 * unitSize]byte
	for last = from; err == nil && n < count; {
		b := buf[:min(count-n, 32)*unitSize]
		if err = readAt(p.units, b, n*unitSize, cached); err != nil {
			break
		}
		for ; len(b) > 0; b = b[unitSize:] {
			u := consumequeue.ParseBatchUnit(b)
			if u.Size <= 0 { // taken off meanwhile
				return last, false, nil
			}
			if last = u.Base; !fn(Entry{u, p, cached}) {
				return last, false, nil
			}
			n++
		}
	}
	return last, true, err
}

package compaction

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// Verify reads the files of a log without changing them, calls found for what is wrong, and returns how many messages there
// are. Of cfg it needs the directories, Topic, Queue and FS. An error says that it could not read on.
func Verify(cfg Config, found func(file, problem string)) (messages int64, err error) {
	logs, err := names(cfg.FS, cfg.LogDir)
	if err != nil {
		return 0, err
	}
	units, err := names(cfg.FS, cfg.UnitDir)
	if err != nil {
		return 0, err
	}
	for _, name := range units {
		if !slices.Contains(logs, name) {
			found(filepath.Join(cfg.UnitDir, name), "there are no records to these units")
		}
	}
	last := int64(-1)
	for _, name := range logs {
		if !slices.Contains(units, name) {
			found(filepath.Join(cfg.LogDir, name), "there are no units to these records")
			continue
		}
		n, err := verifyPair(cfg, name, &last, found)
		if messages += n; err != nil {
			return messages, err
		}
	}
	return messages, nil
}

// verifyPair reads a pair, whose offsets follow last.
func verifyPair(cfg Config, name string, last *int64, found func(file, problem string)) (n int64, err error) {
	logName, unitName := filepath.Join(cfg.LogDir, name), filepath.Join(cfg.UnitDir, name)
	p := new(pair)
	p.start, _ = segment.ParseName(name)
	if p.log, err = cfg.FS.OpenFile(logName, os.O_RDONLY, 0); err != nil {
		return 0, err
	}
	defer p.log.Close()
	if p.units, err = cfg.FS.OpenFile(unitName, os.O_RDONLY, 0); err != nil {
		return 0, err
	}
	defer p.units.Close()
	pl := place{}
	if pl.log, err = p.log.Size(); err != nil {
		return 0, err
	}
	for ; ; n++ {
		u, err := p.unit(n, false)
		if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && u == (consumequeue.Unit{}) || err == nil && u.Physical == -1 {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if !pl.sound(p, u) {
			found(unitName, fmt.Sprintf("unit %d is none of this log", n))
			return n, nil
		}
		rec := make([]byte, u.Size)
		if err := p.record(u, rec, false); errors.Is(err, ErrDamaged) {
			found(logName, err.Error())
			continue
		} else if err != nil {
			return n, err
		}
		if r, err := message.Decode(rec); err != nil || string(r.Topic) != cfg.Topic || r.QueueID != cfg.Queue {
			found(logName, fmt.Sprintf("the record at %d is of another queue", u.Physical))
		}
		if u.Base <= *last {
			found(unitName, fmt.Sprintf("offset %d comes behind %d", u.Base, *last))
		}
		*last = max(*last, u.Base)
	}
}

// Unfinished tells whether a compaction was interrupted: the next Open ends it.
func Unfinished(f vfs.FS, logDir string) (bool, error) {
	waiting, err := names(f, filepath.Join(logDir, compactingDir))
	if err != nil || len(waiting) > 0 {
		return true, err
	}
	old, err := place{fs: f}.suffixed(logDir)
	return len(old) > 0, err
}

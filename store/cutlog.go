package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/commitlog"
)

// divergedDir holds what CutLog has taken off, one file each time: <position>-<ms>, the bytes of the log from there on.
const divergedDir = "rocketd-diverged"

// copyBytes is how much of it is copied at once.
const copyBytes = 1 << 20

// CutLog takes everything at physical and behind it off the log, the queues and the index, durably: none of it comes
// back. A record must start there, or a file, or be the end. The bytes are kept in a file of rocketd-diverged first, whose
// name is logged. After an error nothing has changed, or the store is fenced, and the next Open finds the log cut or not.
func (s *Store) CutLog(physical int64) error {
	s.rep.mu.Lock()
	defer s.rep.mu.Unlock()
	end := s.log.Max()
	if physical == end {
		return nil
	}
	if physical < s.log.Min() || physical > end {
		return fmt.Errorf("cannot cut the log: %w at %d", ErrGone, physical)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	last, err := s.lastBefore(physical)
	if err != nil {
		return fmt.Errorf("cannot cut the log: %w", err)
	}
	name, err := s.keepDiverged(physical, end)
	if err != nil {
		return fmt.Errorf("cannot keep what is to be cut off the log: %w", err)
	}
	s.cfg.Log.Warn("the end of the log is not the master's and is cut off", "physical", physical, "bytes", end-physical, "kept", name)
	return s.endLog(physical, last, func() error { return s.log.Cut(physical, physical, true) })
}

// RestartLog drops the whole log, which ends before the other one begins, and goes on at physical, the start of a file.
// Queues keep their numbers. Errors are as those of CutLog. Nothing is kept: what goes is older than all that the master
// still has, so that the rules of its disk have removed its own messages of that time too; and it may be as large as the disk.
func (s *Store) RestartLog(physical int64) error {
	s.rep.mu.Lock()
	defer s.rep.mu.Unlock()
	if physical%s.cfg.FileSize != 0 || physical < s.log.Max() && s.log.Max() > s.log.Min() {
		return fmt.Errorf("%w: the log ends at %d and cannot go on at %d in a file of %d bytes", ErrForeignLog, s.log.Max(), physical, s.cfg.FileSize)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.log.Max() > s.log.Min() {
		s.cfg.Log.Warn("the log is older than all that the master still has and is dropped", "from", s.log.Min(), "physical", s.log.Max(), "master", physical)
	}
	if _, err := s.sync(); err != nil { // only what is on the disk is copied
		return err
	}
	if err := s.keepCompacted(); err != nil {
		return err
	}
	drop := func() error { // what told the numbers of the queues goes
		for _, set := range s.sets() {
			if err := set.Sync(); err != nil {
				return err
			}
		}
		return s.log.Restart(physical)
	}
	return s.endLog(physical, commitlog.End{Last: -1}, drop)
}

// lastBefore finds the last record before a position, where one must end, or a blank. s.writing is held.
func (s *Store) lastBefore(physical int64) (commitlog.End, error) {
	from := s.log.Min()
	if from == physical {
		return commitlog.End{Last: -1}, nil
	}
	for _, topic := range s.Topics() {
		for _, q := range s.Queues(topic) {
			u, ok, err := s.set(q).Before(q, physical)
			if err != nil {
				return commitlog.End{}, err
			}
			if ok {
				from = max(from, u.Physical)
			}
		}
	}
	end, err := s.log.Walk(from, commitlog.Visit{Record: func(*message.Record) error { return nil }, Until: physical})
	if err == nil && end.Physical != physical {
		err = fmt.Errorf("%w: no record starts at %d", commitlog.ErrNoRecord, physical)
	}
	return end, err
}

// keepDiverged copies a piece of the log into a file of its own, durably.
func (s *Store) keepDiverged(from, to int64) (name string, err error) {
	dir := s.path(divergedDir)
	if err := vfs.MakeDir(s.cfg.FS, dir); err != nil {
		return "", err
	}
	name = filepath.Join(dir, strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(s.cfg.Now().UnixMilli(), 10))
	file, err := s.cfg.FS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", err
	}
	buf := make([]byte, min(copyBytes, to-from))
	for at := from; at < to && err == nil; {
		b := buf[:min(int64(len(buf)), to-at, s.log.FileEnd(at)-at)]
		if err = s.log.ReadDisk(b, at); err == nil {
			_, err = file.WriteAt(b, at-from)
		}
		at += int64(len(b))
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = s.cfg.FS.SyncDir(dir)
	}
	if err != nil {
		return "", errors.Join(err, s.cfg.FS.Remove(name))
	}
	return name, nil
}

// dropDiverged removes what keepDiverged has kept: what is as old as a file of the log may get, or, forced, everything. It
// returns how many files that were.
func (s *Store) dropDiverged(reserved time.Duration, forced bool) (removed int, err error) {
	dir := s.path(divergedDir)
	entries, err := s.cfg.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		_, ms, _ := strings.Cut(e.Name(), "-")
		at, foreign := strconv.ParseInt(ms, 10, 64)
		age := s.cfg.Now().Sub(time.UnixMilli(at))
		if foreign != nil || age < reserved && !forced {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if rm := s.cfg.FS.Remove(name); rm != nil {
			err = errors.Join(err, rm)
			continue
		}
		removed++
		s.cfg.Log.Info("an end of the log that was cut off is not kept any longer", "file", name, "age", age, "forced", forced)
	}
	return removed, err
}

// endLog makes physical the end of the log, by way of drop, and has queues and index follow. last is what will be the last
// record. First the checkpoint lets go of what will be gone: a crash in the midst of the rest leaves a longer log, or
// queues that say more than it has, and recovery takes that off. s.writing is held.
func (s *Store) endLog(physical int64, last commitlog.End, drop func() error) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	if err := s.log.Fenced(); err != nil {
		return err
	}
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.writeDirty(); err != nil { // cut reads them from the files
		return s.queuesFailed(err)
	}
	if s.compact.logs.Load() != nil { // a start that finds no file of a queue has it go on where its compaction log ends
		if err := s.queues.Sync(); err != nil {
			return s.queuesFailed(err)
		}
	}
	if _, err := s.log.Sync(); err != nil { // what stays is taken to be on the disk then
		return err
	}
	c := s.check
	if c.logicsPhysical >= physical || last.Last < 0 {
		c.logicsPhysical, c.logicsMs = max(last.Last, 0), last.LastMs
	}
	c.physicMs, c.flushed = min(c.physicMs, last.LastMs), min(c.flushed, physical)
	if last.Last < 0 { // files go, last first
		c.flushed = 0
	}
	c.cutting = 1
	c.confirmPhysical = min(s.confirmedNow(), physical)
	if err := c.write(s.cfg.FS, s.path("checkpoint")); err != nil {
		return s.log.Fence(err)
	}
	s.check = c
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts.Add(1)
	defer s.cuts.Add(1)
	err := drop()
	if err == nil {
		s.unconfirm(physical)
		s.last.Store(last.Last)
		s.lastMs.Store(last.LastMs)
		s.physicMs.Store(c.physicMs)
		s.synced = -1 // what is done to the queues now is not on the disk
		s.paced, s.prepareAt = physical, s.middle(physical)
		s.damages.cut(physical)
		err = s.cutQueues(physical)
	}
	if err == nil {
		err = s.cutCompacted()
	}
	if err == nil && s.cfg.Cut != nil {
		err = s.cfg.Cut(physical)
	}
	if err != nil {
		return s.log.Fence(fmt.Errorf("cannot cut the log at %d: %w", physical, err))
	}
	return nil
}

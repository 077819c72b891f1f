package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
)

// repair is one Repair at work. What it replaces it keeps in the directory asideDir, below the same names.
type repair struct {
	ctx      context.Context
	s        *Store
	v        *verifier
	asideDir string
	plan     *Plan
	indexMs  int64 // store time up to which full index files go; -1: the index was left as it is
}

// asidePrefix begins the name of the directory for what a repair replaces.
const asidePrefix = "repair-"

// Lock keeps brokers, Java's and ours, away from a store until the Closer is closed. The error of a store in use is a
// *vfs.LockedError.
func Lock(cfg Config) (io.Closer, error) {
	fsys := cfg.FS
	if fsys == nil {
		fsys = vfs.OS
	}
	if _, err := fsys.Stat(cfg.Dir); err != nil {
		return nil, err
	}
	return fsys.Lock(filepath.Join(cfg.Dir, "lock"))
}

// Repair does what the plan says, in place. The caller has called Lock before Open. It deletes nothing: what it replaces
// lies in the returned directory afterwards. If it does not come to its end, a start of the broker reads the whole
// log, and another Repair goes on.
func (p *Plan) Repair(ctx context.Context, now time.Time) (aside string, err error) {
	s := p.v.s
	fsys := s.cfg.FS
	r := &repair{ctx: ctx, s: s, v: p.v, plan: p, indexMs: -1, asideDir: s.path(asidePrefix + now.UTC().Format("20060102T150405.000"))}
	if err := fsys.MkdirAll(r.asideDir, 0o755); err != nil {
		return "", err
	}
	abort := s.path("abort")
	if !s.aborted {
		if err := vfs.WriteFile(fsys, abort, []byte("repair")); err != nil {
			return r.asideDir, err
		}
	}
	if err := r.writeCheckpoint(checkpoint{masterFlushed: p.v.check.masterFlushed, confirmPhysical: p.v.check.confirmPhysical}); err != nil {
		return r.asideDir, err
	}
	for _, a := range p.Actions {
		if a.act == nil {
			continue
		}
		if err := a.act(r); err != nil {
			return r.asideDir, fmt.Errorf("cannot %s %s: %w", a.Do, a.File, err)
		}
	}
	if !s.aborted {
		if err := fsys.Remove(abort); err != nil {
			return r.asideDir, err
		}
	}
	return r.asideDir, fsys.SyncDir(s.cfg.Dir)
}

// place is where something is kept aside, with its directory made.
func (r *repair) place(name string) (string, error) {
	rel := r.s.relative(name)
	if filepath.IsAbs(rel) {
		rel = filepath.Join("commitlog", filepath.Base(name))
	}
	to := filepath.Join(r.asideDir, rel)
	return to, r.s.cfg.FS.MkdirAll(filepath.Dir(to), 0o755)
}

// aside moves a file or directory.
func (r *repair) aside(name string) error {
	to, err := r.place(name)
	if err != nil {
		return err
	}
	fsys := r.s.cfg.FS
	if err := fsys.Rename(name, to); err != nil {
		return err
	}
	return errors.Join(fsys.SyncDir(filepath.Dir(name)), fsys.SyncDir(filepath.Dir(to)))
}

// keep copies the bytes [from, to) of a file, without the zeros at their end, to NAME.FROM.
func (r *repair) keep(name string, from, to int64) error {
	place, err := r.place(name)
	if err != nil {
		return err
	}
	fsys := r.s.cfg.FS
	src, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := fsys.OpenFile(fmt.Sprintf("%s.%d", place, from), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	err = copyRange(src, dst, from, to, -from)
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close(), fsys.SyncDir(filepath.Dir(place)))
}

// copyRange copies the bytes [from, to) that are not zero to the same places plus shift. Pages that cannot be read
// are left out.
func copyRange(src, dst vfs.File, from, to, shift int64) error {
	size, err := src.Size()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for to = min(to, size); from < to; {
		next, err := vfs.NextData(src, from)
		if err != nil || next >= to {
			return nil
		}
		from = max(from, next)
		b := buf[:min(int64(len(buf)), to-from)]
		if err := readFull(src, b, from); err != nil {
			if int64(len(buf)) > pageBytes {
				buf = buf[:pageBytes]
				continue
			}
			from += int64(len(b))
			continue
		}
		if notZero(b) >= 0 {
			if _, err := dst.WriteAt(b, from+shift); err != nil {
				return err
			}
		}
		from += int64(len(b))
	}
	return nil
}

// change opens a file, lets fn write and syncs it.
func (r *repair) change(name string, fn func(f vfs.File) error) error {
	f, err := r.s.cfg.FS.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = fn(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (r *repair) resize(name string, size int64) error {
	return r.change(name, func(f vfs.File) error { return f.Truncate(size) })
}

// cut makes the bytes [from, to) of a file zero.
func (r *repair) cut(name string, from, to int64) error {
	if err := r.keep(name, from, to); err != nil {
		return err
	}
	return r.change(name, func(f vfs.File) error { return f.Zero(from, to-from) })
}

// blank ends a file of the log at byte at, left bytes before its end.
func (r *repair) blank(name string, at, left int64) error {
	if err := r.keep(name, at, at+left); err != nil {
		return err
	}
	return r.change(name, func(f vfs.File) error { return writeBlank(f, at, left) })
}

func writeBlank(f vfs.File, at, left int64) error {
	magic := message.MagicBlank
	b := binary.BigEndian.AppendUint32(nil, uint32(left))
	_, err := f.WriteAt(binary.BigEndian.AppendUint32(b, uint32(magic)), at)
	return err
}

// newBlank makes a log file in which nothing is.
func (r *repair) newBlank(name string) error {
	fsys, size := r.s.cfg.FS, r.s.logSize
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = writeBlank(f, 0, size)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), fsys.SyncDir(filepath.Dir(name)))
}

// Records that take the place of damaged bytes.
const (
	fillTopic = "rmq_sys_rocketd_damaged"
	fillMost  = 1 << 20 // bytes of one
)

// fill puts rolled-back messages in the place of n damaged bytes: whoever reads the log passes over them, Java too. Their
// bodies are what is there.
func (r *repair) fill(name string, at, physical, n int64) error {
	if err := r.keep(name, at, at+n); err != nil {
		return err
	}
	return r.change(name, func(f vfs.File) error {
		for n > 0 {
			size := n
			if size > fillMost {
				size = min(fillMost, n-message.MinSize) // the last must be a record too
			}
			if _, err := f.WriteAt(r.filler(int(size), physical), at); err != nil {
				return err
			}
			at, physical, n = at+size, physical+size, n-size
		}
		return nil
	})
}

// filler is a rolled-back message whose record has a size.
func (r *repair) filler(size int, physical int64) []byte {
	topic := fillTopic[:min(len(fillTopic), size-message.MinSize)]
	d := message.Draft{Topic: []byte(topic), SysFlag: message.FlagRollback, Body: make([]byte, size-message.MinSize-len(topic))}
	rec := message.AppendRecord(nil, &d)
	message.Patch(rec, 0, physical, r.msBefore(physical))
	return rec
}

// msBefore is the store time of the last whole record before a position: time in the log must not go back.
func (r *repair) msBefore(physical int64) int64 {
	ms := r.v.report.Log.FirstMs
	for _, g := range r.v.gaps {
		if g.from <= physical && g.beforeMs > 0 {
			ms = g.beforeMs
		}
	}
	return ms
}

// header writes topic, queue id and offset of the record at byte at: see message.Record.
func (r *repair) header(name string, at int64, h header) error {
	if err := r.keep(name, at, at+h.topicAt+int64(len(h.topic))); err != nil {
		return err
	}
	return r.change(name, func(f vfs.File) error {
		be := binary.BigEndian
		_, err := f.WriteAt(be.AppendUint32(nil, uint32(h.id)), at+12)
		_, err2 := f.WriteAt(be.AppendUint64(nil, uint64(h.offset)), at+20)
		_, err3 := f.WriteAt([]byte(h.topic), at+h.topicAt)
		return errors.Join(err, err2, err3)
	})
}

// restore puts the backup of a configuration file in its place.
func (r *repair) restore(path string) error {
	fsys := r.s.cfg.FS
	data, err := vfs.ReadFile(fsys, path+".bak")
	if err != nil {
		return err
	}
	if err := r.aside(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := vfs.WriteFile(fsys, path+".tmp", data); err != nil {
		return err
	}
	return errors.Join(fsys.Rename(path+".tmp", path), fsys.SyncDir(filepath.Dir(path)))
}

// checkpoint says how far everything is on the disk, which is everywhere.
func (r *repair) checkpoint() error {
	c, log := r.v.check, &r.v.report.Log
	c.physicMs, c.logicsMs, c.logicsPhysical = log.LastMs, log.LastMs, max(log.lastStart, 0)
	c.indexMs = min(c.indexMs, log.LastMs)
	if r.indexMs >= 0 {
		c.indexMs = r.indexMs
	}
	c.confirmPhysical = min(c.confirmPhysical, log.End)
	return r.writeCheckpoint(c)
}

func (r *repair) writeCheckpoint(c checkpoint) error {
	fsys, name := r.s.cfg.FS, r.s.path("checkpoint")
	return errors.Join(vfs.WriteFile(fsys, name, c.bytes()), fsys.SyncDir(r.s.cfg.Dir))
}

func segmentName(start int64) string { return segment.Name(start) }

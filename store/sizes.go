package store

import (
	"errors"
	"io/fs"
	"path/filepath"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// FileSize is the length of the commit log's files, bytes: that of the files on the disk, whatever was set.
func (s *Store) FileSize() int64 { return s.cfg.FileSize }

// adoptSizes takes over the lengths of the files that are on the disk where others are set: they cannot change under an
// existing store. Files that do not agree with each other stop the start later, with their names.
func (s *Store) adoptSizes() error {
	size, name, err := segment.FileSize(s.cfg.FS, s.cfg.logConfig().Dirs, s.cfg.FileSize, soundLog)
	if err != nil {
		return err
	}
	if size >= message.MinSize+message.BlankSize {
		s.adopt("mappedFileSizeCommitLog", &s.cfg.FileSize, size, name)
	}
	for _, q := range []struct {
		setting, dir string
		size         *int64
		unit         int64
		sound        func(head, tail []byte) bool
	}{
		{"mappedFileSizeConsumeQueue", "consumequeue", &s.cfg.QueueFileSize, consumequeue.UnitSize, soundUnits},
		{"mapperFileSizeBatchConsumeQueue", "batchconsumequeue", &s.cfg.BatchFileSize, consumequeue.BatchUnitSize, soundUnits},
		{"mappedFileSizeConsumeQueueExt", "consumequeue_ext", &s.cfg.ExtFileSize, 1, soundExt},
	} {
		size, name, err := queueFileSize(s.cfg.FS, s.path(q.dir), *q.size, q.sound)
		if err != nil {
			return err
		}
		if size%q.unit == 0 && size > 0 {
			s.adopt(q.setting, q.size, size, name)
		}
	}
	return nil
}

func (s *Store) adopt(setting string, set *int64, found int64, name string) {
	if found == *set {
		return
	}
	s.cfg.Log.Warn("files on the disk have another length than is set: theirs is used", "setting", setting, "set", *set, "found", found, "file", name)
	*set = found
}

// queueFileSize returns the length that the files of all queues below dir have; want if one queue has it, if they do not
// agree, or if there are none. In a store that is set right it looks at one queue.
func queueFileSize(f vfs.FS, dir string, want int64, sound func(head, tail []byte) bool) (size int64, name string, err error) {
	size = want
	err = eachQueueDir(f, dir, func(dir string) error {
		n, file, err := segment.FileSize(f, segment.Dirs{Write: []string{dir}}, want, sound)
		if err != nil {
			return err
		}
		if n == want {
			has, err := hasFiles(f, dir)
			if has && err == nil {
				size = want
				return fs.SkipAll
			}
			return err
		}
		if name != "" && n != size { // they do not agree
			size = want
			return fs.SkipAll
		}
		size, name = n, file
		return nil
	})
	if errors.Is(err, fs.SkipAll) || errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if size == want {
		name = ""
	}
	return size, name, err
}

// eachQueueDir calls fn for every directory <dir>/<topic>/<queue>.
func eachQueueDir(f vfs.FS, dir string, fn func(dir string) error) error {
	topics, err := f.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, t := range topics {
		if !t.IsDir() {
			continue
		}
		queues, err := f.ReadDir(filepath.Join(dir, t.Name()))
		if err != nil {
			return err
		}
		for _, q := range queues {
			if !q.IsDir() {
				continue
			}
			if err := fn(filepath.Join(dir, t.Name(), q.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasFiles(f vfs.FS, dir string) (bool, error) {
	entries, err := f.ReadDir(dir)
	for _, e := range entries {
		if _, ok := segment.ParseName(e.Name()); ok {
			return true, err
		}
	}
	return false, err
}

// soundUnits and soundExt tell whether a queue file begins as one; its end may be anything, since such files fill up.
func soundUnits(head, _ []byte) bool { return consumequeue.SoundUnit(head) }
func soundExt(head, _ []byte) bool   { return consumequeue.SoundExt(head) }

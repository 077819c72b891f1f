package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"rocketd/segment"
)

// wheelSize is the length of Java's timer wheel: two slots of 32 bytes for each second of 7 days.
const wheelSize = 7 * 86400 * 2 * 32

// checkCarried looks at the files of Java's timers, which this store neither reads nor writes: where
// one is not as Java will want it, the log says so now. Nothing is done to them. See docs/format/carried-files.md.
func (s *Store) checkCarried() {
	report := func(name string, problem string) {
		s.cfg.Log.Warn("a file of the Java broker is not as it should be; it is kept as it is, but Java will not start with it",
			"file", name, "problem", problem)
	}
	for name, size := range map[string]int64{"timerwheel": wheelSize, "config/timercheck": checkpointSize} {
		info, err := s.cfg.FS.Stat(s.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			report(s.path(name), err.Error())
		case info.IsDir():
			report(s.path(name), "is a directory")
		case info.Size() != size && !(info.Size() == 0 && size == checkpointSize): // Java fills an empty timercheck
			report(s.path(name), fmt.Sprintf("has %d bytes, not %d", info.Size(), size))
		}
	}
	if _, err := s.cfg.FS.Stat(s.path("timerlog")); err == nil {
		s.checkRow(s.path("timerlog"), report)
	}
}

// checkRow looks whether the files of a directory have one length and no other is among them, and reports what is not so.
func (s *Store) checkRow(dir string, report func(name, problem string)) {
	entries, err := s.cfg.FS.ReadDir(dir)
	if err != nil {
		report(dir, err.Error())
		return
	}
	size := int64(-1)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		_, ok := segment.ParseName(e.Name())
		if !ok || e.IsDir() {
			report(name, "is no file of a row")
			continue
		}
		info, err := e.Info()
		switch {
		case err != nil:
			report(name, err.Error())
		case size < 0:
			size = info.Size()
		case info.Size() != size:
			report(name, fmt.Sprintf("has %d bytes, the files beside it have %d", info.Size(), size))
		}
	}
}

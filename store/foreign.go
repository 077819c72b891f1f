package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"rocketd/message"
	"rocketd/segment"
)

// ForeignError says that something is in a store's place that is not the store's, or no longer: Open touches nothing
// then.
type ForeignError = segment.ForeignError

func foreign(name, problem, remedy string) error {
	return &ForeignError{Name: name, Problem: problem, Remedy: remedy}
}

// checkPlaces looks whether what should be a file is one, and what should be a directory too.
func (s *Store) checkPlaces() error {
	for _, name := range []string{"abort", "checkpoint"} {
		if info, err := s.cfg.FS.Stat(s.path(name)); err == nil && info.IsDir() {
			return foreign(s.path(name), "is a directory where a file of the store belongs", "move it away")
		}
	}
	dirs := []string{s.path("consumequeue"), s.path("batchconsumequeue"), s.path("consumequeue_ext")}
	log := s.cfg.logConfig().Dirs
	for _, dir := range append(append(dirs, log.Write...), log.Read...) {
		if info, err := s.cfg.FS.Stat(strings.TrimSpace(dir)); err == nil && !info.IsDir() {
			return foreign(dir, "is a file where a directory of the store belongs", "move it away")
		}
	}
	return s.checkCheckpoint()
}

// lastMs is later than any time that a checkpoint can hold, ms.
const lastMs = 1 << 43

// checkCheckpoint refuses a checkpoint that is none. An empty one is what a crash leaves of a new store.
func (s *Store) checkCheckpoint() error {
	name := s.path("checkpoint")
	remedy := "move it away; the whole log is read then, and the queues are completed from it"
	info, err := s.cfg.FS.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() != checkpointSize {
		return foreign(name, fmt.Sprintf("has %d bytes, a checkpoint has %d", info.Size(), checkpointSize), remedy)
	}
	c, err := readCheckpoint(s.cfg.FS, name)
	if err != nil {
		return err
	}
	for _, ms := range []int64{c.physicMs, c.logicsMs, c.indexMs} {
		if ms < 0 || ms > lastMs {
			return foreign(name, fmt.Sprintf("is no checkpoint: it holds the time %d", ms), remedy)
		}
	}
	if c.logicsPhysical < -1 || c.logicsPhysical > 1<<60 {
		return foreign(name, fmt.Sprintf("is no checkpoint: it holds the position %d", c.logicsPhysical), remedy)
	}
	return nil
}

// checkLog refuses a log with a file that does not begin like one and holds no record at all: what lies behind the end
// of a log is made zero, and that is not for us to destroy.
func (s *Store) checkLog() error {
	name, head, err := s.log.Foreign()
	if err != nil || name == "" {
		return err
	}
	return foreign(name, fmt.Sprintf("holds no record of a commit log (it begins with %q)", head),
		"move it away, or bring the right one back from a copy; a later version than this one may have written it")
}

// explain adds what to do to an error of the system.
func explain(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: let the user who runs rocketd (id %d) read and write the whole directory", err, os.Getuid())
	}
	return err
}

// soundLog tells whether the two ends of a single file of the log are those of a whole file: it begins with a record, and
// ends with zeros or, if that fits exactly, with a blank.
func soundLog(head, tail []byte) bool {
	if len(head) < message.BlankSize || len(tail) < message.BlankSize {
		return false
	}
	_, magic := message.PeekSize(head)
	if magic != message.MagicV1 && magic != message.MagicV2 {
		return false
	}
	left, magic := message.PeekSize(tail[len(tail)-message.BlankSize:])
	return left == 0 && magic == 0 || left == message.BlankSize && magic == message.MagicBlank
}

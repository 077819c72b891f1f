package compaction

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// What may lie beside the files of a log. New files are written in compacting; Java's slaves fetch into replicating. Java
// gives files that are to go a suffix.
const (
	compactingDir  = "compacting"
	replicatingDir = "replicating"
	deleteSuffix   = ".delete"
)

// planName is the file in compacting that says that the new files there are whole and on the disk, and which ones they
// replace. From then on they count: whoever opens the log does what the plan says.
const planName = "rocketd-plan"

// plan is names of pairs: those of To, in compacting, take the place of those of From.
type plan struct {
	From []string `json:"from"`
	To   []string `json:"to"`
}

func nameOf(p *pair) string { return segment.Name(p.start) }

func namesOf(pairs []*pair) []string {
	names := make([]string, 0, len(pairs))
	for _, p := range pairs {
		names = append(names, nameOf(p))
	}
	return names
}

// commit writes the plan down, durably. The files that it names are on the disk.
func (pl place) commit(p plan) error {
	dir := filepath.Join(pl.logDir, compactingDir)
	if err := vfs.MakeDir(pl.fs, dir); err != nil {
		return err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, planName)
	if err := vfs.WriteFile(pl.fs, name+".tmp", data); err != nil {
		return err
	}
	if err := pl.fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	return pl.fs.SyncDir(dir)
}

// fulfil does what a plan says, or what is left of it: it may end anywhere and begin anew. The plan goes when all is durable.
func (pl place) fulfil(p plan) error {
	for _, dir := range []string{pl.logDir, pl.unitDir} {
		for _, name := range p.To {
			err := pl.fs.Rename(filepath.Join(dir, compactingDir, name), filepath.Join(dir, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		for _, name := range p.From {
			if !slices.Contains(p.To, name) {
				if err := removeFile(pl.fs, filepath.Join(dir, name)); err != nil {
					return err
				}
			}
		}
		if err := pl.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return pl.discard(compactingDir)
}

// discard removes what a compaction has written that is not to be, or is not needed any more. First the plan goes: without it,
// what is left counts for nothing; with it, what is missing would be taken for moved.
func (pl place) discard(sub string) error {
	dir := filepath.Join(pl.logDir, sub)
	err := pl.fs.Remove(filepath.Join(dir, planName))
	if err == nil {
		err = pl.fs.SyncDir(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(removeTree(pl.fs, filepath.Join(pl.logDir, sub)), removeTree(pl.fs, filepath.Join(pl.unitDir, sub)))
}

// settle brings an interrupted compaction to an end, ours or Java's. Java first gives the old files another name, then
// moves the new ones, and removes the old ones when all have arrived: until then the old ones count.
// Source: Java CompactionLog.replaceFiles.
func (pl place) settle() error {
	data, err := vfs.ReadFile(pl.fs, filepath.Join(pl.logDir, compactingDir, planName))
	if err == nil {
		var p plan
		if err := json.Unmarshal(data, &p); err != nil {
			return fmt.Errorf("cannot read the plan of a compaction in %s: %w", pl.logDir, err)
		}
		return pl.fulfil(p)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old, err := pl.suffixed(pl.logDir)
	if err != nil {
		return err
	}
	waiting, err := names(pl.fs, filepath.Join(pl.logDir, compactingDir))
	if err != nil {
		return err
	}
	for _, name := range old {
		if len(waiting) > 0 {
			err = pl.fs.Rename(filepath.Join(pl.logDir, name+deleteSuffix), filepath.Join(pl.logDir, name))
		} else {
			err = removeFile(pl.fs, filepath.Join(pl.logDir, name+deleteSuffix))
		}
		if err != nil {
			return err
		}
	}
	units, err := pl.suffixed(pl.unitDir)
	if err != nil {
		return err
	}
	for _, name := range units { // units are built again from the records
		if err := removeFile(pl.fs, filepath.Join(pl.unitDir, name+deleteSuffix)); err != nil {
			return err
		}
	}
	if len(old)+len(units) > 0 {
		if err := errors.Join(pl.fs.SyncDir(pl.logDir), pl.fs.SyncDir(pl.unitDir)); err != nil {
			return err
		}
	}
	return errors.Join(pl.discard(compactingDir), pl.discard(replicatingDir))
}

// suffixed lists the files that Java wanted to delete, without the suffix.
func (pl place) suffixed(dir string) (all []string, err error) {
	entries, err := pl.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), deleteSuffix)
		if _, named := segment.ParseName(name); ok && named && !e.IsDir() {
			all = append(all, name)
		}
	}
	return all, err
}

// names lists the files of a directory that have the names of segments, ascending.
func names(f vfs.FS, dir string) (all []string, err error) {
	entries, err := f.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if _, ok := segment.ParseName(e.Name()); ok && !e.IsDir() {
			all = append(all, e.Name())
		}
	}
	return all, err
}

// removeFile removes a file if it is there.
func removeFile(f vfs.FS, name string) error {
	if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeTree removes a directory and what is in it, durably, if it is there.
func removeTree(f vfs.FS, dir string) error {
	entries, err := f.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = removeTree(f, name)
		} else {
			err = removeFile(f, name)
		}
		if err != nil {
			return err
		}
	}
	if err := f.SyncDir(dir); err != nil {
		return err
	}
	if err := removeFile(f, dir); err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(dir))
}

// Package meta keeps what a broker knows about its topics and its subscription groups: the two tables, their data
// versions and their files topics.json and subscriptionGroup.json.
//
// A table is an immutable state behind an atomic pointer. Looking something up is one load and one map access, in
// any turn. Changing something makes a new state, writes it to the disk and only then shows it, so nobody acts on a
// topic that a crash would take away; that blocks, and belongs on the pool. Changes that wait for the disk at the
// same time share one write.
package meta

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
	"rocketd/protocol"
)

// Config of Topics and of Groups.
type Config struct {
	FS  vfs.FS
	Dir string // the config directory of the store
	Log *slog.Logger
	// Changed, when set, is told the names that were created, changed or deleted, after the fact and without locks
	// held. The broker registers with the name servers then.
	Changed func(names []string)
	// Light: every name that begins with %LMQ% is a topic with one queue, and a group, without being in a table (enableLmq).
	Light bool
}

// load reads a file of the folder, which need not be there, or its backup, which is warned of.
func (c *Config) load(path string, accept func(data []byte) error) error {
	_, fallback, err := durable.Read(c.FS, path, accept)
	if err != nil {
		return fmt.Errorf("cannot load %s: %w", filepath.Base(path), err)
	}
	if fallback != nil {
		c.Log.Warn("table loaded from backup", "file", path, "err", fallback)
	}
	return nil
}

// Table is what Topics and Groups have in common. C is the configuration of one entry; what the table hands out is
// shared and must not be changed.
type Table[C any] struct {
	cfg     Config
	path    string
	kind    kind[C]
	current atomic.Pointer[state[C]]

	writing sync.Mutex // whoever holds it makes the next state; taken before mu

	mu      sync.Mutex // guards what follows
	waiting []*change[C]
}

// kind is what Topics and Groups differ in.
type kind[C any] struct {
	file  string
	name  func(c *C) string
	equal func(a, b *C) bool
	// decode returns an error for what cannot be used; encode returns the value whose JSON is the file.
	decode func(data []byte) (*state[C], error)
	encode func(s *state[C]) any
}

// state is immutable once it is current.
type state[C any] struct {
	version   protocol.DataVersion
	configs   map[string]*C
	forbidden map[string]map[string]int32 // Groups only: bits by group and topic
}

// change is one wish. edit may look at next and change its maps, but not the values in them; it returns the names
// of what it changed. When it returns an error it has changed nothing.
type change[C any] struct {
	edit  func(next *state[C]) (names []string, err error)
	names []string
	err   error
	done  bool // guarded by Table.writing
	// version, if set, becomes the version of the table with this change; otherwise it goes on from the one before.
	version *protocol.DataVersion
}

func (t *Table[C]) open(cfg Config, k kind[C]) error {
	t.cfg, t.kind, t.path = cfg, k, filepath.Join(cfg.Dir, k.file)
	loaded := &state[C]{}
	err := cfg.load(t.path, func(data []byte) (err error) {
		loaded, err = k.decode(data)
		return err
	})
	if err != nil {
		return err
	}
	t.current.Store(&state[C]{loaded.version, clone(loaded.configs), clone(loaded.forbidden)})
	return nil
}

// Get returns the configuration of that name, or nil. It never blocks and allocates nothing.
func (t *Table[C]) Get(name []byte) *C {
	return t.current.Load().configs[string(name)]
}

// All returns all entries by name, and the version that they make together.
func (t *Table[C]) All() (map[string]*C, protocol.DataVersion) {
	s := t.current.Load()
	return s.configs, s.version
}

// Put creates or replaces entries and keeps the configurations, which may not be changed any more. It is durable
// when it returns; what the table has already costs nothing.
func (t *Table[C]) Put(configs ...*C) error {
	return t.apply(func(next *state[C]) (names []string, _ error) {
		for _, c := range configs {
			name := t.kind.name(c)
			if old := next.configs[name]; old == nil || !t.kind.equal(old, c) {
				next.configs[name] = c
				names = append(names, name)
			}
		}
		return names, nil
	})
}

// Update replaces an entry by what edit makes of it, with no other change in between. edit gets nil if there is
// none; it returns a new configuration of that name and leaves the old one as it is. Its error is returned.
func (t *Table[C]) Update(name string, edit func(old *C) (*C, error)) error {
	return t.update(name, false, edit)
}

// Renew is Update that gives the table its next version even if edit changes nothing: something changed that hangs on the entry
// and is kept elsewhere, and whoever has the table of the version before is to look again.
func (t *Table[C]) Renew(name string, edit func(old *C) (*C, error)) error {
	return t.update(name, true, edit)
}

func (t *Table[C]) update(name string, renew bool, edit func(old *C) (*C, error)) error {
	return t.apply(func(next *state[C]) ([]string, error) {
		old := next.configs[name]
		c, err := edit(old)
		if err != nil || old != nil && !renew && t.kind.equal(old, c) {
			return nil, err
		}
		next.configs[name] = c
		return []string{name}, nil
	})
}

// Ensure creates those entries that are not there yet and leaves the others alone.
func (t *Table[C]) Ensure(configs ...*C) error {
	missing := slices.DeleteFunc(slices.Clone(configs), func(c *C) bool {
		return t.Get([]byte(t.kind.name(c))) != nil
	})
	if len(missing) == 0 {
		return nil
	}
	return t.apply(func(next *state[C]) (names []string, _ error) {
		for _, c := range missing {
			if name := t.kind.name(c); next.configs[name] == nil {
				next.configs[name] = c
				names = append(names, name)
			}
		}
		return names, nil
	})
}

// Delete removes entries. Names that are not there are no error.
func (t *Table[C]) Delete(names ...string) error {
	return t.apply(func(next *state[C]) (gone []string, _ error) {
		for _, name := range names {
			_, known := next.configs[name]
			_, banned := next.forbidden[name]
			if known || banned {
				gone = append(gone, name)
			}
			delete(next.configs, name)
			delete(next.forbidden, name)
		}
		return gone, nil
	})
}

// Replace makes the table that of another broker: the same entries, the same version, durable when it returns. It keeps
// the configurations, which may not be changed any more. It returns the names of the entries that went, sorted. forbidden
// is for Groups only.
func (t *Table[C]) Replace(version protocol.DataVersion, configs map[string]*C, forbidden map[string]map[string]int32) (gone []string, err error) {
	err = t.do(&change[C]{version: &version, edit: func(next *state[C]) (names []string, _ error) {
		gone = nil
		for name := range next.configs {
			if configs[name] == nil {
				gone = append(gone, name)
			}
		}
		names = append(names, gone...)
		for name, c := range configs {
			if old := next.configs[name]; old == nil || !t.kind.equal(old, c) {
				names = append(names, name)
			}
		}
		next.configs, next.forbidden = clone(configs), clone(forbidden)
		return names, nil
	}})
	if err != nil {
		return nil, err
	}
	slices.Sort(gone)
	return gone, nil
}

// apply makes a change that continues the table's version.
func (t *Table[C]) apply(edit func(next *state[C]) (names []string, err error)) error {
	return t.do(&change[C]{edit: edit})
}

// do returns when the change is on the disk and to be seen, or with the error that prevented it.
func (t *Table[C]) do(c *change[C]) error {
	t.mu.Lock()
	t.waiting = append(t.waiting, c)
	t.mu.Unlock()

	t.writing.Lock()
	if !c.done {
		t.mu.Lock()
		batch := t.waiting
		t.waiting = nil
		t.mu.Unlock()
		t.commit(batch)
	}
	t.writing.Unlock()

	if c.err == nil && len(c.names) > 0 && t.cfg.Changed != nil {
		t.cfg.Changed(c.names)
	}
	return c.err
}

// commit makes one state of all changes of a batch. Those that fail by themselves do not hinder the others.
func (t *Table[C]) commit(batch []*change[C]) {
	old := t.current.Load()
	next := &state[C]{old.version, clone(old.configs), clone(old.forbidden)}
	dirty, further := false, false
	for _, c := range batch {
		c.names, c.err = c.edit(next)
		c.done = true
		switch {
		case c.version != nil:
			dirty, further = dirty || len(c.names) > 0 || *c.version != old.version, false
			next.version = *c.version
		case len(c.names) > 0:
			dirty, further = true, true
		}
	}
	if !dirty {
		return
	}
	if further {
		next.version.Next(time.Now())
	}
	if err := t.write(next); err != nil {
		for _, c := range batch { // also those that found done what another one of the batch did
			if c.err == nil {
				c.err = err
			}
		}
		return
	}
	t.current.Store(next)
}

// clone copies a map; unlike maps.Clone it makes an empty one of nil.
func clone[V any](m map[string]V) map[string]V {
	c := make(map[string]V, len(m)+1)
	maps.Copy(c, m)
	return c
}

func (t *Table[C]) write(next *state[C]) error {
	data, err := laxjson.MarshalIndent(t.kind.encode(next))
	if err != nil {
		return fmt.Errorf("cannot encode %q: %w", t.path, err)
	}
	return durable.Write(t.cfg.FS, t.path, data)
}

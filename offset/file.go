package offset

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// file is the content of consumerOffset.json, and of the answer that a slave synchronises from.
//
//	{"dataVersion":{…},"groupTopicMap":{"G":["T"]},"offsetTable":{"T@G":{0:5,1:7}}}
//
// With light groups it is lmqConsumerOffset.json and has "lmqOffsetTable":{"T@%LMQ%g":5} too. Source: Java
// ConsumerOffsetManager, LmqConsumerOffsetManager. groupTopicMap says nothing that offsetTable does not say; Java writes it and does not read it.
type file struct {
	DataVersion   protocol.DataVersion       `json:"dataVersion"`
	GroupTopicMap map[string][]string        `json:"groupTopicMap"`
	OffsetTable   map[string]map[int32]int64 `json:"offsetTable"`
	Light         *map[string]int64          `json:"lmqOffsetTable"`
}

// fileName is the file of a broker that has light groups, or that has none.
func fileName(light bool) string {
	if light {
		return "lmqConsumerOffset.json"
	}
	return "consumerOffset.json"
}

// Whole puts the offsets of light groups, which have queue 0 only, to the others. The arguments are not used afterwards.
func Whole(offsets All, light map[string]int64) All {
	if offsets == nil && len(light) > 0 {
		offsets = make(All)
	}
	for key, offset := range light {
		offsets[key] = map[int32]int64{0: offset}
	}
	return offsets
}

// Open loads the table. A missing file is an empty table; a broken one falls back to its backup. Where light groups were
// switched on or off since the last write, the file of the other setting is taken if this one's is missing.
func Open(cfg Config) (*Table, error) {
	t := newTable(cfg)
	for _, light := range []bool{cfg.Light, !cfg.Light} {
		path := filepath.Join(cfg.Dir, fileName(light))
		found, err := t.load(path)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if f, err := cfg.FS.Stat(path); err == nil {
			t.began = f.ModTime()
		}
		break
	}
	return t, nil
}

// Began is when the file was written that the table began with; zero if that is not known.
func (t *Table) Began() time.Time { return t.began }

// load reads a file, if it is there.
func (t *Table) load(path string) (found bool, _ error) {
	var f file
	data, fallback, err := durable.Read(t.cfg.FS, path, func(data []byte) error {
		f = file{}
		return laxjson.Unmarshal(data, &f)
	})
	if err != nil {
		return false, fmt.Errorf("cannot load consumer offsets: %w", err)
	}
	if fallback != nil {
		t.cfg.Log.Warn("consumer offsets loaded from backup", "err", fallback)
	}
	t.version = f.DataVersion
	all := All(f.OffsetTable)
	if f.Light != nil {
		all = Whole(all, *f.Light)
	}
	for key, offsets := range all {
		topic, group, ok := strings.Cut(key, "@")
		if !ok {
			t.cfg.Log.Warn("consumer offsets without a group ignored", "key", key)
			continue
		}
		t.shard([]byte(group)).create(group, topic).committed = offsets
	}
	return data != nil, nil
}

// Run writes the table down whenever it has changed, each Interval, until the context ends. A write that fails is
// logged and tried again.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(t.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := t.Persist(); err != nil {
				t.cfg.Log.Warn("consumer offsets not saved", "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Close writes the table down for the last time. It may be called twice.
func (t *Table) Close() error { return t.Persist() }

// Persist writes the table down if it has changed since the last time.
func (t *Table) Persist() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	changes := t.changes.Load() // whatever changes from here on may be in the file or not
	if changes == t.savedChanges() {
		return nil
	}
	data, err := laxjson.MarshalIndent(t.content())
	if err != nil {
		return err
	}
	if err := durable.Write(t.cfg.FS, t.path, data); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saved = changes
	return nil
}

func (t *Table) savedChanges() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.saved
}

// JSON returns the table as Java's brokers exchange it, compact.
func (t *Table) JSON() ([]byte, error) { return laxjson.Marshal(t.content()) }

// Version returns the data version: one step for each VersionStep changes.
func (t *Table) Version() protocol.DataVersion {
	changes := t.changes.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; changes-t.counted >= t.cfg.VersionStep; t.counted += t.cfg.VersionStep {
		t.version.Next(time.Now())
	}
	return t.version
}

func (t *Table) content() file {
	f := file{
		DataVersion:   t.Version(),
		GroupTopicMap: make(map[string][]string),
		OffsetTable:   make(map[string]map[int32]int64),
	}
	if t.cfg.Light {
		f.Light = &map[string]int64{}
	}
	t.each(func(group string, topics map[string]*queues) {
		if t.cfg.Light && topic.IsLMQ(group) {
			for name, q := range topics {
				if offset, ok := q.committed[0]; ok {
					(*f.Light)[name+"@"+group] = offset
				}
			}
			return
		}
		var names []string
		for name, q := range topics {
			if len(q.committed) > 0 {
				f.OffsetTable[name+"@"+group] = maps.Clone(q.committed)
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			slices.Sort(names)
			f.GroupTopicMap[group] = names
		}
	})
	return f
}

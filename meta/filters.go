package meta

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/filter"
	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
)

// Filters is consumerFilter.json: which groups choose the messages of a topic by their properties, since when, and until when.
// A Java broker that takes over the store reads it. Its methods may be called from any goroutine.
//
//	{"filterDataByTopic":{"T":{"groupFilterData":{"G":{"bornTime":…,"clientVersion":…,…}},"topic":"T"}}}
//
// A group that is gone is dead, and stays in the table for a while. The file is not copied to slaves. Source: Java
// ConsumerFilterManager.
type Filters struct {
	cfg    Config
	path   string
	bloom  filter.Bloom
	opened time.Time
	shown  atomic.Pointer[map[string][]*chooser] // by topic

	mu      sync.Mutex // guards what follows
	table   filterTable
	changed bool // since the last write
}

type filterTable struct {
	Topics map[string]*topicFilters `json:"filterDataByTopic"`
}

type topicFilters struct {
	Groups map[string]*FilterData `json:"groupFilterData"`
	Topic  string                 `json:"topic,omitempty"`
}

// FilterData is what a group wants of a topic. Times are in ms.
type FilterData struct {
	Bloom          *bloomData `json:"bloomFilterData"` // of an older Java broker that calculates bits; here it is kept as it is
	BornTime       int64      `json:"bornTime"`
	ClientVersion  int64      `json:"clientVersion"` // of the subscription
	ConsumerGroup  string     `json:"consumerGroup,omitempty"`
	Dead           bool       `json:"dead"`
	DeadTime       int64      `json:"deadTime"` // 0 while somebody of the group is connected
	Expression     string     `json:"expression,omitempty"`
	ExpressionType string     `json:"expressionType,omitempty"`
	Topic          string     `json:"topic,omitempty"`
}

type bloomData struct {
	BitNum int32   `json:"bitNum"`
	BitPos []int32 `json:"bitPos"`
}

// afterLoad is how long before a start the groups are taken to have died that were alive then.
const afterLoad = 30 * time.Second

// OpenFilters loads the table. A missing file is an empty table; a broken one falls back to its backup. Nobody is connected yet,
// so all groups are dead. bloom says which bits are whose.
func OpenFilters(cfg Config, bloom filter.Bloom, now time.Time) (*Filters, error) {
	f := &Filters{cfg: cfg, bloom: bloom, opened: now, path: filepath.Join(cfg.Dir, "consumerFilter.json")}
	err := cfg.load(f.path, func(data []byte) error {
		f.table = filterTable{}
		return laxjson.Unmarshal(data, &f.table)
	})
	if err != nil {
		return nil, err
	}
	if f.table.Topics == nil {
		f.table.Topics = make(map[string]*topicFilters)
	}
	for name, t := range f.table.Topics {
		if t == nil {
			delete(f.table.Topics, name)
			continue
		}
		for group, d := range t.Groups {
			if d == nil {
				delete(t.Groups, group)
			} else if d.DeadTime == 0 {
				d.die(now.Add(-afterLoad))
			}
		}
	}
	f.show()
	return f, nil
}

func (d *FilterData) die(now time.Time) {
	d.DeadTime = max(now.UnixMilli(), d.BornTime)
	d.Dead = true
}

// Follow makes the table that of the groups which are connected now: want has one entry for each of their topics that they filter
// by properties, of which Topic, ConsumerGroup, ExpressionType, Expression and ClientVersion count. A group that is not there any
// more is dead; one that has been for longer than keep goes.
func (f *Filters) Follow(now time.Time, want []FilterData, keep time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.show()
	type key struct{ topic, group string }
	alive := make(map[key]bool, len(want))
	for i := range want {
		w := &want[i]
		alive[key{w.Topic, w.ConsumerGroup}] = true
		f.register(now, w)
	}
	for name, t := range f.table.Topics {
		for group, d := range t.Groups {
			switch {
			case alive[key{name, group}]:
			case !d.Dead:
				d.die(now)
				f.changed = true
			case now.UnixMilli()-d.DeadTime >= keep.Milliseconds():
				delete(t.Groups, group)
				f.changed = true
			}
		}
		if len(t.Groups) == 0 {
			delete(f.table.Topics, name)
		}
	}
}

// register enters what a group wants: another expression is born now. An older version than the one that is known changes nothing.
func (f *Filters) register(now time.Time, w *FilterData) {
	t := f.table.Topics[w.Topic]
	if t == nil {
		t = &topicFilters{Topic: w.Topic}
		f.table.Topics[w.Topic] = t
	}
	if t.Groups == nil {
		t.Groups = make(map[string]*FilterData)
	}
	old := t.Groups[w.ConsumerGroup]
	switch {
	case old == nil, w.ClientVersion > old.ClientVersion && (w.Expression != old.Expression || w.ExpressionType != old.ExpressionType):
		t.Groups[w.ConsumerGroup] = &FilterData{Topic: w.Topic, ConsumerGroup: w.ConsumerGroup, Expression: w.Expression,
			ExpressionType: w.ExpressionType, ClientVersion: w.ClientVersion, BornTime: now.UnixMilli()}
	case w.ClientVersion > old.ClientVersion, w.ClientVersion == old.ClientVersion && old.Dead:
		old.ClientVersion, old.Dead, old.DeadTime = w.ClientVersion, false, 0
	default:
		return
	}
	f.changed = true
}

// Persist writes the table down if it has changed since the last time.
func (f *Filters) Persist() error {
	f.mu.Lock()
	defer f.mu.Unlock() // Follow may wait for the disk, which nobody but the one who persists calls
	if !f.changed {
		return nil
	}
	data, err := laxjson.MarshalIndent(&f.table)
	if err != nil {
		return err
	}
	if err := durable.Write(f.cfg.FS, f.path, data); err != nil {
		return err
	}
	f.changed = false
	return nil
}

package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// Stat is what a store holds, found without reading all of it.
type Stat struct {
	Dir      string      `json:"dir"`
	InUse    bool        `json:"abort"` // an abort file is there: in use, or not closed in order
	Log      LogStat     `json:"commitlog"`
	Parts    []Part      `json:"parts"`
	Topics   []TopicStat `json:"topics"`
	Features []string    `json:"features"` // what Java broker features have left here
	Signs    []string    `json:"signs"`    // of damage, as far as names, lengths and notes of earlier runs show it
}

// LogStat is the log's ends.
type LogStat struct {
	Min      int64 `json:"min"`
	Max      int64 `json:"max"` // behind the last whole record
	FileSize int64 `json:"fileSize"`
	Files    int   `json:"files"`
	FirstMs  int64 `json:"firstStoreMs"`
	LastMs   int64 `json:"lastStoreMs"`
}

// Part is a file or directory of a store.
type Part struct {
	Name  string `json:"name"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"` // as long as the files are
	Used  int64  `json:"used"`  // as much as they take on the disk
}

// TopicStat is the queues of a topic.
type TopicStat struct {
	Topic    string `json:"topic"`
	Queues   int    `json:"queues"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"queueBytes"` // used by its queues
}

// Stat looks at names, lengths and both ends of everything.
func (s *Store) Stat(ctx context.Context) (*Stat, error) {
	st := &Stat{Dir: s.cfg.Dir, InUse: s.aborted, Features: []string{}, Signs: []string{}, Topics: []TopicStat{}}
	st.Log = LogStat{Min: s.minPhysical(), FileSize: s.logSize, Files: len(s.log)}
	for _, f := range s.odd {
		if f.Level != Note {
			st.Signs = append(st.Signs, f.File+": "+f.Text)
		}
	}
	last, err := s.statQueues(ctx, st)
	if err != nil {
		return nil, err
	}
	if err := s.statLog(ctx, st, last); err != nil {
		return nil, err
	}
	return st, s.statParts(st)
}

// firstUnits is how many entries are read at once.
const firstUnits = pageBytes / consumequeue.UnitSize

// statQueues counts messages and returns the start of the last record that has an entry, -1 if none.
func (s *Store) statQueues(ctx context.Context, st *Stat) (last int64, err error) {
	last = -1
	v := verifier{s: s, report: &Report{}, unitsAtOnce: firstUnits}
	for _, f := range s.queues {
		if err := ctx.Err(); err != nil {
			return last, err
		}
		q := newQueue(f)
		// Good entries are in front, and most queues have no more than the first page of them.
		n := q.end() - q.first()
		if _, _, err = v.unit(q, q.first()); err != nil {
			return last, err
		}
		if n > firstUnits {
			if _, ok, err := v.unit(q, q.first()+firstUnits-1); err == nil && !ok {
				n = firstUnits
			}
		}
		i := int64(sort.Search(int(n), func(i int) bool {
			_, ok, e := v.unit(q, q.first()+int64(i))
			if e != nil && err == nil {
				err = e
			}
			return !ok
		}))
		if err != nil {
			return last, err
		}
		min := int64(sort.Search(int(i), func(k int) bool {
			u, _, _ := v.unit(q, q.first()+int64(k))
			return !u.Filler() && u.Physical >= s.minPhysical()
		}))
		count := i - min
		if i > min {
			u, _, _ := v.unit(q, q.first()+i-1)
			last = max(last, u.Physical)
			if q.batch {
				first, _, _ := v.unit(q, q.first()+min)
				count = u.base + int64(u.count) - first.base
			}
		}
		if n := len(st.Topics); n == 0 || st.Topics[n-1].Topic != f.topic {
			st.Topics = append(st.Topics, TopicStat{Topic: f.topic})
		}
		t := &st.Topics[len(st.Topics)-1]
		t.Queues++
		t.Messages += count
		t.Bytes += i * q.unitSize()
	}
	return last, nil
}

// statLog finds the ends of the log, reading on from the last record that is known.
func (s *Store) statLog(ctx context.Context, st *Stat, last int64) error {
	if len(s.log) == 0 {
		return nil
	}
	if ms, ok := s.storeMs(s.log[0].start); ok {
		st.Log.FirstMs = ms
	}
	if last < s.minPhysical() || last >= s.dataEnd {
		last = s.lastUsedFile()
	}
	c, err := s.scan(ctx, last, visit{
		record: func(r *message.Record, _ []byte) error { st.Log.LastMs = r.StoreMs; return nil },
		gap: func(g gap) {
			if !g.tail || g.reason != reasonZero {
				st.Signs = append(st.Signs, fmt.Sprintf("commit log at %d: %s", g.from, g.reason))
			}
		},
	})
	st.Log.Max = c.end
	return err
}

// lastUsedFile returns the start of the last file that begins with a record.
func (s *Store) lastUsedFile() int64 {
	for i := len(s.log) - 1; i > 0; i-- {
		if _, ok := s.storeMs(s.log[i].start); ok {
			return s.log[i].start
		}
	}
	return s.minPhysical()
}

// features are the parts that a store of Java's may have, beside those that every store has.
var features = []struct{ name, what string }{
	{"batchconsumequeue", "topics of inner batches"},
	{"consumequeue_ext", "ConsumeQueueExt (enableConsumeQueueExt)"},
	{"timerwheel", "timed messages"},
	{"timerlog", "timed messages"},
	{"compaction/compactionLog", "compaction topics"},
	{"kvStore", "POP in a key-value store (popConsumerKVServiceEnable)"},
	{"rocksdbstore", "RocksDB of Java 5.5"},
	{"config/rdb", "configuration in RocksDB (configManagerVersion=v2)"},
	{"config/topics", "configuration in RocksDB"},
	{"config/metadata", "configuration in RocksDB"},
	{"config/users", "users and access lists"},
	{"consumequeue_rocksdb", "queues in RocksDB"},
	{"tiered_index_file", "tiered storage"},
	{"epochFileCheckpoint", "controller mode"},
	{"brokerIdentity", "controller mode"},
}

func (s *Store) statParts(st *Stat) error {
	if s.rocks {
		st.Features = append(st.Features, "queues in RocksDB (storeType=defaultRocksDB)")
	}
	for _, f := range features {
		if _, err := s.cfg.FS.Stat(s.path(filepath.FromSlash(f.name))); err == nil {
			st.Features = append(st.Features, f.name+": "+f.what)
		}
	}
	entries, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		part := Part{Name: e.Name()}
		if err := s.measure(s.path(e.Name()), &part, st); err != nil {
			return err
		}
		st.Parts = append(st.Parts, part)
		if strings.HasPrefix(e.Name(), "dledger-") {
			st.Features = append(st.Features, e.Name()+": DLedger commit log")
		}
	}
	for _, dir := range s.cfg.CommitLogDirs {
		if rel := s.relative(dir); filepath.IsAbs(rel) {
			part := Part{Name: dir}
			if err := s.measure(dir, &part, st); err != nil {
				return err
			}
			st.Parts = append(st.Parts, part)
		}
	}
	return nil
}

// measure adds up what lies below a name.
func (s *Store) measure(name string, part *Part, st *Stat) error {
	info, err := s.cfg.FS.Stat(name)
	if errors.Is(err, fs.ErrNotExist) { // a live store
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		part.Files++
		part.Bytes += info.Size()
		part.Used += diskUse(info)
		if ext := filepath.Ext(name); ext == ".broken" || ext == ".damaged" {
			st.Signs = append(st.Signs, s.relative(name)+": was put aside as unusable")
		}
		if filepath.Base(name) == damageFile {
			st.Signs = append(st.Signs, damageFile+": the broker has found damage in the commit log")
		}
		return nil
	}
	entries, err := s.cfg.FS.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.measure(filepath.Join(name, e.Name()), part, st); err != nil {
			return err
		}
	}
	return nil
}

// damageFile is where store keeps what it knows of damage.
const damageFile = "rocketd-damage.json"

func diskUse(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"rocketd/internal/vfs"
)

// rocksDirs are the directories in which a Java broker keeps things in RocksDB form that others keep in files: below them
// lies a file CURRENT then. Source: Java RocksDBMessageStore, RocksDBConfigManager, v2.ConfigStorage.
var rocksDirs = []struct {
	dir     string
	tables  bool // what is in config/*.json otherwise
	setting string
}{
	{"consumequeue", false, "storeType=defaultRocksDB"},
	{"consumequeue_rocksdb", false, "useSeparateStorePathForRocksdbCQ"},
	{"config/topics", true, "storeType=defaultRocksDB"},
	{"config/subscriptionGroups", true, "storeType=defaultRocksDB"},
	{"config/consumerOffsets", true, "storeType=defaultRocksDB"},
	{"config/metadata", true, "useSingleRocksDBForAllConfigs"},
	{"config/rdb", true, "configManagerVersion=v2"},
}

// rocksTables are the files that Java's own export makes of the tables.
var rocksTables = []string{"config/topics.json", "config/subscriptionGroup.json", "config/consumerOffset.json"}

// rocks returns which of rocksDirs a store has.
func (s *Store) rocks() (dirs []string, setting string, tables bool, err error) {
	for _, r := range rocksDirs {
		_, err := s.cfg.FS.Stat(s.path(r.dir + "/CURRENT"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, "", false, err
		}
		dirs, tables = append(dirs, r.dir), tables || r.tables
		if setting == "" {
			setting = r.setting
		}
	}
	return dirs, setting, tables, nil
}

// checkRocks refuses a store in RocksDB form.
func (s *Store) checkRocks() error {
	dirs, setting, _, err := s.rocks()
	if err != nil || len(dirs) == 0 {
		return err
	}
	return foreign(s.path(dirs[0]), fmt.Sprintf("is a RocksDB database, since the Java broker ran with %s; this broker keeps the same in plain files", setting),
		"to bring the store over, export topics, groups and offsets while the Java broker runs ("+rocksExport+"), stop it, and run `rocketd store import "+s.cfg.Dir+"`")
}

// rocksExport is what writes rocksTables: Java's mqadmin asks the broker to, with request 355.
const rocksExport = "mqadmin rocksDBConfigToJson -b ADDRESS -t 'topics;subscriptionGroups;consumerOffsets;'"

// Imported says what Import did.
type Imported struct {
	Moved    map[string]string // directories that were in the way: from, to
	Topics   int
	Queues   int
	Messages int64 // that can be read
}

// Import brings over a store that a Java broker left in RocksDB form: it moves the RocksDB directories aside (to the same
// name with .rocksdb behind it; nothing is deleted) and builds all queues from the commit log. Topics, groups and offsets
// that were in RocksDB must have been exported to the files under config before; else the error says how. cfg is that of
// Open, with QueueKind from the exported topics. The store is closed afterwards; Open opens it from then on. A call that
// was cut short may be repeated.
func Import(cfg Config) (res Imported, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return res, err
	}
	s := &Store{cfg: cfg}
	if _, err := cfg.FS.Stat(cfg.Dir); err != nil {
		return res, fmt.Errorf("cannot import store: %w", err)
	}
	lock, err := cfg.FS.Lock(s.path("lock"))
	if err != nil {
		return res, fmt.Errorf("cannot import store %s: %w", cfg.Dir, err)
	}
	if err = s.markUnclean(); err == nil {
		res.Moved, err = s.moveRocks()
	}
	if err = errors.Join(err, lock.Close()); err != nil {
		return res, err
	}
	if s, err = Open(cfg); err != nil {
		return res, err
	}
	for _, topic := range s.Topics() {
		res.Topics++
		for _, q := range s.Queues(topic) {
			res.Queues++
			res.Messages += q.Max() - q.Min()
		}
	}
	return res, s.Close()
}

// markUnclean has the next Open read the whole log, whatever becomes of the import.
func (s *Store) markUnclean() (err error) {
	if _, err := s.markOpen(); err != nil {
		return err
	}
	if s.check, err = readCheckpoint(s.cfg.FS, s.path("checkpoint")); err != nil {
		return err
	}
	s.check.logicsMs, s.check.logicsPhysical = 0, 0
	return s.check.write(s.cfg.FS, s.path("checkpoint"))
}

// moveRocks moves the RocksDB directories aside, durably.
func (s *Store) moveRocks() (moved map[string]string, err error) {
	dirs, _, tables, err := s.rocks()
	if err != nil {
		return nil, err
	}
	for _, name := range rocksTables {
		if info, err := s.cfg.FS.Stat(s.path(name)); tables && (err != nil || info.Size() == 0) {
			return nil, foreign(s.path(name), "is not there, and the table is in RocksDB, which only Java can read",
				"start the Java broker once more, run `"+rocksExport+"`, stop it, and try again")
		}
	}
	moved = make(map[string]string)
	move := func(dir string) error {
		from, to := s.path(dir), s.path(dir+".rocksdb")
		if _, err := s.cfg.FS.Stat(to); err == nil {
			return foreign(to, "is in the way", "move it away")
		}
		if err := s.cfg.FS.Rename(from, to); err != nil {
			return err
		}
		moved[from] = to
		return s.cfg.FS.SyncDir(filepath.Dir(from))
	}
	for _, dir := range dirs {
		if err := move(dir); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// Imports tells whether a directory holds a store that Import is for.
func Imports(f vfs.FS, dir string) (bool, error) {
	s := &Store{cfg: Config{Dir: dir, FS: f}}
	dirs, _, _, err := s.rocks()
	return len(dirs) > 0, err
}

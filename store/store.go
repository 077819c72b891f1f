package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// Store is the messages of a broker on one disk directory. Its methods may be called from any goroutine.
type Store struct {
	cfg     Config
	log     *commitlog.Log
	queues  *consumequeue.Set // Simple ones
	batches *consumequeue.Set // Batch ones
	lock    io.Closer

	// The append lock stands above everything else here: who holds it may take table or a queue's lock, never the
	// other way round. It guards:
	mu        sync.Mutex
	dirty     []*consumequeue.Queue // have units that wait to be written
	pages     []*consumequeue.Queue // have a whole page of them
	bits      []byte                // of a record, see Config.Bits
	touched   byte                  // see consumequeue.Queue.Touch
	paced     int64                 // end of what the system was told to write
	prepareAt int64                 // log position at which the next file is prepared

	last   atomic.Int64 // start of the last record; -1: none
	lastMs atomic.Int64 // its store time
	need   atomic.Int64 // bytes that must be free before the next try, after the disk was full; 0: it was not
	closed atomic.Bool

	confirmed atomic.Int64 // log position up to which Config.Confirm has let readers, see Visible

	orderly   bool  // the last end was
	indexTime int64 // indexMs of the checkpoint that was found

	retention atomic.Pointer[Retention]
	transfer  atomic.Pointer[Transfer]
	manual    atomic.Int64          // rounds in which files are removed at any hour
	over      atomic.Pointer[error] // why the disk is too full for appends
	ballast   atomic.Bool           // it is there

	tableMu sync.RWMutex // guards:
	table   map[string][]*consumequeue.Queue

	rep      replica
	flushing sync.Mutex // held while the log is synced, and while it is cut; below writing, above mu

	damages damages
	compact compacted
	opened  int64 // the log from here on was written by this process

	writing  sync.Mutex                   // held while queues are written or deleted; guards:
	warm     map[*consumequeue.Queue]bool // have units in memory
	check    checkpoint
	synced   int64     // log position up to which the queues are on the disk
	syncedAt time.Time // when the last such sync began
	syncTook time.Duration
	looks    int // so many times was looked

	loaded bool // by Open, the queues: from then on it changes what is on the disk

	physicMs atomic.Int64 // store time up to which the log is on the disk
	cuts     atomic.Int64 // how often the end of the log was cut, twice; odd while it is

	logDue, queuesDue, fileDue chan struct{} // bells of Run's goroutines
	cleanDue                   chan struct{}
	aheadDue                   chan int64  // where to read the log ahead
	aheadOff                   atomic.Bool // it is not to be read ahead
}

// Open opens the store in cfg.Dir, or makes one there, and recovers what a crash left. It starts no goroutine: Run
// does the work of the background. If the store is in use, the error is a *vfs.LockedError with the process id.
func Open(cfg Config) (s *Store, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	s = &Store{
		cfg:       cfg,
		table:     make(map[string][]*consumequeue.Queue),
		warm:      make(map[*consumequeue.Queue]bool),
		logDue:    make(chan struct{}, 1),
		queuesDue: make(chan struct{}, 1),
		fileDue:   make(chan struct{}, 1),
		cleanDue:  make(chan struct{}, 1),
		aheadDue:  make(chan int64, 64),
	}
	s.retention.Store(&cfg.Retention)
	s.SetTransfer(DefaultTransfer)
	if err := vfs.MakeDir(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("cannot create store: %w", err)
	}
	if s.lock, err = cfg.FS.Lock(s.path("lock")); err != nil {
		return nil, fmt.Errorf("cannot open store %s: %w", cfg.Dir, err)
	}
	var clean bool
	defer func() {
		if err != nil {
			if clean && !s.loaded { // nothing was changed
				_ = cfg.FS.Remove(s.path("abort"))
			}
			err = explain(errors.Join(err, s.release()))
			s = nil
		}
	}()
	if err := s.inspect(); err != nil {
		return s, err
	}
	lc := s.cfg.logConfig()
	lc.Dirs.Full = s.dirFull
	if s.log, err = commitlog.Open(lc); err != nil {
		return s, err
	}
	if err := s.checkLog(); err != nil {
		return s, err
	}
	if err := s.withBallast(func() (err error) { clean, err = s.markOpen(); return err }); err != nil {
		return s, err
	}
	if s.check, err = readCheckpoint(cfg.FS, s.path("checkpoint")); err != nil {
		return s, err
	}
	s.orderly, s.indexTime = clean, s.check.indexMs
	if err := vfs.MakeDir(cfg.FS, s.path("consumequeue")); err != nil {
		return s, fmt.Errorf("cannot create store: %w", err)
	}
	s.openQueues()
	s.loadDamage()
	if err := s.recover(clean); err != nil {
		return s, fmt.Errorf("cannot recover store %s: %w", cfg.Dir, err)
	}
	if err := s.withBallast(s.loadConfirmed); err != nil {
		return s, err
	}
	if err := s.openCompacted(clean); err != nil {
		return s, err
	}
	s.paced, s.opened = s.log.Max(), s.log.Max()
	s.synced = -1 // what the recovery did to the queues is not on the disk
	s.prepareAt = s.middle(s.log.Max())
	return s, nil
}

// inspect refuses a directory that holds something else than a store that can be opened, before anything is written, and
// takes over the file lengths that it finds.
func (s *Store) inspect() error {
	if err := s.checkPlaces(); err != nil {
		return err
	}
	if err := s.checkRocks(); err != nil {
		return err
	}
	s.checkCarried()
	return s.adoptSizes()
}

// openQueues makes the sets of queues.
func (s *Store) openQueues() {
	few := max(s.cfg.OpenFiles/8, 1) // of kinds that few stores have
	s.queues = consumequeue.NewSet(s.cfg.FS, s.path("consumequeue"), s.cfg.QueueFileSize, s.cfg.OpenFiles)
	s.queues.UseExt(s.cfg.FS, s.path("consumequeue_ext"), s.cfg.ExtFileSize, few)
	s.batches = consumequeue.NewBatchSet(s.cfg.FS, s.path("batchconsumequeue"), s.cfg.BatchFileSize, few)
}

func (s *Store) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

// markOpen writes the abort file, which stays behind if the process ends without Close, and tells whether there was
// none, which means that the last end was in order. Source: Java DefaultMessageStore.createTempFile.
func (s *Store) markOpen() (clean bool, err error) {
	name := s.path("abort")
	_, err = s.cfg.FS.Stat(name)
	clean = errors.Is(err, fs.ErrNotExist)
	if err != nil && !clean {
		return false, err
	}
	if err := vfs.WriteFile(s.cfg.FS, name, []byte(strconv.Itoa(os.Getpid()))); err != nil {
		return false, fmt.Errorf("cannot write %s: %w", name, err)
	}
	return clean, s.cfg.FS.SyncDir(s.cfg.Dir)
}

// MinPhysical is the position of the first byte of the log that is still there, MaxPhysical the one behind the last,
// Flushed the one behind the last that is known to be on the disk.
func (s *Store) MinPhysical() int64 { return s.log.Min() }
func (s *Store) MaxPhysical() int64 { return s.log.Max() }
func (s *Store) Flushed() int64     { return s.log.Flushed() }

// Find returns a queue, or nil if there is none. It allocates nothing.
func (s *Store) Find(topic []byte, id int32) *consumequeue.Queue {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	qs := s.table[string(topic)]
	if i, ok := search(qs, id); ok {
		return qs[i]
	}
	return nil
}

// Queue returns a queue and makes it if there is none, of the kind that Config.QueueKind says. A new one is on the disk
// with its first message.
func (s *Store) Queue(topic string, id int32) *consumequeue.Queue {
	return s.queue([]byte(topic), id, consumequeue.Simple)
}

// CountTopics counts the topics that have a queue and whose names begin with prefix.
func (s *Store) CountTopics(prefix string) (n int) {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	for name := range s.table {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// insert adds a queue to the table. s.tableMu is held. Slices in the table are never changed, only replaced.
func (s *Store) insert(q *consumequeue.Queue) {
	old := s.table[q.Topic()]
	i, _ := search(old, q.ID())
	qs := make([]*consumequeue.Queue, 0, len(old)+1)
	qs = append(append(append(qs, old[:i]...), q), old[i:]...)
	s.table[q.Topic()] = qs
}

// search finds a queue id in an ascending slice: mostly at its own index.
func search(qs []*consumequeue.Queue, id int32) (int, bool) {
	if int(id) < len(qs) && id >= 0 && qs[id].ID() == id {
		return int(id), true
	}
	lo, hi := 0, len(qs)
	for lo < hi {
		if m := (lo + hi) / 2; qs[m].ID() < id {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < len(qs) && qs[lo].ID() == id
}

// Queues returns the queues of a topic that have or had messages, by id. The slice may not be changed.
func (s *Store) Queues(topic string) []*consumequeue.Queue {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	return s.table[topic]
}

// Topics returns the names of all topics that have queues, in no order.
func (s *Store) Topics() []string {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	names := make([]string, 0, len(s.table))
	for t := range s.table {
		names = append(names, t)
	}
	return names
}

// DeleteTopic removes the queues of a topic, in memory and on the disk. The log keeps the records. The topic may be
// used again; its offsets start at 0. It waits for the disk. An error of the disk fences the store.
func (s *Store) DeleteTopic(topic string) error {
	s.tableMu.Lock()
	qs := s.table[topic]
	delete(s.table, topic)
	s.tableMu.Unlock()
	if err := s.deleteCompacted(topic); err != nil {
		return s.queuesFailed(fmt.Errorf("cannot delete compaction logs of %s: %w", topic, err))
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	for _, q := range qs {
		delete(s.warm, q)
		if err := s.set(q).Delete(q); err != nil {
			// Files that stay would mix with those of a queue that gets the name again.
			return s.queuesFailed(fmt.Errorf("cannot delete queue %s/%d: %w", topic, q.ID(), err))
		}
	}
	return nil
}

// Close brings everything to the disk and closes the store; the caller has ended Run. It may be called again. If all
// went well, the next Open has nothing to recover.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed.Swap(true)
	s.mu.Unlock()
	if again {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.withBallast(s.writeDirty)
	if err == nil {
		err = s.withBallast(s.syncAll)
	}
	if err == nil {
		err = s.log.Fenced()
	}
	if err == nil {
		err = s.withBallast(s.keepCompacted)
	}
	err = errors.Join(err, s.writeDamage())
	if err == nil {
		if err = s.cfg.FS.Remove(s.path("abort")); err == nil {
			err = s.cfg.FS.SyncDir(s.cfg.Dir)
		}
	}
	return errors.Join(err, s.release())
}

// release closes the files and gives the lock back, last.
func (s *Store) release() error {
	errs := []error{s.closeCompacted()}
	if s.queues != nil {
		errs = append(errs, s.queues.Close(), s.batches.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

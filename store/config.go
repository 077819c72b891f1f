// Package store keeps messages: it appends batches to the commit log, finds them through consume queues, flushes, and
// recovers what a crash left.
package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// Config of a Store. Dir must be set.
type Config struct {
	Dir string // storePathRootDir
	// CommitLogDir is storePathCommitLog; empty is Dir/commitlog. Several directories, with a comma between, take turns in
	// holding new files. Those of ReadOnlyDirs (readOnlyCommitLogStorePaths) hold older files.
	CommitLogDir string
	ReadOnlyDirs string
	logDirs      []string

	// FileSize and QueueFileSize are the lengths of the files, bytes: mappedFileSizeCommitLog, default 1 GiB, and
	// mappedFileSizeConsumeQueue, default 6,000,000 (a multiple of 20). They cannot change under an existing store.
	FileSize      int64
	QueueFileSize int64

	// BatchFileSize is the same of the queues of BatchCQ topics: mapperFileSizeBatchConsumeQueue, default 13,800,000 (a
	// multiple of 46). QueueKind gives the kind of a topic's queues, from its attribute queue.type; false says that the topic
	// is not known, and nil that none is. It is called with a lock of the store held, must not wait or call the store, and
	// may not change its mind about a topic that has queues.
	BatchFileSize int64
	QueueKind     func(topic string) (kind consumequeue.Kind, known bool)

	// Ext keeps tags in ConsumeQueueExt: enableConsumeQueueExt, mappedFileSizeConsumeQueueExt, default 48 MiB. What is
	// there is read anyhow.
	Ext         bool
	ExtFileSize int64
	// Bits, if set, appends to dst the map of the subscriptions that want a record that is appended; it is kept in ConsumeQueueExt, and
	// Read.Bits is asked with it. It is called under the append lock and must not block.
	Bits func(dst []byte, topic string, record []byte) []byte

	// MultiDispatch gives a record a unit in each queue that its property INNER_MULTI_DISPATCH names: enableLmq and
	// enableMultiDispatch.
	MultiDispatch bool

	// PropCRC ends the properties of each record with a checksum: enabledAppendPropCRC. VerifyPropCRC takes only records
	// that end with theirs for whole: forceVerifyPropCRC.
	PropCRC       bool
	VerifyPropCRC bool

	// SyncFlush: what is appended is brought to the disk at once, and only what is there can be read. Otherwise
	// it is brought there every FlushInterval (flushIntervalCommitLog, default 500 ms).
	SyncFlush     bool
	FlushInterval time.Duration

	// Flushed, if set, is called with SyncFlush from a goroutine of Run, or from Close, when the log is on the disk
	// up to physical. It is called also when the log was fenced: then Writable tells, and physical will never grow.
	Flushed func(physical int64)

	// Confirm, if set, is the log position up to which messages may be read as far as slaves are concerned: what they do not
	// have, a failover takes back. math.MaxInt64 is no limit. What it once let through stays readable (Visible), also after
	// a restart: the checkpoint keeps it, up to a second late. It is called often, from any goroutine, and must not block or
	// call the store. nil is no limit.
	Confirm func() int64

	// Appended, if set, is called with what an Append has brought into the log: whole records one behind the other,
	// from physical on. It runs under the append lock, must not block and may not keep records.
	Appended func(physical int64, records []byte)

	// IndexMs, if set, says up to which store time, ms, an index of the log is on the disk, when the log is there up to
	// flushed. The checkpoint keeps it (IndexTime).
	IndexMs func(flushed int64) int64

	// Tag, if set, gives the tag of the unit of a record that is found during recovery. Nil is the hash of its TAGS.
	Tag func(r *message.Record) int64

	// Compaction is of topics that keep the last message of each key; see there.
	Compaction Compaction

	// Retention says when old files go; see there.
	Retention Retention

	// Dropped, if set, is called when files of the log were removed and the queues have followed: nothing before
	// physical is there any more. It is called from the goroutine that removed them.
	Dropped func(physical int64)

	// Of a store that is the copy of another one (AppendLog). Learn, if set, is called when a record of a topic comes that
	// QueueKind does not know and that has no queues; then QueueKind is asked again. It may wait; after its error nothing is
	// appended, since queues of the wrong kind would spoil the store. Arrived, if set, is called for each queue that got
	// messages, when they are there, the further ones of MultiDispatch too; the last of them ends at physical. Cut, if set, is called when
	// nothing at physical or behind it is in the log any more, before something else takes the place; after its error the
	// store is fenced. All are called by the goroutine that called AppendLog, CutLog or RestartLog.
	Learn   func(topic string) error
	Arrived func(q *consumequeue.Queue, physical int64)
	Cut     func(physical int64) error

	// HotBytes is how far from the end of the log records are taken to be in memory; 0 is HotPercent
	// (accessMessageInMemoryMaxRatio, default 40) of the RAM.
	HotBytes   int64
	HotPercent int

	OpenFiles int // queue files open at the same time; 0 is half of what the process may have open, at most 65,536

	FS  vfs.FS           // default vfs.OS
	Now func() time.Time // for the ages of files and the hour of the day; default time.Now
	Log *slog.Logger     // default slog.Default()
}

// Errors of Append and Writable.
var (
	ErrFenced   = commitlog.ErrFenced
	ErrDiskFull = commitlog.ErrDiskFull
	ErrTooLarge = commitlog.ErrTooLarge
	ErrClosed   = errors.New("store is closed")
)

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("store: no directory given")
	}
	if c.logDirs = strings.Split(c.CommitLogDir, ","); c.CommitLogDir == "" {
		c.logDirs = []string{filepath.Join(c.Dir, "commitlog")} // which may have commas
	}
	c.FileSize = cmp.Or(c.FileSize, 1<<30)
	c.QueueFileSize = cmp.Or(c.QueueFileSize, 300_000*consumequeue.UnitSize)
	c.BatchFileSize = cmp.Or(c.BatchFileSize, 300_000*consumequeue.BatchUnitSize)
	c.ExtFileSize = cmp.Or(c.ExtFileSize, 48<<20)
	c.FlushInterval = cmp.Or(c.FlushInterval, 500*time.Millisecond)
	c.OpenFiles = cmp.Or(c.OpenFiles, openFiles())
	if c.FileSize < message.MinSize+message.BlankSize || c.FileSize > 1<<31-1 {
		return c, fmt.Errorf("store: commit log files of %d bytes are not possible", c.FileSize)
	}
	if c.QueueFileSize < consumequeue.UnitSize || c.QueueFileSize%consumequeue.UnitSize != 0 {
		return c, fmt.Errorf("store: consume queue files of %d bytes are not a multiple of %d", c.QueueFileSize, consumequeue.UnitSize)
	}
	if c.BatchFileSize < consumequeue.BatchUnitSize || c.BatchFileSize%consumequeue.BatchUnitSize != 0 {
		return c, fmt.Errorf("store: batch consume queue files of %d bytes are not a multiple of %d", c.BatchFileSize, consumequeue.BatchUnitSize)
	}
	if c.ExtFileSize < 64 || c.ExtFileSize > 1<<31-1 {
		return c, fmt.Errorf("store: consume queue ext files of %d bytes are not possible", c.ExtFileSize)
	}
	var err error
	if c.Retention, err = c.Retention.withDefaults(); err != nil {
		return c, err
	}
	if c.HotBytes == 0 {
		var info syscall.Sysinfo_t
		if err := syscall.Sysinfo(&info); err != nil {
			return c, fmt.Errorf("store: cannot find out how much memory there is: %w", err)
		}
		c.HotBytes = int64(info.Totalram*uint64(info.Unit)/100) * int64(cmp.Or(c.HotPercent, 40))
	}
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Compaction.withDefaults()
	if c.Tag == nil {
		c.Tag = tagsOf
	}
	return c, nil
}

func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 256
	}
	return int(min(limit.Cur/2, 65536))
}

// logConfig is what the commit log needs to know.
func (c *Config) logConfig() commitlog.Config {
	return commitlog.Config{
		FS:       c.FS,
		Dirs:     segment.Dirs{Write: c.logDirs, Read: strings.Split(c.ReadOnlyDirs, ",")},
		FileSize: c.FileSize,
		Props:    c.VerifyPropCRC,
	}
}

func tagsOf(r *message.Record) int64 {
	return message.TagOf(r.Properties)
}

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
)

// What TestCrash has found, each as the few steps that show it.

// crashStore opens a store on a disk in memory.
func crashStore(t *testing.T, d *crashfs.Disk, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Dir: "/data/store", FileSize: 1024, QueueFileSize: 60, HotBytes: 1 << 20, FS: d, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eachCut opens what many power cuts leave.
func eachCut(t *testing.T, d *crashfs.Disk, fn func(d *crashfs.Disk, s *Store)) {
	t.Helper()
	for seed := range uint64(300) {
		cut := d.PowerCut(seed)
		fn(cut, crashStore(t, cut))
	}
}

func read(t *testing.T, s *Store, topic string) string {
	t.Helper()
	q := s.Find([]byte(topic), 0)
	if q == nil {
		return "no queue"
	}
	return fmt.Sprint(q.Min(), bodies(t, s, q))
}

// A flushed message survives a power cut also in a store that is new, with all its directories.
func TestCrash_NewDirectories(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, "x")
	ok(t, s.flush())
	eachCut(t, d, func(_ *crashfs.Disk, s *Store) {
		if got := read(t, s, "t"); got != "0 [x]" {
			t.Fatal(got)
		}
	})
}

// A topic that is deleted and used again keeps its new messages in a crash, though the log has the old ones too.
func TestCrash_TopicUsedAgain(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	ok(t, s.DeleteTopic("t"))
	send(t, s, "t", 0, "new 0", "new 1")
	for range 3 {
		d = d.Kill()
		s = crashStore(t, d)
		if got := read(t, s, "t"); got != "0 [new 0 new 1]" {
			t.Fatal(got)
		}
	}
}

// After a failed sync and a restart the pages are clean, and the disk does not have them. What is acknowledged then must
// not stand behind a hole.
func TestCrash_RestartAfterFailedSync(t *testing.T) {
	for seed := range uint64(50) {
		d := crashfs.New(crashfs.Options{Seed: seed})
		s := crashStore(t, d)
		send(t, s, "t", 0, "first "+strings.Repeat("x", 700))
		d.Before = func(op vfs.Op, name string) error {
			if op == vfs.OpSync {
				return syscall.EIO
			}
			return nil
		}
		if err := s.flush(); !errors.Is(err, ErrFenced) {
			t.Fatal(err)
		}
		d.Before = nil
		if err := s.Close(); !errors.Is(err, ErrFenced) {
			t.Fatal(err)
		}
		s = crashStore(t, d)
		send(t, s, "t", 0, "second")
		ok(t, s.flush())
		s = crashStore(t, d.PowerCut(seed))
		if got := bodies(t, s, s.Queue("t", 0)); len(got) != 2 || got[1] != "second" {
			t.Fatal(seed, got)
		}
	}
}

// With ASYNC_FLUSH a start after a kill does not wait for the disk, and what it found is on the disk with the next sync. With
// SYNC_FLUSH, after a start that did not end, and without a position in the checkpoint it is on the disk before anybody reads it.
func TestCrash_StartDoesNotWait(t *testing.T) {
	for name, c := range map[string]struct {
		sync, cutting, java, wait bool
	}{"async": {}, "sync": {sync: true, wait: true}, "start ended": {cutting: true, wait: true}, "of Java": {java: true, wait: true}} {
		d := crashfs.New(crashfs.Options{})
		flush := func(cfg *Config) { cfg.SyncFlush = c.sync }
		s := crashStore(t, d, flush)
		send(t, s, "t", 0, "first")
		ok(t, s.look(true))
		safe := s.Flushed()
		send(t, s, "t", 0, "second")
		end := s.MaxPhysical()
		d = d.Kill()
		spoil(t, d, "/data/store/checkpoint", func(b []byte) {
			switch {
			case c.cutting:
				b[63] = 1
				binary.BigEndian.PutUint64(b[sealAt:], uint64(crc32.Checksum(b[:sealAt], castagnoli)))
			case c.java:
				b[sealAt]++
			}
		})
		s = crashStore(t, d, flush)
		if got := s.Flushed(); s.MaxPhysical() != end || c.wait && got != end || !c.wait && got != safe {
			t.Fatal(name, got, safe, s.MaxPhysical(), end)
		}
		ok(t, s.flush())
		s = crashStore(t, d.PowerCut(1), flush)
		if got := bodies(t, s, s.Queue("t", 0)); len(got) != 2 || got[1] != "second" {
			t.Fatal(name, got)
		}
	}
}

// While a start cuts the log, the checkpoint says so, also when it is written for other reasons meanwhile.
func TestCrash_StartSaysThatItCuts(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	ok(t, s.look(true))
	send(t, s, "t", 0, "second")
	d = d.Kill()
	removeAll(t, d, "/data/store/consumequeue") // they are built again, and the checkpoint must not vouch for them
	d.Before = func(op vfs.Op, name string) error {
		if op == vfs.OpWrite && strings.Contains(name, "commitlog") {
			return syscall.EIO
		}
		return nil
	}
	cfg := s.cfg
	cfg.FS = d
	if s, err := Open(cfg); !errors.Is(err, syscall.EIO) {
		t.Fatal(s, err)
	}
	d.Before = nil
	c, err := readCheckpoint(d, "/data/store/checkpoint")
	if ok(t, err); c.cutting != 1 || c.logicsPhysical != 0 || c.flushed == 0 {
		t.Fatalf("%+v", c)
	}
	s = crashStore(t, d)
	if s.Flushed() != s.MaxPhysical() {
		t.Fatal("a start after one that did not end leaves something to the next sync")
	}
	ok(t, s.look(true))
	if c, err = readCheckpoint(d, "/data/store/checkpoint"); err != nil || c.cutting != 0 {
		t.Fatalf("%+v %v", c, err)
	}
}

// A record whose last sector was not written is no record, though its body has the right checksum.
func TestCrash_LastSectorLost(t *testing.T) {
	for size := range 40 {
		d := crashfs.New(crashfs.Options{})
		s := crashStore(t, d)
		var b Batch
		m := draft("topic", 0, strings.Repeat("x", 400+size))
		m.Properties = []byte("KEYS\x01key\x02")
		b.Add(s.Queue("topic", 0), m, 0)
		ok(t, s.Append(&b, time.UnixMilli(1)))
		eachCut(t, d, func(_ *crashfs.Disk, s *Store) {
			got, err := s.Record(0, nil)
			if err == nil && string(got) != string(b.Record(0)) {
				t.Fatalf("%q was never sent", got)
			}
		})
	}
}

// While queues that were gone are built again, the checkpoint does not vouch for them.
func TestCrash_QueuesBuiltAgain(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	ok(t, s.look(true))
	d = d.Kill()
	removeAll(t, d, "/data/store/consumequeue")
	crashStore(t, d)
	eachCut(t, d, func(_ *crashfs.Disk, s *Store) {
		if got := read(t, s, "t"); got != fmt.Sprint(0, numbered(0, 5)) {
			t.Fatal(got)
		}
	})
}

// The checkpoint that a recovery goes by is on the disk before the queues change: one that only the page cache takes back
// would vouch again after a power cut.
func TestCrash_CheckpointInCache(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	ok(t, s.look(true))
	d = d.Kill()
	spoil(t, d, "/data/store/checkpoint", func(b []byte) { clear(b) })
	crashStore(t, d)
	eachCut(t, d, func(_ *crashfs.Disk, s *Store) {
		if got := read(t, s, "t"); got != fmt.Sprint(0, numbered(0, 5)) {
			t.Fatal(got)
		}
	})
}

// A checkpoint of the very first record does not make one of the same millisecond in a later file old.
func TestCrash_FirstCheckpoint(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	at := time.UnixMilli(1000)
	var b Batch
	for i := range 20 {
		b.Add(s.Queue("t", 0), draft("t", 0, fmt.Sprint("body ", i)), 0)
		ok(t, s.Append(&b, at))
		b.Reset()
		if i == 0 {
			ok(t, s.look(true))
		}
	}
	s = crashStore(t, d.Kill())
	if got := read(t, s, "t"); got != fmt.Sprint(0, numbered(0, 20)) {
		t.Fatal(got)
	}
}

// When the files of the log that gave out the last numbers of a queue are dropped, the numbers stay given.
func TestCrash_NumbersStayGiven(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	send(t, s, "other", 0, numbered(0, 30)...)
	ok(t, s.flush())
	ok(t, s.DropBefore(s.MaxPhysical()))
	eachCut(t, d, func(_ *crashfs.Disk, s *Store) {
		if q := s.Find([]byte("t"), 0); q == nil || q.Max() != 5 {
			t.Fatal("numbers are given again")
		}
	})
}

// A clean end without a new message, after a recovery that took units off a queue, brings that to the disk, too.
func TestCrash_CleanEndAfterRecovery(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	ok(t, s.writeDirty())
	ok(t, s.queues.Sync())
	eachCut(t, d, func(cut *crashfs.Disk, s *Store) { // units are on the disk, records perhaps
		end := s.MaxPhysical()
		ok(t, s.Close())
		s = crashStore(t, cut.PowerCut(1))
		q := s.Queue("t", 0)
		if s.MaxPhysical() != end || s.DamageCount() > 0 || q.Max() != int64(len(bodies(t, s, q))) {
			t.Fatal(s.MaxPhysical(), end, q.Max(), s.Damage())
		}
	})
}

// A deletion of a topic that fails fences the store: what is left of the old queues must not mix with new ones.
func TestCrash_HalfDeletedTopic(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 5)...)
	ok(t, s.look(true))
	d.Before = func(op vfs.Op, name string) error {
		if op == vfs.OpRemove {
			return syscall.EIO
		}
		return nil
	}
	if err := s.DeleteTopic("t"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := tryAppend(s, "t", "new"); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
}

// A log file that cannot be removed stays; the next try does not remove the one behind it first.
func TestCrash_RemovalFails(t *testing.T) {
	d := crashfs.New(crashfs.Options{})
	s := crashStore(t, d)
	send(t, s, "t", 0, numbered(0, 60)...)
	fails := 1
	d.Before = func(op vfs.Op, name string) error {
		if op == vfs.OpRemove && strings.Contains(name, "commitlog") && fails > 0 {
			fails--
			return syscall.EIO
		}
		return nil
	}
	if err := s.DropBefore(2048); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	ok(t, s.DropBefore(2048))
	if _, err := d.Stat(filepath.Join("/data/store/commitlog", fmt.Sprintf("%020d", 0))); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	d.Before = nil
	if s = crashStore(t, d.Kill()); s.MinPhysical() != 2048 {
		t.Fatal(s.MinPhysical())
	}
}

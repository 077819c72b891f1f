package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// fault is a disk on which one kind of operation, on files whose names contain some text, can be made to fail.
type fault struct {
	op   vfs.Op
	name string
	err  atomic.Pointer[error]
	free atomic.Int64 // what the disk says; 0 is the truth
}

type freeFS struct {
	vfs.FS
	free *atomic.Int64
}

func (f freeFS) Free(path string) (free, total int64, err error) {
	free, total, err = f.FS.Free(path)
	if n := f.free.Load(); n != 0 {
		free = n
	}
	return free, total, err
}

func (f *fault) fs(noMap bool) vfs.FS {
	return &vfs.Faulty{FS: freeFS{vfs.OS, &f.free}, NoMap: noMap, Fail: func(op vfs.Op, name string) error {
		if err := f.err.Load(); err != nil && op == f.op && strings.Contains(name, f.name) {
			return *err
		}
		return nil
	}}
}

func (f *fault) set(err error) {
	if err == nil {
		f.err.Store(nil)
		return
	}
	f.err.Store(&err)
}

func tryAppend(s *Store, topic string, bodies ...string) error {
	var b Batch
	for _, body := range bodies {
		b.Add(s.Queue(topic, 0), draft(topic, 0, body), 0)
	}
	return s.Append(&b, time.Now())
}

// A failed write fences the store: no later append, readers go on, and nothing of the failed batch is there after
// the next start. Also when half of it had reached the file before.
func TestFault_Write(t *testing.T) {
	f := &fault{op: vfs.OpWrite, name: "commitlog"}
	dir := t.TempDir()
	s := testStore(t, dir, func(c *Config) { c.FS = f.fs(false) })
	send(t, s, "t", 0, numbered(0, 10)...)
	f.set(syscall.EIO)
	end := s.MaxPhysical()
	for range 2 {
		if err := tryAppend(s, "t", numbered(100, 130)...); !errors.Is(err, ErrFenced) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		f.set(nil)
	}
	if !errors.Is(s.Writable(), ErrFenced) || s.MaxPhysical() != end {
		t.Fatal(s.Writable())
	}
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 10))
	if err := s.Close(); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 10))
}

// A disk that is full refuses the batch as a whole, whether the next file or the write itself found no room, and
// takes appends again when there is room.
func TestFault_DiskFull(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpAllocate, vfs.OpWrite} {
		t.Run(string(op), func(t *testing.T) {
			f := &fault{op: op, name: "commitlog"}
			dir := t.TempDir()
			s := testStore(t, dir, func(c *Config) { c.FS = f.fs(false) })
			send(t, s, "t", 0, numbered(0, 30)...)
			f.set(syscall.ENOSPC)
			for range 3 { // 30 more cross the end of the file
				if err := tryAppend(s, "t", numbered(30, 60)...); !errors.Is(err, ErrDiskFull) {
					t.Fatal(err)
				}
			}
			equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 30))
			f.set(nil)
			f.free.Store(100)
			if err := tryAppend(s, "t", numbered(30, 60)...); !errors.Is(err, ErrDiskFull) || s.Writable() != ErrDiskFull {
				t.Fatal(err)
			}
			f.free.Store(1 << 30)
			if err := tryAppend(s, "t", numbered(30, 60)...); err != nil {
				t.Fatal(err)
			}
			if err := s.Writable(); err != nil {
				t.Fatal(err)
			}
			equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 60))
			s = testStore(t, copyDir(t, dir))
			equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 60))
		})
	}
}

// The first failed sync fences the store for good; Run returns it when it ends, and the bell is rung so that who
// waits learns of it. What was not on the disk is not shown with SyncFlush.
func TestFault_Sync(t *testing.T) {
	f := &fault{op: vfs.OpSync, name: "commitlog"}
	rung := make(chan int64, 100)
	s := testStore(t, t.TempDir(), func(c *Config) {
		c.FS, c.SyncFlush = f.fs(false), true
		c.Flushed = func(physical int64) { rung <- physical }
	})
	stop := run(t, s)
	send(t, s, "t", 0, "good")
	for end := s.MaxPhysical(); <-rung < end; {
	}
	flushed := s.Flushed()
	f.set(syscall.EIO)
	if err := tryAppend(s, "t", "bad"); err != nil {
		t.Fatal(err)
	}
	for s.Writable() == nil {
		<-rung
	}
	f.set(nil)
	if err := tryAppend(s, "t", "more"); !errors.Is(err, ErrFenced) || s.Flushed() != flushed {
		t.Fatal(err)
	}
	q := s.Find([]byte("t"), 0)
	if _, res := s.Get(q, Read{Max: 32}, nil); res.Count != 1 || res.Next != 1 {
		t.Fatalf("%+v", res)
	}
	if _, res := s.Get(q, Read{From: 1, Max: 32}, nil); res.Status != OffsetOverflowOne || res.Next != 1 {
		t.Fatalf("%+v", res)
	}
	if err := stop(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
}

// With SyncFlush every append is followed by a bell at or behind its end, without a timer.
func TestStore_SyncFlush(t *testing.T) {
	rung := make(chan int64, 100)
	s := testStore(t, t.TempDir(), func(c *Config) {
		c.SyncFlush = true
		c.Flushed = func(physical int64) { rung <- physical }
	})
	stop := run(t, s)
	for i := range 50 {
		end := send(t, s, "t", 0, fmt.Sprint("body ", i)).End()
		for <-rung < end {
		}
		if s.Flushed() < end || s.Visible() < end {
			t.Fatal(s.Flushed(), end)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 50))
}

// Consume queues that cannot be written stop appends, too: they would fill the memory. Full disks pass.
func TestFault_Queues(t *testing.T) {
	for _, c := range []struct{ cause, want error }{{syscall.EIO, ErrFenced}, {syscall.ENOSPC, ErrDiskFull}} {
		f := &fault{op: vfs.OpWrite, name: "consumequeue"}
		s := testStore(t, t.TempDir(), func(cfg *Config) { cfg.FS = f.fs(false) })
		send(t, s, "t", 0, numbered(0, 20)...)
		f.set(c.cause)
		if err := s.look(true); !errors.Is(err, c.cause) {
			t.Fatal(err)
		}
		f.free.Store(1000)
		if err := s.Writable(); !errors.Is(err, c.want) {
			t.Fatal(err)
		}
		f.set(nil)
		f.free.Store(1 << 30)
		equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 20))
		if c.want == ErrDiskFull {
			if err := tryAppend(s, "t", "body 20"); err != nil {
				t.Fatal(err)
			}
			equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 21))
		}
	}
}

// A store whose disk is full starts: what the queues cannot take stays in memory. With less room than a new log file
// and its queues need, no such file is made.
func TestFault_StartOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	send(t, s, "t", 0, numbered(0, 30)...)
	dir = copyDir(t, dir)
	f := &fault{op: vfs.OpWrite, name: "consumequeue"}
	f.set(syscall.ENOSPC)
	f.free.Store(4096 + 100)
	s = testStore(t, dir, func(c *Config) { c.FS = f.fs(false) })
	q := s.Find([]byte("t"), 0)
	equal(t, bodies(t, s, q), numbered(0, 30))
	if err := s.Writable(); err != ErrDiskFull {
		t.Fatal(err)
	}
	f.set(nil)
	f.free.Store(4096 + 511)
	s.need.Store(0)
	if err := tryAppend(s, "t", numbered(30, 60)...); !errors.Is(err, ErrDiskFull) || len(s.log.Starts()) != 1 {
		t.Fatal(err)
	}
	f.free.Store(4096 + 512)
	if err := tryAppend(s, "t", numbered(30, 60)...); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 60))
}

// Where files cannot be mapped, all is read with pread; a read error of the log loses no other message.
func TestFault_NoMap(t *testing.T) {
	f := &fault{op: vfs.OpRead, name: "commitlog"}
	s := testStore(t, t.TempDir(), func(c *Config) { c.FS = f.fs(true) })
	send(t, s, "t", 0, numbered(0, 100)...)
	q := s.Find([]byte("t"), 0)
	equal(t, bodies(t, s, q), numbered(0, 100))
	f.set(syscall.EIO)
	if dst, res := s.Get(q, Read{Max: 3}, nil); len(dst) != 0 || res.Count != 0 || res.Status != MessageWasRemoving {
		t.Fatalf("%+v", res)
	}
	f.set(nil)
	equal(t, bodies(t, s, q), numbered(0, 100))
}

// Appenders and readers at the same time, over rolling files, with everything of Run at work: each reader sees each
// message once and in order.
func TestStore_Concurrent(t *testing.T) {
	s := testStore(t, t.TempDir(), func(c *Config) {
		c.FileSize, c.FlushInterval, c.QueueFileSize = 64<<10, time.Millisecond, 20000
	})
	stop := run(t, s)
	const n, queues = 3000, 4
	errs := make(chan error, 2*queues)
	for id := range int32(queues) {
		q := s.Queue("t", id)
		go func() {
			var b Batch
			for i := 0; i < n; i += 3 {
				for j := range 3 {
					b.Add(q, draft("t", id, fmt.Sprint(i+j)), 0)
				}
				if err := s.Append(&b, time.Now()); err != nil {
					errs <- err
					return
				}
				b.Reset()
			}
			errs <- nil
		}()
		go func() { errs <- follow(t.Context(), s, id, n) }()
	}
	for range 2 * queues {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// follow reads a queue until it has n messages, and checks their order.
func follow(ctx context.Context, s *Store, id int32, n int64) error {
	var dst []byte
	for at := int64(0); at < n; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var res ReadResult
		dst, res = s.Get(s.Find([]byte("t"), id), Read{From: at, Max: 32}, dst[:0])
		for rest := dst; len(rest) > 0; at++ {
			body, size, err := peek(rest)
			if err != nil || body != fmt.Sprint(at) {
				return fmt.Errorf("queue %d offset %d: %q (%w)", id, at, body, err)
			}
			rest = rest[size:]
		}
		if res.Status == Found && res.Next != at {
			return fmt.Errorf("next %d after %d", res.Next, at)
		}
	}
	return nil
}

func peek(b []byte) (body string, size int32, err error) {
	r, err := message.Decode(b)
	return string(r.Body), r.Size, err
}

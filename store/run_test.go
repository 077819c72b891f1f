package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// Run brings the log to the disk by its interval, queues and checkpoint after ten seconds, and has the
// next log file ready when the last is half full.
func TestRun_ByTheClock(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := testStore(t, dir, func(c *Config) { c.FileSize = 12 << 20 })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		second := filepath.Join(dir, "commitlog", "00000000000012582912")
		start := time.Now()
		at := func(d time.Duration) {
			time.Sleep(time.Until(start.Add(d)))
			synctest.Wait()
		}

		send(t, s, "t", 0, string(make([]byte, 5<<20)))
		synctest.Wait()
		if _, err := os.Stat(second); s.Flushed() != 0 || !errors.Is(err, os.ErrNotExist) {
			t.Fatal("too early", s.Flushed(), err)
		}
		b := send(t, s, "t", 0, string(make([]byte, 2<<20)))
		synctest.Wait()
		if info, err := os.Stat(second); err != nil || info.Size() != 12<<20 {
			t.Fatal("next file is not prepared", err)
		}
		at(501 * time.Millisecond)
		if s.Flushed() != b.End() {
			t.Fatal("log is not on the disk", s.Flushed())
		}
		at(10001 * time.Millisecond)
		queue := filepath.Join(dir, "consumequeue", "t", "0", "00000000000000000000")
		if data, err := os.ReadFile(queue); err != nil || len(data) != 200 || data[11] == 0 {
			t.Fatal("queue is not written", err)
		}
		c, err := readCheckpoint(vfs.OS, filepath.Join(dir, "checkpoint"))
		if err != nil || c.logicsPhysical != b.At(0).Physical || c.physicMs != b.At(0).StoreMs || c.logicsMs != b.At(0).StoreMs {
			t.Fatalf("%+v %v", c, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(second); !errors.Is(err, os.ErrNotExist) {
			t.Fatal("unused file is still there", err)
		}
	})
}

// A queue that collects a page is written at once.
func TestRun_FullPage(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := testStore(t, dir, func(c *Config) { c.FileSize, c.QueueFileSize = 1<<20, 40000 })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		send(t, s, "t", 0, numbered(0, queuePage)...)
		synctest.Wait()
		data, err := os.ReadFile(filepath.Join(dir, "consumequeue", "t", "0", "00000000000000000000"))
		if err != nil || data[queuePage*20-9] == 0 {
			t.Fatal("page is not written", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Records that are larger than what a recovery reads at once come through it; a size that the inside does not confirm
// costs no memory and ends the log.
func TestRecover_Large(t *testing.T) {
	dir := t.TempDir()
	large := func(c *Config) { c.FileSize = 16 << 20 }
	s := testStore(t, dir, large)
	for _, n := range []int{3 << 20, 10, 1<<20 - 90, 1 << 20, 4 << 20} {
		send(t, s, "t", 0, string(make([]byte, n)))
	}
	end := s.MaxPhysical()
	dir = copyDir(t, dir)
	s = testStore(t, dir, large)
	if q := s.Find([]byte("t"), 0); q.Max() != 5 || s.MaxPhysical() != end {
		t.Fatal(q.Max())
	}
	dir = copyDir(t, dir)
	rec := message.AppendRecord(nil, draft("t", 0, "small"))
	message.Patch(rec, 5, end, 1)
	rec[1] = 0x40 // 4 MiB more
	damage(t, filepath.Join(dir, firstLog), int(end), rec)
	s = testStore(t, dir, large)
	if q := s.Find([]byte("t"), 0); q.Max() != 5 || s.MaxPhysical() != end {
		t.Fatal(q.Max())
	}
}

// One file is made ahead, however often and late that is asked for.
func TestLog_Prepare_Once(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	files := func() int {
		names, err := os.ReadDir(filepath.Join(dir, "commitlog"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for want := 2; want < 5; want++ {
		for s.MaxPhysical() < int64(want-2)*s.cfg.FileSize+100 {
			send(t, s, "t", 0, "body")
		}
		for range 3 {
			if err := s.log.Prepare(); err != nil || files() != want {
				t.Fatalf("%d files, want %d; %v", files(), want, err)
			}
		}
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
)

// diskFS is a disk that says how full it is.
type diskFS struct {
	vfs.FS
	used atomic.Int64 // percent
}

func (d *diskFS) Free(string) (free, total int64, err error) {
	return (100 - d.used.Load()) << 30, 100 << 30, nil
}

// oldStore has 100 messages of topic t in several files of the log; x was sent to once, in the first one. Its files were
// last written to at noon of some day; now says what time it is then.
func oldStore(t *testing.T, change ...func(*Config)) (s *Store, disk *diskFS, now *time.Time) {
	t.Helper()
	disk = &diskFS{FS: vfs.OS}
	noon := time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)
	now = &noon
	dir := t.TempDir()
	s = testStore(t, dir, append(change, func(c *Config) {
		c.FS = disk
		c.Now = func() time.Time { return *now }
	})...)
	send(t, s, "x", 0, "once")
	send(t, s, "t", 0, numbered(0, 400)...)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	for _, start := range s.log.Starts() {
		if err := os.Chtimes(filepath.Join(dir, "commitlog", fmt.Sprintf("%020d", start)), noon, noon); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.log.Starts()) != 10 {
		t.Fatal(s.log.Starts())
	}
	return s, disk, now
}

// Files go when they are old enough and it is their hour, or the disk asks for it, or somebody does; some at a time; the
// last one never.
func TestClean_When(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name   string
		age    time.Duration // more than noon
		used   int64
		rules  Retention
		wish   bool
		remain int
	}{
		{"young, its hour", 16 * time.Hour, 50, Retention{}, false, 10},
		{"old, another hour", 3*day + time.Hour, 50, Retention{}, false, 10},
		{"old, its hour", 3*day + 16*time.Hour, 50, Retention{}, false, 1},
		{"old, its hour, three a round", 3*day + 16*time.Hour, 50, Retention{Batch: 3}, false, 7},
		{"not quite old", 3*day - time.Second, 76, Retention{}, false, 10},
		{"old, a fuller disk", 3*day + time.Hour, 76, Retention{}, false, 1},
		{"old, at the ratio", 3*day + time.Hour, 75, Retention{}, false, 10},
		{"other ratio", 3*day + time.Hour, 60, Retention{Used: 50}, false, 1},
		{"young, nearly full", 0, 86, Retention{Batch: 5}, false, 5},
		{"young, nearly full, kept", 0, 86, Retention{KeepYoung: true}, false, 10},
		{"old, nearly full, kept", 3*day + time.Hour, 86, Retention{KeepYoung: true}, false, 1},
		{"other age", 3 * time.Hour, 50, Retention{Reserved: 2 * time.Hour, Hours: []int{1, 15}}, false, 1},
		{"no age", 4 * time.Hour, 50, Retention{Reserved: -1, Hours: []int{16}}, false, 1},
		{"old, wished", 3*day + time.Hour, 50, Retention{}, true, 1},
		{"young, wished", 2 * day, 50, Retention{}, true, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := c.rules
			rules.Pause = 1
			s, disk, now := oldStore(t, func(cfg *Config) { cfg.Retention = rules })
			*now = now.Add(c.age)
			disk.used.Store(c.used)
			if c.wish {
				s.DeleteExpired()
			}
			if err := s.clean(t.Context(), s.measure()); err != nil {
				t.Fatal(err)
			}
			if n := len(s.log.Starts()); n != c.remain {
				t.Fatalf("%d files are left, not %d", n, c.remain)
			}
		})
	}
}

// A wish lasts for twenty rounds.
func TestClean_Wish(t *testing.T) {
	s, _, now := oldStore(t, func(cfg *Config) { cfg.Retention = Retention{Batch: 1} })
	s.DeleteExpired()
	for range manualRounds - 1 {
		if err := s.clean(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	*now = now.Add(100*24*time.Hour + time.Hour)
	for range 3 {
		if err := s.clean(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.log.Starts()); n != 9 {
		t.Fatalf("%d files are left, not 9", n)
	}
}

// What was cut off the log goes when it is as old as files of the log may get, at the hour for that, or when the disk is
// nearly full. What else somebody put there stays.
func TestClean_Diverged(t *testing.T) {
	for _, c := range []struct {
		name string
		age  time.Duration
		used int64
		gone bool
	}{
		{"young, its hour", 40 * time.Hour, 50, false},
		{"old, another hour", 73 * time.Hour, 50, false},
		{"old, its hour", 88 * time.Hour, 50, true},
		{"young, nearly full", 0, 86, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, disk, now := oldStore(t, func(cfg *Config) { cfg.Retention = Retention{Pause: 1} })
			ok(t, s.CutLog(s.LastRecord()))
			dir := filepath.Join(s.cfg.Dir, "rocketd-diverged")
			ok(t, os.WriteFile(filepath.Join(dir, "README"), nil, 0o600))
			*now = now.Add(c.age)
			disk.used.Store(c.used)
			ok(t, s.clean(t.Context(), s.measure()))
			left, err := os.ReadDir(dir)
			if ok(t, err); (len(left) == 1) != c.gone || left[len(left)-1].Name() != "README" {
				t.Fatal(left)
			}
		})
	}
}

// Forced cleaning takes no more than the disk asks for.
func TestClean_ForcedStops(t *testing.T) {
	s, disk, _ := oldStore(t, func(cfg *Config) { cfg.Retention = Retention{Pause: 1} })
	disk.used.Store(88)
	s.cfg.FS = lessUsed{disk, s.log.Starts}
	if err := s.clean(t.Context(), s.measure()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.log.Starts()); n != 7 {
		t.Fatalf("%d files are left, not 7", n)
	}
}

// lessUsed is a disk of which every file of the log takes one percent.
type lessUsed struct {
	*diskFS
	files func() []int64
}

func (l lessUsed) Free(string) (free, total int64, err error) {
	return int64(22-len(l.files())) << 30, 100 << 30, nil
}

// Queues and readers follow the log: the first offset moves on, files of queues go, who asks for what is gone is told
// where to go on, before and after a restart.
func TestClean_Queues(t *testing.T) {
	var dropped []int64
	s, _, _ := oldStore(t, func(cfg *Config) {
		cfg.Retention = Retention{Reserved: -1, Hours: []int{12}, Batch: 4, Pause: 1}
		cfg.Dropped = func(physical int64) { dropped = append(dropped, physical) }
	})
	dir := s.cfg.Dir
	if err := s.clean(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if len(dropped) != 1 || dropped[0] != 4*4096 || s.MinPhysical() != 4*4096 {
		t.Fatal(dropped, s.MinPhysical())
	}
	check := func() {
		t.Helper()
		q, x := s.Find([]byte("t"), 0), s.Find([]byte("x"), 0)
		if q.Min() == 0 || q.Max() != 400 || x.Min() != 1 || x.Max() != 1 {
			t.Fatal(q.Min(), q.Max(), x.Min(), x.Max())
		}
		equal(t, bodies(t, s, q), numbered(int(q.Min()), 400))
		for _, from := range []int64{0, q.Min() - 1} {
			if _, res := s.Get(q, Read{From: from, Max: 1}, nil); res.Status != OffsetTooSmall || res.Next != q.Min() || res.Min != q.Min() {
				t.Fatalf("%+v", res)
			}
		}
		if _, res := s.Get(x, Read{From: 0, Max: 1}, nil); res.Status != OffsetTooSmall || res.Next != 1 {
			t.Fatalf("%+v", res)
		}
	}
	check()
	if _, err := os.Stat(filepath.Join(dir, "consumequeue/t/0/00000000000000000000")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the first file of the queue is still there", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	check()
}

// Queues without messages go when asked, but those of topics that keep names. Who has found one before sends into the
// new one.
func TestCleanExpiredQueues(t *testing.T) {
	s, _, _ := oldStore(t)
	never := s.Queue("never", 0)
	old := s.Find([]byte("x"), 0)
	none := func(string) bool { return false }
	if n, err := s.CleanExpiredQueues(none); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.DropBefore(4096); err != nil {
		t.Fatal(err)
	}
	if n, err := s.CleanExpiredQueues(func(topic string) bool { return topic == "x" }); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := s.CleanExpiredQueues(none); n != 1 || err != nil || s.Find([]byte("x"), 0) != nil || s.Find([]byte("never"), 0) != never {
		t.Fatal(n, err)
	}
	if _, err := os.Stat(filepath.Join(s.cfg.Dir, "consumequeue/x")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var b Batch
	b.Add(old, draft("x", 0, "again"), 0)
	if err := s.Append(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	q := s.Find([]byte("x"), 0)
	if q == nil || b.At(0).Queue != q || b.At(0).Offset != 0 {
		t.Fatalf("%+v", b.At(0))
	}
	equal(t, bodies(t, s, q), []string{"again"})
}

// A disk that is nearly full takes no more messages, and says why; at most a second after there is room again, it
// does. In between, one that was full and is less so stays as it is.
func TestClean_Full(t *testing.T) {
	disk := &diskFS{FS: vfs.OS}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := testStore(t, dir, func(c *Config) { c.FS = disk })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		for _, c := range []struct {
			used    int64
			refused bool
		}{{50, false}, {90, false}, {91, true}, {86, true}, {85, false}, {89, false}, {100, true}, {20, false}} {
			disk.used.Store(c.used)
			time.Sleep(lookInterval)
			synctest.Wait()
			err := tryAppend(s, "t", "x")
			if (err != nil) != c.refused || c.refused && (!errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "90 %")) {
				t.Fatal(c.used, err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The cleaner looks by the clock, by the rules of the moment.
func TestClean_ByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := oldStore(t, func(c *Config) { c.Retention.Every = time.Minute })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := len(s.log.Starts()); n != 10 {
			t.Fatal(n)
		}
		if err := s.SetRetention(Retention{Reserved: -1, Hours: []int{12}, Every: 2 * time.Second, Batch: 1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := len(s.log.Starts()); n != 7 {
			t.Fatal(n)
		}
		if err := s.SetRetention(Retention{Reserved: -1, Hours: []int{13}, Every: time.Hour, Batch: 2}); err != nil {
			t.Fatal(err)
		}
		s.DeleteExpired()
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if n := len(s.log.Starts()); n != 5 {
			t.Fatal(n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestRetention_Bad(t *testing.T) {
	s := testStore(t, t.TempDir())
	for _, r := range []Retention{{Hours: []int{24}}, {Hours: []int{-1}}, {Every: -1}, {Batch: -1}, {Pause: -1}} {
		if err := s.SetRetention(r); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
	for in, want := range map[string]string{"04": "[4]", "4;16": "[4 16]", " 0 ; 24": "[0 0]", "": "", "x": "", "25": "", "4,5": ""} {
		hours, err := ParseHours(in)
		if err == nil && fmt.Sprint(hours) != want || err != nil && want != "" {
			t.Errorf("%q: %v %v", in, hours, err)
		}
	}
}

// A full disk does not keep a store from a clean end, nor from a start: the ballast makes room, and is made again when
// there is.
func TestBallast(t *testing.T) {
	dir := t.TempDir()
	ballast := filepath.Join(dir, Ballast)
	var full atomic.Bool
	faulty := &vfs.Faulty{FS: vfs.OS, Fail: func(op vfs.Op, name string) error {
		if op != vfs.OpWrite || !full.Load() {
			return nil
		}
		if _, err := os.Stat(ballast); err == nil {
			return syscall.ENOSPC
		}
		return nil
	}}
	open := func() *Store {
		s := testStore(t, dir, func(c *Config) { c.FS, c.FileSize = faulty, 64<<10 })
		s.keepBallast()
		return s
	}
	s := open()
	if info, err := os.Stat(ballast); err != nil || info.Size() != 4096 {
		t.Fatal(info, err)
	}
	send(t, s, "t", 0, numbered(0, 100)...)
	full.Store(true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Ballast, "abort"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Fatal(name, "is still there", err)
		}
	}
	full.Store(false)
	s = open()
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 100))
	if _, err := os.Stat(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	s = testStore(t, dir, func(c *Config) { c.FS, c.FileSize = faulty, 64<<10 })
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 100))
	if _, err := os.Stat(ballast); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

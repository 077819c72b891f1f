package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/consumequeue"
)

const firstLog = "commitlog/00000000000000000000"

// damage replaces bytes of a file from at on.
func damage(t *testing.T, name string, at int, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, int64(at))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A process that is killed loses nothing that Append has confirmed, whether or not the queues were written.
func TestRecover_Killed(t *testing.T) {
	for _, written := range []string{"nothing", "queues", "checkpoint"} {
		t.Run(written, func(t *testing.T) {
			dir := t.TempDir()
			s := testStore(t, dir)
			send(t, s, "a", 0, numbered(0, 100)...)
			send(t, s, "b", 3, numbered(0, 7)...)
			s.writing.Lock()
			switch written {
			case "queues":
				if err := s.writeDirty(); err != nil {
					t.Fatal(err)
				}
			case "checkpoint":
				if err := s.syncAll(); err != nil {
					t.Fatal(err)
				}
			}
			s.writing.Unlock()
			send(t, s, "a", 0, numbered(100, 150)...)
			dir = copyDir(t, dir)
			for round := range 3 {
				s = testStore(t, dir)
				equal(t, bodies(t, s, s.Find([]byte("a"), 0)), numbered(0, 150+round))
				equal(t, bodies(t, s, s.Find([]byte("b"), 3)), numbered(0, 7))
				send(t, s, "a", 0, fmt.Sprint("body ", 150+round))
				if round == 1 {
					dir = copyDir(t, dir)
				} else if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Wherever the log is torn, what is whole before stays, and what was behind never comes back: not when the rest was
// lost, and not when it is still there behind one bad byte.
func TestRecover_TornAnywhere(t *testing.T) {
	dir := t.TempDir()
	fast := func(c *Config) { c.FS = &vfs.Faulty{FS: vfs.OS, NoSync: true} }
	s := testStore(t, dir, fast)
	var ends []int
	for i := range 2 {
		ends = append(ends, int(send(t, s, "t", 0, fmt.Sprint("body ", i)).End()))
	}
	whole := ends[len(ends)-1]
	for at := range whole {
		for _, kind := range []string{"lost", "bad byte"} {
			torn := copyDir(t, dir)
			log, err := os.ReadFile(filepath.Join(torn, firstLog))
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, whole-at)
			if kind == "bad byte" {
				b = []byte{log[at] ^ 0x55}
			}
			damage(t, filepath.Join(torn, firstLog), at, b)
			// Records before the one at the damaged byte. A record goes on when the byte is not one that anything vouches
			// for: the count is then that of the whole log.
			// The last two bytes of these records are zero, so losing them changes nothing.
			want, zeros := 0, 2
			if kind == "bad byte" {
				zeros = 0
			}
			for want < len(ends) && ends[want]-zeros <= at {
				want++
			}
			s := testStore(t, torn, fast)
			q := s.Queue("t", 0)
			got := int(q.Max())
			if got != want && (kind == "lost" || !unguarded(at%ends[0])) {
				t.Fatalf("%s at byte %d: %d messages, not %d", kind, at, got, want)
			}
			if kind == "lost" {
				equal(t, bodies(t, s, q), numbered(0, got)[0:got:got])
				send(t, s, "t", 0, fmt.Sprint("body ", got))
				// Without Close: what was cut must be gone from the disk.
				again := testStore(t, copyDir(t, torn), fast)
				equal(t, bodies(t, again, again.Queue("t", 0)), numbered(0, got+1))
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			os.RemoveAll(torn)
		}
	}
}

// unguarded tells whether nothing in a record says that this byte is right: numbers that stand for themselves, and
// the topic's letter. A changed topic, queue, or flag byte makes another good record of the same length.
func unguarded(at int) bool {
	inSize, inMagic, inCRC := at < 4, at < 8, at < 12
	physical := at >= 28 && at < 36
	body := at >= 84 && at < 88+len("body 0")
	lengths := at == 88+len("body 0") || at >= 88+len("body 0")+2
	return !(inSize || inMagic || inCRC || physical || body || lengths)
}

// Leftovers of older records that look whole, but belong elsewhere, are no part of the log (Java's writeWithoutMmap
// leaves such bytes behind).
func TestRecover_Leftovers(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	b := send(t, s, "t", 0, "one", "two")
	rec := append([]byte(nil), b.Record(0)...)
	dir = copyDir(t, dir)
	damage(t, filepath.Join(dir, firstLog), int(b.End()), rec)
	s = testStore(t, dir)
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), []string{"one", "two"})
	log, err := os.ReadFile(filepath.Join(dir, firstLog))
	if err != nil || strings.Trim(string(log[b.End():]), "\x00") != "" {
		t.Fatal("leftovers are still there", err)
	}
}

// Files of the log that were prepared and not used, also empty ones, are no obstacle.
func TestRecover_PreparedFile(t *testing.T) {
	for _, size := range []int{0, 4096} {
		dir := t.TempDir()
		s := testStore(t, dir)
		send(t, s, "t", 0, numbered(0, 5)...)
		dir = copyDir(t, dir)
		if err := os.WriteFile(filepath.Join(dir, "commitlog/00000000000000004096"), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		s = testStore(t, dir)
		send(t, s, "t", 0, numbered(5, 100)...)
		equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 100))
	}
}

// Queues that are gone are built again from the log, after a kill and after a clean end.
func TestRecover_QueuesGone(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dir := t.TempDir()
		s := testStore(t, dir)
		send(t, s, "t", 0, numbered(0, 90)...)
		s.writing.Lock()
		if err := s.syncAll(); err != nil {
			t.Fatal(err)
		}
		s.writing.Unlock()
		if clean {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		dir = copyDir(t, dir)
		if err := os.RemoveAll(filepath.Join(dir, "consumequeue")); err != nil {
			t.Fatal(err)
		}
		s = testStore(t, dir)
		equal(t, bodies(t, s, s.Queue("t", 0)), numbered(0, 90))
	}
}

// When the oldest files of the log are gone, queues begin at the first record that is there, and times before it
// lead there.
func TestRecover_OldFilesGone(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	send(t, s, "t", 0, numbered(0, 200)...)
	send(t, s, "old", 0, "x")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{firstLog, "commitlog/00000000000000004096"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s = testStore(t, dir)
	q := s.Find([]byte("t"), 0)
	if s.MinPhysical() != 8192 || q.Min() == 0 || q.Max() != 200 {
		t.Fatal(s.MinPhysical(), q.Min(), q.Max())
	}
	equal(t, bodies(t, s, q), numbered(int(q.Min()), 200))
	if _, res := s.Get(q, Read{From: 0, Max: 1}, nil); res.Status != OffsetTooSmall || res.Next != q.Min() {
		t.Fatalf("%+v", res)
	}
	if at := s.OffsetByTime(q, 0, Lower); at != q.Min() {
		t.Fatal(at)
	}
	if s.StoreTime(q, q.Min()-1) != -1 || s.StoreTime(q, q.Min()) <= 0 {
		t.Fatal("store times")
	}
	// Built again without its first messages, the queue keeps its numbers.
	first := q.Min()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "consumequeue")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = testStore(t, dir)
		if q = s.Find([]byte("t"), 0); q.Min() != first || q.Max() != 200 {
			t.Fatal(q.Min(), q.Max(), first)
		}
		equal(t, bodies(t, s, q), numbered(int(first), 200))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Old files of the log are dropped while others read and append; queue files that say nothing else go with them.
func TestStore_DropBefore(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	send(t, s, "t", 0, numbered(0, 200)...)
	send(t, s, "gone", 0, "x") // in a file that stays
	q := s.Find([]byte("t"), 0)
	stop := make(chan bool)
	done := make(chan bool)
	go func() {
		defer close(done)
		for at := int64(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			if _, res := s.Get(q, Read{From: at, Max: 7}, nil); res.Next != at {
				at = res.Next % 200
			}
		}
	}()
	for end := int64(4096); end < s.MaxPhysical()+8192; end += 4096 {
		if err := s.DropBefore(end); err != nil {
			t.Fatal(err)
		}
		if s.MinPhysical() != min(end, s.MaxPhysical()/4096*4096) {
			t.Fatal(s.MinPhysical())
		}
		equal(t, bodies(t, s, q), numbered(int(q.Min()), int(q.Max())))
		n := int(q.Max())
		send(t, s, "t", 0, numbered(n, n+10)...)
		if err := s.look(true); err != nil {
			t.Fatal(err)
		}
		if end > 12*4096 {
			break
		}
	}
	close(stop)
	<-done
	first, end := q.Min(), q.Max()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "consumequeue/t/0/00000000000000000000")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("first queue file is still there", err)
	}
	s = testStore(t, dir)
	if q = s.Find([]byte("t"), 0); q.Min() != first || q.Max() != end {
		t.Fatal(q.Min(), q.Max())
	}
	equal(t, bodies(t, s, q), numbered(int(first), int(end)))
}

// A store whose log is gone begins anew.
func TestRecover_LogGone(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	send(t, s, "t", 0, numbered(0, 30)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "commitlog")); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	send(t, s, "t", 0, "new")
	q := s.Find([]byte("t"), 0)
	equal(t, bodies(t, s, q), []string{"new"})
	if q.Max() != 1 {
		t.Fatal(q.Max())
	}
}

// A deleted topic is gone from memory and disk, starts at 0 again, and stays gone after a clean end.
func TestStore_DeleteTopic(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	send(t, s, "t", 0, numbered(0, 30)...)
	send(t, s, "t", 1, "x")
	send(t, s, "keep", 0, "y")
	s.writing.Lock()
	if err := s.writeDirty(); err != nil {
		t.Fatal(err)
	}
	s.writing.Unlock()
	old := s.Find([]byte("t"), 0)
	if err := s.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	if s.Find([]byte("t"), 0) != nil || len(s.Queues("t")) != 0 || fmt.Sprint(s.Topics()) != "[keep]" {
		t.Fatal("still there")
	}
	var b Batch // a producer that looked the queue up before
	b.Add(old, draft("t", 0, "late"), 0)
	if err := s.Append(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "consumequeue", "t")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	send(t, s, "t", 0, "again")
	q := s.Find([]byte("t"), 0)
	equal(t, bodies(t, s, q)[max(0, int(q.Max()-q.Min())-1):], []string{"again"})
}

// A record without a queue is in the log only; recovery passes over it.
func TestStore_NoQueue(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	var b Batch
	d := draft("t", 0, "prepared")
	d.SysFlag = message.FlagPrepared
	b.Add(nil, d, 0)
	b.Add(s.Queue("t", 0), draft("t", 0, "normal"), 0)
	if err := s.Append(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	if rec, err := s.Record(b.At(0).Physical, nil); err != nil || string(rec) != string(b.Record(0)) {
		t.Fatal(err)
	}
	s = testStore(t, copyDir(t, dir))
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), []string{"normal"})
}

// The checkpoint comes back; a missing one is zero.
func TestCheckpoint(t *testing.T) {
	name := filepath.Join(t.TempDir(), "checkpoint")
	got, err := readCheckpoint(vfs.OS, name)
	if err != nil || got != (checkpoint{}) {
		t.Fatal(got, err)
	}
	want := checkpoint{1, 2, 3, 4, 5, 6, 7, 1}
	if err := want.write(vfs.OS, name); err != nil {
		t.Fatal(err)
	}
	if got, err = readCheckpoint(vfs.OS, name); err != nil || got != want {
		t.Fatal(got, err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != 4096 {
		t.Fatal(info, err)
	}
	damage(t, name, 7, []byte{9}) // Java moves physicMs on, and knows nothing of flushed
	want.physicMs, want.flushed, want.cutting = 9, 0, 0
	if got, err = readCheckpoint(vfs.OS, name); err != nil || got != want {
		t.Fatal(got, err)
	}
}

// Many idle queues cost little memory and no files.
func TestStore_ManyQueues(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir, func(c *Config) { c.FileSize, c.OpenFiles = 1<<20, 8 })
	var b Batch
	for i := range 300 {
		b.Add(s.Queue(fmt.Sprint("topic", i), 0), draft(fmt.Sprint("topic", i), 0, fmt.Sprint(i)), 0)
	}
	if err := s.Append(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	for range quietLooks * (quietRounds + 1) {
		if err := s.look(true); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.warm) != 0 {
		t.Fatal(len(s.warm), "queues have units in memory")
	}
	check := func(s *Store) {
		t.Helper()
		for i := range 300 {
			equal(t, bodies(t, s, s.Find(fmt.Append(nil, "topic", i), 0)), []string{fmt.Sprint(i)})
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(testStore(t, dir, func(c *Config) { c.FileSize, c.OpenFiles = 1<<20, 8 }))
}

// Units of one queue go through small pieces, full pieces, the file, and pieces used again, and stay in order.
func TestStore_LongQueue(t *testing.T) {
	s := testStore(t, t.TempDir(), func(c *Config) { c.FileSize, c.QueueFileSize = 1<<20, 2000*consumequeue.UnitSize })
	for i := range 60 {
		send(t, s, "t", 0, numbered(100*i, 100*i+100)...)
		if i%7 == 0 {
			if err := s.look(true); err != nil {
				t.Fatal(err)
			}
		}
	}
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 6000))
}

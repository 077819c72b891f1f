package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/consumequeue"
)

// synced makes the checkpoint vouch for everything, and then appends one more to each queue, so that a recovery reads
// from the start of that.
func synced(t *testing.T, s *Store) {
	t.Helper()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.syncAll(); err != nil {
		t.Fatal(err)
	}
}

// readable returns the bodies of a queue that can be read, by offset.
func readable(t *testing.T, s *Store, q *consumequeue.Queue) map[int64]string {
	t.Helper()
	got := make(map[int64]string)
	for at := q.Min(); at < q.Max(); {
		dst, res := s.Get(q, Read{From: at, Max: 1}, nil)
		if res.Next <= at {
			t.Fatalf("stands still at %d: %+v", at, res)
		}
		if res.Count == 1 {
			r, err := message.Decode(dst)
			if err != nil {
				t.Fatal(err)
			}
			got[r.QueueOffset] = string(r.Body)
		}
		at = res.Next
	}
	return got
}

// One bad byte anywhere in a record that was on the disk costs that record and no other: after a clean end, and after
// a crash when the checkpoint vouches for it. It is reported with its place, stays as it is, and its number is not
// given again. The last record is no exception, unless neither it nor its queue, which is gone here, tells its number.
func TestDamage_AnyByte(t *testing.T) {
	dir := t.TempDir()
	fast := func(c *Config) { c.FS = &vfs.Faulty{FS: vfs.OS, NoSync: true} }
	s := testStore(t, dir, fast)
	const n = 5
	var at []int
	for i := range n {
		at = append(at, int(send(t, s, "t", 0, fmt.Sprint("body ", i)).At(0).Physical))
	}
	end := int(s.MaxPhysical())
	at = append(at, end)
	synced(t, s)
	killed := copyDir(t, dir)
	if err := os.Remove(filepath.Join(killed, "consumequeue/t/0/00000000000000000000")); err != nil { // all is scanned
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{dir, killed} {
		for _, bad := range []int{0, 2, n - 1} {
			for pos := at[bad]; pos < at[bad+1]; pos++ {
				if unguarded(pos - at[bad]) {
					continue
				}
				name := fmt.Sprintf("clean %v, record %d, byte %d", from == dir, bad, pos-at[bad])
				torn := copyDir(t, from)
				file := filepath.Join(torn, firstLog)
				before, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				damage(t, file, pos, []byte{before[pos] ^ 0x55})
				for round := range 2 {
					s := testStore(t, torn, fast)
					q := s.Queue("t", 0)
					got := readable(t, s, q)
					for i := range int64(n) {
						if want := fmt.Sprint("body ", i); int(i) != bad && got[i] != want || int(i) == bad && got[i] != "" && (bad != n-1 || from == dir) {
							t.Fatalf("%s: offset %d is %q; %v", name, i, got[i], s.Damage())
						}
					}
					ds := s.Damage()
					if len(ds) != 1 || s.DamageCount() != 1 || ds[0].Physical != int64(at[bad]) || (ds[0].Bytes != int64(at[bad+1]-at[bad]) && (bad != n-1 || from == dir)) || !strings.HasSuffix(ds[0].File, firstLog) {
						t.Fatalf("%s: %+v", name, ds)
					}
					if q.Max() != int64(n+round) && (bad != n-1 || from == dir) {
						t.Fatalf("%s: the queue ends at %d", name, q.Max())
					}
					if s.MaxPhysical() < int64(end)-2 { // the last bytes are zero
						t.Fatalf("%s: the log ends at %d", name, s.MaxPhysical())
					}
					send(t, s, "t", 0, "more")
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				after, err := os.ReadFile(file)
				before[pos] ^= 0x55
				if err != nil || string(after[:end-2]) != string(before[:end-2]) {
					t.Fatalf("%s: the log was changed", name)
				}
				os.RemoveAll(torn)
			}
		}
	}
}

// Whole pages that are gone, and the first record of a file, or the end of one, are damage like a bad byte: what lies
// in the next file stays.
func TestDamage_Pages(t *testing.T) {
	dir := t.TempDir()
	with := func(c *Config) { c.FileSize, c.QueueFileSize = 16384, 20000 }
	s := testStore(t, dir, with)
	var ends []int64
	for i := range 400 {
		ends = append(ends, send(t, s, "t", 0, fmt.Sprint("body ", i)).End())
	}
	synced(t, s)
	dir = copyDir(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "consumequeue")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to int64 }{{4096, 8192}, {0, 4096}, {12288, 16384}, {8192, 20480}, {16384, 16400}, {0, 16384}} {
		torn := copyDir(t, dir)
		for at := c.from; at < c.to; {
			start := at / 16384 * 16384
			n := min(c.to, start+16384) - at
			damage(t, filepath.Join(torn, fmt.Sprintf("commitlog/%020d", start)), int(at-start), make([]byte, n))
			at += n
		}
		s := testStore(t, torn, with)
		q := s.Find([]byte("t"), 0)
		got := readable(t, s, q)
		for i, end := range ends {
			start := end - 97 - int64(len(fmt.Sprint(i)))
			touched := end > c.from && start < c.to
			if body := got[int64(i)]; !touched && body != fmt.Sprint("body ", i) || touched && end-2 > c.from && body != "" {
				t.Fatalf("%+v: offset %d (%d to %d) is %q; %v", c, i, start, end, body, s.Damage())
			}
		}
		if s.DamageCount() == 0 || s.MaxPhysical() != ends[len(ends)-1] {
			t.Fatalf("%+v: %v", c, s.Damage())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the bad byte lies in the last record that the checkpoint vouches for, what came behind it before a kill stays.
func TestDamage_BeforeNotSynced(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	b := send(t, s, "t", 0, numbered(0, 3)...)
	synced(t, s)
	send(t, s, "t", 0, numbered(3, 5)...)
	end := s.MaxPhysical()
	dir = copyDir(t, dir)
	damage(t, filepath.Join(dir, firstLog), int(b.At(2).Physical)+90, []byte{1})
	s = testStore(t, dir)
	got := readable(t, s, s.Find([]byte("t"), 0))
	if want := numbered(0, 5); len(got) != 4 || got[3] != want[3] || got[4] != want[4] || s.DamageCount() != 1 || s.MaxPhysical() != end {
		t.Fatal(got, s.Damage(), s.MaxPhysical())
	}
}

// What was not synced is another matter: pages reach the disk in any order, and the log ends where the first one is
// missing. Records left from an older end of the log are no sign that anything is missing.
func TestDamage_NotSynced(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	send(t, s, "t", 0, numbered(0, 3)...)
	synced(t, s)
	b := send(t, s, "t", 0, numbered(3, 8)...)
	dir = copyDir(t, dir)
	damage(t, filepath.Join(dir, firstLog), int(b.At(1).Physical)+88, make([]byte, 20))
	s = testStore(t, dir)
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 4))
	if s.DamageCount() != 0 || s.MaxPhysical() != b.At(1).Physical {
		t.Fatal(s.Damage(), s.MaxPhysical())
	}
	// Java's checkpoint vouches for it, since what lies behind it is much younger than what lies before it.
	var last Batch
	last.Add(s.Queue("t", 0), draft("t", 0, "late"), 0)
	if err := s.Append(&last, time.UnixMilli(100_000)); err != nil {
		t.Fatal(err)
	}
	young := copyDir(t, dir)
	damage(t, filepath.Join(young, firstLog), int(b.At(0).Physical)+90, []byte{1})
	damage(t, filepath.Join(young, "checkpoint"), sealAt, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	s = testStore(t, young)
	if got := readable(t, s, s.Find([]byte("t"), 0)); got[4] != "late" || got[3] != "" || s.DamageCount() != 1 {
		t.Fatal(got, s.Damage())
	}
	// Older, and its number is taken: a leftover.
	old := copyDir(t, dir)
	rec := append([]byte(nil), b.Record(0)...)
	at := last.End() + 50
	putInt64(rec[28:], at)
	putInt64(rec[20:], 2)
	damage(t, filepath.Join(old, firstLog), int(at), rec)
	s = testStore(t, old)
	if s.MaxPhysical() != last.End() || s.DamageCount() != 0 {
		t.Fatal(s.MaxPhysical(), s.Damage())
	}
}

// A clock that was set back, or forward, makes nothing that a power cut took look as if it had been on the disk.
func TestDamage_ClockSet(t *testing.T) {
	for _, set := range []time.Duration{-time.Hour, -1500 * time.Millisecond, time.Hour} {
		dir := t.TempDir()
		s := testStore(t, dir)
		add := func(at time.Time, body string) {
			var b Batch
			b.Add(s.Queue("t", 0), draft("t", 0, body), 0)
			ok(t, s.Append(&b, at))
		}
		now := time.UnixMilli(10_000_000)
		add(now, "synced")
		synced(t, s)
		lost := s.MaxPhysical()
		add(now.Add(time.Second), "lost")
		add(now.Add(time.Second+set), "not synced either")
		dir = copyDir(t, dir)
		damage(t, filepath.Join(dir, firstLog), int(lost), make([]byte, 20))
		s = testStore(t, dir)
		if s.DamageCount() != 0 || s.MaxPhysical() != lost {
			t.Fatal(set, s.Damage(), s.MaxPhysical())
		}
	}
}

func putInt64(b []byte, v int64) {
	for i := range 8 {
		b[i] = byte(v >> (56 - 8*i))
	}
}

// What was found is known at the next start, until it is whole again.
func TestDamage_Remembered(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	b := send(t, s, "t", 0, numbered(0, 50)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	at := int(b.At(7).Physical) + 90
	damage(t, filepath.Join(dir, firstLog), at, []byte("X"))
	s = testStore(t, dir)
	if s.DamageCount() != 0 {
		t.Fatal("nobody has looked there yet")
	}
	if _, err := s.Record(b.At(7).Physical, nil); err == nil {
		t.Fatal("a damaged record was given out")
	}
	if got := readable(t, s, s.Find([]byte("t"), 0)); len(got) != 49 || s.DamageCount() != 1 {
		t.Fatal(len(got), s.Damage())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, dir)
	if d := s.Damage(); len(d) != 1 || d[0].Physical != b.At(7).Physical || d[0].Reason != "body has a wrong checksum" {
		t.Fatalf("%+v", d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, firstLog), at, []byte("d"))
	s = testStore(t, dir)
	if s.DamageCount() != 0 {
		t.Fatal(s.Damage())
	}
	equal(t, bodies(t, s, s.Find([]byte("t"), 0)), numbered(0, 50))
}

// A page that the disk does not give is damage for who reads it, and for a recovery with whole records behind it; with
// nothing whole behind it, nobody knows where the log ends, and the store does not open.
func TestDamage_Unreadable(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir, func(c *Config) { c.FileSize, c.QueueFileSize = 1<<20, 20000 })
	send(t, s, "t", 0, numbered(0, 300)...)
	synced(t, s)
	end := s.MaxPhysical()
	dir = copyDir(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "consumequeue")); err != nil {
		t.Fatal(err)
	}
	bad := &badPage{FS: vfs.OS}
	with := func(c *Config) { c.FileSize, c.QueueFileSize, c.FS = 1<<20, 20000, bad }
	bad.at.Store(8192)
	s = testStore(t, copyDir(t, dir), with)
	got := readable(t, s, s.Find([]byte("t"), 0))
	if s.DamageCount() != 1 || s.MaxPhysical() != end || len(got) < 250 || got[0] != "body 0" || got[299] != "body 299" {
		t.Fatal(len(got), s.Damage())
	}
	bad.at.Store(end / 4096 * 4096)
	if _, err := Open(Config{Dir: copyDir(t, dir), FileSize: 1 << 20, QueueFileSize: 20000, FS: bad}); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// badPage is a disk with one page in the log that cannot be read.
type badPage struct {
	vfs.FS
	at atomic.Int64
}

type badPageFile struct {
	vfs.File
	fs *badPage
}

func (b *badPage) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := b.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, firstLog) {
		return f, err
	}
	return badPageFile{f, b}, nil
}

func (f badPageFile) ReadAt(b []byte, off int64) (int, error) {
	if at := f.fs.at.Load(); off < at+4096 && off+int64(len(b)) > at {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, off)
}

func (f badPageFile) Map(int64) (vfs.Mapping, error) { return nil, vfs.ErrNoMap }

// Who must not wait gets what is in memory, and is told when only the disk has the rest; who may wait gets all.
func TestGet_NoWait(t *testing.T) {
	dir := t.TempDir()
	disk := &coldFS{FS: vfs.OS}
	small := func(c *Config) { c.FileSize, c.QueueFileSize, c.FS = 1<<20, 20000, disk }
	s := testStore(t, dir, small)
	send(t, s, "t", 0, numbered(0, 500)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.from.Store(math.MaxInt64)
	s = testStore(t, dir, small)
	q := s.Find([]byte("t"), 0)
	get := func(from int64, noWait bool) ReadResult {
		_, res := s.Get(q, Read{From: from, Max: 32, NoWait: noWait}, nil)
		return res
	}
	disk.from.Store(0)
	if res := get(0, true); res.Status != OnDisk || res.Next != 0 || res.Count != 0 {
		t.Fatalf("%+v", res)
	}
	if res := get(0, false); res.Status != Found || res.Count != 32 { // opens the file of the queue
		t.Fatalf("%+v", res)
	}
	disk.from.Store(10_000) // of the log; record 0 to some 100 are in memory
	if res := get(0, true); res.Status != Found || res.Count != 32 {
		t.Fatalf("%+v", res)
	}
	var part ReadResult
	for from := int64(0); part.Status == Found; from = part.Next {
		part = get(from, true)
	}
	if part.Status != OnDisk || part.Next < 90 || part.Next > 103 {
		t.Fatalf("%+v", part)
	}
	if res := get(part.Next, false); res.Status != Found || res.Count != 32 {
		t.Fatalf("%+v", res)
	}
	equal(t, bodies(t, s, q), numbered(0, 500))
	// New ones are in memory, whatever the disk says.
	send(t, s, "t", 0, "new")
	if res := get(500, true); res.Status != Found || res.Count != 1 {
		t.Fatalf("%+v", res)
	}
}

// coldFS is a disk that has nothing in memory of the log from a byte on.
type coldFS struct {
	vfs.FS
	from atomic.Int64
}

type coldFile struct {
	vfs.File
	fs *coldFS
}

func (c *coldFS) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, firstLog) {
		return f, err
	}
	return coldFile{f, c}, nil
}

func (f coldFile) ReadCached(b []byte, off int64) (int, error) {
	n := min(int64(len(b)), f.fs.from.Load()-off)
	if n <= 0 {
		return 0, vfs.ErrWouldWait
	}
	return f.ReadAt(b[:n], off)
}

func (coldFile) WillNeed(off, n int64)               {}
func (coldFile) RandomReads()                        {}
func (f coldFile) NextData(off int64) (int64, error) { return vfs.NextData(f.File, off) }

package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/compaction"
	"rocketd/store/consumequeue"
)

// compactStore opens a store in which the topic c keeps the last message of each key, in small files.
func compactStore(t *testing.T, dir string, change ...func(c *Config)) *Store {
	return testStore(t, dir, append([]func(c *Config){func(c *Config) {
		c.Compaction = Compaction{Of: func(topic string) bool { return topic == "c" }, FileSize: 920, UnitFileSize: 460}
	}}, change...)...)
}

// sendKeys appends messages whose keys and bodies are given, key=body.
func sendKeys(t *testing.T, s *Store, messages ...string) {
	t.Helper()
	b := new(Batch)
	q := s.Queue("c", 0)
	for _, m := range messages {
		key, body, _ := strings.Cut(m, "=")
		d := draft("c", 0, body)
		d.Properties = message.AppendProperty(nil, message.PropKeys, []byte(key))
		b.Add(q, d, message.TagOf(d.Properties))
	}
	if err := s.Append(b, time.UnixMilli(1000+s.MaxPhysical())); err != nil {
		t.Fatal(err)
	}
}

// table reads all of the topic c as a consumer does: offset key=body.
func table(t *testing.T, s *Store) (all []string) {
	t.Helper()
	q := s.Find([]byte("c"), 0)
	for from := int64(0); ; {
		var offsets []int64
		dst, res := s.Get(q, Read{From: from, Max: 3, Offsets: &offsets}, nil)
		if res.Status == OffsetOverflowOne || res.Status == NoMatchedLogicQueue || res.Status == NoMessageInQueue {
			return all
		}
		if res.Status != Found && res.Status != OffsetTooSmall && res.Status != NoMatchedMessage || res.Next <= from {
			t.Fatalf("from %d: %+v", from, res)
		}
		for from = res.Next; len(dst) > 0; offsets = offsets[1:] {
			r, err := message.Decode(dst)
			if err != nil || !r.CheckCRC() || len(offsets) == 0 || offsets[0] != r.QueueOffset {
				t.Fatal(err, offsets, r.QueueOffset)
			}
			key, _ := message.Property(r.Properties, message.PropKeys)
			all = append(all, fmt.Sprintf("%d %s=%s", r.QueueOffset, key, r.Body))
			dst = dst[r.Size:]
		}
	}
}

// copyAll does what the loops of Run do in time.
func copyAll(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.log.Sync()
	if err = errors.Join(err, s.copyCompacted(true), s.syncCompacted()); err != nil {
		t.Fatal(err)
	}
	s.compactAll(t.Context(), nil)
}

// rounds sends messages with a few keys.
func rounds(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("k%d=%d", i%7, i))
	}
	return all
}

// A consumer sees all that was not compacted yet, and of the rest the last of each key; also after a start, a crash, and when
// the files of the commit log are gone.
func TestStore_Compacted(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	sendKeys(t, s, rounds(0, 40)...)
	if got := table(t, s); len(got) != 40 {
		t.Fatal(got)
	}
	copyAll(t, s)
	compacted := table(t, s)
	if len(compacted) > 20 || len(compacted) < 7 || !slices.Contains(compacted, "39 k4=39") {
		t.Fatal(compacted)
	}
	sendKeys(t, s, "k3=new", "k4=")
	want := append(compacted, "40 k3=new", "41 k4=")
	equal(t, table(t, s), want)
	killed := copyDir(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, killed} {
		s := compactStore(t, dir)
		equal(t, table(t, s), want)
		sendKeys(t, s, rounds(42, 100)...)
		copyAll(t, s)
		before := table(t, s)
		if len(before) > 25 || slices.ContainsFunc(before, func(m string) bool { return strings.Contains(m, " k3=new") }) {
			t.Fatal(before)
		}
		if err := s.DropBefore(s.MaxPhysical()); err != nil || s.MinPhysical() == 0 {
			t.Fatal(s.MinPhysical(), err)
		}
		equal(t, table(t, s), before)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = compactStore(t, dir)
		equal(t, table(t, s), before)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// With its queue and all of the commit log gone, a queue goes on with the number that its compaction log ends with.
func TestStore_Compacted_Alone(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	sendKeys(t, s, rounds(0, 40)...)
	copyAll(t, s)
	want := table(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"commitlog", "consumequeue", "checkpoint"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []int{40, 41} {
		s = compactStore(t, dir)
		equal(t, table(t, s), want)
		sendKeys(t, s, "x=y")
		want = append(want, fmt.Sprintf("%d x=y", at))
		equal(t, table(t, s), want)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A lost folder is built again from the commit log; an old one is brought up to date.
func TestStore_Compacted_Lost(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	sendKeys(t, s, rounds(0, 20)...)
	copyAll(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(copyDir(t, dir), "compaction")
	s = compactStore(t, dir)
	sendKeys(t, s, rounds(20, 60)...)
	copyAll(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, have := range []string{"", old} {
		if err := os.RemoveAll(filepath.Join(dir, "compaction")); err != nil {
			t.Fatal(err)
		}
		if have != "" {
			if err := os.CopyFS(filepath.Join(dir, "compaction"), os.DirFS(have)); err != nil {
				t.Fatal(err)
			}
		}
		s = compactStore(t, dir)
		copyAll(t, s)
		got := table(t, s)
		for i := 53; i < 60; i++ {
			if !slices.Contains(got, fmt.Sprintf("%d k%d=%d", i, i%7, i)) {
				t.Errorf("%d is not in %v", i, got)
			}
		}
		if err := s.Close(); err != nil || len(got) > 25 {
			t.Fatal(len(got), err)
		}
	}
}

// A deleted topic has no files, and begins anew.
func TestStore_Compacted_Delete(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	sendKeys(t, s, rounds(0, 40)...)
	copyAll(t, s)
	if err := s.DeleteTopic("c"); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{compactionLogDir, compactionUnitsDir} {
		if left, err := os.ReadDir(filepath.Join(dir, sub)); err != nil || len(left) > 0 {
			t.Error(left, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, compactionDir, compaction.PositionFile)); err != nil || strings.Contains(string(data), "c_0") {
		t.Error(string(data), err)
	}
	sendKeys(t, s, "a=b")
	copyAll(t, s)
	equal(t, table(t, s), []string{"0 a=b"})
}

// What is not on the disk of the commit log is not copied; what is cut off it is cut off the compaction log.
func TestStore_Compacted_Cut(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	sendKeys(t, s, rounds(0, 30)...)
	at := s.MaxPhysical()
	copyAll(t, s)
	sendKeys(t, s, rounds(30, 33)...)
	if err := s.copyCompacted(true); err != nil {
		t.Fatal(err)
	}
	l := s.compactLog(s.Find([]byte("c"), 0))
	if l.Max() != 30 {
		t.Fatal("copied what the commit log may lose: ", l.Max())
	}
	before := table(t, s)
	copyAll(t, s)
	if err := s.CutLog(at); err != nil || l.Max() != 30 {
		t.Fatal(l.Max(), err)
	}
	equal(t, table(t, s), before[:len(before)-3])
	sendKeys(t, s, "other=30")
	copyAll(t, s)
	if got := table(t, s); got[len(got)-1] != "30 other=30" || l.Max() != 31 {
		t.Fatal(got)
	}
}

// After a crash in the midst of a cut, when a queue has lost all its messages and its compaction log has them still, new ones
// are copied and seen.
func TestStore_Compacted_CutHalf(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	send(t, s, "t", 0, "first")
	at := s.MaxPhysical()
	sendKeys(t, s, rounds(0, 30)...)
	copyAll(t, s)
	had := filepath.Join(copyDir(t, dir), "compaction")
	if err := s.CutLog(at); err != nil {
		t.Fatal(err)
	}
	killed := copyDir(t, dir)
	ok(t, os.RemoveAll(filepath.Join(killed, "compaction")))
	ok(t, os.CopyFS(filepath.Join(killed, "compaction"), os.DirFS(had)))
	s = compactStore(t, killed)
	sendKeys(t, s, "other=0")
	copyAll(t, s)
	equal(t, table(t, s), []string{"0 other=0"})
}

// Before all of the log is dropped, its end too is copied, which nobody has brought to the disk yet.
func TestStore_Compacted_Restart(t *testing.T) {
	s := compactStore(t, t.TempDir())
	sendKeys(t, s, rounds(0, 30)...)
	copyAll(t, s)
	sendKeys(t, s, "last=30")
	want := table(t, s)
	if err := s.RestartLog(s.cfg.FileSize * 100); err != nil || s.MinPhysical() == 0 {
		t.Fatal(s.MinPhysical(), err)
	}
	equal(t, table(t, s), want)
}

// A look at the queues that comes in the midst of a cut copies nothing, and does not wait for its end.
func TestStore_Compacted_Cutting(t *testing.T) {
	s := compactStore(t, t.TempDir())
	sendKeys(t, s, rounds(0, 30)...)
	_, err := s.log.Sync()
	ok(t, err)
	s.cuts.Add(1)
	ok(t, s.copyCompacted(true))
	l := s.compactLog(s.Find([]byte("c"), 0))
	if l.Max() != 0 {
		t.Fatal(l.Max())
	}
	s.cuts.Add(1)
	ok(t, s.copyCompacted(false))
	if l.Max() != 30 {
		t.Fatal(l.Max())
	}
	for _, status := range []Status{MessageWasRemoving, Found} { // nor is anything given out
		s.cuts.Add(1)
		offsets := []int64{-1}
		dst, res := s.Get(s.Find([]byte("c"), 0), Read{From: 7, Max: 3, Offsets: &offsets}, nil)
		if res.Status != status || (len(dst) > 0) != (status == Found) || status != Found && res.Next != 7 || len(offsets) != 1+res.Count {
			t.Fatal(res, len(dst), offsets)
		}
	}
}

// After a crash the end of a compaction log is copied again, also where its topic becomes known only later.
func TestStore_Compacted_Later(t *testing.T) {
	dir := t.TempDir()
	s := compactStore(t, dir)
	sendKeys(t, s, rounds(0, 40)...)
	copyAll(t, s)
	dir = copyDir(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, compactionLogDir, "c/0/0*"))
	ok(t, err)
	last := files[len(files)-1]
	data, err := os.ReadFile(last)
	ok(t, err)
	damage(t, last, bytes.LastIndex(data, []byte("k4")), make([]byte, 2)) // no checksum says so
	var known atomic.Bool
	s = compactStore(t, dir, func(c *Config) { c.Compaction.Of = func(topic string) bool { return topic == "c" && known.Load() } })
	known.Store(true)
	copyAll(t, s)
	for _, want := range rounds(33, 40) {
		if got := table(t, s); !slices.ContainsFunc(got, func(m string) bool { return strings.HasSuffix(m, " "+want) }) {
			t.Errorf("%s is not in %q", want, got)
		}
	}
}

// More messages in a row have been lost than one read looks at: the copy goes on behind them.
func TestStore_Compacted_Gap(t *testing.T) {
	s := compactStore(t, t.TempDir())
	sendKeys(t, s, "first=0")
	q := s.Find([]byte("c"), 0)
	s.mu.Lock()
	for range 2*scanUnits + 7 {
		q.Next()
		s.put(q, consumequeue.Unit{Size: math.MaxInt32})
	}
	s.mu.Unlock()
	sendKeys(t, s, "last=1")
	copyAll(t, s)
	if end := s.compactLog(q).Max(); end != q.Max() || end != 2*scanUnits+9 {
		t.Fatal(end, q.Max())
	}
}

// A compaction log that cannot be written holds up its own queue alone, and files of the commit log.
func TestStore_Compacted_OneBroken(t *testing.T) {
	bad := errors.New("bad disk")
	var broken atomic.Bool
	s := compactStore(t, t.TempDir(), func(c *Config) {
		c.Compaction.Of = func(topic string) bool { return topic == "c" || topic == "a" }
		c.FS = &vfs.Faulty{FS: vfs.OS, Fail: func(op vfs.Op, name string) error {
			if broken.Load() && op == vfs.OpWrite && strings.Contains(name, "compactionLog/a/") {
				return bad
			}
			return nil
		}}
	})
	d := draft("a", 0, "body")
	d.Properties = message.AppendProperty(nil, message.PropKeys, []byte("key"))
	b := new(Batch)
	b.Add(s.Queue("a", 0), d, 0)
	ok(t, s.Append(b, time.UnixMilli(1000)))
	sendKeys(t, s, rounds(0, 100)...)
	ok(t, s.flush())
	broken.Store(true)
	if err := s.keepCompacted(); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	if end := s.compactLog(s.Find([]byte("c"), 0)).Max(); end != 100 {
		t.Fatal(end)
	}
	if err := s.DropBefore(s.MaxPhysical()); !errors.Is(err, bad) || s.MinPhysical() != 0 {
		t.Fatal(s.MinPhysical(), err)
	}
}

// The loops of Run copy and compact.
func TestStore_Compacted_Run(t *testing.T) {
	s := compactStore(t, t.TempDir(), func(c *Config) { c.Compaction.Every = time.Millisecond; c.FlushInterval = time.Millisecond })
	sendKeys(t, s, rounds(0, 40)...)
	stop := run(t, s)
	for deadline := time.Now().Add(20 * time.Second); len(table(t, s)) == 40 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := table(t, s); len(got) > 20 {
		t.Error(got)
	}
}

// Of Java's store with a compacted topic we read what Java reads, and no more; so after we have compacted it ourselves, what
// is the last of its key.
func TestStore_Compacted_Java(t *testing.T) {
	dir := unpack(t, "compaction")
	rows := readDump(t, dir)
	s := openGolden(t, goldenConfig(dir, rows, golden[len(golden)-1].change))
	var want, last []string
	keys := map[string]string{}
	for _, r := range rows {
		if r.T == "compacted" {
			want = append(want, fmt.Sprint(r.QueueOffset))
		}
	}
	read := func() (offsets []string) {
		for from, q := int64(0), s.Find([]byte("GfCompact"), 0); ; {
			dst, res := s.Get(q, Read{From: from, Max: 32}, nil)
			if res.Status != Found {
				return offsets
			}
			for from = res.Next; len(dst) > 0; {
				r, err := message.Decode(dst)
				if err != nil {
					t.Fatal(err)
				}
				key, _ := message.Property(r.Properties, message.PropKeys)
				keys[string(key)] = fmt.Sprint(r.QueueOffset)
				offsets = append(offsets, fmt.Sprint(r.QueueOffset))
				dst = dst[r.Size:]
			}
		}
	}
	equal(t, read(), want)
	for range 3 { // so that all of it is in files that are compacted
		b := new(Batch)
		for i := range 99 {
			d := draft("GfCompact", 0, "body")
			d.Properties = message.AppendProperty(nil, message.PropKeys, fmt.Appendf(nil, "new %d", i%3))
			b.Add(s.Queue("GfCompact", 0), d, 0)
		}
		if err := s.Append(b, time.UnixMilli(1795569300000)); err != nil {
			t.Fatal(err)
		}
	}
	for _, offset := range keys {
		last = append(last, offset)
	}
	copyAll(t, s)
	after := read()
	for _, offset := range last {
		if !slices.Contains(after, offset) {
			t.Errorf("%s, the last of its key, is not there", offset)
		}
	}
	if kept := len(slices.DeleteFunc(after, func(o string) bool { return len(o) > 3 || o >= "480" })); kept != len(last) {
		t.Errorf("%d messages of Java's are there, not %d", kept, len(last))
	}
}

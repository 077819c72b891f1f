package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

var testHost = netip.MustParseAddrPort("127.0.0.1:10911")

// testStore opens a store with small files.
func testStore(t testing.TB, dir string, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Dir: dir, FileSize: 4096, QueueFileSize: 200, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// send appends one message for each body to a queue, as one batch.
func send(t testing.TB, s *Store, topic string, id int32, bodies ...string) *Batch {
	t.Helper()
	b := new(Batch)
	q := s.Queue(topic, id)
	for _, body := range bodies {
		b.Add(q, draft(topic, id, body), 7)
	}
	if err := s.Append(b, time.UnixMilli(1000+s.MaxPhysical())); err != nil {
		t.Fatal(err)
	}
	return b
}

func draft(topic string, id int32, body string) *message.Draft {
	return &message.Draft{Topic: []byte(topic), QueueID: id, Body: []byte(body), BornHost: testHost, StoreHost: testHost}
}

// bodies reads a whole queue from its first message.
func bodies(t testing.TB, s *Store, q *consumequeue.Queue) []string {
	t.Helper()
	var got []string
	for at := q.Min(); at < q.Max(); {
		dst, res := s.Get(q, Read{From: at, Max: 5}, nil)
		if res.Status != Found {
			t.Fatalf("%s/%d at %d: status %d", q.Topic(), q.ID(), at, res.Status)
		}
		for len(dst) > 0 {
			r, err := message.Decode(dst)
			if err != nil {
				t.Fatal(err)
			}
			if r.QueueOffset != at || !r.CheckCRC() {
				t.Fatalf("record of offset %d says %d", at, r.QueueOffset)
			}
			got = append(got, string(r.Body))
			dst = dst[r.Size:]
			at++
		}
		if at != res.Next {
			t.Fatalf("next is %d after %d", res.Next, at)
		}
	}
	return got
}

func numbered(from, to int) []string {
	var s []string
	for i := from; i < to; i++ {
		s = append(s, fmt.Sprintf("body %d", i))
	}
	return s
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %d %.300q\nwant %d %.300q", len(got), got, len(want), want)
	}
}

// copyDir copies a directory as it is now, as a kill would leave it.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// run runs the store until the test ends or stop is called.
func run(t testing.TB, s *Store) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// Messages come back in order, over many files of log and queue, before and after a clean close.
func TestStore_AppendGet(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	for i := range 60 {
		send(t, s, "a", 0, numbered(3*i, 3*i+3)...)
		send(t, s, "b", int32(i%2), fmt.Sprint("other ", i))
	}
	check := func(s *Store) {
		t.Helper()
		equal(t, bodies(t, s, s.Find([]byte("a"), 0)), numbered(0, 180))
		if a, b := s.Find([]byte("b"), 0).Max(), s.Find([]byte("b"), 1).Max(); a != 30 || b != 30 {
			t.Fatal(a, b)
		}
	}
	check(s)
	if len(s.log.Starts()) < 5 {
		t.Fatal("not rolled")
	}
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "abort")); !errors.Is(err, os.ErrNotExist) {
			t.Fatal("abort file after Close:", err)
		}
		s = testStore(t, dir)
		check(s)
	}
}

// Every status of Java's getMessage, with the offset to go on at.
func TestStore_GetStatus(t *testing.T) {
	s := testStore(t, t.TempDir())
	send(t, s, "t", 0, numbered(0, 40)...)
	q, empty := s.Find([]byte("t"), 0), s.Queue("empty", 0)
	none := func(int64) bool { return false }
	for _, c := range []struct {
		name   string
		q      *consumequeue.Queue
		r      Read
		status Status
		next   int64
		count  int
	}{
		{"no queue", nil, Read{From: 9, Max: 1}, NoMatchedLogicQueue, 0, 0},
		{"empty", empty, Read{From: 9, Max: 1}, NoMessageInQueue, 0, 0},
		{"too small", q, Read{From: -1, Max: 1}, OffsetTooSmall, 0, 0},
		{"at the end", q, Read{From: 40, Max: 1}, OffsetOverflowOne, 40, 0},
		{"beyond", q, Read{From: 41, Max: 1}, OffsetOverflowBadly, 40, 0},
		{"one", q, Read{From: 3, Max: 1}, Found, 4, 1},
		{"32 at most", q, Read{From: 1, Max: 100}, Found, 33, 32},
		{"to the end", q, Read{From: 35, Max: 100}, Found, 40, 5},
		{"bytes", q, Read{From: 0, Max: 100, MaxBytes: 3 * 99}, Found, 3, 3},
		{"first is never too large", q, Read{From: 0, Max: 100, MaxBytes: 1}, Found, 1, 1},
		{"no match", q, Read{From: 2, Max: 32, Match: none}, NoMatchedMessage, 40, 0},
	} {
		dst, res := s.Get(c.q, c.r, []byte("x"))
		if res.Status != c.status || res.Next != c.next || res.Count != c.count || len(dst)-1 != res.Bytes {
			t.Errorf("%s: %+v, %d bytes", c.name, res, len(dst)-1)
		}
	}
}

// A tag filter returns exactly the wanted messages and moves over the rest.
func TestStore_GetMatch(t *testing.T) {
	s := testStore(t, t.TempDir())
	q := s.Queue("t", 0)
	var b Batch
	for i := range 50 {
		b.Add(q, draft("t", 0, fmt.Sprint(i)), int64(i%10))
	}
	if err := s.Append(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	dst, res := s.Get(q, Read{Max: 32, Match: func(tag int64) bool { return tag == 3 || tag == 4 }}, nil)
	if res.Status != Found || res.Count != 10 || res.Next != 50 {
		t.Fatalf("%+v", res)
	}
	for i := 0; len(dst) > 0; i++ {
		r, err := message.Decode(dst)
		if want := fmt.Sprint(i/2*10 + 3 + i%2); err != nil || string(r.Body) != want {
			t.Fatal(err, string(r.Body), want)
		}
		dst = dst[r.Size:]
	}
}

// A reader may choose by the whole record, from memory and from the disk; what he does not want is passed over.
func TestStore_GetWants(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	q := s.Queue("t", 0)
	var b Batch
	for i := range 50 {
		b.Add(q, draft("t", 0, fmt.Sprint(i)), int64(i%10))
	}
	if err := s.Append(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	look := func(s *Store) {
		t.Helper()
		q := s.Queue("t", 0)
		asked := 0
		r := Read{Max: 32, Match: func(tag int64) bool { return tag == 3 || tag == 4 }, Wants: func(record []byte) bool {
			asked++
			r, err := message.Decode(record)
			return err == nil && r.Body[len(r.Body)-1] == '4'
		}}
		dst, res := s.Get(q, r, []byte("before"))
		if res.Status != Found || res.Count != 5 || res.Next != 50 || asked != 10 || res.Bytes != len(dst)-len("before") {
			t.Fatalf("%+v, %d asked", res, asked)
		}
		for i, dst := 0, dst[len("before"):]; len(dst) > 0; i++ {
			r, err := message.Decode(dst)
			if want := fmt.Sprint(i*10 + 4); err != nil || string(r.Body) != want {
				t.Fatal(err, string(r.Body), want)
			}
			dst = dst[r.Size:]
		}
		r.Wants = func([]byte) bool { return false }
		if dst, res := s.Get(q, r, nil); res.Status != NoMatchedMessage || res.Next != 50 || len(dst) > 0 {
			t.Errorf("nothing wanted: %+v", res)
		}
	}
	look(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	look(testStore(t, dir)) // these records were written before
}

// The messages of a client's batch lie one behind the other in one file; a group that cannot is refused as a whole.
// One Get gives no more than it may, of what is in memory and of what is behind; one record it gives in any case.
func TestStore_SetTransfer(t *testing.T) {
	s := testStore(t, t.TempDir(), func(c *Config) { c.HotBytes = 4000 })
	send(t, s, "t", 0, numbered(0, 400)...)
	q := s.Find([]byte("t"), 0)
	_, one := s.Get(q, Read{From: 0, Max: 1}, nil)
	get := func(from int64) int {
		_, res := s.Get(q, Read{From: from, Max: 1000}, nil)
		return res.Count
	}
	for _, c := range []struct {
		t         Transfer
		hot, cold int
	}{
		{DefaultTransfer, 32, 8},
		{Transfer{HotBytes: 1 << 20, HotCount: 35, ColdBytes: 1 << 20, ColdCount: 100}, 35, 100},
		{Transfer{HotBytes: 5*one.Bytes + 20, HotCount: 100, ColdBytes: 3 * one.Bytes, ColdCount: 100}, 5, 3},
		{Transfer{}, 1, 1},
	} {
		s.SetTransfer(c.t)
		if hot, cold := get(q.Max()-35), get(0); hot != c.hot || cold != c.cold {
			t.Errorf("%+v: %d in memory, %d behind; want %d, %d", c.t, hot, cold, c.hot, c.cold)
		}
	}
}

func TestStore_Group(t *testing.T) {
	s := testStore(t, t.TempDir())
	q := s.Queue("t", 0)
	for range 10 {
		var b Batch
		b.Add(q, draft("t", 0, "single"), 0)
		for i := range 7 {
			add := b.AddNext
			if i == 0 {
				add = b.Add
			}
			add(q, draft("t", 0, fmt.Sprint("glued", i)), 0)
		}
		if err := s.Append(&b, time.Now()); err != nil {
			t.Fatal(err)
		}
		for i := 2; i < b.Len(); i++ {
			if p := b.At(i - 1); b.At(i).Physical != p.Physical+int64(p.Size) || b.At(i).Offset != p.Offset+1 {
				t.Fatal("group is torn")
			}
		}
		if last := b.At(b.Len() - 1); b.End() != last.Physical+int64(last.Size) || b.End() != s.MaxPhysical() {
			t.Fatal("end is wrong")
		}
	}
	var b Batch
	b.Add(q, draft("t", 0, string(make([]byte, 3000))), 0)
	b.AddNext(q, draft("t", 0, string(make([]byte, 3000))), 0)
	before := s.MaxPhysical()
	if err := s.Append(&b, time.Now()); !errors.Is(err, ErrTooLarge) || s.MaxPhysical() != before || q.Max() != 80 {
		t.Fatal(err)
	}
}

// What Get and Record return is what is in the batch and on the disk.
func TestStore_Record(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	b := send(t, s, "t", 1, "one", "two")
	for i := range b.Len() {
		got, err := s.Record(b.At(i).Physical, nil)
		if err != nil || !bytes.Equal(got, b.Record(i)) {
			t.Fatal(err)
		}
	}
	disk, err := os.ReadFile(filepath.Join(dir, "commitlog", "00000000000000000000"))
	if err != nil || !bytes.Equal(disk[:b.Bytes()], append(b.Record(0), b.Record(1)...)) {
		t.Fatal("not on the disk as returned", err)
	}
	for _, bad := range []int64{-1, 1, b.End(), b.End() - 20, 1 << 40} {
		if _, err := s.Record(bad, nil); err == nil {
			t.Errorf("record at %d", bad)
		}
	}
}

// A second Open of a store in use says who has it.
func TestOpen_Locked(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir)
	_, err := Open(Config{Dir: dir})
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.Pid != os.Getpid() {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	testStore(t, dir)
}

// Finding a queue and appending to it allocate nothing once a queue is warm.
func TestStore_Allocations(t *testing.T) {
	s := testStore(t, t.TempDir(), func(c *Config) { c.FileSize, c.QueueFileSize = 64<<20, 1_000_000 })
	name, d := []byte("t"), draft("t", 0, "body")
	s.Queue("t", 0)
	var b Batch
	now := time.Now()
	round := func() {
		for range 16 {
			b.Add(s.Find(name, 0), d, 7)
		}
		if err := s.Append(&b, now); err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}
	for range 200 {
		round()
	}
	if err := s.writePages(); err != nil {
		t.Fatal(err)
	}
	// 100 rounds fill chunks that were written and can be used again.
	if n := testing.AllocsPerRun(50, round); n > 0 {
		t.Errorf("%v allocations for 16 messages", n)
	}
}

// RecordCached gives what Record gives: records that were just written, the first ones of a file, and those of a store that
// was opened. Large, damaged and missing ones are for who may wait.
func TestStore_RecordCached(t *testing.T) {
	const fileSize = 1 << 18
	sizes := func(c *Config) { c.FileSize, c.QueueFileSize = fileSize, 20_000 }
	dir := t.TempDir()
	s := testStore(t, dir, sizes)
	all := map[int64][]byte{}
	var large int64
	for i := range 400 {
		size := 1 + i*37%7000
		if i == 200 {
			size = mostAtOnce
		}
		b := send(t, s, "t", 0, strings.Repeat("x", size))
		if all[b.At(0).Physical] = bytes.Clone(b.Record(0)); i == 200 {
			large = b.At(0).Physical
		}
	}
	check := func(s *Store, damaged int64) {
		t.Helper()
		dst, given := []byte("before"), 0
		for physical, want := range all {
			got, err := s.RecordCached(physical, dst)
			switch {
			case errors.Is(err, segment.ErrWouldWait): // of others too, when the system needs memory
				if string(got) != "before" {
					t.Errorf("at %d: %d bytes, %v", physical, len(got), err)
				}
			case err != nil || string(got) != "before"+string(want) || physical == large || physical == damaged:
				t.Errorf("at %d: %d bytes for %d, %v", physical, len(got), len(want), err)
			default:
				given++
			}
		}
		if given == 0 {
			t.Error("no record is in memory")
		}
		for _, physical := range []int64{-1, 1, s.MaxPhysical(), s.MaxPhysical() + 1<<40} {
			if got, err := s.RecordCached(physical, dst); !errors.Is(err, segment.ErrWouldWait) || string(got) != "before" {
				t.Errorf("at %d: %d bytes, %v", physical, len(got), err)
			}
		}
	}
	check(s, -1)
	var hurt int64
	for physical := range all {
		if physical > fileSize && physical < 2*fileSize && physical != large {
			hurt = physical
		}
	}
	dir = copyDir(t, dir)
	name := filepath.Join(dir, "commitlog", fmt.Sprintf("%020d", fileSize))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[hurt-fileSize+message.PeekBytes+40] ^= 1
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	check(testStore(t, dir, sizes), hurt)
}

package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// small makes files that are full after 7 keys.
func small(c *Config) { c.Slots, c.Entries = 4, 8 }

// want is what must be found: by topic and key, newest first.
type want map[[2]string][]int64

func (w want) add(topic, key string, physical int64) {
	k := [2]string{topic, key}
	w[k] = append([]int64{physical}, w[k]...)
}

func (w want) check(t *testing.T, x *Index) {
	t.Helper()
	for k, physical := range w {
		if got := find(t, x, k[0], k[1]); !slices.Equal(got, physical) {
			t.Errorf("%s#%s: %v, not %v", k[0], k[1], got, physical)
		}
	}
}

// fill adds n messages with a unique key and two others, one of few.
func fill(log *memLog, n int) want {
	w := make(want)
	for i := range n {
		unique, key := fmt.Sprintf("U%05d", i), fmt.Sprint("k", i%5)
		physical := message.PeekPhysical(log.add("T", int64(1000+i), message.PropUniqKey, unique, message.PropKeys, key+"  a b"))
		for _, k := range []string{unique, key, "a", "b"} {
			w.add("T", k, physical)
		}
	}
	return w
}

// Every message is found by its unique key, each of its keys and its tags, newest first; by no other key, topic or
// kind of key; and within the times asked for only, by whole seconds from the first. A rolled-back message is not.
func TestIndex_Find(t *testing.T) {
	log := new(memLog)
	x := open(t, t.TempDir(), log)
	run(t, x)
	a := log.send(x, "T", 5000, message.PropUniqKey, "u", message.PropKeys, " k1  k2 ", message.PropTags, "blue")
	b := log.send(x, "T", 9000, message.PropKeys, "k1", message.PropTags, "blue")
	log.send(x, "T", 9000)
	rec := log.add("T", 9000, message.PropKeys, "k1")
	rec[39] |= byte(message.FlagRollback)
	x.Put(message.PeekPhysical(rec), rec)

	tags := func(q *Query) { q.Tags = true }
	equal(t, find(t, x, "T", "u"), []int64{a})
	equal(t, find(t, x, "T", "k1"), []int64{b, a})
	equal(t, find(t, x, "T", "k2"), []int64{a})
	equal(t, find(t, x, "T", "blue", tags), []int64{b, a})
	equal(t, find(t, x, "T", "blue"), []int64(nil))
	equal(t, find(t, x, "T", "k1", tags), []int64(nil))
	equal(t, find(t, x, "T", ""), []int64(nil))
	equal(t, find(t, x, "S", "k1"), []int64(nil))
	equal(t, find(t, x, "T", "k1", func(q *Query) { q.Max = 1 }), []int64{b})
	equal(t, find(t, x, "T", "k1", func(q *Query) { q.Max = -1 }), []int64(nil))
	for _, c := range []struct {
		begin, end int64
		want       []int64
	}{
		{0, 4999, nil}, {5000, 5000, []int64{a}}, {5001, 8999, nil}, {5001, 9000, []int64{b}}, {9001, 1 << 62, nil},
		{-1 << 63, 1<<63 - 1, []int64{b, a}}, {9000, 5000, nil},
	} {
		equal(t, find(t, x, "T", "k1", func(q *Query) { q.Begin, q.End = c.begin, c.end }), c.want)
	}
	found, err := x.Find(t.Context(), Query{Topic: "T", Key: "none", Max: 1})
	if err != nil || found.Last != (Safe{9000, b}) {
		t.Error(found, err)
	}
}

// Keys with the same hash are not told apart, those with the same slot are.
func TestIndex_Collision(t *testing.T) {
	log := new(memLog)
	x := open(t, t.TempDir(), log, func(c *Config) { c.Slots = 1 })
	run(t, x)
	a := log.send(x, "T", 1000, message.PropKeys, "Aa")
	b := log.send(x, "T", 1000, message.PropKeys, "BB")
	c := log.send(x, "T", 1000, message.PropKeys, "CC")
	equal(t, find(t, x, "T", "Aa"), []int64{b, a})
	equal(t, find(t, x, "T", "BB"), []int64{b, a})
	equal(t, find(t, x, "T", "CC"), []int64{c})
}

// Files follow each other without a name twice or going back, even in one millisecond and when the clock goes back;
// all is found over all of them while they are built and after they are opened again.
func TestIndex_Roll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, dir := new(memLog), t.TempDir()
		x := open(t, dir, log, small)
		stop := run(t, x)
		w := make(want)
		for i := range 50 {
			key := fmt.Sprint("k", i%7)
			w.add("T", key, log.send(x, "T", int64(1000+i), message.PropKeys, key))
			if i%10 == 9 {
				w.check(t, x)
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		entries, _ := os.ReadDir(dir)
		equal(t, len(entries), 8)
		first := time.Now().Format("20060102150405")
		equal(t, entries[0].Name()[:14], first)
		for i, e := range entries {
			if len(e.Name()) != 17 || e.Name()[:14] != first || i > 0 && entries[i-1].Name() >= e.Name() {
				t.Error(e.Name())
			}
		}
		// A name from the future: later files still sort behind it.
		if err := os.Rename(filepath.Join(dir, entries[7].Name()), filepath.Join(dir, "20991231235959999")); err != nil {
			t.Fatal(err)
		}
		x = open(t, dir, log, small)
		w.check(t, x)
		run(t, x)
		for i := range 10 {
			key := fmt.Sprint("k", i%7)
			w.add("T", key, log.send(x, "T", 2000, message.PropKeys, key))
		}
		w.check(t, x)
		equal(t, filepath.Base(x.last().name), "20991231235960000")
	})
}

// When more is put than may wait, the rest is read from the log. Nobody who puts waits.
func TestIndex_Overflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(memLog)
		x := open(t, t.TempDir(), log, func(c *Config) { c.Slots, c.Entries = 5000, 1<<19 })
		run(t, x)
		var last int64
		for i := range 3 * feedKeys {
			last = log.send(x, "T", 1000, message.PropUniqKey, fmt.Sprint(i))
			if i == feedKeys/2 {
				synctest.Wait() // the builder rests, or is at work
			}
		}
		synctest.Wait()
		time.Sleep(2 * pace)
		synctest.Wait()
		equal(t, find(t, x, "T", fmt.Sprint(3*feedKeys-1)), []int64{last})
		if n := x.last().count.Load(); n != 3*feedKeys+1 {
			t.Errorf("%d entries of %d", n, 3*feedKeys)
		}
		next := log.send(x, "T", 1000, message.PropUniqKey, "next") // it is fed again
		equal(t, find(t, x, "T", "next"), []int64{next})
	})
}

// A log that cannot be read to its end leaves a gap, not a standstill.
func TestIndex_DamagedLog(t *testing.T) {
	log := new(memLog)
	x := open(t, t.TempDir(), log)
	a := log.send(x, "T", 1000, message.PropKeys, "a")
	bad := log.send(x, "T", 1000, message.PropKeys, "b")
	log.send(x, "T", 1000, message.PropKeys, "c")
	clear(log.data[bad : bad+8])
	if err := x.catchUp(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	equal(t, find(t, x, "T", "a"), []int64{a})
	run(t, x)
	for {
		d := log.send(x, "T", 1000, message.PropKeys, "d")
		if got := find(t, x, "T", "d"); len(got) > 0 && got[0] == d {
			return
		}
	}
}

// At the start the index takes in what the log has more, from its own end on, and no key twice.
func TestIndex_CatchUp(t *testing.T) {
	log, dir := &memLog{base: 1 << 20}, t.TempDir()
	w := fill(log, 30)
	whole := log.data
	for _, n := range []int{len(whole) / 3, len(whole) / 2, len(whole)} {
		part := &memLog{base: log.base}
		_ = log.Each(log.base, func(r *message.Record) bool {
			if end := r.Physical - log.base + int64(r.Size); end <= int64(n) {
				part.data = whole[:end]
			}
			return true
		})
		build(t, dir, part, small)
	}
	w.check(t, open(t, dir, log, small))
}

// A process that ends at any point costs nothing but reading the log again from Safe on: afterwards the files are
// those of one that never ended.
func TestIndex_Crash(t *testing.T) {
	log := new(memLog)
	w := fill(log, 30)
	whole := t.TempDir()
	build(t, whole, log, small)
	want := files(t, whole)

	// Take a copy of the directory after each write.
	var dirs []string
	var safes []int64
	var x *Index
	dir, taking := t.TempDir(), false
	disk := &vfs.Faulty{FS: vfs.OS, NoSync: true, Fail: func(op vfs.Op, name string) error {
		if taking && op != vfs.OpRead {
			copied := t.TempDir()
			if err := os.CopyFS(filepath.Join(copied, "index"), os.DirFS(dir)); err != nil {
				return err
			}
			dirs, safes = append(dirs, copied), append(safes, x.Safe(1<<62).Ms)
		}
		return nil
	}}
	x = open(t, dir, log, small, func(c *Config) { c.FS = disk })
	taking = true
	if err := x.catchUp(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	taking = false
	if len(dirs) < 80 {
		t.Fatal(len(dirs))
	}
	kept := 0
	for i, d := range dirs {
		d = filepath.Join(d, "index")
		tear(t, d, i%4, safes[i])
		x := open(t, d, log, small, func(c *Config) { c.Clean, c.SafeMs = false, safes[i] })
		kept += len(*x.files.Load())
		if s := x.Safe(1 << 62); s.Ms != safes[i] {
			t.Errorf("crash %d: safe at %d, then at %d", i, safes[i], s.Ms)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		if got := files(t, d); !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("crash %d: %d files, not %d, or other ones", i, len(got), len(want))
		}
	}
	if kept < len(dirs) {
		t.Errorf("%d files were kept in %d crashes", kept, len(dirs))
	}
	w.check(t, open(t, whole, log, small))
}

// tear makes a part of the newest file zero, if it is in doubt.
func tear(t *testing.T, dir string, part int, safe int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return
	}
	name := filepath.Join(dir, entries[len(entries)-1].Name())
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) < headerSize || int64(binary.BigEndian.Uint64(data[8:])) <= safe {
		return
	}
	switch part {
	case 0:
		clear(data[:headerSize])
	case 1:
		clear(data[headerSize:])
	case 2:
		data = data[:0]
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Safe counts full files that are on the disk, as far as the log is there too. What lies before the log is deleted, but
// for the newest file.
func TestIndex_SafeAndDelete(t *testing.T) {
	log, dir := new(memLog), t.TempDir()
	fill(log, 6) // 24 keys: three full files, three keys
	x := open(t, dir, log, small)
	if err := x.catchUp(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if s := x.Safe(1 << 60); s.Physical > (*x.files.Load())[1].endPhysical.Load() { // the third is not on the disk
		t.Error(s)
	}
	if err := x.sealFull(); err != nil {
		t.Fatal(err)
	}
	x.safe = Safe{}
	files := *x.files.Load()
	equal(t, len(files), 4)
	for _, f := range files[:3] {
		end := f.endPhysical.Load()
		equal(t, x.Safe(end+1), Safe{f.endMs.Load(), end})
	}
	last := x.Safe(1 << 60)
	equal(t, last, Safe{files[2].endMs.Load(), files[2].endPhysical.Load()})
	end := files[1].endPhysical.Load()
	for _, c := range []struct {
		min  int64
		left int
	}{{0, 4}, {files[0].endPhysical.Load(), 4}, {end, 3}, {end + 1, 2}, {1 << 60, 1}} {
		if err := x.DeleteBefore(c.min); err != nil || len(*x.files.Load()) != c.left {
			t.Error(c, err, len(*x.files.Load()))
		}
	}
	entries, _ := os.ReadDir(dir)
	equal(t, len(entries), 1)
	equal(t, x.Safe(1<<60), last)
}

// Readers, the builder, the deletion of files and the end of all at the same time.
func TestIndex_Concurrent(t *testing.T) {
	for _, noMap := range []bool{false, true} {
		log := new(memLog)
		x := open(t, t.TempDir(), log, func(c *Config) {
			c.Slots, c.Entries, c.FS = 50, 200, &vfs.Faulty{FS: vfs.OS, NoSync: true, NoMap: noMap}
		})
		stop := run(t, x)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				last := int64(-1)
				for {
					found, err := x.Find(context.Background(), Query{Topic: "T", Key: "k", Max: 5, End: 1 << 62})
					if err == ErrClosed {
						return
					}
					if err != nil || !slices.IsSortedFunc(found.Physical, func(a, b int64) int { return int(b - a) }) {
						t.Error(found, err)
						return
					}
					if len(found.Physical) > 0 {
						if found.Physical[0] < last {
							t.Errorf("%d after %d", found.Physical[0], last)
							return
						}
						last = found.Physical[0]
					}
				}
			})
		}
		for i := range 3000 {
			at := log.send(x, "T", int64(1000+i), message.PropKeys, "k", message.PropUniqKey, fmt.Sprint(i))
			if i%100 == 0 {
				if err := x.DeleteBefore(at - 20_000); err != nil {
					t.Fatal(err)
				}
				equal(t, find(t, x, "T", fmt.Sprint(i)), []int64{at})
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}

// A full disk is waited for; nothing is lost. Find works meanwhile.
func TestFault_DiskFull(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpWrite, vfs.OpSync} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			full := false
			log := new(memLog)
			x := open(t, t.TempDir(), log, small, func(c *Config) {
				c.FS = &vfs.Faulty{FS: vfs.OS, NoSync: true, Fail: func(o vfs.Op, name string) error {
					mu.Lock()
					defer mu.Unlock()
					if full && o == op {
						return syscall.ENOSPC
					}
					return nil
				}}
			})
			stop := run(t, x)
			set := func(v bool) { mu.Lock(); full = v; mu.Unlock() }
			first := log.send(x, "T", 1000, message.PropKeys, "first")
			equal(t, find(t, x, "T", "first"), []int64{first})
			set(true)
			var last int64
			for range 30 {
				last = log.send(x, "T", 1000, message.PropKeys, "k")
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if n := len(*x.files.Load()); n > 4 {
				t.Error(n)
			}
			equal(t, find(t, x, "T", "first"), []int64{first})
			ctx, cancel := context.WithTimeout(t.Context(), settleLimit/2)
			defer cancel()
			if _, err := x.Find(ctx, Query{Topic: "T", Key: "first", Max: 1}); err != context.DeadlineExceeded {
				t.Error(err)
			}
			set(false)
			time.Sleep(2 * retryAfter)
			got := find(t, x, "T", "k")
			if len(got) != 30 || got[0] != last {
				t.Error(got)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Any other failure to write ends Run, and Close says that not all is there. Find goes on with what is in memory.
func TestFault_Write(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		broken := false
		log := new(memLog)
		x := open(t, t.TempDir(), log, small, func(c *Config) {
			c.FS = &vfs.Faulty{FS: vfs.OS, NoSync: true, Fail: func(o vfs.Op, name string) error {
				if broken && o == op {
					return syscall.EIO
				}
				return nil
			}}
		})
		w := fill(log, 1)
		if err := x.catchUp(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		fill(log, 20)
		broken = true
		if err := x.Run(t.Context()); err == nil {
			t.Fatal("no error")
		}
		for _, physical := range w {
			equal(t, physical, []int64{0})
		}
		if got := find(t, x, "T", "k0"); got[len(got)-1] != 0 {
			t.Error(got)
		}
		if err := x.Close(); err == nil {
			t.Error("no error")
		}
	}
}

// After Close there is nothing to find; closing again does nothing.
func TestIndex_Close(t *testing.T) {
	x := open(t, t.TempDir(), new(memLog))
	for range 2 {
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Find(t.Context(), Query{}); err != ErrClosed {
		t.Error(err)
	}
}

// The keys that Put takes out of a record are those of what Decode finds, for every form of a record; what is none ends
// the feed, without a panic.
func FuzzFeed(f *testing.F) {
	v6 := netip.MustParseAddrPort("[2001:db8::1]:80")
	long := strings.Repeat("t", 200)
	for _, d := range []message.Draft{
		{Topic: []byte("T"), BornHost: host, StoreHost: host},
		{Topic: []byte("T"), BornHost: v6, StoreHost: host, Body: []byte("body"), Properties: []byte("KEYS\x01k\x02")},
		{Topic: []byte(long), BornHost: host, StoreHost: v6, Properties: []byte("KEYS\x01k\x02")},
		{Topic: []byte(long), BornHost: v6, StoreHost: v6, Body: make([]byte, 300), Properties: []byte("TAGS\x01k\x02")},
		{Topic: []byte("T"), BornHost: host, StoreHost: host, Properties: []byte("KEYS\x01\x02TAGS\x02KEYS\x01a  \x01b \u00e9\U0001f600\x02UNIQ_KEY\x01u\x02U\x01v\x02TAGS\x01t")},
		{Topic: []byte("T"), BornHost: host, StoreHost: host, SysFlag: message.FlagRollback, Properties: []byte("TAGS\x01k\x02")},
	} {
		rec := message.AppendRecord(nil, &d)
		message.Patch(rec, 1, 2, 3)
		f.Add(rec)
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		var f feed
		size := f.add(rec)
		r, err := message.Decode(rec)
		if err != nil {
			return
		}
		if size != int(r.Size) {
			t.Fatalf("%d bytes of %d", size, r.Size)
		}
		var unique, keys, tags string
		message.EachProperty(r.Properties, func(name, value []byte) bool {
			switch string(name) {
			case message.PropUniqKey:
				unique = string(value)
			case message.PropKeys:
				keys = string(value)
			case message.PropTags:
				tags = string(value)
			}
			return true
		})
		var want []key
		add := func(value string, isTags bool) {
			if value != "" && r.SysFlag&message.FlagRollback != message.FlagRollback {
				want = append(want, key{r.Physical, r.StoreMs, hashOf(string(r.Topic), value, isTags)})
			}
		}
		add(unique, false)
		for k := range strings.SplitSeq(keys, " ") {
			add(k, false)
		}
		add(tags, true)
		equal(t, f.pending, want)
	})
}

// Who must not wait gets an answer from what is in memory, from files that are growing and that are full, but not while keys
// are not yet built, and not from a long chain.
func TestIndex_FindCached(t *testing.T) {
	x := open(t, t.TempDir(), new(memLog))
	log := x.cfg.Source.(*memLog)
	x.feed.start(0, true)
	q := Query{Topic: "T", Key: "k", Max: 1000, End: 1<<63 - 1}
	cached := func(want []int64, wantErr error) {
		t.Helper()
		found, err := x.FindCached(q)
		for tries := 0; err != nil && wantErr == nil && tries < 100; tries++ { // the system may have needed the memory
			find(t, x, "T", "k")
			found, err = x.FindCached(q)
		}
		if !errors.Is(err, wantErr) || err == nil && !slices.Equal(found.Physical, want) {
			t.Errorf("found %v, %v; want %v, %v", found.Physical, err, want, wantErr)
		}
	}
	at := log.send(x, "T", 1000, "KEYS", "k")
	cached(nil, ErrWouldWait)
	stop := run(t, x)
	built := func(want ...int64) {
		t.Helper()
		equal(t, find(t, x, "T", "k"), want)
		for x.feed.wait() != nil { // the builder rests before it says that nothing is left
			runtime.Gosched()
		}
	}
	built(at)
	cached([]int64{at}, nil)
	for i := range 2*2000 - 10 { // two more files
		log.send(x, "T", 1000, "KEYS", fmt.Sprint("other", i))
	}
	built(at)
	cached([]int64{at}, nil)
	all := []int64{at}
	for range cachedSteps {
		all = append(all, log.send(x, "T", 1000, "KEYS", "k"))
	}
	slices.Reverse(all)
	built(all...)
	cached(nil, ErrWouldWait)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rocketd/internal/vfs"
)

const seeds = 2000

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, d *Disk, name string) vfs.File {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	return f
}

func write(t *testing.T, f vfs.File, off int64, s string) {
	t.Helper()
	_, err := f.WriteAt([]byte(s), off)
	must(t, err)
}

// tree is all of a disk as text: names with the content of files, where runs of one byte are written once.
func tree(t *testing.T, d *Disk) string {
	t.Helper()
	var list []string
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := d.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			name := dir + e.Name()
			if e.IsDir() {
				list = append(list, name+"/")
				walk(name + "/")
				continue
			}
			data, err := vfs.ReadFile(d, name)
			must(t, err)
			list = append(list, name+"="+strings.ReplaceAll(string(slices.Compact(data)), "\x00", "0"))
		}
	}
	walk("/")
	return strings.Join(list, " ")
}

// states is every tree that power cuts leave.
func states(t *testing.T, d *Disk) []string {
	t.Helper()
	seen := make(map[string]bool)
	for seed := range uint64(seeds) {
		cut := d.PowerCut(seed)
		got := tree(t, cut)
		if again := tree(t, d.PowerCut(seed)); again != got {
			t.Fatalf("seed %d: %s, then %s", seed, got, again)
		}
		if second := tree(t, cut.PowerCut(seed+1)); second != got {
			t.Fatalf("seed %d: a second cut makes %s of %s", seed, second, got)
		}
		seen[got] = true
	}
	var list []string
	for s := range seen {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

// What a power cut can leave is all that the model allows, and nothing else.
func TestDisk_PowerCut(t *testing.T) {
	sector := func(letters string) string {
		var s string
		for _, l := range letters {
			s += strings.Repeat(string(l), Sector)
		}
		return s
	}
	// f has two synced sectors of a.
	base := func(t *testing.T, d *Disk) vfs.File {
		f := open(t, d, "/f")
		write(t, f, 0, sector("aa"))
		must(t, f.Sync())
		must(t, d.SyncDir("/"))
		return f
	}
	for _, c := range []struct {
		name           string
		do             func(t *testing.T, d *Disk)
		posix, ordered string // states; ordered is posix if it is empty
	}{
		{"synced", func(t *testing.T, d *Disk) { base(t, d) }, "/f=a", ""},
		{"sectors", func(t *testing.T, d *Disk) {
			write(t, base(t, d), 0, sector("bc"))
		}, "/f=a|/f=ac|/f=ba|/f=bc", ""},
		{"versions of a sector", func(t *testing.T, d *Disk) {
			f := base(t, d)
			write(t, f, 0, sector("b"))
			write(t, f, 100, "c")
		}, "/f=a|/f=ba|/f=bcba", ""},
		{"growth", func(t *testing.T, d *Disk) {
			write(t, base(t, d), 2*Sector, sector("b"))
		}, "/f=a|/f=a0|/f=ab", ""},
		{"hole, then a write", func(t *testing.T, d *Disk) {
			f := base(t, d)
			must(t, f.Zero(0, Sector))
			write(t, f, 0, "b")
		}, "/f=0a|/f=a|/f=b0a", ""},
		{"cut, then longer", func(t *testing.T, d *Disk) {
			f := base(t, d)
			must(t, f.Truncate(Sector))
			must(t, f.Truncate(2*Sector))
			write(t, f, Sector, "b")
		}, "/f=a|/f=a0|/f=ab0", ""},
		{"allocate in steps", func(t *testing.T, d *Disk) {
			f := open(t, d, "/f")
			must(t, d.SyncDir("/"))
			must(t, f.Allocate(2*allocateStep))
			write(t, f, 0, "x")
		}, "/f=|/f=0|/f=x0", ""},
		{"names", func(t *testing.T, d *Disk) {
			must(t, d.MkdirAll("/d", 0))
			must(t, d.SyncDir("/"))
			open(t, d, "/d/a")
			open(t, d, "/d/b")
		}, "/d/|/d/ /d/a=|/d/ /d/a= /d/b=|/d/ /d/b=", "/d/|/d/ /d/a=|/d/ /d/a= /d/b="},
		{"file without a name", func(t *testing.T, d *Disk) {
			must(t, d.MkdirAll("/d", 0))
			must(t, open(t, d, "/d/a").Sync())
			must(t, d.SyncDir("/d"))
		}, "|/d/ /d/a=", "/d/ /d/a="},
		{"rename", func(t *testing.T, d *Disk) {
			base(t, d)
			f := open(t, d, "/g")
			write(t, f, 0, "new")
			must(t, f.Sync())
			must(t, d.SyncDir("/"))
			must(t, d.Rename("/g", "/f"))
		}, "/f=a /g=new|/f=new", ""},
		{"rename too early", func(t *testing.T, d *Disk) {
			base(t, d)
			f := open(t, d, "/g")
			write(t, f, 0, "new")
			must(t, d.Rename("/g", "/f"))
		}, "/f=|/f=0|/f=a|/f=a /g=|/f=a /g=0|/f=a /g=new|/f=new", ""},
		{"removal", func(t *testing.T, d *Disk) {
			base(t, d)
			must(t, d.Remove("/f"))
			write(t, open(t, d, "/f"), 0, "x")
		}, "|/f=|/f=0|/f=a|/f=x", ""},
		{"failed sync", func(t *testing.T, d *Disk) {
			f := base(t, d)
			write(t, f, 0, sector("b"))
			d.Before = func(vfs.Op, string) error { return syscall.EIO }
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			d.Before = nil
			must(t, f.Sync())
		}, "/f=a", ""}, // with this seed the pages are lost
	} {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, " ordered ", ordered), func(t *testing.T) {
				d := New(Options{Seed: 3, Ordered: ordered})
				c.do(t, d)
				want := c.posix
				if ordered && c.ordered != "" {
					want = c.ordered
				}
				got := strings.Join(states(t, d), "|")
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
}

// After a kill all is there, and may still be lost by a power cut.
func TestDisk_Kill(t *testing.T) {
	d := New(Options{})
	must(t, d.MkdirAll("/d", 0))
	must(t, d.SyncDir("/"))
	f := open(t, d, "/d/a")
	write(t, f, 0, "x")
	l, err := d.Lock("/lock")
	must(t, err)
	if _, err := d.Lock("/lock"); err == nil {
		t.Fatal("locked twice")
	}
	k := d.Kill()
	if got, want := tree(t, k), tree(t, d); got != want {
		t.Fatalf("%s, not %s", got, want)
	}
	if _, err := k.Lock("/lock"); err != nil {
		t.Fatal(err)
	}
	if got, want := states(t, k), states(t, d); !slices.Equal(got, want) || len(want) < 4 {
		t.Fatalf("%q, not %q", got, want)
	}
	write(t, f, 0, "y") // the dead do not write on the new disk
	if !strings.Contains(tree(t, k), "a=x") {
		t.Fatal(tree(t, k))
	}
	must(t, l.Close())
	if _, err := d.Lock("/lock"); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	if _, err := f.WriteAt([]byte("z"), 0); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

// A full disk takes what fits, and takes more when something is given back.
func TestDisk_Full(t *testing.T) {
	d := New(Options{Capacity: 4 * Sector})
	f, g := open(t, d, "/f"), open(t, d, "/g")
	must(t, f.Allocate(3*Sector))
	n, err := g.WriteAt(make([]byte, 2*Sector), 10)
	if n != Sector-10 || !vfs.IsFull(err) {
		t.Fatal(n, err)
	}
	if free, total, err := d.Free("/"); free != 0 || total != 4*Sector || err != nil {
		t.Fatal(free, total, err)
	}
	must(t, f.Zero(1, 3*Sector)) // gives back the two that are whole
	must(t, g.Allocate(3*Sector))
	if err := f.Allocate(3 * Sector); !vfs.IsFull(err) {
		t.Fatal(err)
	}
	must(t, d.Remove("/g"))
	if d.Used() != 4*Sector { // still open
		t.Fatal(d.Used())
	}
	must(t, g.Close())
	must(t, f.Allocate(3*Sector))
	d.SetCapacity(0)
	must(t, f.Allocate(100*Sector))
	must(t, f.Truncate(0))
	if d.Used() != 0 {
		t.Fatal(d.Used())
	}
}

// Injected errors: a write has written a beginning, other operations have done nothing.
func TestDisk_Before(t *testing.T) {
	d := New(Options{})
	f := open(t, d, "/f")
	var ops []string
	fails := false
	d.Before = func(op vfs.Op, name string) error {
		ops = append(ops, string(op))
		if fails {
			return syscall.EIO
		}
		return nil
	}
	short := make(map[int]bool)
	fails = true
	for range 200 {
		n, err := f.WriteAt([]byte("abc"), 0)
		if !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		short[n] = true
	}
	if len(short) != 4 {
		t.Fatal(short)
	}
	_, openErr := d.OpenFile("/g", os.O_CREATE, 0)
	for i, err := range []error{openErr, f.Truncate(9), f.Allocate(9), f.Zero(0, 9), d.Rename("/f", "/g"), d.Remove("/f"),
		d.MkdirAll("/d", 0), d.SyncDir("/"), f.Sync()} {
		if !errors.Is(err, syscall.EIO) {
			t.Error(i, err)
		}
	}
	d.Before = nil
	if got := tree(t, d); got != "/f=abc" {
		t.Fatal(got)
	}
	if got := strings.Join(ops[200:], " "); got != "open truncate allocate zero rename remove mkdir sync sync" {
		t.Fatal(got)
	}
}

// The disk does what the real one does, by the same calls.
func TestDisk_AsOS(t *testing.T) {
	dir := t.TempDir()
	for _, disk := range []struct {
		fs   vfs.FS
		root string
	}{{vfs.OS, dir}, {New(Options{Map: true}), "/x"}} {
		d, name := disk.fs, func(s string) string { return disk.root + "/" + s }
		must(t, d.MkdirAll(name("a/b"), 0o755))
		if _, err := d.OpenFile(name("a/f"), os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		f, err := d.OpenFile(name("a/f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		must(t, err)
		if _, err := d.OpenFile(name("a/f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		must(t, f.Allocate(8192))
		m, err := f.Map(8192)
		must(t, err)
		write(t, f, 4095, "xyz")
		if !bytes.Equal(m.Bytes()[4095:4098], []byte("xyz")) {
			t.Fatal("map does not follow")
		}
		must(t, f.Zero(4096, 1))
		if string(m.Bytes()[4095:4098]) != "x\x00z" {
			t.Fatalf("%q", m.Bytes()[4095:4098])
		}
		must(t, m.Unmap())
		must(t, f.Truncate(4097))
		if n, err := f.ReadAt(make([]byte, 5), 4095); n != 2 || err == nil {
			t.Fatal(n, err)
		}
		if size, err := f.Size(); size != 4097 || err != nil {
			t.Fatal(size, err)
		}
		for i, err := range []error{d.Remove(name("a")), d.Remove(name("none")), d.Rename(name("none"), name("x")), d.SyncDir(name("none")), d.Rename(name("a/f"), name("a/b"))} {
			if err == nil {
				t.Fatal(i)
			}
		}
		must(t, d.Rename(name("a/f"), name("g")))
		must(t, errors.Join(d.SyncDir(name("")), d.SyncDir(name("a"))))
		must(t, d.Remove(name("a/b")))
		entries, err := d.ReadDir(name(""))
		if err != nil || len(entries) != 2 || entries[0].Name() != "a" || !entries[0].IsDir() || entries[1].Name() != "g" {
			t.Fatal(entries, err)
		}
		if info, err := d.Stat(name("g")); err != nil || info.Size() != 4097 || info.IsDir() {
			t.Fatal(info, err)
		}
		r, err := d.OpenFile(name("g"), os.O_RDONLY, 0)
		must(t, err)
		if _, err := r.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("written through a file that is open for reading")
		}
		must(t, errors.Join(r.Close(), f.Close()))
		if f.Close() == nil {
			t.Fatal("closed twice")
		}
		must(t, vfs.WriteFile(d, name("g"), []byte("short")))
		if b, err := vfs.ReadFile(d, name("g")); string(b) != "short" || err != nil {
			t.Fatal(string(b), err)
		}
	}
}

// How many states of a small store's size come from one core in a second.
func BenchmarkPowerCut(b *testing.B) {
	d := New(Options{})
	for i := range 12 {
		f, err := d.OpenFile(fmt.Sprint("/f", i), os.O_RDWR|os.O_CREATE, 0)
		if err != nil {
			b.Fatal(err)
		}
		for at := range int64(20) {
			if _, err := f.WriteAt(make([]byte, 150), at*150); err != nil {
				b.Fatal(err)
			}
		}
	}
	var seed uint64
	for b.Loop() {
		d.PowerCut(seed)
		seed++
	}
}

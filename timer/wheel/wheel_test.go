package wheel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A unit is byte for byte as Java writes it.
func TestUnit_Layout(t *testing.T) {
	u := Unit{Prev: -1, Magic: MagicDefault, WriteMs: 1795567548000, DelayMs: 2000, Physical: 170561, Size: 338, TopicHash: 1446091371}
	b := AppendUnit(nil, &u)
	want, _ := hex.DecodeString("00000034ffffffffffffffff00000001000001a2102a7660000007d00000000000029a410000015256319a6b0000000000000000") // written by Java 5.5.1
	if !bytes.Equal(b, want) {
		t.Fatalf("unit is %v", b)
	}
	if got, ok := ParseUnit(b); !ok || got != u || got.TimeMs() != 1795567550000 {
		t.Fatalf("read as %+v, %v", got, ok)
	}
}

// What no broker writes is no unit.
func TestParseUnit_Bad(t *testing.T) {
	u := Unit{Prev: 0, Magic: 1, WriteMs: 1, Physical: 0, Size: 91}
	good := AppendUnit(nil, &u)
	for name, spoil := range map[string]func(b []byte) []byte{
		"short":    func(b []byte) []byte { return b[:51] },
		"size":     func(b []byte) []byte { b[3] = 51; return b },
		"magic":    func(b []byte) []byte { b[14] = 1; return b },
		"prev":     func(b []byte) []byte { copy(b[4:], []byte{255, 255, 255, 255, 255, 255, 255, 254}); return b },
		"zeros":    func(b []byte) []byte { return make([]byte, 52) },
		"physical": func(b []byte) []byte { b[28] = 128; return b },
		"record":   func(b []byte) []byte { binary.BigEndian.PutUint32(b[36:], 0); return b },
	} {
		if _, ok := ParseUnit(spoil(bytes.Clone(good))); ok {
			t.Errorf("%s: is a unit", name)
		}
	}
}

// Slots are found by their moment only, across the end of the wheel, and survive the file.
func TestWheel_File(t *testing.T) {
	disk := crashfs.New(crashfs.Options{})
	w := New(128, 1000)
	f, found, err := OpenFile(disk, "wheel", w)
	must(t, err)
	if found {
		t.Fatal("a wheel was there")
	}
	base := w.reach() * 1000
	for i := range int64(5) {
		w.Add(base+i*50_000+7, 52*i, 1)
	}
	w.Add(base+10, 520, 1)
	w.Add(base+20, 520, 1) // the same unit once more
	must(t, f.Write(w.Changed()))
	if len(w.Changed()) != 0 {
		t.Fatal("what was written is still to be written")
	}
	must(t, f.Close())

	w = New(128, 1000)
	f, found, err = OpenFile(disk, "wheel", w)
	must(t, err)
	defer f.Close()
	if s, ok := w.At(base + 999); !found || !ok || s != (Slot{First: 0, Last: 520, Count: 2}) {
		t.Fatalf("slot %+v, %v", s, ok)
	}
	if _, ok := w.At(base + w.reach()); ok {
		t.Fatal("an entry counts for a moment of the next turn")
	}
	if held := w.Holds(base + w.reach()); held != base {
		t.Fatalf("the entry belongs to %d", held)
	}
	if n, first, last := w.Waiting(base + 50_000); n != 4 || first != 52 || last != 208 {
		t.Fatal(n, first, last)
	}
	var all []int64
	for ms := base; ; {
		at, ok := w.Next(ms, base+w.reach())
		if !ok {
			break
		}
		all = append(all, (at-base)/1000)
		ms = at + 1000
	}
	if len(all) != 5 || all[4] != 200 {
		t.Fatal(all)
	}
	w.Clear(base, base+50_000)
	if at, _ := w.Next(base, math.MaxInt64/2); at != base+50_000 {
		t.Fatal(at)
	}
	w.Reset()
	if n, _, _ := w.Waiting(0); n != 0 {
		t.Fatal(n)
	}
}

// A file of another length is no wheel; it is made one.
func TestOpenFile_Length(t *testing.T) {
	disk := crashfs.New(crashfs.Options{})
	must(t, vfs.WriteFile(disk, "wheel", []byte("something")))
	f, found, err := OpenFile(disk, "wheel", New(128, 1000))
	must(t, err)
	if size, err := f.file.Size(); found || err != nil || size != 2*128*entrySize {
		t.Fatal(found, size, err)
	}
}

// reach is how long after a moment its entry is used again, ms.
func (w *Wheel) reach() int64 { return w.entries() * w.precision }

func any1(int64, *Unit) bool { return true }

// Units go over the ends of files, with a blank at each, and are found again; the end is the first that is none.
func TestLog_Files(t *testing.T) {
	disk := crashfs.New(crashfs.Options{Map: true})
	const size = 3*UnitSize + 20
	l, err := OpenLog(disk, "log", size, 0, any1)
	must(t, err)
	var at []int64
	for i := range int64(10) {
		u := Unit{Prev: -1, Magic: 1, WriteMs: 1000, DelayMs: int32(i), Physical: i, Size: 100}
		at = append(at, l.Append(&u))
		if i%4 == 1 {
			must(t, l.Write())
		}
	}
	for i, pos := range at {
		if u, ok := l.Read(pos); !ok || u.Physical != int64(i) {
			t.Fatalf("unit %d at %d: %+v %v", i, pos, u, ok)
		}
	}
	if at[3] != size || l.End() != 3*size+UnitSize {
		t.Fatal(at, l.End())
	}
	must(t, l.Write())
	must(t, l.Sync(0, l.End()))
	if last, ok := l.Last(); !ok || last.Physical != 9 {
		t.Fatal(last)
	}
	must(t, l.Close())

	n := 0
	l, err = OpenLog(disk, "log", 999, 0, func(pos int64, u *Unit) bool { n++; return pos == at[u.Physical] })
	must(t, err)
	if n != 10 || l.End() != 3*size+UnitSize {
		t.Fatal(n, l.End())
	}
	must(t, l.Drop(4))
	if l.Min() != size {
		t.Fatal(l.Min())
	}
	must(t, l.Close())

	l, err = OpenLog(disk, "log", size, at[7], func(_ int64, u *Unit) bool { return u.Physical < 8 })
	must(t, err)
	if l.End() != at[8] {
		t.Fatal(l.End(), at)
	}
	u := Unit{Prev: -1, Magic: 1, WriteMs: 1000, Physical: 77, Size: 100}
	if pos := l.Append(&u); pos != at[8] {
		t.Fatal(pos)
	}
	must(t, l.Close())
	l, err = OpenLog(disk, "log", size, 0, any1)
	must(t, err)
	if last, ok := l.Last(); !ok || last.Physical != 77 || l.End() != at[8]+UnitSize {
		t.Fatal(last, l.End())
	}
	must(t, l.Reset())
	if l.Min() != l.End() || l.End()%size != 0 {
		t.Fatal(l.Min(), l.End())
	}
	must(t, l.Close())
}

// Whatever the bytes of log and wheel are: opening them reads no unit that is none, and what is read is within bounds.
func FuzzFiles(f *testing.F) {
	u := Unit{Prev: -1, Magic: 1, WriteMs: 1000, Physical: 1, Size: 100}
	f.Add(AppendUnit(AppendUnit(nil, &u), &u), make([]byte, 64))
	f.Add(appendBlank(AppendUnit(nil, &u), 128), []byte{0, 0, 0, 0, 0, 0, 0, 1})
	w := New(64, 1000)
	w.Add(5000, 52, 1)
	f.Add([]byte{}, w.Changed()[0].Data)
	f.Fuzz(func(t *testing.T, log, slots []byte) {
		disk := crashfs.New(crashfs.Options{})
		file := make([]byte, 200)
		copy(file, log)
		must(t, disk.MkdirAll("log", 0o755))
		must(t, vfs.WriteFile(disk, "log/00000000000000000000", file))
		l, err := OpenLog(disk, "log", 200, 0, any1)
		if err == nil {
			n := 0
			end, err := l.Scan(0, func(pos int64, u *Unit) bool {
				n++
				if got, ok := l.Read(pos); !ok || got != *u {
					t.Fatalf("unit at %d read as %+v", pos, got)
				}
				return true
			})
			must(t, err)
			if end != l.End() || int64(n)*UnitSize > end {
				t.Fatal(n, end, l.End())
			}
			must(t, l.Close())
		}
		w := New(64, 1000)
		data := make([]byte, w.entries()*entrySize)
		copy(data, slots)
		must(t, vfs.WriteFile(disk, "wheel", data))
		wf, _, err := OpenFile(disk, "wheel", w)
		must(t, err)
		for ms, n := int64(0), 0; n < 200; n++ {
			at, ok := w.Next(ms, ms+w.reach())
			if !ok {
				break
			}
			if s, ok := w.At(at); !ok || s.First < 0 || s.Last < s.First {
				t.Fatal(at, s)
			}
			ms = at + 1000
		}
		must(t, wf.Close())
	})
}

package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
)

// smallStore makes a store of several log files and two queues on a new disk.
func smallStore(t *testing.T) (w *world, s *Store) {
	t.Helper()
	p := plan{opt: crashfs.Options{Map: true}, cfg: Config{Dir: "/store", FileSize: 512, QueueFileSize: 60, OpenFiles: 4, HotBytes: 1 << 20}}
	w = worldOf(1, p, rand.New(rand.NewPCG(1, 1)))
	w.quiet = true
	s, err := w.open(w.disk)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		var b Batch
		topic := "t" + string(rune('0'+i%2))
		d := draft(topic, 0, fmt.Sprint("body ", i))
		d.Properties = []byte("KEYS\x01k\x02")
		b.Add(s.Queue(topic, 0), d, 0)
		if err := s.Append(&b, w.now); err != nil {
			t.Fatal(err)
		}
		w.led.take(recsOf(&b))
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	return w, s
}

// spoil changes a file of a disk.
func spoil(t *testing.T, d *crashfs.Disk, name string, change func(b []byte)) {
	t.Helper()
	b, err := vfs.ReadFile(d, name)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	f, err := d.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// The log is cut at every byte, by zeros as a crash leaves them, and in the middle of a sector: what is whole before
// stays, and the store goes on from there.
func TestCrash_CutAtEveryByte(t *testing.T) {
	w, s := smallStore(t)
	end := s.MaxPhysical()
	for at := int64(0); at <= end; at++ {
		d := w.disk.Kill()
		for start := at / 512 * 512; start < end; start += 512 {
			spoil(t, d, fmt.Sprintf("/store/commitlog/%020d", start), func(b []byte) { clear(b[max(at-start, 0):]) })
		}
		whole := int64(0)
		for _, r := range w.led.log {
			if r.end() <= at {
				whole = r.end()
			}
		}
		again, err := w.open(d)
		if err != nil {
			t.Fatalf("cut at %d: %v", at, err)
		}
		got, err := w.led.check(again, demand{bound: whole})
		// The last byte of a record may be a zero itself: nothing was lost.
		if err != nil || got.end != whole && len(got.log) > 0 && got.log[len(got.log)-1].end() > at+1 {
			t.Fatalf("cut at %d: %v", at, err)
		}
		var b Batch
		b.Add(again.Queue("t0", 0), draft("t0", 0, "new"), 0)
		if err := again.Append(&b, w.now); err != nil {
			t.Fatal(err)
		}
		if err := again.flush(); err != nil {
			t.Fatal(err)
		}
		led := w.led.recovered(got, again.Flushed())
		led.take(recsOf(&b))
		third, err := w.open(d.PowerCut(uint64(at)))
		if err == nil {
			_, err = led.check(third, demand{bound: b.End(), exact: true})
		}
		if err != nil {
			t.Fatalf("cut at %d, then again: %v", at, err)
		}
	}
}

// Every bit of every byte of a log is turned over that was on the disk: it was closed, or the checkpoint vouches for it.
// The store opens and every other record is still there. Where all of the log is read, because the queues are gone, the
// damage is found, unless it lies where nothing in a record says what is right: numbers that stand for themselves,
// topic and properties.
func TestCrash_BitFlips(t *testing.T) {
	for _, c := range []struct{ clean, gone bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
		t.Run(fmt.Sprintf("clean %v, queues gone %v", c.clean, c.gone), func(t *testing.T) {
			w, s := smallStore(t)
			if err := s.look(true); err != nil {
				t.Fatal(err)
			}
			if c.clean {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if c.gone {
				removeAll(t, w.disk, "/store/consumequeue")
			}
			found, hidden := 0, make(map[string]int)
			for i, r := range w.led.log {
				for at := range len(r.raw) {
					field := fieldAt(r.raw, at)
					for bit := range 8 {
						if n := flip(t, w, r, at, bit); n > 0 {
							found++
						} else {
							hidden[field]++
							if c.gone && guarded[field] {
								t.Errorf("record %d, byte %d (%s), bit %d: the damage was not found", i, at, field, bit)
							}
						}
					}
				}
			}
			t.Logf("%d of %d flips found at the start, the others by field: %v", found, found+sum(hidden), hidden)
		})
	}
}

// flip turns one bit of a record and opens the store: all other records must be there. It returns how many pieces the
// store knows to be damaged.
func flip(t *testing.T, w *world, r *rec, at, bit int) int64 {
	t.Helper()
	d := w.disk.Kill()
	name := fmt.Sprintf("/store/commitlog/%020d", r.physical/512*512)
	spoil(t, d, name, func(b []byte) { b[r.physical%512+int64(at)] ^= 1 << bit })
	cfg := w.cfg
	cfg.FS, cfg.Log = d, slog.New(slog.DiscardHandler)
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("%v, byte %d, bit %d: %v", r, at, bit, err)
	}
	for _, other := range w.led.log {
		if got, err := s.Record(other.physical, nil); other != r && (err != nil || !bytes.Equal(got, other.raw)) {
			t.Fatalf("%v, byte %d, bit %d: %v is lost: %v", r, at, bit, other, err)
		}
	}
	return s.DamageCount()
}

// guarded are the fields of which something in a record says whether they are right.
var guarded = map[string]bool{"size": true, "magic": true, "crc": true, "physical": true, "body": true}

func fieldAt(raw []byte, at int) string {
	r, err := message.Decode(raw)
	if err != nil {
		panic(err)
	}
	for _, f := range []struct {
		name string
		size int
	}{{"size", 4}, {"magic", 4}, {"crc", 4}, {"queue id", 4}, {"flag", 4}, {"offset", 8}, {"physical", 8}, {"system flag", 4}, {"born", 16},
		{"stored", 16}, {"reconsumed", 4}, {"prepared", 8}, {"body length", 4}, {"body", len(r.Body)}, {"topic length", 1},
		{"topic", len(r.Topic)}, {"properties length", 2}, {"properties", len(r.Properties)}} {
		if at -= f.size; at < 0 {
			return f.name
		}
	}
	panic("behind the record")
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

func removeAll(t *testing.T, d *crashfs.Disk, dir string) {
	t.Helper()
	entries, err := d.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := dir + "/" + e.Name(); e.IsDir() {
			removeAll(t, d, name)
		} else if err := d.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Remove(dir); err != nil {
		t.Fatal(err)
	}
}

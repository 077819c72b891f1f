package index

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// Pieces in which a file is written.
const (
	tailEntries = 12800 // kept in memory before they are written, 256,000 bytes
	pageSlots   = 1024  // slots of a page that is written as a whole if one of them changed
)

// memory is what the disk does not have yet. The builder stores an entry first, then its slot, and the counts of the
// file behind some of them.
type memory struct {
	slots   []atomic.Int32
	dirty   []bool // pages of slots that changed; the builder's
	touched int32  // the builder's: makes it look at slots ahead of time
	tail    atomic.Pointer[tail]
}

// tail is the entries from base on. The builder replaces it when it was written, so readers may go on with an old one.
type tail struct {
	base int32
	buf  []byte
}

func (f *file) newMemory() *memory {
	m := &memory{
		slots: make([]atomic.Int32, f.slots),
		dirty: make([]bool, (f.slots+pageSlots-1)/pageSlots),
	}
	m.tail.Store(f.newTail())
	return m
}

func (f *file) newTail() *tail {
	base := f.count.Load()
	return &tail{base, make([]byte, entrySize*min(tailEntries, f.entries-base))}
}

// grow takes the slots of a file from the disk into memory, so that it can be put to.
func (f *file) grow() (*memory, error) {
	m := f.newMemory()
	buf := make([]byte, slotSize*min(1<<18, f.slots))
	count := f.count.Load()
	for i := int32(0); i < f.slots; {
		part := buf[:slotSize*min(int64(len(buf)/slotSize), int64(f.slots-i))]
		if err := f.readAt(part, f.slot(i)); err != nil {
			return nil, err
		}
		for ; len(part) > 0; part = part[slotSize:] {
			if v := int32(binary.BigEndian.Uint32(part)); v > 0 && v < count {
				m.slots[i].Store(v)
			}
			i++
		}
	}
	f.sealed.Store(false)
	f.mem.Store(m)
	return m, nil
}

// put adds keys, at least one, as far as they go into the tail, and returns how many; the file must not be full. After
// an error nothing has changed. Source: Java IndexFile.putKey.
func (f *file) put(keys []key) (_ int, err error) {
	m := f.mem.Load()
	if m == nil {
		if m, err = f.grow(); err != nil {
			return 0, err
		}
	}
	n, t := f.count.Load(), m.tail.Load()
	buf := t.buf[int(n-t.base)*entrySize:]
	if len(buf) == 0 {
		if err := f.writeTail(t); err != nil {
			return 0, err
		}
		t = f.newTail()
		m.tail.Store(t)
		buf = t.buf
	}
	keys = keys[:min(len(keys), len(buf)/entrySize)]
	for i := range keys { // looked at one behind the other, what is not in the caches of the processor arrives together
		m.touched += m.slots[f.slotOf(keys[i].hash)].Load()
	}
	begin, used := f.beginMs.Load(), int32(0)
	for i := range keys {
		k := &keys[i]
		at := f.slotOf(k.hash)
		slot := &m.slots[at]
		e := entry{hash: k.hash, physical: k.physical, previous: slot.Load()}
		if begin > 0 {
			e.seconds = int32(min(max((k.storeMs-begin)/1000, 0), 1<<31-1))
		}
		e.append(buf[:0])
		buf = buf[entrySize:]
		if n <= 1 {
			begin = k.storeMs
			f.beginPhysical.Store(k.physical)
			f.beginMs.Store(begin)
		}
		if e.previous == 0 {
			used++
		}
		slot.Store(n)
		m.dirty[at/pageSlots] = true
		n++
	}
	last := &keys[len(keys)-1]
	f.used.Add(used)
	f.endPhysical.Store(last.physical)
	f.endMs.Store(last.storeMs)
	f.count.Store(n)
	return len(keys), nil
}

// seal brings all to the disk. From then on the file is read there.
func (f *file) seal() error {
	m := f.mem.Load()
	if m == nil {
		return nil
	}
	err := f.writeTail(m.tail.Load())
	if err == nil {
		err = f.writeSlots(m)
	}
	if err != nil {
		return err
	}
	if err := f.disk.Sync(); err != nil {
		return fmt.Errorf("cannot sync index file %s: %w", f.name, err)
	}
	f.mem.Store(nil)
	f.sealed.Store(true)
	return nil
}

// writeTail writes the header and the entries of the tail. The header goes first: if the process ends before the
// slots are written, it tells a Java broker that the file is newer than the checkpoint, and to be dropped.
func (f *file) writeTail(t *tail) error {
	if err := f.writeAt(f.header(), 0); err != nil {
		return err
	}
	b, off := t.buf[:(f.count.Load()-t.base)*entrySize], f.entry(t.base)
	if err := f.writeAt(b, off); err != nil {
		return err
	}
	f.disk.Writeback(off, int64(len(b))) // bit by bit, so that the sync of the full file is short
	return nil
}

func (f *file) writeSlots(m *memory) error {
	const pages = 64 // at once
	buf := make([]byte, 0, slotSize*pageSlots*pages)
	for p := 0; p < len(m.dirty); {
		first := p
		for p < len(m.dirty) && m.dirty[p] && p < first+pages {
			p++
		}
		if p == first {
			p++
			continue
		}
		buf = buf[:0]
		for i := first * pageSlots; i < min(p*pageSlots, len(m.slots)); i++ {
			buf = binary.BigEndian.AppendUint32(buf, uint32(m.slots[i].Load()))
		}
		if err := f.writeAt(buf, f.slot(int32(first*pageSlots))); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) writeAt(b []byte, off int64) error {
	if _, err := f.disk.WriteAt(b, off); err != nil {
		return fmt.Errorf("cannot write %d bytes at %d of %s: %w", len(b), off, f.name, err)
	}
	return nil
}

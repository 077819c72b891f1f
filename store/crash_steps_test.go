package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
)

// batch makes random messages for a store.
func (w *world) batch(s *Store, rng *rand.Rand) *Batch {
	b := new(Batch)
	n := 1
	if rng.IntN(3) == 0 {
		n += rng.IntN(5)
	}
	topic, id := w.topic(rng)
	glued := rng.IntN(3) == 0
	for i := range n {
		if !glued {
			topic, id = w.topic(rng)
		}
		size := rng.IntN(40)
		switch rng.IntN(8) {
		case 0:
			size = rng.IntN(250)
		case 1:
			size = int(s.cfg.FileSize) - 110 - rng.IntN(60)
		}
		w.written++
		body := fmt.Sprintf("%d.", w.written)
		body += strings.Repeat(string(rune('a'+w.written%26)), max(0, size-len(body)))
		d := &message.Draft{Topic: []byte(topic), QueueID: id, Body: []byte(body), BornHost: testHost, StoreHost: testHost}
		if rng.IntN(2) == 0 { // the checksum does not cover it
			d.Properties = []byte("KEYS\x01" + strings.Repeat("k", rng.IntN(120)) + "\x02")
		}
		q := s.Queue(topic, id)
		if rng.IntN(25) == 0 {
			d.SysFlag, q = message.FlagPrepared, nil
		}
		if glued && i > 0 {
			b.AddNext(q, d, 0)
		} else {
			b.Add(q, d, 0)
		}
	}
	return b
}

func (w *world) topic(rng *rand.Rand) (string, int32) {
	return "t" + string(rune('0'+rng.IntN(3))), int32(rng.IntN(2))
}

// append appends a batch and checks what it says.
func (w *world) append() {
	b := w.batch(w.s, w.rng)
	w.now = w.now.Add(time.Duration(w.rng.IntN(5)) * time.Millisecond)
	w.note("append %d messages", b.Len())
	outer := w.inflight
	w.inflight = b
	err := w.s.Append(b, w.now)
	w.inflight = outer
	list := recsOf(b)
	w.note("  %v: %v", list, err)
	switch {
	case errors.Is(err, crashfs.ErrStopped): // what was written stays written
		w.led.refuse(list)
		w.spoiled = true
	case err == nil && w.fenced:
		w.fail("an append was taken after the store was fenced")
	case err == nil:
		for _, r := range list {
			if !r.queue {
				continue
			}
			if n, ok := w.next[r.key()]; ok && n != r.offset {
				w.fail("%v was given an offset that is not %d", r, n)
			}
			w.next[r.key()] = r.offset + 1
		}
		w.led.take(list)
		w.appends++
	case errors.Is(err, ErrTooLarge):
	case errors.Is(err, ErrDiskFull), errors.Is(err, ErrFenced):
		w.led.refuse(list)
		w.spoiled = w.spoiled || strings.Contains(err.Error(), "cannot zero")
		if errors.Is(err, ErrDiskFull) {
			w.fulls++
		}
	default:
		w.fail("append: %v", err)
	}
	w.see()
}

// see keeps in mind that the store is fenced.
func (w *world) see() {
	if errors.Is(w.s.Writable(), ErrFenced) && !w.fenced {
		w.fenced = true
		w.fences++
		w.note("  fenced: %v", w.s.Writable())
	}
}

// step does something whose error is the store's to bear.
func (w *world) step(what string, fn func() error) {
	w.note("%s", what)
	if err := fn(); err != nil {
		w.note("  %v", err)
	}
	w.see()
}

// flush is a beat of the flusher. While it waits for the disk, others append.
func (w *world) flush() {
	before, fenced := w.s.Flushed(), w.fenced
	w.nested = true
	w.step("flush", w.s.flush)
	w.nested = false
	if fenced && w.s.Flushed() != before {
		w.fail("flushed went from %d to %d after the store was fenced", before, w.s.Flushed())
	}
	if w.s.Flushed() < before {
		w.fail("flushed went back from %d to %d", before, w.s.Flushed())
	}
}

func (w *world) look(syncDue bool) {
	w.nested = true
	w.step(fmt.Sprint("look, sync ", syncDue), func() error { return w.s.look(syncDue) })
	w.nested = false
}

// pages writes some queues, as if they had a page.
func (w *world) pages() {
	w.s.mu.Lock()
	for _, q := range w.s.dirty {
		if w.rng.IntN(2) == 0 {
			w.s.pages = append(w.s.pages, q)
		}
	}
	w.s.mu.Unlock()
	w.nested = true
	w.step("write pages", w.s.writePages)
	w.nested = false
}

func (w *world) deleteTopic() {
	topic, _ := w.topic(w.rng)
	w.led.deleted[topic] = w.s.MaxPhysical()
	for k := range w.next {
		if k.topic == topic {
			delete(w.next, k)
		}
	}
	maps.DeleteFunc(w.led.floor, func(k queueKey, _ int64) bool { return k.topic == topic })
	w.step("delete topic "+topic, func() error { return w.s.DeleteTopic(topic) })
}

func (w *world) dropBefore() {
	at := w.s.MinPhysical() + w.rng.Int64N(w.s.MaxPhysical()-w.s.MinPhysical()+1)
	w.led.dropped = max(w.led.dropped, at)
	w.step(fmt.Sprint("drop before ", at), func() error {
		err := w.s.DropBefore(at)
		w.led.untrimmed = w.led.untrimmed || err != nil // until the next start, which trims them
		return err
	})
}

// live compares the running store with the ledger.
func (w *world) live() {
	if w.copying != nil && w.fenced { // queues, or the end of the log, could not follow
		return
	}
	w.note("look at all")
	defer func(f failing) { w.fault = f }(w.fault)
	w.fault = failing{}
	// Failed writes that could not be undone lie behind the end.
	if _, err := w.led.check(w.s, demand{bound: w.s.MaxPhysical(), exact: true}); err != nil {
		w.fail("live: %v", err)
	}
}

// reopen goes on with the store that is found on a disk.
func (w *world) reopen(d *crashfs.Disk, want demand) {
	w.s, w.stopAt, w.fault = nil, 0, failing{}
	w.disk = d
	w.disk.Before = w.before
	if w.rng.IntN(6) == 0 { // the first try fails
		kinds := []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpZero, vfs.OpOpen, vfs.OpAllocate, vfs.OpRemove}
		w.fault = failing{kinds[w.rng.IntN(len(kinds))], 1 + w.rng.IntN(4)}
	}
	s, err := w.open(w.disk)
	if w.fault = (failing{}); errors.Is(err, syscall.EIO) || vfs.IsFull(err) {
		w.note("open again: %v", err)
		want.exact = false
		w.disk.SetCapacity(0)
		s, err = w.open(w.disk)
	}
	if err != nil {
		w.fail("does not open after %s: %v", want.where, err)
	}
	w.states++
	got, err := w.led.check(s, want)
	if err != nil {
		w.fail("after %s: %v", want.where, err)
	}
	w.led = w.led.recovered(got, s.Flushed())
	if c := w.copying; c != nil {
		if c.cutting && c.cut == 0 { // what was before it is another story
			w.led = &ledger{log: got.log, refused: make(map[int64][]*rec), deleted: w.led.deleted, dropped: w.led.dropped}
		}
		c.cutting = false
	}
	w.s, w.fenced, w.spoiled, w.next = s, false, false, got.next
	w.note("opened: log from %d to %d, %d records", got.min, got.end, len(got.log))
}

// crash ends the process, at once or in the midst of what comes next, perhaps with the power.
func (w *world) crash() {
	power := w.rng.IntN(3) > 0
	if w.rng.IntN(2) == 0 {
		w.stopAt = 1 + w.rng.IntN(12)
		for range 4 {
			if w.act(); w.stopAt == 0 {
				break
			}
		}
	}
	w.disk.Stop()
	want := w.demand(!power)
	w.note("%s", want.where)
	if power {
		w.reopen(w.disk.PowerCut(w.rng.Uint64()), want)
	} else {
		w.reopen(w.disk.Kill(), want)
	}
}

// closeClean ends the store in order, and cuts the power then.
func (w *world) closeClean() {
	w.note("close")
	err := w.s.Close()
	want := w.demand(true)
	want.where = "close"
	power := w.rng.IntN(2) == 0
	if err != nil {
		w.note("  %v", err)
		if !w.fenced && !vfs.IsFull(err) && w.fault.op == "" {
			w.fail("close: %v", err)
		}
		want = w.demand(!power)
		want.exact = false
	}
	d := w.disk
	if power {
		d = d.PowerCut(w.rng.Uint64())
	} else if w.rng.IntN(2) == 0 {
		d = d.Kill()
	}
	w.reopen(d, want)
}

// breakDisk makes something fail soon.
func (w *world) breakDisk() {
	kinds := []vfs.Op{vfs.OpWrite, vfs.OpWrite, vfs.OpSync, vfs.OpSync, vfs.OpAllocate, vfs.OpOpen, vfs.OpRemove, vfs.OpZero, crashfs.OpTruncate, crashfs.OpMkdir}
	w.fault = failing{kinds[w.rng.IntN(len(kinds))], 1 + w.rng.IntN(4)}
	w.note("the %d. %s will fail", w.fault.n, w.fault.op)
}

func (w *world) fillDisk() {
	n := w.disk.Used() + w.rng.Int64N(6)*crashfs.Sector
	w.note("the disk is full at %d", n)
	w.disk.SetCapacity(n)
}

// act does one of the things that happen all the time.
func (w *world) act() {
	if w.copying != nil {
		w.actCopying()
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 50:
		w.append()
	case n < 70:
		w.flush()
	case n < 77:
		w.look(w.rng.IntN(3) > 0)
	case n < 84:
		w.pages()
	case n < 90:
		w.step("prepare", w.s.log.Prepare)
	case n < 93:
		w.deleteTopic()
	case n < 97:
		w.dropBefore()
	default:
		w.live()
	}
}

// run does steps.
func (w *world) run(steps int) {
	s, err := w.open(w.disk)
	if err != nil {
		w.fail("new store: %v", err)
	}
	w.s = s
	for range steps {
		if w.fenced && w.rng.IntN(5) == 0 {
			w.closeClean()
		}
		switch w.rng.IntN(40) {
		case 0:
			w.crash()
		case 1:
			w.closeClean()
		case 2:
			w.breakDisk()
		case 3:
			w.fillDisk()
		case 4, 5:
			w.disk.SetCapacity(0)
		default:
			w.act()
		}
	}
	w.closeClean()
	w.live()
}

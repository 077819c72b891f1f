package store

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/message"
)

// copying is what a world needs whose store is the copy of another one.
type copying struct {
	master   *Store
	arriving []*rec // an AppendLog had not yet returned
	cutting  bool   // a CutLog or RestartLog has not, or failed: what lies at cut or behind it may be there or not
	cut      int64
}

// newMaster makes a store that begins at from and has the bytes of another one up to to.
func (w *world) newMaster(old *Store, from, to int64) {
	cfg := w.cfg
	cfg.FS, cfg.Log, cfg.Dir = crashfs.New(crashfs.Options{}), slog.New(slog.DiscardHandler), "/master"
	m, err := Open(cfg)
	if err == nil {
		err = m.RestartLog(from)
	}
	for err == nil && m.MaxPhysical() < to {
		b := make([]byte, min(to, m.log.FileEnd(m.MaxPhysical()))-m.MaxPhysical())
		if _, err = old.ReadLog(m.MaxPhysical(), b); err == nil {
			err = m.AppendLog(m.MaxPhysical(), b)
		}
	}
	if err != nil {
		w.fail("no master: %v", err)
	}
	w.copying.master = m
}

// ends returns where records and blanks of a log end, from one such place on.
func (w *world) ends(s *Store, from int64) (list []int64) {
	at := from
	err := s.Each(from, func(r *message.Record) bool {
		if r.Physical != at {
			list = append(list, r.Physical)
		}
		at = r.Physical + int64(r.Size)
		list = append(list, at)
		return true
	})
	if err != nil {
		w.fail("master: %v", err)
	}
	return list
}

// arrive has the store take the next piece of its master's log.
func (w *world) arrive() {
	c := w.copying
	for range w.rng.IntN(3) {
		if err := c.master.Append(w.batch(c.master, w.rng), w.now); err != nil && !errors.Is(err, ErrTooLarge) {
			w.fail("master: %v", err)
		}
	}
	at := w.s.MaxPhysical()
	if first := c.master.MinPhysical(); at < first || at > first && at == w.s.MinPhysical() {
		w.restart(c.master.MinPhysical())
		return
	}
	ends := w.ends(c.master, at)
	if len(ends) == 0 {
		return
	}
	to := ends[min(len(ends)-1, w.rng.IntN(6))]
	piece := make([]byte, 0, to-at)
	for at := at; at < to; {
		n, err := c.master.ReadLog(at, piece[len(piece):cap(piece)])
		if err != nil {
			w.fail("master: %v", err)
		}
		piece, at = piece[:len(piece)+n], at+int64(n)
	}
	c.arriving = nil
	for p := at; p < to; {
		size, magic := message.PeekSize(piece[p-at:])
		if magic != message.MagicBlank {
			r, err := message.Decode(piece[p-at:])
			if err != nil {
				w.fail("master: %v", err)
			}
			c.arriving = append(c.arriving, recOf(&r, piece[p-at:][:size]))
		}
		p += int64(size)
	}
	w.note("append %d-%d of the master, %d records", at, to, len(c.arriving))
	err := w.s.AppendLog(at, piece)
	list := c.arriving
	c.arriving = nil
	w.note("  %v: %v", list, err)
	switch {
	case errors.Is(err, crashfs.ErrStopped):
		w.led.refuse(list)
		w.spoiled = true
	case err == nil && w.fenced:
		w.fail("something was taken after the store was fenced")
	case err == nil:
		w.led.take(list)
		w.appends++
		if w.s.MaxPhysical() != to {
			w.fail("the log ends at %d, not at %d", w.s.MaxPhysical(), to)
		}
	case errors.Is(err, ErrDiskFull), errors.Is(err, ErrFenced):
		w.led.refuse(list)
		w.spoiled = w.spoiled || strings.Contains(err.Error(), "cannot zero") || strings.Contains(err.Error(), "cannot build")
		if errors.Is(err, ErrDiskFull) {
			w.fulls++
		}
	default:
		w.fail("append: %v", err)
	}
	w.see()
}

// cutTail cuts the store's log somewhere; its master has something else from there on.
func (w *world) cutTail() {
	c := w.copying
	from := w.s.MinPhysical()
	ends := append([]int64{from}, w.ends(w.s, from)...)
	at := ends[max(0, len(ends)-1-w.rng.IntN(12))]
	end := w.s.MaxPhysical()
	if at == end {
		return
	}
	c.cutting, c.cut, w.led.floor = true, at, nil
	w.note("cut at %d of %d-%d", at, from, end)
	err := w.s.CutLog(at)
	w.note("  %v", err)
	w.see()
	if err != nil {
		c.cutting = w.fenced || errors.Is(err, crashfs.ErrStopped)
		if !c.cutting && w.s.MaxPhysical() != end {
			w.fail("cut: %v, but the log ends at %d", err, w.s.MaxPhysical())
		}
		return
	}
	c.cutting = false
	for i, r := range w.led.log {
		if r.physical >= at {
			w.led.log = w.led.log[:i:i]
			break
		}
	}
	w.led.refused = make(map[int64][]*rec)
	w.newMaster(c.master, c.master.MinPhysical(), at)
}

// restart has the store begin anew where its master does.
func (w *world) restart(at int64) {
	c := w.copying
	c.cutting, c.cut, w.led.floor = true, 0, nil
	w.led.dropped = max(w.led.dropped, at)
	w.note("restart at %d", at)
	err := w.s.RestartLog(at)
	w.note("  %v", err)
	w.see()
	if err != nil {
		c.cutting = w.fenced || errors.Is(err, crashfs.ErrStopped)
		return
	}
	c.cutting = false
	w.led = &ledger{refused: make(map[int64][]*rec), deleted: w.led.deleted, dropped: w.led.dropped}
}

// actCopying does one of the things that happen to a copy.
func (w *world) actCopying() {
	switch n := w.rng.IntN(100); {
	case n < 55:
		w.arrive()
	case n < 70:
		w.flush()
	case n < 77:
		w.look(w.rng.IntN(3) > 0)
	case n < 84:
		w.pages()
	case n < 88:
		w.step("prepare", w.s.log.Prepare)
	case n < 93:
		w.cutTail()
	case n < 95 && w.s.Writable() == nil: // the master has removed what is next
		at := w.s.MaxPhysical() + w.cfg.FileSize*int64(1+w.rng.IntN(2))
		at -= at % w.cfg.FileSize
		w.newMaster(nil, at, at)
		w.restart(at)
	case n < 97:
		w.dropBefore()
	default:
		w.live()
	}
}

// A copy of another store may be killed and lose its power like any other, also while its end is cut off or it begins
// anew: it has whole records of what it was sent, in their places, up to some point, and nothing that was cut off comes
// back.
func TestCrash_Copy(t *testing.T) {
	want, first := env("CRASH_STATES", 20_000), env("CRASH_SEED", 1)
	if testing.Short() {
		want = min(want, 2_000)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	var n counts
	seed := first
	for ; uint64(n.states) < want; seed++ {
		w := newWorld(seed)
		w.copying = new(copying)
		w.newMaster(nil, 0, 0)
		failure := runWorld(w)
		n.add(w.counts)
		if failure != "" {
			tail := w.trace[max(0, len(w.trace)-int(env("CRASH_TRACE", 30))):]
			t.Fatalf("seed %d, %+v: %s\n\nlast steps:\n%s\n\n%d states were good before. Again with:\nCRASH_SEED=%d CRASH_STATES=1 go test ./store -run TestCrash_Copy",
				seed, w.plan, failure, strings.Join(tail, "\n"), n.states, seed)
		}
	}
	t.Logf("%v in %d stores", n, seed-first)
}

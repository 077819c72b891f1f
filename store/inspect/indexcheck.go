package inspect

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The layout of an index file: see docs/format/index.md.
const (
	indexHeader = 40
	indexSlot   = 4
	indexEntry  = 20
)

// Default lengths of the tables: maxHashSlotNum and maxIndexNum.
const (
	defaultSlots   = 5_000_000
	defaultEntries = 20_000_000
)

// indexShape is the lengths of the two tables of an index file.
type indexShape struct{ slots, entries int32 }

func (s indexShape) size() int64 {
	return indexHeader + indexSlot*int64(s.slots) + indexEntry*int64(s.entries)
}
func (s indexShape) entry(n int32) int64 {
	return indexHeader + indexSlot*int64(s.slots) + indexEntry*int64(n)
}

// indexCheck reads the index files along with the log: their entries are in its order. Chains need no jumping about:
// each entry must name the one that was the newest of its slot when it was put, and in the end the slots must name
// the newest.
type indexCheck struct {
	v     *verifier
	file  int // number of the next file
	r     *reader
	name  string
	head  indexHead
	shape indexShape

	n       int32   // next entry
	e       keyItem // it
	have    bool    // e is read
	newest  []int32 // per slot
	last    int64   // position of the entry before
	begin   int64   // first position that any entry had, -1: none yet
	end     int64   // last position that the index has
	broken  bool
	doubt   bool // the next start builds this file and those behind it again, whatever they hold
	missing run
	late    run
}

// indexHead is the header of a file.
type indexHead struct {
	beginMs, endMs, beginPhysical, endPhysical int64
	used, count                                int32
}

func parseIndexHead(b []byte) indexHead {
	be := binary.BigEndian
	return indexHead{
		int64(be.Uint64(b)), int64(be.Uint64(b[8:])), int64(be.Uint64(b[16:])), int64(be.Uint64(b[24:])),
		int32(be.Uint32(b[32:])), max(int32(be.Uint32(b[36:])), 1),
	}
}

// keyItem is an entry of an index file.
type keyItem struct {
	hash              int32
	physical          int64
	seconds, previous int32
}

func parseKeyItem(b []byte) keyItem {
	be := binary.BigEndian
	return keyItem{int32(be.Uint32(b)), int64(be.Uint64(b[4:])), int32(be.Uint32(b[12:])), int32(be.Uint32(b[16:]))}
}

// record compares the entries of one record with its keys. tagged says that the last of the hashes is the tags', which
// older Javas do not put.
func (x *indexCheck) record(physical, storeMs int64, hashes []int32, tagged bool) error {
	var seen uint64 // of the first 64 hashes
	wrong := false
	for {
		ok, err := x.peek()
		if err != nil {
			return err
		}
		if !ok || x.e.physical > physical {
			break
		}
		if x.e.physical < physical {
			x.stray()
			continue
		}
		hit := -1
		for i, h := range hashes {
			if h == x.e.hash && (hit < 0 || i < 64 && seen&(1<<i) == 0) {
				hit = i
			}
		}
		if hit < 0 {
			wrong = true
			x.finding(x.n, Damage, fmt.Sprintf("the record at %d has no key with hash %d", physical, x.e.hash))
		} else if hit < 64 {
			seen |= 1 << hit
		}
		if want := x.seconds(storeMs); x.n > 1 && x.e.seconds != want {
			x.finding(x.n, Damage, fmt.Sprintf("says %d seconds, the record at %d is of second %d", x.e.seconds, physical, want))
		}
		x.v.report.Index.Entries++
		x.take()
	}
	must := len(hashes)
	if tagged {
		must--
	}
	if must == 0 || must > 64 || wrong || len(x.v.s.index) == 0 {
		return nil
	}
	if x.begin < 0 {
		x.late.add(physical)
		return nil
	}
	if full := uint64(math.MaxUint64) >> (64 - must); seen&full != full {
		x.missing.add(physical)
	} else if x.missing.count > 0 {
		x.flushMissing(Damage, "")
	}
	return nil
}

func (r *run) add(physical int64) {
	if r.count == 0 {
		r.physical = physical
	}
	r.count++
	r.last = physical
}

func (x *indexCheck) seconds(storeMs int64) int32 {
	if x.head.beginMs <= 0 {
		return 0
	}
	return int32(min(max((storeMs-x.head.beginMs)/1000, 0), math.MaxInt32))
}

// flushMissing reports records whose keys are not in the index.
func (x *indexCheck) flushMissing(level Level, more string) {
	m := x.missing
	x.missing = run{}
	x.broken = true
	text := "a key of the record has no entry"
	f := Finding{Level: level, Kind: KindIndex, File: "index", Physical: &m.physical}
	if m.count > 1 {
		text = fmt.Sprintf("keys of %d records, the last at %d, have no entries", m.count, m.last)
		f.Count = m.count
	}
	f.Text = text + more
	x.add(f)
}

// stray deals with an entry that no record asked for.
func (x *indexCheck) stray() {
	switch {
	case x.e.physical >= 0 && x.e.physical < x.v.s.minPhysical():
		x.v.report.Index.Expired++
		x.begin = x.v.s.minPhysical()
	case x.v.damaged(x.e.physical):
		x.broken = true
	case x.v.done && x.e.physical >= x.v.report.Log.End:
		x.finding(x.n, Mended, fmt.Sprintf("points at %d, behind the end of the log", x.e.physical))
	default:
		x.finding(x.n, Damage, fmt.Sprintf("points at %d, where no record starts", x.e.physical))
	}
	x.take()
}

// peek reads the next entry into x.e; false says that there is none.
func (x *indexCheck) peek() (bool, error) {
	for !x.have {
		if x.r == nil {
			if x.file >= len(x.v.s.index) {
				return false, nil
			}
			if err := x.open(x.v.s.index[x.file]); err != nil {
				return false, err
			}
			x.file++
			continue
		}
		if x.n >= x.head.count {
			if err := x.finishFile(); err != nil {
				return false, err
			}
			continue
		}
		b, err := x.r.bytes(ctxNone, x.shape.entry(x.n), indexEntry)
		if err != nil {
			return false, err
		}
		x.e, x.have = parseKeyItem(b), true
		if x.e.physical < x.last {
			x.finding(x.n, Damage, fmt.Sprintf("points at %d, the entry before it at %d", x.e.physical, x.last))
		}
		x.last = x.e.physical
	}
	return true, nil
}

// take checks the chain of the entry and goes on to the next.
func (x *indexCheck) take() {
	x.have = false
	if x.begin < 0 && x.e.physical >= x.v.s.minPhysical() {
		x.begin = x.e.physical
	}
	x.end = max(x.end, x.e.physical)
	n := x.n
	x.n++
	if x.e.hash < 0 {
		x.finding(n, Damage, fmt.Sprintf("hash %d is negative", x.e.hash))
		return
	}
	slot := x.e.hash % x.shape.slots
	if x.e.previous != x.newest[slot] {
		x.finding(n, Damage, fmt.Sprintf("names entry %d as the one before it in slot %d, which is %d", x.e.previous, slot, x.newest[slot]))
	}
	x.newest[slot] = n
}

func (x *indexCheck) finding(n int32, level Level, text string) {
	x.broken = true
	at := x.shape.entry(n)
	x.add(Finding{Level: level, Kind: KindIndex, File: x.v.s.relative(x.name), At: &at, Text: fmt.Sprintf("entry %d %s", n, text)})
}

func (x *indexCheck) fileFinding(name string, level Level, text string) {
	x.broken = true
	x.add(Finding{Level: level, Kind: KindIndex, File: x.v.s.relative(name), Text: text})
}

// add reports a finding, which is no damage where a crash left a file half written.
func (x *indexCheck) add(f Finding) {
	if x.doubt && f.Level == Damage {
		f.Level, f.Text = Mended, f.Text+"; the next start builds it again"
	}
	x.v.report.add(f)
}

package inspect

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
)

// ctxNone is for reads that a caller ends otherwise.
var ctxNone = context.Background()

// open opens an index file and reads its header. One that cannot be right is reported and passed over.
func (x *indexCheck) open(name string) error {
	v := x.v
	info, err := v.s.cfg.FS.Stat(name)
	if err != nil {
		return fmt.Errorf("cannot read index: %w", err)
	}
	if info.Size() == 0 {
		x.fileFinding(name, Mended, "is empty")
		return nil
	}
	r, err := v.s.newReader(name, info.Size(), func(at int64, err error) { x.broken = true; v.unreadable(name, at, err) }, &v.report.Read)
	if err != nil {
		return fmt.Errorf("cannot read index: %w", err)
	}
	head, sh, text, err := readIndexHead(r)
	x.doubt = x.doubt || v.s.aborted && head.endMs > v.check.indexMs // see index.Index.load
	if err != nil || text != "" {
		r.close()
		if text != "" {
			x.fileFinding(name, Damage, text)
		}
		return err
	}
	x.r, x.name, x.head, x.shape, x.n = r, name, head, sh, 1
	if cap(x.newest) < int(sh.slots) {
		x.newest = make([]int32, sh.slots)
	}
	x.newest = x.newest[:sh.slots]
	clear(x.newest)
	v.report.Index.Files++
	return nil
}

// readIndexHead reads the header of an index file and finds out the lengths of its tables: from its length, if they are
// in the usual relation or the file is full, else from where its newest entry is. text says what is wrong with it.
func readIndexHead(r *reader) (head indexHead, sh indexShape, text string, err error) {
	if r.size < indexHeader+indexSlot+indexEntry {
		return head, sh, fmt.Sprintf("has %d bytes, which is no index file", r.size), nil
	}
	b, err := r.bytes(ctxNone, 0, indexHeader)
	if err != nil {
		return head, sh, "", err
	}
	head = parseIndexHead(b)
	const each = indexSlot + 4*indexEntry
	quarter := int32(min(r.size-indexHeader, math.MaxInt32) / each)
	shapes := []indexShape{{defaultSlots, defaultEntries}, {quarter, 4 * quarter}}
	usual := len(shapes)
	if full := (r.size - indexHeader - indexEntry*int64(head.count)) / indexSlot; full > 0 && full <= math.MaxInt32/indexSlot {
		shapes = append(shapes, indexShape{int32(full), head.count})
	}
	fits, second := false, indexShape{}
	for i, s := range shapes {
		if s.size() != r.size || s.slots < 1 {
			continue
		}
		fits = true
		entry, slot, err := s.suits(r, head)
		if err != nil {
			return head, sh, "", err
		}
		if slot {
			return head, s, "", nil
		}
		if entry && i < usual && second.slots == 0 { // perhaps only the slot is wrong
			second = s
		}
	}
	if second.slots > 0 {
		return head, second, "", nil
	}
	// Whoever has set both lengths may have any: there are as many as fit into the file.
	tables := r.size - indexHeader
	for slots := (tables/indexSlot-1)%(indexEntry/indexSlot) + 1; tables%indexSlot == 0 && slots <= math.MaxInt32/indexSlot; slots += indexEntry / indexSlot {
		s := indexShape{int32(slots), int32((tables - indexSlot*slots) / indexEntry)}
		if s.entries <= head.count {
			break
		}
		fits = true
		if _, slot, err := s.suits(r, head); err != nil || slot {
			return head, s, "", err
		}
	}
	if fits {
		return head, sh, fmt.Sprintf("its header (next entry %d, last message at %d) does not agree with its entries", head.count, head.endPhysical), nil
	}
	return head, sh, fmt.Sprintf("has %d bytes, which is no index file of the usual shape", r.size), nil
}

// suits tells whether a file of this shape has its newest entry where the header says, and whether the entry's slot says so,
// too.
func (s indexShape) suits(r *reader, head indexHead) (entry, slot bool, err error) {
	if head.count > s.entries {
		return false, false, nil
	}
	if head.count == 1 {
		return true, true, nil
	}
	b, err := r.bytes(ctxNone, s.entry(head.count-1), indexEntry)
	if err != nil {
		return false, false, err
	}
	e := parseKeyItem(b)
	if e.physical != head.endPhysical || e.hash < 0 {
		return false, false, nil
	}
	if b, err = r.bytes(ctxNone, indexHeader+indexSlot*int64(e.hash%s.slots), indexSlot); err != nil {
		return true, false, err
	}
	return true, int32(binary.BigEndian.Uint32(b)) == head.count-1, nil
}

// finishFile compares the slots with the entries and closes the file.
func (x *indexCheck) finishFile() error {
	defer x.close()
	bad, first, used := 0, int32(0), int32(0)
	for i := int32(0); i < x.shape.slots; {
		n := min(1<<18, x.shape.slots-i)
		b, err := x.r.bytes(ctxNone, indexHeader+indexSlot*int64(i), indexSlot*int64(n))
		if err != nil {
			return err
		}
		for j := int32(0); j < n; j++ {
			says := int32(binary.BigEndian.Uint32(b[indexSlot*j:]))
			if x.newest[i+j] != 0 {
				used++
			}
			if says != x.newest[i+j] {
				if bad == 0 {
					first = i + j
				}
				bad++
			}
		}
		i += n
	}
	if bad > 0 {
		at := indexHeader + indexSlot*int64(first)
		x.broken = true
		f := Finding{Level: Damage, Kind: KindIndex, File: x.v.s.relative(x.name), At: &at,
			Text: fmt.Sprintf("slot %d does not name the newest of its entries, %d", first, x.newest[first])}
		if bad > 1 {
			f.Text = fmt.Sprintf("%d slots do not name the newest of their entries, the first is slot %d", bad, first)
			f.Count = int64(bad)
		}
		x.add(f)
	}
	if used != x.head.used {
		x.fileFinding(x.name, Note, fmt.Sprintf("its header counts %d slots, %d are used", x.head.used, used))
	}
	return nil
}

// finish looks at what is left when the log ends.
func (x *indexCheck) finish() error {
	for {
		ok, err := x.peek()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		x.stray()
	}
	v := x.v
	switch {
	case len(v.s.index) == 0:
		if v.report.Log.Records > 0 {
			v.report.add(Finding{Level: Note, Kind: KindIndex, File: "index", Text: "there is no index: messages cannot be found by key"})
		}
	case x.missing.count > 0 && x.missing.physical >= x.end:
		v.report.Index.Behind = x.missing.count
		x.flushMissing(Mended, "; the next start builds them")
	case x.missing.count > 0:
		x.flushMissing(Damage, "")
	}
	switch {
	case x.late.count > 0 && x.begin < 0:
		v.report.Index.Behind = x.late.count
		x.missing = x.late
		x.flushMissing(Mended, "; the next start builds them")
	case x.late.count > 0:
		v.report.add(Finding{Level: Note, Kind: KindIndex, File: "index", Physical: &x.late.physical, Count: x.late.count,
			Text: fmt.Sprintf("the index begins at %d: keys of %d records before it cannot be found", x.begin, x.late.count)})
	}
	return nil
}

func (x *indexCheck) close() {
	if x.r != nil {
		x.r.close()
		x.r = nil
	}
}

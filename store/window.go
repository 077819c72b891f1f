package store

import (
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// window has the next records that a filter is to look into, copied from the map a few at a time: one after the other, each
// would wait for the memory by itself.
type window struct {
	spans []segment.Span // not yet taken
	bytes []byte         // theirs
	room  []byte
	all   [windowRecords]segment.Span
}

const (
	windowRecords = 16
	windowBytes   = 64 << 10 // more only if one record has more
)

// record returns the bytes of a unit's record in memory, valid until the next call. rest are the units behind it that are known.
func (w *window) record(g *get, u consumequeue.Unit, rest []byte) ([]byte, error) {
	for len(w.spans) > 0 && w.spans[0].Off != u.Physical {
		w.take()
	}
	if len(w.spans) == 0 {
		if err := w.fill(g, u, rest); err != nil {
			return nil, err
		}
	}
	return w.take(), nil
}

// take cuts the first record off.
func (w *window) take() []byte {
	n := w.spans[0].Size
	record := w.bytes[:n:n]
	w.spans, w.bytes = w.spans[1:], w.bytes[n:]
	return record
}

// fill reads the record of a unit, and those behind it that may be read in the same way.
func (w *window) fill(g *get, u consumequeue.Unit, rest []byte) error {
	spans, size := append(w.all[:0], segment.Span{Off: u.Physical, Size: int(u.Size)}), int(u.Size)
	for ; len(rest) > 0 && len(spans) < len(w.all); rest = rest[consumequeue.UnitSize:] {
		u := consumequeue.ParseUnit(rest)
		end := u.Physical + int64(u.Size)
		if u.Filler() || u.Size <= 0 || u.Physical < g.hot || end > min(g.end, g.visible) || size+int(u.Size) > windowBytes {
			break
		}
		spans, size = append(spans, segment.Span{Off: u.Physical, Size: int(u.Size)}), size+int(u.Size)
	}
	w.room = grow(w.room[:0], size)
	n, err := g.store.log.ReadEach(w.room, spans)
	if err != nil {
		return err
	}
	w.spans, w.bytes = spans[:n], w.room
	return nil
}

// close lets go of what was read, and of a buffer that one large record made.
func (w *window) close() {
	w.spans, w.bytes = nil, nil
	if cap(w.room) > windowBytes {
		w.room = nil
	}
}

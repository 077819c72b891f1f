package index

import (
	"encoding/binary"
	"sync"

	"rocketd/message"
)

// Bounds of what waits for the builder. Beyond them the builder reads the log instead.
const (
	feedItems = 32 << 10
	feedBytes = 4 << 20
)

// feed is what was put and not yet taken by the builder. Put never waits for the builder.
type feed struct {
	mu      sync.Mutex // a leaf: nothing is locked under it. It guards:
	pending batch
	live    bool          // records put are kept; else the builder reads the log up to end
	busy    bool          // the builder is at work on a batch
	end     int64         // behind the last record put
	kept    int64         // behind the last record put while live
	settled chan struct{} // closed when what is pending now is built; nil: nobody waits
}

// batch is records as the builder needs them.
type batch struct {
	items []item
	text  []byte // of each the topic, two bytes and the properties
	kept  int64  // behind the last record
}

type item struct {
	physical, storeMs int64
	topic, props      int32 // lengths
}

// Put gives the builder a piece of the log: whole records, one behind the other from physical on, as they were
// appended. It must be called in the order of the log, after the piece can be read there, and may be called with the
// append lock held: it copies topic and properties and waits for nothing. When too much waits already, the builder
// reads the log later.
func (x *Index) Put(physical int64, records []byte) {
	f := &x.feed
	f.mu.Lock()
	f.end = physical + int64(len(records))
	live, waiting := f.live, len(f.pending.items)
	for f.live && len(records) > 0 {
		size := f.pending.add(records)
		if size == 0 {
			f.live = false
			break
		}
		f.kept = max(f.kept, message.PeekPhysical(records)+int64(size))
		records = records[size:]
	}
	wake := live && (!f.live || waiting == 0 && len(f.pending.items) > 0)
	f.mu.Unlock()
	if wake {
		ring(x.due)
	}
}

// Places in a record, see message.Record. They are read here since Decode would take half of the time of a Put.
const (
	sysFlagAt = 36
	bodyAt    = 84 // length of the body, if both hosts are IPv4
	moreOfV6  = 12 // for each host that is IPv6
)

// add takes in the record at the start of b and returns its size; 0 means that there is no room, or no record.
func (b *batch) add(rec []byte) int {
	if len(rec) < message.MinSize {
		return 0
	}
	size, magic := message.PeekSize(rec)
	if size < message.MinSize || int(size) > len(rec) {
		return 0
	}
	rec = rec[:size]
	be := binary.BigEndian
	flags := int32(be.Uint32(rec[sysFlagAt:]))
	if flags&message.FlagRollback == message.FlagRollback {
		return int(size)
	}
	at := bodyAt
	if flags&message.FlagBornHostV6 != 0 {
		at += moreOfV6
	}
	if flags&message.FlagStoreHostV6 != 0 {
		at += moreOfV6
	}
	if at+4 > len(rec) {
		return 0
	}
	at += 4 + int(be.Uint32(rec[at:]))
	if at+2 > len(rec) {
		return 0
	}
	topic := int(rec[at])
	at++
	if magic == message.MagicV2 {
		topic = topic<<8 | int(rec[at])
		at++
	}
	props := at + topic + 2
	if props > len(rec) || props+int(be.Uint16(rec[props-2:])) != len(rec) {
		return 0
	}
	if props == len(rec) {
		return int(size)
	}
	if len(b.items) == feedItems || len(b.text)+len(rec)-at > feedBytes {
		return 0
	}
	b.items = append(b.items, item{message.PeekPhysical(rec), message.PeekStoreMs(rec), int32(topic), int32(len(rec) - props)})
	b.text = append(b.text, rec[at:]...)
	return int(size)
}

// take swaps what is pending for spare. settled, if not nil, is to be closed when the batch is built; live is false
// if there are more records in the log, which were not kept.
func (f *feed) take(spare batch) (b batch, settled chan struct{}, live bool) {
	spare.items, spare.text = spare.items[:0], spare.text[:0]
	f.mu.Lock()
	defer f.mu.Unlock()
	b, settled, live = f.pending, f.settled, f.live
	b.kept = f.kept
	f.pending, f.settled = spare, nil
	f.busy = len(b.items) > 0
	return b, settled, live
}

// start tells whether the builder, who has read up to pos, has seen all that was put; if so, puts are kept from
// here on, if follow says so. Else end is where the log goes on to.
func (f *feed) start(pos int64, follow bool) (end int64, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end > pos {
		return f.end, false
	}
	f.live, f.kept = follow, pos
	return f.end, true
}

// stop makes puts no longer kept, forgets what is pending, which is in the log, and wakes who waits.
func (f *feed) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live, f.busy, f.pending = false, false, batch{}
	if f.settled != nil {
		close(f.settled)
		f.settled = nil
	}
}

// wait returns a channel that is closed when all that was put by now is built, or nil if it is.
func (f *feed) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.live || len(f.pending.items) == 0 && !f.busy {
		return nil
	}
	if f.settled == nil {
		f.settled = make(chan struct{})
	}
	return f.settled
}

// ring wakes the one who waits at c, or who will look next.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

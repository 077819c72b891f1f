package index

import (
	"encoding/binary"
	"sync"

	"rocketd/message"
)

// feedKeys is how many keys may wait for the builder. Beyond that the builder reads the log instead.
const feedKeys = 64 << 10

// feed is the keys that were put and not yet taken by the builder. Put never waits for the builder.
type feed struct {
	mu      sync.Mutex // a leaf: nothing is locked under it. It guards:
	pending []key
	live    bool          // keys put are kept; else the builder reads the log up to end
	busy    bool          // the builder is at work on what it took
	end     int64         // behind the last record put
	kept    int64         // behind the last record put while live
	settled chan struct{} // closed when what is pending now is built; nil: nobody waits
}

// Put gives the builder a piece of the log: whole records, one behind the other from physical on, as they were
// appended. It must be called in the order of the log, after the piece can be read there, and may be called with the
// append lock held: it looks for the keys, which are in the caches of this processor now and would not be in those of the
// builder's, and waits for nothing. When too much waits already, the builder reads the log later.
func (x *Index) Put(physical int64, records []byte) {
	f := &x.feed
	f.mu.Lock()
	f.end = physical + int64(len(records))
	live, waiting := f.live, len(f.pending)
	for f.live && len(records) > 0 {
		size := f.add(records)
		if size == 0 {
			f.live = false
			break
		}
		f.kept = max(f.kept, message.PeekPhysical(records)+int64(size))
		records = records[size:]
	}
	wake := live && (!f.live || waiting == 0 && len(f.pending) > 0)
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

// add takes in the keys of the record at the start of rec and returns its size; 0 means that there is no room, or no
// record. f.mu is held.
func (f *feed) add(rec []byte) int {
	if len(rec) < message.MinSize || len(f.pending) >= feedKeys {
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
	f.pending = appendKeys(f.pending, rec[at:at+topic], rec[props:], message.PeekPhysical(rec), message.PeekStoreMs(rec))
	return int(size)
}

// take swaps what is pending for spare; kept is where in the log that ends. settled, if not nil, is to be closed when the
// keys are built; live is false if there are more records in the log, whose keys were not kept.
func (f *feed) take(spare []key) (keys []key, kept int64, settled chan struct{}, live bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys, settled = f.pending, f.settled
	f.pending, f.settled = spare[:0], nil
	f.busy = len(keys) > 0
	return keys, f.kept, settled, f.live
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
	f.live, f.busy, f.pending = false, false, nil
	if f.settled != nil {
		close(f.settled)
		f.settled = nil
	}
}

// wait returns a channel that is closed when all that was put by now is built, or nil if it is.
func (f *feed) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.live || len(f.pending) == 0 && !f.busy {
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

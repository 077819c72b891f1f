package store

import (
	"errors"
	"math"
	"sync"

	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// scanUnits is how many units of a queue one Get looks at, at most. Source: Java MessageStoreConfig, maxFilterMessageSize.
const scanUnits = 16000 / consumequeue.UnitSize

// How records are read that are not taken to be in memory.
const (
	pieceBytes = 256 << 10 // most that is read at once
	pieceGap   = 16 << 10  // bytes of others that are read along between two records
	aheadBytes = 1 << 20   // read ahead of a reader, each time it crosses a multiple of it
)

// Status says how a Get ended. The names are Java's GetMessageStatus.
type Status uint8

// The statuses. Next of the result is where to read on; it is corrected where the offset was outside.
const (
	Found               Status = iota
	NoMatchedMessage           // what was looked at was not wanted: read on at once
	MessageWasRemoving         // records are gone from the log, or its end is being cut: read on at once
	OffsetFoundNull            // a file of the queue is missing
	OffsetOverflowBadly        // beyond the end
	OffsetOverflowOne          // at the end: nothing there yet
	OffsetTooSmall             // before the first message
	NoMatchedLogicQueue        // there is no such queue
	NoMessageInQueue           // the queue never had a message
	OnDisk                     // with NoWait: what would come next is not in memory
	Unreadable                 // the disk fails: nothing is passed over, the same may be asked again
)

// Read says what to get.
type Read struct {
	From     int64                // offset in the queue
	Max      int32                // messages, at least 1
	MaxBytes int                  // of records; 0 means no limit of the reader's
	Match    func(tag int64) bool // wanted messages; nil means all
	// Wants is asked for each record that Match wants, with its bytes, which are valid until it returns; nil wants all.
	Wants func(record []byte) bool
	// Bits, if set, tells from what Config.Bits kept of a message at its store time whether it may be wanted; it is not asked where
	// nothing was kept.
	Bits   func(storeMs int64, bits []byte) bool
	NoWait bool // for who must not wait for the disk: what is not in memory ends the read
	// Offsets, if there is one, gets the offset of each record appended, of a batch that of its first message. A record itself
	// knows the one in the queue of its topic, not those in further queues.
	Offsets *[]int64
}

// ReadResult says what was got.
type ReadResult struct {
	Status       Status
	Next         int64 // offset to read from next
	Min, Max     int64 // of the queue
	Count        int   // messages
	Bytes        int   // of records
	LastPhysical int64 // start of the last record
	Behind       int64 // from the last message that was looked at to the end of the log, bytes; 0: none was
}

// Get appends records of a queue to dst, whole and as they are in the log, and says how it went. The first record may
// be larger than MaxBytes; a queue of nil is NoMatchedLogicQueue. Records that are damaged are passed over and noted
// (Damage), those that are only out of reach are not: that is Unreadable. It may be called from any goroutine; where records
// are no longer in memory, it waits for the disk, in a system call, or with NoWait returns what it has, or OnDisk. Source:
// Java DefaultMessageStore.getMessage.
//
// Of a topic of which only the last message of each key is kept, what is in its compaction log comes from there.
func (s *Store) Get(q *consumequeue.Queue, r Read, dst []byte) ([]byte, ReadResult) {
	l := s.compactLog(q)
	if l == nil {
		return s.getPlain(q, r, dst)
	}
	if r.From < l.Max() {
		return s.getCompacted(l, q, r, dst)
	}
	dst, res := s.getPlain(q, r, dst)
	res.Min = min(res.Min, l.Min())
	return dst, res
}

// getPlain is Get of what the commit log has.
func (s *Store) getPlain(q *consumequeue.Queue, r Read, dst []byte) ([]byte, ReadResult) {
	res := ReadResult{Next: r.From}
	if q == nil {
		res.Status, res.Next = NoMatchedLogicQueue, 0
		return dst, res
	}
	cuts, had := s.cuts.Load(), len(dst)
	res.Min, res.Max = q.Min(), q.Max()
	switch {
	case res.Max == 0:
		res.Status, res.Next = NoMessageInQueue, 0
	case r.From < res.Min:
		res.Status, res.Next = OffsetTooSmall, res.Min
	case r.From == res.Max:
		res.Status = OffsetOverflowOne
	case r.From > res.Max:
		res.Status, res.Next = OffsetOverflowBadly, res.Max
	default:
		g := gets.Get().(*get)
		g.store, g.r, g.cuts = s, r, cuts
		if r.Offsets != nil {
			g.offsets = len(*r.Offsets)
		}
		g.min, g.end, g.visible, g.hot = s.log.Min(), s.log.Max(), s.Visible(), s.hot()
		queue := g.queue
		if q.Kind() == consumequeue.Batch {
			queue = g.batchQueue
		}
		if g.start(res, dst); !queue(q) { // not to be read through the map: one by one then
			g.hot = math.MaxInt64
			g.start(res, dst)
			queue(q)
		}
		if dst, res = g.dst, g.res; g.cut() {
			g.forget(g.offsets)
			dst, res = dst[:had], ReadResult{Status: MessageWasRemoving, Next: r.From, Min: res.Min, Max: res.Max}
		}
		g.store, g.r, g.dst = nil, Read{}, nil
		g.window.close()
		gets.Put(g)
	}
	return dst, res
}

// cut tells whether the end of the log was cut meanwhile: what was seen of the queue may be half a unit then.
func (g *get) cut() bool { return g.store.cutSince(g.cuts) }

// cutSince tells whether the end of the log is being cut, or was since s.cuts was so.
func (s *Store) cutSince(cuts int64) bool { return cuts&1 != 0 || s.cuts.Load() != cuts }

// hot is the position from which on records are taken to be in memory: this process wrote them, and not long ago. They
// are read through the map; what was written earlier is read with pread, and checked.
func (s *Store) hot() int64 { return max(s.opened, s.log.Max()-s.cfg.HotBytes/4) }

// get is one Get at work. Records in memory that lie one behind the other are copied as one run.
type get struct {
	store   *Store
	r       Read
	res     ReadResult
	dst     []byte
	runAt   int64 // start of the run not yet copied, -1: none
	runEnd  int64
	runMsgs int
	at      int64 // offset of the unit that is looked at
	offsets int   // how many there were in r.Offsets before, and before the run
	runFrom int
	min     int64 // of the log
	end     int64
	visible int64
	hot     int64
	cuts    int64 // Store.cuts before
	looked  int64 // start of the last record looked at, -1: none
	removed bool  // met a record that is gone
	waits   bool  // met one that is not in memory
	broken  bool  // met one that the disk does not give
	failed  bool  // met one that cannot be read through the map
	window  window
	piece   []byte // of the log, read with pread
	pieceAt int64
	units   [64 * consumequeue.UnitSize]byte
}

// gets has gets to use again: their units would otherwise be allocated for each.
var gets = sync.Pool{New: func() any { return new(get) }}

func (g *get) start(res ReadResult, dst []byte) {
	g.res, g.dst = res, dst
	g.runAt, g.runMsgs, g.looked, g.removed, g.waits, g.broken, g.failed = -1, 0, -1, false, false, false, false
	g.piece = g.piece[:0]
	g.window.spans = nil
	g.forget(g.offsets)
}

// forget leaves the first n of r.Offsets.
func (g *get) forget(n int) {
	if g.r.Offsets != nil {
		*g.r.Offsets = (*g.r.Offsets)[:n]
	}
}

// count counts the record of u as one that is got.
func (g *get) count(u consumequeue.Unit) {
	g.res.Count += messages(u)
	g.res.Bytes += int(u.Size)
	g.res.LastPhysical = u.Physical
	if g.r.Offsets != nil {
		*g.r.Offsets = append(*g.r.Offsets, g.at)
	}
}

// queue reads on from the offset in res. It returns false after a read error of the map.
func (g *get) queue(q *consumequeue.Queue) bool {
	buf := g.units[:]
	limit := max(scanUnits, int(g.r.Max))
	for limit > 0 && g.res.Next < g.res.Max {
		want := min(limit, int(g.res.Max-g.res.Next), len(buf)/consumequeue.UnitSize)
		n, err := g.read(q, buf[:want*consumequeue.UnitSize])
		if errors.Is(err, consumequeue.ErrWouldWait) || g.unreachable(q, err) {
			g.waits = true
			break
		}
		if err != nil || n == 0 {
			g.copyRun()
			if g.res.Count == 0 {
				g.res.Status = OffsetFoundNull
				g.res.Next = g.store.nextQueueFile(g.res.Next)
			}
			return !g.failed
		}
		limit -= n / consumequeue.UnitSize
		for at := 0; at < n; at += consumequeue.UnitSize {
			g.at = g.res.Next
			if !g.unit(q, consumequeue.ParseUnit(buf[at:]), buf[at+consumequeue.UnitSize:n]) {
				g.finish()
				return !g.failed
			}
			g.res.Next++
		}
	}
	g.finish()
	return !g.failed
}

func (g *get) read(q *consumequeue.Queue, buf []byte) (int, error) {
	if g.r.NoWait {
		return g.store.queues.ReadCached(q, g.res.Next, buf)
	}
	return g.store.queues.Read(q, g.res.Next, buf)
}

// unit takes the next unit; false means that it is not looked at any more. rest are the units behind it that are known.
func (g *get) unit(q *consumequeue.Queue, u consumequeue.Unit, rest []byte) bool {
	if u.Filler() {
		return true
	}
	recordEnd := u.Physical + int64(u.Size)
	if u.Physical < g.min || recordEnd > g.end { // the second in damaged queues only
		g.removed = true
		return true
	}
	if recordEnd > g.visible {
		return false
	}
	wanted := g.r.Match == nil && g.r.Bits == nil || g.match(q, u)
	if g.waits || wanted && g.full(u) {
		return false
	}
	if g.looked = u.Physical; !wanted {
		return true
	}
	if u.Physical < g.hot {
		g.copyRun()
		return g.cold(u, rest)
	}
	if g.r.Wants != nil {
		g.choose(u, rest)
		return true
	}
	if g.runAt < 0 || u.Physical != g.runEnd {
		g.copyRun()
		g.runAt = u.Physical
		if g.r.Offsets != nil {
			g.runFrom = len(*g.r.Offsets)
		}
	}
	g.runEnd = recordEnd
	g.runMsgs += messages(u)
	g.count(u)
	return true
}

// match asks whether a message is wanted. Of an inner batch the unit says no tag, though its messages may have some, and
// the consumer looks himself; so does he where a tag cannot be read.
func (g *get) match(q *consumequeue.Queue, u consumequeue.Unit) bool {
	switch {
	case q.Kind() == consumequeue.Batch:
		return u.Tag == 0 || g.fits(u.Tag)
	case !consumequeue.IsExt(u.Tag):
		return g.fits(u.Tag)
	}
	e, err := g.store.queues.Ext(q, u, !g.r.NoWait)
	if errors.Is(err, consumequeue.ErrWouldWait) {
		g.waits = true
		return false
	}
	return err != nil || g.fits(e.Tag) && (g.r.Bits == nil || g.r.Bits(e.StoreMs, e.Bits))
}

func (g *get) fits(tag int64) bool { return g.r.Match == nil || g.r.Match(tag) }

// messages is how many a unit stands for.
func messages(u consumequeue.Unit) int { return max(int(u.Count), 1) }

// full tells whether a further record would break a limit. Source: Java isTheBatchFull.
func (g *get) full(u consumequeue.Unit) bool {
	return g.store.fullOf(&g.r, &g.res, u, g.end-u.Physical)
}

// fullOf is full for a record that starts so far before the end of its log.
func (s *Store) fullOf(r *Read, res *ReadResult, u consumequeue.Unit, behind int64) bool {
	if res.Count == 0 {
		return false
	}
	limits := s.transfer.Load()
	maxBytes, maxCount := limits.HotBytes, limits.HotCount
	if behind > s.cfg.HotBytes {
		maxBytes, maxCount = limits.ColdBytes, limits.ColdCount
	}
	if r.MaxBytes > 0 {
		maxBytes = min(maxBytes, r.MaxBytes)
	}
	return res.Count+messages(u) > min(maxCount, int(r.Max)) || res.Bytes+int(u.Size) > maxBytes
}

// choose copies a record in memory if it is wanted. If its file was dropped meanwhile, it does not count.
func (g *get) choose(u consumequeue.Unit, rest []byte) {
	record, err := g.window.record(g, u, rest)
	if err != nil {
		g.removed = true
		g.failed = g.failed || !errors.Is(err, segment.ErrGone)
		return
	}
	if !g.r.Wants(record) {
		return
	}
	g.dst = append(g.dst, record...)
	g.count(u)
}

// copyRun copies the run. If its file was dropped meanwhile, or the log was cut before its end, its messages do not count.
func (g *get) copyRun() {
	if g.runAt < 0 {
		return
	}
	at, n := len(g.dst), int(g.runEnd-g.runAt)
	g.dst = grow(g.dst, n)
	err := g.store.log.ReadAt(g.dst[at:], g.runAt)
	if err == nil && g.runEnd > g.store.log.Max() {
		err = segment.ErrGone
	}
	if err != nil {
		g.dst = g.dst[:at]
		g.forget(g.runFrom)
		g.res.Count -= g.runMsgs
		g.res.Bytes -= n
		g.removed = true
		g.failed = !errors.Is(err, segment.ErrGone)
	}
	g.runAt, g.runMsgs = -1, 0
}

func (g *get) finish() {
	g.copyRun()
	if g.looked >= 0 {
		g.res.Behind = g.end - g.looked
	}
	switch {
	case g.res.Count > 0:
		g.res.Status = Found
	case g.broken && g.res.Next == g.r.From:
		g.res.Status = Unreadable
	case g.waits && g.res.Next == g.r.From:
		g.res.Status = OnDisk
	case g.removed:
		g.res.Status = MessageWasRemoving
	case g.res.Next == g.r.From: // not yet on the disk
		g.res.Status = OffsetOverflowOne
	default:
		g.res.Status = NoMatchedMessage
	}
}

// grow makes dst n bytes longer.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		dst = append(dst, make([]byte, n)...)
		return dst
	}
	return dst[:len(dst)+n]
}

func (s *Store) nextQueueFile(offset int64) int64 {
	per := s.cfg.QueueFileSize / consumequeue.UnitSize
	return (offset/per + 1) * per
}

package store

import (
	"rocketd/message"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// keepBuffer is the most memory a Batch keeps for its next use, bytes.
const keepBuffer = 4 << 20

// Batch is what one Append brings into the log: records, encoded when they are added, and afterwards the places they
// got. It belongs to one goroutine and is used again after Reset. The zero value is ready.
//
// Append completes some records with what only the store knows: an inner batch for a Batch queue gets INNER_BASE, a
// record with INNER_MULTI_DISPATCH the offsets in those queues (Config.MultiDispatch), and with Config.PropCRC each gets
// its checksum. LateRoom says how much of the properties that may take. A batch whose Append failed is to be Reset.
type Batch struct {
	buf     []byte
	spare   []byte // of records that are completed
	moved   []int
	entries []Entry
	runs    []commitlog.Run
	end     int64
}

// Entry is one record of a batch. Physical, Offset, StoreMs and Count are set by Append, and Size if it completes the
// record.
type Entry struct {
	Queue    *consumequeue.Queue // nil: only in the log
	Tag      int64
	Physical int64 // start of the record in the log, bytes
	Offset   int64 // number in the queue; 0 without a queue
	StoreMs  int64
	Size     int32 // of the record, bytes
	Count    int32 // messages in it: 1, or those of an inner batch
	at       int   // in buf
	glued    bool
	timed    bool // Tag is counted from the store time until Append
	inner    bool // gets INNER_BASE
	also     []multi
}

// Further is how many queues beside its own have a unit of the record, FurtherQueue one of them.
func (e *Entry) Further() int                           { return len(e.also) }
func (e *Entry) FurtherQueue(i int) *consumequeue.Queue { return e.also[i].queue }

// Add adds a message for queue q, whose unit will carry tag, and returns its index. The record is encoded at once;
// d may be used again. Limits of d are the caller's to check (message.AppendRecord). With q nil the message is
// only in the log, as prepared ones are.
func (b *Batch) Add(q *consumequeue.Queue, d *message.Draft, tag int64) int {
	at := len(b.buf)
	b.buf = message.AppendRecord(b.buf, d)
	b.entries = append(b.entries, Entry{Queue: q, Tag: tag, Size: int32(len(b.buf) - at), Count: 1, at: at, timed: d.Timed})
	return len(b.entries) - 1
}

// AddNext is Add for a message that must lie in the same file of the log, right behind the one before it: the second
// and later ones of a client's batch.
func (b *Batch) AddNext(q *consumequeue.Queue, d *message.Draft, tag int64) int {
	i := b.Add(q, d, tag)
	b.entries[i].glued = i > 0
	return i
}

// Len is the number of records, At one of them; the pointer is valid until the next Add.
func (b *Batch) Len() int        { return len(b.entries) }
func (b *Batch) At(i int) *Entry { return &b.entries[i] }

// Bytes is the size of all records.
func (b *Batch) Bytes() int { return len(b.buf) }

// Record returns the bytes of a record as they are in the log, valid until Reset.
func (b *Batch) Record(i int) []byte {
	e := &b.entries[i]
	return b.buf[e.at : e.at+int(e.Size)]
}

// End is the physical offset behind the last record, after Append.
func (b *Batch) End() int64 { return b.end }

// Reset empties the batch.
func (b *Batch) Reset() {
	if cap(b.buf) > keepBuffer {
		b.buf = nil
	}
	if cap(b.spare) > keepBuffer {
		b.spare = nil
	}
	clear(b.entries) // lets go of queues
	clear(b.runs)
	b.buf, b.entries, b.runs, b.end = b.buf[:0], b.entries[:0], b.runs[:0], 0
}

// place gives every record its place from end on, and fills runs. Groups stay in one file.
func (b *Batch) place(log *commitlog.Log, end int64) error {
	b.runs = b.runs[:0]
	for i := 0; i < len(b.entries); {
		group, n := i+1, int64(b.entries[i].Size)
		for group < len(b.entries) && b.entries[group].glued {
			n += int64(b.entries[group].Size)
			group++
		}
		if !log.Fits(n) {
			return ErrTooLarge
		}
		at := log.Place(end, n)
		from := b.entries[i].at
		if at != end || len(b.runs) == 0 {
			b.runs = append(b.runs, commitlog.Run{Physical: at, Data: b.buf[from:from]})
		}
		last := &b.runs[len(b.runs)-1]
		last.Data = last.Data[:len(last.Data)+int(n)]
		for ; i < group; i++ {
			b.entries[i].Physical = at
			at += int64(b.entries[i].Size)
		}
		end = at
	}
	b.end = end
	return nil
}

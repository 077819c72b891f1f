package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// replica is what a store needs as the copy of another one. Its methods take bytes of a log as they are there, at
// the same positions: AppendLog, CutLog, RestartLog.
type replica struct {
	mu       sync.Mutex // held by these three, above all other locks of the store; guards:
	arrivals []arrival
	runs     []commitlog.Run
	bare     []int  // bytes of each run without the blank at its end
	doubtAt  int64  // where a record had a wrong checksum,
	doubt    uint32 // and the checksum of all of it
}

// arrival is the unit of a record that AppendLog brings.
type arrival struct {
	queue *consumequeue.Queue
	unit  consumequeue.Unit
}

// Errors of the methods of a replica.
var (
	// ErrGone: bytes were asked for that are not, or no longer, in the log.
	ErrGone = segment.ErrGone
	// ErrForeignLog: what was to be appended is no piece of a log that can go on here.
	ErrForeignLog = errors.New("no piece of this log")
)

// replicaAhead is how much of a log that is not in memory is read ahead of who ships it, bytes.
const replicaAhead = 4 << 20

// ReadLog fills dst with the bytes of the log from at on, as far as they go in one file, and returns how many: 0 at
// the end of the log. ErrGone says that at is before its start or behind its end. It may be called from any goroutine.
func (s *Store) ReadLog(at int64, dst []byte) (int, error) {
	end := s.log.Max()
	if at < s.log.Min() || at > end {
		return 0, fmt.Errorf("%w at %d", ErrGone, at)
	}
	n := min(int64(len(dst)), end-at, s.log.FileEnd(at)-at)
	if n <= 0 {
		return 0, nil
	}
	if at < s.hot() {
		s.log.WillNeed(at+n, at+n+replicaAhead)
	}
	if err := s.readLog(dst[:n], at); err != nil {
		return 0, fmt.Errorf("cannot read the log at %d: %w", at, err)
	}
	return int(n), nil
}

// LastRecord is the start of the last record of the log, -1 if that is not known: after a start, if nothing lies
// behind the place from where the log was read.
func (s *Store) LastRecord() int64 { return s.last.Load() }

// RecordStart returns the start of the record, or of the blank at the end of a file, that the byte at physical belongs
// to. It reads the log's file up to there. Pieces that are damaged count to what follows the record before them.
func (s *Store) RecordStart(physical int64) (int64, error) {
	start := max(physical-physical%s.cfg.FileSize, s.log.Min())
	if physical < start || physical >= s.log.Max() {
		return 0, fmt.Errorf("%w at %d", ErrGone, physical)
	}
	_, err := s.log.Walk(start, commitlog.Visit{
		Record: func(r *message.Record) error {
			if r.Physical > physical {
				return errEnough
			}
			start = r.Physical
			if end := r.Physical + int64(r.Size); end <= physical {
				start = end
				return nil
			}
			return errEnough
		},
		Until: physical + 1,
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, err
	}
	return start, nil
}

// AppendLog brings a piece of another log into this one, byte for byte: whole records, and the whole blank between two
// files, from at on, which must be the end of this log; where this log has no file, it must be the start of one. There
// is one write for each file touched, and queues and index get their units from the records. ErrForeignLog says that the
// piece does not fit, else errors are those of Append; nothing of it is in the log then, but for a store that is fenced
// because the queues cannot follow. A body with a wrong checksum is refused once; when the same bytes come again, it is
// not the way that spoiled them, and they are taken and noted as damage. Only one goroutine calls AppendLog, CutLog and RestartLog, and nobody calls Append meanwhile.
func (s *Store) AppendLog(at int64, records []byte) error {
	if len(records) == 0 {
		return nil
	}
	rep := &s.rep
	rep.mu.Lock()
	defer rep.mu.Unlock()
	if err := s.fits(at); err != nil {
		return err
	}
	defer func() {
		clear(rep.arrivals) // lets go of queues
		clear(rep.runs)
		rep.arrivals, rep.runs, rep.bare = rep.arrivals[:0], rep.runs[:0], rep.bare[:0]
	}()
	last, plain, err := s.readPiece(at, records)
	if err != nil {
		return err
	}
	if plain {
		plain, err = s.appendPlain(&last)
	}
	if !plain {
		err = s.appendBuilt(&last)
	}
	if err != nil || s.cfg.Arrived == nil {
		return err
	}
	for i := range rep.arrivals {
		if a := &rep.arrivals[i]; i+1 == len(rep.arrivals) || rep.arrivals[i+1].queue != a.queue {
			s.cfg.Arrived(a.queue, a.unit.Physical+int64(a.unit.Size))
		}
	}
	return nil
}

// fits tells whether the log can go on at a position.
func (s *Store) fits(at int64) error {
	if end := s.log.Max(); at != end {
		return fmt.Errorf("%w: it begins at %d, the log ends at %d", ErrForeignLog, at, end)
	}
	if s.log.Min() == at && at%s.cfg.FileSize != 0 {
		return fmt.Errorf("%w: %d is not the start of a file of %d bytes", ErrForeignLog, at, s.cfg.FileSize)
	}
	return nil
}

// readPiece checks a piece of a log and fills runs and arrivals from it. It returns the last record, Physical -1 if there
// is none. plain is false if some record needs more than a unit at the end of its queue. No other lock is held.
func (s *Store) readPiece(at int64, b []byte) (last message.Record, plain bool, err error) {
	rep := &s.rep
	last.Physical, plain = -1, true
	start, end := at, s.log.FileEnd(at)
	run := b[:0]
	for len(b) > 0 {
		size, magic, n := int32(0), int32(0), int64(0)
		if len(b) >= message.BlankSize {
			size, magic = message.PeekSize(b)
			n = int64(size)
		}
		blank := magic == message.MagicBlank
		if n > int64(len(b)) || blank && n != end-at || !blank && (n < message.MinSize || at+n+message.BlankSize > end) {
			return last, false, fmt.Errorf("%w: at %d is neither a whole record nor a blank up to the end of a file of %d bytes; "+
				"mappedFileSizeCommitLog must be the same on both sides", ErrForeignLog, at, s.cfg.FileSize)
		}
		run = run[:len(run)+int(n)]
		if blank {
			rep.addRun(start, run, len(run)-int(n))
			at, b = at+n, b[n:]
			start, end, run = at, at+s.cfg.FileSize, b[:0]
			continue
		}
		r, err := s.readRecord(b[:n], at)
		if err != nil {
			return last, false, fmt.Errorf("%w: at %d: %w", ErrForeignLog, at, err)
		}
		one, err := s.arrive(&r)
		if err != nil {
			return last, false, err
		}
		plain = plain && one
		last = r
		at, b = at+n, b[n:]
	}
	if len(run) > 0 {
		rep.addRun(start, run, len(run))
	}
	return last, plain, nil
}

func (rep *replica) addRun(physical int64, b []byte, bare int) {
	rep.runs = append(rep.runs, commitlog.Run{Physical: physical, Data: b})
	rep.bare = append(rep.bare, bare)
}

// readRecord decodes a record that shall lie at a position, and checks it.
func (s *Store) readRecord(b []byte, at int64) (message.Record, error) {
	r, err := message.Decode(b)
	switch {
	case err != nil:
		return r, err
	case r.Physical != at:
		return r, fmt.Errorf("record belongs to position %d", r.Physical)
	case r.CheckCRC() && (!s.cfg.VerifyPropCRC || message.CheckPropCRC(b)):
		return r, nil
	}
	if sum := crc32.ChecksumIEEE(b); s.rep.doubtAt != at || s.rep.doubt != sum {
		s.rep.doubtAt, s.rep.doubt = at, sum
		return r, errors.New("record has a wrong checksum")
	}
	s.damaged(Damage{Physical: at, Bytes: int64(r.Size), Reason: "record had a wrong checksum when it came from the master"})
	return r, nil
}

// arrive notes the unit of a record. It returns false if more is to be done for it than to put one at the end of a queue.
func (s *Store) arrive(r *message.Record) (plain bool, err error) {
	if !r.HasQueue() {
		return true, nil
	}
	if !isName(r.Topic) || r.QueueID < 0 {
		return false, nil
	}
	q := s.Find(r.Topic, r.QueueID)
	if q == nil {
		if q, err = s.newArrived(r); err != nil {
			return false, err
		}
	}
	u := consumequeue.Unit{Physical: r.Physical, Size: r.Size, Tag: s.cfg.Tag(r), StoreMs: r.StoreMs, Base: r.QueueOffset, Count: r.InnerCount()}
	s.rep.arrivals = append(s.rep.arrivals, arrival{q, u})
	if u.Count == 0 || (r.SysFlag&message.FlagInnerBatch != 0) != (q.Kind() == consumequeue.Batch) {
		return false, nil
	}
	more := false
	s.eachMulti(r, func([]byte, int32) { more = true })
	return !more, nil
}

// newArrived makes the queue of a record. Of a topic that is not known, what it is is asked for first: its own kind of
// queue cannot always be told from a record.
func (s *Store) newArrived(r *message.Record) (*consumequeue.Queue, error) {
	topic := string(r.Topic)
	if s.cfg.QueueKind != nil && s.cfg.Learn != nil && len(s.Queues(topic)) == 0 {
		if _, known := s.cfg.QueueKind(topic); !known {
			if err := s.cfg.Learn(topic); err != nil {
				return nil, fmt.Errorf("cannot tell what kind of queues topic %s has: %w", topic, err)
			}
		}
	}
	return s.queue(r.Topic, r.QueueID, guessKind(r)), nil
}

// appendPlain appends what readPiece has found, if each unit goes to the end of its queue; else it does nothing and returns
// false.
func (s *Store) appendPlain(last *message.Record) (plain bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Writable(); err != nil {
		return true, err
	}
	list := s.rep.arrivals
	plain = true
	for i := range list {
		a := &list[i]
		plain = plain && !a.queue.Moved() && a.queue.Take(int64(a.unit.Count)) == a.unit.Base
	}
	if plain {
		err = s.appendRuns()
	}
	if !plain || err != nil {
		for i := range list {
			list[i].queue.Rewind()
		}
		return plain, err
	}
	for i := range list {
		a := &list[i]
		s.addExt(a.queue, &a.unit, nil)
		s.put(a.queue, a.unit)
	}
	s.appended(last)
	return true, nil
}

// appendBuilt appends what readPiece has found, and builds the units as a recovery does, which may change what is in the
// files of queues.
func (s *Store) appendBuilt(last *message.Record) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Writable(); err != nil {
		return err
	}
	if err := s.appendRuns(); err != nil {
		return err
	}
	for i, run := range s.rep.runs {
		for b := run.Data[:s.rep.bare[i]]; len(b) > 0; {
			r, err := message.Decode(b)
			if err == nil {
				err = s.build(&r)
			}
			if err != nil { // the log has the record
				return s.log.Fence(fmt.Errorf("cannot build the queues: %w", err))
			}
			s.eachMulti(&r, func(name []byte, id int32) {
				if q := s.Find(name, id); q != nil {
					s.rep.arrivals = append(s.rep.arrivals, arrival{q, consumequeue.Unit{Physical: r.Physical, Size: r.Size}})
				}
			})
			b = b[r.Size:]
		}
	}
	slices.SortStableFunc(s.rep.arrivals, func(a, b arrival) int { return cmp.Compare(a.unit.Physical, b.unit.Physical) })
	s.appended(last)
	return nil
}

// appendRuns writes the runs. s.mu is held.
func (s *Store) appendRuns() error {
	err := s.log.Append(s.rep.runs)
	if errors.Is(err, ErrDiskFull) {
		s.need.Store(s.log.Needs(s.rep.runs))
	}
	return err
}

// appended lets the rest follow when runs and units are there. s.mu is held.
func (s *Store) appended(last *message.Record) {
	if s.cfg.Appended != nil {
		for i, r := range s.rep.runs {
			if n := s.rep.bare[i]; n > 0 {
				s.cfg.Appended(r.Physical, r.Data[:n])
			}
		}
	}
	if last.Physical >= 0 {
		s.lastMs.Store(last.StoreMs)
		s.last.Store(last.Physical)
	}
	s.wake(s.log.Max())
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/commitlog"
	"rocketd/store/consumequeue"
)

// cold takes a record that is not taken to be in memory: it is read with pread, in pieces that hold those behind it
// too, and checked before it is given out. False means that it would have to be waited for.
func (g *get) cold(u consumequeue.Unit, rest []byte) bool {
	s := g.store
	b, err := g.bytes(u, rest)
	switch {
	case errors.Is(err, segment.ErrWouldWait):
		g.waits = true
		return false
	case errors.Is(err, segment.ErrGone):
		g.removed = true
		return true
	case outOfReach(err) && g.diskFails(u.Physical):
		g.waits = true
		return false
	case err == nil:
		err = s.whole(b, u.Physical)
	}
	if err != nil && g.cut() {
		return false
	}
	if err != nil {
		s.damaged(Damage{Physical: u.Physical, Bytes: int64(u.Size), Reason: err.Error()})
		g.removed = true
		return true
	}
	if g.r.Wants != nil && !g.r.Wants(b) {
		return true
	}
	g.dst = append(g.dst, b...)
	g.count(u)
	return true
}

// outOfReach tells an error of the disk, or of the system, from one that says what is there.
func outOfReach(err error) bool {
	for _, known := range []error{nil, errNoRecord, fs.ErrNotExist, io.EOF, io.ErrUnexpectedEOF, segment.ErrGone} {
		if errors.Is(err, known) {
			return false
		}
	}
	return true
}

// diskFails decides what a failed read of the log means. A page may be bad: its record is damaged then, and readers go on
// behind it. Or the disk as a whole is gone, and what cannot be read now is there later: a reader who passed over it would
// miss it. So the disk is asked, in a system call, whether it is there at all: it must be able to sync the log. With
// NoWait it is left to who may wait.
func (g *get) diskFails(physical int64) bool {
	if g.r.NoWait {
		return true
	}
	g.broken = !g.store.damages.known(physical) && g.store.flush() != nil
	return g.broken
}

// unreachable tells whether a read of a queue has failed for a reason that says nothing about the queue. Nobody passes over
// messages for that.
func (g *get) unreachable(q *consumequeue.Queue, err error) bool {
	if !outOfReach(err) {
		return false
	}
	if !g.r.NoWait {
		g.broken = true
		g.store.cfg.Log.Error("cannot read consume queue", "topic", q.Topic(), "queue", q.ID(), "offset", g.res.Next, "err", err)
	}
	return true
}

// errNoRecord says that something else lies where a record should be.
var errNoRecord = errors.New("no record is there")

// whole tells what is wrong with the bytes of a record.
func (s *Store) whole(b []byte, physical int64) error {
	r, err := message.Decode(b)
	switch {
	case err != nil:
		return err
	case int(r.Size) != len(b):
		return fmt.Errorf("record has %d bytes, its queue says %d", r.Size, len(b))
	case r.Physical != physical:
		return fmt.Errorf("record belongs to position %d", r.Physical)
	case s.cfg.VerifyPropCRC && !message.CheckPropCRC(b):
		return errors.New("property checksum is wrong or missing")
	case !r.CheckCRC():
		return errors.New("body has a wrong checksum")
	}
	return nil
}

// bytes returns the bytes of the record of u, valid until the next call.
func (g *get) bytes(u consumequeue.Unit, rest []byte) ([]byte, error) {
	n := int64(u.Size)
	if at := u.Physical - g.pieceAt; at >= 0 && at+n <= int64(len(g.piece)) {
		return g.piece[at : at+n], nil
	}
	log := g.store.log
	if n > pieceBytes { // look before memory is spent on it
		g.piece = grow(g.piece[:0], message.PeekBytes)
		if err := g.fill(u.Physical); err != nil {
			return nil, err
		}
		if size, _ := message.PeekSize(g.piece); size != u.Size || message.PeekPhysical(g.piece) != u.Physical {
			g.piece = g.piece[:0]
			return nil, fmt.Errorf("%w that has %d bytes", errNoRecord, n)
		}
	}
	end, wanted := g.span(u, rest)
	dense := 4*wanted >= end-u.Physical
	if dense && !g.r.NoWait {
		log.WillNeed(u.Physical, ahead(u.Physical)+aheadBytes)
	} else if dense && u.Physical/aheadBytes != end/aheadBytes {
		g.store.readAhead(ahead(u.Physical))
	}
	g.piece = grow(g.piece[:0], int(end-u.Physical))
	if err := g.fill(u.Physical); err != nil {
		return nil, err
	}
	if n > int64(len(g.piece)) {
		return nil, segment.ErrWouldWait
	}
	return g.piece[:n], nil
}

// ahead is the next multiple of what is read ahead at once.
func ahead(at int64) int64 { return (at/aheadBytes + 1) * aheadBytes }

// fill reads the piece, whose length is set, from at on. With NoWait it may become shorter. What cannot be read as a
// whole is not.
func (g *get) fill(at int64) error {
	g.pieceAt = at
	n, err := len(g.piece), error(nil)
	if g.r.NoWait {
		n, err = g.store.log.ReadCached(g.piece, at)
	} else {
		err = g.store.log.ReadDisk(g.piece, at)
	}
	if err != nil {
		n = 0
	}
	g.piece = g.piece[:n]
	return err
}

// span returns how far a piece goes that begins with the record of u, and how much of it are records of this queue.
func (g *get) span(u consumequeue.Unit, rest []byte) (end, wanted int64) {
	wanted = int64(u.Size)
	end = u.Physical + wanted
	limit := min(u.Physical+pieceBytes, g.store.log.FileEnd(u.Physical), g.visible)
	for left := int(g.r.Max) - g.res.Count - 1; left > 0 && len(rest) >= consumequeue.UnitSize; left-- {
		v := consumequeue.ParseUnit(rest)
		rest = rest[consumequeue.UnitSize:]
		if v.Physical < end || v.Physical > end+pieceGap || v.Physical+int64(v.Size) > limit {
			break
		}
		end = v.Physical + int64(v.Size)
		wanted += int64(v.Size)
	}
	return end, wanted
}

// SetReadAhead says whether what readers of old records will want soon is read before they ask for it. It is, at first.
func (s *Store) SetReadAhead(on bool) { s.aheadOff.Store(!on) }

// readAhead asks for the bytes behind at to be read, by a goroutine of Run. It does not wait; too many wishes are
// dropped.
func (s *Store) readAhead(at int64) {
	if s.aheadOff.Load() {
		return
	}
	select {
	case s.aheadDue <- at:
	default:
	}
}

// aheadLoop has the system read what readers will want soon.
func (s *Store) aheadLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-s.aheadDue:
			s.log.WillNeed(at, at+aheadBytes)
		}
	}
}

// Hot tells whether the bytes of the log from physical on are taken to be in memory, so that Record does not wait.
func (s *Store) Hot(physical int64) bool { return physical >= s.hot() }

// readLog fills dst with the bytes of one file of the log from at on.
func (s *Store) readLog(dst []byte, at int64) error {
	if at < s.hot() {
		return s.log.ReadDisk(dst, at)
	}
	return s.log.ReadAt(dst, at)
}

// recordGuess is how much of the log is read at once for a record whose size is not known, and mostAtOnce what a record may
// have for who must not wait.
const (
	recordGuess = 1 << 10
	mostAtOnce  = 64 << 10
)

// RecordCached is Record for who must not wait for the disk. ErrWouldWait says that the record is not in memory, that it is
// a large one, or that something is wrong with it, of which Record tells.
func (s *Store) RecordCached(physical int64, dst []byte) ([]byte, error) {
	end := s.log.Max()
	if physical < s.log.Min() || physical > end-message.MinSize {
		return dst, segment.ErrWouldWait
	}
	at := len(dst)
	dst = grow(dst, int(min(recordGuess, end-physical, s.log.FileEnd(physical)-physical)))
	n, err := s.log.ReadCached(dst[at:], physical)
	if err != nil || n < message.PeekBytes {
		return dst[:at], segment.ErrWouldWait
	}
	size, _ := message.PeekSize(dst[at:])
	if size < message.MinSize || size > mostAtOnce || int64(size) > end-physical {
		return dst[:at], segment.ErrWouldWait
	}
	if int(size) > n {
		dst = grow(dst[:at], int(size))
		n, err = s.log.ReadCached(dst[at:], physical)
	}
	if err != nil || n < int(size) || s.whole(dst[at:at+int(size)], physical) != nil {
		return dst[:at], segment.ErrWouldWait
	}
	return dst[:at+int(size)], nil
}

// Record appends the record that starts at physical to dst. commitlog.ErrNoRecord says that none starts there, any more or at
// all, or that it is damaged; another error is the disk's, and the record may be there.
func (s *Store) Record(physical int64, dst []byte) ([]byte, error) {
	var head [message.PeekBytes]byte
	if physical < s.log.Min() || physical > s.log.Max()-message.MinSize {
		return dst, fmt.Errorf("%w: %d is outside of the log", commitlog.ErrNoRecord, physical)
	}
	if err := s.readLog(head[:], physical); err != nil {
		return dst, s.noRecord(physical, err)
	}
	size, magic := message.PeekSize(head[:])
	if (magic != message.MagicV1 && magic != message.MagicV2) || message.PeekPhysical(head[:]) != physical ||
		size < message.MinSize || int64(size) > s.log.Max()-physical {
		return dst, fmt.Errorf("%w: at %d", commitlog.ErrNoRecord, physical)
	}
	at := len(dst)
	dst = grow(dst, int(size))
	if err := s.readLog(dst[at:], physical); err != nil {
		return dst[:at], s.noRecord(physical, err)
	}
	if physical < s.hot() {
		if err := s.whole(dst[at:], physical); err != nil {
			return dst[:at], fmt.Errorf("%w: %w", commitlog.ErrNoRecord, err)
		}
	}
	return dst, nil
}

// noRecord is the error of a read of the log: what is out of reach may be there, unless it is known to be damaged.
func (s *Store) noRecord(physical int64, err error) error {
	if outOfReach(err) && !s.damages.known(physical) {
		return fmt.Errorf("cannot read the record at %d: %w", physical, err)
	}
	return fmt.Errorf("%w: %w", commitlog.ErrNoRecord, err)
}

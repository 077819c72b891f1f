package ha

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"rocketd/message"
)

// readBytes is how much is read from a master at once.
const readBytes = 1 << 20

// copier is one connection to a master. It compares what it gets with what the log has already, and appends the rest. One
// goroutine works, another one reads ahead of it.
type copier struct {
	s      *Slave
	log    SlaveLog
	conn   net.Conn
	look   *look
	frames frames

	from  int64  // what was asked for first
	at    int64  // position of the next byte that comes
	end   int64  // of the log
	begun bool   // at and end are the master's: false where it was asked to choose
	same  bool   // all that can be compared is the same: append and acknowledge
	got   bool   // something but heartbeats came
	beats int    // heartbeats since
	piece []byte // from end on: what is not yet appended
	tmp   []byte

	reported           int64
	lastRead, lastSent time.Time
}

// received is what one read brought.
type received struct {
	b   []byte
	err error
}

// copy copies the log of a master until the connection or ctx ends, which is an error in any case.
func (s *Slave) copy(ctx context.Context, addr string, look *look) error {
	from, err := s.start(ctx, look)
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, dialLimit)
	conn, err := s.cfg.Dial(dial, "tcp", addr)
	cancel()
	if err != nil {
		return fmt.Errorf("cannot reach the master: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	c := &copier{s: s, log: s.cfg.Log, conn: conn, look: look, from: from, at: from, end: s.cfg.Log.MaxPhysical(), lastRead: time.Now(),
		tmp: make([]byte, 64<<10)}
	c.begun = c.at < c.end || s.cfg.MasterMin != nil && !s.cfg.LastFile
	c.same = s.cfg.Log.MinPhysical() == c.end
	if c.begun && c.at == 0 { // 0 asks for the start that the master likes: ask for 1. Byte 0 is that of a size below 16 MiB
		c.from, c.at = 1, 1
		if c.end == 0 {
			c.piece = append(c.piece, 0)
		}
	}
	s.setState(Comparing)
	err = c.send(c.from, time.Now())
	if err == nil {
		err = c.run()
	}
	var d *divergence
	if errors.As(err, &d) {
		return c.diverged(ctx, d)
	}
	return err
}

// run works until something is wrong, or the connection is closed.
func (c *copier) run() error {
	const buffers = 2
	free, full := make(chan []byte, buffers), make(chan received, buffers)
	for range buffers {
		free <- make([]byte, readBytes)
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.read(free, full) })
	defer wg.Wait()
	defer close(free)
	defer c.conn.Close()
	tick := time.NewTicker(c.s.cfg.Heartbeat / 5)
	defer tick.Stop()
	for {
		var err error
		select {
		case r := <-full:
			c.lastRead = time.Now()
			c.s.status.read.Store(c.lastRead.UnixMilli())
			c.s.status.rate.add(c.lastRead, int64(len(r.b)))
			if err = c.take(r.b); err == nil {
				err = r.err
			}
			free <- r.b[:cap(r.b)]
		case <-c.s.due:
			if c.same {
				err = c.report(c.safe())
			}
		case now := <-tick.C:
			err = c.beat(now)
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the master has closed the connection")
		}
		if err != nil {
			return err
		}
	}
}

// read reads from the connection until it ends, into buffers that come back.
func (c *copier) read(free <-chan []byte, full chan<- received) {
	for b := range free {
		n, err := c.conn.Read(b)
		full <- received{b[:n], err}
		if err != nil {
			return
		}
	}
}

// take works on what was read: compares, appends, acknowledges.
func (c *copier) take(b []byte) error {
	for len(b) > 0 {
		at, piece, heartbeat, rest, err := c.frames.next(b)
		if err != nil {
			return err
		}
		b = rest
		if piece == nil && !heartbeat {
			break
		}
		if err := c.begin(at); err != nil {
			return err
		}
		if at != c.at {
			return fmt.Errorf("the master sends position %d where %d was expected", at, c.at)
		}
		if heartbeat {
			if err := c.heartbeat(); err != nil {
				return err
			}
			continue
		}
		c.got, c.beats = true, 0
		if err := c.body(piece); err != nil {
			return err
		}
	}
	return c.append()
}

// begin takes the start that the master has chosen.
func (c *copier) begin(at int64) error {
	if c.begun {
		return nil
	}
	if at != c.end {
		if err := c.log.RestartLog(at); err != nil {
			return err
		}
	}
	c.begun, c.at, c.end = true, at, at
	return nil
}

// heartbeat says that the master has nothing from c.at on. If the log goes on there, the master's is shorter, or its part
// is elsewhere. A Java master that was stopped for some seconds says so also of what it is going to send: only the second
// time it is sure.
func (c *copier) heartbeat() error {
	c.beats++
	if c.at >= c.end || c.beats < 2 {
		return nil
	}
	return &divergence{at: c.at}
}

// body takes the next piece of the log.
func (c *copier) body(b []byte) error {
	if c.at < c.end {
		n := min(int64(len(b)), c.end-c.at)
		if err := c.compare(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	if c.at == c.end && !c.same {
		c.same = true
		c.look.back = firstLook
	}
	c.at += int64(len(b))
	c.piece = append(c.piece, b...)
	return nil
}

// compare compares bytes of the master with those of the log.
func (c *copier) compare(b []byte) error {
	for len(b) > 0 {
		n, err := c.log.ReadLog(c.at, c.tmp[:min(len(c.tmp), len(b))])
		if err == nil && n == 0 {
			err = errNothing
		}
		if err != nil {
			return fmt.Errorf("cannot compare the log with the master's at %d: %w", c.at, err)
		}
		if !bytes.Equal(b[:n], c.tmp[:n]) {
			i := 0
			for b[i] == c.tmp[i] {
				i++
			}
			return &divergence{at: c.at + int64(i)}
		}
		c.at += int64(n)
		b = b[n:]
	}
	return nil
}

var errNothing = errors.New("there is nothing")

// append brings what is whole of the piece into the log, and acknowledges it.
func (c *copier) append() error {
	n, err := whole(c.piece, c.end, c.log.FileSize())
	if err != nil {
		return err
	}
	if n > 0 {
		if err := c.log.AppendLog(c.end, c.piece[:n]); err != nil {
			return err
		}
		c.end += int64(n)
		if rest := c.piece[n:]; cap(c.piece) > 4*readBytes && len(rest) < readBytes {
			c.piece = bytes.Clone(rest)
		} else {
			c.piece = c.piece[:copy(c.piece, rest)]
		}
	}
	if !c.same {
		return nil
	}
	if State(c.s.status.state.Load()) != Copying {
		c.s.setState(Copying)
		c.s.status.err.Store(nil)
		c.s.complain.of("copying").Info("copying the log of the master", "master", c.conn.RemoteAddr().String(), "physical", c.end)
	}
	return c.report(c.safe())
}

// safe is what may be acknowledged.
func (c *copier) safe() int64 {
	if c.s.cfg.SyncFlush {
		return min(c.log.MaxPhysical(), c.log.Flushed())
	}
	return c.log.MaxPhysical()
}

// whole returns how many bytes of b, which begins at a position of the log, are whole records and blanks.
func whole(b []byte, at, fileSize int64) (n int, err error) {
	for len(b)-n >= message.BlankSize {
		size, magic := message.PeekSize(b[n:])
		pos := at + int64(n)
		left := fileSize - pos%fileSize
		ok := false
		switch magic {
		case message.MagicBlank:
			ok = int64(size) == left
		case message.MagicV1, message.MagicV2:
			ok = size >= message.MinSize && int64(size)+message.BlankSize <= left
		}
		if !ok {
			return n, fmt.Errorf("what the master has at %d is no record (size %d, magic %#08x): its log is damaged, or its files have another length than %d bytes (mappedFileSizeCommitLog)",
				pos, size, uint32(magic), fileSize)
		}
		if int64(size) > int64(len(b)-n) {
			break
		}
		n += int(size)
	}
	return n, nil
}

// report says how far the log is, if that is news.
func (c *copier) report(position int64) error {
	if position <= c.reported {
		return nil
	}
	return c.send(position, time.Now())
}

// beat is what is done from time to time: to say the same again, and to leave a master that says nothing. Before the logs
// are known to be the same, what is said is that there is nothing.
func (c *copier) beat(now time.Time) error {
	switch {
	case now.Sub(c.lastRead) >= c.s.cfg.Housekeeping:
		return fmt.Errorf("the master says nothing for %v", c.s.cfg.Housekeeping)
	case now.Sub(c.lastSent) < c.s.cfg.Heartbeat:
		return nil
	case !c.same: // what was asked for may not be the master's
		return c.send(0, now)
	}
	return c.send(c.reported, now)
}

// send writes a report.
func (c *copier) send(position int64, now time.Time) error {
	if err := c.conn.SetWriteDeadline(now.Add(c.s.cfg.Housekeeping)); err != nil {
		return err
	}
	if _, err := c.conn.Write(appendReport(c.tmp[:0], position)); err != nil {
		return err
	}
	c.reported, c.lastSent = position, now
	c.s.status.wrote.Store(now.UnixMilli())
	return nil
}

package inspect

import (
	"context"
	"fmt"
	"io"
	"os"

	"rocketd/internal/vfs"
)

// Pieces in which a log file is read. What is left of one piece is put in front of the next: headroom is how much that
// may be without a second read.
const (
	pieceBytes = 4 << 20
	headroom   = 1 << 20
	pageBytes  = 4096
)

// reader reads one file from front to back, one piece ahead of who looks at it. Bytes behind the end of the file are
// zero, as if it had its whole length; so are pages that the disk does not give, which it tells unreadable.
type reader struct {
	file       vfs.File
	name       string
	size       int64 // whole length
	have       int64 // length on the disk
	unreadable func(off int64, err error)
	count      *int64 // bytes read

	buf   []byte // window on the file
	room  []byte // what buf lies in
	start int64  // of buf
	ahead *piece // being read
	spare []byte
}

// piece is a part of the file that is being read.
type piece struct {
	start int64
	room  []byte // headroom bytes, then the data
	n     int64
	bad   []badPage
	done  chan struct{}
}

type badPage struct {
	off int64
	err error
}

func (s *Store) newReader(name string, size int64, unreadable func(int64, error), count *int64) (*reader, error) {
	file, err := s.cfg.FS.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	have, err := file.Size()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	// Without it the system reads ahead of us, also holes, which are then no longer told apart from data.
	vfs.RandomReads(file)
	return &reader{file: file, name: name, size: size, have: min(have, size), unreadable: unreadable, count: count}, nil
}

func (r *reader) close() {
	if r.ahead != nil {
		<-r.ahead.done
		r.ahead = nil
	}
	_ = r.file.Close()
}

// bytes returns n bytes from off on, which must lie inside the whole length. They are valid until the next call.
func (r *reader) bytes(ctx context.Context, off, n int64) ([]byte, error) {
	for off < r.start || off+n > r.start+int64(len(r.buf)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		end := r.start + int64(len(r.buf))
		if off < r.start || off > end || end-off > headroom || off+n > end+pieceBytes {
			// Pieces end with a page: what is read of a page in a hole makes it look like data.
			to := (off + max(n, pieceBytes) + pageBytes - 1) / pageBytes * pageBytes
			r.load(off, min(to, r.size)-off)
			continue
		}
		r.advance(off, end)
	}
	at := off - r.start
	return r.buf[at : at+n : at+n], nil
}

// advance makes the window what is left of it from off on and the piece behind end.
func (r *reader) advance(off, end int64) {
	p := r.ahead
	if p == nil || p.start != end {
		if p != nil {
			<-p.done
			r.spare = p.room
		}
		p = r.read(end)
	}
	<-p.done
	r.told(p)
	left := r.buf[off-r.start:]
	copy(p.room[headroom-len(left):], left)
	if len(r.room) == headroom+pieceBytes {
		r.spare = r.room
	}
	r.buf, r.room, r.start = p.room[headroom-len(left):headroom+p.n], p.room, off
	r.ahead = nil
	if next := end + p.n; next < r.size {
		r.ahead = r.read(next)
	}
}

// load makes the window n bytes from off on, without what was read ahead.
func (r *reader) load(off, n int64) {
	if r.ahead != nil {
		<-r.ahead.done
		r.spare, r.ahead = r.ahead.room, nil
	}
	p := &piece{start: off, room: make([]byte, headroom+n), n: n, done: make(chan struct{})}
	r.fill(p)
	r.told(p)
	r.buf, r.room, r.start = p.room[headroom:], nil, off
}

// read starts to read the piece at off.
func (r *reader) read(off int64) *piece {
	room := r.spare
	r.spare = nil
	if len(room) < headroom+pieceBytes {
		room = make([]byte, headroom+pieceBytes)
	}
	p := &piece{start: off, room: room, n: min(pieceBytes, r.size-off), done: make(chan struct{})}
	go r.fill(p)
	return p
}

// fill reads a piece; of what cannot be read, page by page.
func (r *reader) fill(p *piece) {
	defer close(p.done)
	data := p.room[headroom : headroom+p.n]
	n := max(min(p.n, r.have-p.start), 0)
	clear(data[n:])
	if n > 0 && r.nextData(p.start) >= p.start+n {
		clear(data[:n])
		return
	}
	if next := p.start + n; r.nextData(next) == next {
		vfs.WillNeed(r.file, next, min(pieceBytes, r.have-next))
	}
	if n == 0 || readFull(r.file, data[:n], p.start) == nil {
		return
	}
	for at := int64(0); at < n; {
		k := min(pageBytes-(p.start+at)%pageBytes, n-at)
		if err := readFull(r.file, data[at:at+k], p.start+at); err != nil {
			clear(data[at : at+k])
			p.bad = append(p.bad, badPage{p.start + at, err})
		}
		at += k
	}
}

func (r *reader) told(p *piece) {
	*r.count += p.n
	for _, b := range p.bad {
		r.unreadable(b.off, b.err)
	}
}

// nextData returns the first position from off on where there may be bytes other than zero; size if there is none.
func (r *reader) nextData(off int64) int64 {
	at, err := vfs.NextData(r.file, off)
	switch {
	case err == io.EOF || at >= r.have:
		return r.size
	case err != nil:
		return off
	}
	return max(at, off)
}

// firstData returns the first byte in [off, size) that is not zero, or size.
func (r *reader) firstData(ctx context.Context, off int64) (int64, error) {
	for off < r.size {
		next := r.nextData(off)
		if next >= r.size {
			return r.size, nil
		}
		n := min(headroom, r.size-next)
		b, err := r.bytes(ctx, next, n)
		if err != nil {
			return off, err
		}
		if i := notZero(b); i >= 0 {
			return next + int64(i), nil
		}
		off = next + n
	}
	return r.size, nil
}

func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot read %d bytes at %d: %w", len(b), off, err)
}

// notZero returns the place of the first byte that is not zero, or -1.
func notZero(b []byte) int {
	i := 0
	for ; i+64 <= len(b); i += 64 {
		if [64]byte(b[i:]) != [64]byte{} {
			break
		}
	}
	for ; i < len(b); i++ {
		if b[i] != 0 {
			return i
		}
	}
	return -1
}

package inspect

import (
	"fmt"
	"os"
	"sort"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// peeker reads single records. It keeps one file open, and what it read last.
type peeker struct {
	s    *Store
	name string
	file vfs.File
	buf  []byte
	at   int64 // of buf in the log
}

// peekBytes is how much a peeker reads at once, at least.
const peekBytes = 32 << 10

// read returns n bytes of the log from at on. They are valid until the next call.
func (p *peeker) read(at, n int64) ([]byte, error) {
	if p.file != nil && at >= p.at && at+n <= p.at+int64(len(p.buf)) {
		return p.buf[at-p.at:][:n:n], nil
	}
	i := sort.Search(len(p.s.log), func(i int) bool { return p.s.log[i].start > at }) - 1
	if i < 0 || at+n > p.s.log[i].start+min(p.s.log[i].size, p.s.logSize) {
		return nil, fmt.Errorf("the log has no %d bytes at %d", n, at)
	}
	in := &p.s.log[i]
	if p.name != in.name {
		p.close()
		file, err := p.s.cfg.FS.OpenFile(in.name, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		p.name, p.file = in.name, file
	}
	k := max(n, min(peekBytes, in.start+in.size-at))
	if int64(cap(p.buf)) < k {
		p.buf = make([]byte, k)
	}
	p.buf, p.at = p.buf[:k], at
	if err := readFull(p.file, p.buf, at-in.start); err != nil {
		p.buf = p.buf[:0]
		return nil, err
	}
	return p.buf[:n:n], nil
}

// record returns the record that starts at a position, and its bytes, valid until the next call.
func (p *peeker) record(at int64) (r message.Record, raw []byte, err error) {
	head, err := p.read(at, message.PeekBytes)
	if err != nil {
		return r, nil, err
	}
	size, magic := message.PeekSize(head)
	if magic != message.MagicV1 && magic != message.MagicV2 || size < message.MinSize || message.PeekPhysical(head) != at {
		return r, nil, fmt.Errorf("no record starts at %d of the log", at)
	}
	if int64(size) > headroom {
		if head, err = p.read(at, message.HeadBytes); err != nil {
			return r, nil, err
		}
		if !plausible(head, int64(size)) {
			return r, nil, fmt.Errorf("no record starts at %d of the log", at)
		}
	}
	b, err := p.read(at, int64(size))
	if err != nil {
		return r, nil, err
	}
	r, err = message.Decode(b)
	switch {
	case err != nil:
		return r, nil, fmt.Errorf("at %d of the log: %w", at, err)
	case !r.CheckCRC():
		return r, nil, fmt.Errorf("at %d of the log: body has a wrong checksum", at)
	}
	return r, b, nil
}

func (p *peeker) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
	p.file, p.name, p.buf = nil, "", p.buf[:0]
}

// storeMs returns the store time of the record at a position; ok is false if none is there.
func (s *Store) storeMs(at int64) (ms int64, ok bool) {
	p := peeker{s: s}
	defer p.close()
	r, _, err := p.record(at)
	return r.StoreMs, err == nil
}

package inspect

import (
	"fmt"
	"os"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// peeker reads single records. It keeps one file open.
type peeker struct {
	s    *Store
	name string
	file vfs.File
	buf  []byte
}

// read returns n bytes of the log from at on. They are valid until the next call.
func (p *peeker) read(at, n int64) ([]byte, error) {
	var in *logFile
	for i := range p.s.log {
		if f := &p.s.log[i]; at >= f.start && at < f.start+p.s.logSize {
			in = f
		}
	}
	if in == nil || at+n > in.start+in.size {
		return nil, fmt.Errorf("the log has no %d bytes at %d", n, at)
	}
	if p.name != in.name {
		p.close()
		file, err := p.s.cfg.FS.OpenFile(in.name, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		p.name, p.file = in.name, file
	}
	if int64(cap(p.buf)) < n {
		p.buf = make([]byte, n)
	}
	p.buf = p.buf[:n]
	return p.buf, readFull(p.file, p.buf, at-in.start)
}

// record returns the record that starts at a position, which an entry says has a size. The record is valid until the
// next call.
func (p *peeker) record(at int64) (r message.Record, err error) {
	head, err := p.read(at, message.PeekBytes)
	if err != nil {
		return r, err
	}
	size, magic := message.PeekSize(head)
	if magic != message.MagicV1 && magic != message.MagicV2 || size < message.MinSize || message.PeekPhysical(head) != at {
		return r, fmt.Errorf("no record starts at %d of the log", at)
	}
	if int64(size) > headroom {
		if head, err = p.read(at, message.HeadBytes); err != nil {
			return r, err
		}
		if !plausible(head, int64(size)) {
			return r, fmt.Errorf("no record starts at %d of the log", at)
		}
	}
	b, err := p.read(at, int64(size))
	if err != nil {
		return r, err
	}
	r, err = message.Decode(b)
	switch {
	case err != nil:
		return r, fmt.Errorf("at %d of the log: %w", at, err)
	case !r.CheckCRC():
		return r, fmt.Errorf("at %d of the log: body has a wrong checksum", at)
	}
	return r, nil
}

func (p *peeker) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
	p.file, p.name = nil, ""
}

// storeMs returns the store time of the record at a position; ok is false if none is there.
func (s *Store) storeMs(at int64) (ms int64, ok bool) {
	p := peeker{s: s}
	defer p.close()
	r, err := p.record(at)
	return r.StoreMs, err == nil
}

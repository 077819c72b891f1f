package crashfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"rocketd/internal/vfs"
)

const (
	errNotDir   = syscall.ENOTDIR
	errNotEmpty = syscall.ENOTEMPTY
	osCreate    = os.O_RDWR | os.O_CREATE
)

// inode is a file or a directory.
type inode struct {
	dir   bool
	names map[string]*inode // of a directory
	saved map[string]*inode // the same on the medium

	data   []byte  // what programs read
	medium []byte  // what is on the medium, but for
	events []event // what happened since the last sync
	taken  []bool  // sectors that have disk space
	opens  int     // open files
	gone   bool    // has no name any more
}

func newDir() *inode {
	return &inode{dir: true, names: make(map[string]*inode), saved: make(map[string]*inode)}
}

// kind of event.
type kind uint8

const (
	wrote   kind = iota // data at off
	zeroed              // n bytes at off
	resized             // to n bytes
)

// event is one change of a file.
type event struct {
	kind   kind
	seq    int64
	off, n int64
	data   []byte // of wrote; never changed
	before int64  // size before it
}

// OpenFile knows the flags O_CREATE, O_EXCL and O_TRUNC; every file can be read, and written if it is not O_RDONLY.
func (d *Disk) OpenFile(name string, flag int, _ fs.FileMode) (vfs.File, error) {
	err, _ := d.begin(vfs.OpOpen, name)
	defer d.mu.Unlock()
	if err != nil {
		return nil, fail(vfs.OpOpen, name, err)
	}
	dir, base, ok := d.parent(name)
	if !ok {
		return nil, fail(vfs.OpOpen, name, fs.ErrNotExist)
	}
	n := dir.names[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fail(vfs.OpOpen, name, fs.ErrNotExist)
	case n == nil:
		n = new(inode)
		d.change(nameChange{dir, base, n})
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, fail(vfs.OpOpen, name, fs.ErrExist)
	case n.dir:
		return nil, fail(vfs.OpOpen, name, syscall.EISDIR)
	}
	if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
		d.resize(n, 0)
	}
	n.opens++
	return &file{disk: d, node: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// unlink gives the space of a file back when nobody has it open.
func (d *Disk) unlink(n *inode) {
	n.gone = true
	if n.opens == 0 {
		d.give(n, 0)
	}
}

// give gives back the space of all sectors from i on.
func (d *Disk) give(n *inode, i int) {
	for ; i < len(n.taken); i++ {
		if n.taken[i] {
			n.taken[i] = false
			d.used -= Sector
		}
	}
}

// take takes space for the bytes in [off, end) and returns how far there was some.
func (d *Disk) take(n *inode, off, end int64) int64 {
	for i := off / Sector; i*Sector < end; i++ {
		for int64(len(n.taken)) <= i {
			n.taken = append(n.taken, false)
		}
		if n.taken[i] {
			continue
		}
		if d.free() < Sector {
			return max(i*Sector, off)
		}
		n.taken[i] = true
		d.used += Sector
	}
	return end
}

func (d *Disk) resize(n *inode, size int64) {
	n.events = append(n.events, event{kind: resized, seq: d.next(), n: size, before: int64(len(n.data))})
	n.data = resize(n.data, size)
	d.give(n, int((size+Sector-1)/Sector))
}

// resize cuts b, or makes it longer with zeros.
func resize(b []byte, size int64) []byte {
	if n := int(size) - len(b); n > 0 {
		return append(b, make([]byte, n)...)
	}
	clear(b[size:])
	return b[:size]
}

// file is an open file.
type file struct {
	disk     *Disk
	node     *inode
	name     string
	writable bool
	closed   bool
}

// use is begin for a file.
func (f *file) use(op vfs.Op) (err error, injected bool) {
	err, injected = f.disk.begin(op, f.name)
	switch {
	case f.closed:
		return fs.ErrClosed, false
	case !f.writable && op != vfs.OpSync:
		return syscall.EBADF, false
	}
	return err, injected
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	switch {
	case f.closed:
		return 0, fail(vfs.OpRead, f.name, fs.ErrClosed)
	case f.disk.stopped:
		return 0, fail(vfs.OpRead, f.name, ErrStopped)
	case off < 0:
		return 0, fail(vfs.OpRead, f.name, syscall.EINVAL)
	case off >= int64(len(f.node.data)):
		return 0, io.EOF
	}
	n := copy(b, f.node.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	err, injected := f.use(vfs.OpWrite)
	d, n := f.disk, f.node
	defer d.mu.Unlock()
	if err == nil && off < 0 {
		err = syscall.EINVAL
	}
	if err != nil {
		if !injected {
			return 0, fail(vfs.OpWrite, f.name, err)
		}
		b = b[:d.rng.IntN(len(b)+1)]
	}
	if end := d.take(n, off, off+int64(len(b))); end < off+int64(len(b)) {
		b = b[:end-off]
		if err == nil {
			err = syscall.ENOSPC
		}
	}
	if len(b) > 0 {
		n.events = append(n.events, event{kind: wrote, seq: d.next(), off: off, data: append([]byte(nil), b...), before: int64(len(n.data))})
		if end := off + int64(len(b)); end > int64(len(n.data)) {
			n.data = resize(n.data, end)
		}
		copy(n.data[off:], b)
	}
	if err != nil {
		err = fail(vfs.OpWrite, f.name, err)
	}
	return len(b), err
}

func (f *file) Sync() error {
	err, injected := f.use(vfs.OpSync)
	d, n := f.disk, f.node
	defer d.mu.Unlock()
	if err != nil {
		if injected && !d.stopped { // the pages become clean, whatever is on the medium
			c := newCut(d, d.rng)
			c.onlyData = true
			n.medium = c.content(n)
			n.events = nil
		}
		return fail(vfs.OpSync, f.name, err)
	}
	for i := range n.events {
		n.medium = n.events[i].apply(n.medium, 0, 1<<62)
	}
	n.medium = resize(n.medium, int64(len(n.data)))
	n.events = n.events[:0:0]
	d.commit()
	return nil
}

func (f *file) Truncate(size int64) error {
	err, _ := f.use(OpTruncate)
	defer f.disk.mu.Unlock()
	if err != nil {
		return fail(OpTruncate, f.name, err)
	}
	if size != int64(len(f.node.data)) {
		f.disk.resize(f.node, size)
	}
	return nil
}

// Allocate takes what there is when there is not enough, as ext4 does.
func (f *file) Allocate(size int64) error {
	err, _ := f.use(vfs.OpAllocate)
	d, n := f.disk, f.node
	defer d.mu.Unlock()
	if err != nil {
		return fail(vfs.OpAllocate, f.name, err)
	}
	for at := int64(0); at < size; at += allocateStep {
		end := min(at+allocateStep, size)
		got := d.take(n, at, end)
		if got > int64(len(n.data)) {
			d.resize(n, got)
		}
		if got < end {
			return fail(vfs.OpAllocate, f.name, syscall.ENOSPC)
		}
	}
	return nil
}

func (f *file) Zero(off, size int64) error {
	err, _ := f.use(vfs.OpZero)
	d, n := f.disk, f.node
	defer d.mu.Unlock()
	if err != nil {
		return fail(vfs.OpZero, f.name, err)
	}
	end := min(off+size, int64(len(n.data)))
	if off >= end {
		return nil
	}
	n.events = append(n.events, event{kind: zeroed, seq: d.next(), off: off, n: end - off, before: int64(len(n.data))})
	clear(n.data[off:end])
	for i := (off + Sector - 1) / Sector; (i+1)*Sector <= end && i < int64(len(n.taken)); i++ {
		if n.taken[i] {
			n.taken[i] = false
			d.used -= Sector
		}
	}
	return nil
}

// Writeback promises nothing and does nothing: what is not synced may be on the medium anyway.
func (f *file) Writeback(off, n int64) {}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed || f.disk.stopped {
		return 0, fail("stat", f.name, ErrStopped)
	}
	return int64(len(f.node.data)), nil
}

// Map gives a view of the file as it is at each call of Bytes. Where the file has become shorter, so has the view.
func (f *file) Map(n int64) (vfs.Mapping, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	switch {
	case !f.disk.opt.Map:
		return nil, vfs.ErrNoMap
	case f.closed || f.disk.stopped:
		return nil, fail("mmap", f.name, ErrStopped)
	}
	f.node.opens++
	return &mapping{f.disk, f.node, n}, nil
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return fail("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	f.disk.close(f.node)
	return nil
}

func (d *Disk) close(n *inode) {
	n.opens--
	if n.opens == 0 && n.gone {
		d.give(n, 0)
	}
}

type mapping struct {
	disk *Disk
	node *inode
	n    int64
}

func (m *mapping) Bytes() []byte {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.node.data[:min(m.n, int64(len(m.node.data)))]
}

func (m *mapping) Unmap() error {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.close(m.node)
	return nil
}

type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

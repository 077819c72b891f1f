package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
)

// The layout of a file; all numbers are big-endian. N is the number of slots, M of entries.
//
//	0                     header, 40 bytes
//	   0  beginMs         int64  store time of the first message, ms
//	   8  endMs           int64  of the last
//	  16  beginPhysical   int64  start of the first message in the log, bytes
//	  24  endPhysical     int64  of the last
//	  32  used            int32  slots that are not 0
//	  36  count           int32  number of the next entry; the first is 1 (0 stands for 1); the file is full at M
//	40                    slots, N * 4 bytes: number of the newest entry of the slot; 0: none
//	40+4N                 entries, M * 20 bytes; entry 0 is never used
//	   0  hash            int32  of the key string, see hash.go; its slot is hash % N
//	   4  physical        int64  start of the message in the log
//	  12  seconds         int32  from beginMs to the message's store time
//	  16  previous        int32  number of the next older entry of the slot; 0: none
//
// Source: Java IndexHeader, IndexFile 5.5.1.
const (
	headerSize = 40
	slotSize   = 4
	entrySize  = 20
	maxSize    = 1<<31 - 1 // Java maps a file as a whole
)

// shape is the lengths of the two tables.
type shape struct{ slots, entries int32 }

func (s shape) size() int64          { return s.entry(0) + entrySize*int64(s.entries) }
func (s shape) slot(i int32) int64   { return headerSize + slotSize*int64(i) }
func (s shape) entry(n int32) int64  { return s.slot(s.slots) + entrySize*int64(n) }
func (s shape) slotOf(h int32) int32 { return h % s.slots }

type entry struct {
	hash              int32
	physical          int64
	seconds, previous int32
}

func parseEntry(b []byte) entry {
	be := binary.BigEndian
	return entry{int32(be.Uint32(b)), int64(be.Uint64(b[4:])), int32(be.Uint32(b[12:])), int32(be.Uint32(b[16:]))}
}

func (e entry) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(be.AppendUint32(dst, uint32(e.hash)), uint64(e.physical))
	return be.AppendUint32(be.AppendUint32(dst, uint32(e.seconds)), uint32(e.previous))
}

// file is one index file. The newest one grows: its slots are in memory and go to the disk when it is full or
// closed, its entries go there in pieces. Readers never wait for the builder, nor it for them.
type file struct {
	shape
	name string
	disk vfs.File

	beginMs, endMs, beginPhysical, endPhysical atomic.Int64
	used, count                                atomic.Int32

	mem    atomic.Pointer[memory] // of a growing file, else nil
	sealed atomic.Bool            // all is on the disk

	refs    atomic.Int64 // one of the index, one of each reader at work; 0 is closed
	mapped  atomic.Pointer[vfs.Mapping]
	mapping sync.Mutex // held while mapped is made
	noMap   atomic.Bool
	pages   atomic.Pointer[pages] // made by the first search that must not wait
}

func (f *file) full() bool { return f.count.Load() >= f.entries }

// create makes the file that follows prev, which may be nil. Its name is the time, or, if such a name is not behind
// the last one, that one plus 1. Its header starts with the end of prev, also on the disk: a Java broker that finds the
// file after a crash goes on in it, and takes what lies before that end as indexed. Source: Java IndexFile.
func (x *Index) create(prev *file) (*file, error) {
	name := strings.Replace(time.Now().Format("20060102150405.000"), ".", "", 1)
	if prev != nil {
		if last := filepath.Base(prev.name); name <= last {
			n, err := strconv.ParseInt(last, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("cannot name the index file behind %s: %w", prev.name, err)
			}
			name = fmt.Sprintf("%0*d", len(last), n+1)
		}
	}
	path := filepath.Join(x.cfg.Dir, name)
	disk, err := x.cfg.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot create index file: %w", err)
	}
	f := newFile(path, disk, x.shape)
	if prev != nil {
		f.beginMs.Store(prev.endMs.Load())
		f.endMs.Store(prev.endMs.Load())
		f.beginPhysical.Store(prev.endPhysical.Load())
		f.endPhysical.Store(prev.endPhysical.Load())
	}
	if err = disk.Truncate(f.size()); err == nil && prev != nil {
		err = f.writeAt(f.header(), 0)
	}
	if err == nil {
		err = x.cfg.FS.SyncDir(x.cfg.Dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot create index file %s: %w", path, err), f.release(), x.cfg.FS.Remove(path))
	}
	f.mem.Store(f.newMemory())
	return f, nil
}

func newFile(path string, disk vfs.File, sh shape) *file {
	f := &file{shape: sh, name: path, disk: disk}
	f.count.Store(1)
	f.refs.Store(1)
	return f
}

func (f *file) header() []byte {
	be := binary.BigEndian
	b := make([]byte, 0, headerSize)
	for _, v := range []*atomic.Int64{&f.beginMs, &f.endMs, &f.beginPhysical, &f.endPhysical} {
		b = be.AppendUint64(b, uint64(v.Load()))
	}
	return be.AppendUint32(be.AppendUint32(b, uint32(f.used.Load())), uint32(f.count.Load()))
}

func (f *file) setHeader(b []byte) {
	be := binary.BigEndian
	for i, v := range []*atomic.Int64{&f.beginMs, &f.endMs, &f.beginPhysical, &f.endPhysical} {
		v.Store(int64(be.Uint64(b[8*i:])))
	}
	f.used.Store(int32(be.Uint32(b[32:])))
	f.count.Store(max(int32(be.Uint32(b[36:])), 1))
}

// acquire takes a reference; false means that the file was dropped.
func (f *file) acquire() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back; the last one closes the file.
func (f *file) release() error {
	if f.refs.Add(-1) > 0 {
		return nil
	}
	var err error
	if m := f.mapped.Load(); m != nil {
		err = (*m).Unmap()
	}
	return errors.Join(err, f.disk.Close())
}

package index

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
)

// Query asks for the messages of a topic with a key that were stored in [Begin, End], ms.
type Query struct {
	Topic, Key string
	Tags       bool // Key is a TAGS value instead of a key or unique key
	Max        int  // messages
	Begin, End int64
}

// Found is what a Find found.
type Found struct {
	// Physical has the starts of the messages in the log, in Java's order: the newest first. Keys with the same hash
	// are not told apart.
	Physical []int64
	Last     Safe // the last message that is in the index, 0 if there is none
}

// ErrWouldWait is returned by FindCached for a search that is not for who must not wait.
var ErrWouldWait = vfs.ErrWouldWait

// cachedSteps is how many entries and files FindCached looks at.
const cachedSteps = 64

// checkEvery is how many entries of a chain are read before ctx is looked at.
const checkEvery = 1 << 14

// settleLimit is how long a Find waits for the builder, who needs microseconds if no disk is in his way.
const settleLimit = 100 * time.Millisecond

// Find finds messages by key. What was given to Put before is seen, unless the builder has to catch up with the log or
// waits for a disk. It takes no lock while it reads. Damaged parts of a file end the search in it. It returns ErrClosed, the error
// of ctx or one of reading. Source: Java IndexService.queryOffset, IndexFile.selectPhyOffset.
func (x *Index) Find(ctx context.Context, q Query) (Found, error) {
	if built := x.feed.wait(); built != nil {
		ring(x.now)
		limit := time.NewTimer(settleLimit)
		defer limit.Stop()
		select {
		case <-built:
		case <-limit.C:
		case <-ctx.Done():
			return Found{}, ctx.Err()
		}
	}
	return x.find(q, &search{ctx: ctx, steps: -1})
}

// FindCached is Find for who must not wait, neither for the disk nor for the builder. ErrWouldWait says that the search
// would have to, or that it is a long one.
func (x *Index) FindCached(q Query) (Found, error) {
	if x.feed.wait() != nil {
		ring(x.now)
		return Found{}, ErrWouldWait
	}
	return x.find(q, &search{steps: cachedSteps, now: uint32(time.Since(loaded)/time.Second) + 1})
}

var loaded = time.Now()

// search is what a search may do.
type search struct {
	ctx   context.Context // nil: read what is in memory only
	steps int             // entries and files that may be looked at; negative is no limit
	now   uint32          // seconds, above 0
}

// step counts one, and tells why the search must end.
func (s *search) step() error {
	if s.steps == 0 {
		return ErrWouldWait
	}
	s.steps--
	if s.steps%checkEvery == 0 && s.ctx != nil {
		return s.ctx.Err()
	}
	return nil
}

func (x *Index) find(q Query, s *search) (Found, error) {
	if x.closed.Load() {
		return Found{}, ErrClosed
	}
	files, hash := *x.files.Load(), hashOf(q.Topic, q.Key, q.Tags)
	var found Found
	if f := x.last(); f != nil {
		found.Last = Safe{f.endMs.Load(), f.endPhysical.Load()}
	}
	for i := len(files) - 1; i >= 0 && len(found.Physical) < q.Max; i-- {
		f := files[i]
		if q.Begin <= f.endMs.Load() && q.End >= f.beginMs.Load() && f.acquire() {
			var err error
			found.Physical, err = f.find(s, found.Physical, hash, q)
			if e := f.release(); err == nil {
				err = e
			}
			if err != nil {
				return found, err
			}
		}
		if f.beginMs.Load() < q.Begin {
			break
		}
	}
	return found, nil
}

// find appends what the file has. The caller has a reference.
func (f *file) find(s *search, dst []int64, hash int32, q Query) (_ []int64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r)
			}
			err = fmt.Errorf("cannot read %s: %v", f.name, r) // a read error of the disk under the map
		}
	}()
	if err := s.step(); err != nil {
		return dst, err
	}
	r := f.reader()
	if s.ctx == nil {
		r.pages, r.now = f.lately(), s.now
	}
	n, err := r.slot(f.slotOf(hash))
	if err != nil {
		return dst, err
	}
	begin := f.beginMs.Load()
	if r.mem == nil && n >= f.count.Load() { // a damaged slot
		return dst, nil
	}
	for n > 0 && len(dst) < q.Max {
		if err := s.step(); err != nil {
			return dst, err
		}
		e, err := r.entry(n)
		if err != nil {
			return dst, err
		}
		if e.seconds < 0 {
			break
		}
		ms := begin + int64(e.seconds)*1000
		if e.hash == hash && ms >= q.Begin && ms <= q.End {
			dst = append(dst, e.physical)
		}
		if e.previous >= n || ms < q.Begin { // a chain leads to older entries only
			break
		}
		n = e.previous
	}
	return dst, nil
}

// reader reads slots and entries from where they are.
type reader struct {
	f      *file
	mem    *memory // nil: all is on the disk
	mapped []byte  // nil: there is no map
	pages  *pages  // what is known to be in memory; nil: wait for the rest
	now    uint32
}

// pages remembers when a page of a file was last known to be in memory, in seconds; 0 is never.
type pages []atomic.Uint32

const (
	pageBytes = 4 << 10
	keptFor   = 10 // seconds for which a page that was in memory counts as being there still
)

// fresh tells whether n bytes from off on, of two pages at most, were in memory a short while ago.
func (p pages) fresh(off int64, n int, now uint32) bool {
	first, last := p[off/pageBytes].Load(), p[(off+int64(n)-1)/pageBytes].Load()
	return first != 0 && last != 0 && now-min(first, last) < keptFor
}

func (p pages) saw(off int64, n int, now uint32) {
	p[off/pageBytes].Store(now)
	p[(off+int64(n)-1)/pageBytes].Store(now)
}

// lately returns the file's pages.
func (f *file) lately() *pages {
	if p := f.pages.Load(); p != nil {
		return p
	}
	p := make(pages, (f.size()+pageBytes-1)/pageBytes)
	f.pages.CompareAndSwap(nil, &p)
	return f.pages.Load()
}

func (f *file) reader() reader {
	r := reader{f: f, mem: f.mem.Load()}
	m := f.mapped.Load()
	if m == nil {
		m = f.makeMap()
	}
	if m != nil {
		r.mapped = (*m).Bytes()
	}
	return r
}

// slot returns the number of the newest entry of a slot.
func (r *reader) slot(i int32) (int32, error) {
	if r.mem != nil {
		return r.mem.slots[i].Load(), nil
	}
	var b [slotSize]byte
	err := r.read(b[:], r.f.slot(i))
	return int32(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])), err
}

func (r *reader) entry(n int32) (entry, error) {
	if r.mem != nil {
		if t := r.mem.tail.Load(); n >= t.base {
			return parseEntry(t.buf[int(n-t.base)*entrySize:]), nil
		}
	}
	var b [entrySize]byte
	err := r.read(b[:], r.f.entry(n))
	return parseEntry(b[:]), err
}

// read reads from the map, or without one from the file. Who must not wait may use the map for what was in memory a short
// while ago; for the rest he asks the system, which costs ten times as much.
func (r *reader) read(b []byte, off int64) error {
	if r.mapped != nil && (r.pages == nil || r.pages.fresh(off, len(b), r.now)) {
		copy(b, r.mapped[off:])
		return nil
	}
	if r.pages == nil {
		return r.f.readAt(b, off)
	}
	if n, err := vfs.ReadCached(r.f.disk, b, off); err != nil || n < len(b) {
		return ErrWouldWait // who may wait learns what is wrong
	}
	r.pages.saw(off, len(b), r.now)
	return nil
}

// readEntry returns one entry outside of a search.
func (f *file) readEntry(n int32) (entry, error) {
	var b [entrySize]byte
	err := f.readAt(b[:], f.entry(n))
	return parseEntry(b[:]), err
}

func (f *file) readAt(b []byte, off int64) error {
	if n, err := f.disk.ReadAt(b, off); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("cannot read %d bytes at %d of %s: %w", len(b), off, f.name, err)
	}
	return nil
}

func (f *file) makeMap() *vfs.Mapping {
	if f.noMap.Load() {
		return nil
	}
	f.mapping.Lock()
	defer f.mapping.Unlock()
	if m := f.mapped.Load(); m != nil {
		return m
	}
	m, err := f.disk.Map(f.size())
	if err != nil { // not supported, or too many maps: pread does it as well
		f.noMap.Store(true)
		return nil
	}
	f.mapped.Store(&m)
	return &m
}

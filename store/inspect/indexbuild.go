package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// indexWriter writes index files: entries as they come, slots when a file is full or the last.
type indexWriter struct {
	r     *repair
	shape indexShape
	file  vfs.File
	name  int64 // the last file's, as a number
	head  indexHead
	slots []int32
	buf   []byte // entries from first on that are not written
	first int32
	full  int64 // endMs of the last full file, 0: none
}

// rebuildIndex builds all index files from the log.
func (r *repair) rebuildIndex(sh indexShape) error {
	w := &indexWriter{r: r, shape: sh, slots: make([]int32, sh.slots)}
	if err := r.s.cfg.FS.MkdirAll(r.s.path("index"), 0o755); err != nil {
		return err
	}
	again, err := Open(r.s.cfg)
	if err != nil {
		return err
	}
	var f facts
	_, err = again.scan(r.ctx, again.minPhysical(), visit{gap: func(gap) {}, record: func(rec *message.Record, _ []byte) error {
		f.of(rec)
		for _, h := range f.hashes {
			if err := w.put(h, rec.Physical, rec.StoreMs); err != nil {
				return err
			}
		}
		return nil
	}})
	if err == nil && w.file != nil {
		err = w.finish()
	}
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	r.indexMs = w.full
	return err
}

func (w *indexWriter) put(hash int32, physical, ms int64) error {
	if w.file == nil || w.head.count >= w.shape.entries {
		if err := w.next(); err != nil {
			return err
		}
	}
	h, n := &w.head, w.head.count
	slot := hash % w.shape.slots
	var seconds int64
	if h.beginMs > 0 {
		seconds = min(max((ms-h.beginMs)/1000, 0), math.MaxInt32)
	}
	be := binary.BigEndian
	w.buf = be.AppendUint64(be.AppendUint32(w.buf, uint32(hash)), uint64(physical))
	w.buf = be.AppendUint32(be.AppendUint32(w.buf, uint32(seconds)), uint32(w.slots[slot]))
	if n == 1 {
		h.beginMs, h.beginPhysical = ms, physical
	}
	if w.slots[slot] == 0 {
		h.used++
	}
	w.slots[slot] = n
	h.endMs, h.endPhysical, h.count = ms, physical, n+1
	if len(w.buf) >= 1<<20 {
		return w.flush()
	}
	return nil
}

func (w *indexWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.file.WriteAt(w.buf, w.shape.entry(w.first))
	w.first, w.buf = w.head.count, w.buf[:0]
	return err
}

// next finishes the file and begins another. Its header goes on from the last: see docs/format/index.md.
func (w *indexWriter) next() error {
	if w.file != nil {
		if err := errors.Join(w.finish(), w.file.Close()); err != nil {
			return err
		}
		w.file = nil
	}
	var now int64
	if _, err := fmt.Sscan(strings.Replace(time.Now().Format("20060102150405.000"), ".", "", 1), &now); err != nil {
		return err
	}
	w.name = max(w.name+1, now)
	fsys := w.r.s.cfg.FS
	f, err := fsys.OpenFile(w.r.s.path("index", fmt.Sprint(w.name)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w.file = f
	w.head.beginMs, w.head.beginPhysical = w.head.endMs, w.head.endPhysical
	w.head.used, w.head.count, w.first = 0, 1, 1
	clear(w.slots)
	return f.Truncate(w.shape.size())
}

// finish writes what is left of a file.
func (w *indexWriter) finish() error {
	if err := w.flush(); err != nil {
		return err
	}
	be, h := binary.BigEndian, &w.head
	b := make([]byte, 0, indexHeader)
	for _, v := range []int64{h.beginMs, h.endMs, h.beginPhysical, h.endPhysical} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(be.AppendUint32(b, uint32(h.used)), uint32(h.count))
	if _, err := w.file.WriteAt(b, 0); err != nil {
		return err
	}
	const step = 1 << 16
	buf := make([]byte, 0, indexSlot*step)
	for i := 0; i < len(w.slots); i += step {
		buf = buf[:0]
		any := int32(0)
		for _, n := range w.slots[i:min(i+step, len(w.slots))] {
			any |= n
			buf = be.AppendUint32(buf, uint32(n))
		}
		if any == 0 {
			continue
		}
		if _, err := w.file.WriteAt(buf, indexHeader+indexSlot*int64(i)); err != nil {
			return err
		}
	}
	if h.count >= w.shape.entries {
		w.full = h.endMs
	}
	return errors.Join(w.file.Sync(), w.r.s.cfg.FS.SyncDir(w.r.s.path("index")))
}

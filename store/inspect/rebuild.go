package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// defaultLevels are the default delay levels.
var defaultLevels = func() message.DelayLevels {
	l, err := message.ParseDelayLevels(message.DefaultDelayLevels)
	if err != nil {
		panic(err)
	}
	return l
}()

// defaultQueueFile and defaultBatchFile are the lengths of queue files where there is none to go by, bytes.
const (
	defaultQueueFile = 300_000 * consumequeue.UnitSize
	defaultBatchFile = 300_000 * batchUnitSize
	openQueueFiles   = 512
	flushEvery       = 1 << 16 // records
)

// tag is the tag of a new entry. Times of delivery are those of the levels in delays, ms, else the default.
func (e *entry) tag(delays map[int32]int64) int64 {
	if e.delay == 0 {
		return e.unit.Tag
	}
	if d, ok := delays[e.delay]; ok {
		return e.ms + d
	}
	return e.ms + defaultLevels.Wait(e.delay).Milliseconds()
}

// rebuilt is a queue that is being built.
type rebuilt struct {
	simple *consumequeue.Queue
	batch  *batchWriter
	dirty  bool
}

// rebuildQueues builds queues from the log.
func (r *repair) rebuildQueues(broken []*queue) error {
	fsys := r.s.cfg.FS
	set := consumequeue.NewSet(fsys, r.s.path("consumequeue"), r.s.queueFileSize(false, defaultQueueFile), openQueueFiles)
	queues := make(map[string]map[int32]*rebuilt)
	for _, q := range broken {
		ids := queues[q.topic]
		if ids == nil {
			ids = make(map[int32]*rebuilt)
			queues[q.topic] = ids
		}
		b := &rebuilt{}
		if q.batch {
			b.batch = &batchWriter{fs: fsys, dir: q.dir, size: r.s.queueFileSize(true, defaultBatchFile)}
		} else {
			b.simple = set.New(q.topic, q.id)
		}
		ids[q.id] = b
	}
	var dirty []*rebuilt
	flush := func() error {
		for _, b := range dirty {
			b.dirty = false
			if b.batch != nil {
				if err := b.batch.flush(); err != nil {
					return err
				}
			} else if err := set.Flush(b.simple); err != nil {
				return err
			}
		}
		dirty = dirty[:0]
		return nil
	}
	var f facts
	var n int
	again, err := Open(r.s.cfg) // files may have moved
	if err != nil {
		return err
	}
	_, err = again.scan(r.ctx, again.minPhysical(), visit{gap: func(gap) {}, record: func(rec *message.Record, _ []byte) error {
		f.of(rec)
		for i := range f.entries {
			e := &f.entries[i]
			b := queues[string(e.topic)][e.id]
			if b == nil {
				continue
			}
			e.unit.Tag = e.tag(r.v.delays)
			if !b.dirty {
				b.dirty = true
				dirty = append(dirty, b)
			}
			if b.batch != nil {
				b.batch.put(e)
				continue
			}
			if e.batch {
				continue
			}
			ok, err := set.Build(b.simple, e.offset, e.unit)
			if err != nil {
				return err
			}
			if !ok {
				r.plan.Left = append(r.plan.Left, fmt.Sprintf("record at %d of the log: its offset %d in queue %d of %s cannot be right",
					rec.Physical, e.offset, e.id, e.topic))
			}
		}
		if n++; n%flushEvery == 0 {
			return flush()
		}
		return nil
	}})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = set.Sync()
	}
	return errors.Join(err, set.Close())
}

// queueFileSize is the length that most queue files of a kind have, or best if there are none.
func (s *Store) queueFileSize(batch bool, best int64) int64 {
	count := make(map[int64]int)
	for _, q := range s.queues {
		if q.batch == batch && q.size > 0 && q.size%q.unitSize() == 0 {
			if count[q.size]++; count[q.size] > count[best] {
				best = q.size
			}
		}
	}
	return best
}

// batchWriter writes the files of one BatchConsumeQueue from the first on: see unit for an entry.
type batchWriter struct {
	fs   vfs.FS
	dir  string
	size int64
	at   int64 // byte of the queue behind what is written
	last int64 // behind the last message
	buf  []byte
}

func (w *batchWriter) put(e *entry) {
	be := binary.BigEndian
	if e.offset < w.last { // the topic was made again
		w.at, w.buf = 0, w.buf[:0]
	}
	w.last = e.offset + int64(e.count)
	b := be.AppendUint64(w.buf, uint64(e.unit.Physical))
	b = be.AppendUint32(b, uint32(e.unit.Size))
	b = be.AppendUint64(b, uint64(e.unit.Tag))
	b = be.AppendUint64(b, uint64(e.ms))
	b = be.AppendUint64(b, uint64(e.offset))
	b = be.AppendUint16(b, uint16(e.count))
	b = be.AppendUint32(b, 0xffffffff) // compactedOffset, -1
	w.buf = be.AppendUint32(b, 0)
}

func (w *batchWriter) flush() error {
	if err := w.fs.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	for b := w.buf; len(b) > 0; {
		start := w.at - w.at%w.size
		n := min(int64(len(b)), start+w.size-w.at)
		f, err := w.fs.OpenFile(filepath.Join(w.dir, segment.Name(start)), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if err = f.Truncate(w.size); err == nil {
			_, err = f.WriteAt(b[:n], w.at-start)
		}
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		w.at += n
		b = b[n:]
	}
	w.buf = w.buf[:0]
	return errors.Join(w.fs.SyncDir(w.dir), w.fs.SyncDir(filepath.Dir(w.dir)))
}

package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"rocketd/segment"
	"rocketd/store/consumequeue"
)

// batchUnitSize is the length of a BatchConsumeQueue's unit, bytes.
const batchUnitSize = 46

func (q *queueFiles) unitSize() int64 {
	if q.batch {
		return batchUnitSize
	}
	return consumequeue.UnitSize
}

// findQueues lists the queues below a directory.
func (s *Store) findQueues(root string, batch bool) error {
	topics, err := s.cfg.FS.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read consume queues: %w", err)
	}
	for _, t := range topics {
		if !t.IsDir() {
			s.rocks = s.rocks || !batch && t.Name() == "CURRENT"
			continue
		}
		ids, err := s.cfg.FS.ReadDir(filepath.Join(root, t.Name()))
		if err != nil {
			return fmt.Errorf("cannot read consume queues: %w", err)
		}
		for _, e := range ids {
			id, err := strconv.ParseInt(e.Name(), 10, 32)
			if err != nil || id < 0 || !e.IsDir() {
				continue
			}
			q := &queueFiles{topic: t.Name(), id: int32(id), dir: filepath.Join(root, t.Name(), e.Name()), batch: batch}
			if err := s.findQueueFiles(q); err != nil {
				return err
			}
			s.queues = append(s.queues, q)
		}
	}
	return nil
}

// findQueueFiles lists the files of one queue, and leaves out those that do not fit to the first.
func (s *Store) findQueueFiles(q *queueFiles) error {
	entries, err := s.cfg.FS.ReadDir(q.dir)
	if err != nil {
		return fmt.Errorf("cannot read consume queue: %w", err)
	}
	var files []logFile
	for _, e := range entries {
		start, ok := segment.ParseName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("cannot read consume queue: %w", err)
		}
		files = append(files, logFile{start: start, size: info.Size()})
	}
	q.size = rowSize(files)
	for i, f := range files {
		odd := Finding{Kind: KindQueue, Level: Damage, File: s.relative(filepath.Join(q.dir, segment.Name(f.start))), Topic: q.topic, Queue: &q.id}
		last := i == len(files)-1
		switch {
		case f.size == 0 && last:
			odd.Level, odd.Text = Mended, "last file is empty"
		case f.size != q.size:
			odd.Text = fmt.Sprintf("has %d bytes instead of %d", f.size, q.size)
		case f.size%q.unitSize() != 0 || f.start%q.unitSize() != 0:
			odd.Text = fmt.Sprintf("is not made of entries of %d bytes", q.unitSize())
		case i > 0 && f.start != files[i-1].start+q.size:
			odd.Text = "does not follow the file before it: one is missing"
		}
		if odd.Text != "" {
			s.odd = append(s.odd, odd)
		}
		if f.size > 0 {
			q.starts = append(q.starts, f.start)
		}
	}
	return nil
}

// file returns the first byte of the file that holds byte at of the queue; ok is false if there is none.
func (q *queueFiles) file(at int64) (start int64, ok bool) {
	i, exact := slices.BinarySearch(q.starts, at)
	if !exact {
		i--
	}
	if i < 0 || at >= q.starts[i]+q.size {
		return 0, false
	}
	return q.starts[i], true
}

// first and end are the numbers of the first unit for which there is a file and the one behind the last.
func (q *queueFiles) first() int64 {
	if len(q.starts) == 0 {
		return 0
	}
	return q.starts[0] / q.unitSize()
}

func (q *queueFiles) end() int64 {
	if len(q.starts) == 0 {
		return 0
	}
	return (q.starts[len(q.starts)-1] + q.size) / q.unitSize()
}

func compareQueues(topicA, topicB string, a, b int32) int {
	return cmp.Or(cmp.Compare(topicA, topicB), cmp.Compare(a, b))
}

func cmp64(a, b int64) int { return cmp.Compare(a, b) }

func isNumber(name string) bool {
	_, err := strconv.ParseUint(name, 10, 63)
	return err == nil
}

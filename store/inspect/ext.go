package inspect

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// minExt is the first number that is no address in consumequeue_ext but a tag code: hashes have 32 bits.
// Source: Java ConsumeQueueExt.MAX_ADDR.
const minExt = math.MinInt32

// exts reads tag codes of entries from consumequeue_ext. Their address there is tag + 1<<63; a unit is
//
//	size int16 | tag code int64 | store time int64 | length int16 and bits of a filter
//
// Source: Java ConsumeQueueExt.CqExtUnit.
type exts struct {
	s    *Store
	name string
	file vfs.File
}

func (x *exts) tag(q *queue, address int64) (int64, error) {
	dir := x.s.path("consumequeue_ext", q.topic, strconv.Itoa(int(q.id)))
	if q.extSize == 0 {
		entries, err := x.s.cfg.FS.ReadDir(dir)
		if err != nil {
			return 0, err
		}
		var files []logFile
		for _, e := range entries {
			if start, ok := segment.ParseName(e.Name()); ok {
				info, err := e.Info()
				if err != nil {
					return 0, err
				}
				files = append(files, logFile{start: start, size: info.Size()})
			}
		}
		q.extSize = rowSize(files)
	}
	if q.extSize <= 0 {
		return 0, errors.New("there is no file")
	}
	at := address - math.MinInt64
	name := filepath.Join(dir, segment.Name(at-at%q.extSize))
	if x.name != name {
		x.close()
		file, err := x.s.cfg.FS.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return 0, err
		}
		x.name, x.file = name, file
	}
	var b [10]byte
	if err := readFull(x.file, b[:], at%q.extSize); err != nil {
		return 0, err
	}
	if size := int16(binary.BigEndian.Uint16(b[:])); size < 20 {
		return 0, errors.New("no unit is there")
	}
	return int64(binary.BigEndian.Uint64(b[2:])), nil
}

func (x *exts) close() {
	if x.file != nil {
		_ = x.file.Close()
	}
	x.file, x.name = nil, ""
}

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"rocketd/internal/vfs"
)

// checkpointSize is the length of the file.
const checkpointSize = 4096

// checkpoint says how far the parts of a store are known to be on the disk. The file is 4096 bytes: nine int64,
// big-endian, then zeros.
//
//	 0  physicMs         store time up to which the log is on the disk, ms
//	 8  logicsMs         the same of the consume queues
//	16  indexMs          the same of the index files
//	24  masterFlushed    kept as it is
//	32  confirmPhysical  log position up to which messages could be read (Visible); 0 means unknown
//	40  logicsPhysical   start of the last record whose units are on the disk; 0 means unknown
//	48  flushed          log position up to which the log is on the disk; 0 means unknown
//	56  cutting          1 while the end of the log is cut: what lies behind it may come back
//	64  seal             CRC-32C of the bytes before it
//
// Java writes the first six, and leaves the others as they are: flushed and cutting count only under a seal that is right. Times, which
// are all that Java has, do not tell what is on the disk where a clock was set back.
// Source: Java StoreCheckpoint 5.5.1.
type checkpoint struct {
	physicMs, logicsMs, indexMs    int64
	masterFlushed, confirmPhysical int64
	logicsPhysical                 int64
	flushed, cutting               int64
}

// sealAt is where the seal of a checkpoint lies.
const sealAt = 64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readCheckpoint reads the file; where it is missing or short, all is 0.
func readCheckpoint(f vfs.FS, name string) (c checkpoint, err error) {
	data, err := vfs.ReadFile(f, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("cannot read checkpoint: %w", err)
	}
	for i, p := range c.words() {
		if len(data) >= 8*i+8 {
			*p = int64(binary.BigEndian.Uint64(data[8*i:]))
		}
	}
	if len(data) < sealAt+8 || binary.BigEndian.Uint64(data[sealAt:]) != uint64(crc32.Checksum(data[:sealAt], castagnoli)) {
		c.flushed, c.cutting = 0, 0
	}
	return c, nil
}

// write writes the file durably. The 72 bytes that change lie in one sector.
func (c *checkpoint) write(f vfs.FS, name string) (err error) {
	file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if size, err := file.Size(); err != nil {
		return err
	} else if size != checkpointSize {
		if err := file.Truncate(checkpointSize); err != nil {
			return err
		}
	}
	var b []byte
	for _, p := range c.words() {
		b = binary.BigEndian.AppendUint64(b, uint64(*p))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(crc32.Checksum(b, castagnoli)))
	if _, err := file.WriteAt(b, 0); err != nil && err != io.EOF {
		return fmt.Errorf("cannot write checkpoint: %w", err)
	}
	return file.Sync()
}

func (c *checkpoint) words() [8]*int64 {
	return [8]*int64{&c.physicMs, &c.logicsMs, &c.indexMs, &c.masterFlushed, &c.confirmPhysical, &c.logicsPhysical, &c.flushed, &c.cutting}
}

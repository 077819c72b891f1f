package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"rocketd/internal/vfs"
)

// checkpointSize is the length of the file.
const checkpointSize = 4096

// checkpoint says how far the parts of a store are known to be on the disk. The file is 4096 bytes: six int64,
// big-endian, then zeros.
//
//	 0  physicMs         store time up to which the log is on the disk, ms
//	 8  logicsMs         the same of the consume queues
//	16  indexMs          the same of the index files
//	24  masterFlushed    kept as it is
//	32  confirmPhysical  log position up to which messages could be read (Visible); 0 means unknown
//	40  logicsPhysical   start of the last record whose units are on the disk; 0 means unknown
//
// Source: Java StoreCheckpoint 5.5.1.
type checkpoint struct {
	physicMs, logicsMs, indexMs    int64
	masterFlushed, confirmPhysical int64
	logicsPhysical                 int64
}

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
	return c, nil
}

// write writes the file durably. The 48 bytes that change lie in one sector.
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
	if _, err := file.WriteAt(b, 0); err != nil && err != io.EOF {
		return fmt.Errorf("cannot write checkpoint: %w", err)
	}
	return file.Sync()
}

func (c *checkpoint) words() [6]*int64 {
	return [6]*int64{&c.physicMs, &c.logicsMs, &c.indexMs, &c.masterFlushed, &c.confirmPhysical, &c.logicsPhysical}
}

package commitlog

import "rocketd/segment"

// ReadAt fills dst with bytes of one file from off, through a map; what is behind Max reads as anything.
func (l *Log) ReadAt(dst []byte, off int64) error { return l.row.ReadAt(dst, off) }

// ReadEach reads several pieces: see segment.Row.ReadEach.
func (l *Log) ReadEach(dst []byte, spans []segment.Span) (int, error) {
	return l.row.ReadEach(dst, spans)
}

// ReadDisk is ReadAt with pread, for bytes that may have to come from the disk.
func (l *Log) ReadDisk(dst []byte, off int64) error { return l.row.ReadDisk(dst, off) }

// ReadCached reads as much as is in memory: see segment.Row.ReadCached.
func (l *Log) ReadCached(dst []byte, off int64) (int, error) { return l.row.ReadCached(dst, off) }

// WillNeed has the system read bytes of one file ahead, from from to to or to the end of the file.
func (l *Log) WillNeed(from, to int64) { l.row.WillNeed(from, to) }

// FileEnd returns the end of the file that the byte at off belongs to.
func (l *Log) FileEnd(off int64) int64 { return off - off%l.size + l.size }

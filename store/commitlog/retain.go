package commitlog

import "time"

// Oldest is the first file of the log, as long as it may be dropped: it is not the last, and all of it is on the disk.
type Oldest struct {
	Name    string
	End     int64
	Changed time.Time // when it was written to last
}

// Oldest returns the first file; ok is false if it may not be dropped.
func (l *Log) Oldest() (o Oldest, ok bool, err error) {
	files := l.row.Files()
	if len(files) < 2 || files[0].End() > l.Flushed() {
		return o, false, nil
	}
	o.Name, o.End = files[0].Name(), files[0].End()
	o.Changed, err = l.row.Changed(files[0])
	return o, err == nil, err
}

// DropBefore removes files that end at physical or before it; the last one stays. Readers at work finish.
func (l *Log) DropBefore(physical int64) error { return l.row.DropBefore(physical) }

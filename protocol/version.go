package protocol

import "time"

// DataVersion tells one state of a table from another: it is part of every table that brokers tell to others.
type DataVersion struct {
	Counter      int64 `json:"counter"`
	StateVersion int64 `json:"stateVersion"` // epoch of the controller, 0 without one
	Timestamp    int64 `json:"timestamp"`    // of the change, ms
}

// Next makes v the version after a change. Source: Java DataVersion.nextVersion.
func (v *DataVersion) Next(now time.Time) {
	v.Timestamp = now.UnixMilli()
	v.Counter++
}

// Equal tells whether both mean the same state.
func (v DataVersion) Equal(w DataVersion) bool { return v == w }

// Compare orders versions by state version, counter, time; -1 means that v is older than w.
// Source: Java DataVersion.compare.
func (v DataVersion) Compare(w DataVersion) int {
	for _, p := range [][2]int64{{v.StateVersion, w.StateVersion}, {v.Counter, w.Counter}, {v.Timestamp, w.Timestamp}} {
		switch {
		case p[0] < p[1]:
			return -1
		case p[0] > p[1]:
			return 1
		}
	}
	return 0
}

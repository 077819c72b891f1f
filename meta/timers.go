package meta

import (
	"encoding/binary"
	"fmt"
	"maps"
	"time"

	"rocketd/protocol"
)

// TimerCheckpoint is what timercheck says: seven int64, in a file of 4,096 bytes. Source: Java TimerCheckpoint.
type TimerCheckpoint struct {
	ReadMs       int64 // all that was due before is delivered
	LogEnd       int64 // how far the timer log of the broker whose file it is is on the disk
	Offset       int64 // how far that log has rmq_sys_wheel_timer
	MasterOffset int64 // how far the broker that delivers has it
	Version      protocol.DataVersion
}

const (
	timerCheckpointSize = 56
	timerFileSize       = 4096
)

// ParseTimerCheckpoint reads what Carried.TimerCheckpoint holds. Numbers that are missing at the end are 0.
func ParseTimerCheckpoint(wire []byte) (c TimerCheckpoint) {
	for _, n := range c.numbers() {
		if len(wire) >= 8 {
			*n, wire = int64(binary.BigEndian.Uint64(wire)), wire[8:]
		}
	}
	return c
}

// Bytes are the numbers as brokers exchange them.
func (c TimerCheckpoint) Bytes() []byte {
	wire := make([]byte, 0, timerCheckpointSize)
	for _, n := range c.numbers() {
		wire = binary.BigEndian.AppendUint64(wire, uint64(*n))
	}
	return wire
}

// numbers are all of c, in their order.
func (c *TimerCheckpoint) numbers() [7]*int64 {
	return [...]*int64{&c.ReadMs, &c.LogEnd, &c.Offset, &c.MasterOffset, &c.Version.StateVersion, &c.Version.Timestamp, &c.Version.Counter}
}

// timerCheckpoint is the shape of timercheck. Of another broker's checkpoint the two numbers that speak of its own timer log
// are not taken. Brokers before 5.1 send four numbers. One who never had timers has delivered all until now: a Java slave that
// begins to deliver counts from there, second by second.
var timerCheckpoint = shape{
	empty: func() []byte {
		now := time.Now()
		return TimerCheckpoint{ReadMs: now.Truncate(time.Second).UnixMilli(), Version: protocol.DataVersion{Timestamp: now.UnixMilli()}}.Bytes()
	},
	accept: func(wire, old []byte) ([]byte, error) {
		if len(wire) != timerCheckpointSize && len(wire) != 32 {
			return nil, fmt.Errorf("a checkpoint has %d bytes, this has %d", timerCheckpointSize, len(wire))
		}
		c := ParseTimerCheckpoint(wire)
		if old != nil {
			own := ParseTimerCheckpoint(old)
			c.LogEnd, c.Offset = own.LogEnd, own.Offset
		}
		return c.Bytes(), nil
	},
	save: func(canon []byte) ([]byte, error) {
		file := make([]byte, timerFileSize)
		copy(file, canon)
		return file, nil
	},
	load: func(file []byte) ([]byte, error) {
		if len(file) < timerCheckpointSize {
			return nil, fmt.Errorf("file has %d bytes only", len(file))
		}
		return file[:timerCheckpointSize:timerCheckpointSize], nil
	},
	further: func(canon, old []byte) ([]byte, error) {
		c, o := ParseTimerCheckpoint(canon), ParseTimerCheckpoint(old)
		c.ReadMs, c.MasterOffset = max(c.ReadMs, o.ReadMs), max(c.MasterOffset, o.MasterOffset)
		if o.Version.Compare(c.Version) > 0 {
			c.Version = o.Version
		}
		return c.Bytes(), nil
	},
}

// TimerMetrics is what timermetrics says: how many timed messages wait. Source: Java TimerMetrics.
type TimerMetrics struct {
	DataVersion protocol.DataVersion    `json:"dataVersion"`
	TimingCount map[string]*TimingCount `json:"timingCount"` // by topic; none is nil
}

// TimingCount is how many of them are for one topic.
type TimingCount struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"` // of the last change, ms
}

var timerMetrics = document(func() *TimerMetrics {
	return &TimerMetrics{DataVersion: protocol.DataVersion{Timestamp: time.Now().UnixMilli()}}
}, func(v *TimerMetrics) bool {
	maps.DeleteFunc(v.TimingCount, func(_ string, n *TimingCount) bool { return n == nil })
	return v.TimingCount != nil
}, nil, false)

package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// Carried are the tables of services that this broker does not run, or not always: they come from its files or from its
// master, and go to its slaves. Who runs such a service puts what it has into the table.
type Carried struct {
	DelayOffsets    *Text // delayOffset.json: how far each delay level is delivered
	RequestModes    *Text // messageRequestMode.json: which groups pop and which pull
	TimerCheckpoint *Text // timercheck: how far timed messages are delivered
	TimerMetrics    *Text // timermetrics: how many of them wait
}

// OpenCarried loads the tables. A missing file is an empty table; a broken one falls back to its backup.
func OpenCarried(cfg Config) (*Carried, error) {
	c := new(Carried)
	for _, one := range []struct {
		to    **Text
		file  string
		shape shape
	}{
		{&c.DelayOffsets, "delayOffset.json", document(func() *delayOffsets {
			return &delayOffsets{DataVersion: &protocol.DataVersion{Timestamp: time.Now().UnixMilli()}}
		}, func(v *delayOffsets) bool { return v.OffsetTable != nil }, furtherDelays, true)},
		{&c.RequestModes, "messageRequestMode.json", document(func() *requestModes { return new(requestModes) }, func(v *requestModes) bool { return v.Modes != nil }, nil, true)},
		{&c.TimerCheckpoint, "timercheck", timerCheckpoint},
		{&c.TimerMetrics, "timermetrics", document(func() *timerMetrics {
			return &timerMetrics{DataVersion: protocol.DataVersion{Timestamp: time.Now().UnixMilli()}}
		}, func(v *timerMetrics) bool { return v.TimingCount != nil }, nil, false)},
	} {
		t, err := openText(cfg, one.file, one.shape)
		if err != nil {
			return nil, err
		}
		*one.to = t
	}
	return c, nil
}

// Text is one such table: what brokers exchange, and a file. Its methods may be called from any goroutine.
type Text struct {
	cfg     Config
	path    string
	shape   shape
	current atomic.Pointer[[]byte]
	mu      sync.Mutex // one Put at a time
}

// shape says how a table looks. What brokers exchange is called wire.
type shape struct {
	empty  func() (wire []byte)                           // of a broker that never had any
	accept func(wire, old []byte) (canon []byte, _ error) // checks what came from elsewhere
	save   func(canon []byte) (file []byte, _ error)
	load   func(file []byte) (wire []byte, _ error)
	// further is what is further of two tables.
	further func(canon, old []byte) ([]byte, error)
}

func openText(cfg Config, file string, s shape) (*Text, error) {
	t := &Text{cfg: cfg, path: filepath.Join(cfg.Dir, file), shape: s}
	wire := s.empty()
	_, fallback, err := durable.Read(cfg.FS, t.path, func(data []byte) error {
		loaded, err := s.load(data)
		if err == nil {
			loaded, err = s.accept(loaded, nil)
		}
		if err == nil {
			wire = loaded
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot load %s: %w", file, err)
	}
	if fallback != nil {
		cfg.Log.Warn("table loaded from backup", "file", t.path, "err", fallback)
	}
	t.current.Store(&wire)
	return t, nil
}

// Bytes returns the table as brokers exchange it. It is shared and must not be changed.
func (t *Text) Bytes() []byte { return *t.current.Load() }

// Put replaces the table by one that a broker sent; it is durable when Put returns. What cannot be read is refused, and
// changes nothing.
func (t *Text) Put(wire []byte) error { return t.put(wire, false) }

// Advance is Put of what is further there than here: deliveries that went on elsewhere. Of RequestModes and TimerMetrics
// nothing is.
func (t *Text) Advance(wire []byte) error { return t.put(wire, true) }

// Change is for the service whose table it is: change makes of what is there what is to be, all of it. It is durable when
// Change returns.
func (t *Text) Change(change func(wire []byte)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	wire := bytes.Clone(t.Bytes())
	change(wire)
	return t.keep(wire)
}

func (t *Text) put(wire []byte, advance bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	canon, err := t.shape.accept(wire, t.Bytes())
	if err == nil && advance {
		canon, err = t.shape.further(canon, t.Bytes())
	}
	if err != nil {
		return fmt.Errorf("cannot use this as %s: %w", filepath.Base(t.path), err)
	}
	return t.keep(canon)
}

// keep has the table on the disk, then shown. t.mu is held.
func (t *Text) keep(canon []byte) error {
	if bytes.Equal(canon, t.Bytes()) {
		return nil
	}
	file, err := t.shape.save(canon)
	if err != nil {
		return fmt.Errorf("cannot encode %q: %w", t.path, err)
	}
	if err := durable.Write(t.cfg.FS, t.path, file); err != nil {
		return err
	}
	t.current.Store(&canon)
	return nil
}

// document is the shape of a table in JSON, whose file is the same text, pretty or not. whole tells whether the table is in
// the text at all; further makes of v what is further of both.
func document[V any](empty func() *V, whole func(*V) bool, further func(v, old *V), pretty bool) shape {
	return shape{
		empty: func() []byte { wire, _ := laxjson.Marshal(empty()); return wire },
		accept: func(wire, _ []byte) ([]byte, error) {
			v := new(V)
			if err := laxjson.Unmarshal(wire, v); err != nil {
				return nil, err
			}
			if !whole(v) {
				return nil, errors.New("there is no table in it")
			}
			return laxjson.Marshal(v)
		},
		save: func(canon []byte) ([]byte, error) {
			if !pretty {
				return canon, nil
			}
			v := new(V)
			if err := laxjson.Unmarshal(canon, v); err != nil {
				return nil, err
			}
			return laxjson.MarshalIndent(v)
		},
		load: func(file []byte) ([]byte, error) { return file, nil },
		further: func(canon, old []byte) ([]byte, error) {
			if further == nil {
				return old, nil
			}
			v, o := new(V), new(V)
			if err := errors.Join(laxjson.Unmarshal(canon, v), laxjson.Unmarshal(old, o)); err != nil {
				return nil, err
			}
			further(v, o)
			return laxjson.Marshal(v)
		},
	}
}

type delayOffsets = protocol.DelayOffsetSerializeWrapper

func furtherDelays(v, old *delayOffsets) {
	for level, offset := range old.OffsetTable {
		v.OffsetTable[level] = max(v.OffsetTable[level], offset)
	}
	if v.DataVersion == nil || old.DataVersion != nil && old.DataVersion.Compare(*v.DataVersion) > 0 {
		v.DataVersion = old.DataVersion
	}
}

// timerMetrics counts the timed messages that wait. Source: Java TimerMetrics.
type timerMetrics struct {
	DataVersion protocol.DataVersion   `json:"dataVersion"`
	TimingCount map[string]timingCount `json:"timingCount"` // by topic
}

type timingCount struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"` // of the last change, ms
}

// timerCheckpoint is the shape of timercheck: seven int64, in a file of 4,096 bytes.
//
//	 0  lastReadTimeMs          all that was due before is delivered
//	 8  lastTimerLogFlushPos    of the timer log of the broker whose file it is
//	16  lastTimerQueueOffset    how far that log has rmq_sys_wheel_timer
//	24  masterTimerQueueOffset  how far the broker that delivers has it
//	32  stateVersion, timestamp, counter of the data version
//
// Of another broker's checkpoint the two that speak of its own timer log are not taken. Brokers before 5.1 send four
// numbers. One who never had timers has delivered all until now: a Java slave that begins to deliver counts from there,
// second by second. Source: Java TimerCheckpoint.
var timerCheckpoint = shape{
	empty: func() []byte {
		wire := make([]byte, timerCheckpointSize)
		binary.BigEndian.PutUint64(wire, uint64(time.Now().Truncate(time.Second).UnixMilli()))
		binary.BigEndian.PutUint64(wire[40:], uint64(time.Now().UnixMilli()))
		return wire
	},
	accept: func(wire, old []byte) ([]byte, error) {
		if len(wire) != timerCheckpointSize && len(wire) != 32 {
			return nil, fmt.Errorf("a checkpoint has %d bytes, this has %d", timerCheckpointSize, len(wire))
		}
		canon := make([]byte, timerCheckpointSize)
		copy(canon, wire)
		if old != nil {
			copy(canon[8:24], old[8:24])
		}
		return canon, nil
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
		number := func(b []byte, at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
		version := func(b []byte) protocol.DataVersion {
			return protocol.DataVersion{StateVersion: number(b, 32), Timestamp: number(b, 40), Counter: number(b, 48)}
		}
		both := bytes.Clone(canon)
		for _, at := range []int{0, 24} {
			binary.BigEndian.PutUint64(both[at:], uint64(max(number(canon, at), number(old, at))))
		}
		if version(old).Compare(version(canon)) > 0 {
			copy(both[32:], old[32:])
		}
		return both, nil
	},
}

const (
	timerCheckpointSize = 56
	timerFileSize       = 4096
)

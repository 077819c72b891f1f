package meta

import (
	"bytes"
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
		{&c.TimerMetrics, "timermetrics", timerMetrics},
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
	err := cfg.load(t.path, func(data []byte) error {
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
		return nil, err
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

// Change is for the service whose table it is: change makes of what is there, which it leaves alone, what is to be, all of it.
// It is durable when Change returns.
func (t *Text) Change(change func(wire []byte) []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keep(change(t.Bytes()))
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

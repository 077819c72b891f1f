package transaction

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
	"rocketd/protocol"
)

// counts is how many transactions of each topic are open, in transactionMetrics. Nothing rests on it: the file is for
// those who look, and for Java, and is written after each round in which it changed.
//
//	{"dataVersion":{…},"transactionCount":{"T":{"count":2,"timeStamp":1700000000000}}}
//
// Source: Java TransactionMetrics.
type counts struct {
	fs   vfs.FS
	path string

	mu      sync.Mutex // guards:
	file    metrics
	changed bool
}

type metrics struct {
	DataVersion protocol.DataVersion `json:"dataVersion"`
	Count       map[string]metric    `json:"transactionCount"`
}

type metric struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"` // of the last change, ms
}

// newCounts takes over the version of the file, if there is one that can be read.
func newCounts(fs vfs.FS, dir string) *counts {
	c := &counts{fs: fs, path: filepath.Join(dir, "transactionMetrics")}
	_, _, err := durable.Read(fs, c.path, func(data []byte) error {
		c.file = metrics{}
		return laxjson.Unmarshal(data, &c.file)
	})
	if err != nil || c.file.Count == nil {
		c.file.Count = make(map[string]metric)
	}
	return c
}

// set says how many there are. A topic that had some stays, with 0.
func (c *counts) set(now map[string]int64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := maps.Clone(c.file.Count)
	for name := range before {
		if _, ok := now[name]; !ok {
			now[name] = 0
		}
	}
	for name, n := range now {
		if old, ok := before[name]; !ok || old.Count != n {
			c.file.Count[name] = metric{n, at.UnixMilli()}
			c.changed = true
		}
	}
}

// save writes the file if anything changed.
func (c *counts) save() error {
	c.mu.Lock()
	if !c.changed {
		c.mu.Unlock()
		return nil
	}
	c.file.DataVersion.Next(time.Now())
	data, err := laxjson.Marshal(c.file)
	c.changed = false
	c.mu.Unlock()
	if err == nil {
		err = durable.Write(c.fs, c.path, data)
	}
	if err != nil {
		c.mu.Lock()
		c.changed = true
		c.mu.Unlock()
		return fmt.Errorf("cannot write transactionMetrics: %w", err)
	}
	return nil
}

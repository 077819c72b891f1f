package meta

import (
	"path/filepath"
	"sync"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// OpenTransactions is how many transactions of each topic are open, in transactionMetrics. Nothing rests on it: the file is for
// those who look, and for Java. Its methods may be called from any goroutine.
//
//	{"dataVersion":{…},"transactionCount":{"T":{"count":2,"timeStamp":1700000000000}}}
//
// Source: Java TransactionMetrics.
type OpenTransactions struct {
	cfg  Config
	path string

	mu      sync.Mutex // guards what follows
	table   transactionTable
	changed bool // since the last write
}

type transactionTable struct {
	DataVersion protocol.DataVersion        `json:"dataVersion"`
	Count       map[string]transactionCount `json:"transactionCount"`
}

type transactionCount struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"` // of the last change, ms
}

// NewOpenTransactions takes over what the file says, if there is one that can be read.
func NewOpenTransactions(cfg Config) *OpenTransactions {
	o := &OpenTransactions{cfg: cfg, path: filepath.Join(cfg.Dir, "transactionMetrics")}
	_, _, err := durable.Read(cfg.FS, o.path, func(data []byte) error {
		o.table = transactionTable{}
		return laxjson.Unmarshal(data, &o.table)
	})
	if err != nil || o.table.Count == nil {
		o.table.Count = make(map[string]transactionCount)
	}
	return o
}

// Set says how many there are. A topic that had some stays, with 0.
func (o *OpenTransactions) Set(counts map[string]int64, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range o.table.Count {
		o.put(name, counts[name], now)
	}
	for name, n := range counts {
		o.put(name, n, now)
	}
}

func (o *OpenTransactions) put(name string, n int64, now time.Time) {
	if old, ok := o.table.Count[name]; !ok || old.Count != n {
		o.table.Count[name] = transactionCount{n, now.UnixMilli()}
		o.changed = true
	}
}

// Persist writes the file if anything has changed since the last time.
func (o *OpenTransactions) Persist(now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock() // Set may wait for the disk, which nobody but the one who persists calls
	if !o.changed {
		return nil
	}
	o.table.DataVersion.Next(now)
	data, err := laxjson.Marshal(o.table)
	if err != nil {
		return err
	}
	if err := durable.Write(o.cfg.FS, o.path, data); err != nil {
		return err
	}
	o.changed = false
	return nil
}

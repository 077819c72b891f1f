// Package cold counts what each consumer group reads from the disk, and says which of them should slow down, so that one that
// catches up does not take the disk from all others.
//
// A group is slowed down while what it has read since the last round is above its threshold, or what all have read together above
// the global one. A round is 5 s. Source: Java ColdDataCgCtrService.
package cold

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/topic"
)

// Round is how often counting begins anew, and forgetAfter how long a group is shown that reads nothing cold any more.
const (
	Round       = 5 * time.Second
	forgetAfter = time.Minute
)

// maxThresholds bounds how many groups may have a threshold of their own.
const maxThresholds = 10_000

// Config of a Control. The functions are asked often and must not block.
type Config struct {
	Enabled   func() bool  // coldDataFlowControlEnable
	Threshold func() int64 // of a group without its own: cgColdReadThreshold, bytes in a round
	Global    func() int64 // globalColdReadThreshold, bytes in a round
}

// Control counts. All methods may be called from any goroutine.
type Control struct {
	cfg    Config
	global atomic.Int64 // bytes in this round

	mu         sync.Mutex // guards what follows
	groups     map[string]*read
	thresholds map[string]int64
}

// read is what a group has read.
type read struct {
	bytes       int64 // in this round
	first, last time.Time
}

// New makes a control.
func New(cfg Config) *Control {
	return &Control{cfg: cfg, groups: make(map[string]*read), thresholds: make(map[string]int64)}
}

// Read counts bytes that a group was given from the disk.
func (c *Control) Read(group []byte, bytes int, now time.Time) {
	if bytes <= 0 || !c.cfg.Enabled() {
		return
	}
	c.global.Add(int64(bytes))
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.groups[string(group)]
	if r == nil {
		r = &read{first: now}
		c.groups[string(group)] = r
	}
	r.bytes += int64(bytes)
	r.last = now
}

// Limited tells whether a group that wants to read from the disk should wait. The system's groups never do.
func (c *Control) Limited(group []byte) bool {
	if !c.cfg.Enabled() || topic.IsSystemGroup(group) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.groups[string(group)]
	if r == nil {
		return false
	}
	threshold, ok := c.thresholds[string(group)]
	if !ok {
		threshold = c.cfg.Threshold()
	}
	return r.bytes >= threshold || c.global.Load() >= c.cfg.Global()
}

// Set gives groups thresholds of their own, Remove takes one away. Set returns false, and has set none, if there would be too
// many.
func (c *Control) Set(thresholds map[string]int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	more := len(c.thresholds)
	for group := range thresholds {
		if _, known := c.thresholds[group]; !known {
			more++
		}
	}
	if more > maxThresholds {
		return false
	}
	maps.Copy(c.thresholds, thresholds)
	return true
}

// Remove is the opposite of Set.
func (c *Control) Remove(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.thresholds, group)
}

// Run begins a round every 5 s until the context ends.
func (c *Control) Run(ctx context.Context) error {
	tick := time.NewTicker(Round)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			c.begin(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// begin begins a round.
func (c *Control) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.global.Store(0)
	for group, r := range c.groups {
		r.bytes = 0
		if now.Sub(r.last) >= forgetAfter {
			delete(c.groups, group)
		}
	}
}

// JSON shows the state as Java's mqadmin prints it.
func (c *Control) JSON() ([]byte, error) {
	type runtime struct {
		ColdAcc   int64 `json:"coldAcc"`
		CreatedMs int64 `json:"createTimeMills"`
		LastMs    int64 `json:"lastColdReadTimeMills"`
	}
	v := struct {
		Runtime   map[string]runtime `json:"runtimeTable"`
		Config    map[string]int64   `json:"configTable"`
		Threshold int64              `json:"cgColdReadThreshold"`
		Global    int64              `json:"globalColdReadThreshold"`
		Acc       int64              `json:"globalAcc"`
	}{make(map[string]runtime), make(map[string]int64), c.cfg.Threshold(), c.cfg.Global(), c.global.Load()}
	c.mu.Lock()
	for group, r := range c.groups {
		v.Runtime[group] = runtime{r.bytes, r.first.UnixMilli(), r.last.UnixMilli()}
	}
	maps.Copy(v.Config, c.thresholds)
	c.mu.Unlock()
	return laxjson.Marshal(&v)
}

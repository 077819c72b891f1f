package timer

import (
	"encoding/json"
	"math"

	"rocketd/internal/laxjson"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/timer/wheel"
)

// counts is how many messages wait for each topic. Source: Java TimerMetrics; recalls count when they find their message.
type counts struct {
	Version protocol.DataVersion `json:"dataVersion"`
	Topics  map[string]*count    `json:"timingCount"`

	changed bool
}

type count struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"` // of the last change, ms
}

func (c *counts) add(name []byte, n int64, nowMs int64) {
	t := c.Topics[string(name)]
	if t == nil {
		t = new(count)
		c.Topics[string(name)] = t
	}
	t.Count, t.TimeStamp = t.Count+n, nowMs
	c.Version.Counter++
	c.Version.Timestamp = nowMs
	c.changed = true
}

// load takes over a table that was kept.
func (c *counts) load(wire []byte) {
	*c = counts{Topics: make(map[string]*count)}
	if err := laxjson.Unmarshal(wire, c); err != nil || c.Topics == nil {
		c.Topics = make(map[string]*count)
	}
	for name, t := range c.Topics {
		if t == nil {
			delete(c.Topics, name)
		}
	}
}

// take returns the table if it has changed since the last call.
func (c *counts) take() []byte {
	if !c.changed {
		return nil
	}
	c.changed = false
	wire, err := json.Marshal(c)
	if err != nil {
		return nil
	}
	return wire
}

// recount counts what waits anew: a crash may have lost the last counts.
func (s *Service) recount(nowMs int64) {
	byHash := make(map[int32]int64)
	_, first, _ := s.wheel.Waiting(s.plan.readMs)
	if first != math.MaxInt64 {
		from, seen := max(first, s.log.Min()), int64(-1)
		_, err := s.log.Scan(from, func(_ int64, u *wheel.Unit) bool {
			if u.TimeMs() >= s.plan.readMs && u.Magic&wheel.MagicDelete == 0 && u.Physical > seen { // Java writes some twice
				byHash[u.TopicHash]++
			}
			seen = max(seen, u.Physical)
			return true
		})
		if err != nil {
			return
		}
	}
	names := s.cfg.Topics()
	for name := range s.counts.Topics {
		names = append(names, name)
	}
	for _, name := range names {
		n := byHash[int32(message.TagsCode([]byte(name)))]
		if t := s.counts.Topics[name]; t == nil && n > 0 || t != nil && t.Count != n {
			have := int64(0)
			if t != nil {
				have = t.Count
			}
			s.counts.add([]byte(name), n-have, nowMs)
		}
	}
}

package timer

import (
	"math"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/timer/wheel"
)

// counts is how many messages wait for each topic; recalls count when they find their message.
type counts struct {
	meta.TimerMetrics
	total   int64
	changed bool
}

func (c *counts) add(name []byte, n int64, nowMs int64) {
	t := c.TimingCount[string(name)]
	if t == nil {
		t = new(meta.TimingCount)
		c.TimingCount[string(name)] = t
	}
	t.Count, t.TimeStamp = t.Count+n, nowMs
	c.total += n
	c.DataVersion.Next(time.UnixMilli(nowMs))
	c.changed = true
}

// load takes over a table that was kept.
func (c *counts) load(wire []byte) {
	*c = counts{}
	if err := laxjson.Unmarshal(wire, &c.TimerMetrics); err != nil || c.TimingCount == nil {
		c.TimingCount = make(map[string]*meta.TimingCount)
	}
	for _, t := range c.TimingCount {
		c.total += t.Count
	}
}

// take returns the table if it has changed since the last call.
func (c *counts) take() (wire []byte) {
	if c.changed {
		wire, _ = laxjson.Marshal(&c.TimerMetrics)
	}
	c.changed = false
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
	for name := range s.counts.TimingCount {
		names = append(names, name)
	}
	for _, name := range names {
		n := byHash[int32(message.TagsCode([]byte(name)))]
		if t := s.counts.TimingCount[name]; t != nil {
			n -= t.Count
		}
		if n != 0 {
			s.counts.add([]byte(name), n, nowMs)
		}
	}
}

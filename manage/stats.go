package manage

import (
	"context"
	"time"

	"rocketd/protocol"
	"rocketd/stats"
)

// Stats serves VIEW_BROKER_STATS_DATA (315): one counter over a minute, an hour and a day. A counter that nothing was
// counted with does not exist; clients take that for "no data".
func (s *Service) Stats(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.ViewBrokerStatsDataRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	item := s.cfg.Stats.Find(h.StatsName, h.StatsKey)
	if item == nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "The stats <%s> <%s> not exist", h.StatsName, h.StatsKey)
	}
	now := time.Now()
	over := func(d time.Duration) protocol.BrokerStatsItem {
		span := item.Over(now, d)
		return protocol.BrokerStatsItem{Sum: span.Sum, Tps: span.PerSecond, Avgpt: span.PerCall}
	}
	return body(protocol.BrokerStatsData{
		StatsMinute: over(time.Minute), StatsHour: over(time.Hour), StatsDay: over(24 * time.Hour),
	})
}

// perSecond returns the rate of a counter over the last minute; 0 if there is none.
func (s *Service) perSecond(name, key string) float64 {
	item := s.cfg.Stats.Find(name, key)
	if item == nil {
		return 0
	}
	return item.Over(time.Now(), time.Minute).PerSecond
}

// consumed returns the messages per second that a group got of a topic.
func (s *Service) consumed(group, name string) float64 {
	return s.perSecond(stats.GroupGetNums, name+"@"+group)
}

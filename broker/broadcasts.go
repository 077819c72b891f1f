package broker

import (
	"context"
	"time"
)

// broadcastsPeriod is how often what clients of broadcasting groups have pulled is committed. Source: Java BroadcastOffsetManager.
const broadcastsPeriod = 5 * time.Second

// runBroadcasts commits where the last client of each broadcasting group is, and once more when the context has ended.
func (b *Broker) runBroadcasts(ctx context.Context) error {
	commit := func(now time.Time) {
		s := b.cfg.Settings
		b.broadcasts.Commit(now, time.Duration(s.Int64("broadcastOffsetExpireSecond"))*time.Second,
			time.Duration(s.Int64("broadcastOffsetExpireMaxSecond"))*time.Second, b.clients.Consumers.ClientIDs)
	}
	err := every(ctx, broadcastsPeriod, commit)
	commit(time.Now())
	return err
}

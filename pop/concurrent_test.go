package pop

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"rocketd/protocol"
)

// However many I/O contexts pop at the same time, each message is lent to one of them, and offsets come to the end.
func TestService_Concurrent(t *testing.T) {
	const contexts, each = 6, 500
	d := newDesk(t, func(c *Config) { c.MaxLeases = 1 << 20 })
	for id := range int32(4) {
		for i := range each {
			d.send("T4", id, fmt.Sprintf("m%d-%d", id, i))
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg, revive sync.WaitGroup
	revive.Go(func() {
		for ctx.Err() == nil {
			d.revive.expire(ctx, d.now)
			d.svc.prune()
		}
	})
	var mu sync.Mutex
	seen := map[string]int{}
	for i := range contexts {
		wg.Go(func() {
			one := &desk{t: t, svc: d.svc, peer: &peer{}, now: d.now, turn: &protocol.Turn{Now: d.now, Appends: d.put.NewBatch()}, opaque: int32(i) << 20}
			idle := 0
			for idle < 2000 {
				list := one.pop("topic=T4", fmt.Sprint("maxMsgNums=", 1+i*5), "invisibleTime=60000")
				if len(list) == 0 {
					idle++
					continue
				}
				idle = 0
				for _, g := range list {
					if a := one.ack(g); a == nil || a.Code != protocol.Success {
						t.Errorf("ack of %s: %+v", g.body, a)
					}
				}
				mu.Lock()
				for _, g := range list {
					seen[g.body]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	stop()
	revive.Wait()
	want(t, "messages", len(seen), 4*each)
	for body, n := range seen {
		if n != 1 {
			t.Errorf("%s was popped %d times", body, n)
		}
	}
	for id := range int32(4) {
		want(t, "committed", d.committed("g", "T4", id), int64(each))
	}
	want(t, "in memory", d.svc.live.Load(), int64(0))
	want(t, "alarms", d.svc.schedule.count(), 0)
}

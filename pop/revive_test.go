package pop

import (
	"context"
	"testing"
	"time"

	"rocketd/protocol"
)

// A clock that was set back makes nothing come early that memory has no room for, nor what is acknowledged.
func TestService_Revive_ClockBack(t *testing.T) {
	d := newDesk(t, func(c *Config) { c.MaxLeases = 0 })
	d.now = start.Add(24 * time.Hour)
	d.send("T", 0, "x")
	d.pop()
	d.pass(20 * time.Second)
	want(t, "by the wrong time", bodies(d.pop()), "x")
	d.now = start
	d.send("T", 0, "a", "b")
	list := d.pop()
	want(t, "pop", bodies(list), "a b")
	want(t, "ack", d.ack(list[0]).Code, int32(protocol.Success))
	d.pass(9800 * time.Millisecond)
	want(t, "before its time", bodies(d.pop()), "")
	d.pass(6 * time.Second)
	want(t, "after its time", bodies(d.pop()), "b")
}

// Who is acknowledged while it is about to be delivered again counts once.
func TestService_Revive_AckedMeanwhile(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a")
	list := d.pop()
	d.now = d.now.Add(10 * time.Second)
	due := d.svc.schedule.due(nil, d.now.UnixMilli(), 9)
	want(t, "due", len(due), 1)
	want(t, "ack", d.ack(list[0]).Code, int32(protocol.Success))
	d.revive.deliver(context.Background(), due, d.now)
	want(t, "in memory", d.svc.live.Load(), int64(0))
	want(t, "pop", bodies(d.pop()), "")
}

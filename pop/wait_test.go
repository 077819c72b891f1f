package pop

import (
	"strings"
	"testing"
	"time"

	"rocketd/longpoll"
	"rocketd/protocol"
)

// deadlines is a room that notes until when requests wait.
type deadlines struct {
	*longpoll.Room[Key, Waiter]
	until []time.Time
}

func (r *deadlines) Park(t *protocol.Turn, key Key, peer protocol.Peer, deadline time.Time, w Waiter) bool {
	r.until = append(r.until, deadline)
	return r.Room.Park(t, key, peer, deadline, w)
}

// Who waits does so by the clock that nobody sets, though the request says when it was born.
func TestService_Pop_Deadline(t *testing.T) {
	d := newDesk(t, nil)
	r := &deadlines{Room: d.room}
	d.svc.UseRoom(r)
	d.now = time.Now()
	d.ask("pollTime=5000")
	d.call(protocol.Notification, "", "consumerGroup=g", "topic=T", "queueId=-1", "pollTime=5000")
	want(t, "waiting", len(r.until), 2)
	for _, until := range r.until {
		if wait := until.Sub(d.now); wait > 5*time.Second || wait < 4990*time.Millisecond || !strings.Contains(until.String(), " m=") {
			t.Errorf("until %v, in %v", until, wait)
		}
	}
}

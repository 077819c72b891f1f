package timer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/message"
	"rocketd/topic"
)

// A record of the timer topic that names no place where messages may go is dropped, and nothing is stored or made there:
// clients can send to that topic, and say what they like.
func TestService_Targets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newDisk(8), options{})
		at := time.Now().UnixMilli() + 1500
		bad := []string{"", "..", "../outside", "a/b", topic.Timer, topic.Schedule, topic.TransHalf, topic.TransOpHalf, strings.Repeat("x", message.MaxTopic+1)}
		for _, name := range bad {
			must(t, w.raw(message.AppendTimed(nil, nil, []byte(name), 0, at)))
		}
		must(t, w.raw(message.AppendTimed(nil, nil, []byte("T"), -1, at)))
		must(t, w.timed("GOOD", at))
		time.Sleep(5 * time.Second)
		check(t, "beside bad ones", map[string]expected{"GOOD": {at, true, false}}, w.arrivals(), 5)
		for _, name := range bad {
			if q := w.store.Find([]byte(name), 0); q != nil && name != topic.Timer {
				t.Errorf("there is a queue of %.20q now", name)
			}
		}
		if q := w.store.Find([]byte(topic.Timer), 0); q.Max() != int64(len(bad)+2) {
			t.Errorf("the timer topic has %d messages", q.Max())
		}
		w.stop()
		if len(w.logs.list) != len(bad)+1 {
			t.Error(w.logs.list)
		}
	})
}

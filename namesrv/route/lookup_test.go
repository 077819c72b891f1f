package route

import (
	"testing"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

// A route that was asked for before is answered while a registration holds the table; what that changes is seen after it.
func TestTable_Body_WhileRegistering(t *testing.T) {
	table := New(Config{})
	register := func(queues int32) {
		r := &Registration{Broker: Broker{Cluster: "c", Name: "a", Addr: "10.0.0.1:10911"}}
		r.Topics.DataVersion = protocol.DataVersion{Counter: int64(queues)}
		r.Topics.TopicConfigTable = map[string]*topic.Config{
			"T": {Name: "T", ReadQueueNums: queues, WriteQueueNums: queues, Perm: topic.PermRead | topic.PermWrite},
			"U": {Name: "U", ReadQueueNums: 1, WriteQueueNums: 1, Perm: topic.PermRead},
		}
		if _, err := table.Register(time.UnixMilli(1), r); err != nil {
			t.Fatal(err)
		}
	}
	register(4)
	before := string(table.Body([]byte("T"), true))
	if before == "" {
		t.Fatal("no route")
	}
	table.mu.Lock() // a test that waits for it does not end
	if got := string(table.Body([]byte("T"), true)); got != before {
		t.Error(got)
	}
	table.mu.Unlock()
	register(8)
	if got := string(table.Body([]byte("T"), true)); got == before || got == "" {
		t.Error(got)
	}
}

package pull

import (
	"context"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/store/consumequeue"
)

// InMemory: what is in the first hundred messages.
func (d queuesOf) InMemory(q *consumequeue.Queue, offset int64) bool {
	return offset < q.Max() && q.Max() < 100
}

// hall is a desk whose broker keeps where clients of broadcasting groups are.
func hall(t *testing.T) (*desk, *offset.Table) {
	d := newDesk(t)
	table, err := offset.Open(offset.Config{FS: vfs.OS, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d.cfg.Broadcasts, d.cfg.Broadcasting = offset.NewBroadcast(table), func() bool { return true }
	d.open()
	return d, table
}

var all = protocol.SubscriptionData{Topic: "T", SubString: "*", SubVersion: 1}

// A client of a broadcasting group goes on where it was when it comes through a proxy, and back.
func TestService_Pull_Broadcast(t *testing.T) {
	d, _ := hall(t)
	d.add("a", "a", "a", "a")
	d.subscribe(protocol.Broadcasting, all)
	d.pull(1, "sysFlag=2", "queueOffset=1", "maxMsgNums=2")
	d.want("1: 0 FOUND nextBegin=3 min=0 max=4 m1m2")
	d.pull(2, "sysFlag=6", "subscription=*", "queueOffset=3") // brings its own expression
	d.want("2: 0 FOUND nextBegin=4 min=0 max=4 m3")

	proxy := func(opaque int32, client, from string) {
		d.pull(opaque, "requestSource=1", "proxyFrowardClientId="+client, "queueOffset="+from)
	}
	proxy(3, "c", "-1")
	d.want("3: 21 OFFSET_RESET nextBegin=3 min=0 max=4 ")
	proxy(4, "c", "3")
	d.want("4: 0 FOUND nextBegin=4 min=0 max=4 m3")
	proxy(5, "c", "4") // held
	d.want()
	d.pull(6, "sysFlag=2", "queueOffset=1")
	d.want("6: 21 OFFSET_RESET nextBegin=4 min=0 max=4 ")
	d.add("a")
	d.want("5: 0 FOUND nextBegin=5 min=0 max=5 m4")
}

// A client of a proxy that nothing is known of begins where the last of its group is; else at the first message while that is
// young, else behind the last.
func TestService_Pull_BroadcastFirst(t *testing.T) {
	d, table := hall(t)
	d.add("a", "a", "a")
	first := []string{"requestSource=1", "queueOffset=-1"}
	d.pull(1, append(first, "proxyFrowardClientId=x")...)
	d.want("1: 21 OFFSET_RESET nextBegin=0 min=0 max=3 ")
	d.add(make([]string, 100)...)
	d.pull(2, append(first, "proxyFrowardClientId=y")...)
	d.want("2: 21 OFFSET_RESET nextBegin=103 min=0 max=103 ")
	d.pull(3, "requestSource=1", "queueOffset=60", "proxyFrowardClientId=x", "maxMsgNums=1")
	d.want("3: 0 FOUND nextBegin=61 min=0 max=103 m60")

	d.cfg.Broadcasts.(*offset.Broadcast).Commit(d.now.Add(time.Second), time.Minute, time.Hour, func(string) []string { return nil })
	if at, ok := table.Get([]byte("g@broadcast"), []byte("T"), 0); !ok || at != 60 {
		t.Errorf("committed %d, %t", at, ok)
	}
	d.pull(4, append(first, "proxyFrowardClientId=z")...)
	d.want("4: 21 OFFSET_RESET nextBegin=60 min=0 max=103 ")
}

// An offset that is too large does not count; nor does anything of other groups and sources, or where the key is off.
func TestService_Pull_NoBroadcast(t *testing.T) {
	d, _ := hall(t)
	d.add("a", "a")
	proxy := func(opaque int32) {
		d.pull(opaque, "requestSource=1", "proxyFrowardClientId=c", "queueOffset=-1")
	}
	d.subscribe(protocol.Broadcasting, all)
	d.pull(1, "sysFlag=2", "queueOffset=70")
	d.want("1: 21 OFFSET_OVERFLOW_BADLY nextBegin=2 min=0 max=2 ")
	proxy(2)
	d.want("2: 21 OFFSET_RESET nextBegin=2 min=0 max=2 ")

	d, _ = hall(t)
	d.add("a", "a")
	d.subscribe(protocol.Clustering, all)
	d.pull(3, "sysFlag=2", "queueOffset=1")
	d.want("3: 0 FOUND nextBegin=2 min=0 max=2 m1")
	proxy(4)
	d.want("4: 21 OFFSET_RESET nextBegin=0 min=0 max=2 ")
	d.pull(5, "requestSource=0", "proxyFrowardClientId=c", "queueOffset=-1")
	d.want("5: 21 OFFSET_TOO_SMALL nextBegin=0 min=0 max=2 ")
	d.cfg.Broadcasting = func() bool { return false }
	d.open()
	proxy(6)
	d.want("6: 21 OFFSET_TOO_SMALL nextBegin=0 min=0 max=2 ")
}

// What the pool reads from the disk counts too.
func TestService_Pull_BroadcastDisk(t *testing.T) {
	d, _ := hall(t)
	d.add("a", "a", "a")
	d.onDisk = 3
	d.pull(1, "requestSource=1", "proxyFrowardClientId=c", "queueOffset=2")
	d.want()
	if err := d.offloaded[0](context.Background(), d.calls[0]); err != nil {
		t.Fatal(err)
	}
	d.want("1: 0 FOUND nextBegin=3 min=0 max=3 m2")
	d.subscribe(protocol.Broadcasting, all)
	d.pull(2, "sysFlag=2", "queueOffset=0")
	d.want("2: 21 OFFSET_RESET nextBegin=2 min=0 max=3 ")
}

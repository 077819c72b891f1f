package pull

import (
	"testing"

	"rocketd/protocol"
	"rocketd/store"
	"rocketd/topic"
)

// Whom a consumer asks next, for each place of the broker and each distance from the end of the log. The codes of a plain
// slave were seen at Java 5.5.0.
func TestPlace_suggest(t *testing.T) {
	const (
		ok    = protocol.Success
		none  = protocol.PullNotFound
		retry = protocol.PullRetryImmediately
		moved = protocol.PullOffsetMoved
	)
	usual := &topic.GroupConfig{WhichBrokerWhenConsumeSlowly: 1}
	own := &topic.GroupConfig{BrokerID: 2, WhichBrokerWhenConsumeSlowly: 3}
	master, slave := Place{Far: 100}, Place{Slave: true, Far: 100}
	reads := func(p Place) Place { p.SlaveRead = true; return p }
	checks := func(p Place) Place { p.OffsetCheck = true; return p }
	acts := func(p Place) Place { p.Slave = false; return p }
	for _, c := range []struct {
		name   string
		place  Place
		group  *topic.GroupConfig
		code   int32
		behind int64
		broker int64
		want   int32
	}{
		{"master", master, own, ok, 0, 0, ok},
		{"master, far", master, own, ok, 101, 0, ok},
		{"master that sends away", reads(master), usual, ok, 100, 0, ok},
		{"master that sends away, far", reads(master), usual, ok, 101, 1, ok},
		{"master, group with a place of its own", reads(master), own, ok, 100, 2, ok},
		{"master, group with a place of its own, far", reads(master), own, ok, 101, 3, ok},
		{"master corrects", reads(master), own, moved, 0, 2, moved},

		{"slave", slave, own, ok, 0, 0, ok},
		{"slave, nothing", slave, own, none, 0, 0, none},
		{"slave that is read", reads(slave), own, ok, 0, 2, ok},
		{"slave that is read, far", reads(slave), own, none, 101, 3, none},
		{"slave corrects nothing", slave, own, moved, 0, 2, retry},
		{"slave corrects nothing, far", reads(slave), own, moved, 101, 2, retry},
		{"slave that corrects", checks(slave), own, moved, 0, 0, moved},
		{"slave that acts as master", acts(slave), own, moved, 0, 0, moved},
	} {
		if broker, code := c.place.suggest(c.code, c.behind, c.group); broker != c.broker || code != c.want {
			t.Errorf("%s: ask broker %d, code %d; want %d, %d", c.name, broker, code, c.broker, c.want)
		}
	}
}

// A slave leaves offsets that are outside of its queues as they are: it may lag. As seen at Java 5.5.0.
func TestService_Pull_Slave(t *testing.T) {
	d := newDesk(t)
	place := Place{Slave: true}
	d.cfg.Place = func() Place { return place }
	d.open()
	d.add("a", "a")
	d.pull(1, "queueOffset=2", "suspendTimeoutMillis=0")
	d.pull(2, "queueOffset=5", "suspendTimeoutMillis=0")
	d.pull(3, "queueOffset=5", "queueId=1", "suspendTimeoutMillis=0")
	d.want("1: 19 OFFSET_OVERFLOW_ONE nextBegin=2 min=0 max=2 ", "2: 20 OFFSET_OVERFLOW_BADLY nextBegin=5 min=0 max=2 ",
		"3: 20 NO_MESSAGE_IN_QUEUE nextBegin=5 min=0 max=0 ")
	place.OffsetCheck = true
	d.pull(4, "queueOffset=5", "suspendTimeoutMillis=0")
	d.pull(5, "queueOffset=5", "queueId=1", "suspendTimeoutMillis=0")
	d.want("4: 21 OFFSET_OVERFLOW_BADLY nextBegin=2 min=0 max=2 ", "5: 21 NO_MESSAGE_IN_QUEUE nextBegin=0 min=0 max=0 ")
}

// Where the result says so is as it is for a slave, whatever the status; all others stay.
func TestUncorrect(t *testing.T) {
	for s := store.Found; s <= store.OnDisk; s++ {
		res := store.ReadResult{Status: s, Next: 7}
		uncorrect(&res, 3)
		want := int64(7)
		switch s {
		case store.OffsetFoundNull, store.OffsetOverflowBadly, store.OffsetTooSmall, store.NoMatchedLogicQueue, store.NoMessageInQueue:
			want = 3
		}
		if res.Next != want {
			t.Errorf("%v: next is %d", s, res.Next)
		}
	}
}

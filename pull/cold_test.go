package pull

import (
	"slices"
	"testing"
	"time"

	"rocketd/protocol"
)

// slowed is a Cold that slows everybody down, and counts.
type slowed struct {
	limited bool
	read    int
}

func (s *slowed) Limited([]byte) bool               { return s.limited }
func (s *slowed) Read(_ []byte, n int, _ time.Time) { s.read += n }

// A group that reads too much from the disk waits if its clients are pushed to, and is given one message if they pull by
// themselves. What is in memory is given to anybody.
func TestService_Pull_Cold(t *testing.T) {
	d, c := newDesk(t), new(slowed)
	d.cfg.Cold = c
	d.open()
	d.add("a", "b", "c", "d")
	d.onDisk = 3
	run := func() {
		t.Helper()
		if err := d.offloaded[len(d.offloaded)-1](t.Context(), d.calls[len(d.calls)-1]); err != nil {
			t.Fatal(err)
		}
	}
	d.pull(1, "maxMsgNums=2")
	run()
	d.want("1: 0 FOUND nextBegin=2 min=0 max=4 m0m1")
	if c.read != len("m0m1") {
		t.Errorf("%d bytes counted", c.read)
	}
	c.limited = true
	d.pull(2, "maxMsgNums=2")
	run()
	d.want("2: 0 FOUND nextBegin=1 min=0 max=4 m0")
	d.subscribe(protocol.Clustering, protocol.SubscriptionData{Topic: "T", SubString: "*"})
	d.pull(3, "maxMsgNums=2")
	d.want("3: 2 This consumer group is reading cold data. It has been flow control ")
	d.pull(4, "queueOffset=3")
	d.want("4: 0 FOUND nextBegin=4 min=0 max=4 m3")
	c.limited = false
	d.pull(5, "maxMsgNums=2")
	run()
	d.want("5: 0 FOUND nextBegin=2 min=0 max=4 m0m1")
}

// A filter by properties looks into a few messages in the turn, into many on the pool: in memory without a word, on the disk as
// cold data.
func TestService_Pull_ManyByProperties(t *testing.T) {
	d, c := newDesk(t), new(slowed)
	d.cfg.Cold, d.cfg.PropertyFilter = c, true
	d.open()
	d.subscribe(protocol.Clustering, protocol.SubscriptionData{Topic: "T", SubString: "*"})
	d.add(slices.Repeat([]string{"a"}, scanInTurn)...)
	sql := []string{"subscription=a > 1", "expressionType=SQL92", "maxMsgNums=2"}
	d.pull(1, sql...)
	d.want("1: 0 FOUND nextBegin=2 min=0 max=64 m0m1")
	d.add("a")
	run := func() error {
		d.want()
		return d.offloaded[len(d.offloaded)-1](t.Context(), d.calls[len(d.calls)-1])
	}
	d.pull(2, sql...)
	if err := run(); err != nil || c.read != 0 {
		t.Error(err, c.read)
	}
	d.want("2: 0 FOUND nextBegin=2 min=0 max=65 m0m1")
	d.onDisk = 10
	d.pull(3, sql...)
	if err := run(); err != nil || c.read != len("m0m1") {
		t.Error(err, c.read)
	}
	d.want("3: 0 FOUND nextBegin=2 min=0 max=65 m0m1")
	c.limited = true
	d.pull(4, sql...)
	if err := run(); err != errCold {
		t.Error(err)
	}
}

// Messages that cannot be read yet, however many, are waited for: the pool would find nothing, and give the pull back to a turn.
func TestService_Pull_ManyHiddenByProperties(t *testing.T) {
	d := newDesk(t)
	d.cfg.PropertyFilter, d.visible = true, 3
	d.open()
	d.add(slices.Repeat([]string{"a"}, 3+scanInTurn+1)...)
	d.pull(1, "subscription=a > 1", "expressionType=SQL92", "queueOffset=3")
	if d.want(); len(d.offloaded) != 0 {
		t.Errorf("%d calls went to the pool", len(d.offloaded))
	}
	d.visible = 4
	d.room.Wake(d.turn(), d.queue("T", 0))
	d.want("1: 0 FOUND nextBegin=4 min=0 max=68 m3")
}

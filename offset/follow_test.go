package offset

import (
	"fmt"
	"testing"

	"rocketd/protocol"
)

// An offset goes back, or away, only where the master itself took it back.
func TestTable_Follow(t *testing.T) {
	const none = "-"
	for _, c := range []struct {
		name             string
		own, before, now string // - if there is none
		want             string
		tookBack         bool
	}{
		{"new", none, none, "5", "5", false},
		{"grew", "5", "5", "9", "9", false},
		{"stands", "5", "5", "5", "5", false},
		{"reset", "9", "9", "3", "3", true},
		{"reset behind what a client committed here", "12", "9", "3", "3", true},
		{"a client committed here, the master stands", "12", "9", "9", "12", false},
		{"a client committed here, the master grew, but not so far", "12", "9", "11", "12", false},
		{"a client committed here, the master grew further", "12", "9", "15", "15", false},
		{"a client went back here", "4", "9", "9", "9", false},
		{"nothing is known of the master yet, it has less", "12", none, "9", "12", false},
		{"nothing is known of the master yet, it has more", "12", none, "15", "15", false},
		{"deleted", "9", "9", none, none, true},
		{"deleted, a client committed here", "12", "9", none, none, true},
		{"the master never had it", "12", none, none, "12", false},
		{"deleted, and never here", none, "9", none, none, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := empty(t)
			if c.own != none {
				var own int64
				fmt.Sscan(c.own, &own)
				o.commit("g", "T", 3, own)
			}
			o.commit("g", "U", 0, 1) // others are not touched
			all := func(text string) All {
				a := All{"T@other": {0: 1}}
				if text != none {
					var n int64
					fmt.Sscan(text, &n)
					a["T@g"] = map[int32]int64{3: n}
				}
				return a
			}
			before, now := all(c.before), all(c.now)
			if got := before.TookBack(now); got != c.tookBack {
				t.Errorf("took back: %v", got)
			}
			v := protocol.DataVersion{Counter: 4, Timestamp: 77}
			o.Follow(now, before, v)
			if got := o.text("g", "T", 3); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if o.text("g", "U", 0) != "1" || o.text("other", "T", 0) != "1" || o.Version() != v {
				t.Errorf("others: %s %s %+v", o.text("g", "U", 0), o.text("other", "T", 0), o.Version())
			}
		})
	}
}

// The table of a master is on the disk with its version; following the same once more writes nothing. Keys of broadcasting
// consumers have two signs, keys without one are passed over.
func TestTable_Follow_Durable(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	v := protocol.DataVersion{Counter: 4, Timestamp: 77, StateVersion: 1}
	master := All{"T@g": {0: 5, 1: 7}, "T@g@broadcast": {0: 2}, "strange": {0: 1}, "E@g": {}}
	o.Follow(master, nil, v)
	if err := o.Persist(); err != nil {
		t.Fatal(err)
	}
	saved := o.savedChanges()
	o.Follow(master, master, v)
	if o.changes.Load() != saved {
		t.Error("what says the same is a change")
	}
	again := open(t, dir)
	if again.text("g", "T", 1) != "7" || again.text("g@broadcast", "T", 0) != "2" || again.Version() != v {
		t.Errorf("%s %s %+v", again.text("g", "T", 1), again.text("g@broadcast", "T", 0), again.Version())
	}
	if n := len(again.content().OffsetTable); n != 2 {
		t.Errorf("%d keys", n)
	}
	again.Follow(All{}, master, v)
	if n := len(again.content().OffsetTable); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	for i := range again.shards {
		if n := len(again.shards[i].groups); n != 0 {
			t.Errorf("%d groups are left", n)
		}
	}
}

// What a client commits after the master's table came is a change of our own; the version goes on from the master's.
func TestTable_Follow_Version(t *testing.T) {
	o := empty(t)
	for range 700 {
		o.commit("g", "T", 0, 1)
	}
	o.Follow(All{}, nil, protocol.DataVersion{Counter: 4})
	for range 499 {
		o.commit("g", "T", 0, 1)
	}
	if v := o.Version(); v.Counter != 4 {
		t.Errorf("%+v", v)
	}
	o.commit("g", "T", 0, 1)
	if v := o.Version(); v.Counter != 5 {
		t.Errorf("%+v", v)
	}
}

// A pending reset of a queue that the master has no more ends.
func TestTable_Follow_Reset(t *testing.T) {
	o := empty(t)
	o.Reset("g", "T", 0, 3)
	o.Follow(All{}, All{"T@g": {0: 3}}, protocol.DataVersion{})
	if o.text("g", "T", 0) != "-" || o.resets.Load() != 0 {
		t.Errorf("%s, %d resets", o.text("g", "T", 0), o.resets.Load())
	}
}

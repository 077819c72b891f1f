package order

import (
	"slices"
	"testing"
)

func counts(o *Entry) (times []int32) {
	o.Counts(func(_ int64, n int32, _ bool) { times = append(times, n) })
	return times
}

// A pop holds its queue until each message is acknowledged or visible; what comes again counts.
func TestEntry(t *testing.T) {
	o := Next(nil, "", 100, 1000, []int64{5, 6, 7})
	check := func(what string, got, want int64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	check("free", o.FreeAt(), 1100)
	check("the second", o.Ack(6, 1000, 5), 5)
	check("the first", o.Ack(5, 1000, 5), 7)
	check("another pop's", o.Ack(7, 999, 7), -2)
	check("none of it", o.Ack(8, 1000, 7), -1)
	if !o.Change(7, 1000, 1050) || o.Blocks("", 1050) || !o.Blocks("", 1049) {
		t.Errorf("after a change it is free at %d", o.FreeAt())
	}
	o = Next(o, "", 100, 2000, []int64{7, 8})
	if got := counts(o); !slices.Equal(got, []int32{1, 0}) {
		t.Errorf("popped before: %v", got)
	}
	check("all", o.Ack(8, 2000, 7)*100+o.Ack(7, 2000, 7), 709)
	if o.Blocks("", 2000) {
		t.Error("all are acknowledged and it blocks")
	}
	var unknown *Entry
	check("nothing known: the next", unknown.Ack(3, 1, 3), 4)
	check("nothing known: a later one", unknown.Ack(4, 1, 3), -1)
	check("nothing known: nowhere", unknown.Ack(-1, 1, -1), -1)
}

// The same attempt gets its messages again, and they do not count.
func TestEntry_Attempt(t *testing.T) {
	o := Next(nil, "a", 100, 1000, []int64{5})
	if o.Blocks("a", 1000) || !o.Blocks("b", 1000) || !o.Blocks("", 1000) {
		t.Error("only its own attempt gets it")
	}
	if o = Next(o, "a", 100, 1010, []int64{5}); counts(o)[0] != 0 {
		t.Errorf("the same attempt counts %d", counts(o)[0])
	}
}

// What is handed back as a whole comes again as if it had not been popped.
func TestEntry_Suspend(t *testing.T) {
	o := Next(Next(nil, "", 100, 1000, []int64{5, 6}), "", 100, 2000, []int64{5, 6})
	o.Change(5, 2000, 9000)
	if o.Suspend(1999, 2500) || !o.Suspend(2000, 2500) || o.FreeAt() != 2500 {
		t.Errorf("free at %d", o.FreeAt())
	}
	if got := counts(Next(o, "", 100, 2500, []int64{5, 6})); !slices.Equal(got, []int32{1, 1}) {
		t.Errorf("popped before: %v", got)
	}
}

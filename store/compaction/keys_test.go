package compaction

import (
	"fmt"
	"slices"
	"testing"
)

// Of each key the last message stays, unless it has no body; what lies behind the keys that were put stays.
func TestKeys(t *testing.T) {
	type msg struct {
		key  string
		body bool
	}
	for _, c := range []struct {
		name     string
		position int64 // keys up to there are not put
		room     int
		msgs     []msg
		kept     []int64
		last     int64
	}{
		{"last of each", -1, 10, []msg{{"a", true}, {"b", true}, {"a", true}, {"c", true}, {"b", true}}, []int64{2, 3, 4}, 4},
		{"tombstone", -1, 10, []msg{{"a", true}, {"b", true}, {"a", false}}, []int64{1}, 2},
		{"alive again", -1, 10, []msg{{"a", true}, {"a", false}, {"a", true}}, []int64{2}, 2},
		{"old ones without a new one", 1, 10, []msg{{"a", true}, {"b", true}, {"b", true}}, []int64{0, 2}, 2},
		{"tombstone that is not looked at", 1, 10, []msg{{"a", true}, {"a", false}, {"b", true}}, []int64{0, 1, 2}, 2},
		{"no room", -1, 1, []msg{{"a", true}, {"a", true}, {"b", true}, {"a", true}, {"b", false}}, []int64{1, 2, 3, 4}, 1},
		{"blank keys go", -1, 10, []msg{{"a", true}, {" ", true}, {"b", true}}, []int64{0, 2}, 2},
		{"nothing new", 2, 10, []msg{{"a", true}, {"b", true}, {"a", true}}, []int64{0, 1, 2}, -1},
	} {
		k := newKeys(c.room)
		for i, m := range c.msgs {
			if offset := int64(i); offset > c.position && !blank([]byte(m.key)) && !k.put([]byte(m.key), offset) {
				break
			}
		}
		var kept []int64
		for i, m := range c.msgs {
			if k.keeps([]byte(m.key), int64(i), m.body) {
				kept = append(kept, int64(i))
			}
		}
		if !slices.Equal(kept, c.kept) || k.last != c.last {
			t.Errorf("%s: kept %v up to %d, not %v up to %d", c.name, kept, k.last, c.kept, c.last)
		}
	}
}

// The table has room for as many keys as it was made for, and knows each.
func TestKeys_Full(t *testing.T) {
	k := newKeys(1000)
	for i := range 1000 {
		if !k.put(fmt.Appendf(nil, "key %d", i), int64(i)) {
			t.Fatal(i)
		}
	}
	if k.put([]byte("one more"), 1000) || !k.put([]byte("key 7"), 1000) {
		t.Error("the room is not 1000 keys")
	}
	for i := range 1000 {
		if key := fmt.Appendf(nil, "key %d", i); k.keeps(key, int64(i), true) != (i != 7) {
			t.Error(string(key))
		}
	}
}

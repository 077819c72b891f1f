package store

import (
	"testing"
	"time"
)

// The bits of a message are kept with its append, survive a start, and rule it out before its record is looked at. Where none were
// kept nobody asks.
func TestStore_Bits(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, dir, func(c *Config) {
		c.Ext = true
		c.Bits = func(dst []byte, topic string, record []byte) []byte {
			if topic == "u" {
				return dst
			}
			return append(dst, record[len(record)-1], 7) // the last byte of the properties
		}
	})
	add := func(topic, last string) {
		t.Helper()
		b, d := new(Batch), draft(topic, 0, "x")
		d.Properties = []byte("k\x01" + last)
		b.Add(s.Queue(topic, 0), d, 5)
		if err := s.Append(b, time.UnixMilli(1000)); err != nil {
			t.Fatal(err)
		}
	}
	for _, last := range []string{"a", "b", "a", "c"} {
		add("t", last)
		add("u", last)
	}
	looked := 0
	get := func(topic string, match func(int64) bool) (offsets []int64) {
		t.Helper()
		looked = 0
		_, res := s.Get(s.Queue(topic, 0), Read{Max: 32, Match: match, Offsets: &offsets,
			Wants: func([]byte) bool { looked++; return true },
			Bits: func(ms int64, bits []byte) bool {
				if ms != 1000 || topic == "t" && (len(bits) != 2 || bits[1] != 7) || topic == "u" && len(bits) != 0 {
					t.Errorf("asked with %d, %v", ms, bits)
				}
				return topic == "u" || bits[0] != 'a'
			}}, nil)
		if res.Next != 4 {
			t.Errorf("read up to %d", res.Next)
		}
		return offsets
	}
	check := func(what string) {
		t.Helper()
		if got := get("t", nil); len(got) != 2 || got[0] != 1 || got[1] != 3 || looked != 2 {
			t.Errorf("%s: got %v, looked at %d records", what, got, looked)
		}
		if got := get("u", nil); len(got) != 4 {
			t.Errorf("%s: without bits got %v", what, got)
		}
		if got := get("t", func(tag int64) bool { return tag == 6 }); len(got) != 0 || looked != 0 {
			t.Errorf("%s: another tag: %v", what, got)
		}
	}
	check("in memory")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, dir, func(c *Config) { c.Ext = true })
	check("after a start")
}

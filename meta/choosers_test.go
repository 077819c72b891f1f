package meta

import (
	"testing"
	"time"

	"rocketd/message"
)

// What a group does not want is told by its bits, from some seconds after it was seen on, until its expression changes.
func TestFilters_MayWant(t *testing.T) {
	dir, at := t.TempDir(), time.UnixMilli(1_000_000)
	f := openFilters(t, dir, at)
	record := func(a string) []byte {
		return message.AppendRecord(nil, &message.Draft{Topic: []byte("T"), Properties: message.AppendProperty(nil, "a", []byte(a))})
	}
	want := func(expression string, version int64) []FilterData {
		return []FilterData{
			{Topic: "T", ConsumerGroup: "g", ExpressionType: "SQL92", Expression: expression, ClientVersion: version},
			{Topic: "T", ConsumerGroup: "h", ExpressionType: "SQL92", Expression: "a > 5", ClientVersion: 1},
		}
	}
	may := func(what string, version int64, after time.Duration, a string, ok bool) {
		t.Helper()
		m := f.MayWant([]byte("g"), []byte("T"), version)
		if m == nil {
			t.Fatalf("%s: not known", what)
		}
		if got := m(at.Add(after).UnixMilli(), f.Bits(nil, "T", record(a))); got != ok {
			t.Errorf("%s: may want %t, want %t", what, got, ok)
		}
	}
	if b := f.Bits(nil, "T", record("1")); b != nil {
		t.Errorf("bits without a group: %x", b)
	}
	f.Follow(at, want("a < 3", 5), time.Hour)
	if b := f.Bits([]byte{7}, "T", record("1")); len(b) != 1+112/8 || b[0] != 7 {
		t.Errorf("bits: %x", b)
	}
	may("wanted", 5, time.Minute, "1", true)
	may("not wanted", 5, time.Minute, "7", false)
	may("not wanted, nor by others", 5, time.Minute, "4", false)
	may("stored before its bits were set", 5, bornAfter, "7", true)
	if f.MayWant([]byte("g"), []byte("T"), 6) != nil || f.MayWant([]byte("x"), []byte("T"), 5) != nil || f.MayWant([]byte("g"), []byte("U"), 5) != nil {
		t.Error("another version, group or topic is known")
	}
	m := f.MayWant([]byte("g"), []byte("T"), 5)
	if later := at.Add(time.Hour).UnixMilli(); !m(later, nil) || !m(later, make([]byte, 3)) || m(later, make([]byte, 112/8)) {
		t.Error("bits of another length count")
	}
	at = at.Add(time.Minute)
	f.Follow(at, want("a > 100", 7), time.Hour)
	may("stored before the change", 7, 0, "7", true)
	may("stored after it", 7, time.Minute, "7", false)
	must(t, f.Persist())
	at = at.Add(time.Minute)
	f = openFilters(t, dir, at)
	may("stored before the start", 7, 0, "7", true)
	may("stored after it", 7, time.Minute, "7", false)
	if n := testing.AllocsPerRun(100, func() { f.MayWant([]byte("g"), []byte("T"), 7) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

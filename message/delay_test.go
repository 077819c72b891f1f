package message

import (
	"testing"
	"time"
)

// The default table is Java's 18 levels; what is above is the last.
func TestDelayLevels(t *testing.T) {
	l, err := ParseDelayLevels(DefaultDelayLevels)
	if err != nil || len(l) != 18 || l.Wait(1) != time.Second || l.Wait(5) != time.Minute || l.Wait(18) != 2*time.Hour {
		t.Fatalf("%v %v", l, err)
	}
	if l.Cap(19) != 18 || l.Wait(1000) != 2*time.Hour || l.Cap(3) != 3 {
		t.Error("levels above the table are not the last one")
	}
	if l, err := ParseDelayLevels("0s 3d "); err != nil || len(l) != 2 || l.Wait(2) != 72*time.Hour {
		t.Errorf("%v %v", l, err)
	}
	for _, bad := range []string{"", " ", "1", "s", "1x", "-1s", "1s  2s", "1.5s", "99999999999s"} {
		if l, err := ParseDelayLevels(bad); err == nil {
			t.Errorf("%q is %v", bad, l)
		}
	}
}

// What a message was sent to is in its properties once, whatever the producer wrote there.
func TestAppendReal(t *testing.T) {
	props := []byte("A\x01b\x02REAL_TOPIC\x01forged\x02DELAY\x0199\x02REAL_QID\x019\x02TAGS\x01t")
	got := AppendReal([]byte("X\x02"), props, []byte("orders"), 3, PropDelayTimeLevel)
	if want := "X\x02A\x01b\x02TAGS\x01t\x02REAL_TOPIC\x01orders\x02REAL_QID\x013\x02"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if topic, queue, ok := Real(got); !ok || string(topic) != "orders" || queue != 3 {
		t.Errorf("%q %d %t", topic, queue, ok)
	}
	for _, bad := range []string{"", "REAL_TOPIC\x01a\x02", "REAL_QID\x011\x02", "REAL_TOPIC\x01a\x02REAL_QID\x01x\x02", "REAL_TOPIC\x01a\x02REAL_QID\x0199999999999\x02"} {
		if _, _, ok := Real([]byte(bad)); ok {
			t.Errorf("%q says where", bad)
		}
	}
}

package message

import "testing"

// The time survives to the millisecond, is never earlier than what was asked for, and lies in the moment that Java would
// have taken.
func TestTimerOut(t *testing.T) {
	for _, precision := range []int64{1, 10, 100, 1000} {
		for deliver := int64(5_000_000); deliver < 5_002_003; deliver++ {
			java := deliver - deliver%precision
			if deliver%precision == 0 {
				java = deliver - precision
			}
			out := TimerOut(deliver, precision)
			late := TimerDue(out, precision) - deliver
			if late < 0 || late > 1 || precision > 1 && out-out%precision != java {
				t.Fatalf("precision %d: %d is %d, due %d ms late; Java says %d", precision, deliver, out, late, java)
			}
			if due := TimerDue(java, precision); due < deliver {
				t.Fatalf("precision %d: Java's %d for %d is due at %d", precision, java, deliver, due)
			}
		}
	}
}

// A message that waits says where it goes and when, once.
func TestAppendTimed(t *testing.T) {
	got := string(AppendTimed(nil, []byte("TIMER_OUT_MS\x011\x02K\x01v\x02"), []byte("T"), 2, 77))
	if want := "K\x01v\x02REAL_TOPIC\x01T\x02REAL_QID\x012\x02TIMER_OUT_MS\x0177\x02"; got != want {
		t.Errorf("%q", got)
	}
}

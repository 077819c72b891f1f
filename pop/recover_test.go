package pop

import (
	"testing"
	"time"
)

// After a kill, whose last offsets are not on the disk, what was popped is not popped once more, and what is out comes again
// in time.
func TestService_Recover(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c", "d", "e")
	d.pop("maxMsgNums=1")
	if err := d.offsets.Persist(); err != nil {
		t.Fatal(err)
	}
	d.saved = d.now
	d.pass(time.Second)
	list := d.pop("maxMsgNums=2")
	want(t, "pop", bodies(list), "b c")
	d.ack(list[0])
	want(t, "pop", bodies(d.pop("maxMsgNums=1")), "d")
	d.kill()
	want(t, "committed", d.committed("g", "T", 0), int64(4))
	want(t, "pop", bodies(d.pop()), "e")
	want(t, "in memory", d.svc.live.Load(), int64(4))
	d.pass(10 * time.Second)
	want(t, "again", bodies(d.pop()), "a c d e")
	d.pass(30 * time.Second)
}

// An offset that was set back stays so, whatever was popped before.
func TestService_Recover_SetBack(t *testing.T) {
	d := newDesk(t, nil)
	d.send("T", 0, "a", "b", "c", "d")
	d.pop("maxMsgNums=3")
	d.pass(time.Second)
	d.offsets.Reset("g", "T", 0, 0)
	d.saved = d.now
	d.restart(true)
	want(t, "committed", d.committed("g", "T", 0), int64(0))
	want(t, "pop", bodies(d.pop()), "a b c d")
}

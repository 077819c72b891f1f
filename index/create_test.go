package index

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"rocketd/message"
)

// A file that is not full has on the disk, whatever becomes of this process, where the one before it ends. A Java broker
// takes over an empty file, and puts no key of what lies before that end a second time.
func TestIndex_NewFile(t *testing.T) {
	dir, log := t.TempDir(), new(memLog)
	x := open(t, dir, log, small)
	run(t, x)
	var physical []int64
	for i := range 9 { // 7 fill a file
		physical = append(physical, log.send(x, "T", int64(1000+i), message.PropUniqKey, fmt.Sprint("u", i)))
	}
	find(t, x, "T", "u8")
	all := *x.files.Load()
	if len(all) != 2 {
		t.Fatalf("%d files", len(all))
	}
	b, err := os.ReadFile(all[1].name)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	equal(t, int64(be.Uint64(b[8:])), 1006)
	equal(t, int64(be.Uint64(b[24:])), physical[6])
	equal(t, be.Uint32(b[36:]), 1)
}

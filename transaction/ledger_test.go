package transaction

import (
	"fmt"
	"testing"
)

// Copies beyond the bound cost no memory; of one that is known the latest counts all the same.
func TestLedger_copied(t *testing.T) {
	l := newLedger(0)
	for i := range int64(maxNewest) {
		l.copied(fmt.Sprint(i), place{offset: i})
	}
	l.copied("one more", place{offset: maxNewest})
	l.copied("7", place{offset: maxNewest + 1})
	if n := len(l.newest); n != maxNewest {
		t.Errorf("%d are kept", n)
	}
	if at := l.newest["7"].offset; at != maxNewest+1 {
		t.Errorf("the latest copy is %d", at)
	}
}

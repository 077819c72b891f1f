package consumequeue

import "testing"

// A power cut may tear a filler in the middle of its size. What is left is no message, and no sign of a foreign file
// that a start would have to refuse.
func TestUnit_TornFiller(t *testing.T) {
	whole := make([]byte, UnitSize)
	Simple.put(whole, Unit{Size: fillerSize})
	const size = 8 // of the size field in a unit
	for kept := 1; kept < 4; kept++ {
		torn := make([]byte, UnitSize)
		copy(torn, whole[:size+kept])
		u := ParseUnit(torn)
		if !SoundUnit(torn) {
			t.Errorf("%d bytes of the size kept: %+v is taken for foreign", kept, u)
		}
		if Simple.valid(u) {
			t.Errorf("%d bytes of the size kept: %+v is taken for a message", kept, u)
		}
	}
	if u := ParseUnit(whole); !SoundUnit(whole) || !Simple.valid(u) || !u.Filler() {
		t.Errorf("a whole filler is %+v", u)
	}
}

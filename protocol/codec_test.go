package protocol

import (
	"bytes"
	"testing"
)

// A command must come back from either form as it went in.
func TestCommand_Append_RoundTrip(t *testing.T) {
	for _, form := range []Form{JSON, Binary} {
		c := Command{Code: 310, Language: LanguageCPP, Version: 317, Opaque: -5, Flag: 2, Remark: "a\"\\\n\x01中", Form: form, Body: []byte("body")}
		c.Set("topic", "T中")
		c.Set("props", "KEYS\x01k\x02")
		frame := c.Append([]byte("before"))[6:]
		n, err := FrameLength(frame, 0)
		if err != nil || n != len(frame) {
			t.Fatalf("form %d: FrameLength = %d, %v, want %d", form, n, err, len(frame))
		}
		again := bytes.Clone(frame)
		var d Command
		if err := d.Decode(frame[4:]); err != nil {
			t.Fatal(err)
		}
		if v, _ := d.Get("props"); string(v) != "KEYS\x01k\x02" || d.Remark != c.Remark || d.Opaque != -5 || !d.IsOneway() || string(d.Body) != "body" || d.Language != LanguageCPP {
			t.Errorf("form %d: got %+v", form, d)
		}
		if b := d.Append(nil); !bytes.Equal(b, again) {
			t.Errorf("form %d: encoded again\n%q, want\n%q", form, b, again)
		}
	}
}

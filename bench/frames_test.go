package bench

import (
	"bytes"
	"fmt"
	"testing"

	"rocketd/message"
	"rocketd/protocol"
)

// A patched request decodes to what was asked for, in both forms, alone and as a batch.
func TestSendFrame(t *testing.T) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		for _, batch := range []int{1, 3} {
			f := newSendFrame(&Config{Form: form, Queues: 400, Size: 50, Batch: batch, Tag: "TagA", Counter: "n", Property: "say=\"hi\"", timed: true, half: true}, 0xABCD, "Topic", 100)
			f.base = 1_795_000_000_000_000_000
			frame := f.append(nil, 7, 321, 5, 100, 12_000_000_000)
			var c protocol.Command
			if err := c.Decode(frame[4:]); err != nil {
				t.Fatal(err)
			}
			if c.Form != form || c.Opaque != firstOpaque+7 {
				t.Errorf("form %d opaque %d", c.Form, c.Opaque)
			}
			topic, _ := c.Get("b")
			if queue, _ := c.Get("e"); string(topic) != "Topic" || string(queue) != "321" {
				t.Errorf("topic %s queue %s", topic, queue)
			}
			if flags, _ := c.Get("f"); string(flags) != "4" {
				t.Errorf("flags %s, want those of a half message", flags)
			}
			check := func(n int, body, props []byte) {
				for name, want := range map[string]string{"say": `"hi"`, "n": fmt.Sprintf("%02d", n), "TRAN_MSG": "true", "PGROUP": "rocketd_bench"} {
					if v, _ := message.Property(props, name); string(v) != want {
						t.Errorf("property %s of message %d is %q, want %q", name, n, v, want)
					}
				}
				if due, _ := message.Property(props, "TIMER_DELIVER_MS"); n == 0 && string(due) != "1795000012000" {
					t.Errorf("due at %s", due)
				}
				key, _ := message.Property(props, "UNIQ_KEY")
				if want := fmt.Sprintf("AC11000100010000%08x%08x", 5, 100+n); string(key) != want {
					t.Errorf("key of message %d is %s, want %s", n, key, want)
				}
				if tag, _ := message.Property(props, "TAGS"); string(tag) != "TagA" {
					t.Errorf("tag of message %d is %s", n, tag)
				}
				want := []byte{0, 0, 0, 0, 0, 0, 0xAB, 0xCD, 0, 0, 0, 5, 0, 0, 0, byte(100 + n), 0, 0, 0, 0x02, 0xCB, 0x41, 0x78, 0x00}
				if len(body) != 50 || !bytes.HasPrefix(body, want) {
					t.Errorf("body of message %d is %x", n, body)
				}
			}
			if batch == 1 {
				props, _ := c.Get("i")
				check(0, c.Body, props)
				continue
			}
			n := 0
			if err := message.EachInBatch(c.Body, func(_ int32, body, props []byte) error {
				check(n, body, props)
				n++
				return nil
			}); err != nil || n != batch {
				t.Errorf("batch of %d: %v", n, err)
			}
		}
	}
}

// The reader of responses never panics and agrees with protocol's decoder on frames that are good.
func FuzzReadResponse(f *testing.F) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		w := protocol.NewFrame(nil, form, 17, 42, 1, "no such topic")
		w.Int("queueOffset", 123)
		w.Body()
		w.Append([]byte("body"))
		f.Add(w.Finish()[4:])
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 4 {
			return
		}
		r, err := readResponse(frame)
		if err != nil {
			return
		}
		for _, hint := range []int{0, 5, len(frame)} {
			r.number("queueOffset", &hint)
		}
		explain(frame)
	})
}

func TestReadResponse(t *testing.T) {
	for _, form := range []protocol.Form{protocol.JSON, protocol.Binary} {
		w := protocol.NewFrame(nil, form, 17, -42, 1, "no such topic")
		w.Str("a", "x")
		w.Int("queueOffset", 123)
		w.Body()
		w.Append([]byte("body"))
		frame := w.Finish()[4:]
		r, err := readResponse(frame)
		if err != nil || r.code != 17 || r.opaque != -42 || string(r.body) != "body" {
			t.Errorf("form %d: %+v, %v", form, r, err)
		}
		hint := 0
		if n, ok := r.number("queueOffset", &hint); n != 123 || !ok || hint == 0 {
			t.Errorf("form %d: queueOffset %d %t", form, n, ok)
		}
		if n, ok := r.number("queueOffset", &hint); n != 123 || !ok {
			t.Errorf("form %d: queueOffset %d %t", form, n, ok)
		}
		if _, ok := r.number("queueId", &hint); ok {
			t.Errorf("form %d: a field that is not there was found", form)
		}
		if got := explain(frame); got != "code 17: no such topic" {
			t.Errorf("form %d: %s", form, got)
		}
	}
}

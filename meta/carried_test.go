package meta

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
)

func openCarried(t *testing.T, dir string) *Carried {
	t.Helper()
	c, err := OpenCarried(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a Java slave wrote is read, and written again byte by byte.
func TestCarried_Java(t *testing.T) {
	java := openCarried(t, "testdata/slave")
	dir := t.TempDir()
	ours := openCarried(t, dir)
	for _, one := range []struct {
		file     string
		from, to *Text
	}{
		{"delayOffset.json", java.DelayOffsets, ours.DelayOffsets},
		{"messageRequestMode.json", java.RequestModes, ours.RequestModes},
		{"timercheck", java.TimerCheckpoint, ours.TimerCheckpoint},
		{"timermetrics", java.TimerMetrics, ours.TimerMetrics},
	} {
		must(t, one.to.Put(one.from.Bytes()))
		want, err := os.ReadFile(filepath.Join("testdata/slave", one.file))
		must(t, err)
		if one.file == "timercheck" { // how far a timer log is written belongs to its broker
			clear(want[8:24])
		}
		got, err := os.ReadFile(filepath.Join(dir, one.file))
		must(t, err)
		if !bytes.Equal(got, want) && !equalJSON(t, got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", one.file, got, want)
		}
	}
	if text := string(java.RequestModes.Bytes()); text != `{"messageRequestModeMap":{"GaPop":{"GaPopG":{"consumerGroup":"GaPopG","mode":"POP","popShareQueueNum":2,"topic":"GaPop"}}}}` {
		t.Error(text)
	}
}

// equalJSON compares two files whose maps may have another order.
func equalJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	canon := func(data []byte) string {
		s := document(func() *TimerMetrics { return nil }, func(*TimerMetrics) bool { return true }, nil, false)
		text, err := s.accept(data, nil)
		must(t, err)
		return string(text)
	}
	return canon(a) == canon(b)
}

// What is put is durable; what says the same costs no write; what cannot be read changes nothing.
func TestText_Put(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	c, err := OpenCarried(Config{FS: d, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	check := func(to *Text, wire string, ok bool, writes int64) {
		t.Helper()
		if err := to.Put([]byte(wire)); (err == nil) != ok || d.writes.Swap(0) != writes {
			t.Errorf("%.60q: %v, or another number of writes than %d", wire, err, writes)
		}
	}
	check(c.DelayOffsets, `{"offsetTable":{1:9,"2":0}}`, true, 1) // of a master before 5.0
	check(c.DelayOffsets, `{"offsetTable":{2:0,1:9}}`, true, 0)
	check(c.DelayOffsets, `{"offsetTable":{1:"x"}}`, false, 0)
	check(c.DelayOffsets, `<html>`, false, 0)
	check(c.DelayOffsets, ``, false, 0)
	check(c.DelayOffsets, `{"dataVersion":{"counter":1}}`, false, 0)
	check(c.RequestModes, `{"messageRequestModeMap":[]}`, false, 0)
	check(c.TimerMetrics, `{"timingCount":{"T":{"count":1}}}`, true, 1)
	check(c.TimerMetrics, `{"timingCount":{"T":{"count":1},"U":null}}`, true, 0) // nobody who reads it finds a nil
	check(c.TimerCheckpoint, "short", false, 0)
	check(c.TimerCheckpoint, string(make([]byte, 57)), false, 0)
	check(c.TimerCheckpoint, string(make([]byte, 32)), true, 1)
	d.full.Store(true)
	check(c.DelayOffsets, `{"offsetTable":{1:10}}`, false, 1)
	d.full.Store(false)
	if got := string(openCarried(t, dir).DelayOffsets.Bytes()); got != `{"offsetTable":{1:9,2:0}}` {
		t.Error(got)
	}
}

// Of two tables the further deliveries count, each by itself, and the newer version.
func TestText_Advance(t *testing.T) {
	c := openCarried(t, t.TempDir())
	check := func(to *Text, wire, want string) {
		t.Helper()
		must(t, to.Advance([]byte(wire)))
		if got := string(to.Bytes()); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	must(t, c.DelayOffsets.Put([]byte(`{"dataVersion":{"counter":5,"timestamp":1},"offsetTable":{1:9,2:5}}`)))
	check(c.DelayOffsets, `{"dataVersion":{"counter":4,"timestamp":2},"offsetTable":{1:8,3:7}}`,
		`{"dataVersion":{"counter":5,"stateVersion":0,"timestamp":1},"offsetTable":{1:9,2:5,3:7}}`)
	check(c.DelayOffsets, `{"offsetTable":{1:8}}`, `{"dataVersion":{"counter":5,"stateVersion":0,"timestamp":1},"offsetTable":{1:9,2:5,3:7}}`)
	check(c.DelayOffsets, `{"dataVersion":{"counter":6,"timestamp":2},"offsetTable":{1:10}}`,
		`{"dataVersion":{"counter":6,"stateVersion":0,"timestamp":2},"offsetTable":{1:10,2:5,3:7}}`)
	check(c.RequestModes, `{"messageRequestModeMap":{"T":{}}}`, `{"messageRequestModeMap":{}}`)

	checkpoint := func(numbers ...uint64) string {
		var wire []byte
		for _, n := range numbers {
			wire = binary.BigEndian.AppendUint64(wire, n)
		}
		return string(wire)
	}
	must(t, c.TimerCheckpoint.Put([]byte(checkpoint(100, 0, 0, 50, 0, 7, 3))))
	check(c.TimerCheckpoint, checkpoint(90, 1, 1, 60, 0, 9, 2), checkpoint(100, 0, 0, 60, 0, 7, 3))
	check(c.TimerCheckpoint, checkpoint(110, 1, 1, 40, 0, 9, 4), checkpoint(110, 0, 0, 60, 0, 9, 4))
}

// One who never had timers has delivered all until now. Of another's checkpoint the place in its timer log is not taken.
func TestCarried_TimerCheckpoint(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := openCarried(t, dir).TimerCheckpoint
		now := time.Now().UnixMilli()
		number := func(at int) int64 { return int64(binary.BigEndian.Uint64(c.Bytes()[at:])) }
		if number(0) != now || number(24) != 0 || number(40) != now || len(c.Bytes()) != 56 {
			t.Errorf("%x", c.Bytes())
		}
		var wire []byte
		for i := range 7 {
			wire = binary.BigEndian.AppendUint64(wire, uint64(100+i))
		}
		must(t, c.Put(wire))
		if number(0) != 100 || number(8) != 0 || number(16) != 0 || number(24) != 103 || number(48) != 106 {
			t.Errorf("%x", c.Bytes())
		}
	})
}

// No text makes a table panic, and what one accepts it accepts again as it keeps it.
func FuzzText(f *testing.F) {
	for _, file := range []string{"delayOffset.json", "messageRequestMode.json", "timercheck", "timermetrics"} {
		data, err := os.ReadFile(filepath.Join("testdata/slave", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 400)])
	}
	f.Add(make([]byte, timerCheckpointSize))
	c, err := OpenCarried(Config{FS: vfs.OS, Dir: f.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, text := range []*Text{c.DelayOffsets, c.RequestModes, c.TimerCheckpoint, c.TimerMetrics} {
			canon, err := text.shape.accept(data, nil)
			if err != nil {
				continue
			}
			if again, err := text.shape.accept(canon, nil); err != nil || !bytes.Equal(again, canon) {
				t.Fatalf("%q becomes %q and then %q, %v", data, canon, again, err)
			}
			if _, err := text.shape.save(canon); err != nil {
				t.Fatal(err)
			}
			if _, err := text.shape.further(canon, text.Bytes()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

package offset

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/internal/vfs"
)

// Groups whose names begin with %LMQ% have a table of their own in a file of its own, as Java has it; the offsets of a broker
// that had no light groups before are taken over.
func TestTable_Light(t *testing.T) {
	dir := t.TempDir()
	open := func(light bool) *Table {
		t.Helper()
		o, err := Open(Config{FS: vfs.OS, Dir: dir, Light: light, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	want := func(o *Table, group, topic string, offset int64) {
		t.Helper()
		if got, ok := o.Get([]byte(group), []byte(topic), 0); got != offset || !ok {
			t.Errorf("%s of %s is at %d, %v, want %d", group, topic, got, ok, offset)
		}
	}
	o := open(false)
	if !o.Began().IsZero() {
		t.Errorf("a table without a file began with one of %v", o.Began())
	}
	o.Commit([]byte("g"), []byte("T"), 0, 5)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(true)
	want(o, "g", "T", 5)
	o.Commit([]byte("%LMQ%c"), []byte("%LMQ%x"), 0, 7)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "lmqConsumerOffset.json"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("\n", "", "\t", "").Replace(string(data))
	if !strings.Contains(text, `"lmqOffsetTable":{"%LMQ%x@%LMQ%c":7}`) || !strings.Contains(text, `"offsetTable":{"T@g":{0:5}}`) {
		t.Error(text)
	}
	old := time.Unix(1, 0) // what the file of the other setting says counts no longer
	if err := os.Chtimes(filepath.Join(dir, "consumerOffset.json"), old, old); err != nil {
		t.Fatal(err)
	}
	o = open(true)
	want(o, "g", "T", 5)
	want(o, "%LMQ%c", "%LMQ%x", 7)
	if f, err := os.Stat(filepath.Join(dir, "lmqConsumerOffset.json")); err != nil || !o.Began().Equal(f.ModTime()) {
		t.Errorf("began with a file of %v, %v", o.Began(), err)
	}
	wire, err := o.JSON()
	if err != nil || !strings.Contains(string(wire), `"lmqOffsetTable":{"%LMQ%x@%LMQ%c":7}`) {
		t.Errorf("%s, %v", wire, err)
	}
	slave := open(true)
	slave.Follow(Whole(nil, map[string]int64{"%LMQ%x@%LMQ%c": 9}), nil, slave.Version())
	want(slave, "%LMQ%c", "%LMQ%x", 9)
}

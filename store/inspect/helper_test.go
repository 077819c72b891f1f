package inspect

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rocketd/index"
	"rocketd/message"
	"rocketd/store"
)

// unpack unpacks what an archive has below prefix into dir.
func unpack(t testing.TB, dir, archive, prefix string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(h.Name, prefix)
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// javaStore unpacks a store of Java's from the places where its parts are.
func javaStore(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	unpack(t, dir, filepath.Join("testdata", "java.tar.gz"), name+"/")
	if name == "clean" || name == "killed" || name == "rolled" {
		unpack(t, dir, filepath.Join("..", "testdata", name+".tar.gz"), "")
		unpack(t, dir, filepath.Join("..", "..", "index", "testdata", "java.tar.gz"), name+"/")
	}
	return dir
}

// Sizes of the store that ownStore makes.
const (
	ownLogFile   = 64 << 10
	ownQueueFile = 2000
	ownSlots     = 100
	ownEntries   = 400
	ownMessages  = 900
)

// source is the log of an open store for the index.
type source struct{ s *store.Store }

func (l source) MinPhysical() int64 { return l.s.MinPhysical() }
func (l source) MaxPhysical() int64 { return l.s.MaxPhysical() }
func (l source) Each(from int64, fn func(r *message.Record) bool) error {
	for from < l.s.MaxPhysical() {
		b, err := l.s.Record(from, nil)
		if err != nil { // a blank
			from += ownLogFile - from%ownLogFile
			continue
		}
		r, err := message.Decode(b)
		if err != nil || !fn(&r) {
			return err
		}
		from += int64(r.Size)
	}
	return nil
}

// start is when the first message of ownStore was stored.
var start = time.UnixMilli(1_700_000_000_000)

// ownStore makes a store with our own packages: a log of several files, queues of topics a, b and one delayed, an
// index of several files.
func ownStore(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(store.Config{Dir: dir, FileSize: ownLogFile, QueueFileSize: ownQueueFile, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	var b store.Batch
	for i := range ownMessages {
		topic, id, tag := [2]string{"topicA", "topicB"}[i%2], int32(i/2%2), fmt.Sprint("tag", i%3)
		now := start.Add(time.Duration(i) * 7 * time.Millisecond)
		props := message.AppendProperty(nil, message.PropUniqKey, fmt.Appendf(nil, "7F000001000000000000%08X", i))
		props = message.AppendProperty(props, message.PropKeys, fmt.Appendf(nil, "k%d all", i))
		code := message.TagsCode([]byte(tag))
		props = message.AppendProperty(props, message.PropTags, []byte(tag))
		if i%50 == 49 {
			topic, id = "SCHEDULE_TOPIC_XXXX", 1
			props = message.AppendProperty(props, message.PropDelayTimeLevel, []byte("2"))
			code = now.UnixMilli() + 5000
		}
		b.Reset()
		b.Add(s.Queue(topic, id), &message.Draft{
			Topic: []byte(topic), QueueID: id, Body: fmt.Appendf(nil, "message %d %s", i, strings.Repeat("x", i%100)),
			Properties: props, BornMs: now.UnixMilli(), BornHost: host, StoreHost: host,
		}, code)
		if err := s.Append(&b, now); err != nil {
			t.Fatal(err)
		}
	}
	buildIndex(t, s, dir, ownSlots, ownEntries)
	config := `{"dataVersion":{},"topicConfigTable":{"topicA":{"topicName":"topicA"},"topicB":{"topicName":"topicB"}}}`
	offsets := `{"offsetTable":{"topicA@g":{0:5,1:7}}}`
	for name, data := range map[string]string{"topics.json": config, "topics.json.bak": config, "consumerOffset.json": offsets} {
		write(t, filepath.Join(dir, "config", name), data)
	}
	return dir
}

// buildIndex builds the index of a store, which it closes.
func buildIndex(t testing.TB, s *store.Store, dir string, slots, entries int32) {
	t.Helper()
	x, err := index.Open(index.Config{Dir: filepath.Join(dir, "index"), Source: source{s}, Slots: slots, Entries: entries, Clean: true})
	if err == nil {
		err = errors.Join(x.Close(), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, cfg Config) *Report {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// show is findings as text, one a line.
func show(r *Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s %s", f.Level, f.Kind, f.File)
		if f.At != nil {
			fmt.Fprintf(&b, "+%d", *f.At)
		}
		if f.Queue != nil {
			fmt.Fprintf(&b, " %s/%d", f.Topic, *f.Queue)
		}
		if f.Offset != nil {
			fmt.Fprintf(&b, "@%d", *f.Offset)
		}
		fmt.Fprintf(&b, ": %s\n", f.Text)
	}
	return b.String()
}

// edit changes bytes of a file.
func edit(t testing.TB, path string, at int64, fn func(b []byte)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fn(data[at:])
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

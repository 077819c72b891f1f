package index

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// memLog is a log in memory that starts at base.
type memLog struct {
	mu   sync.RWMutex
	base int64
	data []byte
}

func (l *memLog) MinPhysical() int64 { return l.base }
func (l *memLog) MaxPhysical() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.base + int64(len(l.data))
}

func (l *memLog) Each(from int64, fn func(r *message.Record) bool) error {
	l.mu.RLock()
	data := l.data
	l.mu.RUnlock()
	for at := from - l.base; at < int64(len(data)); {
		r, err := message.Decode(data[at:])
		if err != nil {
			return err
		}
		if !fn(&r) {
			return nil
		}
		at += int64(r.Size)
	}
	return nil
}

var host = netip.MustParseAddrPort("127.0.0.1:10911")

// add appends a message with these properties, name and value in turn, and returns its bytes.
func (l *memLog) add(topic string, ms int64, props ...string) []byte {
	var p []byte
	for i := 0; i < len(props); i += 2 {
		p = message.AppendProperty(p, props[i], []byte(props[i+1]))
	}
	rec := message.AppendRecord(nil, &message.Draft{Topic: []byte(topic), Properties: p, BornHost: host, StoreHost: host})
	l.mu.Lock()
	defer l.mu.Unlock()
	message.Patch(rec, 0, l.base+int64(len(l.data)), ms)
	l.data = append(l.data, rec...)
	return rec
}

// send appends a message and gives it to the index.
func (l *memLog) send(x *Index, topic string, ms int64, props ...string) int64 {
	rec := l.add(topic, ms, props...)
	physical := message.PeekPhysical(rec)
	x.Put(physical, rec)
	return physical
}

var quiet = slog.New(slog.DiscardHandler)

// open opens an index with small files, clean, over the system's disk without syncs.
func open(t testing.TB, dir string, log Log, with ...func(*Config)) *Index {
	t.Helper()
	cfg := Config{Dir: dir, Source: log, Slots: 500, Entries: 2000, Clean: true, Log: quiet, FS: &vfs.Faulty{FS: vfs.OS, NoSync: true}}
	for _, w := range with {
		w(&cfg)
	}
	x, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// run runs the index until the returned function is called, which returns the error of Run. When run returns, the
// index has caught up with the log.
func run(t testing.TB, x *Index) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	caughtUp(x)
	return stop
}

// caughtUp waits until the running index has caught up with the log.
func caughtUp(x *Index) {
	for live := false; !live; runtime.Gosched() {
		x.feed.mu.Lock()
		live = x.feed.live
		x.feed.mu.Unlock()
	}
}

// build takes in the whole log and closes the index.
func build(t testing.TB, dir string, log Log, with ...func(*Config)) {
	t.Helper()
	if err := open(t, dir, log, with...).Close(); err != nil {
		t.Fatal(err)
	}
}

// find finds all messages with a key, at any time, and checks that Find does not fail, and that FindCached, where it
// answers, agrees.
func find(t testing.TB, x *Index, topic, key string, with ...func(*Query)) []int64 {
	t.Helper()
	q := Query{Topic: topic, Key: key, Max: 1000, End: 1<<63 - 1}
	for _, w := range with {
		w(&q)
	}
	found, err := x.Find(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if cached, err := x.FindCached(q); err == nil {
		equal(t, cached, found)
	} else if !errors.Is(err, ErrWouldWait) {
		t.Errorf("FindCached: %v", err)
	}
	return found.Physical
}

func equal(t testing.TB, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// unpack unpacks the indexes that Java wrote, and returns the directory and the log.
func unpack(t testing.TB) (dir string, log *memLog) {
	t.Helper()
	dir = t.TempDir()
	f, err := os.Open("testdata/java.tar.gz")
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
			return dir, log
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "log" {
			log = &memLog{data: data}
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// files returns the contents of the index files of a directory, oldest first.
func files(t testing.TB, dir string) (data [][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if isNumber(e.Name()) {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, b)
		}
	}
	return data
}

// javaRow is what Java finds for a key.
type javaRow struct {
	Topic, Key string
	Phy        []int64
}

func javaRows(t testing.TB, name string) (rows []javaRow) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var r javaRow
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// tree describes all files and directories below dir with their content.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			fmt.Fprintln(&b, path)
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %d %x\n", path, len(data), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// closedStore is a small store in order: 30 messages in two files of the log, with Ext and a Batch queue.
func closedStore(t *testing.T) string {
	t.Helper()
	s := testStore(t, t.TempDir(), foreignConfig)
	for range 6 {
		send(t, s, "a", 0, numbered(0, 10)...)
	}
	fillBatch(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.cfg.Dir
}

func foreignConfig(c *Config) {
	batchTopics(c)
	c.Ext, c.ExtFileSize = true, 400
}

// write puts a file in place of whatever is there.
func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(name), os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func text(n int) []byte {
	return []byte(strings.Repeat("these are not the bytes you want ", n/33+1))[:n]
}

// What does not belong in a store, or is damaged, stops the start: the error names it and says what to do, and nothing on
// the disk has changed, so that the store opens when the thing is gone.
func TestOpen_Foreign(t *testing.T) {
	first := segment.Name(0)
	queue, batch, ext := "consumequeue/a/0/"+first, "batchconsumequeue/b/0/"+first, "consumequeue_ext/a/0/"+first
	for _, c := range []struct {
		name, file string
		data       []byte // nil: a directory
		want       string
	}{
		{"log is a file", "commitlog", text(9), "is a file where a directory"},
		{"log file is a directory", "commitlog/" + first, nil, "is a directory where a file"},
		{"further log file is a directory", "commitlog/" + segment.Name(8192), nil, "is a directory where a file"},
		{"log file is short text", "commitlog/" + first, text(100), "has 100 bytes"},
		{"log file is text", "commitlog/" + first, text(4096), "holds no record of a commit log"},
		{"log file is too short", "commitlog/" + first, make([]byte, 4095), "has 4095 bytes"},
		{"log file is too long", "commitlog/" + first, make([]byte, 4097), "has 4097 bytes"},
		{"log file is empty", "commitlog/" + first, []byte{}, "has 0 bytes"},
		{"a log file further on", "commitlog/" + segment.Name(40960), make([]byte, 4096), "does not follow"},
		{"last log file is text", "commitlog/" + segment.Name(8192), text(4096), "holds no record of a commit log"},
		{"queues are a file", "consumequeue", text(9), "is a file where a directory"},
		{"queue file is a directory", queue, nil, "is a directory where a file"},
		{"queue file is text", queue, text(200), "is no file of a consume queue"},
		{"queue file is short text", queue, text(33), "has 33 bytes"},
		{"queue file is too long", queue, make([]byte, 201), "has 201 bytes"},
		{"batch queue file is text", batch, text(184), "is no file of a consume queue"},
		{"batch queues are a file", "batchconsumequeue", text(9), "is a file where a directory"},
		{"ext is text", ext, text(400), "is no file of a consume queue ext"},
		{"ext is a file", "consumequeue_ext", text(9), "is a file where a directory"},
		{"checkpoint is a directory", "checkpoint", nil, "is a directory where a file"},
		{"checkpoint is short", "checkpoint", make([]byte, 100), "has 100 bytes, a checkpoint has 4096"},
		{"checkpoint is text", "checkpoint", text(4096), "is no checkpoint: it holds the time"},
		{"abort is a directory", "abort", nil, "is a directory where a file"},
		{"lock is a directory", "lock", nil, "is a directory"},
		{"rocksdb queues", "consumequeue/CURRENT", text(9), "rocketd store import"},
		{"rocksdb tables", "config/topics/CURRENT", text(9), "mqadmin rocksDBConfigToJson"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := closedStore(t)
			name, aside := filepath.Join(dir, c.file), filepath.Join(t.TempDir(), "aside")
			moved := os.Rename(name, aside) == nil
			if c.data != nil {
				write(t, name, c.data)
			} else if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			cfg := Config{Dir: dir, FileSize: 4096, QueueFileSize: 200, Log: slog.New(slog.DiscardHandler)}
			foreignConfig(&cfg)
			s, err := Open(cfg)
			if err == nil {
				_ = s.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), strings.TrimSuffix(name, "/CURRENT")) {
				t.Errorf("%v", err)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("changed from\n%s\nto\n%s", before, after)
			}
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
			if moved {
				if err := os.Rename(aside, name); err != nil {
					t.Fatal(err)
				}
			}
			s = openGolden(t, cfg)
			if q := s.Find([]byte("a"), 0); q.Max() != 67 || len(bodies(t, s, q)) != 67 {
				t.Errorf("queue ends at %d", q.Max())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A file that may not be read stops the start with its name and the remedy; nothing is changed.
func TestOpen_Permission(t *testing.T) {
	for _, file := range []string{"commitlog/" + segment.Name(0), "consumequeue/a/0/" + segment.Name(0), "checkpoint", "abort"} {
		dir := closedStore(t)
		before := tree(t, dir)
		cfg := Config{Dir: dir, FileSize: 4096, QueueFileSize: 200, Log: slog.New(slog.DiscardHandler)}
		foreignConfig(&cfg)
		cfg.FS = &vfs.Faulty{FS: vfs.OS, Fail: func(op vfs.Op, name string) error {
			if op == vfs.OpOpen && name == filepath.Join(dir, file) {
				return &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
			}
			return nil
		}}
		_, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "let the user who runs rocketd") {
			t.Errorf("%s: %v", file, err)
		}
		if after := tree(t, dir); after != before {
			t.Errorf("%s: changed from\n%s\nto\n%s", file, before, after)
		}
	}
}

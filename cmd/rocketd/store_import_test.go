package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A store that Java kept in RocksDB is refused until its tables are exported; then its queues are built, and all of
// it is found to be right.
func TestStoreImport(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("..", "..", "store", "testdata", "rocksdb-cq.tar.gz"))
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
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, filepath.FromSlash(h.Name)), data)
	}
	command := func(args ...string) (string, error) {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append([]string{"store"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	var code *exitError
	if _, err := command("import", dir); !errors.As(err, &code) || code.code != exitUnreadable || !strings.Contains(err.Error(), "rocksDBConfigToJson") {
		t.Fatal(err)
	}
	if out, err := command("verify", dir); err != nil || !strings.Contains(out, "the queues are in RocksDB") {
		t.Fatal(out, err)
	}
	for _, name := range []string{"topics", "subscriptionGroup", "consumerOffset"} {
		put(t, filepath.Join(dir, "config", name+".json"), []byte("{}"))
	}
	out, err := command("import", dir, "--queue-file-size", "20000")
	if err != nil || !strings.Contains(out, "moved aside  "+filepath.Join(dir, "consumequeue")+" to ") || !strings.Contains(out, "366 messages") {
		t.Fatal(out, err)
	}
	if out, err := command("verify", dir); err != nil || !strings.Contains(out, "366 entries in") || !strings.Contains(out, "Clean.") {
		t.Fatal(out, err)
	}
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/segment"
)

// A store that Java kept in RocksDB is refused, and brought over: all queues are built from the log, and agree with what
// Java saw in the database. Nothing is deleted.
func TestImport(t *testing.T) {
	for _, c := range []struct {
		name  string
		least int
		moved []string
	}{
		{"rocksdb-cq", 300, []string{"consumequeue", "config/topics", "config/subscriptionGroups", "config/consumerOffsets"}},
		{"config-v2", 150, []string{"config/rdb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := unpack(t, c.name)
			rows := readDump(t, dir)
			cfg := goldenConfig(dir, rows, func(*Config) {})
			write(t, filepath.Join(dir, "lock"), []byte("lock"))
			before := tree(t, dir)
			if is, err := Imports(vfs.OS, dir); !is || err != nil {
				t.Fatal(is, err)
			}
			foreign := new(ForeignError)
			if _, err := Open(cfg); !errors.As(err, &foreign) || foreign.Name != filepath.Join(dir, c.moved[0]) ||
				!strings.Contains(foreign.Remedy, "rocketd store import "+dir) {
				t.Fatal(err)
			}
			if after := tree(t, dir); after != before {
				t.Fatalf("changed from\n%s\nto\n%s", before, after)
			}
			if _, err := Import(cfg); !errors.As(err, &foreign) || !strings.Contains(err.Error(), "topics.json is not there") {
				t.Fatal(err)
			}
			for _, name := range rocksTables {
				write(t, filepath.Join(dir, name), []byte("{}"))
			}
			res, err := Import(cfg)
			if err != nil || len(res.Moved) != len(c.moved) || res.Topics == 0 || res.Queues < res.Topics || res.Messages < int64(c.least) {
				t.Fatalf("%+v %v", res, err)
			}
			for _, d := range c.moved {
				if to := res.Moved[filepath.Join(dir, d)]; to != filepath.Join(dir, d+".rocksdb") {
					t.Errorf("%s went to %q", d, to)
				} else if _, err := os.Stat(filepath.Join(to, "CURRENT")); err != nil {
					t.Error(err)
				}
			}
			if again, err := Import(cfg); err != nil || len(again.Moved) != 0 || again.Messages != res.Messages {
				t.Fatalf("%+v %v", again, err)
			}
			s := openGolden(t, cfg)
			if n := compareDump(t, s, rows, true); n < c.least {
				t.Errorf("only %d messages", n)
			}
		})
	}
}

// An import that is cut short leaves a store that the next start, or the next import, completes.
func TestImport_CutShort(t *testing.T) {
	dir := unpack(t, "rocksdb-cq")
	rows := readDump(t, dir)
	for _, name := range rocksTables {
		write(t, filepath.Join(dir, name), []byte("{}"))
	}
	cfg := goldenConfig(dir, rows, func(*Config) {})
	writes := 0
	cfg.FS = &vfs.Faulty{FS: vfs.OS, Fail: func(op vfs.Op, name string) error {
		if op == vfs.OpWrite && strings.HasSuffix(name, segment.Name(0)) && strings.Contains(name, "/consumequeue/") {
			if writes++; writes > 10 {
				return errors.New("pulled the plug")
			}
		}
		return nil
	}}
	if _, err := Import(cfg); err == nil {
		t.Fatal("it ended well")
	}
	cfg.FS = vfs.OS
	s := openGolden(t, cfg)
	if n := compareDump(t, s, rows, true); n < 300 {
		t.Errorf("only %d messages", n)
	}
}

// A directory in the way stops an import before anything is lost.
func TestImport_InTheWay(t *testing.T) {
	dir := unpack(t, "config-v2")
	rows := readDump(t, dir)
	for _, name := range rocksTables {
		write(t, filepath.Join(dir, name), []byte("{}"))
	}
	if err := os.Mkdir(filepath.Join(dir, "config/rdb.rocksdb"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(goldenConfig(dir, rows, func(*Config) {})); err == nil || !strings.Contains(err.Error(), "rdb.rocksdb is in the way") {
		t.Fatal(err)
	}
	if _, err := Import(Config{Dir: filepath.Join(dir, "nothing")}); err == nil {
		t.Fatal("there was nothing to import")
	}
}

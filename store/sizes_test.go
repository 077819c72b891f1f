package store

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/segment"
)

// Other lengths than those of the files on the disk may be set: theirs are used, and the log says so once for each.
func TestOpen_OtherFileSize(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *Config)
		warns  string
	}{
		{"log larger", func(c *Config) { c.FileSize = 1 << 20 }, "setting=mappedFileSizeCommitLog set=1048576 found=4096"},
		{"log smaller", func(c *Config) { c.FileSize = 1024 }, "setting=mappedFileSizeCommitLog set=1024 found=4096"},
		{"queues larger", func(c *Config) { c.QueueFileSize = 2000 }, "setting=mappedFileSizeConsumeQueue set=2000 found=200"},
		{"queues smaller", func(c *Config) { c.QueueFileSize = 100 }, "setting=mappedFileSizeConsumeQueue set=100 found=200"},
		{"batch queues", func(c *Config) { c.BatchFileSize = 4600 }, "setting=mapperFileSizeBatchConsumeQueue set=4600 found=184"},
		{"ext", func(c *Config) { c.ExtFileSize = 4600 }, "setting=mappedFileSizeConsumeQueueExt set=4600 found=400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			dir := closedStore(t)
			cfg := Config{Dir: dir, FileSize: 4096, QueueFileSize: 200}
			foreignConfig(&cfg)
			c.change(&cfg)
			for range 2 {
				out.Reset()
				cfg.Log = slog.New(slog.NewTextHandler(&out, nil))
				s := openGolden(t, cfg)
				if strings.Count(out.String(), "another length") != 1 || !strings.Contains(out.String(), c.warns) || s.FileSize() != 4096 {
					t.Errorf("%s", &out)
				}
				q := s.Find([]byte("a"), 0)
				had := q.Max()
				send(t, s, "a", 0, numbered(0, 200)...)
				if len(bodies(t, s, q)) != int(had)+200 {
					t.Errorf("queue ends at %d", q.Max())
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for _, pattern := range []string{"commitlog/*", "consumequeue/*/*/*", "batchconsumequeue/*/*/*", "consumequeue_ext/*/*/*"} {
				files, _ := filepath.Glob(filepath.Join(dir, pattern))
				sizes := make(map[int64]bool)
				for _, f := range files {
					info, err := os.Stat(f)
					if err != nil {
						t.Fatal(err)
					}
					sizes[info.Size()] = true
				}
				if len(files) == 0 || len(sizes) != 1 {
					t.Errorf("%s: files of %v", pattern, sizes)
				}
			}
		})
	}
}

// A copy that was cut short is no store with smaller files.
func TestOpen_CutShort(t *testing.T) {
	s := testStore(t, t.TempDir())
	send(t, s, "t", 0, numbered(0, 30)...)
	end := s.MaxPhysical()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := s.path("commitlog/" + segment.Name(0))
	if err := os.Truncate(name, end-50); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.cfg); err == nil || !strings.Contains(err.Error(), name+" has") {
		t.Fatal(err)
	}
}

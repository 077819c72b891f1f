package store

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// unpack unpacks a store that Java wrote.
func unpack(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open("testdata/" + name + ".tar.gz")
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
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// dumpRow is one line of a dump.
type dumpRow struct {
	T                          string
	Topic                      string
	QueueID                    int32 `json:"queueId"`
	CQType                     string
	Attributes                 map[string]string
	Min, Max                   int64
	MinPhyOffset, MaxPhyOffset int64
	QueueOffset, Phy           int64
	Via                        string // of a message that was reached through another queue than its own
	ViaQueue                   int32
	ViaOffset                  int64
	Size                       int32
	MsgID                      string
	StoreTimestamp             int64
	RecordSha256               string
	Timestamp, Lower, Upper    int64
}

func readDump(t *testing.T, dir string) (rows []dumpRow) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "dump.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r dumpRow
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// kinds is what topics.json says of the topics of a dump, and all topics that have a row are known.
func kinds(rows []dumpRow) func(topic string) (consumequeue.Kind, bool) {
	known := make(map[string]consumequeue.Kind)
	for _, r := range rows {
		if r.T == "topic" && r.Attributes["queue.type"] == "BatchCQ" {
			known[r.Topic] = consumequeue.Batch
		} else if _, ok := known[r.Topic]; !ok {
			known[r.Topic] = consumequeue.Simple
		}
	}
	return func(topic string) (consumequeue.Kind, bool) {
		k, ok := known[topic]
		return k, ok
	}
}

// golden are the stores in testdata and how they were configured.
var golden = []struct {
	name   string
	least  int // messages in the dump
	change func(c *Config)
}{
	{"clean", 1700, func(c *Config) {}},
	{"killed", 1700, func(c *Config) {}},
	{"slave", 1700, func(c *Config) {}},
	{"rolled", 290, func(c *Config) {
		c.FileSize, c.QueueFileSize, c.Ext, c.ExtFileSize = 131072, 2000, true, 20480
	}},
	{"multipath", 100, func(c *Config) {
		c.FileSize = 65536
		c.CommitLogDir = filepath.Join(c.Dir, "cl1") + "," + filepath.Join(c.Dir, "cl2") + "," + filepath.Join(c.Dir, "cl3")
	}},
	{"kv-lmq-crc", 100, func(c *Config) { c.MultiDispatch, c.PropCRC, c.VerifyPropCRC = true, true, true }},
	{"compaction", 90, func(c *Config) { c.Compaction.Of = func(topic string) bool { return topic == "GfCompact" } }},
}

func goldenConfig(dir string, rows []dumpRow, change func(c *Config)) Config {
	c := Config{Dir: dir, FileSize: 1048576, QueueFileSize: 20000, BatchFileSize: 46000, QueueKind: kinds(rows),
		Log: slog.New(slog.DiscardHandler)}
	change(&c)
	return c
}

func openGolden(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// What Java sees in a store, we see: ends of log and queues, every record, every search by time. Also after we have
// closed it and opened it again, and when all queues are built anew from the log.
func TestStore_JavaGolden(t *testing.T) {
	for _, c := range golden {
		t.Run(c.name, func(t *testing.T) {
			dir := unpack(t, c.name)
			rows := readDump(t, dir)
			cfg := goldenConfig(dir, rows, c.change)
			for round := range 3 {
				if round == 2 {
					for _, sub := range []string{"consumequeue", "batchconsumequeue", "consumequeue_ext"} {
						if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
							t.Fatal(err)
						}
					}
				}
				s := openGolden(t, cfg)
				if n := compareDump(t, s, rows, round == 2); n < c.least {
					t.Errorf("only %d messages", n)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// compareDump holds a store against a dump and returns how many messages agree. In a store whose queues were rebuilt the
// queues of deleted topics are back, and expired messages have no units.
func compareDump(t *testing.T, s *Store, rows []dumpRow, rebuilt bool) (messages int) {
	t.Helper()
	for _, r := range rows {
		q := s.Find([]byte(r.Topic), r.QueueID)
		switch r.T {
		case "meta":
			if s.MinPhysical() != r.MinPhyOffset || s.MaxPhysical() != r.MaxPhyOffset {
				t.Errorf("log is [%d, %d), not [%d, %d)", s.MinPhysical(), s.MaxPhysical(), r.MinPhyOffset, r.MaxPhyOffset)
			}
		case "queue":
			if q == nil || q.Min() != r.Min || q.Max() != r.Max || r.CQType != "RocksDBCQ" && q.Kind().String() != r.CQType {
				if rebuilt && q == nil && r.Min == r.Max {
					continue
				}
				t.Errorf("%s/%d is not %s [%d, %d)", r.Topic, r.QueueID, r.CQType, r.Min, r.Max)
			}
		case "msg", "compacted":
			if r.Via == "" {
				r.Via, r.ViaQueue, r.ViaOffset = r.Topic, r.QueueID, r.QueueOffset
			}
			if compareRecord(t, s, &r, r.T == "compacted" && s.cfg.Compaction.Of == nil) {
				messages++
			}
		case "timeSearch":
			if lo, up := s.OffsetByTime(q, r.Timestamp, Lower), s.OffsetByTime(q, r.Timestamp, Upper); lo != r.Lower || up != r.Upper {
				t.Errorf("%s/%d at %d: %d %d, not %d %d", r.Topic, r.QueueID, r.Timestamp, lo, up, r.Lower, r.Upper)
			}
		}
	}
	return messages
}

// compareRecord reads one message. Of a compaction topic Java shows the copy in the compaction log, which differs in its
// position from the one in the commit log.
func compareRecord(t *testing.T, s *Store, r *dumpRow, copied bool) bool {
	t.Helper()
	q := s.Find([]byte(r.Via), r.ViaQueue)
	got, res := s.Get(q, Read{From: r.ViaOffset, Max: 1}, nil)
	if res.Count == 0 || len(got) == 0 {
		t.Errorf("%s/%d offset %d: %+v", r.Via, r.ViaQueue, r.ViaOffset, res)
		return false
	}
	rec, err := message.Decode(got)
	if err != nil || !rec.CheckCRC() || s.cfg.PropCRC && !message.CheckPropCRC(got[:rec.Size]) {
		t.Errorf("%s/%d offset %d: %v", r.Via, r.ViaQueue, r.ViaOffset, err)
		return false
	}
	if ms := s.StoreTime(q, r.ViaOffset); ms != r.StoreTimestamp {
		t.Errorf("%s/%d offset %d stored at %d, not %d", r.Via, r.ViaQueue, r.ViaOffset, ms, r.StoreTimestamp)
	}
	if copied {
		message.Patch(got, rec.QueueOffset, r.Phy, rec.StoreMs)
		rec.Physical = r.Phy
	}
	sum := sha256.Sum256(got)
	if rec.Physical != r.Phy || int32(len(got)) != r.Size || hex.EncodeToString(sum[:]) != r.RecordSha256 {
		t.Errorf("%s/%d offset %d: %+v", r.Via, r.ViaQueue, r.ViaOffset, res)
		return false
	}
	if id := string(message.AppendOffsetID(nil, rec.StoreHost, rec.Physical)); id != r.MsgID {
		t.Errorf("id %s, not %s", id, r.MsgID)
	}
	return true
}

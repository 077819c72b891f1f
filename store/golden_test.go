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
	"os"
	"path/filepath"
	"testing"

	"rocketd/message"
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
	Min, Max                   int64
	MinPhyOffset, MaxPhyOffset int64
	QueueOffset, Phy           int64
	Size                       int32
	MsgID                      string
	StoreTimestamp             int64
	RecordSha256               string
	Timestamp, Lower, Upper    int64
}

// What Java sees in a store, we see: ends of log and queues, every record, every search by time. Also after we have
// closed it and opened it again.
func TestStore_JavaGolden(t *testing.T) {
	for _, c := range []struct {
		name        string
		file, queue int64
	}{{"clean", 1048576, 20000}, {"killed", 1048576, 20000}, {"rolled", 131072, 2000}} {
		t.Run(c.name, func(t *testing.T) {
			dir := unpack(t, c.name)
			for range 2 {
				s := testStore(t, dir, func(cfg *Config) { cfg.FileSize, cfg.QueueFileSize = c.file, c.queue })
				compareDump(t, s, filepath.Join(dir, "dump.jsonl"))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func compareDump(t *testing.T, s *Store, dump string) {
	t.Helper()
	f, err := os.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other := make(map[string]bool) // topics whose queues are of another kind
	seen := make(map[string]int)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r dumpRow
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if other[r.Topic] {
			continue
		}
		seen[r.T]++
		q := s.Find([]byte(r.Topic), r.QueueID)
		switch r.T {
		case "meta":
			if s.MinPhysical() != r.MinPhyOffset || s.MaxPhysical() != r.MaxPhyOffset {
				t.Errorf("log is [%d, %d), not [%d, %d)", s.MinPhysical(), s.MaxPhysical(), r.MinPhyOffset, r.MaxPhyOffset)
			}
		case "queue":
			if r.CQType != "SimpleCQ" {
				other[r.Topic] = true
			} else if q == nil || q.Min() != r.Min || q.Max() != r.Max {
				t.Errorf("%s: %+v", lines.Text(), q)
			}
		case "msg":
			compareRecord(t, s, &r)
		case "timeSearch":
			if lo, up := s.OffsetByTime(q, r.Timestamp, Lower), s.OffsetByTime(q, r.Timestamp, Upper); lo != r.Lower || up != r.Upper {
				t.Errorf("%s/%d at %d: %d %d, not %d %d", r.Topic, r.QueueID, r.Timestamp, lo, up, r.Lower, r.Upper)
			}
		}
	}
	if seen["msg"] < 100 || seen["queue"] < 30 || seen["timeSearch"] < 100 {
		t.Errorf("dump is too small: %v", seen)
	}
}

func compareRecord(t *testing.T, s *Store, r *dumpRow) {
	t.Helper()
	q := s.Find([]byte(r.Topic), r.QueueID)
	got, res := s.Get(q, Read{From: r.QueueOffset, Max: 1}, nil)
	sum := sha256.Sum256(got)
	if res.Count != 1 || res.LastPhysical != r.Phy || int32(len(got)) != r.Size || hex.EncodeToString(sum[:]) != r.RecordSha256 {
		t.Errorf("%s/%d offset %d: %+v", r.Topic, r.QueueID, r.QueueOffset, res)
		return
	}
	rec, err := message.Decode(got)
	if err != nil || !rec.CheckCRC() {
		t.Errorf("%s/%d offset %d: %v", r.Topic, r.QueueID, r.QueueOffset, err)
	}
	if id := string(message.AppendOffsetID(nil, rec.StoreHost, rec.Physical)); id != r.MsgID {
		t.Errorf("id %s, not %s", id, r.MsgID)
	}
	if ms := s.StoreTime(q, r.QueueOffset); ms != r.StoreTimestamp {
		t.Errorf("%s/%d offset %d stored at %d, not %d", r.Topic, r.QueueID, r.QueueOffset, ms, r.StoreTimestamp)
	}
}

package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What Java wrote is found to be right: every record has its entries, of all kinds of queues, and the other way round.
func TestVerify_JavaGolden(t *testing.T) {
	for _, c := range []struct {
		name             string
		records, entries int64 // of the log, of queues
		keys             int64
		pending          int64
	}{
		{"clean", 1756, 1756, 5449, 0},
		{"killed", 1731, 1730, 5373, 2},
		{"rolled", 292, 292, 927, 0},
		{"kv-lmq-crc", 152, 192, 469, 0},
		{"multipath", 280, 280, 905, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Dir: javaStore(t, c.name)}
			if c.name == "multipath" {
				for _, d := range []string{"cl1", "cl2", "cl3"} {
					cfg.CommitLogDirs = append(cfg.CommitLogDirs, filepath.Join(cfg.Dir, d))
				}
			}
			r := verify(t, cfg)
			if r.Log.Records != c.records || r.Queues.Entries != c.entries || r.Index.Entries != c.keys {
				t.Errorf("%d records, %d entries, %d keys", r.Log.Records, r.Queues.Entries, r.Index.Entries)
			}
			if r.Counts[Damage] != 0 || r.Counts[Mended] != c.pending {
				t.Errorf("%v\n%s", r.Counts, show(r))
			}
		})
	}
}

// Rows have what Java's dump has, field by field.
func TestEach_JavaGolden(t *testing.T) {
	dir := javaStore(t, "clean")
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		topic  string
		queue  int32
		offset int64
	}
	rows := make(map[place]map[string]any)
	bad := func(f Finding) { t.Error(f) }
	err = s.Each(context.Background(), Selection{Queue: -1}, bad, func(m *Message) error {
		data, err := json.Marshal(NewRow(m, BodyNone))
		if err != nil {
			return err
		}
		var row map[string]any
		rows[place{m.Topic, m.Queue, m.Offset}] = row
		if err := json.Unmarshal(data, &row); err != nil {
			return err
		}
		rows[place{m.Topic, m.Queue, m.Offset}] = row
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "dump.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var want map[string]any
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		if want["t"] != "msg" {
			continue
		}
		n++
		p := place{want["topic"].(string), int32(want["queueId"].(float64)), int64(want["queueOffset"].(float64))}
		got := rows[p]
		for k, v := range want {
			if _, have := got[k]; !have && (k == "plainLen" || k == "plainSha256") { // LZ4, zstd
				continue
			}
			if !reflect.DeepEqual(got[k], v) {
				t.Fatalf("%+v: %s is %v, not %v", p, k, got[k], v)
			}
		}
	}
	if n < 1000 || len(rows) < n {
		t.Errorf("%d rows in the dump, %d of ours", n, len(rows))
	}
	// The same in the order of the log.
	seen := 0
	err = s.Each(context.Background(), Selection{Queue: -1, Physical: true}, bad, func(m *Message) error {
		row := rows[place{m.Topic, m.Queue, m.Offset}]
		if row == nil || int64(row["phy"].(float64)) != m.Record.Physical || row["recordSha256"] != sum(m.Raw) {
			t.Errorf("%s/%d@%d at %d: %v", m.Topic, m.Queue, m.Offset, m.Record.Physical, row)
		}
		seen++
		return nil
	})
	if err != nil || seen != len(rows) {
		t.Errorf("%d messages in the log, %d in queues; %v", seen, len(rows), err)
	}
}

// Stat knows the ends and what there is without reading everything.
func TestStat_JavaGolden(t *testing.T) {
	s, err := Open(Config{Dir: javaStore(t, "rolled")})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Stat(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if st.Log.Min != 262144 || st.Log.Max != 405695 || st.Log.FileSize != 131072 || st.Log.FirstMs != 1795569511469 || st.Log.LastMs != 1795569590005 {
		t.Errorf("%+v", st.Log)
	}
	var messages int64
	for _, topic := range st.Topics {
		messages += topic.Messages
	}
	if messages != 292 || len(st.Features) != 1 || len(st.Signs) != 0 {
		t.Errorf("%d messages, %q, %q", messages, st.Features, st.Signs)
	}
}

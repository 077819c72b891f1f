package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
)

// checkpoint is the file of that name: see docs/format/checkpoint.md.
type checkpoint struct {
	physicMs, logicsMs, indexMs    int64
	masterFlushed, confirmPhysical int64
	logicsPhysical                 int64
	there                          bool
}

// checkpointSize is the length of the file, checkpointUsed how much of it means something.
const (
	checkpointSize = 4096
	checkpointUsed = 48
)

func (c *checkpoint) words() [6]*int64 {
	return [6]*int64{&c.physicMs, &c.logicsMs, &c.indexMs, &c.masterFlushed, &c.confirmPhysical, &c.logicsPhysical}
}

func (c *checkpoint) parse(b []byte) {
	for i, p := range c.words() {
		*p = int64(binary.BigEndian.Uint64(b[8*i:]))
	}
	c.there = true
}

func (c *checkpoint) bytes() []byte {
	b := make([]byte, 0, checkpointSize)
	for _, p := range c.words() {
		b = binary.BigEndian.AppendUint64(b, uint64(*p))
	}
	return b[:checkpointSize]
}

// scanStart is where the next start of a broker after a crash builds entries from: see store.Store.scanStart.
func (c *checkpoint) scanStart(s *Store) int64 {
	if c.logicsPhysical > 0 {
		return c.logicsPhysical
	}
	for i := len(s.log) - 1; i > 0; i-- {
		if ms, ok := s.storeMs(s.log[i].start); ok && ms <= c.logicsMs {
			return s.log[i].start
		}
	}
	return s.minPhysical()
}

// readConfig reads the checkpoint and the files of config.
func (v *verifier) readConfig() error {
	data, err := vfs.ReadFile(v.s.cfg.FS, v.s.path("checkpoint"))
	f := Finding{Level: Damage, Kind: KindCheckpoint, File: "checkpoint"}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Level, f.Text = Note, "there is none: the next start reads the whole log"
		v.report.add(f)
	case err != nil:
		f.Text = err.Error()
		v.report.add(f)
	case len(data) < checkpointUsed:
		f.Text = fmt.Sprintf("has %d bytes instead of %d", len(data), checkpointSize)
		v.report.add(f)
	default:
		v.check.parse(data)
	}
	entries, err := v.s.cfg.FS.ReadDir(v.s.path("config"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	names := make(map[string]bool)
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".bak")
		if !e.IsDir() && isJSON(name) && !names[name] {
			names[name] = true
			v.configFile(name)
		}
	}
	return nil
}

func isJSON(name string) bool {
	return strings.HasSuffix(name, ".json") || name == "timermetrics" || name == "transactionMetrics"
}

// configFile reads one file and its backup.
func (v *verifier) configFile(name string) {
	path := v.s.path("config", name)
	main, err := v.readJSON(path)
	_, bak := v.readJSON(path + ".bak")
	f := Finding{Kind: KindConfig, File: filepath.Join("config", name)}
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil:
		if bak != nil && !errors.Is(bak, fs.ErrNotExist) {
			f.File += ".bak"
			f.Level, f.Text = Note, "the backup cannot be used: "+bak.Error()
			v.report.add(f)
		}
	case bak == nil:
		f.Level, f.Text = Mended, "cannot be used, its backup can: "+err.Error()
		if missing {
			f.Text = "is missing, its backup is there"
		}
		v.configs = append(v.configs, name)
		v.report.add(f)
		main, _ = v.readJSON(path + ".bak")
	default:
		f.Level, f.Text = Damage, "neither it nor its backup can be used: "+err.Error()
		v.report.add(f)
	}
	if name == "topics.json" && main != nil {
		v.readTopics(main)
	}
}

func (v *verifier) readJSON(path string) ([]byte, error) {
	data, err := vfs.ReadFile(v.s.cfg.FS, path)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	v.report.Read += int64(len(data))
	var any struct{}
	if err := laxjson.Unmarshal(data, &any); err != nil {
		return nil, err
	}
	return data, nil
}

func (v *verifier) readTopics(data []byte) {
	var table struct {
		Topics map[string]struct {
			Attributes map[string]string `json:"attributes"`
		} `json:"topicConfigTable"`
	}
	if laxjson.Unmarshal(data, &table) != nil || len(table.Topics) == 0 {
		return
	}
	v.topics = make(map[string]bool, len(table.Topics))
	for name, t := range table.Topics {
		v.topics[name] = true
		if t.Attributes["queue.type"] == "BatchCQ" {
			v.batches[name] = true
		}
	}
}

// checkCheckpoint compares the checkpoint with what was found.
func (v *verifier) checkCheckpoint() {
	c, r := &v.check, &v.report.Log
	if !c.there {
		return
	}
	ahead := func(what string, says, is int64) {
		if says > is {
			v.report.add(Finding{Level: v.mended(), Kind: KindCheckpoint, File: "checkpoint",
				Text: fmt.Sprintf("%s is %d, but the log ends at %d", what, says, is)})
		}
	}
	ahead("logicsPhysicalOffset", c.logicsPhysical, r.End)
	ahead("confirmPhyOffset", c.confirmPhysical, r.End)
	ahead("physicMsgTimestamp", c.physicMs, r.LastMs)
}

// checkOffsets looks for consumers that are ahead of their queues: they would miss what is sent next.
func (v *verifier) checkOffsets() {
	v.checkOffsetFile("consumerOffset.json")
	v.checkOffsetFile("lmqConsumerOffset.json")
}

func (v *verifier) checkOffsetFile(file string) {
	data, err := v.readJSON(v.s.path("config", file))
	if err != nil { // reported before
		return
	}
	var table struct {
		Offsets map[string]map[int32]int64 `json:"offsetTable"`
		Light   map[string]int64           `json:"lmqOffsetTable"` // of groups that begin with %LMQ%, in queue 0
	}
	if laxjson.Unmarshal(data, &table) != nil {
		return
	}
	if table.Offsets == nil {
		table.Offsets = make(map[string]map[int32]int64)
	}
	for key, offset := range table.Light {
		table.Offsets[key] = map[int32]int64{0: offset}
	}
	for key, offsets := range table.Offsets {
		name, group, ok := strings.Cut(key, "@")
		if !ok {
			continue
		}
		for id, offset := range offsets {
			q := v.queues[name][id]
			if q == nil || q.batch || len(q.starts) == 0 || offset <= max(q.max, q.last+1) {
				continue
			}
			v.report.add(Finding{Level: Note, Kind: KindOffset, File: "config/" + file, Topic: name, Queue: &id, Offset: &offset,
				Text: fmt.Sprintf("group %s has consumed up to %d, but the queue ends at %d", group, offset, max(q.max, q.last+1))})
		}
	}
}

package meta

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/internal/vfs"
	"rocketd/topic"
)

// As a Java broker writes it, which indents with tabs.
const javaMappings = `{
	"dataVersion":{
		"counter":2,
		"stateVersion":0,
		"timestamp":1732540000000
	},
	"topicQueueMappingInfoMap":{"T":{
			"bname":"b",
			"currIdMap":{},
			"dirty":false,
			"epoch":1732540001000,
			"hostedQueues":{1:[
					{
						"bname":"a",
						"endOffset":-1,
						"gen":0,
						"logicOffset":0,
						"queueId":3,
						"startOffset":0,
						"timeOfEnd":-1,
						"timeOfStart":-1
					},
					{
						"bname":"b",
						"endOffset":-1,
						"gen":1,
						"logicOffset":10000,
						"queueId":0,
						"startOffset":0,
						"timeOfEnd":-1,
						"timeOfStart":-1
					}
				]},
			"scope":"__global__",
			"topic":"T",
			"totalQueues":4
		}
	}
}`

// The table of a Java broker is read, goes on, and comes back the same.
func TestMappings(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "topicQueueMapping.json")
	open := func() *Mappings {
		m, err := OpenMappings(Config{FS: vfs.OS, Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := open(); m.Get([]byte("T")) != nil {
		t.Error("a mapping from nowhere")
	}
	if err := os.WriteFile(path, []byte(javaMappings), 0o644); err != nil {
		t.Fatal(err)
	}
	m := open()
	old := m.Get([]byte("T"))
	if old == nil || old.Epoch != 1732540001000 || old.Total != 4 || len(old.Items(1)) != 2 || old.Leader(1).Logic != 10_000 {
		t.Fatalf("read %+v", old)
	}
	next := *old
	next.Epoch--
	if err := m.Succeed(&next, false); err == nil || !strings.Contains(err.Error(), "epoch") {
		t.Error("an older epoch:", err)
	}
	next.Epoch += 2
	next.Hosted = map[int32][]topic.MappingItem{2: {{Broker: "b", Queue: 1, End: -1, TimeOfEnd: -1, TimeOfStart: -1}}}
	if err := m.Succeed(&next, false); err != nil {
		t.Fatal(err)
	}
	_, version := m.All()
	again := open()
	got := again.Get([]byte("T"))
	if _, v := again.All(); v != version || v.Counter != 3 || !got.Equal(m.Get([]byte("T"))) || len(got.Hosted) != 2 || got.Items(1)[1] != old.Items(1)[1] {
		t.Errorf("after a restart: %+v, version %v, want %v", got, v, version)
	}
	if err := os.WriteFile(path, []byte(`{"topicQueueMappingInfoMap":{`), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := open().Get([]byte("T")); got == nil || got.Epoch != old.Epoch {
		t.Errorf("from the backup: %+v", got)
	}
}

// Renew gives a table its next version, though nothing changed.
func TestTable_Renew(t *testing.T) {
	var rung []string
	topics, err := OpenTopics(Config{FS: vfs.OS, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Changed: func(names []string) { rung = append(rung, names...) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := topics.Put(topic.NewConfig("T", 1)); err != nil {
		t.Fatal(err)
	}
	_, before := topics.All()
	same := func(old *topic.Config) (*topic.Config, error) { return old.Clone(), nil }
	if err := topics.Update("T", same); err != nil {
		t.Fatal(err)
	}
	if _, after := topics.All(); after != before {
		t.Errorf("an update that changes nothing makes version %v of %v", after, before)
	}
	if err := topics.Renew("T", same); err != nil {
		t.Fatal(err)
	}
	if configs, after := topics.All(); after.Counter != before.Counter+1 || len(configs) != 1 || len(rung) != 2 {
		t.Errorf("version %v after %v, %d topics, %v", after, before, len(configs), rung)
	}
}

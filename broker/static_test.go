package broker

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rocketd/internal/vfs"
)

// A store with static topics is served only where that changes no offset.
func TestCheckStatic(t *testing.T) {
	const whole = `{"bname":"b","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}`
	for _, c := range []struct{ name, queues, want string }{
		{"none", "", ""},
		{"as plain", `0:[` + whole + `]`, "served as plain"},
		{"another number", `4:[` + whole + `]`, "queue 4 made of other queues"},
		{"moved on", `0:[` + whole + `,` + whole + `]`, "queue 0 made of other queues"},
		{"ends", `0:[` + strings.Replace(whole, `"endOffset":-1`, `"endOffset":7`, 1) + `]`, "queue 0 made of other queues"},
		{"begins later", `0:[` + strings.Replace(whole, `"logicOffset":0`, `"logicOffset":7`, 1) + `]`, "queue 0 made of other queues"},
		{"broken", `0:[`, "cannot load topicQueueMapping.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.queues != "" {
				text := `{"dataVersion":{"counter":1},"topicQueueMappingInfoMap":{"T":{"bname":"b","currIdMap":{},"epoch":1,"hostedQueues":{` + c.queues + `},"scope":"__global__","topic":"T","totalQueues":1}}}`
				if err := os.WriteFile(filepath.Join(dir, "topicQueueMapping.json"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var logged bytes.Buffer
			err := checkStatic(vfs.OS, dir, slog.New(slog.NewTextHandler(&logged, nil)))
			got := logged.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

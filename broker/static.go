package broker

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
	"rocketd/protocol"
)

// checkStatic looks for static topics in a store that a Java broker wrote (topicQueueMapping.json). They are not served: to
// consumers, offsets of such a topic would mean something else than before. One whose queues are numbered as if it were none does
// no harm, and is served as a plain topic.
func checkStatic(fsys vfs.FS, dir string, log *slog.Logger) error {
	var table struct {
		Topics map[string]*protocol.TopicQueueMappingDetail `json:"topicQueueMappingInfoMap"`
	}
	path := filepath.Join(dir, "topicQueueMapping.json")
	_, _, err := durable.Read(fsys, path, func(data []byte) error {
		table.Topics = nil
		return laxjson.Unmarshal(data, &table)
	})
	if err != nil {
		return fmt.Errorf("cannot load topicQueueMapping.json: %w", err)
	}
	var plain []string
	for name, m := range table.Topics {
		if m == nil {
			continue
		}
		for id, items := range m.HostedQueues {
			for _, item := range items {
				if len(items) != 1 || item.QueueID != id || item.LogicOffset != 0 || item.StartOffset != 0 || item.EndOffset >= 0 {
					return fmt.Errorf("topic %s is static, with queue %d made of other queues (%s); this broker does not serve that: keep it with Java's", name, id, path)
				}
			}
		}
		plain = append(plain, name)
	}
	if slices.Sort(plain); len(plain) > 0 {
		log.Warn("static topics are served as plain ones", "topics", plain, "file", path)
	}
	return nil
}

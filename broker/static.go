package broker

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
	"rocketd/topic"
)

// checkStatic looks for static topics in a store that a Java broker wrote (topicQueueMapping.json). They are not served: to
// consumers, offsets of such a topic would mean something else than before. One whose queues are numbered as if it were none does
// no harm, and is served as a plain topic.
func checkStatic(fsys vfs.FS, dir string, log *slog.Logger) error {
	var table struct {
		Topics map[string]*topic.Mapping `json:"topicQueueMappingInfoMap"`
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
		for id, items := range m.Hosted {
			for _, item := range items {
				if len(items) != 1 || item.Queue != id || item.Logic != 0 || item.Start != 0 || item.End >= 0 {
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

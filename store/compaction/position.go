package compaction

import (
	"fmt"
	"log/slog"
	"strconv"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
)

// PositionFile is the name of the file that keeps the positions of all logs of a store, beside their directories.
const PositionFile = "position-checkpoint"

// positions is the content of that file. Source: Java CompactionPositionMgr.
type positions struct {
	Empty bool             `json:"empty"` // as Java 5.5 writes it; it is not read
	Queue map[string]int64 `json:"queueOffsetMap"`
}

// PositionKey is what the file calls a queue.
func PositionKey(topic string, queue int32) string {
	return topic + "_" + strconv.FormatInt(int64(queue), 10)
}

// ReadPositions reads the file. One that is not there, or cannot be used, costs looking at all keys again.
func ReadPositions(f vfs.FS, path string, log *slog.Logger) map[string]int64 {
	var p positions
	_, fallback, err := durable.Read(f, path, func(data []byte) error {
		p = positions{}
		return laxjson.Unmarshal(data, &p)
	})
	if fallback != nil || err != nil {
		log.Warn("positions of the compaction logs cannot be read as they should; keys are looked at again", "file", path, "err", fmt.Sprint(fallback, err))
	}
	if p.Queue == nil || err != nil {
		p.Queue = map[string]int64{}
	}
	return p.Queue
}

// WritePositions replaces the file.
func WritePositions(f vfs.FS, path string, of map[string]int64) error {
	data, err := laxjson.MarshalIndent(positions{Empty: len(of) == 0, Queue: of})
	if err != nil {
		return err
	}
	return durable.Write(f, path, data)
}

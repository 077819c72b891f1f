package manage

import (
	"maps"
	"slices"
	"sync"

	"rocketd/protocol"
)

// paged tells whether a request wants a page of a table, which one of these fields says, and may get one.
func (s *Service) paged(c *protocol.Call, fields ...string) bool {
	return s.cfg.Settings.Bool("enableSplitMetadata") && slices.ContainsFunc(c.Fields, func(f protocol.Field) bool {
		return slices.Contains(fields, string(f.Key))
	})
}

// pageSize is the smaller one of what was asked for and splitMetadataSize.
func (s *Service) pageSize(asked protocol.Opt[int32]) int {
	most := int32(s.cfg.Settings.Int("splitMetadataSize"))
	return int(max(0, min(asked.Or(most), most)))
}

// order keeps the names of a table in order: slaves look at the first of them every few seconds.
type order struct {
	mu      sync.Mutex // guards what follows
	version protocol.DataVersion
	names   []string
}

// orderOf returns the names of a table in order. They are not to be changed.
func orderOf[C any](o *order, all map[string]*C, version protocol.DataVersion) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if version != o.version || len(all) != len(o.names) {
		o.version, o.names = version, slices.Sorted(maps.Keys(all))
	}
	return o.names
}

// page cuts n entries of a table from position seq on.
func page[C any](o *order, all map[string]*C, version protocol.DataVersion, seen string, seq int32, n int) map[string]*C {
	var v protocol.DataVersion
	if seen != "" && (v.Unmarshal([]byte(seen)) != nil || !v.Equal(version)) {
		seq = 0
	}
	names := orderOf(o, all, version)
	from := min(max(int(seq), 0), len(names))
	to := min(from+n, len(names))
	part := make(map[string]*C, to-from)
	for _, name := range names[from:to] {
		if c := all[name]; c != nil {
			part[name] = c
		}
	}
	return part
}

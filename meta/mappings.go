package meta

import (
	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// mappingsFile is topicQueueMapping.json. Source: Java TopicQueueMappingManager.
type mappingsFile struct {
	Version  protocol.DataVersion      `json:"dataVersion"`
	Mappings map[string]*topic.Mapping `json:"topicQueueMappingInfoMap"`
}

// Mappings is the table of what this broker knows of static topics. It is empty for most brokers.
type Mappings struct {
	Table[topic.Mapping]
}

// OpenMappings loads topicQueueMapping.json. A missing file is an empty table; a broken one falls back to its backup.
func OpenMappings(cfg Config) (*Mappings, error) {
	t := new(Mappings)
	err := t.open(cfg, kind[topic.Mapping]{
		file:  "topicQueueMapping.json",
		name:  func(m *topic.Mapping) string { return m.Topic },
		equal: (*topic.Mapping).Equal,
		decode: func(data []byte) (*state[topic.Mapping], error) {
			var f mappingsFile
			err := laxjson.Unmarshal(data, &f)
			for name, m := range f.Mappings {
				if m == nil {
					delete(f.Mappings, name)
				} else {
					m.Topic = name
				}
			}
			return &state[topic.Mapping]{version: f.Version, configs: f.Mappings}, err
		},
		encode: func(s *state[topic.Mapping]) any { return mappingsFile{s.version, s.configs} },
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Succeed makes next the mapping of its topic, as far as what is known does not contradict it, see topic.Mapping.Succeed. It is
// durable when Succeed returns.
func (t *Mappings) Succeed(next *topic.Mapping, force bool) error {
	return t.Update(next.Topic, func(old *topic.Mapping) (*topic.Mapping, error) {
		if old == nil {
			return next, nil
		}
		return old.Succeed(next, force)
	})
}

// For returns the mapping that a request is to be translated with: nil if its topic is a plain one, or if it is about the physical
// queue (lo is false), as brokers ask each other. It does not block or allocate. Source: Java
// TopicQueueMappingManager.buildTopicQueueMappingContext.
func (t *Mappings) For(name []byte, logical protocol.Opt[bool]) *topic.Mapping {
	m := t.Get(name)
	if m == nil || logical.Set && !logical.V {
		return nil
	}
	return m
}

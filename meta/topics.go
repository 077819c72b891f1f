package meta

import (
	"context"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// topicsFile is topics.json. Source: Java TopicConfigManager.
type topicsFile struct {
	Version protocol.DataVersion     `json:"dataVersion"`
	Configs map[string]*topic.Config `json:"topicConfigTable"`
}

// Topics is the topic table.
type Topics struct {
	Table[topic.Config]
}

// OpenTopics loads topics.json. A missing file is an empty table; a broken one falls back to its backup.
func OpenTopics(cfg Config) (*Topics, error) {
	t := new(Topics)
	err := t.open(cfg, kind[topic.Config]{
		file:  "topics.json",
		name:  func(c *topic.Config) string { return c.Name },
		equal: (*topic.Config).Equal,
		decode: func(data []byte) (*state[topic.Config], error) {
			var f topicsFile
			err := laxjson.Unmarshal(data, &f)
			for name, c := range f.Configs {
				if c == nil {
					delete(f.Configs, name)
				} else {
					c.Name = name
				}
			}
			return &state[topic.Config]{version: f.Version, configs: f.Configs}, err
		},
		encode: func(s *state[topic.Config]) any { return topicsFile{s.version, s.configs} },
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Get returns the configuration of that name, or nil. It never blocks, and allocates for light topics only. Source: Java
// LmqTopicConfigManager.
func (t *Topics) Get(name []byte) *topic.Config {
	if t.cfg.Light && topic.IsLMQ(name) {
		return topic.NewConfig(string(name), 1)
	}
	return t.Table.Get(name)
}

// Create makes a topic that a producer asked for, in the image of a template: its permission without the inherit
// bit, its filter type, and as many queues as the producer wants, but not more than the template has. It returns
// the topic that is there if somebody was faster, and nil if the template is missing or may not be inherited
// from. Source: Java TopicConfigManager.createTopicInSendMessageMethod.
func (t *Topics) Create(_ context.Context, name, template string, queues int32) (*topic.Config, error) {
	if c := t.Get([]byte(name)); c != nil {
		return c, nil
	}
	model := t.Get([]byte(template))
	if model == nil || !model.Perm.Inheritable() {
		return nil, nil
	}
	n := max(0, min(queues, model.WriteQueueNums))
	c := topic.NewConfig(name, n)
	c.Perm = model.Perm &^ topic.PermInherit
	c.FilterType = model.FilterType
	if err := t.Ensure(c); err != nil {
		return nil, err
	}
	return t.Get([]byte(name)), nil
}

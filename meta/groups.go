package meta

import (
	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// groupsFile is subscriptionGroup.json. Source: Java SubscriptionGroupManager.
type groupsFile struct {
	Version   protocol.DataVersion          `json:"dataVersion"`
	Forbidden map[string]map[string]int32   `json:"forbiddenTable"`
	Configs   map[string]*topic.GroupConfig `json:"subscriptionGroupTable"`
}

// ForbidRead is the bit of the forbidden table that bans a group from reading a topic. Source: Java PermName,
// 1 << INDEX_PERM_READ.
const ForbidRead int32 = 1 << 2

// Groups is the table of subscription groups.
type Groups struct {
	Table[topic.GroupConfig]
}

// OpenGroups loads subscriptionGroup.json. A missing file is an empty table; a broken one falls back to its backup.
func OpenGroups(cfg Config) (*Groups, error) {
	g := new(Groups)
	err := g.open(cfg, kind[topic.GroupConfig]{
		file:  "subscriptionGroup.json",
		name:  func(c *topic.GroupConfig) string { return c.Name },
		equal: (*topic.GroupConfig).Equal,
		decode: func(data []byte) (*state[topic.GroupConfig], error) {
			var f groupsFile
			err := laxjson.Unmarshal(data, &f)
			for name, c := range f.Configs {
				if c == nil {
					delete(f.Configs, name)
				} else {
					c.Name = name
				}
			}
			return &state[topic.GroupConfig]{f.Version, f.Configs, f.Forbidden}, err
		},
		encode: func(s *state[topic.GroupConfig]) any { return groupsFile{s.version, s.forbidden, s.configs} },
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Get returns the configuration of that name, or nil. It never blocks, and allocates for light groups only. Source: Java
// LmqSubscriptionGroupManager.
func (g *Groups) Get(name []byte) *topic.GroupConfig {
	if g.cfg.Light && topic.IsLMQ(name) {
		return topic.NewGroupConfig(string(name))
	}
	return g.Table.Get(name)
}

// Create makes a group with defaults, as a first heartbeat or pull does where that is allowed; the caller checks
// that, and the name. It returns the group that is there if somebody was faster.
func (g *Groups) Create(name string) (*topic.GroupConfig, error) {
	if err := g.Ensure(topic.NewGroupConfig(name)); err != nil {
		return nil, err
	}
	return g.Get([]byte(name)), nil
}

// Forbidden returns what a group may not do with a topic, bits such as ForbidRead. It never blocks and allocates
// nothing.
func (g *Groups) Forbidden(group, topicName []byte) int32 {
	return g.current.Load().forbidden[string(group)][string(topicName)]
}

// AllForbidden returns the whole forbidden table, by group and topic.
func (g *Groups) AllForbidden() map[string]map[string]int32 { return clone(g.current.Load().forbidden) }

// SetForbidden sets or clears bits of what a group may not do with a topic.
func (g *Groups) SetForbidden(group, topicName string, bits int32, on bool) error {
	return g.apply(func(next *state[topic.GroupConfig]) ([]string, error) {
		old := next.forbidden[group][topicName]
		now := old &^ bits
		if on {
			now = old | bits
		}
		if now == old {
			return nil, nil
		}
		topics := clone(next.forbidden[group])
		topics[topicName] = now
		if now == 0 {
			delete(topics, topicName)
		}
		next.forbidden[group] = topics
		if len(topics) == 0 {
			delete(next.forbidden, group)
		}
		return []string{group}, nil
	})
}

package topic

import (
	"maps"
	"strings"
)

// FilterType says what the tag code of a topic's messages is made from: one tag, or the whole TAGS property.
// Source: Java TopicFilterType.
type FilterType string

// The filter types. An unknown one is empty, like Java's null.
const (
	SingleTag FilterType = "SINGLE_TAG"
	MultiTag  FilterType = "MULTI_TAG"
)

// UnmarshalText reads a name in any case or Java's ordinal; what is unknown becomes empty.
func (f *FilterType) UnmarshalText(text []byte) error {
	*f = ""
	for i, name := range []FilterType{SingleTag, MultiTag} {
		if strings.EqualFold(string(text), string(name)) || len(text) == 1 && int(text[0]-'0') == i {
			*f = name
		}
	}
	return nil
}

// MaxQueues bounds the queues of a topic on one broker, and those of a static one on all. Java has no such limit, and hangs.
const MaxQueues = 1 << 16

// Config is the configuration of a topic on one broker, in the shape of Java's TopicConfig. One that was published is
// not changed any more; Clone it.
type Config struct {
	Attributes     map[string]string `json:"attributes"` // without the leading plus sign
	Order          bool              `json:"order"`
	Perm           Perm              `json:"perm"`
	ReadQueueNums  int32             `json:"readQueueNums"`
	FilterType     FilterType        `json:"topicFilterType,omitempty"`
	Name           string            `json:"topicName"`
	SysFlag        int32             `json:"topicSysFlag"`
	WriteQueueNums int32             `json:"writeQueueNums"`
}

// Defaults gives a config that is read from JSON what Java's constructor gives it.
func (c *Config) Defaults() { *c = *NewConfig("", 16) }

// NewConfig returns a readable and writable topic with as many queues for reading as for writing.
func NewConfig(name string, queues int32) *Config {
	return &Config{Name: name, ReadQueueNums: queues, WriteQueueNums: queues, Perm: PermRead | PermWrite, FilterType: SingleTag}
}

// Clone returns a copy that shares nothing.
func (c *Config) Clone() *Config {
	d := *c
	d.Attributes = maps.Clone(c.Attributes)
	return &d
}

// Compacts tells whether of the topic's messages only the last of each key is wanted. Source: Java CleanupPolicyUtils.
func (c *Config) Compacts() bool { return c.Attributes[AttrCleanupPolicy] == "COMPACTION" }

// Equal tells whether two configs say the same.
func (c *Config) Equal(d *Config) bool {
	return c.Order == d.Order && c.Perm == d.Perm && c.ReadQueueNums == d.ReadQueueNums && c.FilterType == d.FilterType &&
		c.Name == d.Name && c.SysFlag == d.SysFlag && c.WriteQueueNums == d.WriteQueueNums && maps.Equal(c.Attributes, d.Attributes)
}

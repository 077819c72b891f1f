package topic

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Names of the attributes that we ask for.
const (
	AttrQueueType     = "queue.type"
	AttrCleanupPolicy = "cleanup.policy"
	AttrMessageType   = "message.type"
)

// attribute says what one attribute may be. With neither values nor a range any text will do.
// Source: Java TopicAttributes, SubscriptionGroupAttributes; tables/attributes.tsv.
type attribute struct {
	fixed    bool // cannot be changed once the topic exists
	values   []string
	low, top int64 // a number in [low, top] if top is not 0
}

var topicAttributes = map[string]attribute{
	AttrQueueType:           {fixed: true, values: []string{"BatchCQ", "SimpleCQ"}},
	AttrCleanupPolicy:       {fixed: true, values: []string{"COMPACTION", "DELETE"}},
	AttrMessageType:         {values: []string{"DELAY", "FIFO", "LITE", "MIXED", "NORMAL", "PRIORITY", "TRANSACTION", "UNSPECIFIED"}},
	"reserve.time":          {low: -1, top: math.MaxInt64},
	"lite.topic.expiration": {low: -1, top: 43200},
}

var groupAttributes = map[string]attribute{
	"priority.factor":                   {low: 0, top: 100},
	"lite.bind.topic":                   {},
	"lite.sub.model":                    {values: []string{"Exclusive", "Shared"}},
	"lite.sub.reset.offset.exclusive":   {values: []string{"true", "false"}},
	"lite.sub.reset.offset.unsubscribe": {values: []string{"true", "false"}},
	"lite.sub.client.quota":             {low: -1, top: math.MaxInt64},
	"lite.sub.client.max.event.cnt":     {low: 10, top: math.MaxInt64},
	"lite.sub.wildcard":                 {},
}

// ParseAttributes reads a modification such as "+message.type=FIFO,-reserve.time". The keys keep their sign; a deletion
// has an empty value. Source: Java AttributeParser.
func ParseAttributes(text string) (map[string]string, error) {
	changes := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		key, value, set := strings.Cut(part, "=")
		switch {
		case set && (!strings.HasPrefix(key, "+") || strings.TrimSpace(value) == ""):
			return nil, fmt.Errorf("add/alter attribute format is wrong: %s", part)
		case !set && !strings.HasPrefix(key, "-"):
			return nil, fmt.Errorf("delete attribute format is wrong: %s", part)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if _, twice := changes[key]; twice {
			return nil, fmt.Errorf("key duplication: %s", key)
		}
		changes[key] = value
	}
	return changes, nil
}

// AlterTopic applies changes with signed keys to the attributes of a topic and returns the new ones; current is not
// touched and is nil for a topic that is being created. The error says what is not allowed.
// Source: Java AttributeUtil.alterCurrentAttributes.
func AlterTopic(current, changes map[string]string, creating bool) (map[string]string, error) {
	return alter(topicAttributes, current, changes, creating)
}

// AlterGroup is AlterTopic for the attributes of a group.
func AlterGroup(current, changes map[string]string, creating bool) (map[string]string, error) {
	return alter(groupAttributes, current, changes, creating)
}

func alter(known map[string]attribute, current, changes map[string]string, creating bool) (map[string]string, error) {
	next := maps.Clone(current)
	if next == nil {
		next = map[string]string{}
	}
	seen := map[string]bool{}
	for _, signed := range slices.Sorted(maps.Keys(changes)) {
		if len(signed) < 2 || signed[0] != '+' && signed[0] != '-' {
			return nil, fmt.Errorf("kv string is invalid: %q", signed)
		}
		key, value := signed[1:], changes[signed]
		a, ok := known[key]
		_, has := current[key]
		switch {
		case seen[key]:
			return nil, fmt.Errorf("alter duplication key. key: %s", key)
		case !ok:
			return nil, fmt.Errorf("unsupported key: %s", key)
		case signed[0] == '-' && creating:
			return nil, fmt.Errorf("only add attribute is supported while creating. key: %s", key)
		case signed[0] == '-' && !has:
			return nil, fmt.Errorf("attempt to delete a nonexistent key: %s", key)
		case a.fixed && !creating && (signed[0] == '-' || !has || current[key] != value):
			return nil, fmt.Errorf("attempt to update an unchangeable attribute. key: %s", key)
		}
		seen[key] = true
		if signed[0] == '-' {
			delete(next, key)
			continue
		}
		if err := a.check(key, value); err != nil {
			return nil, err
		}
		next[key] = value
	}
	return next, nil
}

func (a attribute) check(key, value string) error {
	if a.values != nil && !slices.Contains(a.values, value) {
		return fmt.Errorf("value of %s is not in %v: %s", key, a.values, value)
	}
	if a.top != 0 {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < a.low || n > a.top {
			return fmt.Errorf("value of %s is not in range(%d, %d): %s", key, a.low, a.top, value)
		}
	}
	return nil
}

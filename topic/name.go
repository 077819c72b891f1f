// Package topic holds what is true of topics and consumer groups by their names and configurations: which names are
// legal, which belong to the system, retry and dead-letter topics, permissions, attributes.
package topic

import (
	"fmt"
	"strings"
)

// Limits of names, in bytes. Source: Java TopicValidator, Validators.
const (
	MaxLength      = 127
	MaxRetryLength = 255 // of retry and dead-letter topics
	MaxGroupLength = 120
)

// Prefixes and suffixes of names with a meaning. Source: Java MixAll, TopicValidator, PopAckConstants.
const (
	RetryPrefix       = "%RETRY%"
	DLQPrefix         = "%DLQ%"
	LMQPrefix         = "%LMQ%"
	SystemPrefix      = "rmq_sys_"
	ReplySuffix       = "_REPLY_TOPIC"                // after the cluster's name
	RevivePrefix      = "rmq_sys_REVIVE_LOG_"         // before the cluster's name
	SyncMemberPrefix  = "rmq_sys_SYNC_BROKER_MEMBER_" // before the broker's name
	SystemGroupPrefix = "CID_RMQ_SYS_"
)

// What Java appends to remarks about a topic or group that does not exist: brokers the one, NameServers the other.
const (
	FAQ      = "\nSee https://rocketmq.apache.org/docs/faq/ for further details."
	RouteFAQ = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
)

type text interface{ ~string | ~[]byte }

// RetryTopic is where messages go that a group could not consume.
func RetryTopic(group string) string { return RetryPrefix + group }

// DLQTopic is where messages go that a group has given up.
func DLQTopic(group string) string { return DLQPrefix + group }

// IsRetry tells whether name is a retry topic.
func IsRetry[T text](name T) bool { return hasPrefix(name, RetryPrefix) }

// IsDLQ tells whether name is a dead-letter topic.
func IsDLQ[T text](name T) bool { return hasPrefix(name, DLQPrefix) }

// IsLMQ tells whether a topic is a light one, which exists as its only queue and in no table.
func IsLMQ[T text](name T) bool { return hasPrefix(name, LMQPrefix) }

// GroupOfRetry returns the group whose retry topic name is.
func GroupOfRetry[T text](name T) (group T, ok bool) {
	if !IsRetry(name) {
		return group, false
	}
	return name[len(RetryPrefix):], true
}

func hasPrefix[T text](name T, prefix string) bool {
	return len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix
}

// CheckTopic returns why a topic may not have this name, in Java's words, or nil. Retry and dead-letter topics may
// be longer than others. Source: Java TopicValidator.validateTopic.
func CheckTopic(name string) error {
	if err := checkName("topic", name); err != nil {
		return err
	}
	if IsRetry(name) || IsDLQ(name) {
		if len(name) > MaxRetryLength {
			return nameErrorf("The specified topic is DLQ or Retry topic: %s, and it's longer than topic max length: %d", name, MaxRetryLength)
		}
	} else if len(name) > MaxLength {
		return nameErrorf("The specified topic: %s, is longer than topic max length: %d", name, MaxLength)
	}
	return nil
}

// CheckGroup returns why a consumer group may not have this name, in Java's words, or nil.
// Source: Java TopicValidator.validateGroup.
func CheckGroup(name string) error {
	if err := checkName("group", name); err != nil {
		return err
	}
	if len(name) > MaxGroupLength {
		return nameErrorf("The specified group: %s, is longer than group max length: %d", name, MaxGroupLength)
	}
	return nil
}

func checkName(kind, name string) error {
	if strings.TrimSpace(name) == "" {
		return nameErrorf("The specified %s is blank.", kind)
	}
	for i := range len(name) {
		if !legal[name[i]] {
			return nameErrorf("The specified %s: %s, contains illegal characters, allowing only ^[%%|a-zA-Z0-9_-]+$", kind, name)
		}
	}
	return nil
}

// nameError is what is wrong with a name, in Java's words, which tools and people know.
type nameError string

func (e nameError) Error() string { return string(e) }

func nameErrorf(format string, args ...any) error { return nameError(fmt.Sprintf(format, args...)) }

var legal = func() (ok [256]bool) {
	for _, c := range []byte("%|_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		ok[c] = true
	}
	return ok
}()

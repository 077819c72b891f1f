package topic

import "strings"

// Attributes of parent topics and of the groups that consume lite topics.
const (
	Lite                   = "LITE" // value of AttrMessageType: the topic is a parent
	AttrLiteExpiration     = "lite.topic.expiration"
	AttrLiteBind           = "lite.bind.topic"
	AttrLiteModel          = "lite.sub.model"
	LiteExclusive          = "Exclusive" // value of AttrLiteModel
	AttrLiteResetExclusive = "lite.sub.reset.offset.exclusive"
	AttrLiteResetLeave     = "lite.sub.reset.offset.unsubscribe"
	AttrLiteMaxEvents      = "lite.sub.client.max.event.cnt"
	AttrLiteWildcard       = "lite.sub.wildcard"
)

// LitePrefix begins the names of the light queues that are lite topics.
const LitePrefix = LMQPrefix + "$"

// LiteQueue is the name of the light queue that is a lite topic of its parent: %LMQ%$parent$lite. Source: Java LiteUtil.
func LiteQueue(parent, lite string) string { return LitePrefix + parent + "$" + lite }

// IsLite tells whether a queue is a lite topic.
func IsLite[T text](name T) bool { return hasPrefix(name, LitePrefix) }

// SplitLite takes the name of a lite topic's queue apart; ok is false if it is none.
func SplitLite(name string) (parent, lite string, ok bool) {
	rest, ok := strings.CutPrefix(name, LitePrefix)
	if !ok {
		return "", "", false
	}
	parent, lite, ok = strings.Cut(rest, "$")
	return parent, lite, ok && parent != "" && lite != ""
}

// CheckLite returns why a lite topic may not have this name, or nil. Its length is bounded by that of its queue, MaxRetryLength.
func CheckLite(lite string) error { return checkName("lite topic", lite) }

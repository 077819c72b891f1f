package topic

import "strings"

// PopRetryTopic is where messages go that a group has popped of a topic and not acknowledged in time. In the second
// version no two pairs of group and topic have the same name; clients may not create such a topic. Source: Java KeyBuilder.
func PopRetryTopic(name, group string, v2 bool) string {
	if v2 {
		return RetryPrefix + group + "+" + name
	}
	return RetryPrefix + group + "_" + name
}

// OfPopRetry takes the name of a group's pop retry topic of either version apart: it returns the topic whose messages come
// there. Of any other topic it returns the topic itself.
func OfPopRetry(name, group string) string {
	rest, ok := strings.CutPrefix(name, RetryPrefix+group)
	if ok && len(rest) > 1 && (rest[0] == '+' || rest[0] == '_') {
		return rest[1:]
	}
	return name
}

// ReviveTopic is where the check points and acknowledgements of popped messages come when they are due.
func ReviveTopic(cluster string) string { return RevivePrefix + cluster }

// IsRevive tells whether a topic is the revive topic of some cluster.
func IsRevive[T text](name T) bool { return hasPrefix(name, RevivePrefix) }

// ReviveGroup is who reads the revive topic: its committed offsets say how far. Source: Java PopAckConstants.
const ReviveGroup = "CID_RMQ_SYS_REVIVE_GROUP"

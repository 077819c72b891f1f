package send

import (
	"strconv"

	"rocketd/topic"
)

// priority reads the property of that name; ok is false for what is none.
func priority(value []byte) (p int32, ok bool) {
	n, err := strconv.ParseInt(string(value), 10, 32)
	return int32(n), err == nil && n >= 0
}

// byPriority tells whether the priority of a message says in which queue it goes. One that is delayed, part of a transaction or
// has a sharding key is of another type, and loses the property. Source: Java TopicMessageType.parseFromMessageProperty,
// remoting.md 3.1.1.
func (found *seen) byPriority() bool {
	return found.ranked && !found.half && found.level <= 0 && !found.timed && !found.ordered
}

// rank is the id of the queue of a priority: the higher the one, the higher the other. POP takes the highest first.
func rank(cfg *topic.Config, priority int32) int32 {
	return max(0, min(priority, cfg.WriteQueueNums-1))
}

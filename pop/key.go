package pop

import (
	"fmt"
	"strconv"

	"rocketd/message"
	"rocketd/topic"
)

// KeyOf says of a record of the revive topic what its check point is known by, and of which topic the messages are that come
// again: a check point and its acknowledgements have one key.
func KeyOf(r *message.Record) (of string, key []byte, err error) {
	tags, _ := message.Property(r.Properties, message.PropTags)
	var k loggedKey
	switch string(tags) {
	case tagCheckpoint:
		ck, err := ParseCheckpoint(r.Body)
		if err != nil {
			return "", nil, err
		}
		k = ck.key()
	case tagAck, tagBatchAck:
		a, err := ParseAck(r.Body)
		if err != nil {
			return "", nil, err
		}
		k = a.key()
	default:
		return "", nil, fmt.Errorf("record with tags %.20q in the revive topic", tags)
	}
	key = append(append(append(append(key, k.group...), 0), k.topic...), 0)
	key = strconv.AppendInt(key, int64(k.queue), 10)
	key = strconv.AppendInt(append(key, 0), k.start, 10)
	key = strconv.AppendInt(append(key, 0), k.popMs, 10)
	return topic.OfPopRetry(k.topic, k.group), key, nil
}

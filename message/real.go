package message

import "strconv"

// AppendReal appends props to dst as they are for a message that waits elsewhere: with the topic and queue that it was sent
// to, and without the properties named in drop. Source: Java HookUtils, TransactionalMessageBridge.
func AppendReal(dst, props, topic []byte, queue int32, drop ...string) []byte {
	dst = WithoutProperty(dst, props, append([]string{PropRealTopic, PropRealQueueID}, drop...)...)
	dst = AppendProperty(dst, PropRealTopic, topic)
	var digits [20]byte
	return AppendProperty(dst, PropRealQueueID, strconv.AppendInt(digits[:0], int64(queue), 10))
}

// Real returns the topic and queue that a message was sent to that waits elsewhere; ok is false if it does not say. The topic
// aliases props.
func Real(props []byte) (topic []byte, queue int32, ok bool) {
	topic, _ = Property(props, PropRealTopic)
	value, _ := Property(props, PropRealQueueID)
	id, err := strconv.ParseInt(string(value), 10, 32)
	return topic, int32(id), err == nil && len(topic) > 0
}

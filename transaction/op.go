package transaction

import (
	"bytes"
	"net/netip"
	"strconv"

	"rocketd/message"
	"rocketd/topic"
)

// opTag is the tag of an op message that says which half messages are done. Source: Java TransactionalMessageUtil.
const opTag = "d"

var opTagCode = message.TagsCode([]byte(opTag))

// opProperties is the property string of an op message. Source: Java TransactionalMessageBridge.makeOpMessageInner, and a
// store that Java 5.5 wrote.
var opProperties = message.AppendProperty(message.AppendProperty(nil, message.PropWaitStoreMsgOK, []byte("true")), message.PropTags, []byte(opTag))

// appendOp appends one offset of the half queue to the body of an op message: decimal, and a comma.
func appendOp(body []byte, offset int64) []byte {
	return append(strconv.AppendInt(body, offset, 10), ',')
}

// eachOp calls fn for each offset in the body of an op message. What is none is passed over: old brokers wrote a single
// number without the comma. Source: Java TransactionalMessageServiceImpl.fillOpRemoveMap.
func eachOp(body []byte, fn func(offset int64)) {
	for item := range bytes.SplitSeq(body, []byte{','}) {
		if n, err := strconv.ParseInt(string(item), 10, 64); err == nil && n >= 0 {
			fn(n)
		}
	}
}

// opDraft is an op message with a body of appendOp.
func opDraft(body []byte, host netip.AddrPort, nowMs int64) message.Draft {
	return message.Draft{
		Topic: []byte(topic.TransOpHalf), Body: body, Properties: opProperties,
		BornMs: nowMs, BornHost: host, StoreHost: host,
	}
}

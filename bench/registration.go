package bench

import (
	"fmt"

	"rocketd/protocol"
)

// registration is the request with which master i, which does not exist, registers topics of so many queues at a NameServer.
// It must have two: Java refuses a new broker with one.
func registration(i, queues int, topics ...string) []byte {
	addr := fmt.Sprintf("198.18.%d.%d", i>>8, i&255) // where nobody is. Source: RFC 2544
	w := protocol.NewFrame(nil, protocol.JSON, protocol.RegisterBroker, firstOpaque, 0, "")
	w.Str("brokerName", fmt.Sprintf("rocketd-bench-%d", i))
	w.Str("brokerAddr", addr+":10911")
	w.Str("clusterName", "RocketdBench")
	w.Str("haServerAddr", addr+":10912")
	w.Int("brokerId", 0)
	w.Bool("compressed", false)
	w.Int("bodyCrc32", 0)
	w.Body()
	w.Append([]byte(`{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":{`))
	for n, name := range topics {
		comma := ","
		if n == 0 {
			comma = ""
		}
		w.Append(fmt.Appendf(nil, `%s"%s":{"order":false,"perm":6,"readQueueNums":%d,"topicFilterType":"SINGLE_TAG","topicName":"%s","topicSysFlag":0,"writeQueueNums":%d}`,
			comma, name, queues, name, queues))
	}
	w.Append([]byte("}}}"))
	return w.Finish()
}

//go:build e2e

package e2e

import (
	"strconv"
	"testing"
	"time"
)

const codeHeartbeat = 34

// TestBroadcast follows a client of a broadcasting group that pulls from the broker, then through a proxy, and back; and one behind
// a proxy that begins where the last of its group is.
func TestBroadcast(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	p := newPopper(t, c, "Broadcast", 1)
	p.sendAll(t, "0", "1", "2", "3", "4")
	p.must(t, codeHeartbeat, nil, []byte(`{"clientID":"c1","producerDataSet":[],"consumerDataSet":[{"groupName":"`+p.group+`","consumeType":"CONSUME_PASSIVELY",
"messageModel":"BROADCASTING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":[{"classFilterMode":false,
"topic":"Broadcast","subString":"*","tagsSet":[],"codeSet":[],"subVersion":1,"expressionType":"TAG"}]}]}`))
	pull := func(from, code, next int, proxied string) {
		t.Helper()
		f := map[string]string{"consumerGroup": p.group, "topic": p.topic, "queueId": "0", "queueOffset": strconv.Itoa(from), "maxMsgNums": "1",
			"sysFlag": "0", "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "1", "expressionType": "TAG"}
		if proxied != "" {
			f["sysFlag"], f["requestSource"], f["proxyFrowardClientId"] = "4", "1", proxied
		}
		a, err := p.call(codePull, f, nil)
		if err != nil || a.code != code || a.ext["nextBeginOffset"] != strconv.Itoa(next) {
			t.Fatalf("pull from %d for %q: %+v, %v; want code %d and %d next", from, proxied, a, err, code, next)
		}
	}
	const moved = 21
	pull(2, 0, 3, "")
	pull(-1, moved, 2, "c1")
	pull(2, 0, 3, "c1")
	pull(3, 0, 4, "c1")
	pull(0, moved, 3, "")
	pull(3, 0, 4, "")
	time.Sleep(6 * time.Second) // what all have is committed every 5 s
	pull(-1, moved, 3, "c2")
	a := p.must(t, codeQueryOffset, map[string]string{"consumerGroup": p.group + "@broadcast", "topic": p.topic, "queueId": "0"}, nil)
	if a.ext["offset"] != "3" {
		t.Errorf("committed for all: %+v", a)
	}
}

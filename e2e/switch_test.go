//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestSwitchedMode switches a group between PULL and POP, back and forth, while two unmodified clients consume and a third sends: each
// message comes to one of them, and none is lost.
func TestSwitchedMode(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	p := newPeer(t, peerKinds[slices.IndexFunc(peerKinds, func(k *peerKind) bool { return k.name == "java5" })], c.namesrv.addr)
	const topic = "Switched"
	c.createTopic(t, topic, queues)
	w := dial(t, c.brokers[0].addr)
	w.must(t, codeUpdateGroup, nil, []byte(`{"groupName":"G-`+topic+`","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16}`))
	mode := func(to string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"topic": topic, "consumerGroup": "G-" + topic, "mode": to, "popShareQueueNum": 0})
		if err != nil {
			t.Fatal(err)
		}
		w.must(t, codeSetMode, nil, body)
	}
	for _, name := range []string{topic + "-one", topic + "-two"} {
		subscribe(t, p, name, topic, "rebalance", "server")
	}
	sent := 0
	send := func() {
		t.Helper()
		produce(t, p, topic, "sync", sent, 50)
		sent += 50
	}
	popped := func(from int) bool {
		for _, m := range p.got(topic, topic) {
			if i, _ := strconv.Atoi(m.keys[len("k-"):]); i >= from && m.popped {
				return true
			}
		}
		return false
	}
	pulled := func(from int) bool {
		for _, m := range p.got(topic, topic) {
			if i, _ := strconv.Atoi(m.keys[len("k-"):]); i >= from && !m.popped {
				return true
			}
		}
		return false
	}
	eventually(t, 60*time.Second, "the group pulls", func() bool { send(); return pulled(0) })
	for range 2 { // members ask for the mode every 20 s, and when the group changes
		mode("POP")
		from := sent
		eventually(t, 60*time.Second, "the group pops", func() bool { send(); return popped(from) })
		mode("PULL")
		from = sent
		eventually(t, 60*time.Second, "the group pulls again", func() bool { send(); return pulled(from) })
	}
	send()
	eventually(t, 120*time.Second, fmt.Sprintf("all of %d messages have come", sent), func() bool {
		seen := map[string]bool{}
		for _, m := range p.got(topic, topic) {
			seen[m.keys] = true
		}
		return len(seen) == sent
	})
	t.Logf("%d messages, %d deliveries", sent, len(p.got(topic, topic)))
}

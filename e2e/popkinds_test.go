//go:build e2e

package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPopLight pops a light queue, whose messages lie in another topic, acknowledges one and gets the others again.
func TestPopLight(t *testing.T) {
	c := newClusterWith(t, []string{"enableLmq=true", "enableMultiDispatch=true"}, underTest(), underTest())
	p := newPopper(t, c, "PopParent", 1)
	p.sendAll(t, "x", "y")
	f := sendFields(p.topic, 0)
	f["properties"] = "INNER_MULTI_DISPATCH\x01%LMQ%b,%LMQ%a\x02"
	for _, body := range []string{"a", "b", "c"} {
		p.must(t, codeSend, f, []byte(body))
	}
	p.topic = "%LMQ%a"
	pop := func() string {
		t.Helper()
		a, err := p.call(codePop, p.fields("invisibleTime", "3000"), nil)
		if err != nil || a.code != 0 && a.code != 210 {
			t.Fatalf("%+v, %v", a, err)
		}
		recs, err := records(a.body)
		if err != nil {
			t.Fatal(err)
		}
		bodies := []string{a.ext["startOffsetInfo"], a.ext["msgOffsetInfo"]}
		for _, r := range recs {
			bodies = append(bodies, r.topic+":"+string(r.body))
			if body := string(r.body); body == "b" || r.topic == p.topic { // of the first, and all that come again
				handle := r.properties["POP_CK"]
				real, offset := "%RETRY%"+p.group+"_"+p.topic, strconv.FormatInt(r.queueOffset, 10)
				if handle == "" {
					real, offset = p.topic, "1"
					handle = strings.Join([]string{"0", a.ext["popTime"], a.ext["invisibleTime"], a.ext["reviveQid"], "0 broker-a 0 1"}, " ")
				}
				p.must(t, codeAck, map[string]string{"consumerGroup": p.group, "topic": real, "queueId": "0", "extraInfo": handle, "offset": offset}, nil)
			}
		}
		return strings.Join(bodies, " | ")
	}
	got := ""
	eventually(t, 20*time.Second, "the light queue has its messages", func() bool {
		a := p.must(t, codeMaxOffset, map[string]string{"topic": p.topic, "queueId": "0"}, nil)
		return a.ext["offset"] == "3"
	})
	if got, want := pop(), "0 0 0 | 0 0 0,1,2 | PopParent:a | PopParent:b | PopParent:c"; got != want {
		t.Fatalf("popped %s, want %s", got, want)
	}
	eventually(t, 30*time.Second, "the messages that were not acknowledged come again", func() bool {
		got = pop()
		return strings.Contains(got, "%LMQ%a")
	})
	if want := "1 0 0 | 1 0 0,1 | %LMQ%a:a | %LMQ%a:c"; got != want {
		t.Errorf("again %s, want %s", got, want)
	}
}

// TestPopBatches has a real client pop a topic that keeps batches whole: each of their messages comes once, and those that the client
// fails come again. Java's broker lends whole batches, whose messages its own client then does not find: all are lost.
func TestPopBatches(t *testing.T) {
	if underTest() == java {
		t.Skip("Java's broker cannot")
	}
	c := newCluster(t, underTest(), underTest())
	i := slices.IndexFunc(peerKinds, func(k *peerKind) bool { return k.name == "java5" })
	p := newPeer(t, peerKinds[i], c.namesrv.addr)
	const topic = "PopBatches"
	c.createTopic(t, topic, 2)
	w := dial(t, c.brokers[0].addr)
	w.must(t, codeDeleteTopic, map[string]string{"topic": topic}, nil)
	updateTopic(t, w, topic, 2, "+queue.type=BatchCQ")
	letPop(t, c, topic)
	produce(t, p, topic, "batch", 0, 40)
	subscribe(t, p, topic, topic, "rebalance", "server", "fail", "1")
	produce(t, p, topic, "batch", 40, 20)
	eventually(t, 90*time.Second, "each message comes twice, and not more often", func() bool {
		count := map[string]int{}
		for _, m := range p.got(topic, topic) {
			count[m.keys]++
		}
		for i := range 60 {
			if count["k-"+strconv.Itoa(i)] != 2 {
				return false
			}
		}
		return len(count) == 60
	})
	p.do(t, "op", "unsubscribe", "name", topic)
}

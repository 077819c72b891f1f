//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// newJavaProxy starts Java's proxy before the brokers of a NameServer and returns the address of its gRPC port.
func newJavaProxy(t *testing.T, c *cluster) string {
	t.Helper()
	needJava(t)
	port := freePort(t)
	s := &server{name: "proxy", dir: folder(t, "proxy"), args: []string{"./javamq", "proxy", "--dir", folder(t, "proxy"), "--port", strconv.Itoa(port), "--namesrv", c.namesrv.addr}}
	t.Cleanup(func() {
		if s.process != nil {
			s.process.kill()
		}
	})
	p, err := start(s.name, s.env, s.args...)
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	if err := p.waitFor("startup successfully", 3*time.Minute); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// liteKeys returns the keys that a consumer was given, each with its attempt if that is not the first, sorted.
func liteKeys(p *peer, consumer, topic string) string {
	var keys []string
	for _, m := range p.got(consumer, topic) {
		key := m.keys
		if m.attempt > 1 {
			key += "*" + strconv.Itoa(m.attempt)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

// TestLite has the gRPC client of lite topics, through Java's proxy, produce and consume, and mqadmin show it.
func TestLite(t *testing.T) {
	c := newClusterWith(t, []string{"enableLmq=true", "enableMultiDispatch=true"}, underTest(), underTest())
	admin := newPeer(t, peerKinds[0], c.namesrv.addr)
	show, soon := printing(t, admin, c)
	broker := c.brokers[0].addr
	show("success", "updateTopic", "-b", broker, "-t", "Parent", "-r", "4", "-w", "4", "-a", "+message.type=LITE,+lite.topic.expiration=60")
	for group, attributes := range map[string]string{"shared": "", "alone": ",+lite.sub.model=Exclusive"} {
		show("success", "updateSubGroup", "-b", broker, "-g", group, "--attributes", "+lite.bind.topic=Parent"+attributes)
	}
	soon(`broker-a`, "topicRoute", "-t", "Parent")
	p := newPeer(t, litePeer, newJavaProxy(t, c))
	consume := func(name, group string, more ...string) {
		t.Helper()
		p.do(t, append([]string{"op", "consume", "name", name, "group", group, "topic", "Parent"}, more...)...)
	}
	produce := func(lite string, first, count int) {
		t.Helper()
		p.do(t, "op", "produce", "topic", "Parent", "lite", lite, "first", strconv.Itoa(first), "count", strconv.Itoa(count))
	}
	subscribe := func(name, lite string, more ...string) {
		t.Helper()
		p.do(t, append([]string{"op", "subscribe", "name", name, "lite", lite}, more...)...)
	}
	wantKeys := func(name, keys string) {
		t.Helper()
		deadline := time.Now().Add(60 * time.Second)
		for liteKeys(p, name, "Parent") != keys {
			if time.Now().After(deadline) {
				t.Fatalf("%s got %q, want %q", name, liteKeys(p, name, "Parent"), keys)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}

	produce("a", 0, 3)
	produce("b", 0, 2)
	consume("one", "shared")
	subscribe("one", "a")
	wantKeys("one", "a-0 a-1 a-2")
	produce("a", 3, 1)
	subscribe("one", "b")
	wantKeys("one", "a-0 a-1 a-2 a-3 b-0 b-1")
	p.do(t, "op", "unsubscribe", "name", "one", "lite", "b")
	produce("b", 2, 1)
	produce("a", 4, 1)
	wantKeys("one", "a-0 a-1 a-2 a-3 a-4 b-0 b-1")

	t.Log("exclusive: the second one has it, the first one is told")
	consume("first", "alone")
	subscribe("first", "f")
	produce("f", 0, 2)
	wantKeys("first", "f-0 f-1")
	consume("second", "alone")
	subscribe("second", "f")
	eventually(t, 30*time.Second, "the first client hears that it lost f", func() bool {
		return p.do(t, "op", "subscribed", "name", "first").Get("result") == ""
	})
	produce("f", 2, 1)
	wantKeys("second", "f-2")

	t.Log("tools")
	show(`(?s) default 20000 3 2 3 .*Topic Meta: \{"Parent":60\}.*Group Meta: \{"Parent":\[("shared","alone"|"alone","shared")\]\}`, "getBrokerLiteInfo", "-c", "DefaultCluster", "-d")
	show(`broker-a 60 3 3 \[(shared, alone|alone, shared)\]`, "getParentTopicInfo", "-p", "Parent")
	show(`(?s)broker-a 0 5 [-0-9]+ [:,0-9]+ true 1 .*@shared\]`, "getLiteTopicInfo", "-p", "Parent", "-l", "a", "-s")
	show(`(?s)broker-a 5 5 0 .*Total Lag Count: 0`, "getLiteGroupInfo", "-p", "Parent", "-g", "shared", "-l", "a")
	show(`(?s)Total Lag Count: 1\n.*1 b 1 `, "getLiteGroupInfo", "-p", "Parent", "-g", "shared", "-k", "5")
	show(`broker-a dispatched`, "triggerLiteDispatch", "-p", "Parent", "-g", "shared")
}

//go:build e2e

package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mqadmin runs one command of Java's mqadmin inside a Java peer and returns what it prints, runs of blanks made one.
func mqadmin(t *testing.T, p *peer, c *cluster, args ...string) string {
	t.Helper()
	args = append([]string{args[0], "-n", c.namesrv.addr}, args[1:]...)
	out := p.do(t, "op", "mqadmin", "args", strings.Join(args, "\n")).Get("output")
	return regexp.MustCompile(`[ \t]+`).ReplaceAllString(out, " ")
}

// printing returns what runs a command and looks for a pattern in what it prints: want at once, soon for what Java's servers take
// a moment to know.
func printing(t *testing.T, p *peer, c *cluster) (want, soon func(pattern string, args ...string)) {
	want = func(pattern string, args ...string) {
		t.Helper()
		if out := mqadmin(t, p, c, args...); !regexp.MustCompile(pattern).MatchString(out) {
			t.Errorf("mqadmin %s: no match for %s in\n%s", strings.Join(args, " "), pattern, out)
		}
	}
	soon = func(pattern string, args ...string) {
		t.Helper()
		var out string
		defer func() {
			if t.Failed() {
				t.Logf("mqadmin %s printed\n%s", strings.Join(args, " "), out)
			}
		}()
		eventually(t, 30*time.Second, "mqadmin "+strings.Join(args, " ")+" prints "+pattern, func() bool {
			out = mqadmin(t, p, c, args...)
			return regexp.MustCompile(pattern).MatchString(out)
		})
	}
	return want, soon
}

// TestMqadmin runs the commands of a first day, and wants each to print what it prints before Java's servers.
func TestMqadmin(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	broker := c.brokers[0].addr
	p := newPeer(t, peerKinds[0], c.namesrv.addr)
	want, soon := printing(t, p, c)
	quote := regexp.QuoteMeta

	want(`create topic to `+quote(broker)+` success\.\nTopicConfig \[topicName=AdminTopic, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false`,
		"updateTopic", "-c", "DefaultCluster", "-t", "AdminTopic", "-r", "4", "-w", "4")
	want(`topicName=OtherTopic, readQueueNums=3, writeQueueNums=2, perm=R--`,
		"updateTopic", "-b", broker, "-t", "OtherTopic", "-r", "3", "-w", "2", "-p", "4")
	soon(`(?ms)^AdminTopic$.*^OtherTopic$|^OtherTopic$.*^AdminTopic$`, "topicList")
	want(`(?s)"brokerAddrs":\{\s*0:"`+quote(broker)+`"\s*\},\s*"brokerName":"broker-a",\s*"cluster":"DefaultCluster".*"queueDatas":\[\s*\{\s*`+
		`"brokerName":"broker-a",\s*"perm":6,\s*"readQueueNums":4,\s*"topicSysFlag":0,\s*"writeQueueNums":4`,
		"topicRoute", "-t", "AdminTopic")
	want(`create subscription group to `+quote(broker)+` success\.\nSubscriptionGroupConfig\{groupName=AdminGroup, consumeEnable=true,.* retryMaxTimes=5,`,
		"updateSubGroup", "-c", "DefaultCluster", "-g", "AdminGroup", "-r", "5")

	a := p.do(t, "op", "produce", "group", "AdminProducer", "topic", "AdminTopic", "mode", "sync", "keys", "k", "count", "20")
	acks := strings.Split(a.Get("acks"), ",")
	last := strings.Split(acks[len(acks)-1], "/")
	p.do(t, "op", "subscribe", "name", "one", "group", "AdminGroup", "topic", "AdminTopic")
	consumed(t, p, "one", "AdminTopic", 20)

	soon(`(?s)broker-a 0 0 5 \d{4}-\d\d-\d\d.*broker-a 1 0 5 .*broker-a 2 0 5 .*broker-a 3 0 5 .*Topic Put TPS: \d`, "topicStatus", "-t", "AdminTopic")
	want(`(?m)^DefaultCluster broker-a 0 `+quote(broker)+` V\d.* true\s*$`, "clusterList")
	for _, key := range []string{"brokerVersionDesc", "bootTimestamp", "msgPutTotalTodayNow", "putTps", "runtime", "commitLogMaxOffset", "getTotalTps", "sendThreadPoolQueueSize"} {
		want(`(?m)^`+key+` ?: \S`, "brokerStatus", "-b", broker)
	}
	soon(`(?s)AdminTopic broker-a 0 5 5 0 .*AdminTopic broker-a 3 5 5 0 .*Consume Diff Total: 0`, "consumerProgress", "-g", "AdminGroup")
	want(`(?m)^AdminGroup 1 V5_5_0 PUSH CLUSTERING \d+ 0\s*$`, "consumerProgress")
	want(`(?s)@one 127\.0\.0\.1:\d+ JAVA V5_5_0.*%RETRY%AdminGroup \*.*AdminTopic \*.*ConsumeType: CONSUME_PASSIVELY\s+MessageModel: CLUSTERING\s+ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET`,
		"consumerConnection", "-g", "AdminGroup")
	want(`(?m)^0001 .*@p0 127\.0\.0\.1:\d+ JAVA V5_5_0`, "producerConnection", "-g", "AdminProducer", "-t", "AdminTopic")

	found := `(?s)OffsetID: ` + a.Get("offsetMsgId") + `\s+Topic: AdminTopic\s+Tags: \[null\]\s+Keys: \[k-19\]\s+Queue ID: ` + last[1] + `\s+Queue Offset: ` + last[2] +
		`\s+.*Store Host: ` + quote(broker) + `.*UNIQ_KEY=.*MessageTrack \[consumerGroup=AdminGroup, trackType=CONSUMED`
	want(found, "queryMsgById", "-t", "AdminTopic", "-i", a.Get("offsetMsgId"))
	want(found, "queryMsgByOffset", "-t", "AdminTopic", "-b", "broker-a", "-i", last[1], "-o", last[2])
	body := regexp.MustCompile(`Message Body Path: (\S+)`).FindStringSubmatch(mqadmin(t, p, c, "queryMsgById", "-t", "AdminTopic", "-i", a.Get("offsetMsgId")))
	if body == nil {
		t.Error("queryMsgById names no file for the body")
	} else if b, err := os.ReadFile(body[1]); err != nil || string(b) != "19" {
		t.Errorf("queryMsgById wrote %q (%v), want 19", b, err)
	} else {
		os.Remove(body[1]) // mqadmin writes to /tmp/rocketmq, wherever it runs
	}

	// Online: the consumer gets everything again. Offline: the next consumer does.
	reset := `(?s)reset consumer offset by specified, group\[AdminGroup\], topic\[AdminTopic\].*#brokerName #queueId #offset.*broker-a \d 0`
	want(reset, "resetOffsetByTime", "-g", "AdminGroup", "-t", "AdminTopic", "-s", "0")
	eventually(t, 40*time.Second, "a reset group consumes again", func() bool { return len(p.got("one", "AdminTopic")) >= 40 })
	soon(`Consume Diff Total: 0`, "consumerProgress", "-g", "AdminGroup")
	p.do(t, "op", "unsubscribe", "name", "one")
	want(`(?s)Not found the consumer group connection|CODE: 206|not online`, "consumerConnection", "-g", "AdminGroup")
	want(reset, "resetOffsetByTime", "-g", "AdminGroup", "-t", "AdminTopic", "-s", "0")
	want(`(?s)AdminTopic broker-a 0 5 0 5 .*Consume Diff Total: 20`, "consumerProgress", "-g", "AdminGroup")
	p.do(t, "op", "subscribe", "name", "two", "group", "AdminGroup", "topic", "AdminTopic")
	consumed(t, p, "two", "AdminTopic", 20)
	p.do(t, "op", "unsubscribe", "name", "two")

	want(`(?m)^maxMessageSize = 4194304$`, "getBrokerConfig", "-b", broker)
	want(`update broker config success, `+quote(broker), "updateBrokerConfig", "-b", broker, "-k", "maxMessageSize", "-v", "100000")
	want(`(?m)^maxMessageSize = 100000$`, "getBrokerConfig", "-b", broker)
	w := dial(t, broker)
	if _, err := w.send("AdminTopic", 0, make([]byte, 99_999)); err != nil {
		t.Errorf("a body below the new maxMessageSize: %v", err)
	}
	if _, err := w.send("AdminTopic", 0, make([]byte, 100_001)); err == nil {
		t.Error("a body above the new maxMessageSize is stored")
	}

	want(`wipe write perm of broker\[broker-a\] in name server\[`+quote(c.namesrv.addr)+`\] OK, \d+`, "wipeWritePerm", "-b", "broker-a")
	want(`"perm":4,`, "topicRoute", "-t", "AdminTopic")
	want(`add write perm of broker\[broker-a\] in name server\[`+quote(c.namesrv.addr)+`\] OK, \d+`, "addWritePerm", "-b", "broker-a")
	want(`"perm":6,`, "topicRoute", "-t", "AdminTopic")
	want(`create or update kv config to namespace success`, "updateKvConfig", "-s", "E2E", "-k", "key", "-v", "value")
	if a := dial(t, c.namesrv.addr).must(t, 101, map[string]string{"namespace": "E2E", "key": "key"}, nil); a.ext["value"] != "value" {
		t.Errorf("the NameServer holds %q for the key", a.ext["value"])
	}

	want(`delete subscription group \[AdminGroup\] from broker \[`+quote(broker)+`\] in cluster \[DefaultCluster\] success`,
		"deleteSubGroup", "-c", "DefaultCluster", "-g", "AdminGroup", "-r", "true")
	want(`(?s)delete topic \[AdminTopic\] from cluster \[DefaultCluster\] success.*delete topic \[AdminTopic\] from NameServer success`,
		"deleteTopic", "-c", "DefaultCluster", "-t", "AdminTopic")
	want(`CODE: 17 `, "topicRoute", "-t", "AdminTopic")
	if out := mqadmin(t, p, c, "topicList"); regexp.MustCompile(`(?m)^AdminTopic$`).MatchString(out) {
		t.Errorf("the deleted topic is still listed:\n%s", out)
	}
	// Messages go with the topic: made again, it starts empty.
	c.createTopic(t, "AdminTopic", 4)
	if a := w.must(t, codeMaxOffset, map[string]string{"topic": "AdminTopic", "queueId": "0"}, nil); a.ext["offset"] != strconv.Itoa(0) {
		t.Errorf("a topic that was deleted and made again begins at %s", a.ext["offset"])
	}
}

// TestMqadmin_Offsets skips what a group has not consumed, gives its offsets to another one, asks connected clients about
// themselves, and switches how a group gets messages.
func TestMqadmin_Offsets(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	p := newPeer(t, peerKinds[0], c.namesrv.addr)
	want, soon := printing(t, p, c)
	const topic, group = "SkipTopic", "G-SkipTopic"
	c.createTopic(t, topic, 2)
	produce(t, p, topic, "sync", 0, 10)
	subscribe(t, p, topic, topic)
	consumed(t, p, topic, topic, 10)
	client := regexp.MustCompile(`\S+@` + topic).FindString(mqadmin(t, p, c, "consumerConnection", "-g", group))
	want(`(?s)#Consumer Running Info#|#Consumer Properties#.*PROP_CLIENT_VERSION.*SkipTopic`, "consumerStatus", "-g", group, "-i", client)
	soon(`Consume Diff Total: 0`, "consumerProgress", "-g", group)
	p.do(t, "op", "unsubscribe", "name", topic)

	produce(t, p, topic, "sync", 10, 10)
	soon(`Consume Diff Total: 10`, "consumerProgress", "-g", group)
	want(`(?s)#brokerName #queueId #offset.*broker-a \d 10.*broker-a \d 10`, "skipAccumulatedMessage", "-g", group, "-t", topic)
	soon(`Consume Diff Total: 0`, "consumerProgress", "-g", group)
	subscribe(t, p, topic+"-two", topic)
	produce(t, p, topic, "sync", 20, 4)
	for key := range consumed(t, p, topic+"-two", topic, 4) {
		if i, _ := strconv.Atoi(strings.TrimPrefix(key, "k-")); i < 20 {
			t.Errorf("message %s came although it was skipped", key)
		}
	}
	p.do(t, "op", "unsubscribe", "name", topic+"-two")

	soon(`broker-a 0 12 12 0 .*`, "consumerProgress", "-g", group)
	want(`create subscription group to`, "updateSubGroup", "-c", "DefaultCluster", "-g", "Cloned")
	want(`clone group offset success. srcGroup\[`+group+`\], destGroup=\[Cloned\], topic\[`+topic+`\]`, "cloneGroupOffset", "-s", group, "-d", "Cloned", "-t", topic, "-o", "true")
	w := dial(t, c.brokers[0].addr)
	for _, id := range []string{"0", "1"} {
		if a := w.must(t, 14, map[string]string{"consumerGroup": "Cloned", "topic": topic, "queueId": id}, nil); a.ext["offset"] != "12" {
			t.Errorf("the clone is at %s in queue %s, want 12", a.ext["offset"], id)
		}
	}

	broker := c.brokers[0].addr
	want(`(?m)success`, "updateColdDataFlowCtrGroupConfig", "-b", broker, "-g", group, "-v", "1000")
	want(`(?s)configTable.*`+group+`.*1000`, "getColdDataFlowCtrInfo", "-b", broker)
	want(`(?m)success`, "removeColdDataFlowCtrGroupConfig", "-b", broker, "-g", group)
	want(`set commitlog readahead mode success, mode: 1`, "setCommitLogReadAheadMode", "-b", broker, "-m", "1")
	want(`(?s)set consume mode to .* success.*topic\[`+topic+`\] group\[`+group+`\] consume mode\[PULL\] popShareQueueNum\[0\]`, "setConsumeMode", "-c", "DefaultCluster", "-t", topic, "-g", group, "-m", "PULL", "-q", "0")
}

// TestMqadmin_Trace sends and consumes one message whose ways the clients write to the trace topic, where mqadmin finds them.
func TestMqadmin_Trace(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	p := newPeer(t, peerKinds[0], c.namesrv.addr)
	_, soon := printing(t, p, c)
	const topic = "Traced"
	c.createTopic(t, topic, 1)
	subscribe(t, p, topic, topic, "trace", "true")
	a := p.do(t, "op", "produce", "group", "P-"+topic, "topic", topic, "mode", "sync", "keys", "k", "count", "1", "trace", "true")
	consumed(t, p, topic, topic, 1)
	soon(`(?s)Pub P-Traced .*success.*Sub G-Traced .*success`, "queryMsgTraceById", "-i", a.Get("msgId"))
}

// TestMqadmin_Process runs mqadmin as people do, in a JVM of its own.
func TestMqadmin_Process(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	needJava(t)
	out, err := tool(".", []string{"JAVAMQ_CACHE=" + javaCache()}, "./javamq", "mqadmin", "clusterList", "-n", c.namesrv.addr)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, c.brokers[0].addr) {
		t.Errorf("clusterList does not list the broker:\n%s", out)
	}
}

package manage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/laxjson"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/stats"
	"rocketd/topic"
)

// The remarks, and the bodies of good answers, are those of recorded frames.
func TestService_UpdateTopic(t *testing.T) {
	test(t, func(f *fixture) {
		const rest = " defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=6 topicFilterType=SINGLE_TAG order=false"
		f.check(f.UpdateTopic, "topic=A"+rest+" topicSysFlag=0 attributes=", "", "")
		f.check(f.Topic, "topic=A", "", `{"attributes":{},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"A","topicSysFlag":0,"writeQueueNums":2}`)
		f.check(f.UpdateTopic, "topic=A"+rest+" attributes=+message.type=FIFO,+reserve.time=5", "", "")
		f.check(f.UpdateTopic, "topic=A"+rest+" attributes=-reserve.time topicSysFlag=1", "", "")
		f.check(f.Topic, "topic=A", "", `{"attributes":{"message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"A","topicSysFlag":1,"writeQueueNums":2}`)
		f.check(f.UpdateTopic, "topic=bad!"+rest, "", "29 The specified topic: bad!, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
		f.check(f.UpdateTopic, "topic=SCHEDULE_TOPIC_XXXX"+rest, "", "29 The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic.")
		f.check(f.UpdateTopic, "topic=broker-g"+rest, "", "29 The topic[broker-g] is conflict with system topic.")
		f.check(f.UpdateTopic, "topic=A"+rest+" attributes=+message.type=MIXED", "", "29 MIXED message type is not supported.")
		f.check(f.UpdateTopic, "topic=A"+rest+" attributes=+queue.type=BatchCQ", "", "1 attempt to update an unchangeable attribute. key: queue.type")
		f.check(f.UpdateTopic, "topic=A"+rest+" attributes=nosign", "", "1 delete attribute format is wrong: nosign")
		f.check(f.UpdateTopic, "topic=A"+rest+" writeQueueNums=2000000000", "", "29 The topic[A] cannot have 2 read and 2000000000 write queues, only 0 to 65536.")
		f.check(f.UpdateTopic, "topic=A"+rest+" topicFilterType=X", "", "1 topicFilterType = [X] value not correct")
		f.check(f.Topic, "topic=Fnt", "", "17 No topic in this broker. topic: Fnt")
		f.settings["validateSystemTopicWhenUpdateTopic"] = "false"
		f.check(f.UpdateTopic, "topic=broker-g"+rest, "", "")
	})
}

func TestService_UpdateTopics(t *testing.T) {
	test(t, func(f *fixture) {
		list := func(names ...string) string {
			var configs []*topic.Config
			for _, name := range names {
				configs = append(configs, topic.NewConfig(name, 2))
			}
			b := protocol.CreateTopicListRequestBody{TopicConfigList: configs}
			data, err := b.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		f.check(f.UpdateTopics, "", list("A", "b!"), "29 The specified topic: b!, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
		if f.cfg.Topics.Get([]byte("A")) != nil {
			t.Error("a topic of a bad list was created")
		}
		f.check(f.UpdateTopics, "", list("FFT", "A"), "") // FFT is there already
		if f.cfg.Topics.Get([]byte("A")) == nil {
			t.Error("not created")
		}
		f.check(f.UpdateTopics, "", `{"topicConfigList":[null]}`, "29 a topic of the list is null")
		f.check(f.UpdateTopics, "", "", "29 the request has no body")
		if got := f.ask(f.UpdateTopics, "", "{"); !strings.HasPrefix(got, "29 the body cannot be read") {
			t.Error(got)
		}
	})
}

// With a topic go its offsets, queues, counters and the pop retry topics of its groups; a new one of that name
// begins at 0.
func TestService_DeleteTopic(t *testing.T) {
	test(t, func(f *fixture) {
		f.commit("FFPush", "FFT", 3, 6)
		f.commit("FFPush", "%RETRY%FFPush_FFT", 1)
		f.cfg.Stats.Item(stats.TopicPutNums, "FFT", "").Add(1)
		if err := f.cfg.Topics.Put(topic.NewConfig("%RETRY%FFPush_FFT", 1), topic.NewConfig("%RETRY%FFPush", 1)); err != nil {
			t.Fatal(err)
		}
		f.check(f.DeleteTopic, "topic=TBW102", "", "29 The topic[TBW102] is conflict with system topic.")
		f.check(f.DeleteTopic, "topic=", "", "29 The specified topic is blank.")
		f.check(f.DeleteTopic, "topic=nobody", "", "")
		f.check(f.DeleteTopic, "topic=FFT", "", "")
		all, _ := f.cfg.Topics.All()
		if len(all) != 1 || all["%RETRY%FFPush"] == nil {
			t.Errorf("topics left: %v", all)
		}
		if names := f.cfg.Offsets.Topics("FFPush"); len(names) != 0 {
			t.Errorf("offsets left: %v", names)
		}
		f.check(f.Stats, "statsName=TOPIC_PUT_NUMS statsKey=FFT", "", "1 The stats <TOPIC_PUT_NUMS> <FFT> not exist")
		if err := f.cfg.Topics.Put(topic.NewConfig("FFT", 1)); err != nil {
			t.Fatal(err)
		}
		f.append("FFT", 0, 1795568610000)
		f.check(f.TopicStats, "topic=FFT", "", `{"offsetTable":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:{"lastUpdateTimestamp":1795568610000,"maxOffset":1,"minOffset":0}},"topicPutTps":0.0}`)
	})
}

// A list is deleted whole or not at all.
func TestService_DeleteLists(t *testing.T) {
	test(t, func(f *fixture) {
		f.commit("FFPush", "FFT", 3)
		f.check(f.DeleteTopics, "", `{"topicList":[]}`, "29 The list of topics is empty.")
		f.check(f.DeleteTopics, "", `{"topicList":["FFT","TBW102"]}`, "29 The topic[TBW102] is conflict with system topic.")
		f.check(f.DeleteGroups, "", `{"groupNameList":[]}`, "29 The list of groups is empty.")
		f.check(f.DeleteGroups, "", `{"groupNameList":["FFPush"," "]}`, "29 The specified group is blank.")
		if f.cfg.Topics.Get([]byte("FFT")) == nil || f.cfg.Groups.Get([]byte("FFPush")) == nil {
			t.Error("deleted half of a list")
		}
		f.check(f.DeleteGroups, "", `{"cleanOffset":true,"groupNameList":["FFPush","x"]}`, "")
		f.check(f.DeleteTopics, "", `{"topicList":["x","FFT"]}`, "")
		if f.cfg.Topics.Get([]byte("FFT")) != nil || f.cfg.Groups.Get([]byte("FFPush")) != nil || len(f.cfg.Offsets.Topics("FFPush")) != 0 {
			t.Error("something is left")
		}
	})
}

// Queues without a topic go, but not those of the system and light queues.
func TestService_CleanUnusedTopics(t *testing.T) {
	test(t, func(f *fixture) {
		for _, name := range []string{"old", "%LMQ%x", "SCHEDULE_TOPIC_XXXX", "broker-g"} {
			f.append(name, 0, 1795568610000)
		}
		f.check(f.CleanUnusedTopics, "", "", "")
		names := f.store.Topics()
		slices.Sort(names)
		if want := []string{"%LMQ%x", "FFT", "SCHEDULE_TOPIC_XXXX", "broker-g"}; !slices.Equal(names, want) {
			t.Errorf("left: %q", names)
		}
	})
}

// All at once without fields; with fields a page, which begins anew when the table has changed.
func TestService_Topics(t *testing.T) {
	test(t, func(f *fixture) {
		if err := f.cfg.Topics.Put(topic.NewConfig("A", 1), topic.NewConfig("B", 1), topic.NewConfig("C", 1)); err != nil {
			t.Fatal(err)
		}
		_, version := f.cfg.Topics.All()
		seen, err := version.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		check := func(fields, want string) {
			t.Helper()
			header, text, _ := strings.Cut(f.ask(f.Topics, fields, ""), " ")
			var b protocol.TopicConfigAndMappingSerializeWrapper
			if err := laxjson.Unmarshal([]byte(text), &b); err != nil || header != "totalTopicNum=4" || b.DataVersion != version {
				t.Errorf("%s: %s %s, %v", fields, header, text, err)
			}
			var names []string
			for name := range b.TopicConfigTable {
				names = append(names, name)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%s: %s, want %s", fields, got, want)
			}
		}
		check("", "A B C FFT")
		check("topicSeq=0 dataVersion= maxTopicNum=2000", "A B C FFT")
		check("topicSeq=0 maxTopicNum=3", "A B C")
		check("topicSeq=2 maxTopicNum=3 dataVersion="+string(seen), "C FFT")
		check(`topicSeq=2 maxTopicNum=3 dataVersion={"counter":1}`, "A B C")
		check("topicSeq=9 maxTopicNum=3", "")
		check("topicSeq=-1 maxTopicNum=-1", "")
		check("nothing=known", "A B C FFT")
		f.settings["splitMetadataSize"] = "2"
		check("topicSeq=1 maxTopicNum=3", "B C")
		check("topicSeq=1", "B C")
		if err := f.cfg.Topics.Delete("B"); err != nil {
			t.Fatal(err)
		}
		if err := f.cfg.Topics.Put(topic.NewConfig("D", 1)); err != nil {
			t.Fatal(err)
		}
		_, version = f.cfg.Topics.All()
		check("topicSeq=1", "C D")
		f.settings["enableSplitMetadata"] = "false"
		check("topicSeq=0 maxTopicNum=3", "A C D FFT")
	})
}

func TestService_SystemTopics(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.SystemTopics, "", "", `{"topicList":["BenchmarkTest","CHECKPOINT_TOPIC","GoldenCluster","OFFSET_MOVED_EVENT","RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC","RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC","RMQ_SYS_TRACE_TOPIC","RMQ_SYS_TRANS_HALF_TOPIC","RMQ_SYS_TRANS_OP_HALF_TOPIC","SCHEDULE_TOPIC_XXXX","SELF_TEST_TOPIC","TBW102","TRANS_CHECK_MAX_TIME_TOPIC","broker-g","rmq_sys_wheel_timer"]}`)
	})
}

func TestService_Groups(t *testing.T) {
	test(t, func(f *fixture) {
		const g = `{"attributes":{},"brokerId":0,"consumeBroadcastEnable":false,"consumeEnable":true,"consumeFromMinEnable":false,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"FAG","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":5,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}`
		f.check(f.UpdateGroup, "", g, "")
		f.check(f.Group, "group=FAG", "", g)
		f.check(f.Group, "group=Fngx", "", "26 No group in this broker. group: Fngx")
		f.check(f.UpdateGroup, "", `{"groupName":"a b"}`, "29 The specified group: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
		f.check(f.UpdateGroup, "", `{"groupName":"FAG","attributes":{"+x":"y"}}`, "1 unsupported key: x")
		f.check(f.UpdateGroup, "", `{"groupName":"FAG","attributes":{"+priority.factor":"5"}}`, "")
		if c := f.cfg.Groups.Get([]byte("FAG")); c.Attributes["priority.factor"] != "5" || c.RetryMaxTimes != 16 {
			t.Errorf("%+v", c)
		}
		f.check(f.UpdateGroups, "", `{"groupConfigList":[{"groupName":"FLG1"},{"groupName":"x!"}]}`, "29 The specified group: x!, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
		f.check(f.UpdateGroups, "", `{"groupConfigList":[null]}`, "29 a group of the list is null")
		f.check(f.UpdateGroups, "", `{"groupConfigList":[{"groupName":"FLG2"},{"groupName":"FAG"}]}`, "")
		f.check(f.Forbidden, "group=FAG topic=FFT readable=false", "", `{"group":"FAG","readable":false,"topic":"FFT"}`)
		f.check(f.Forbidden, "group=FAG topic=FFT", "", `{"group":"FAG","readable":false,"topic":"FFT"}`)

		check := func(fields, groups, forbidden string) {
			t.Helper()
			header, text, _ := strings.Cut(f.ask(f.Groups, fields, ""), " ")
			var b protocol.SubscriptionGroupWrapper
			if err := laxjson.Unmarshal([]byte(text), &b); err != nil || header != "totalGroupNum=3" {
				t.Errorf("%s: %s %s, %v", fields, header, text, err)
			}
			var names []string
			for name := range b.SubscriptionGroupTable {
				names = append(names, name)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != groups || fmt.Sprint(b.ForbiddenTable) != forbidden {
				t.Errorf("%s: %s %v, want %s %s", fields, got, b.ForbiddenTable, groups, forbidden)
			}
		}
		check("", "FAG FFPush FLG2", "map[FAG:map[FFT:4]]")
		check("groupSeq=0 dataVersion= maxGroupNum=1", "FAG", "map[FAG:map[FFT:4]]")
		check("groupSeq=1 maxGroupNum=2", "FFPush FLG2", "map[]")
		f.check(f.Forbidden, "group=FAG topic=FFT readable=true", "", `{"group":"FAG","readable":true,"topic":"FFT"}`)

		f.commit("FLG2", "FFT", 1)
		f.commit("FAG", "FFT", 1)
		f.check(f.DeleteGroup, "groupName=FLG2 cleanOffset=true", "", "")
		f.check(f.DeleteGroup, "groupName=FAG", "", "")
		f.check(f.Group, "group=FAG", "", "26 No group in this broker. group: FAG")
		if got := f.cfg.Offsets.Groups("FFT"); !slices.Equal(got, []string{"FAG"}) {
			t.Errorf("offsets of %q are left", got)
		}
	})
}

// The bodies are those of recorded frames.
func TestService_Progress(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.TopicStats, "topic=FFT", "", `{"offsetTable":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:{"lastUpdateTimestamp":1795568601617,"maxOffset":8,"minOffset":0},{"brokerName":"broker-g","queueId":1,"topic":"FFT"}:{"lastUpdateTimestamp":1795568607165,"maxOffset":8,"minOffset":0}},"topicPutTps":0.0}`)
		f.check(f.TopicStats, "topic=x", "", "17 topic[x] not exist")

		f.commit("FFPush", "FFT", 3, 6)
		f.cfg.Offsets.SetPulled([]byte("FFPush"), []byte("FFT"), 0, 8)
		f.cfg.Offsets.SetPulled([]byte("FFPush"), []byte("FFT"), 1, 8)
		push := `{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:{"brokerOffset":8,"consumerOffset":3,"lastTimestamp":1795568596105,"pullOffset":8},{"brokerName":"broker-g","queueId":1,"topic":"FFT"}:{"brokerOffset":8,"consumerOffset":6,"lastTimestamp":1795568596437,"pullOffset":8}}}`
		none := `{"consumeTps":0.0,"offsetTable":{}}`
		f.check(f.ConsumeStats, "consumerGroup=FFPush", "", push)
		f.check(f.ConsumeStats, "consumerGroup=FFPush topic=FFT", "", push)
		f.check(f.ConsumeStats, "consumerGroup=FFPush topicList=x;FFT", "", push)
		f.check(f.ConsumeStats, "consumerGroup=FFPush topic=x", "", none)
		f.check(f.ConsumeStats, "consumerGroup=x", "", none)
		f.check(f.ConsumeStats, "consumerGroup=FFSql topic=FFT", "", `{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:{"brokerOffset":8,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0},{"brokerName":"broker-g","queueId":1,"topic":"FFT"}:{"brokerOffset":8,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0}}}`)
		f.check(f.BrokerConsumeStats, "isOrder=false", "", `{"brokerAddr":"127.0.0.1:41911","consumeStatsList":[{"FFPush":[`+push+`]}],"totalDiff":7,"totalInflightDiff":7}`)
		f.check(f.BrokerConsumeStats, "isOrder=true", "", `{"brokerAddr":"127.0.0.1:41911","consumeStatsList":[{"FFPush":[]}],"totalDiff":0,"totalInflightDiff":0}`)
		f.check(f.TimeSpans, "topic=FFT group=FFPush", "", `{"consumeTimeSpanSet":[{"consumeTimeStamp":1795568596105,"consumeTimeStampStr":"2026-11-25#01:03:16:105","delayTime":31177,"maxTimeStamp":1795568601617,"maxTimeStampStr":"2026-11-25#01:03:21:617","messageQueue":{"brokerName":"broker-g","queueId":0,"topic":"FFT"},"minTimeStamp":1795568596043,"minTimeStampStr":"2026-11-25#01:03:16:043"},{"consumeTimeStamp":1795568596437,"consumeTimeStampStr":"2026-11-25#01:03:16:437","delayTime":30744,"maxTimeStamp":1795568607165,"maxTimeStampStr":"2026-11-25#01:03:27:165","messageQueue":{"brokerName":"broker-g","queueId":1,"topic":"FFT"},"minTimeStamp":1795568596086,"minTimeStampStr":"2026-11-25#01:03:16:086"}]}`)
		f.check(f.TimeSpans, "topic=x group=FFPush", "", "17 topic[x] not exist")

		// Once somebody is connected, what the group does not subscribe is left out, unless it was asked for.
		if err := f.cfg.Topics.Put(topic.NewConfig("U", 1)); err != nil {
			t.Fatal(err)
		}
		f.commit("FFPush", "U", 0)
		f.join("FFPush", "c1", "127.0.0.1:5000")
		f.check(f.ConsumeStats, "consumerGroup=FFPush", "", push)
		f.check(f.ConsumeStats, "consumerGroup=FFPush topicList=U", "", `{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-g","queueId":0,"topic":"U"}:{"brokerOffset":0,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0}}}`)
	})
}

func TestService_Connections(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.ConsumerConnections, "consumerGroup=FFPush", "", "206 the consumer group[FFPush] not online")
		f.check(f.ProducerConnections, "producerGroup=FFPG", "", "1 the producer group[FFPG] not exist")
		f.check(f.Subscription, "group=FFPush topic=FFT", "", `{"group":"FFPush","topic":"FFT"}`)
		f.check(f.Producers, "", "", `{"data":{}}`)

		f.join("FFPush", "192.0.2.10@fpush", "127.0.0.1:57886")
		data := `{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1795568624085,"tagsSet":["TagA"],"topic":"FFT"}`
		f.check(f.ConsumerConnections, "consumerGroup=FFPush", "", `{"connectionSet":[{"clientAddr":"127.0.0.1:57886","clientId":"192.0.2.10@fpush","language":"JAVA","version":515}],"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"FFT":`+data+`}}`)
		f.check(f.Subscription, "group=FFPush topic=FFT", "", `{"group":"FFPush","subscriptionData":`+data+`,"topic":"FFT"}`)
		f.check(f.Subscription, "group=FFPush topic=x", "", `{"group":"FFPush","topic":"x"}`)

		f.cfg.Clients.Producers.Register(time.UnixMilli(1795568685074), "FFPG", clientmgr.Client{ID: "192.0.2.10@fprod", Peer: &peer{addr: "127.0.0.1:36600"}, Version: 515})
		f.check(f.ProducerConnections, "producerGroup=FFPG", "", `{"connectionSet":[{"clientAddr":"127.0.0.1:36600","clientId":"192.0.2.10@fprod","language":"JAVA","version":515}]}`)
		f.check(f.Producers, "", "", `{"data":{"FFPG":[{"clientId":"192.0.2.10@fprod","language":"JAVA","lastUpdateTimestamp":1795568685074,"remoteIP":"/127.0.0.1:36600","version":515}]}}`)

		f.commit("AAA", "FFT", 1)
		f.commit("FFPush", "FFT", 1)
		f.check(f.ConsumersOfTopic, "topic=FFT", "", `{"groupList":["AAA","FFPush"]}`)
		f.check(f.ConsumersOfTopic, "topic=x", "", `{"groupList":[]}`)
		f.check(f.TopicsOfGroup, "group=FFPush", "", `{"brokerAddr":"127.0.0.1:41911","topicList":["FFT"]}`)
	})
}

// The broker keeps the new offsets for the next pull, and wakes pulls that wait.
func TestService_ResetOffset(t *testing.T) {
	test(t, func(f *fixture) {
		table := func(offsets ...int64) string {
			var parts []string
			for id, o := range offsets {
				if o >= 0 {
					parts = append(parts, fmt.Sprintf(`{"brokerName":"broker-g","queueId":%d,"topic":"FFT"}:%d`, id, o))
				}
			}
			return `{"offsetTable":{` + strings.Join(parts, ",") + `}}`
		}
		f.commit("FFPush", "FFT", 3, 6)
		f.check(f.ResetOffset, "topic=FFT group=FFPush queueId=-1 offset=-1 timestamp=0 isForce=true", "", table(0, 0))
		if f.commit("FFPush", "FFT", 5); f.ask(f.AllOffsets, "", "") != `{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":0},"groupTopicMap":{"FFPush":["FFT"]},"offsetTable":{"FFT@FFPush":{0:0,1:0}}}` {
			t.Errorf("offsets after a reset: %s", f.ask(f.AllOffsets, "", ""))
		}
		if o, ok := f.cfg.Offsets.TakeReset([]byte("FFPush"), []byte("FFT"), 1); !ok || o != 0 {
			t.Error("no reset is pending")
		}
		slices.Sort(f.woken)
		if !slices.Equal(f.woken, []string{"FFT0", "FFT1"}) {
			t.Errorf("woken: %q", f.woken)
		}
		f.check(f.ResetOffset, "topic=FFT group=FFPush timestamp=-1 isForce=true", "", table(8, 8))
		f.check(f.ResetOffset, "topic=FFT group=FFPush timestamp=1795568601617 isForce=true", "", table(7, 7))
		f.check(f.ResetOffset, "topic=FFT group=FFPush queueId=0 offset=1 timestamp=0 isForce=false", "", table(1))
		f.check(f.ResetOffset, "topic=FFT group=FFPush queueId=1 timestamp=1795568601617", "", table(-1, 7))
		f.check(f.ResetOffset, "topic=FFT group=FFPush queueId=0 offset=10 timestamp=0", "", "1 Target offset 10 not in consume queue range [0-8]")
		f.check(f.ResetOffset, "topic=FFT group=FFPush queueId=2 offset=0 timestamp=0", "", "1 Topic FFT has no queue 2")
		f.check(f.ResetOffset, "topic=x group=FFPush timestamp=0", "", "17 Topic x does not exist")
		f.check(f.ResetOffset, "topic=FFT group=x timestamp=0", "", "26 Group x does not exist")
	})
}

// Without server-side reset the connected clients are told, each in its language, and nothing is kept.
func TestService_ResetOffset_Clients(t *testing.T) {
	test(t, func(f *fixture) {
		f.settings["useServerSideResetOffset"] = "false"
		const ask = "topic=FFT group=FFPush timestamp=1795568601617"
		f.check(f.ResetOffset, ask, "", "1 THe consumer group <FFPush> not exist")
		f.commit("FFPush", "FFT", 3, 8)
		f.check(f.ResetOffset, ask, "", "206 Consumer not online, so can not reset online client offset. topic=FFT, group=FFPush, timestamp=1795568601617")
		java, cpp := f.join("FFPush", "c1", "127.0.0.1:5000"), &peer{addr: "127.0.0.1:5001"}
		f.cfg.Clients.Consumers.Register(nil, time.Now(), &clientmgr.Heartbeat{Group: "FFPush",
			Client: clientmgr.Client{ID: "c2", Peer: cpp, Language: protocol.LanguageCPP}, Model: "CLUSTERING"})
		want := `{"offsetTable":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:3,{"brokerName":"broker-g","queueId":1,"topic":"FFT"}:7}}`
		f.check(f.ResetOffset, ask, "", want)
		if len(java.sent) != 1 || java.sent[0].Code != 220 || !java.sent[0].IsOneway() || string(java.sent[0].Body) != want {
			t.Errorf("Java client: %v", java.sent)
		}
		if group, _ := java.sent[0].Get("group"); string(group) != "FFPush" {
			t.Errorf("fields: %q", java.sent[0].Fields)
		}
		if len(cpp.sent) != 1 || !strings.HasPrefix(string(cpp.sent[0].Body), `{"offsetTable":[{"brokerName":"broker-g",`) {
			t.Errorf("C++ client: %v", cpp.sent)
		}
		f.check(f.ResetOffset, ask+" isForce=true", "", strings.Replace(want, "}:3,", "}:7,", 1))
		if got := f.cfg.Offsets.Queues("FFPush", "FFT"); got[0] != 3 || got[1] != 8 {
			t.Errorf("offsets: %v", got)
		}
	})
}

// Clients are asked one by one; those that fail are left out.
func TestService_ConsumerStatus(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.ConsumerStatus, "topic=FFT group=FFPush", "", "206 No Any Consumer online in the consumer group: [FFPush]")
		good, bad := f.join("FFPush", "c1", "127.0.0.1:5000"), f.join("FFPush", "c2", "127.0.0.1:5001")
		good.answer = func(c *protocol.Command) (*protocol.Command, error) {
			if name, _ := c.Get("topic"); c.Code != 221 || string(name) != "FFT" {
				t.Errorf("asked %d %q", c.Code, c.Fields)
			}
			return &protocol.Command{Body: []byte(`{"messageQueueTable":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:3}}`)}, nil
		}
		bad.answer = func(*protocol.Command) (*protocol.Command, error) { return nil, errors.New("gone") }
		want := `{"consumerTable":{"c1":{{"brokerName":"broker-g","queueId":0,"topic":"FFT"}:3}},"messageQueueTable":{}}`
		f.check(f.ConsumerStatus, "topic=FFT group=FFPush clientAddr=", "", want)
		f.check(f.ConsumerStatus, "topic=FFT group=FFPush clientAddr=c1", "", want)
		f.check(f.ConsumerStatus, "topic=FFT group=FFPush clientAddr=c2", "", `{"consumerTable":{},"messageQueueTable":{}}`)
	})
}

// The question goes to the client and its answer comes back, whatever it is.
func TestService_Forward(t *testing.T) {
	test(t, func(f *fixture) {
		const fields = "consumerGroup=FFPush clientId=c1 jstackEnable=false"
		f.check(f.RunningInfo, fields, "", "1 The Consumer <FFPush> <c1> not online")
		p := f.join("FFPush", "c1", "127.0.0.1:5000")
		p.answer = func(c *protocol.Command) (*protocol.Command, error) {
			id, _ := c.Get("clientId")
			return &protocol.Command{Body: append([]byte("asked by "), id...)}, nil
		}
		f.check(f.RunningInfo, fields, "", "asked by c1")
		p.answer = func(*protocol.Command) (*protocol.Command, error) {
			return &protocol.Command{Code: 1, Remark: "no"}, nil
		}
		f.check(f.RunningInfo, fields, "", "1 no")
		p.answer = func(*protocol.Command) (*protocol.Command, error) { return nil, context.DeadlineExceeded }
		f.check(f.RunningInfo, fields, "", "207 consumer <FFPush> <c1> Timeout: context deadline exceeded")
		p.answer = func(*protocol.Command) (*protocol.Command, error) { return nil, errors.New("gone") }
		f.check(f.RunningInfo, fields, "", "1 invoke consumer <FFPush> <c1> Exception: gone")
		f.cfg.Clients.Consumers.Register(nil, time.Now(), &clientmgr.Heartbeat{Group: "FFPush", Client: clientmgr.Client{ID: "old", Peer: &peer{addr: "127.0.0.1:1"}, Version: 61}})
		f.check(f.RunningInfo, "consumerGroup=FFPush clientId=old", "", "1 The Consumer <old> Version <61> too low to finish, please upgrade it to V3_1_8_SNAPSHOT")
	})
}

// The client gets the record and what the broker knows about its topic and group.
func TestService_ConsumeDirectly(t *testing.T) {
	test(t, func(f *fixture) {
		p := f.join("FFPush", "c1", "127.0.0.1:5000")
		p.answer = func(c *protocol.Command) (*protocol.Command, error) {
			var text []string
			for _, key := range []string{"brokerName", "topicSysFlag", "groupSysFlag"} {
				value, _ := c.Get(key)
				text = append(text, key+"="+string(value))
			}
			r, err := message.Decode(c.Body)
			return &protocol.Command{Body: fmt.Appendf(nil, "%s %s %v", text, r.Topic, err)}, nil
		}
		const fields = "consumerGroup=FFPush clientId=c1 topic=FFT msgId="
		f.check(f.ConsumeDirectly, fields+"7F0000010000A3B70000000000000000", "", "[brokerName=broker-g topicSysFlag=0 groupSysFlag=0] FFT <nil>")
		if got := f.ask(f.ConsumeDirectly, fields+"7F0000010000A3B70000000000000001", ""); !strings.HasPrefix(got, "1 there is no message at 1") {
			t.Error(got)
		}
		if got := f.ask(f.ConsumeDirectly, fields+"xyz", ""); !strings.HasPrefix(got, "1 msgId [xyz] cannot be read") {
			t.Error(got)
		}
	})
}

func TestService_CloneOffsets(t *testing.T) {
	test(t, func(f *fixture) {
		if err := f.cfg.Topics.Put(topic.NewConfig("U", 1)); err != nil {
			t.Fatal(err)
		}
		f.commit("FFPush", "FFT", 3, 6)
		f.commit("FFPush", "U", 1)
		f.commit("FFPush", "gone", 1)
		check := func(group, want string) {
			t.Helper()
			if got := strings.Join(f.cfg.Offsets.Topics(group), " "); got != want {
				t.Errorf("%s: %s, want %s", group, got, want)
			}
		}
		f.check(f.CloneOffsets, "srcGroup=FFPush destGroup=a topic=", "", "")
		check("a", "FFT U")
		f.check(f.CloneOffsets, "srcGroup=FFPush destGroup=b topic=U", "", "")
		check("b", "U")
		f.join("FFPush", "c1", "127.0.0.1:5000")
		f.check(f.CloneOffsets, "srcGroup=FFPush destGroup=c", "", "")
		check("c", "FFT")
		f.check(f.CloneOffsets, "srcGroup=FFPush destGroup=d offline=true", "", "")
		check("d", "FFT U")
	})
}

func TestService_CorrectionOffsets(t *testing.T) {
	test(t, func(f *fixture) {
		f.commit("a", "FFT", 3, 6)
		f.commit("b", "FFT", 5, 2)
		f.commit("c", "FFT", 4, 1)
		f.check(f.CorrectionOffsets, "compareGroup=a topic=FFT filterGroups=", "", `{"correctionOffsets":{0:3,1:1}}`)
		f.check(f.CorrectionOffsets, "compareGroup=c topic=FFT filterGroups=a,c", "", `{"correctionOffsets":{0:9223372036854775807,1:9223372036854775807}}`)
		f.check(f.CorrectionOffsets, "compareGroup=x topic=FFT filterGroups=c", "", `{"correctionOffsets":{0:3,1:2}}`)
		if len(f.cfg.Offsets.Groups("FFT")) != 3 {
			t.Error("asking changed the offsets")
		}
	})
}

// The shape is that of recorded frames; a group adds whether its subscription lets the message pass.
func TestService_QueueUnits(t *testing.T) {
	test(t, func(f *fixture) {
		size := f.store.MaxPhysical() / 16 // of one record
		unit := func(i int64, eval bool) string {
			return fmt.Sprintf(`{"eval":%v,"physicOffset":%d,"physicSize":%d,"tagsCode":2598919}`, eval, 2*i*size, size)
		}
		f.check(f.QueueUnits, "topic=FFT queueId=0 index=0 count=2", "", `{"maxQueueIndex":8,"minQueueIndex":0,"queueData":[`+unit(0, false)+`,`+unit(1, false)+`]}`)
		f.check(f.QueueUnits, "topic=FFT queueId=0 index=7 count=9 consumerGroup=FFPush", "", `{"filterData":"FFPush@FFT is not online!","maxQueueIndex":8,"minQueueIndex":0,"queueData":[`+unit(7, false)+`]}`)
		f.join("FFPush", "c1", "127.0.0.1:5000")
		if got := f.ask(f.QueueUnits, "topic=FFT queueId=0 index=7 count=1 consumerGroup=FFPush", ""); !strings.Contains(got, `"queueData":[`+unit(7, true)+`],"subscriptionData":{`) {
			t.Error(got)
		}
		f.check(f.QueueUnits, "topic=FFT queueId=0 index=8 count=9", "", "")
		f.check(f.QueueUnits, "topic=FFT queueId=7 index=0 count=9", "", "1 7@FFT is not exist!")
	})
}

func TestService_Config(t *testing.T) {
	test(t, func(f *fixture) {
		f.check(f.UpdateConfig, "", "popPollingSize=1000\n", "")
		f.check(f.UpdateConfig, "", "", "")
		f.check(f.UpdateConfig, "", "rocketmqHome=/x\n", "16 Can not update config in black list. configuration key may not be updated: rocketmqHome")
		if got := f.ask(f.UpdateConfig, "", "a=\\u00"); !strings.HasPrefix(got, "1 string2Properties error") {
			t.Error(got)
		}
		f.check(f.Config, "", "", `version={"counter":3,"stateVersion":0,"timestamp":1795568720310} `+strings.TrimSpace(f.settings.Text()))
		if f.settings["popPollingSize"] != "1000" {
			t.Error("nothing was changed")
		}
	})
}

// Every key of a Java broker is there, and brokerVersion; what can be known is right.
func TestService_RuntimeInfo(t *testing.T) {
	test(t, func(f *fixture) {
		f.cfg.Stats.Put.Add(39)
		f.cfg.Stats.PutBytes.Add(78)
		var table protocol.KVTable
		if err := laxjson.Unmarshal([]byte(f.ask(f.RuntimeInfo, "", "")), &table); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("testdata/runtime-keys.txt") // of a recorded frame
		if err != nil {
			t.Fatal(err)
		}
		for key := range strings.FieldsSeq(string(want)) {
			if _, ok := table.Table[key]; !ok {
				t.Errorf("%s is missing", key)
			}
		}
		for key, want := range map[string]string{
			"brokerVersionDesc": "V5_5_1", "brokerVersion": "515", "runtime": "[ 0 days, 0 hours, 1 minutes, 43 seconds ]",
			"msgPutTotalTodayNow": "39", "putMessageAverageSize": "2", "earliestMessageTimeStamp": "1795568596043",
			"commitLogMinOffset": "0", "commitLogMaxOffset": fmt.Sprint(f.store.MaxPhysical()), "queryThreadPoolQueueSize": "5",
			"sendThreadPoolQueueCapacity": "10000", "remainHowManyDataToFlush": "1.5 KiB", "getTotalTps": "0.00 0.00 0.00",
		} {
			if got := table.Table[key]; got != want {
				t.Errorf("%s = %q, want %q", key, got, want)
			}
		}
		if ratio := table.Table["commitLogDiskRatio"]; ratio == "" || ratio != table.Table["commitLogDiskRatio_"+f.dir] || ratio[0] == '-' {
			t.Errorf("disk ratio %q", ratio)
		}
	})
}

func TestService_Stats(t *testing.T) {
	test(t, func(f *fixture) {
		f.cfg.Stats.Item(stats.GroupGetNums, "FFT", "FFPull").Add(6)
		f.check(f.Stats, "statsName=NOPE statsKey=FFT", "", "1 The stats <NOPE> <FFT> not exist")
		f.check(f.Stats, "statsName=GROUP_GET_NUMS statsKey=FFT@FFPull", "", `{"statsDay":{"avgpt":0.0,"sum":6,"tps":0.0},"statsHour":{"avgpt":0.0,"sum":6,"tps":0.0},"statsMinute":{"avgpt":0.0,"sum":6,"tps":0.0}}`)
	})
}

// Whatever a mandatory field lacks is said, and nothing panics.
func TestService_MissingFields(t *testing.T) {
	test(t, func(f *fixture) {
		for name, h := range map[string]Handler{
			"UpdateTopic": f.UpdateTopic, "DeleteTopic": f.DeleteTopic, "Topic": f.Topic, "DeleteGroup": f.DeleteGroup, "Group": f.Group,
			"Forbidden": f.Forbidden, "TopicStats": f.TopicStats, "ConsumeStats": f.ConsumeStats, "BrokerConsumeStats": f.BrokerConsumeStats,
			"TimeSpans": f.TimeSpans, "ConsumerConnections": f.ConsumerConnections, "ProducerConnections": f.ProducerConnections,
			"ConsumersOfTopic": f.ConsumersOfTopic, "TopicsOfGroup": f.TopicsOfGroup, "Subscription": f.Subscription,
			"ResetOffset": f.ResetOffset, "ConsumerStatus": f.ConsumerStatus, "CloneOffsets": f.CloneOffsets,
			"CorrectionOffsets": f.CorrectionOffsets, "Stats": f.Stats,
		} {
			if got := f.ask(h, "nothing=known", ""); !strings.HasPrefix(got, "1 ") && name != "BrokerConsumeStats" {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 270582939648: "252.0 GiB", 1 << 62: "4.0 EiB"} {
		if got := bytes(n); got != want {
			t.Errorf("bytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestLasted(t *testing.T) {
	if got, want := lasted(49*time.Hour+62*time.Second), "[ 2 days, 1 hours, 1 minutes, 2 seconds ]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

package manage

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/meta"
	"rocketd/topic"
)

// A static topic is made, changed as far as nothing contradicts, shown with its mapping where that is asked for, and deleted.
func TestService_UpdateStaticTopic(t *testing.T) {
	test(t, func(f *fixture) {
		const rest = "topic=S defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=6 topicFilterType=SINGLE_TAG order=true attributes=+message.type=FIFO"
		body := func(epoch int, more string) string {
			return fmt.Sprintf(`{"bname":"broker-g","currIdMap":{},"dirty":false,"epoch":%d,"hostedQueues":{0:[{"bname":"other","endOffset":-1,"gen":0,"logicOffset":0,"queueId":1,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}%s]},"scope":"__global__","topic":"S","totalQueues":2}`, epoch, more)
		}
		const second = `,{"bname":"broker-g","endOffset":-1,"gen":1,"logicOffset":%d,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}`
		const config = `"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"S","topicSysFlag":0,"writeQueueNums":2}`
		_, before := f.cfg.Topics.All()

		f.check(f.UpdateStaticTopic, rest, body(1, fmt.Sprintf(second, -1)), "")
		f.check(f.UpdateStaticTopic, rest, body(1, fmt.Sprintf(second, 10_000)), "")
		if _, after := f.cfg.Topics.All(); after.Counter != before.Counter+2 {
			t.Errorf("the topics have version %v after %v: a NameServer that knows the older one takes no mapping", after, before)
		}
		f.check(f.Topic, "topic=S", "", `{"attributes":{},`+config)
		f.check(f.Topic, "topic=S lo=true", "", `{"attributes":{},"mappingDetail":`+body(1, fmt.Sprintf(second, 10_000))+`,`+config)
		f.check(f.Topic, "topic=FFT lo=true", "", `{"attributes":{},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"FFT","topicSysFlag":0,"writeQueueNums":2}`)
		if all := f.ask(f.Topics, "", ""); !strings.Contains(all, `"topicQueueMappingDetailMap":{"S":`+body(1, fmt.Sprintf(second, 10_000))) || !strings.Contains(all, `"mappingDataVersion":{"counter":2,`) {
			t.Error("a slave gets", all)
		}

		f.commit("FFPush", "S", 7)
		if got := f.ask(f.ConsumeStats, "consumerGroup=FFPush topic=S", ""); !strings.Contains(got, `"consumerOffset":7`) || !strings.Contains(got, `"consumerOffset":-1`) {
			t.Error("progress", got)
		}

		for _, c := range []struct{ fields, body, want string }{
			{rest, body(1, fmt.Sprintf(second, 20_000)), "1 the mapping contradicts the one that there is: queue 0 (hostedQueues): generation 1 is another one than before"},
			{rest, body(0, ""), "1 the mapping contradicts the one that there is: epoch 0 is older than 1"},
			{rest, strings.Replace(body(2, ""), `"gen":0`, `"gen":-1`, 1), "1 queue 0 of topic S (hostedQueues): a start (startOffset), a generation (gen) or a queue (queueId) is negative"},
			{rest, strings.Replace(body(2, ""), `"broker-g"`, `"x"`, 1), "1 the mapping is one for topic S (topic) of broker x (bname), not for topic S of broker broker-g"},
			{strings.Replace(rest, "topic=S", "topic=X", 1), body(2, ""), "1 the mapping is one for topic S (topic) of broker broker-g (bname), not for topic X of broker broker-g"},
			{rest, strings.Replace(body(2, ""), `"totalQueues":2`, `"totalQueues":99999999`, 1), "1 a static topic cannot have 99999999 queues (totalQueues), only 0 to 65536"},
			{rest, strings.Replace(body(2, ""), "{0:[", "{-1:[", 1), "1 queue -1 of topic S (hostedQueues): there is no such queue, only 0 to 65535"},
			{rest + " force=true", strings.Replace(body(2, ""), "{0:[", "{7:[", 1), "1 the mapping contradicts the one that there is: queue "},
			{rest, "", "1 the request has no body"},
			{rest, "{", "1 the body cannot be read: "},
			{strings.Replace(rest, "topic=S", "topic=SCHEDULE_TOPIC_XXXX", 1), body(2, ""), "29 The topic[SCHEDULE_TOPIC_XXXX] is conflict with system topic."},
			{strings.Replace(rest, "readQueueNums=2", "readQueueNums=-1", 1), body(2, ""), "29 The topic[S] cannot have -1 read and 2 write queues, only 0 to 65536."},
		} {
			if got := f.ask(f.UpdateStaticTopic, c.fields, c.body); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s %s\n got %s\nwant %s", c.fields, c.body, got, c.want)
			}
		}
		if m := f.cfg.Mappings.Get([]byte("S")); m.Items(0)[1].Logic != 10_000 || f.cfg.Mappings.Get([]byte("X")) != nil || f.cfg.Topics.Get([]byte("X")) != nil {
			t.Errorf("what was refused changed something: %+v", m)
		}
		f.check(f.UpdateStaticTopic, rest+" force=true", body(0, fmt.Sprintf(second, 20_000)), "")

		f.check(f.DeleteTopic, "topic=S", "", "")
		if f.cfg.Mappings.Get([]byte("S")) != nil {
			t.Error("the mapping outlives its topic")
		}
	})
}

// Wherever the process, or the power, ends while a static topic is made, moved and deleted, it is never there as a plain one, and what
// was answered is kept.
func TestService_StaticTopic_Crash(t *testing.T) {
	test(t, func(f *fixture) {
		open := func(disk vfs.FS) (*meta.Topics, *meta.Mappings, error) {
			cfg := meta.Config{FS: disk, Dir: "/config", Log: slog.New(slog.DiscardHandler)}
			topics, err := meta.OpenTopics(cfg)
			if err != nil {
				return nil, nil, err
			}
			mappings, err := meta.OpenMappings(cfg)
			return topics, mappings, err
		}
		const fields = "topic=S defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=6 topicFilterType=SINGLE_TAG"
		const mapping = `{"bname":"broker-g","topic":"S","epoch":%d,"hostedQueues":{0:[{"bname":"broker-g","queueId":0,"logicOffset":0}]}}`
		for done, stop := 0, 0; done < 3; stop++ {
			disk, left := crashfs.New(crashfs.Options{Seed: uint64(stop), Ordered: stop%2 == 0}), stop
			disk.Before = func(vfs.Op, string) error {
				if left--; left < 0 {
					disk.Stop()
					return crashfs.ErrStopped
				}
				return nil
			}
			cfg, err := f.cfg, error(nil)
			if cfg.Topics, cfg.Mappings, err = open(disk); err != nil {
				continue
			}
			svc := New(cfg)
			done = 0
			for _, answer := range []func() string{
				func() string { return f.ask(svc.UpdateStaticTopic, fields, fmt.Sprintf(mapping, 1)) },
				func() string { return f.ask(svc.UpdateStaticTopic, fields, fmt.Sprintf(mapping, 2)) },
				func() string { return f.ask(svc.DeleteTopic, "topic=S", "") },
			} {
				if answer() != "" {
					break
				}
				done++
			}
			for _, after := range []*crashfs.Disk{disk.PowerCut(uint64(stop)), disk.Kill()} {
				topics, mappings, err := open(after)
				if err != nil {
					t.Fatal(err)
				}
				c, m := topics.Get([]byte("S")), mappings.Get([]byte("S"))
				switch {
				case c != nil && m == nil,
					c == nil && done == 1,
					m != nil && (m.Epoch < int64(done) || m.Epoch > int64(done+1)),
					(c != nil || m != nil) && done == 3:
					t.Fatalf("stopped at %d, after %d answers: topic %+v, mapping %+v", stop, done, c, m)
				}
			}
		}
	})
}

// Only the mappings of the topics of a page go with it.
func TestMappingsOf(t *testing.T) {
	all := map[string]*topic.Mapping{"A": {}, "B": {}}
	if some := mappingsOf(all, map[string]*topic.Config{"B": {}, "C": {}}); len(some) != 1 || some["B"] == nil {
		t.Error(some)
	}
}

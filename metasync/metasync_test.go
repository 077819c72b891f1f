package metasync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/vfs"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/topic"
)

// Everything is the master's as soon as it is known, and what changes there is here within seconds; a table that has not
// changed is not sent again.
func TestService_Run(t *testing.T) {
	m := newMaster()
	m.forbid = map[string]map[string]int32{"TOOLS_CONSUMER": {"FFT": 4}}
	m.commit("FFT@FFPush", 5, 7)
	test(t, m, func(s *slave) {
		select {
		case <-s.Synced():
		default:
			t.Error("topics are not synced")
		}
		s.check("asked", m.questions(), "21/0/2000 201/0/2000 28 43 45 402 61 60")
		s.check("topics", s.have(), "FFT:2 TBW102:4")
		_, version := s.cfg.Topics.All()
		s.check("version", fmt.Sprint(version), fmt.Sprint(m.version))
		s.check("offsets", fmt.Sprint(s.offset("FFPush", "FFT", 0), s.offset("FFPush", "FFT", 1)), "5 7")
		if s.cfg.Groups.Get([]byte("TOOLS_CONSUMER")) == nil || s.cfg.Groups.Forbidden([]byte("TOOLS_CONSUMER"), []byte("FFT")) != 4 {
			t.Error("groups are not the master's")
		}
		c := s.cfg.Carried
		s.check("delay offsets", string(c.DelayOffsets.Bytes()), m.bodies[protocol.GetAllDelayOffset])
		s.check("request modes", string(c.RequestModes.Bytes()), m.bodies[protocol.GetAllMessageRequestMode])
		s.check("timer metrics", string(c.TimerMetrics.Bytes()), m.bodies[protocol.GetTimerMetrics])
		s.check("timer checkpoint", fmt.Sprintf("%x", c.TimerCheckpoint.Bytes()[:8]), "000001a2103a9360")
		s.check("log", s.said(), `level=INFO msg="tables are the master's" addr=m:1 topics=2 groups=1 version=10`+"\n")
		s.check("rung", s.rung(), "FFT TBW102")

		s.after(3 * time.Second)
		s.check("asked after 3 s", m.questions(), "21/0/1 201/0/1 43")
		m.put(topic.NewConfig("New", 1))
		m.commit("FFT@FFPush", 6, 7)
		s.after(3 * time.Second)
		s.check("asked after a change", m.questions(), "21/0/1 21/0/2000 201/0/1 43")
		s.check("topics", s.have(), "FFT:2 New:1 TBW102:4")
		s.check("rung", s.rung(), "New")
		s.check("offset", fmt.Sprint(s.offset("FFPush", "FFT", 0)), "6")

		m.mu.Lock()
		m.bodies[protocol.GetAllDelayOffset] = `{"offsetTable":{1:3}}`
		m.bodies[protocol.GetAllMessageRequestMode] = `{"messageRequestModeMap":{}}`
		m.mu.Unlock()
		s.after(3 * time.Second)
		s.check("asked after 9 s", m.questions(), "21/0/1 201/0/1 43 45 402 61 60")
		s.check("delay offsets", string(c.DelayOffsets.Bytes()), `{"offsetTable":{1:3}}`)
		s.check("request modes", string(c.RequestModes.Bytes()), `{"messageRequestModeMap":{}}`)

		m.questions()
		s.after(10 * time.Minute)
		if n := strings.Count(m.questions(), "45"); n < 60 {
			t.Errorf("everything was asked for %d times in ten minutes", n)
		}
		s.check("log of quiet minutes", s.said(), "")
	})
}

// What the master deletes vanishes, with offsets.
func TestService_Deleted(t *testing.T) {
	m := newMaster()
	m.put(topic.NewConfig("Old", 1), topic.NewConfig("Older", 1))
	m.commit("Old@G", 5)
	m.commit("FFT@G", 5)
	test(t, m, func(s *slave) {
		s.cfg.Offsets.Commit([]byte("G"), []byte("Older"), 0, 3) // a client's, here
		m.remove("Old")
		m.remove("Older")
		m.commit("Old@G")
		m.mu.Lock()
		delete(m.groups, "TOOLS_CONSUMER")
		m.groups["G"] = topic.NewGroupConfig("G")
		m.version.Counter++
		m.mu.Unlock()
		s.after(3 * time.Second)
		s.check("topics", s.have(), "FFT:2 TBW102:4")
		s.check("offsets", fmt.Sprint(s.offset("G", "Old", 0), s.offset("G", "Older", 0), s.offset("G", "FFT", 0)), "-1 -1 5")
		if s.cfg.Groups.Get([]byte("TOOLS_CONSUMER")) != nil {
			t.Error("the group is still there")
		}
		m.commit("FFT@G") // the group's offsets were deleted
		s.after(3 * time.Second)
		s.check("offset", fmt.Sprint(s.offset("G", "FFT", 0)), "-1")
	})
}

// The mappings of static topics come with the topics, also when nothing else has changed; what makes no sense is left out.
func TestService_Mappings(t *testing.T) {
	m := newMaster()
	test(t, m, func(s *slave) {
		set := func(static map[string]*topic.Mapping) {
			m.mu.Lock()
			m.static = static
			m.mapped.Counter++
			m.mu.Unlock()
			s.after(3 * time.Second)
		}
		mapping := &topic.Mapping{MappingInfo: topic.MappingInfo{Topic: "FFT", Broker: "m", Epoch: 3}}
		set(map[string]*topic.Mapping{"FFT": mapping, "TBW102": {MappingInfo: topic.MappingInfo{Topic: "TBW102"}}, "Nil": nil})
		all, version := s.cfg.Mappings.All()
		if len(all) != 1 || all["FFT"] == nil || all["FFT"].Epoch != 3 || version != m.mapped {
			t.Errorf("mappings %v of version %v, want one of %v", all, version, m.mapped)
		}
		s.check("log", s.said(), `level=INFO msg="tables are the master's" addr=m:1 topics=2 groups=1 version=10`+"\n"+
			`level=WARN msg="entries of the master that make no sense are left out" table="mappings of static topics" addr=m:1 entries=2`+"\n")
		set(nil)
		if all, _ := s.cfg.Mappings.All(); len(all) != 0 {
			t.Errorf("the master has no mapping any more, the slave %v", all)
		}
	})
}

// Tables that differ in nothing but that we changed ours become the master's again.
func TestService_OwnChange(t *testing.T) {
	test(t, newMaster(), func(s *slave) {
		s.must(s.cfg.Topics.Put(topic.NewConfig("Mine", 1)))
		s.after(3 * time.Second)
		s.check("topics", s.have(), "FFT:2 TBW102:4")
	})
}

// Offsets go back where the master's go back, but not where it has just forgotten some in a crash.
func TestService_Offsets(t *testing.T) {
	m := newMaster()
	m.commit("T@G", 10)
	test(t, m, func(s *slave) {
		check := func(what string, want int64) {
			t.Helper()
			s.after(3 * time.Second)
			s.check(what, fmt.Sprint(s.offset("G", "T", 0)), fmt.Sprint(want))
		}
		m.commit("T@G", 4)
		check("reset", 4)
		m.commit("T@G", 20)
		check("goes on", 20)
		m.mu.Lock()
		m.boot = "1795568599999"
		m.mu.Unlock()
		m.commit("T@G", 15)
		s.said()
		check("was started anew", 20)
		s.check("log", s.said(), `level=INFO msg="the master was started anew; offsets that it has forgotten stay" addr=m:1`+"\n")
		m.commit("T@G", 16)
		check("grows to what it had", 20)
		m.commit("T@G", 12)
		check("reset after the start", 12)
		m.commit("T@G")
		check("deleted", -1)

		// A client commits here while the master is away.
		m.commit("T@G", 30)
		check("again", 30)
		m.mu.Lock()
		m.trouble = func(*protocol.Command) (*protocol.Command, error) { return nil, errGone }
		m.mu.Unlock()
		s.after(3 * time.Second)
		s.cfg.Offsets.Commit([]byte("G"), []byte("T"), 0, 40)
		m.mu.Lock()
		m.trouble = nil
		m.mu.Unlock()
		check("the master is back", 40)
		m.commit("T@G", 35)
		check("it has not come so far", 40)
		m.commit("T@G", 41)
		check("it has", 41)
	})
}

// What was taken is on the disk: a slave that is killed and started as the master has it.
func TestService_OffsetsPersist(t *testing.T) {
	m := newMaster()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSlave(t, dir, m)
		s.SetMaster("m:1")
		for _, want := range []int64{10, 20} {
			m.commit("T@G", want)
			s.after(4 * time.Second)
			again, err := offset.Open(offset.Config{FS: vfs.OS, Dir: dir, Log: s.cfg.Log})
			s.must(err)
			if got, _ := again.Get([]byte("G"), []byte("T"), 0); got != want {
				t.Errorf("offset on the disk is %d, the master's %d", got, want)
			}
		}
	})
}

// One line when it fails, one when it goes on. Nothing is given up meanwhile; without topics nothing is synced.
func TestService_Fails(t *testing.T) {
	m := newMaster()
	tries := 0
	m.trouble = func(*protocol.Command) (*protocol.Command, error) { tries++; return nil, errGone }
	test(t, m, func(s *slave) {
		s.after(time.Minute)
		if tries != 21 { // who does not answer one question is not asked the next ones
			t.Errorf("%d questions in a minute", tries)
		}
		s.check("log", s.said(), `level=WARN msg="cannot get the tables of the master; nothing of its log is copied before its topics are known" addr=m:1 err="topics: connection refused"`+"\n")
		select {
		case <-s.Synced():
			t.Error("synced without topics")
		default:
		}
		if st := s.Status(); st.Master != "m:1" || !st.Since.IsZero() || !errors.Is(st.Err, errGone) {
			t.Errorf("%+v", st)
		}
		m.mu.Lock()
		m.trouble = nil
		m.mu.Unlock()
		s.after(3 * time.Second)
		s.check("log", s.said(), `level=INFO msg="tables are the master's" addr=m:1 topics=2 groups=1 version=10`+"\n")
		<-s.Synced()
		since := s.Status().Since
		m.mu.Lock()
		m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
			if c.Code == protocol.GetAllConsumerOffset {
				return reply(protocol.SystemError, nil, ""), nil
			}
			return nil, nil
		}
		m.mu.Unlock()
		m.put(topic.NewConfig("New", 1))
		s.after(time.Minute)
		s.check("log", s.said(), `level=WARN msg="cannot follow the tables of the master; trying on" addr=m:1 err="consumer offsets: code 1: remark"`+"\n")
		s.check("topics", s.have(), "FFT:2 New:1 TBW102:4") // the others go on
		if st := s.Status(); st.Err == nil || !st.Since.Equal(since) {
			t.Errorf("%+v", st)
		}
	})
}

// Answers that make no sense change nothing and hinder nothing else.
func TestService_Garbage(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "null": "null", "a page": "<html>", "an empty table": `{"dataVersion":{"counter":99},"topicConfigTable":{},"subscriptionGroupTable":{}}`,
		"a list": "[1,2]", "cut": `{"topicConfigTable":{"A":{"perm":6`, "nested": strings.Repeat("[", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaster()
			m.commit("FFT@G", 5)
			test(t, m, func(s *slave) {
				before := s.have()
				m.mu.Lock()
				m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
					switch c.Code {
					case protocol.GetBrokerRuntimeInfo:
						return nil, nil
					case protocol.GetAllConsumerOffset:
						if text == "" || text == "null" || text[0] == '{' {
							return nil, nil
						}
					}
					return reply(protocol.Success, nil, text), nil
				}
				m.version.Counter++
				m.mu.Unlock()
				m.commit("FFT@H", 6)
				s.after(20 * time.Second)
				s.check("topics", s.have(), before)
				s.check("delay offsets", string(s.cfg.Carried.DelayOffsets.Bytes()), m.bodies[protocol.GetAllDelayOffset])
				if s.cfg.Groups.Get([]byte("TOOLS_CONSUMER")) == nil || s.offset("G", "FFT", 0) != 5 {
					t.Error("tables have changed")
				}
				if st := s.Status(); !errors.Is(st.Err, rpc.ErrAnswer) {
					t.Errorf("%v", st.Err)
				}
				m.mu.Lock()
				m.trouble = nil
				m.mu.Unlock()
				s.after(3 * time.Second)
				if st := s.Status(); st.Err != nil || s.offset("H", "FFT", 0) != 6 {
					t.Errorf("after it: %v, %d", st.Err, s.offset("H", "FFT", 0))
				}
			})
		})
	}
}

// Entries without sense are left out, the rest is taken.
func TestService_StrangeEntries(t *testing.T) {
	m := newMaster()
	m.put(&topic.Config{Name: "huge", ReadQueueNums: 1 << 30}, &topic.Config{Name: "negative", WriteQueueNums: -1}, topic.NewConfig(strings.Repeat("x", 256), 1))
	m.topics["null"] = nil
	m.topics["misnamed"] = topic.NewConfig("other", 3)
	test(t, m, func(s *slave) {
		s.check("topics", s.have(), "FFT:2 TBW102:4 misnamed:3")
		s.check("log", s.said(), `level=WARN msg="entries of the master that make no sense are left out" table=topics addr=m:1 entries=4
level=INFO msg="tables are the master's" addr=m:1 topics=3 groups=1 version=11`+"\n")
		s.after(time.Minute)
		s.check("log", s.said(), "")
	})
}

// A master of Java 4.9 has no pages, fewer tables, and no version of offsets.
func TestService_OldMaster(t *testing.T) {
	m := newMaster()
	m.split = -1
	m.bodies = map[int32]string{protocol.GetAllDelayOffset: `{"offsetTable":{1:2}}`}
	m.commit("FFT@G", 5)
	m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
		if c.Code == protocol.GetAllConsumerOffset {
			return reply(protocol.Success, nil, `{"offsetTable":{"FFT@G":{0:5}}}`), nil
		}
		return nil, nil
	}
	test(t, m, func(s *slave) {
		s.check("topics", s.have(), "FFT:2 TBW102:4")
		s.check("delay offsets", string(s.cfg.Carried.DelayOffsets.Bytes()), `{"offsetTable":{1:2}}`)
		s.check("offset", fmt.Sprint(s.offset("G", "FFT", 0)), "5")
		if st := s.Status(); st.Err != nil || st.Since.IsZero() {
			t.Errorf("%+v", st)
		}
		if said := s.said(); strings.Count(said, "the master does not keep this") != 3 {
			t.Error(said)
		}
		m.questions()
		s.after(2 * time.Minute)
		s.check("log", s.said(), "")
		if n := strings.Count(m.questions(), "402"); n != 2 {
			t.Errorf("request modes were asked for %d times", n)
		}
	})
}

// Another master is followed at once, even if the first one does not answer; nobody is followed with "" or with ourselves.
func TestService_SetMaster(t *testing.T) {
	m := newMaster()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSlave(t, dir, m)
		synctest.Wait()
		s.check("asked", m.questions(), "")
		s.SetMaster("s:1")
		s.after(time.Minute)
		s.check("asked", m.questions(), "")
		m.mu.Lock()
		m.hung = make(chan struct{})
		m.mu.Unlock()
		s.SetMaster("x:1")
		s.after(time.Second)
		m.mu.Lock()
		m.hung = nil
		m.mu.Unlock()
		s.SetMaster("m:1")
		synctest.Wait()
		s.check("topics", s.have(), "FFT:2 TBW102:4")
		if st := s.Status(); st.Master != "m:1" || st.Err != nil || !st.Since.Equal(time.Now()) {
			t.Errorf("%+v", st)
		}
		m.questions()
		s.SetMaster("")
		s.after(time.Minute)
		s.check("asked", m.questions(), "")
		s.check("topics", s.have(), "FFT:2 TBW102:4")
		s.SetMaster("m:1")
		synctest.Wait()
		s.check("asked", m.questions(), "21/0/2000 201/0/2000 28 43 45 402 61 60")
		m.mu.Lock()
		m.hung = make(chan struct{})
		m.mu.Unlock()
		s.after(5 * time.Second)
		s.stop() // ends while a call waits
	})
}

// A topic that came with the log is asked for by name, and known when Learn returns.
func TestService_Learn(t *testing.T) {
	m := newMaster()
	test(t, m, func(s *slave) {
		c := topic.NewConfig("Batch", 1)
		c.Attributes = map[string]string{"queue.type": "BatchCQ"}
		m.put(c)
		m.questions()
		s.must(s.Learn(s.t.Context(), "Batch"))
		if got := s.cfg.Topics.Get([]byte("Batch")); got == nil || got.Attributes["queue.type"] != "BatchCQ" {
			t.Errorf("%+v", got)
		}
		synctest.Wait()
		s.check("asked", m.questions(), "351 21/0/1 21/0/2000") // the version follows at once
		_, version := s.cfg.Topics.All()
		s.check("version", fmt.Sprint(version), fmt.Sprint(m.version))

		s.must(s.Learn(s.t.Context(), "nobody"))
		m.mu.Lock()
		tries := 0
		m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
			if c.Code != protocol.GetTopicConfig {
				return nil, nil
			}
			if tries++; tries < 3 {
				return nil, errGone
			}
			return reply(protocol.RequestCodeNotSupported, nil, ""), nil
		}
		m.mu.Unlock()
		s.must(s.Learn(s.t.Context(), "Batch2"))
		tries = -10
		if err := s.Learn(s.t.Context(), "Batch2"); !errors.Is(err, errGone) || tries != -7 {
			t.Errorf("%v after %d tries", err, 10+tries)
		}
		ended, cancel := context.WithCancel(s.t.Context())
		cancel()
		if err := s.Learn(ended, "Batch2"); err == nil {
			t.Error("no error without a context")
		}
		s.SetMaster("")
		if err := s.Learn(s.t.Context(), "Batch2"); err == nil {
			t.Error("no error without a master")
		}
	})
}

// A topic that is learned while the master's table is under way is not taken for deleted.
func TestService_LearnMeanwhile(t *testing.T) {
	m := newMaster()
	test(t, m, func(s *slave) {
		m.put(topic.NewConfig("A", 1))
		m.mu.Lock()
		m.trouble = func(c *protocol.Command) (*protocol.Command, error) {
			if v, _ := c.Get("maxTopicNum"); string(v) == "2000" {
				m.mu.Lock()
				r, err := m.answer(c)
				m.trouble = nil
				m.mu.Unlock()
				m.put(topic.NewConfig("B", 1))
				s.must(s.Learn(s.t.Context(), "B"))
				s.cfg.Offsets.Commit([]byte("G"), []byte("B"), 0, 1)
				return r, err
			}
			return nil, nil
		}
		m.mu.Unlock()
		s.after(3 * time.Second)
		s.check("topics", s.have(), "A:1 B:1 FFT:2 TBW102:4")
		s.check("offset", fmt.Sprint(s.offset("G", "B", 0)), "1")
	})
}

// A master that comes back takes from a slave what went on there, and nothing of topics that are deleted.
func TestService_TakeOver(t *testing.T) {
	m := newMaster()
	m.commit("T@G", 10, 20)
	m.commit("Gone@G", 10)
	m.bodies[protocol.GetAllDelayOffset] = `{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":9},"offsetTable":{1:7,2:3}}`
	delete(m.bodies, protocol.GetTimerCheckPoint)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSlave(t, dir, m)
		s.must(s.cfg.Topics.Put(topic.NewConfig("T", 2)))
		s.cfg.Offsets.Commit([]byte("G"), []byte("T"), 0, 4)
		s.cfg.Offsets.Commit([]byte("G"), []byte("T"), 1, 21)
		s.must(s.cfg.Carried.DelayOffsets.Put([]byte(`{"dataVersion":{"counter":2,"timestamp":9},"offsetTable":{1:5,2:4}}`)))
		s.must(s.TakeOver(t.Context(), "m:1"))
		s.check("offsets", fmt.Sprint(s.offset("G", "T", 0), s.offset("G", "T", 1), s.offset("G", "Gone", 0)), "10 21 -1")
		s.check("delay offsets", string(s.cfg.Carried.DelayOffsets.Bytes()), `{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":9},"offsetTable":{1:7,2:4}}`)
		s.check("topics", s.have(), "T:2")
		again, err := offset.Open(offset.Config{FS: vfs.OS, Dir: dir, Log: s.cfg.Log})
		s.must(err)
		if o, _ := again.Get([]byte("G"), []byte("T"), 0); o != 10 {
			t.Errorf("offset on the disk is %d", o)
		}
		if err := s.TakeOver(t.Context(), "x:1"); !errors.Is(err, errGone) {
			t.Error(err)
		}
	})
}

package metasync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/internal/vfs"
	"rocketd/meta"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/topic"
)

// A master answers as Java's brokers do, over real frames.
type master struct {
	mu      sync.Mutex // guards all
	boot    string
	topics  map[string]*topic.Config
	static  map[string]*topic.Mapping
	mapped  protocol.DataVersion // of static
	groups  map[string]*topic.GroupConfig
	forbid  map[string]map[string]int32
	version protocol.DataVersion // of topics and groups
	offsets map[string]map[int32]int64
	bodies  map[int32]string // of the other codes
	split   int              // splitMetadataSize; 0: answers are whole, -1: and do not tell how many there are
	asked   []string         // code, and what was asked of topics and groups
	trouble func(c *protocol.Command) (*protocol.Command, error)
	hung    chan struct{} // when set, no answer comes
}

func newMaster() *master {
	m := &master{
		boot:    "1795568580000",
		topics:  make(map[string]*topic.Config),
		groups:  map[string]*topic.GroupConfig{"TOOLS_CONSUMER": topic.NewGroupConfig("TOOLS_CONSUMER")},
		version: protocol.DataVersion{Counter: 9, Timestamp: 1795568645833},
		offsets: make(map[string]map[int32]int64),
		split:   2000,
		bodies: map[int32]string{
			protocol.GetAllDelayOffset:        `{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795568581083},"offsetTable":{1:2,3:1}}`,
			protocol.GetAllMessageRequestMode: `{"messageRequestModeMap":{"FAT":{"FAG":{"consumerGroup":"FAG","mode":"POP","popShareQueueNum":2,"topic":"FAT"}}}}`,
			protocol.GetTimerMetrics:          `{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1795568597192},"timingCount":{"FFT":{"count":4,"timeStamp":1795568597192}}}`,
			protocol.GetTimerCheckPoint:       "\x00\x00\x01\xa2\x10\x3a\x93\x60" + strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x02", 6),
		},
	}
	m.put(topic.NewConfig("TBW102", 4), topic.NewConfig("FFT", 2))
	return m
}

// put changes topics; it counts as one change.
func (m *master) put(configs ...*topic.Config) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range configs {
		m.topics[c.Name] = c
	}
	m.version.Counter++
}

func (m *master) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.topics, name)
	m.version.Counter++
}

func (m *master) commit(key string, offsets ...int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(offsets) == 0 {
		delete(m.offsets, key)
		return
	}
	m.offsets[key] = make(map[int32]int64)
	for queue, o := range offsets {
		m.offsets[key][int32(queue)] = o
	}
}

// questions returns what was asked since the last time.
func (m *master) questions() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := m.asked
	m.asked = nil
	return strings.Join(asked, " ")
}

var errGone = errors.New("connection refused")

func (m *master) Invoke(ctx context.Context, addr string, c *protocol.Command) (*protocol.Command, error) {
	m.mu.Lock()
	hung, trouble := m.hung, m.trouble
	m.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if trouble != nil {
		if r, err := trouble(c); r != nil || err != nil {
			return r, err
		}
	}
	if addr != "m:1" {
		return nil, errGone
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.answer(c)
}

func (m *master) answer(c *protocol.Command) (*protocol.Command, error) {
	question := fmt.Sprint(c.Code)
	field := func(key string) string { v, _ := c.Get(key); return string(v) }
	switch c.Code {
	case protocol.GetAllTopicConfig:
		seq, n := field("topicSeq"), field("maxTopicNum")
		m.asked = append(m.asked, question+"/"+seq+"/"+n)
		part := cut(m, m.topics, seq, n, field("dataVersion"))
		return reply(protocol.Success, m.total("totalTopicNum", len(m.topics)), body(protocol.TopicConfigAndMappingSerializeWrapper{DataVersion: m.version, TopicConfigTable: part, MappingDataVersion: m.mapped, TopicQueueMappingDetailMap: m.static})), nil
	case protocol.GetAllSubscriptiongroupConfig:
		seq, n := field("groupSeq"), field("maxGroupNum")
		m.asked = append(m.asked, question+"/"+seq+"/"+n)
		part := cut(m, m.groups, seq, n, field("dataVersion"))
		return reply(protocol.Success, m.total("totalGroupNum", len(m.groups)), body(protocol.SubscriptionGroupWrapper{DataVersion: m.version, SubscriptionGroupTable: part, ForbiddenTable: m.forbid})), nil
	}
	m.asked = append(m.asked, question)
	switch c.Code {
	case protocol.GetAllConsumerOffset:
		return reply(protocol.Success, nil, body(protocol.ConsumerOffsetSerializeWrapper{DataVersion: &protocol.DataVersion{Counter: 5, Timestamp: 1}, OffsetTable: m.offsets})), nil
	case protocol.GetBrokerRuntimeInfo:
		return reply(protocol.Success, nil, body(protocol.KVTable{Table: map[string]string{"bootTimestamp": m.boot}})), nil
	case protocol.GetTopicConfig:
		one := m.topics[field("topic")]
		if one == nil {
			return reply(protocol.TopicNotExist, nil, ""), nil
		}
		return reply(protocol.Success, nil, body(one)), nil
	}
	text, known := m.bodies[c.Code]
	if !known {
		return reply(protocol.RequestCodeNotSupported, nil, ""), nil
	}
	return reply(protocol.Success, nil, text), nil
}

func (m *master) total(key string, n int) map[string]string {
	if m.split < 0 {
		return nil
	}
	return map[string]string{key: strconv.Itoa(n)}
}

// cut is a page in the order of names. Source: Java TopicConfigManager.subTopicConfigTable.
func cut[C any](m *master, all map[string]*C, seq, n, version string) map[string]*C {
	from, _ := strconv.Atoi(seq)
	size, _ := strconv.Atoi(n)
	if m.split <= 0 || seq == "" {
		return maps.Clone(all)
	}
	if text, _ := m.version.Marshal(); from > 0 && version != string(text) {
		from = 0
	}
	names := slices.Sorted(maps.Keys(all))
	names = names[min(from, len(names)):]
	part := make(map[string]*C)
	for _, name := range names[:min(size, m.split, len(names))] {
		part[name] = all[name]
	}
	return part
}

func body(v any) string {
	data, err := laxjson.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func reply(code int32, fields map[string]string, text string) *protocol.Command {
	c := &protocol.Command{Code: code, Remark: "remark", Body: []byte(text)}
	for key, value := range fields {
		c.Set(key, value)
	}
	r := new(protocol.Command)
	if err := r.Decode(c.Append(nil)[4:]); err != nil {
		panic(err)
	}
	return r
}

// slave is a Service with its tables.
type slave struct {
	*Service
	t    *testing.T
	m    *master
	stop context.CancelFunc

	mu   sync.Mutex // guards what follows
	log  bytes.Buffer
	bell []string
}

func (s *slave) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(text)
}

// test runs fn in a bubble with a slave of m that has just been told its master.
func test(t *testing.T, m *master, fn func(s *slave)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSlave(t, dir, m)
		s.SetMaster("m:1")
		synctest.Wait()
		fn(s)
	})
}

func newSlave(t *testing.T, dir string, m *master) *slave {
	t.Helper()
	s := &slave{t: t, m: m}
	log := slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	cfg := meta.Config{FS: vfs.OS, Dir: dir, Log: log}
	noisy := cfg
	noisy.Changed = func(names []string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bell = append(s.bell, names...)
	}
	topics, err := meta.OpenTopics(noisy)
	s.must(err)
	groups, err := meta.OpenGroups(cfg)
	s.must(err)
	mappings, err := meta.OpenMappings(cfg)
	s.must(err)
	carried, err := meta.OpenCarried(cfg)
	s.must(err)
	offsets, err := offset.Open(offset.Config{FS: vfs.OS, Dir: dir, Log: log})
	s.must(err)
	s.Service = New(Config{
		Master: rpc.NewBroker(m), Topics: topics, Mappings: mappings, Groups: groups, Offsets: offsets, Carried: carried, Self: "s:1", Timers: true,
		Log: log,
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.must(s.Run(ctx))
	}()
	s.stop = func() { stop(); <-done }
	t.Cleanup(s.stop)
	return s
}

func (s *slave) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// after lets time go by.
func (s *slave) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// have returns the names of the topics, with their queues.
func (s *slave) have() string {
	all, _ := s.cfg.Topics.All()
	var list []string
	for name, c := range all {
		list = append(list, fmt.Sprint(name, ":", c.ReadQueueNums))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (s *slave) offset(group, name string, queue int32) int64 {
	o, ok := s.cfg.Offsets.Get([]byte(group), []byte(name), queue)
	if !ok {
		return -1
	}
	return o
}

func (s *slave) check(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
}

// said returns what was logged since the last time, rung for which topics the bell rang.
func (s *slave) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.log.String()
	s.log.Reset()
	return text
}

func (s *slave) rung() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.bell
	s.bell = nil
	slices.Sort(names)
	return strings.Join(names, " ")
}

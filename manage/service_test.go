package manage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/properties"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/settings"
	"rocketd/stats"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // times are shown in the zone of the machine
	os.Exit(m.Run())
}

// keys are settings in a map.
type keys map[string]string

func (k keys) Bool(name string) bool     { return k[name] == "true" }
func (k keys) Int(name string) int       { n, _ := strconv.Atoi(k[name]); return n }
func (k keys) String(name string) string { return k[name] }
func (k keys) Text() string              { return properties.Text(k) }

func (k keys) Update(changes map[string]string, _ time.Time) error {
	for name, value := range changes {
		if name == "rocketmqHome" {
			return fmt.Errorf("%w: %s", settings.ErrBanned, name)
		}
		k[name] = value
	}
	return nil
}

func (k keys) Version() (int64, time.Time) { return 3, time.UnixMilli(1795568720310) }

// peer is a connection without a socket, which remembers what was sent to it and answers what it was told to.
type peer struct {
	protocol.Peer
	addr     string
	language protocol.Language
	sent     []*protocol.Command
	answer   func(c *protocol.Command) (*protocol.Command, error)
}

func (p *peer) RemoteAddr() netip.AddrPort                 { return netip.MustParseAddrPort(p.addr) }
func (p *peer) Closed() bool                               { return false }
func (p *peer) Send(_ *protocol.Turn, c *protocol.Command) { p.sent = append(p.sent, c) }
func (p *peer) Invoke(_ context.Context, c *protocol.Command) (*protocol.Command, error) {
	return p.answer(c)
}

// fixture is a broker without a network: topic FFT with two queues of eight messages and group FFPush, as in the
// recorded frames of a Java broker.
type fixture struct {
	*Service
	t        *testing.T
	dir      string
	store    *store.Store
	settings keys
	peer     *peer // whom ask comes from
	woken    []string
}

// The store times of the messages of queues 0 and 1 that recorded answers show.
var times = [2][8]int64{
	{1795568596043, 1795568596093, 1795568596105, 0, 0, 0, 0, 1795568601617},
	{1795568596086, 0, 0, 0, 0, 1795568596437, 1795568596538, 1795568607165},
}

// test runs fn in a bubble whose clock stands a while after the last message.
func test(t *testing.T, fn func(f *fixture)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.UnixMilli(1795568627282)))
		fn(newFixture(t, dir))
	})
}

func newFixture(t *testing.T, dir string) *fixture {
	log := slog.New(slog.DiscardHandler)
	f := &fixture{t: t, dir: dir, peer: &peer{addr: "192.0.2.20:35000"}, settings: keys{
		"validateSystemTopicWhenUpdateTopic": "true", "clearRetryTopicWhenDeleteTopic": "true", "useServerSideResetOffset": "true",
		"enableSplitMetadata": "true", "splitMetadataSize": "2000", "startAcceptSendRequestTimeStamp": "0",
		"sendThreadPoolQueueCapacity": "10000",
	}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	f.store, err = store.Open(store.Config{Dir: dir, FileSize: 1 << 20, QueueFileSize: 20_000, Log: log})
	must(err)
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	})
	topics, err := meta.OpenTopics(meta.Config{FS: vfs.OS, Dir: dir + "/config", Log: log})
	must(err)
	mappings, err := meta.OpenMappings(meta.Config{FS: vfs.OS, Dir: dir + "/config", Log: log})
	must(err)
	groups, err := meta.OpenGroups(meta.Config{FS: vfs.OS, Dir: dir + "/config", Log: log})
	must(err)
	offsets, err := offset.Open(offset.Config{FS: vfs.OS, Dir: dir + "/config", Log: log})
	must(err)
	carried, err := meta.OpenCarried(meta.Config{FS: vfs.OS, Dir: dir + "/config", Log: log})
	must(err)
	must(topics.Put(topic.NewConfig("FFT", 2)))
	must(groups.Put(topic.NewGroupConfig("FFPush")))
	f.Service = New(Config{
		Cluster: "GoldenCluster", Broker: "broker-g", Addr: "127.0.0.1:41911",
		Topics: topics, Mappings: mappings, Groups: groups, Offsets: offsets, Carried: carried, Clients: clientmgr.New(nil), Stats: stats.NewBoard(time.Now()),
		Store: f.store, Settings: f.settings, SystemTopics: []string{"GoldenCluster", "broker-g", "rmq_sys_wheel_timer"},
		Runtime: Runtime{Started: time.Now().Add(-103 * time.Second), FS: vfs.OS, CommitLogDirs: []string{dir}, QueueDir: dir, Pool: func() int { return 5 }},
		Reset:   func(q *consumequeue.Queue) { f.woken = append(f.woken, fmt.Sprint(q.Topic(), q.ID())) },
	})
	for i := range 8 {
		for id := range int32(2) {
			f.append("FFT", id, cmp.Or(times[id][i], times[id][0]))
		}
	}
	return f
}

func (f *fixture) append(name string, id int32, storeMs int64) {
	f.t.Helper()
	host := netip.MustParseAddrPort("127.0.0.1:41911")
	var b store.Batch
	b.Add(f.store.Queue(name, id), &message.Draft{Topic: []byte(name), QueueID: id, Body: []byte("hello"), BornHost: host, StoreHost: host}, 2598919)
	if err := f.store.Append(&b, time.UnixMilli(storeMs)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) commit(group, name string, offsets ...int64) {
	for id, o := range offsets {
		f.cfg.Offsets.Commit([]byte(group), []byte(name), int32(id), o)
	}
}

// join connects a consumer that subscribes FFT.
func (f *fixture) join(group, client, addr string) *peer {
	p := &peer{addr: addr}
	f.cfg.Clients.Consumers.Register(nil, time.Now(), &clientmgr.Heartbeat{
		Group: group, Client: clientmgr.Client{ID: client, Peer: p, Version: 515},
		Type: "CONSUME_PASSIVELY", Model: "CLUSTERING", From: "CONSUME_FROM_FIRST_OFFSET",
		Subscriptions: []protocol.SubscriptionData{{Topic: "FFT", SubString: "TagA", ExpressionType: "TAG", TagsSet: []string{"TagA"},
			CodeSet: []int32{2598919}, SubVersion: 1795568624085}},
	})
	return p
}

// ask calls a handler and returns what the client would see: "code remark" of an error, otherwise the header fields
// and the body. fields are "key=value" separated by spaces.
func (f *fixture) ask(h Handler, fields, body string) string {
	f.t.Helper()
	c := protocol.Call{Peer: f.peer}
	c.Language = f.peer.language
	for field := range strings.FieldsSeq(fields) {
		key, value, _ := strings.Cut(field, "=")
		c.Set(key, value)
	}
	c.Body = []byte(body)
	header, data, err := h(f.t.Context(), &c)
	var known *protocol.Error
	if errors.As(err, &known) {
		return fmt.Sprintf("%d %s", known.Code, known.Remark)
	} else if err != nil {
		return "error: " + err.Error()
	}
	var text []string
	if header != nil {
		w := protocol.NewFrame(nil, protocol.JSON, 0, 1, 0, "")
		header.AppendFields(&w)
		w.Body()
		var answer protocol.Command
		if err := answer.Decode(w.Finish()[4:]); err != nil {
			f.t.Fatal(err)
		}
		for _, field := range answer.Fields {
			text = append(text, string(field.Key)+"="+string(field.Value))
		}
		slices.Sort(text)
	}
	return strings.TrimSpace(strings.Join(append(text, string(data)), " "))
}

func (f *fixture) check(h Handler, fields, body, want string) {
	f.t.Helper()
	if got := f.ask(h, fields, body); got != want {
		f.t.Errorf("%s %s\n got %s\nwant %s", fields, body, got, want)
	}
}

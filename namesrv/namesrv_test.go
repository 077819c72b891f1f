package namesrv

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/settings"
)

// start runs a NameServer on a free port with the given keys, until the test ends.
func start(t testing.TB, keys map[string]string) *Server {
	t.Helper()
	dir := t.TempDir()
	set := settings.NewNamesrv(settings.Machine{Home: dir, RocketmqHome: dir, Processors: 2}, slog.New(slog.DiscardHandler))
	set.Set("bindAddress", "127.0.0.1")
	set.Set("listenPort", "0")
	for k, v := range keys {
		set.Set(k, v)
	}
	s, err := New(Config{Settings: set, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// What has no effect is named, and only that.
func TestNew_NoEffect(t *testing.T) {
	set := settings.NewNamesrv(settings.Machine{Home: t.TempDir(), Processors: 2}, slog.New(slog.DiscardHandler))
	for _, kv := range [][2]string{{"bindAddress", "127.0.0.1"}, {"listenPort", "0"}, {"scanNotActiveBrokerInterval", "5000"}, {"unRegisterBrokerQueueCapacity", "3000"}} {
		set.Set(kv[0], kv[1])
	}
	var log bytes.Buffer
	s, err := New(Config{Settings: set, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := log.String(); strings.Count(got, "no effect") != 1 || !strings.Contains(got, "key=unRegisterBrokerQueueCapacity") {
		t.Error(got)
	}
}

// client is one connection to a server under test.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func dial(t testing.TB, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn, bufio.NewReader(conn)}
}

// call sends one whole frame and returns the answer.
func (c *client) call(frame []byte) protocol.Command {
	c.t.Helper()
	if _, err := c.conn.Write(frame); err != nil {
		c.t.Fatal(err)
	}
	return c.read()
}

func (c *client) read() protocol.Command {
	c.t.Helper()
	var length [4]byte
	if _, err := io.ReadFull(c.in, length[:]); err != nil {
		c.t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(c.in, frame); err != nil {
		c.t.Fatal(err)
	}
	var cmd protocol.Command
	if err := cmd.Decode(frame); err != nil {
		c.t.Fatal(err)
	}
	return cmd
}

// request sends a request made from fields and returns the answer.
func (c *client) request(code int32, body string, fields ...string) protocol.Command {
	c.t.Helper()
	cmd := protocol.Command{Code: code, Version: protocol.Version, Opaque: 7, Body: []byte(body)}
	for i := 0; i < len(fields); i += 2 {
		cmd.Set(fields[i], fields[i+1])
	}
	return c.call(cmd.Append(nil))
}

func fieldsOf(c protocol.Command) map[string]string {
	m := map[string]string{}
	for _, f := range c.Fields {
		m[string(f.Key)] = string(f.Value)
	}
	return m
}

type recorded struct{ Form, Name, Step, Request, Response string }

func recording(t *testing.T) []recorded {
	t.Helper()
	file, err := os.Open("testdata/frames.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	for d := json.NewDecoder(z); ; {
		var r recorded
		if err := d.Decode(&r); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

func frameOf(t *testing.T, text string) (frame []byte, c protocol.Command) {
	t.Helper()
	frame, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Decode(bytes.Clone(frame[4:])); err != nil {
		t.Fatal(err)
	}
	return frame, c
}

// The requests of Java brokers, clients and tools, in the order in which a Java NameServer was asked, must get its
// answers. The recording keeps few of the registrations: see catchUp.
func TestServer_AsJava(t *testing.T) {
	for _, form := range []string{"json", "rocketmq"} {
		t.Run(form, func(t *testing.T) {
			s := start(t, nil)
			c := dial(t, s)
			for _, r := range recording(t) {
				if r.Form != form {
					continue
				}
				frame, asked := frameOf(t, r.Request)
				_, want := frameOf(t, r.Response)
				catchUp(s, asked, want)
				got := c.call(frame)
				where := r.Name + " of " + r.Step
				if got.Code != want.Code || got.Opaque != want.Opaque || got.Form != want.Form {
					t.Errorf("%s: code %d opaque %d form %d (%s), want %d %d %d", where, got.Code, got.Opaque, got.Form, got.Remark, want.Code, want.Opaque, want.Form)
					continue
				}
				if r.Name == "GET_BROKER_MEMBER_GROUP" {
					want.Remark = "" // Java forgot to clear "not set any response code"
				}
				if got.Remark != want.Remark {
					t.Errorf("%s: remark %q, want %q", where, got.Remark, want.Remark)
				}
				if !maps.Equal(fieldsOf(got), fieldsOf(want)) {
					t.Errorf("%s: fields %v, want %v", where, fieldsOf(got), fieldsOf(want))
				}
				if r.Name == "QUERY_DATA_VERSION" {
					want.Body = got.Body // of a registration that was not recorded
				}
				if g, w := inOrder(r.Name, got.Body), inOrder(r.Name, want.Body); g != w {
					t.Errorf("%s: body\n%s\nwant\n%s", where, g, w)
				}
			}
		})
	}
}

// catchUp makes up for registrations that the recording left out: topics that Java's answer has and that nobody told
// us are told.
func catchUp(s *Server, asked, want protocol.Command) {
	known := s.routes.Topics()
	tell := func(name string, queues ...protocol.QueueData) {
		if !slices.Contains(known, name) {
			s.routes.AddTopic(name, queues)
		}
	}
	switch asked.Code {
	case protocol.GetRouteinfoByTopic:
		var r protocol.TopicRouteData
		if name, ok := asked.Get("topic"); ok && laxjson.Unmarshal(want.Body, &r) == nil {
			tell(string(name), r.QueueDatas...)
		}
	case protocol.GetAllTopicListFromNameserver, protocol.GetTopicsByCluster:
		var l protocol.TopicList
		if laxjson.Unmarshal(want.Body, &l) == nil {
			for _, name := range l.TopicList {
				tell(name, protocol.QueueData{BrokerName: "broker-g", Perm: 6})
			}
		}
	}
}

// inOrder brings lists in an order, since Java writes its hash tables as they come.
func inOrder(name string, body []byte) string {
	var list struct {
		TopicList  []string
		BrokerAddr string
	}
	switch {
	case strings.Contains(name, "TOPIC_LIST") || name == "GET_TOPICS_BY_CLUSTER":
		if json.Unmarshal(body, &list) != nil {
			return string(body)
		}
		slices.Sort(list.TopicList)
		return strings.Join(list.TopicList, " ") + " " + list.BrokerAddr
	case name == "GET_NAMESRV_CONFIG":
		var keys []string
		for line := range strings.Lines(string(body)) {
			k, _, _ := strings.Cut(line, "=")
			keys = append(keys, k)
		}
		return strings.Join(keys, " ")
	}
	return string(body)
}

const twoTopics = `{"topicConfigSerializeWrapper":{"dataVersion":{"counter":1},"topicConfigTable":{"T1":{"topicName":"T1","perm":6,"readQueueNums":4,"writeQueueNums":4},"T2":{"topicName":"T2","perm":6,"readQueueNums":4,"writeQueueNums":4}}}}`

func (c *client) register(name, id, addr string, more ...string) protocol.Command {
	c.t.Helper()
	return c.request(protocol.RegisterBroker, twoTopics, append([]string{"clusterName", "C", "brokerName", name, "brokerId", id, "brokerAddr", addr, "haServerAddr", addr + "1"}, more...)...)
}

// A broker whose connection breaks is gone at once, not after two minutes.
func TestServer_ConnectionGone(t *testing.T) {
	s := start(t, nil)
	broker, watcher := dial(t, s), dial(t, s)
	if got := broker.register("a", "0", "h:1"); got.Code != protocol.Success {
		t.Fatal(got.Code, got.Remark)
	}
	if got := watcher.request(protocol.GetRouteinfoByTopic, "", "topic", "T1"); got.Code != protocol.Success {
		t.Fatal(got.Code, got.Remark)
	}
	broker.conn.Close()
	for code := int32(protocol.Success); code != protocol.TopicNotExist; {
		code = watcher.request(protocol.GetRouteinfoByTopic, "", "topic", "T1").Code
	}
}

// Two masters with one name and id: one answer, and each of them can read of the other.
func TestServer_TwoMasters(t *testing.T) {
	s := start(t, nil)
	one, other := dial(t, s), dial(t, s)
	for i, c := range []struct {
		who          *client
		addr, remark string
	}{
		{one, "h:1", ""}, {other, "h:2", ""},
		{one, "h:1", "ignored: h:2 is registered as broker a with id 0"},
		{other, "h:2", "h:1 claims to be broker a with id 0, too"},
		{one, "h:1", "ignored: h:2 is registered as broker a with id 0"},
	} {
		if got := c.who.register("a", "0", c.addr); got.Code != protocol.Success || got.Remark != c.remark {
			t.Errorf("%d: code %d, remark %q, want %q", i, got.Code, got.Remark, c.remark)
		}
	}
	if got := one.request(protocol.GetBrokerMemberGroup, "", "clusterName", "C", "brokerName", "a"); !strings.Contains(string(got.Body), `{0:"h:2"}`) {
		t.Errorf("members %s", got.Body)
	}
}

// A broker that falls silent is forgotten, and its connection closed.
func TestServer_Silent(t *testing.T) {
	s := start(t, map[string]string{"scanNotActiveBrokerInterval": "5"})
	broker := dial(t, s)
	broker.register("a", "0", "h:1", "heartbeatTimeoutMillis", "1")
	if _, err := broker.in.ReadByte(); err != io.EOF {
		t.Fatalf("connection is open: %v", err)
	}
	if got := dial(t, s).request(protocol.GetRouteinfoByTopic, "", "topic", "T1"); got.Code != protocol.TopicNotExist {
		t.Error(got.Code, got.Remark)
	}
}

// An update of the configuration takes effect at once, is in the file, and may not touch the black list.
func TestServer_UpdateConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ns.conf")
	s := start(t, map[string]string{"configStorePath": path})
	c := dial(t, s)
	c.register("a", "0", "h:1")
	if got := c.request(protocol.UpdateNamesrvConfig, "enableAllTopicList=false\n"); got.Code != protocol.Success {
		t.Fatal(got.Code, got.Remark)
	}
	if got := c.request(protocol.GetAllTopicListFromNameserver, ""); got.Code != protocol.SystemError || got.Remark != "disable" {
		t.Error(got.Code, got.Remark)
	}
	if got := c.request(protocol.GetNamesrvConfig, ""); !strings.Contains(string(got.Body), "\nenableAllTopicList=false\n") {
		t.Errorf("%s", got.Body)
	}
	if text, err := os.ReadFile(path); string(text) != "enableAllTopicList=false\n" {
		t.Errorf("%q %v", text, err)
	}
	if got := c.request(protocol.UpdateNamesrvConfig, "kvConfigPath=/tmp/x\nenableAllTopicList=true\n"); got.Code != protocol.NoPermission {
		t.Error(got.Code, got.Remark)
	}
	if got := c.request(protocol.GetAllTopicListFromNameserver, ""); got.Code != protocol.SystemError {
		t.Error("a refused update changed something")
	}
	if got := c.request(protocol.UpdateNamesrvConfig, `a=\u12`); got.Code != protocol.SystemError {
		t.Error(got.Code, got.Remark)
	}
}

// The order configuration is in routes and in answers to brokers, if wanted, and survives a restart.
func TestServer_OrderConf(t *testing.T) {
	kvPath := filepath.Join(t.TempDir(), "kv.json")
	s := start(t, map[string]string{"orderMessageEnable": "true", "kvConfigPath": kvPath})
	c := dial(t, s)
	c.register("a", "0", "h:1")
	c.request(protocol.PutKvConfig, "", "namespace", orderNamespace, "key", "T1", "value", "a:4")
	if got := c.request(protocol.GetRouteinfoByTopic, "", "topic", "T1"); !strings.Contains(string(got.Body), `"orderTopicConf":"a:4"`) {
		t.Errorf("%s", got.Body)
	}
	if got := c.request(protocol.GetRouteinfoByTopic, "", "topic", "T2"); got.Code != protocol.Success || strings.Contains(string(got.Body), "orderTopicConf") {
		t.Errorf("%s", got.Body)
	}
	if got := c.register("a", "0", "h:1"); string(got.Body) != `{"table":{"T1":"a:4"}}` {
		t.Errorf("%s", got.Body)
	}
	again := dial(t, start(t, map[string]string{"kvConfigPath": kvPath}))
	if got := again.request(protocol.GetKvConfig, "", "namespace", orderNamespace, "key", "T1"); fieldsOf(got)["value"] != "a:4" {
		t.Error(got.Code, got.Remark, fieldsOf(got))
	}
}

// Clients of a zone see the brokers of their zone.
func TestServer_Zone(t *testing.T) {
	s := start(t, nil)
	c := dial(t, s)
	c.register("a", "0", "h:1", "__ZONE_NAME", "east")
	c.register("b", "0", "h:2", "__ZONE_NAME", "west")
	got := c.request(protocol.GetRouteinfoByTopic, "", "topic", "T1", "__ZONE_MODE", "true", "__ZONE_NAME", "West")
	if s := string(got.Body); strings.Contains(s, `"a"`) || !strings.Contains(s, `{0:"h:2"}`) {
		t.Error(s)
	}
	got = c.request(protocol.GetRouteinfoByTopic, "", "topic", "T1", "__ZONE_MODE", "false", "__ZONE_NAME", "west")
	if s := string(got.Body); !strings.Contains(s, `{"0":"h:1"}`) {
		t.Error(s)
	}
}

// While it waits for brokers a NameServer answers no routes, since they would be short of some.
func TestServer_WaitForService(t *testing.T) {
	c := dial(t, start(t, map[string]string{"needWaitForService": "true", "waitSecondsForService": "3600"}))
	c.register("a", "0", "h:1")
	if got := c.request(protocol.GetRouteinfoByTopic, "", "topic", "T1"); got.Code != protocol.SystemError || got.Remark != "name server not ready" {
		t.Error(got.Code, got.Remark)
	}
	if got := c.request(protocol.UpdateNamesrvConfig, "needWaitForService=false\n"); got.Code != protocol.Success {
		t.Fatal(got.Code, got.Remark)
	}
	if got := c.request(protocol.GetRouteinfoByTopic, "", "topic", "T1"); got.Code != protocol.Success {
		t.Error(got.Code, got.Remark)
	}
}

// Those who stay in a broker set are told when its lowest id changes, at the address that they registered.
func TestServer_Notice(t *testing.T) {
	slave, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	s := start(t, map[string]string{"notifyMinBrokerIdChanged": "true"})
	c := dial(t, s)
	c.register("a", "0", "127.0.0.1:1", "enableActingMaster", "true")
	c.register("a", "1", slave.Addr().String(), "enableActingMaster", "true")
	c.request(protocol.UnregisterBroker, "", "clusterName", "C", "brokerName", "a", "brokerId", "0", "brokerAddr", "127.0.0.1:1")
	if err := slave.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := slave.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := (&client{t, conn, bufio.NewReader(conn)}).read()
	want := map[string]string{"brokerName": "a", "minBrokerId": "1", "minBrokerAddr": slave.Addr().String(), "offlineBrokerAddr": "127.0.0.1:1"}
	if got.Code != protocol.NotifyMinBrokerIdChange || !got.IsOneway() || !maps.Equal(fieldsOf(got), want) {
		t.Errorf("%d %v", got.Code, fieldsOf(got))
	}
}

// What is missing, broken or unknown is answered, and the connection lives on.
func TestServer_BadRequests(t *testing.T) {
	c := dial(t, start(t, nil))
	check := func(code int32, body string, want int32, fields ...string) {
		t.Helper()
		if got := c.request(code, body, fields...); got.Code != want || want != 0 && got.Remark == "" {
			t.Errorf("request %d: code %d %q, want %d", code, got.Code, got.Remark, want)
		}
	}
	broker := []string{"clusterName", "C", "brokerName", "a", "brokerId", "0", "brokerAddr", "h:1", "haServerAddr", "h:2"}
	check(protocol.GetRouteinfoByTopic, "", protocol.SystemError)
	check(protocol.GetRouteinfoByTopic, "", protocol.TopicNotExist, "topic", "nowhere")
	check(protocol.RegisterBroker, "{}", protocol.SystemError)
	check(protocol.RegisterBroker, "{", protocol.SystemError, broker...)
	check(protocol.RegisterBroker, "\x78\x9c", protocol.SystemError, broker...)
	check(protocol.RegisterBroker, "{}", protocol.SystemError, append(slices.Clone(broker), "bodyCrc32", "5")...)
	check(protocol.RegisterBroker, "", protocol.Success, broker...)
	check(protocol.QueryDataVersion, "[", protocol.SystemError, broker...)
	check(protocol.BrokerHeartbeat, "", protocol.Success, "clusterName", "C", "brokerName", "x", "brokerAddr", "y:1")
	check(protocol.RegisterTopicInNamesrv, "x", protocol.SystemError, "topic", "T")
	check(protocol.GetKvConfig, "", protocol.SystemError, "namespace", "n")
	check(31999, "", protocol.RequestCodeNotSupported)
}

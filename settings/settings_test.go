package settings

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/internal/properties"
)

// machine is the one that the recorded servers ran on.
var machine = Machine{Home: "/srv", RocketmqHome: "/rmq", HostName: "broker-g", IP: "127.0.0.1", Processors: 2}

func broker(t *testing.T) (*Settings, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	return NewBroker(machine, slog.New(slog.NewTextHandler(log, nil))), log
}

func readFile(t *testing.T, s *Settings, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// What Java answered to GET_BROKER_CONFIG and GET_NAMESRV_CONFIG must be our answer when the same keys are set.
func TestSettings_Text_AsJava(t *testing.T) {
	check := func(s *Settings, golden, path string, set ...string) {
		t.Helper()
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		props, err := properties.Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range set {
			s.Set(name, props[name])
		}
		if path != "" {
			s.values[path] = props[path]
		}
		got, lines := strings.Split(s.Text(), "\n"), strings.Split(string(want), "\n")
		for _, l := range lines {
			if !slices.Contains(got, l) {
				t.Errorf("missing %q", l)
			}
		}
		for _, l := range got {
			if !slices.Contains(lines, l) {
				t.Errorf("not in Java's: %q", l)
			}
		}
		if s.Text() != string(want) && !t.Failed() {
			t.Error("same lines in another order")
		}
	}
	b, _ := broker(t)
	check(b, "testdata/broker.txt", "", "authConfigPath", "bindAddress", "bitMapLengthConsumeQueueExt",
		"brokerClusterName", "brokerIP1", "brokerName", "defaultTopicQueueNums", "enableCalcFilterBitMap",
		"enablePropertyFilter", "haListenPort", "listenPort", "mappedFileSizeCommitLog", "mappedFileSizeConsumeQueue",
		"mappedFileSizeTimerLog", "mapperFileSizeBatchConsumeQueue", "maxHashSlotNum", "maxIndexNum", "namesrvAddr",
		"recallMessageEnable", "rocketmqHome", "storePathRootDir", "traceTopicEnable", "transactionCheckInterval",
		"transactionTimeOut", "waitTimeMillsInSendQueue")
	n := NewNamesrv(machine, slog.New(slog.DiscardHandler))
	check(n, "testdata/namesrv.txt", "configStorePath", "bindAddress", "listenPort", "rocketmqHome", "kvConfigPath", "scanNotActiveBrokerInterval")
}

// Defaults that the table cannot say are worked out.
func TestSettings_Defaults(t *testing.T) {
	m := machine
	m.NamesrvAddr = "10.0.0.1:9876"
	m.Processors = 16
	m.Properties = map[string]string{"com.rocketmq.remoting.socket.backlog": "77"}
	s := NewBroker(m, slog.New(slog.DiscardHandler))
	check := func(name, want string) {
		t.Helper()
		if got := s.String(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	check("listenPort", "10911")
	check("haListenPort", "0")
	check("brokerName", "broker-g")
	check("brokerIP2", "127.0.0.1")
	check("storePathRootDir", "/srv/store")
	check("rocketmqHome", "/rmq")
	check("namesrvAddr", "10.0.0.1:9876")
	check("serverSocketBacklog", "77")
	check("sendMessageThreadPoolNums", "4")
	check("pullMessageThreadPoolNums", "48")
	check("queryMessageThreadPoolNums", "24")
	check("haMasterAddress", "")
	if d := s.Duration("registerNameServerPeriod"); d != 30*time.Second {
		t.Error(d)
	}
	if f := s.Float("logicalDiskSpaceCleanForciblyThreshold"); f != 0.8 {
		t.Error(f)
	}
	if n := NewNamesrv(m, slog.New(slog.DiscardHandler)).Int("listenPort"); n != 9876 {
		t.Error(n)
	}
}

// A value is trimmed; one that does not parse keeps the default; both the unknown key and it are warned about.
func TestSettings_ReadFile(t *testing.T) {
	s, log := broker(t)
	readFile(t, s, "fileReservedTime=48 \nslaveReadEnable=true \nbrokerId=x\nmaxMessageSize=9999999999\nbrokerRole=slave\n"+
		"rmqAddressServerDomain=ns.example:80\nflushDiskType=NEVER\nnoSuchKey=1\nautoCreateTopicEnable=yes\nstorePathRootDir=${user.home}/data\nbrokerName= b \n")
	check := func(name, want string) {
		t.Helper()
		if got := s.String(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	check("fileReservedTime", "48")
	check("slaveReadEnable", "true")
	check("brokerId", "0")
	check("maxMessageSize", "4194304")
	check("brokerRole", "SLAVE")
	check("flushDiskType", "ASYNC_FLUSH")
	check("autoCreateTopicEnable", "false")
	check("storePathRootDir", "/srv/data")
	check("brokerName", "b")
	check("rmqAddressServerDomain", "ns.example:80")
	check("rmqAddressServerSubGroup", "")
	for _, name := range []string{"brokerId", "maxMessageSize", "flushDiskType", "noSuchKey", "autoCreateTopicEnable"} {
		if n := strings.Count(log.String(), "key="+name+" "); n != 1 {
			t.Errorf("%d warnings about %s, want 1:\n%s", n, name, log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("%d warnings, want 5:\n%s", n, log)
	}
	if err := s.ReadFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A flag wins over the file in whatever order they come, and an update over both.
func TestSettings_Precedence(t *testing.T) {
	s, _ := broker(t)
	s.Set("brokerName", "flag")
	path := readFile(t, s, "brokerName=file\nbrokerId=3\n")
	if got := s.String("brokerName"); got != "flag" {
		t.Errorf("brokerName = %q", got)
	}
	if err := s.Update(map[string]string{"brokerPermission": "4 ", "unknown": "1", "maxMessageSize": "big"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := s.Int("brokerPermission"); got != 4 {
		t.Errorf("brokerPermission = %d", got)
	}
	// The flag is not written back, the update is, and what cannot be used is not.
	data, _ := os.ReadFile(path)
	if want := "brokerId=3\nbrokerName=file\nbrokerPermission=4\n"; string(data) != want {
		t.Errorf("file = %q, want %q", data, want)
	}
	if err := s.Update(map[string]string{"brokerName": "update"}, time.Now()); err != nil || s.String("brokerName") != "update" {
		t.Error(s.String("brokerName"), err)
	}
	if n, _ := s.Version(); n != 2 {
		t.Errorf("version = %d", n)
	}
}

// A banned key refuses the whole update; the list can be made longer.
func TestSettings_Update_Banned(t *testing.T) {
	s, _ := broker(t)
	readFile(t, s, "configBlackList=traceOn; brokerConfigPath\n")
	for _, name := range []string{"configBlackList", "brokerConfigPath", "rocketmqHome", "traceOn"} {
		err := s.Update(map[string]string{name: "x", "brokerPermission": "2"}, time.Now())
		if !errors.Is(err, ErrBanned) || s.Int("brokerPermission") != 6 {
			t.Errorf("%s: %v, brokerPermission=%d", name, err, s.Int("brokerPermission"))
		}
	}
}

// A bell rings once per change of its key, after the new value is in force.
func TestSettings_OnChange(t *testing.T) {
	s, _ := broker(t)
	var seen []string
	s.OnChange("brokerPermission", func() { seen = append(seen, s.String("brokerPermission")) })
	for _, v := range []string{"4", "4", "x", "6"} {
		if err := s.Update(map[string]string{"brokerPermission": v}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(seen, []string{"4", "6"}) {
		t.Error(seen)
	}
}

// An update of a NameServer without a file goes to configStorePath.
func TestSettings_Update_NamesrvPath(t *testing.T) {
	m := machine
	m.Home = t.TempDir()
	s := NewNamesrv(m, slog.New(slog.DiscardHandler))
	if err := s.Update(map[string]string{"orderMessageEnable": "true"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(m.Home, "namesrv", "namesrv.properties"))
	if err != nil || string(data) != "orderMessageEnable=true\n" {
		t.Errorf("%q, %v", data, err)
	}
	path := readFile(t, s, "configStorePath=/elsewhere\n")
	if got := s.String("configStorePath"); got != path {
		t.Errorf("configStorePath = %q", got)
	}
}

func TestSettings_Unasked(t *testing.T) {
	s, _ := broker(t)
	readFile(t, s, "brokerId=1\ntraceOn=false\nwarmMapedFileEnable=true\nconfigBlackList=x\n")
	s.Int("brokerId")
	if got := s.Unasked(); !slices.Equal(got, []string{"traceOn", "warmMapedFileEnable"}) {
		t.Error(got)
	}
}

func TestJavaProperties(t *testing.T) {
	got := JavaProperties(`-server -Xms4g -Duser.home=/opt -D"rocketmq.namesrv.addr=a:1;b:2" -Dflag '-Dx=a b' -D`)
	want := map[string]string{"user.home": "/opt", "rocketmq.namesrv.addr": "a:1;b:2", "flag": "", "x": "a b"}
	if !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// The environment of an image that was made for Java is understood.
func TestThisMachine(t *testing.T) {
	env := map[string]string{"HOME": "/root", "NAMESRV_ADDR": "env:9876", "ROCKETMQ_HOME": "/home/rmq"}
	m := ThisMachine(func(k string) string { return env[k] })
	if m.Home != "/root" || m.NamesrvAddr != "env:9876" || m.RocketmqHome != "/home/rmq" || m.IP == "" || m.HostName == "" || m.Processors < 1 {
		t.Errorf("%+v", m)
	}
	env["JAVA_OPT_EXT"] = "-Duser.home=/data -Drocketmq.namesrv.addr=prop:9876 -Drocketmq.home.dir=/h"
	m = ThisMachine(func(k string) string { return env[k] })
	if m.Home != "/data" || m.NamesrvAddr != "prop:9876" || m.RocketmqHome != "/h" {
		t.Errorf("%+v", m)
	}
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// kind says whose server it is.
type kind string

const (
	ours kind = "rocketd"
	java kind = "java"
)

// underTest is the kind that the tests are about.
func underTest() kind {
	if os.Getenv("E2E_SERVER") == "java" {
		return java
	}
	return ours
}

// rocketd builds the program under test, once.
var rocketd = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("E2E_ROCKETD"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(work, "rocketd")
	_, err := tool("..", []string{"CGO_ENABLED=0"}, "go", "build", "-o", path, "./cmd/rocketd")
	return path, err
})

// server is one NameServer or broker on a folder of its own, which survives a kill.
type server struct {
	*process
	name string
	env  []string
	args []string
	addr string // host:port
	dir  string
}

// serve starts the server, again if need be, and returns when it says that it is up.
func (s *server) serve() error {
	p, err := start(s.name, s.env, s.args...)
	if err != nil {
		return err
	}
	s.process = p
	return p.waitFor("boot success", 3*time.Minute) // of a JVM on a machine that is busy
}

// folder is where a server of a test keeps what it has. Its name has no comma, which would part two folders of a commit log.
func folder(t *testing.T, name string) string {
	return filepath.Join(work, strings.ReplaceAll(t.Name(), ",", ""), name)
}

// newNamesrv prepares a NameServer; extra are key=value lines of its configuration.
func newNamesrv(t *testing.T, k kind, name string, extra ...string) *server {
	t.Helper()
	s := &server{name: name, dir: folder(t, name)}
	port := freePort(t)
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	if k == java {
		needJava(t)
		s.args = append([]string{"./javamq", "namesrv", "--dir", s.dir, "--port", strconv.Itoa(port)}, extra...)
		return s
	}
	conf := writeConf(t, s.dir, "namesrv.conf", append([]string{
		"listenPort=" + strconv.Itoa(port), "kvConfigPath=" + s.dir + "/store/kvConfig.json",
		"configStorePath=" + s.dir + "/store/namesrv.properties"}, extra...))
	s.args = []string{program(t), "namesrv", "-c", conf}
	s.env = []string{"HOME=" + s.dir, "ROCKETMQ_HOME="}
	return s
}

// newBroker prepares a broker that registers with the given NameServers.
func newBroker(t *testing.T, k kind, name, namesrv string, extra ...string) *server {
	t.Helper()
	s := &server{name: name, dir: folder(t, name)}
	port := freePort(t)
	s.addr = fmt.Sprintf("127.0.0.1:%d", port)
	if k == java {
		needJava(t)
		s.args = append([]string{"./javamq", "broker", "--dir", s.dir, "--port", strconv.Itoa(port), "--namesrv", namesrv, "--name", name,
			"waitTimeMillsInSendQueue=5000"}, extra...) // or a busy machine's broker refuses
		return s
	}
	conf := writeConf(t, s.dir, fmt.Sprintf("broker-%d.conf", port), append([]string{
		"brokerClusterName=DefaultCluster", "brokerName=" + name, "brokerId=0", "brokerIP1=127.0.0.1",
		"listenPort=" + strconv.Itoa(port), "namesrvAddr=" + namesrv, "storePathRootDir=" + s.dir + "/store",
		"storePathCommitLog=" + s.dir + "/store/commitlog", "mappedFileSizeCommitLog=134217728", "flushDiskType=ASYNC_FLUSH",
		"enablePropertyFilter=true"}, extra...))
	s.args = []string{program(t), "broker", "-c", conf}
	s.env = []string{"HOME=" + s.dir, "ROCKETMQ_HOME="}
	return s
}

func program(t *testing.T) string {
	t.Helper()
	path, err := rocketd()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func writeConf(t *testing.T, dir, name string, lines []string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, line := range lines {
		text = append(text, line+"\n"...)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// freePort finds N such that a broker may have N, N-2 (the fast port) and N+1 (replication). It looks below the range from
// which the kernel takes ports for outgoing connections, any of which may be taken in the next moment.
func freePort(t *testing.T) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
		return true
	}
	for range 1000 {
		port := 11000 + 4*rand.IntN(5000)
		if free(port-2) && free(port) && free(port+1) {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

// cluster is a NameServer and the brokers behind it.
type cluster struct {
	namesrv *server
	brokers []*server
}

// newCluster starts a NameServer and a broker of each kind given, and waits until the one knows the others.
func newCluster(t *testing.T, namesrv kind, brokers ...kind) *cluster {
	t.Helper()
	return newClusterWith(t, nil, namesrv, brokers...)
}

// newClusterWith is newCluster with key=value lines for the configuration of every broker.
func newClusterWith(t *testing.T, keys []string, namesrv kind, brokers ...kind) *cluster {
	t.Helper()
	c := &cluster{namesrv: newNamesrv(t, namesrv, "namesrv")}
	t.Cleanup(c.kill)
	if err := c.namesrv.serve(); err != nil {
		t.Fatal(err)
	}
	for i, k := range brokers {
		b := newBroker(t, k, "broker-"+string(rune('a'+i)), c.namesrv.addr, keys...)
		if err := b.serve(); err != nil {
			t.Fatal(err)
		}
		c.brokers = append(c.brokers, b)
	}
	c.waitRegistered(t)
	return c
}

func (c *cluster) kill() {
	for _, s := range append(c.brokers, c.namesrv) {
		if s.process != nil {
			s.process.kill()
		}
	}
}

// waitRegistered returns when the NameServer lists every broker.
func (c *cluster) waitRegistered(t *testing.T) {
	t.Helper()
	w := dial(t, c.namesrv.addr)
	eventually(t, 40*time.Second, "every broker is registered", func() bool {
		a, err := w.call(codeClusterInfo, nil, nil)
		if err != nil || a.code != 0 {
			return false
		}
		known, err := clusterAddrs(a.body)
		for _, b := range c.brokers {
			if known[b.addr] != b.name {
				return false
			}
		}
		return err == nil
	})
}

// createTopic makes a topic on every broker and returns when the NameServer knows each of its routes.
func (c *cluster) createTopic(t *testing.T, topic string, queues int) {
	t.Helper()
	for _, b := range c.brokers {
		w := dial(t, b.addr)
		w.must(t, codeUpdateTopic, topicFields(topic, queues), nil)
	}
	w := dial(t, c.namesrv.addr)
	eventually(t, 40*time.Second, "topic "+topic+" has its routes", func() bool {
		a, err := w.call(codeRoute, map[string]string{"topic": topic, "acceptStandardJsonOnly": "true"}, nil)
		if err != nil || a.code != 0 {
			return false
		}
		var route struct {
			QueueDatas []struct {
				BrokerName     string `json:"brokerName"`
				WriteQueueNums int    `json:"writeQueueNums"`
			} `json:"queueDatas"`
		}
		return json.Unmarshal(a.body, &route) == nil && len(route.QueueDatas) == len(c.brokers) && route.QueueDatas[0].WriteQueueNums == queues
	})
}

// committed sums what the group has committed of the topic's queues.
func (c *cluster) committed(t *testing.T, group, topic string, queues int) int64 {
	t.Helper()
	var sum int64
	for _, b := range c.brokers {
		w := dial(t, b.addr)
		for q := range queues {
			a, err := w.call(codeQueryOffset, map[string]string{"consumerGroup": group, "topic": topic, "queueId": strconv.Itoa(q)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := strconv.ParseInt(a.ext["offset"], 10, 64); err == nil && a.code == 0 {
				sum += n
			}
		}
	}
	return sum
}

package broker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/namesrv"
	"rocketd/protocol"
	"rocketd/settings"
)

// startNamesrv runs a NameServer until the test ends, and returns its address.
func startNamesrv(t *testing.T, set ...string) string {
	t.Helper()
	dir := t.TempDir()
	s := settings.NewNamesrv(settings.Machine{Home: dir, RocketmqHome: dir, Processors: 2}, slog.New(slog.DiscardHandler))
	for _, kv := range append([]string{"bindAddress=127.0.0.1", "listenPort=0"}, set...) {
		k, v, _ := strings.Cut(kv, "=")
		s.Set(k, v)
	}
	n, err := namesrv.New(namesrv.Config{Settings: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n.Addr().String()
}

// set is a broker set under test: where its members listen and keep their data.
type set struct {
	t       *testing.T
	namesrv string
	more    []string // settings of all
	port    [3]int   // by brokerId
	dir     [3]string
}

func newSet(t *testing.T, more ...string) *set {
	p := &set{t: t, namesrv: startNamesrv(t, "supportActingMaster=true", "notifyMinBrokerIdChanged=true"), more: more}
	for i := range p.port {
		p.port[i], p.dir[i] = freePort(t), t.TempDir()
	}
	return p
}

// start starts the member with an id.
func (p *set) start(id int, more ...string) *house {
	p.t.Helper()
	role := "brokerRole=SLAVE"
	if id == 0 {
		role = "brokerRole=SYNC_MASTER"
	}
	all := append([]string{"brokerName=a", "namesrvAddr=" + p.namesrv, "listenPort=" + strconv.Itoa(p.port[id]), "haListenPort=0",
		"brokerId=" + strconv.Itoa(id), role, "haSendHeartbeatInterval=200"}, p.more...)
	return open(p.t, p.dir[id], append(all, more...)...)
}

// until asks until the answer is the wanted one.
func (h *house) until(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s never came", what)
		}
	}
}

// offset is what a group has committed at a broker, -1 for nothing.
func (h *house) offset(group, topic string) int64 {
	r := h.call(protocol.QueryConsumerOffset, "", "consumerGroup="+group, "topic="+topic, "queueId=0", "setZeroIfNotFound=false")
	if r.Code != protocol.Success {
		return -1
	}
	n, _ := strconv.ParseInt(field(r, "offset"), 10, 64)
	return n
}

func (h *house) commit(group, topic string, offset int) {
	h.t.Helper()
	if r := h.call(protocol.UpdateConsumerOffset, "", "consumerGroup="+group, "topic="+topic, "queueId=0", fmt.Sprint("commitOffset=", offset)); r.Code != protocol.Success {
		h.t.Fatalf("commit: code %d %q", r.Code, r.Remark)
	}
}

// want pulls from queue 0 until as many messages came, and checks them.
func (h *house) want(topic string, from, to int) {
	h.t.Helper()
	var got []string
	h.until("messages of "+topic, func() bool {
		r := h.pull(topic, int64(from+len(got)), 100*time.Millisecond, "*")
		got = append(got, bodies(h.t, r.Body)...)
		return len(got) >= to-from
	})
	for i, b := range got {
		if b != fmt.Sprint("m", from+i) {
			h.t.Fatalf("message %d of %s is %s", from+i, topic, b)
		}
	}
	if len(got) != to-from {
		h.t.Fatalf("%d messages of %s, want %d", len(got), topic, to-from)
	}
}

func (h *house) sendAll(topic string, from, to int) {
	h.t.Helper()
	for i := from; i < to; i++ {
		if r := h.send(topic, fmt.Sprint("m", i)); r.Code != protocol.Success || field(r, "queueOffset") != strconv.Itoa(i) {
			h.t.Fatalf("send %d: code %d %q, offset %s", i, r.Code, r.Remark, field(r, "queueOffset"))
		}
	}
}

// members are the ids that the NameServer knows.
func (p *set) members(h *house) string {
	r, err := h.client.Invoke(p.t.Context(), p.namesrv, withFields(protocol.GetBrokerMemberGroup, "clusterName=DefaultCluster", "brokerName=a"))
	if err != nil {
		p.t.Fatal(err)
	}
	var body protocol.GetBrokerMemberGroupResponseBody
	if err := body.Unmarshal(r.Body); err != nil {
		p.t.Fatal(err)
	}
	return fmt.Sprint(body.BrokerMemberGroup.BrokerAddrs)
}

func withFields(code int32, fields ...string) *protocol.Command {
	c := &protocol.Command{Code: code, Version: protocol.Version}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		c.Set(k, v)
	}
	return c
}

// A slave has what the master acknowledged, its log is the master's byte for byte, it takes no messages, and readers go
// on at the slave while the master is away; when it comes back it has their offsets, and gives no offset twice.
func TestPair_MasterAwayAndBack(t *testing.T) {
	p := newSet(t)
	slave := p.start(1)
	master := p.start(0)
	master.sendAll("T", 0, 100)
	slave.want("T", 0, 100)
	master.want("T", 0, 100)
	master.commit("g", "T", 40)
	slave.until("the offset", func() bool { return slave.offset("g", "T") == 40 })
	if r := slave.send("T", "x"); r.Code != protocol.SystemBusy {
		t.Errorf("a slave answers a send with code %d %q", r.Code, r.Remark)
	}
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	if got, want := p.members(slave), fmt.Sprintf("map[1:%s]", slave.addr); got != want {
		t.Errorf("members %s, want %s", got, want)
	}
	slave.want("T", 40, 100)
	slave.commit("g", "T", 100)
	sameLog(t, p.dir[0], p.dir[1])

	master = p.start(0)
	if got := master.offset("g", "T"); got != 100 {
		t.Errorf("the master came back with offset %d", got)
	}
	master.sendAll("T", 100, 150)
	slave.want("T", 100, 150)
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	sameLog(t, p.dir[0], p.dir[1])
}

// sameLog compares the commit logs of two stores.
func sameLog(t *testing.T, one, other string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(one, "commitlog", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no log", err)
	}
	for _, f := range files {
		a, errA := os.ReadFile(f)
		b, errB := os.ReadFile(filepath.Join(other, "commitlog", filepath.Base(f)))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		n := min(len(a), len(b))
		if string(a[:n]) != string(b[:n]) {
			t.Errorf("%s differs", filepath.Base(f))
		}
	}
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/namesrv"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/remoting"
	"rocketd/rpc"
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

// route is who stands for a topic's brokers, by id, as clients see it.
func (p *set) route(h *house, topic string) string {
	r, err := h.client.Invoke(p.t.Context(), p.namesrv, withFields(protocol.GetRouteinfoByTopic, "topic="+topic))
	if err != nil {
		p.t.Fatal(err)
	}
	var body protocol.TopicRouteData
	if r.Code != protocol.Success || body.Unmarshal(r.Body) != nil || len(body.BrokerDatas) != 1 {
		return r.Remark
	}
	return fmt.Sprint(body.BrokerDatas[0].BrokerAddrs)
}

// A power cut took the end of the master's log, which the slave has acknowledged: it comes back with it, and with what was
// committed meanwhile.
func TestPair_MasterLostItsTail(t *testing.T) {
	p := newSet(t)
	master := p.start(0, "brokerRole=ASYNC_MASTER")
	master.sendAll("T", 0, 10)
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(p.dir[0])); err != nil {
		t.Fatal(err)
	}
	slave := p.start(1)
	master = p.start(0, "brokerRole=ASYNC_MASTER")
	master.sendAll("T", 10, 60)
	master.sendAll("U", 0, 5) // its topic is lost, too
	slave.want("T", 0, 60)
	slave.want("U", 0, 5)
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	p.dir[0] = before
	master = p.start(0)
	master.want("T", 0, 60)
	master.sendAll("T", 60, 70)
	slave.want("T", 60, 70)
	master.sendAll("U", 5, 6)
	slave.want("U", 5, 6)
}

// An old master that comes back as a slave shows nothing of what no other broker has, until its new master has it.
func TestPair_OldMasterShowsNoTail(t *testing.T) {
	p := newSet(t, "slaveTimeout=1000")
	slave, master := p.start(1), p.start(0)
	master.until("the slave", func() bool { return len(master.broker.ha.Slaves()) == 1 })
	master.sendAll("T", 0, 10)
	slave.want("T", 0, 10)
	if err := slave.stop(); err != nil {
		t.Fatal(err)
	}
	if r := master.send("T", "nobody else has this"); r.Code != protocol.FlushSlaveTimeout {
		t.Fatalf("code %d %q", r.Code, r.Remark)
	}
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	p.dir[0], p.dir[1] = p.dir[1], p.dir[0]
	old := p.start(1)
	old.want("T", 0, 10)
	if r := old.pull("T", 10, 100*time.Millisecond, "*"); r.Code != protocol.PullNotFound {
		t.Errorf("code %d, %q", r.Code, bodies(t, r.Body))
	}
	p.start(0) // it takes what its slave has more
	old.until("the new master", func() bool { return old.pull("T", 10, 100*time.Millisecond, "*").Code == protocol.Success })
}

// A master with a new disk gets everything from its slave.
func TestPair_MasterWithNewDisk(t *testing.T) {
	p := newSet(t)
	slave := p.start(1)
	master := p.start(0)
	master.sendAll("T", 0, 30)
	master.want("T", 0, 30) // makes the group
	master.commit("g", "T", 12)
	slave.until("the offset", func() bool { return slave.offset("g", "T") == 12 })
	slave.want("T", 0, 30)
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	p.dir[0] = t.TempDir()
	master = p.start(0)
	if got := master.offset("g", "T"); got != 12 {
		t.Errorf("offset %d", got)
	}
	master.want("T", 0, 30)
	master.sendAll("T", 30, 40)
	slave.want("T", 30, 40)
}

// A master starts without a slave that the NameServer knows and that cannot be reached.
func TestPair_SlaveAway(t *testing.T) {
	p := newSet(t)
	k := remoting.NewClient(remoting.ClientConfig{})
	defer k.Close()
	gone := fmt.Sprint("127.0.0.1:", p.port[1])
	req := protocol.RegisterBrokerRequest{BrokerName: "a", BrokerAddr: gone, ClusterName: "DefaultCluster", HaServerAddr: gone, BrokerID: 1}
	if _, err := rpc.NewNamesrv(k).Register(t.Context(), p.namesrv, &req, "", []byte(`{"topicConfigSerializeWrapper":{"topicConfigTable":{}}}`)); err != nil {
		t.Fatal(err)
	}
	master := p.start(0, "brokerRole=ASYNC_MASTER")
	if got, want := p.members(master), fmt.Sprintf("map[0:%s 1:%s]", master.addr, gone); got != want {
		t.Errorf("the set is %s, want %s", got, want)
	}
	master.sendAll("T", 0, 3)
	master.want("T", 0, 3)
}

// In a set with an acting master the slave with the lowest id stands for a master that is gone, and gives its place back.
func TestSet_ActingMaster(t *testing.T) {
	p := newSet(t, "enableSlaveActingMaster=true", "totalReplicas=3", "brokerHeartbeatInterval=100")
	one, two := p.start(1), p.start(2)
	master := p.start(0)
	master.sendAll("T", 0, 10)
	one.want("T", 0, 10)
	two.want("T", 0, 10)
	all := fmt.Sprintf("map[0:%s 1:%s 2:%s]", master.addr, one.addr, two.addr)
	if got := p.route(master, "T"); got != all {
		t.Errorf("route %s, want %s", got, all)
	}
	if err := master.stop(); err != nil {
		t.Fatal(err)
	}
	one.until("the duty", one.broker.onDuty.Load)
	if got, want := p.route(one, "T"), fmt.Sprintf("map[0:%s 2:%s]", one.addr, two.addr); got != want {
		t.Errorf("route %s, want %s", got, want)
	}
	if two.broker.onDuty.Load() {
		t.Error("two act for one master")
	}
	one.commit("g", "T", 7)
	courier := one.broker.put.NewCourier() // its log is the master's whoever acts for it
	courier.Stage(one.broker.store.Queue("T", 0), &message.Draft{Topic: []byte("T"), BornHost: one.broker.id.addr, StoreHost: one.broker.id.addr}, 0)
	if _, err := courier.Commit(t.Context(), time.Now()); !errors.Is(err, put.ErrCopy) {
		t.Errorf("a slave's log takes a message: %v", err)
	}
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	two.until("the duty", two.broker.onDuty.Load)
	one = p.start(1)
	two.until("the duty of the lower id", func() bool { return one.broker.onDuty.Load() && !two.broker.onDuty.Load() })

	master = p.start(0)
	if got := master.offset("g", "T"); got != 7 {
		t.Errorf("the master came back with offset %d", got)
	}
	one.until("the end of the duty", func() bool { return !one.broker.onDuty.Load() })
	master.sendAll("T", 10, 20)
	one.want("T", 10, 20)
	two.want("T", 10, 20)
	if got := p.route(master, "T"); got != all {
		t.Errorf("route %s, want %s", got, all)
	}
}

// With lockInStrictMode most members of a set must give a queue.
func TestSet_StrictLocks(t *testing.T) {
	p := newSet(t, "lockInStrictMode=true", "totalReplicas=3")
	one := p.start(1)
	master := p.start(0)
	ask := func(h *house, client string) int {
		body := fmt.Sprintf(`{"clientId":%q,"consumerGroup":"g","mqSet":[{"brokerName":"a","queueId":0,"topic":"T"}],"onlyThisBroker":false}`, client)
		r := h.call(protocol.LockBatchMq, body)
		var out protocol.LockBatchResponseBody
		if r.Code != protocol.Success || out.Unmarshal(r.Body) != nil {
			t.Fatalf("code %d %q", r.Code, r.Remark)
		}
		return len(out.LockOKMQSet)
	}
	master.until("the lock", func() bool { return ask(master, "c1") == 1 }) // when they know each other
	if got := ask(one, "c2"); got != 0 {
		t.Error("two clients have one queue")
	}
	if r := master.call(protocol.UnlockBatchMq, `{"clientId":"c1","consumerGroup":"g","mqSet":[{"brokerName":"a","queueId":0,"topic":"T"}],"onlyThisBroker":false}`); r.Code != protocol.Success {
		t.Errorf("unlock: code %d %q", r.Code, r.Remark)
	}
	one.until("the lock", func() bool { return ask(one, "c2") == 1 })
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	if got := ask(master, "c3"); got != 0 {
		t.Error("one of three members is enough")
	}
}

// A slave does not join with the store of another set.
func TestPair_ForeignStore(t *testing.T) {
	p := newSet(t)
	if err := p.start(0).stop(); err != nil {
		t.Fatal(err)
	}
	s := settings.NewBroker(settings.Machine{Home: p.dir[0], IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
	for _, kv := range []string{"storePathRootDir=" + p.dir[0], "listenPort=" + strconv.Itoa(p.port[1]), "brokerRole=SLAVE", "brokerId=1", "brokerName=other"} {
		k, v, _ := strings.Cut(kv, "=")
		s.Set(k, v)
	}
	b, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "belongs to broker a of cluster DefaultCluster") {
		t.Errorf("error is %v", err)
	}
	if b != nil {
		b.Close()
	}
	if err := p.start(0, "brokerName=renamed").stop(); err != nil { // a master may be renamed
		t.Fatal(err)
	}
}

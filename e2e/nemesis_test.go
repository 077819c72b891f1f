//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rocketd/e2e/history"
)

// TestNemesis strikes a master, its slave and two NameServers under load, in an order that a seed chooses: processes are
// killed and paused, ways are cut, links get slow, disks fill up, the slave takes over and the old master comes back as its
// slave. The master is SYNC_MASTER. Whatever happens: what was acknowledged is there in the end, once, in order; so is what
// consumers have seen; committed offsets do not go back beyond the last seconds; both logs are the same in the end.
//
//	E2E_FAULTS=500    faults in all (default 16)
//	E2E_SEED=7        the order (default: another one each time; it is printed)
//	E2E_STEP=kill     only steps with this in their name
func TestNemesis(t *testing.T) {
	if underTest() == java {
		t.Skip("Java's SYNC_MASTER waits for no slave")
	}
	faults, seed := 16, uint64(time.Now().UnixNano())%1_000_000
	if s := os.Getenv("E2E_FAULTS"); s != "" {
		faults, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("E2E_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	for _, flush := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(flush, func(t *testing.T) {
			n := newNemesis(t, seed, flush)
			n.run(max(1, faults/2))
		})
	}
}

const (
	nemesisTopic   = "Nemesis"
	nemesisBroker  = "pair"
	nemesisGroup   = "readers"
	nemesisWriters = 6
	// promisedCommits is how long ago an offset must have been committed for it not to be forgotten: a broker writes them
	// each 5 s, and a slave takes them over each 10 s.
	promisedCommits = 17 * time.Second
)

// fighter is one process under attack.
type fighter struct {
	*site
	process  *process
	port     int
	namesrvs string // for brokers
	fast     *proxy // to the master's log, where there are no namespaces
	flush    string
	broker   bool
	paused   bool
}

func (f *fighter) addr() string { return fmt.Sprintf("%s:%d", f.ip, f.port) }

// nemesis is the cluster, its clients, and what strikes it.
type nemesis struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	g       *ground
	h       *history.History
	names   []*fighter // NameServers
	proxies []*proxy   // to them, one for each broker and NameServer, where there are no namespaces
	pair    [2]*fighter
	master  int   // in pair
	least   int64 // what a slave must have had before it may take over
	counts  map[string]int

	over    chan struct{}
	quiet   atomic.Bool
	clients sync.WaitGroup
	acked   [nemesisWriters]atomic.Int64
	readTo  [queues]atomic.Int64
}

func newNemesis(t *testing.T, seed uint64, flush string) *nemesis {
	n := &nemesis{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, uint64(len(flush)))), g: newGround(t), counts: map[string]int{}, over: make(chan struct{})}
	began := time.Now()
	n.h = history.New(func() time.Duration { return time.Since(began) })
	t.Logf("seed %d, namespaces: %v", seed, n.g.root)
	for _, name := range []string{"namesrv-a", "namesrv-b"} {
		f := &fighter{site: n.g.site(t, name, 0), port: 9876}
		if !n.g.root {
			f.port = freePort(t)
		}
		n.names = append(n.names, f)
	}
	for i, name := range []string{"one", "two"} {
		f := &fighter{site: n.g.site(t, name, 1<<30), port: 10911, broker: true, flush: flush}
		list := n.names[0].addr() + ";" + n.names[1].addr()
		if !n.g.root {
			f.port = freePort(t)
			f.fast = newProxy(t, func() string { o := n.pair[1-i]; return fmt.Sprintf("%s:%d", o.ip, o.port+1) })
			list = ""
			for _, ns := range n.names {
				p := newProxy(t, ns.addr)
				n.proxies = append(n.proxies, p)
				list += p.addr() + ";"
			}
		}
		f.namesrvs = list
		n.pair[i] = f
	}
	t.Cleanup(func() {
		for _, f := range n.all() {
			if f.process != nil {
				f.process.kill()
			}
		}
	})
	return n
}

func (n *nemesis) all() []*fighter { return append(slices.Clone(n.names), n.pair[:]...) }

// start starts a node; a broker is the master if it is that of the pair.
func (n *nemesis) start(f *fighter) {
	n.t.Helper()
	conf := []string{"listenPort=" + strconv.Itoa(f.port), "kvConfigPath=" + f.dir + "/kvConfig.json", "configStorePath=" + f.dir + "/namesrv.properties"}
	args := []string{program(n.t), "namesrv", "-c"}
	if f.broker {
		args[1] = "broker"
		role, id := "SLAVE", 1
		if f == n.pair[n.master] {
			role, id = "SYNC_MASTER", 0
		}
		conf = []string{"brokerClusterName=DefaultCluster", "brokerName=" + nemesisBroker, "brokerRole=" + role, fmt.Sprint("brokerId=", id),
			"brokerIP1=" + f.ip, "brokerIP2=" + f.ip, "listenPort=" + strconv.Itoa(f.port), "namesrvAddr=" + f.namesrvs, "storePathRootDir=" + f.dir + "/store",
			"mappedFileSizeCommitLog=4194304", "mappedFileSizeConsumeQueue=60000", "flushDiskType=" + f.flush, "slaveTimeout=1000",
			"haSendHeartbeatInterval=1000", "haHousekeepingInterval=3000", "registerNameServerPeriod=10000",
			"cleanFileForciblyEnable=false"} // else a full disk takes the oldest messages, as it should
		if f.fast != nil && id == 1 {
			conf = append(conf, "haMasterAddress="+f.fast.addr())
		}
	}
	path := filepath.Join(work, n.t.Name(), f.name+".conf") // not on its disk, which may be full
	if err := os.WriteFile(path, []byte(fmt.Sprintln(joined(conf))), 0o644); err != nil {
		n.t.Fatal(err)
	}
	p, err := start(filepath.Base(n.t.Name())+"-"+f.name, []string{"HOME=" + f.dir, "ROCKETMQ_HOME="}, f.inside(append(args, path)...)...)
	if err == nil {
		f.process, f.paused = p, false
		err = p.waitFor("boot success", 60*time.Second)
	}
	if err != nil {
		n.t.Fatalf("%s does not start: %v", f.name, err)
	}
}

func joined(lines []string) string {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	return b.String()
}

func (n *nemesis) kill(f *fighter) {
	f.process.kill()
	f.paused = false
}

func (n *nemesis) pause(f *fighter) {
	f.process.cmd.Process.Signal(syscall.SIGSTOP)
	f.paused = true
}

func (n *nemesis) resume(f *fighter) {
	f.process.cmd.Process.Signal(syscall.SIGCONT)
	f.paused = false
}

// alive tells whether the process of a node runs.
func (f *fighter) alive() bool {
	select {
	case <-f.process.done:
		return false
	default:
		return true
	}
}

// run strikes so many times, heals everything, and checks.
func (n *nemesis) run(faults int) {
	t := n.t
	for _, f := range n.names {
		n.start(f)
	}
	for _, f := range n.pair {
		n.start(f)
	}
	n.settle("at the beginning", false)
	n.createTopic()
	for i := range nemesisWriters {
		n.clients.Go(func() { n.write(i) })
	}
	for i := range 2 {
		n.clients.Go(func() { n.read(i) })
	}
	t.Cleanup(func() { // whatever failed
		select {
		case <-n.over:
		default:
			close(n.over)
		}
		n.clients.Wait()
		if t.Failed() {
			n.dump()
		}
	})
	n.settle("under load", true)
	began := time.Now()
	for n.h.Faults() < faults && !t.Failed() {
		n.step()
	}
	took := time.Since(began)
	n.settle("in the end", true)
	n.quiet.Store(true)
	n.same()
	close(n.over)
	n.clients.Wait()
	n.final()
	c := n.h.Counts()
	t.Logf("%d faults in %v %v; %d sent, %d acknowledged, %d in the end, %d read, %d offsets committed, %d asked for",
		c.Faults, took.Round(time.Second), n.counts, c.Sent, c.Acked, c.Held, c.Read, c.Committed, c.Fetched)
	if c.Acked == 0 || c.Read == 0 || c.Committed == 0 || c.Fetched == 0 {
		t.Error("the clients did nothing")
	}
	found := n.h.Check(history.Promise{Acked: true, Reads: true, Commits: promisedCommits})
	for _, v := range found[:min(20, len(found))] {
		t.Error(v)
	}
	if len(found) > 0 {
		t.Errorf("%d broken promises with seed %d", len(found), n.seed)
	}
	n.verify()
}

// dump keeps what happened for whoever looks for the cause.
func (n *nemesis) dump() {
	name := filepath.Join(os.TempDir(), fmt.Sprintf("nemesis-%d-%s.txt", n.seed, filepath.Base(n.t.Name())))
	f, err := os.Create(name)
	if err != nil {
		n.t.Log(err)
		return
	}
	defer f.Close()
	if err := n.h.Dump(f); err != nil {
		n.t.Log(err)
	}
	n.t.Logf("seed %d; what happened is in %s, what the nodes printed and where they are now beside it", n.seed, name)
	for _, f := range n.all() {
		if f.process == nil {
			continue
		}
		n.t.Logf("%s:\n%s", f.name, f.process.log.tail())
		if f.alive() {
			n.resume(f)
			f.process.cmd.Process.Signal(syscall.SIGQUIT) // prints all goroutines
			<-f.process.done
		}
		text, err := os.ReadFile(f.process.log.file.Name())
		if err == nil {
			err = os.WriteFile(strings.TrimSuffix(name, ".txt")+"-"+f.name+".log", text, 0o644)
		}
		if err != nil {
			n.t.Log(err)
		}
	}
}

// createTopic makes the topic and the group on the master.
func (n *nemesis) createTopic() {
	w := dial(n.t, n.pair[n.master].addr())
	w.must(n.t, codeUpdateTopic, topicFields(nemesisTopic, queues), nil)
	w.must(n.t, codeUpdateGroup, nil, fmt.Appendf(nil, `{"groupName":%q,"consumeEnable":true,"consumeFromMinEnable":true,"consumeBroadcastEnable":true,`+
		`"retryQueueNums":1,"retryMaxTimes":16,"brokerId":0,"whichBrokerWhenConsumeSlowly":1}`, nemesisGroup))
}

// look asks a NameServer for the addresses of the brokers.
func (n *nemesis) look(rng *rand.Rand) (master, slave string, err error) {
	for _, i := range rng.Perm(len(n.names)) {
		var w *wire
		if w, err = hurry(n.names[i].addr(), time.Second); err != nil {
			continue
		}
		var a answer
		a, err = w.call(codeClusterInfo, nil, nil)
		w.conn.Close()
		if err != nil {
			continue
		}
		var info struct {
			BrokerAddrTable map[string]struct {
				BrokerAddrs map[string]string `json:"brokerAddrs"`
			} `json:"brokerAddrTable"`
		}
		if err = json.Unmarshal(bareKey.ReplaceAll(a.body, []byte(`$1"$2":`)), &info); err == nil {
			b := info.BrokerAddrTable[nemesisBroker].BrokerAddrs
			return b["0"], b["1"], nil
		}
	}
	return "", "", err
}

// wait waits; false says that it is all over.
func (n *nemesis) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-n.over:
		return false
	}
}

// write sends one message after the other to the master that the NameServers name.
func (n *nemesis) write(i int) {
	rng := rand.New(rand.NewPCG(n.seed, uint64(i)+10))
	var w *wire
	for number := 1; n.wait(time.Duration(rng.IntN(8)) * time.Millisecond); number++ {
		for w == nil {
			if addr, _, err := n.look(rng); err == nil && addr != "" {
				w, _ = hurry(addr, 3*time.Second)
			}
			if w == nil && !n.wait(30*time.Millisecond) {
				return
			}
		}
		if n.quiet.Load() {
			break
		}
		q := history.Queue{Broker: nemesisBroker, Topic: nemesisTopic, ID: rng.IntN(queues)}
		id := history.ID{Producer: fmt.Sprintf("w%d", i), N: number}
		s := n.h.Send(id, q)
		offset, err := w.send(nemesisTopic, q.ID, history.Body(id, rng.IntN(1500)))
		if err == nil {
			s.Acked(offset)
			n.acked[i].Add(1)
			continue
		}
		w.conn.Close()
		w = nil
		var r refusal
		if errors.As(err, &r) && !n.wait(20*time.Millisecond) {
			return
		}
	}
	if w != nil {
		w.conn.Close()
	}
}

// read reads all queues as a member of a group does that has half of them, from the master, or from the slave while there is
// none. When its connection breaks, it may start anew where the group stands.
func (n *nemesis) read(i int) {
	rng := rand.New(rand.NewPCG(n.seed, uint64(i)+20))
	var next [queues]int64
	session, broken := 0, false
	var w *wire
	isMaster := false
	for n.wait(time.Duration(rng.IntN(10)) * time.Millisecond) {
		if w == nil {
			master, slave, err := n.look(rng)
			addr := master
			if isMaster = addr != ""; !isMaster {
				addr = slave
			}
			if err == nil && addr != "" {
				w, _ = hurry(addr, 3*time.Second)
			}
			if w == nil {
				continue
			}
			if broken && isMaster && rng.IntN(3) == 0 {
				session++
				for q := i; q < queues; q += 2 {
					if at, err := n.stands(w, q); err == nil {
						next[q] = max(at, 0)
					}
				}
				broken = false
			}
		}
		q := i + 2*rng.IntN(queues/2)
		recs, err := w.pull(nemesisTopic, q, next[q])
		key := history.Queue{Broker: nemesisBroker, Topic: nemesisTopic, ID: q}
		for _, r := range recs {
			n.h.Read(fmt.Sprintf("r%d-%d", i, session), key, r.queueOffset, r.body)
			next[q] = r.queueOffset + 1
		}
		n.readTo[q].Store(next[q])
		if err == nil && len(recs) > 0 && isMaster && rng.IntN(3) == 0 {
			c := n.h.Commit(nemesisGroup, key, next[q])
			var a answer
			a, err = w.call(codeCommitOffset, map[string]string{"consumerGroup": nemesisGroup, "topic": nemesisTopic, "queueId": strconv.Itoa(q),
				"commitOffset": strconv.FormatInt(next[q], 10)}, nil)
			if err == nil && a.code == 0 {
				c.Acked()
			}
		}
		var r refusal
		if err != nil && !errors.As(err, &r) || rng.IntN(300) == 0 || !isMaster && rng.IntN(20) == 0 {
			w.conn.Close()
			w, broken = nil, true
		}
	}
	if w != nil {
		w.conn.Close()
	}
}

// stands asks where the group stands in a queue; -1 is nowhere.
func (n *nemesis) stands(w *wire, q int) (int64, error) {
	began := n.h.Now()
	a, err := w.call(codeQueryOffset, map[string]string{"consumerGroup": nemesisGroup, "topic": nemesisTopic, "queueId": strconv.Itoa(q)}, nil)
	if err != nil {
		return 0, err
	}
	at := int64(-1)
	if a.code == 0 {
		if at, err = strconv.ParseInt(a.ext["offset"], 10, 64); err != nil {
			return 0, err
		}
	} else if a.code != 22 { // QUERY_NOT_FOUND
		return 0, refusal{a.code, a.remark}
	}
	if at == 0 { // what a broker says of a group that it does not know
		at = -1
	}
	n.h.Fetched(nemesisGroup, history.Queue{Broker: nemesisBroker, Topic: nemesisTopic, ID: q}, began, at)
	return at, nil
}

// haState is what a broker says about replication.
type haState struct {
	Master bool  `json:"master"`
	End    int64 `json:"masterCommitLogMaxOffset"`
	Slaves []struct {
		Ack int64 `json:"slaveAckOffset"`
	} `json:"haConnectionInfo"`
	Client struct {
		End int64 `json:"maxOffset"`
	} `json:"haClientRuntimeInfo"`
}

const codeHAStatus = 907

func (n *nemesis) ha(f *fighter) (s haState, err error) {
	w, err := hurry(f.addr(), time.Second)
	if err != nil {
		return s, err
	}
	defer w.conn.Close()
	a, err := w.call(codeHAStatus, nil, nil)
	if err == nil && a.code != 0 {
		err = refusal{a.code, a.remark}
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(a.body, &s)
}

// joined tells whether the slave has what the master had when it became the master, and some more of its log.
func (n *nemesis) joined() bool {
	m, err := n.ha(n.pair[n.master])
	if err != nil {
		return false
	}
	s, err := n.ha(n.pair[1-n.master])
	if err != nil {
		return false
	}
	for _, c := range m.Slaves {
		if c.Ack > n.least && s.Client.End >= c.Ack {
			return true
		}
	}
	return false
}

// settle starts what is down and waits until everything works: both NameServers know both brokers, the slave has joined,
// and under load each writer gets answers and readers go on.
func (n *nemesis) settle(when string, load bool) {
	n.t.Helper()
	for _, f := range n.all() {
		if f.paused {
			n.resume(f)
		}
		if !f.alive() {
			n.start(f)
		}
	}
	var acked [nemesisWriters]int64
	for i := range acked {
		acked[i] = n.acked[i].Load()
	}
	missing := ""
	ok := func() bool {
		for _, ns := range n.names {
			w, err := hurry(ns.addr(), time.Second)
			if err != nil {
				missing = err.Error()
				return false
			}
			a, err := w.call(codeClusterInfo, nil, nil)
			w.conn.Close()
			known, err2 := clusterAddrs(a.body)
			if err != nil || err2 != nil || known[n.pair[0].addr()] == "" || known[n.pair[1].addr()] == "" {
				missing = fmt.Sprintf("%s knows %v (%v)", ns.name, known, errors.Join(err, err2))
				return false
			}
		}
		if !load {
			return true
		}
		for i := range acked {
			if n.acked[i].Load() == acked[i] {
				missing = fmt.Sprintf("writer %d gets no acknowledgement", i)
				return false
			}
		}
		missing = "the slave has not joined"
		return n.joined()
	}
	const limit = 60 * time.Second
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%s, seed %d: after %v it still does not work: %s", when, n.seed, limit, missing)
		}
	}
}

// same waits until, without load, both logs end at the same place and readers have all there is.
func (n *nemesis) same() {
	n.t.Helper()
	differs := func() error {
		m, err := n.ha(n.pair[n.master])
		if err != nil {
			return err
		}
		s, err := n.ha(n.pair[1-n.master])
		if err != nil {
			return err
		}
		if s.Client.End != m.End {
			return fmt.Errorf("the master's log ends at %d, the slave's at %d", m.End, s.Client.End)
		}
		w, err := hurry(n.pair[n.master].addr(), time.Second)
		if err != nil {
			return err
		}
		defer w.conn.Close()
		for q := range queues {
			a, err := w.call(codeMaxOffset, map[string]string{"topic": nemesisTopic, "queueId": strconv.Itoa(q)}, nil)
			if at := strconv.FormatInt(n.readTo[q].Load(), 10); err != nil || a.ext["offset"] != at {
				return fmt.Errorf("queue %d can be read up to %s, and was up to %s (%w)", q, a.ext["offset"], at, err)
			}
		}
		return nil
	}
	const limit = 60 * time.Second
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := differs()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			n.t.Fatalf("quiet for %v: %v", limit, err)
		}
	}
}

// final reads all queues from the master.
func (n *nemesis) final() {
	w := dial(n.t, n.pair[n.master].addr())
	for q := range queues {
		var bodies [][]byte
		for {
			recs, err := w.pull(nemesisTopic, q, int64(len(bodies)))
			if err != nil {
				n.t.Fatal(err)
			}
			if len(recs) == 0 {
				break
			}
			for _, r := range recs {
				if r.queueOffset != int64(len(bodies)) {
					n.t.Fatalf("queue %d: offset %d after %d", q, r.queueOffset, len(bodies)-1)
				}
				bodies = append(bodies, r.body)
			}
		}
		n.h.Final(history.Queue{Broker: nemesisBroker, Topic: nemesisTopic, ID: q}, 0, bodies)
		if _, err := n.stands(w, q); err != nil {
			n.t.Error(err)
		}
	}
}

// verify stops the brokers in order, compares their logs byte for byte, and has the program look at both stores.
func (n *nemesis) verify() {
	for _, i := range []int{n.master, 1 - n.master} {
		if err := n.pair[i].process.stop(stopLimit); err != nil {
			n.t.Errorf("%s: a clean stop: %v", n.pair[i].name, err)
		}
	}
	logs := [2][]string{}
	for i, f := range n.pair {
		files, err := filepath.Glob(filepath.Join(f.dir, "store", "commitlog", "*"))
		if err != nil || len(files) == 0 {
			n.t.Fatalf("%s has no log: %v", f.name, err)
		}
		for _, name := range files {
			logs[i] = append(logs[i], filepath.Base(name))
		}
		if out, err := tool("", nil, program(n.t), "store", "verify", filepath.Join(f.dir, "store")); err != nil {
			n.t.Errorf("%s: %v\n%s", f.name, err, out)
		}
	}
	for _, name := range logs[0] {
		if !slices.Contains(logs[1], name) {
			continue // a file that was made ahead of time
		}
		a, err := os.ReadFile(filepath.Join(n.pair[0].dir, "store", "commitlog", name))
		if err != nil {
			n.t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(n.pair[1].dir, "store", "commitlog", name))
		if err != nil {
			n.t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			n.t.Errorf("the logs differ in file %s", name)
		}
	}
}

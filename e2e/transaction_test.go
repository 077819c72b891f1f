//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// quickTransactions are the settings of a broker that asks soon, and gives up soon. Java's writes down what is over in batches:
// asked for before that, a half message is put back, and its copy is open until it is discarded.
var quickTransactions = []string{"transactionCheckInterval=1500", "transactionTimeOut=2000", "transactionCheckMax=5", "transactionOpBatchInterval=100"}

// TestTransactions has real producers commit, roll back, say nothing, answer checks, and die. A message of a transaction
// that was committed comes once, and no other comes.
func TestTransactions(t *testing.T) {
	c := newClusterWith(t, quickTransactions, underTest(), underTest())
	kinds := slices.DeleteFunc(slices.Clone(peerKinds), func(k *peerKind) bool { return !slices.Contains([]string{"java5", "java4", "go"}, k.name) })
	atOnce(t, kinds, func(t *testing.T, k *peerKind) {
		topic := "T-" + k.name + "-transactions"
		c.createTopic(t, topic, queues)
		p, heir := newPeer(t, k, c.namesrv.addr), newPeer(t, k, c.namesrv.addr)
		transact := func(p *peer, as, keys, outcome string, count int) {
			t.Helper()
			p.do(t, "op", "transact", "name", as, "group", "P-"+topic, "topic", topic, "tags", "t", "keys", keys, "outcome", outcome, "count", strconv.Itoa(count))
		}
		p.do(t, "op", "answer", "keys", "asked-0", "outcome", "COMMIT_MESSAGE")
		p.do(t, "op", "answer", "keys", "asked-1", "outcome", "ROLLBACK_MESSAGE")
		heir.do(t, "op", "answer", "keys", "left-0", "outcome", "COMMIT_MESSAGE")
		heir.do(t, "op", "answer", "keys", "left-1", "outcome", "ROLLBACK_MESSAGE")
		subscribe(t, p, topic, topic)
		transact(p, "first", "committed", "COMMIT_MESSAGE", 5)
		transact(p, "first", "rolledback", "ROLLBACK_MESSAGE", 5)
		transact(p, "first", "asked", "UNKNOW", 2)
		transact(p, "first", "never", "UNKNOW", 1)
		want := []string{"asked-0", "committed-0", "committed-1", "committed-2", "committed-3", "committed-4"}
		keys := func() (list []string) {
			for _, m := range p.got(topic, topic) {
				list = append(list, m.keys)
			}
			slices.Sort(list)
			return list
		}
		eventually(t, time.Minute, "the first are there", func() bool { return len(keys()) >= len(want) })
		w := dial(t, c.brokers[0].addr)
		discarded := func() (list []string) {
			recs, _ := w.pull("TRANS_CHECK_MAX_TIME_TOPIC", 0, 0) // the topic is made for the first of them
			for _, r := range recs {
				if r.properties["PGROUP"] == "P-"+topic {
					list = append(list, strings.TrimSpace(r.properties["KEYS"]))
				}
			}
			return list
		}
		eventually(t, time.Minute, "who never answered is discarded", func() bool { return len(discarded()) > 0 })
		transact(heir, "heir", "heir", "COMMIT_MESSAGE", 1)
		time.Sleep(4 * time.Second) // its heartbeat comes: it is in the group
		transact(p, "first", "left", "UNKNOW", 2)
		p.do(t, "op", "leave", "name", "first")
		want = append(want, "heir-0", "left-0")
		eventually(t, time.Minute, "the heir has answered", func() bool { return len(keys()) >= len(want) })
		time.Sleep(5 * time.Second) // two rounds: nothing comes twice, nobody is asked for what is over
		slices.Sort(want)
		if got := keys(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := discarded(); !slices.Equal(got, []string{"never-0"}) {
			t.Errorf("discarded %v", got)
		}
		asked := map[string]int{}
		for _, who := range []*peer{p, heir} {
			for _, m := range who.got("check-", topic) {
				asked[m.keys]++
			}
		}
		t.Logf("asked %v", asked)
		if len(asked) > 5 || asked["never-0"] != 5 || asked["asked-0"] == 0 || asked["asked-1"] == 0 {
			t.Errorf("asked %v", asked)
		}
	})
	a := dial(t, c.brokers[0].addr).must(t, codeMaxOffset, map[string]string{"topic": "TRANS_CHECK_MAX_TIME_TOPIC", "queueId": "0"}, nil)
	if a.ext["offset"] != strconv.Itoa(len(kinds)) {
		t.Errorf("%s are discarded of %d clients", a.ext["offset"], len(kinds))
	}
}

// TestTransactionsExchange hands a store with half messages that are open from broker to broker, stopped or killed. Each
// asks for those that the others left, and what was over before stays over.
func TestTransactionsExchange(t *testing.T) {
	onlyTestJava(t)
	for _, c := range []exchangeCase{
		{"Java5Killed", []release{java5, rocketdHere, java5, rocketdHere}, true},
		{"Java5Stopped", []release{java5, rocketdHere, java5, rocketdHere}, false},
		{"Java4Killed", []release{java4, rocketdHere, java4, rocketdHere}, true},
	} {
		t.Run(c.name, func(t *testing.T) { transactionsExchange(t, &c) })
	}
}

func transactionsExchange(t *testing.T, c *exchangeCase) {
	needJava(t)
	if slices.Contains(c.chain, java4) {
		if _, err := tool(".", nil, "./javamq", "fetch", string(java4)); err != nil {
			missing(t, "Java's 4.9.7 servers", err)
		}
	}
	h := newHouse(t, c)
	h.conf = rewriteConf(t, h.conf, quickTransactions)
	namesrv := confValue(t, h.conf, "namesrvAddr")
	const topic = "T-handed-over"
	cl := &cluster{namesrv: &server{addr: namesrv}, brokers: []*server{{name: "broker-a", addr: h.addr}}}
	var p *peer
	var want []string
	for i, who := range c.chain {
		if i > 0 {
			if c.killed {
				h.process.kill()
			} else {
				h.server.stop(stopLimit)
			}
		}
		h.serve(t, who)
		cl.waitRegistered(t)
		if i == 0 {
			cl.createTopic(t, topic, queues)
			p = newPeer(t, peerKinds[0], namesrv)
			subscribe(t, p, topic, topic)
		}
		transact := func(keys, outcome string, count int) {
			t.Helper()
			p.do(t, "op", "transact", "name", "bank", "group", "P-bank", "topic", topic, "keys", fmt.Sprint(keys, i), "outcome", outcome, "count", strconv.Itoa(count))
		}
		keys := func() (list []string) {
			for _, m := range p.got(topic, topic) {
				list = append(list, m.keys)
			}
			slices.Sort(list)
			return list
		}
		for j := range 3 { // an outcome is sent one-way, and may be lost with a connection: then it is asked for
			p.do(t, "op", "answer", "keys", fmt.Sprintf("committed%d-%d", i, j), "outcome", "COMMIT_MESSAGE")
			p.do(t, "op", "answer", "keys", fmt.Sprintf("rolledback%d-%d", i, j), "outcome", "ROLLBACK_MESSAGE")
		}
		transact("committed", "COMMIT_MESSAGE", 3)
		transact("rolledback", "ROLLBACK_MESSAGE", 3)
		for j := range 3 {
			want = append(want, fmt.Sprintf("committed%d-%d", i, j))
		}
		if i > 0 { // asked for what the one before has left
			want = append(want, fmt.Sprintf("left%d-0", i-1))
			p.do(t, "op", "answer", "keys", fmt.Sprintf("left%d-0", i-1), "outcome", "COMMIT_MESSAGE")
			p.do(t, "op", "answer", "keys", fmt.Sprintf("left%d-1", i-1), "outcome", "ROLLBACK_MESSAGE")
		}
		deadline := time.Now().Add(time.Minute)
		for len(slices.Compact(keys())) < len(want) && time.Now().Before(deadline) {
			time.Sleep(100 * time.Millisecond)
		}
		var asked []string
		for _, m := range p.got("check-", topic) {
			asked = append(asked, m.keys+" by "+m.consumer)
		}
		t.Logf("%s: asked %v", who, asked)
		transact("left", "UNKNOW", 2)
		if who != rocketdHere && c.killed {
			time.Sleep(4 * time.Second) // until Java has written its op messages
		}
		slices.Sort(want)
		if got := keys(); !slices.Equal(slices.Compact(slices.Clone(got)), want) {
			t.Errorf("%s: got %v, want %v", who, got, want)
		}
	}
	h.server.stop(stopLimit)
}

// rewriteConf writes a configuration file with other values for some keys, and returns its path.
func rewriteConf(t *testing.T, path string, lines []string) string {
	t.Helper()
	var kept []string
	for _, line := range confLines(t, path) {
		key, _, _ := strings.Cut(line, "=")
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+"=") }) {
			kept = append(kept, line)
		}
	}
	return writeConf(t, filepath.Dir(path), filepath.Base(path), append(kept, lines...))
}

func confValue(t *testing.T, path, key string) string {
	t.Helper()
	for _, line := range confLines(t, path) {
		if k, v, _ := strings.Cut(line, "="); k == key {
			return v
		}
	}
	t.Fatalf("%s has no %s", path, key)
	return ""
}

func confLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

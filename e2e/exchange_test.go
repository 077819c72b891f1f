//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// release says whose broker opens a store: ours, or a set of Java's jars.
type release string

const (
	rocketdHere release = "rocketd"
	java5       release = "server"  // 5.5.0
	java4       release = "server4" // 4.9.7
)

// TestExchange hands one store from broker to broker, on one configuration file. Each of them shows what it has, takes
// more, and is stopped or, in the middle of sending, killed; the next must show the same, to the last byte, and what was
// acknowledged must be there. Between them rocketd store verify looks at the files.
func TestExchange(t *testing.T) {
	onlyTestJava(t)
	for _, c := range []exchangeCase{
		{"Java5Killed", []release{java5, rocketdHere, java5, rocketdHere}, true},
		{"Java5Stopped", []release{java5, rocketdHere, java5, rocketdHere}, false},
		{"Java4Killed", []release{java4, rocketdHere, java4, rocketdHere}, true},
		{"Java4Stopped", []release{java4, rocketdHere, java4, rocketdHere}, false},
		{"NewForJava5", []release{rocketdHere, java5, rocketdHere}, false},
		{"NewForJava5Killed", []release{rocketdHere, java5, rocketdHere}, true},
		{"NewForJava4", []release{rocketdHere, java4, rocketdHere}, false},
		{"NewForJava4Killed", []release{rocketdHere, java4, rocketdHere}, true},
		{"Upgrade", []release{java4, rocketdHere, java5, rocketdHere}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// exchangeCase is the order in which brokers have the store, and how each of them ends.
type exchangeCase struct {
	name   string
	chain  []release
	killed bool
}

func (c *exchangeCase) run(t *testing.T) {
	needJava(t)
	if slices.Contains(c.chain, java4) {
		if _, err := tool(".", nil, "./javamq", "fetch", string(java4)); err != nil {
			missing(t, "Java's 4.9.7 servers", err)
		}
	}
	h := newHouse(t, c)
	h.serve(t, c.chain[0])
	h.furnish(t)
	for _, next := range c.chain[1:] {
		want := h.leave(t)
		h.serve(t, next)
		got := h.look(t)
		h.same(t, want, got)
		h.use(t)
	}
	h.server.stop(stopLimit)
	h.verify(t, true)
}

// house is a store with its configuration, and the broker that has it now.
type house struct {
	*exchangeCase
	*server
	who     release
	before  release // who had it before
	dir     string
	conf    string
	serial  int    // of starts
	carried string // digest of Java's files that rocketd only carries along, when rocketd began

	mu       sync.Mutex        // guards what follows
	acked    map[string]string // by "T/0@12", the body of each acknowledged message of topics that are still there
	enough   chan struct{}     // closed when there are as many as wanted
	wanted   int
	messages int // names that were given
}

// newHouse writes the one configuration file. The files of the store are small, so that all kinds of them roll.
func newHouse(t *testing.T, c *exchangeCase) *house {
	t.Helper()
	namesrv := newNamesrv(t, ours, "namesrv")
	if err := namesrv.serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(namesrv.kill)
	h := &house{exchangeCase: c, dir: filepath.Join(work, t.Name()), acked: map[string]string{}}
	port := freePort(t)
	store := h.dir + "/store"
	h.conf = writeConf(t, h.dir, "broker.conf", []string{
		"brokerClusterName=DefaultCluster", "brokerName=broker-a", "brokerId=0", "brokerIP1=127.0.0.1", "brokerRole=ASYNC_MASTER",
		"flushDiskType=ASYNC_FLUSH", "listenPort=" + strconv.Itoa(port), "namesrvAddr=" + namesrv.addr,
		"storePathRootDir=" + store, "storePathCommitLog=" + store + "/commitlog", "authConfigPath=" + store + "/auth",
		"mappedFileSizeCommitLog=262144", "mappedFileSizeConsumeQueue=" + strconv.Itoa(20*unitsOfFile), "mapperFileSizeBatchConsumeQueue=920",
		"maxHashSlotNum=100", "maxIndexNum=400",
		"fileReservedTime=72", "deleteWhen=" + strconv.Itoa(time.Now().Add(12*time.Hour).Hour()), "cleanResourceInterval=1000", "diskMaxUsedSpaceRatio=95",
		"transactionCheckInterval=3600000", "transactionTimeOut=3600000", // half messages are left alone
		"flushDelayOffsetInterval=1000", // a kill must not have Java deliver a second time
		"waitTimeMillsInSendQueue=5000", "metricsExporterType=DISABLE", "autoCreateTopicEnable=true",
	})
	h.server = &server{name: "broker-a", addr: fmt.Sprintf("127.0.0.1:%d", port), dir: h.dir}
	t.Cleanup(func() {
		if h.process != nil {
			h.process.kill()
		}
	})
	return h
}

// serve has a broker open the store.
func (h *house) serve(t *testing.T, who release) {
	t.Helper()
	h.serial++
	h.before, h.who = h.who, who
	h.server.name = fmt.Sprintf("%s/broker-%d-%s", t.Name(), h.serial, who)
	h.server.args, h.server.env = []string{program(t), "broker", "-c", h.conf}, []string{"HOME=" + h.dir, "ROCKETMQ_HOME="}
	switch who {
	case rocketdHere:
		h.carried = h.digestCarried(t)
	case java4:
		h.removeEmpty(t)
		fallthrough
	default:
		h.server.args = []string{"./javamq", "run", "--jars", string(who), "--dir", h.dir + "/java", "--heap", "512",
			"org.apache.rocketmq.broker.BrokerStartup", "-c", h.conf}
		h.server.env = nil
	}
	began := time.Now()
	if err := h.server.serve(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s started in %v", who, time.Since(began).Round(time.Millisecond))
}

// removeEmpty does what people have to do before a Java 4.9 starts on a store whose broker was killed: files that were made
// and not yet given their length stop it.
func (h *house) removeEmpty(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob(h.dir + "/store/consumequeue/*/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() == 0 {
			t.Logf("%s was killed before %s had its length", h.before, name)
			os.Remove(name)
		}
	}
}

// look takes the inventory, in which everything that was acknowledged must be.
func (h *house) look(t *testing.T) *inventory {
	t.Helper()
	began := time.Now()
	inv := takeInventory(t, h.addr, slices.Contains(h.chain, java4))
	t.Logf("%s shows %v (%v)", h.who, inv, time.Since(began).Round(time.Millisecond))
	missing := 0
	for place, body := range h.acked {
		if r, ok := inv.messages[place]; !ok && !h.trimmed(inv, place) || ok && string(r.body) != body {
			if missing++; missing <= 5 {
				t.Errorf("%s: %s was acknowledged with %.60q, and is %.60q", h.who, place, body, r.body)
			}
		}
	}
	if missing > 0 {
		t.Fatalf("%s lacks %d of %d acknowledged messages", h.who, missing, len(h.acked))
	}
	return inv
}

// trimmed tells whether a message went with the first files of the log.
func (h *house) trimmed(inv *inventory, place string) bool {
	queue, offset, _ := strings.Cut(place, "@")
	at, _ := strconv.ParseInt(offset, 10, 64)
	first, _ := strconv.ParseInt(inv.lines["min "+queue], 10, 64)
	return at < first
}

// same holds what the next broker shows against what the one before did.
func (h *house) same(t *testing.T, want, got *inventory) {
	t.Helper()
	if h.before == java4 {
		for name := range got.lines {
			topic, ok := strings.CutPrefix(name, "topic ")
			if _, listed := want.lines[name]; ok && !listed && strings.HasPrefix(strings.ToLower(topic), "rmq_sys_") {
				got.leaveOut(topic) // one of the system's that 4.9 does not list, or has not
			}
		}
	}
	diff := differences(want, got, h.may)
	for _, line := range diff[:min(len(diff), 20)] {
		t.Errorf("%s and then %s show %s", h.before, h.who, line)
	}
	if len(diff) > 0 {
		t.Fatalf("%d differences", len(diff))
	}
}

// may lists what may differ between two brokers on one store. All of it is Java's doing.
func (h *house) may(name, before, now string) bool {
	kind, _, _ := strings.Cut(name, " ")
	switch {
	case h.before == java4 && before == "" && (name == "group CID_RMQ_SYS_TRANS" || (kind == "min" || kind == "max") && now == "0"):
		return true // rocketd makes the group, and the topics of the system that later releases have
	case strings.HasSuffix(name, "@CID_RMQ_SYS_TRANS/0") && h.before != rocketdHere && !h.killed:
		// An end wakes the service that checks transactions, and it passes over those that are decided.
		return number(now) > number(before)
	case h.killed && (kind == "key" || kind == "uniq" || kind == "tag") && h.before != rocketdHere:
		// A recovery puts the keys of the last indexed message a second time.
		return once(before) == now
	case h.killed && (kind == "key" || kind == "uniq" || kind == "tag"):
		return before == once(now)
	}
	return false
}

// once leaves out repeated places.
func once(places string) string {
	return strings.Join(slices.Compact(strings.Fields(places)), " ")
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// leave ends the broker and returns what it had to show. If it is killed, the store is copied first and opened again by
// the same broker to see that; the next one gets the copy.
func (h *house) leave(t *testing.T) *inventory {
	t.Helper()
	shown := h.look(t)
	if !h.killed {
		began := time.Now()
		h.server.stop(stopLimit)
		t.Logf("%s stopped in %v", h.who, time.Since(began).Round(time.Millisecond))
		h.verify(t, true)
		h.checkCarried(t)
		return shown
	}
	h.waitForOffsets(t, shown)
	h.loadAndKill(t)
	h.verify(t, false)
	h.checkCarried(t)
	store, kept := h.dir+"/store", h.dir+"/kept"
	if _, err := tool(".", nil, "cp", "-a", "--sparse=always", store, kept); err != nil {
		t.Fatal(err)
	}
	h.serve(t, h.who)
	again := h.look(t)
	for _, line := range differences(shown, again, func(name, before, now string) bool {
		kind, _, _ := strings.Cut(name, " ")
		switch kind {
		case "max", "log", "lower", "upper":
			return true
		}
		return before == ""
	}) {
		t.Errorf("killed, %s shows %s", h.who, line)
	}
	h.process.kill()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(kept, store); err != nil {
		t.Fatal(err)
	}
	return again
}

// waitForOffsets returns when the committed offsets are on the disk, where brokers write them every five seconds.
func (h *house) waitForOffsets(t *testing.T, shown *inventory) {
	t.Helper()
	eventually(t, time.Minute, "the committed offsets are in their file", func() bool {
		b, err := os.ReadFile(h.dir + "/store/config/consumerOffset.json")
		if err != nil || len(b) == 0 {
			return false
		}
		written := inventory{lines: map[string]string{}}
		written.offsetLines(t, b)
		for name, line := range shown.lines {
			if strings.HasPrefix(name, "offset ") && written.lines[name] != line {
				return false
			}
		}
		return true
	})
}

// verify has rocketd store verify look at the store while nobody uses it. After a clean end it must find nothing to say.
func (h *house) verify(t *testing.T, clean bool) {
	t.Helper()
	out, err := tool(".", nil, program(t), "store", "verify", h.dir+"/store")
	if err != nil && (clean || strings.Contains(err.Error(), "\ndamage ")) {
		t.Errorf("%s left a store that is not whole: %v", h.who, err)
	}
	if err == nil {
		t.Logf("%s left: %s", h.who, out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	}
}

// digestCarried is a digest of the files of Java's that rocketd carries along: it may not change them.
func (h *house) digestCarried(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	for _, pattern := range []string{"config/delayOffset.json",
		"config/consumerFilter.json", "config/consumerOrderInfo.json", "config/topicQueueMapping.json", "config/messageRequestMode.json"} {
		names, _ := filepath.Glob(h.dir + "/store/" + pattern)
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(b))
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func (h *house) checkCarried(t *testing.T) {
	t.Helper()
	if h.who == rocketdHere && h.digestCarried(t) != h.carried {
		t.Errorf("rocketd changed files of Java's that it only carries along")
	}
}

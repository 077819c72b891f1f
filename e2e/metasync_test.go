//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// Requests of slaves, and what makes something to ask for.
const (
	codeDelayOffsets = 45
	codeTimerCheck   = 60
	codeTimerMetrics = 61
	codeSetMode      = 401
	codeModes        = 402
)

// slaveOf prepares a slave of a broker.
func slaveOf(t *testing.T, k kind, master *server, namesrv string, extra ...string) *server {
	t.Helper()
	return newBroker(t, k, master.name+"-slave", namesrv, append([]string{"brokerName=" + master.name, "brokerId=1", "brokerRole=SLAVE"}, extra...)...)
}

// table asks a broker for a table and returns the JSON of it, whose numbers as keys stand bare in what Java writes.
func table(w *wire, code int) (map[string]any, error) {
	a, err := w.call(code, nil, nil)
	if err != nil {
		return nil, err
	}
	if a.code != 0 {
		return nil, refusal{a.code, a.remark}
	}
	text := regexp.MustCompile(`([{,])(\d+):`).ReplaceAll(a.body, []byte(`$1"$2":`))
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("%w in %s", err, a.body)
	}
	return v, nil
}

// tables are the members that have to be the same on master and slave, by request.
type tables map[int][]string

// agree waits until two brokers show the same tables; if they do not, it tells how they differ and what the slave printed.
func (ts tables) agree(t *testing.T, limit time.Duration, node *server, what string, master, slave *wire) {
	t.Helper()
	var differ string
	defer func() {
		if t.Failed() {
			t.Logf("%s: %s\n%s", what, differ, node.log.tail())
		}
	}()
	eventually(t, limit, "the slave has the master's tables: "+what, func() bool {
		differ = ts.differ(master, slave)
		return differ == ""
	})
}

// differ says in what a slave's tables differ from its master's; "" if in nothing. An entry of an old broker may lack
// members that the other one's has.
func (ts tables) differ(master, slave *wire) string {
	for code, members := range ts {
		a, err := table(master, code)
		if err != nil {
			return fmt.Sprintf("master, request %d: %v", code, err)
		}
		b, err := table(slave, code)
		if err != nil {
			return fmt.Sprintf("slave, request %d: %v", code, err)
		}
		for _, m := range members {
			if path := difference(a[m], b[m], true); path != "" {
				return fmt.Sprintf("request %d: %s%s", code, m, path)
			}
		}
	}
	return ""
}

func difference(a, b any, whole bool) string {
	x, ok := a.(map[string]any)
	y, also := b.(map[string]any)
	if !ok || !also {
		if reflect.DeepEqual(a, b) || a == nil && len(y) == 0 || b == nil && len(x) == 0 {
			return ""
		}
		return fmt.Sprintf(": %v, but the slave has %v", a, b)
	}
	for key := range y {
		if _, has := x[key]; whole && !has {
			return "." + key + ": only the slave has it"
		}
	}
	for key := range x {
		if _, has := y[key]; !has && whole {
			return "." + key + ": the slave lacks it"
		} else if path := difference(x[key], y[key], false); has && path != "" {
			return "." + key + path
		}
	}
	return ""
}

func updateTopic(t *testing.T, w *wire, name string, queues int, attributes string) {
	t.Helper()
	f := topicFields(name, queues)
	f["attributes"] = attributes
	w.must(t, codeUpdateTopic, f, nil)
}

func commitOffset(t *testing.T, w *wire, group, name string, queue int, offset int64) {
	t.Helper()
	w.must(t, codeCommitOffset, map[string]string{
		"consumerGroup": group, "topic": name, "queueId": strconv.Itoa(queue), "commitOffset": strconv.FormatInt(offset, 10)}, nil)
}

// fill gives a master something in each of its tables.
func fill(t *testing.T, w *wire, java5 bool) {
	t.Helper()
	updateTopic(t, w, "MetaA", 3, "")
	updateTopic(t, w, "MetaGone", 1, "")
	if java5 {
		updateTopic(t, w, "MetaBatch", 1, "+queue.type=BatchCQ,+message.type=NORMAL")
	}
	for _, g := range []string{"MetaG", "MetaGoneG"} {
		w.must(t, codeUpdateGroup, nil, fmt.Appendf(nil, `{"groupName":%q,"consumeEnable":true,"consumeFromMinEnable":true,"consumeBroadcastEnable":true,"retryQueueNums":1,"retryMaxTimes":5,"brokerId":0,"whichBrokerWhenConsumeSlowly":1}`, g))
	}
	for _, name := range []string{"MetaA", "MetaGone"} {
		for range 10 {
			if _, err := w.send(name, 0, []byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		commitOffset(t, w, "MetaG", name, 0, 7)
		commitOffset(t, w, "MetaGoneG", name, 0, 5)
	}
}

// change takes back some of it.
func change(t *testing.T, w *wire) {
	t.Helper()
	w.must(t, codeDeleteTopic, map[string]string{"topic": "MetaGone"}, nil)
	w.must(t, codeDeleteGroup, map[string]string{"groupName": "MetaGoneG", "cleanOffset": "true"}, nil)
	updateTopic(t, w, "MetaA", 5, "")
	commitOffset(t, w, "MetaG", "MetaA", 0, 3)
	commitOffset(t, w, "MetaG", "MetaA", 1, 0)
}

// oldJava is the last release of the 4.x line whose servers can be had.
const oldJava = "JAVAMQ_JARS=server4"

// TestMetaSyncJavaMaster: our slave has the tables of a Java master seconds after they change, also when it has been killed
// and started again.
func TestMetaSyncJavaMaster(t *testing.T) {
	onlyTestJava(t)
	for _, version := range []string{"5.5.0", "4.9.7"} {
		t.Run(version, func(t *testing.T) {
			c := &cluster{namesrv: newNamesrv(t, ours, "namesrv")}
			t.Cleanup(c.kill)
			if err := c.namesrv.serve(); err != nil {
				t.Fatal(err)
			}
			master := newBroker(t, java, "broker-a", c.namesrv.addr)
			same := tables{
				codeTopics: {"topicConfigTable", "dataVersion"}, codeGroups: {"subscriptionGroupTable", "forbiddenTable", "dataVersion"},
				codeOffsets: {"offsetTable"}, codeDelayOffsets: {"offsetTable"}, codeModes: {"messageRequestModeMap"}, codeTimerMetrics: {"timingCount"},
			}
			java5 := version == "5.5.0"
			if !java5 {
				master.env = append(master.env, oldJava)
				same = tables{codeTopics: {"topicConfigTable"}, codeGroups: {"subscriptionGroupTable"}, codeOffsets: {"offsetTable"}, codeDelayOffsets: {"offsetTable"}}
			}
			if err := master.serve(); err != nil {
				t.Fatal(err)
			}
			c.brokers = append(c.brokers, master)
			c.waitRegistered(t)
			m := dial(t, master.addr)
			fill(t, m, java5)
			if java5 {
				m.must(t, 353, map[string]string{"group": "MetaG", "topic": "MetaA", "readable": "false"}, nil)
				m.must(t, codeSetMode, nil, []byte(`{"topic":"MetaA","consumerGroup":"MetaG","mode":"POP","popShareQueueNum":2}`))
				timed := sendFields("MetaA", 0)
				timed["properties"] += "TIMER_DELAY_SEC\x01600\x02"
				m.must(t, codeSend, timed, []byte("later"))
			}
			delayed := sendFields("MetaA", 0)
			delayed["properties"] += "DELAY\x011\x02"
			m.must(t, codeSend, delayed, []byte("in a second"))

			slave := slaveOf(t, ours, master, c.namesrv.addr)
			if err := slave.serve(); err != nil {
				t.Fatal(err)
			}
			c.brokers = append(c.brokers, slave)
			s := dial(t, slave.addr)
			follows := func(what string) {
				t.Helper()
				same.agree(t, 40*time.Second, slave, what, m, s)
			}
			follows("at the start")
			if java5 {
				eventually(t, 40*time.Second, "the slave has the timer checkpoint", func() bool {
					a, b := m.must(t, codeTimerCheck, nil, nil), s.must(t, codeTimerCheck, nil, nil)
					return reflect.DeepEqual(a.body[24:32], b.body[24:32]) && len(b.body) == 56
				})
			}
			change(t, m)
			follows("after changes")
			if java5 {
				learns(t, m, slave)
			}

			master.kill()
			commitOffset(t, s, "MetaG", "MetaA", 0, 6) // a client goes on at the slave
			if err := master.serve(); err != nil {
				t.Fatal(err)
			}
			m = dial(t, master.addr)
			updateTopic(t, m, "MetaNew", 2, "")
			eventually(t, 60*time.Second, "the slave follows the master that is back", func() bool {
				a, err := table(s, codeTopics)
				return err == nil && a["topicConfigTable"].(map[string]any)["MetaNew"] != nil
			})
			if a := s.must(t, codeQueryOffset, map[string]string{"consumerGroup": "MetaG", "topic": "MetaA", "queueId": "0"}, nil); a.ext["offset"] != "6" {
				t.Errorf("an offset that was committed to the slave is now %v", a.ext)
			}
		})
	}
}

// learns makes topics whose queues are not plain and sends to them at once, so that the messages reach the slave before the
// table does. The slave must give them queues of their kind.
func learns(t *testing.T, master *wire, slave *server) {
	t.Helper()
	const n = 20
	for i := range n {
		name := fmt.Sprint("MetaLate", i)
		updateTopic(t, master, name, 1, "+queue.type=BatchCQ")
		if _, err := master.send(name, 0, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		name := fmt.Sprint("MetaLate", i)
		eventually(t, 40*time.Second, "the slave has queues of "+name, func() bool {
			_, err := os.Stat(filepath.Join(slave.dir, "store", "batchconsumequeue", name))
			return err == nil
		})
		if _, err := os.Stat(filepath.Join(slave.dir, "store", "consumequeue", name)); err == nil {
			t.Errorf("the slave has plain queues of %s", name)
		}
	}
}

// TestMetaSyncJavaSlave: a Java slave takes the tables of our master as those of a Java master, and has nothing to complain
// about. It takes them once a minute.
func TestMetaSyncJavaSlave(t *testing.T) {
	onlyTestJava(t)
	for _, version := range []string{"5.5.0", "4.9.7"} {
		t.Run(version, func(t *testing.T) {
			c := &cluster{namesrv: newNamesrv(t, ours, "namesrv")}
			t.Cleanup(c.kill)
			if err := c.namesrv.serve(); err != nil {
				t.Fatal(err)
			}
			master := newBroker(t, ours, "broker-a", c.namesrv.addr)
			for file, text := range map[string]string{
				"delayOffset.json":        `{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1795567711061},"offsetTable":{1:8,3:2}}`,
				"messageRequestMode.json": `{"messageRequestModeMap":{"MetaA":{"MetaG":{"consumerGroup":"MetaG","mode":"POP","popShareQueueNum":2,"topic":"MetaA"}}}}`,
			} {
				writeConf(t, filepath.Join(master.dir, "store", "config"), file, []string{text})
			}
			if err := master.serve(); err != nil {
				t.Fatal(err)
			}
			c.brokers = append(c.brokers, master)
			m := dial(t, master.addr)
			fill(t, m, false)
			slave := slaveOf(t, java, master, c.namesrv.addr)
			logFile := "home/logs/rocketmqlogs/broker.log"
			same := tables{
				codeTopics: {"topicConfigTable", "dataVersion"}, codeGroups: {"subscriptionGroupTable", "dataVersion"},
				codeOffsets: {"offsetTable"}, codeDelayOffsets: {"offsetTable"}, codeModes: {"messageRequestModeMap"}, codeTimerMetrics: {"timingCount"},
			}
			if version != "5.5.0" {
				slave.env = append(slave.env, oldJava)
				logFile = "logs/broker.log"
				same = tables{codeTopics: {"topicConfigTable"}, codeGroups: {"subscriptionGroupTable"}, codeOffsets: {"offsetTable"}}
			}
			if err := slave.serve(); err != nil {
				t.Fatal(err)
			}
			c.brokers = append(c.brokers, slave)
			s := dial(t, slave.addr)
			follows := func(what string) {
				t.Helper()
				same.agree(t, 100*time.Second, slave, what, s, m)
			}
			follows("at the start")
			w := dial(t, master.addr)
			w.must(t, codeDeleteTopic, map[string]string{"topic": "MetaGone"}, nil)
			updateTopic(t, w, "MetaA", 5, "")
			commitOffset(t, w, "MetaG", "MetaA", 0, 3)
			delete(same, codeOffsets) // a Java slave keeps offsets that its master has no more
			follows("after changes")
			text, err := os.ReadFile(filepath.Join(slave.dir, logFile))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(text, []byte("Update slave topic config from master")) {
				t.Errorf("the slave says nothing of topics from the master in %s", logFile)
			}
			for _, line := range regexp.MustCompile(`(?im)^.*sync.*exception.*$`).FindAll(text, 3) {
				t.Errorf("the slave complains: %s", line)
			}
		})
	}
}

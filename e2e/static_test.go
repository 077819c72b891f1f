//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStaticTopic moves a static topic from one broker to another with Java's mqadmin, and back: Java's clients send and consume
// across the moves, see the same queues all the time, and read all messages in order, wherever they are.
func TestStaticTopic(t *testing.T) {
	other := map[kind]kind{ours: java, java: ours}[underTest()]
	for _, c := range []struct {
		name    string
		namesrv kind
		brokers []kind
	}{
		{"Alike", underTest(), []kind{underTest(), underTest()}},
		{"ToOther", underTest(), []kind{underTest(), other}},
		{"FromOther", other, []kind{other, underTest()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if underTest() == java && c.name != "Alike" {
				t.Skip("with Java's servers alone there is nothing to mix")
			}
			moveStatic(t, newCluster(t, c.namesrv, c.brokers...), c.namesrv == ours)
		})
	}
}

const staticQueues, staticRound = 4, 40

// moveStatic does it. A Java NameServer never forgets that a topic was static; ours forgets.
func moveStatic(t *testing.T, c *cluster, forgets bool) {
	p := newPeer(t, peerKinds[0], c.namesrv.addr)
	want, soon := printing(t, p, c)
	const topic = "Static"

	want(`The new mapping data is written to file`, "updateStaticTopic", "-t", topic, "-qn", strconv.Itoa(staticQueues), "-b", "broker-a")
	soon(`(?s)"topicQueueMappingByBroker":.*"currIdMap":\{\s*0:\d`, "topicRoute", "-t", topic)
	sendStatic(t, p, topic, 0)
	subscribe(t, p, "stays", topic, "mode", "orderly")
	soonConsumed(t, p, "stays", topic, staticRound)

	for round, to := range []string{"broker-b", "broker-a"} {
		want(`written to file .*\.after`, "remappingStaticTopic", "-t", topic, "-b", to)
		n := (round + 2) * staticRound
		for i, ack := range sendStatic(t, p, topic, round+1) {
			parts := strings.Split(ack, "/")
			if offset, _ := strconv.ParseInt(parts[2], 10, 64); parts[0] != to || offset < 10_000*int64(round+1) {
				t.Fatalf("after move %d message %d is acknowledged as %s", round+1, i, ack)
			}
		}
		soonConsumed(t, p, "stays", topic, n)
		late := fmt.Sprint("late", round)
		p.do(t, "op", "subscribe", "name", late, "group", late, "topic", topic, "mode", "orderly")
		soonConsumed(t, p, late, topic, n)
		p.do(t, "op", "unsubscribe", "name", late)
		// The queues of a static topic have the name of a broker that there is not.
		soon(fmt.Sprintf(`(?s)__syslo__global__ 0 0 %d\d{4} `, round+1), "topicStatus", "-t", topic)
		// mqadmin makes a logic offset of what the queue has, but not of where the group stands in it.
		soon(fmt.Sprintf(`%s __syslo__global__ 0 %d\d{4} 10 `, topic, round+1), "consumerProgress", "-g", "G-"+topic)
	}

	pulled, err := strconv.Atoi(p.do(t, "op", "pull", "name", "puller", "group", "G-pull", "topic", topic).Get("count"))
	if err != nil || pulled != 3*staticRound {
		t.Errorf("a pull consumer reads %d of %d messages (%v)", pulled, 3*staticRound, err)
	}

	// Started anew, the brokers know what they knew.
	for _, b := range c.brokers {
		if err := b.stop(stopLimit); err != nil && !strings.Contains(err.Error(), "143") {
			t.Errorf("%s: %v", b.name, err)
		}
		if err := b.serve(); err != nil {
			t.Fatal(err)
		}
	}
	c.waitRegistered(t)
	soon(`(?s)"topicQueueMappingByBroker":.*"currIdMap":\{\s*0:\d`, "topicRoute", "-t", topic)
	again := newPeer(t, peerKinds[0], c.namesrv.addr)
	again.do(t, "op", "subscribe", "name", "again", "group", "again", "topic", topic, "mode", "orderly")
	soonConsumed(t, again, "again", topic, 3*staticRound)
	for _, b := range c.brokers {
		if found, err := filepath.Glob(filepath.Join(b.dir, "store", "config", "topicQueueMapping.json")); err != nil || len(found) != 1 {
			t.Errorf("%s keeps no mapping: %v %v", b.name, found, err)
		}
	}

	want(`(?s)delete topic \[`+topic+`\] from cluster \[DefaultCluster\] success`, "deleteTopic", "-c", "DefaultCluster", "-t", topic)
	if !forgets {
		return
	}
	c.createTopic(t, topic, 2)
	if out := mqadmin(t, p, c, "topicRoute", "-t", topic); regexp.MustCompile(`topicQueueMappingByBroker`).MatchString(out) {
		t.Errorf("deleted and made again as a plain topic, it is still static:\n%s", out)
	}
}

// sendStatic sends a round of messages, as many to each queue, with a producer that has not seen the topic before, and returns how
// they were acknowledged.
func sendStatic(t *testing.T, p *peer, topic string, round int) (acks []string) {
	t.Helper()
	for q := range staticQueues {
		a := p.do(t, "op", "produce", "group", fmt.Sprint("P", round), "topic", topic, "mode", "sync", "keys", fmt.Sprint("q", q),
			"first", strconv.Itoa(round*staticRound/staticQueues), "count", strconv.Itoa(staticRound/staticQueues), "shard", strconv.Itoa(q))
		acks = append(acks, strings.Split(a.Get("acks"), ",")...)
	}
	return acks
}

// soonConsumed waits until a consumer has got so many messages: each once, those of a queue in the order of their offsets and in
// that in which they were sent. A consumer looks for moved queues each 30 s.
func soonConsumed(t *testing.T, p *peer, name, topic string, count int) {
	t.Helper()
	eventually(t, 100*time.Second, fmt.Sprintf("%s gets %d messages", name, count), func() bool { return len(p.got(name, topic)) >= count })
	next, last := map[string]int{}, map[string]int64{}
	for _, m := range p.got(name, topic) {
		if want := fmt.Sprintf("%s-%d", m.keys[:2], next[m.keys[:2]]); m.keys != want {
			t.Fatalf("%s gets %s of %s, want %s", name, m.keys, m.queue, want)
		}
		next[m.keys[:2]]++
		if at, ok := last[m.queue]; ok && m.offset <= at {
			t.Fatalf("%s gets offset %d of %s after %d", name, m.offset, m.queue, at)
		}
		last[m.queue] = m.offset
	}
	if len(last) != staticQueues {
		t.Errorf("%s reads queues %v, want %d", name, last, staticQueues)
	}
}

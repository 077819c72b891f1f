//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// retries are the scenarios of messages that come later or again, for a broker with short delay levels.
var retries = []scenario{
	{"delay", []string{"retry"}, delayed},
	{"retry", []string{"retry"}, func(t *testing.T, c *cluster, p *peer, topic string) { retried(t, p, topic, "concurrently") }},
	{"suspend", []string{"retry", "orderly"}, func(t *testing.T, c *cluster, p *peer, topic string) { retried(t, p, topic, "orderly") }},
	{"dead", []string{"retry"}, func(t *testing.T, c *cluster, p *peer, topic string) { dead(t, c, p, topic) }},
}

// TestRetries drives each real client through messages with a delay level, messages that it fails to consume, and dead letters.
// Clients of Java 5 and Go take some 20 s until they first read a new retry or dead-letter topic, from Java's brokers too.
func TestRetries(t *testing.T) {
	c := newClusterWith(t, []string{"messageDelayLevel=1s 2s 1s 1s 1s 1s 3s"}, underTest(), underTest())
	atOnce(t, peerKinds, func(t *testing.T, k *peerKind) {
		p := newPeer(t, k, c.namesrv.addr)
		k.runAll(t, retries, func(t *testing.T, s *scenario) {
			topic := "R-" + k.name + "-" + s.name
			c.createTopic(t, topic, queues)
			s.run(t, c, p, topic)
		})
	})
}

// delayed wants messages with a level when it is over, once, and not before; one with a level above the table at the last.
func delayed(t *testing.T, _ *cluster, p *peer, topic string) {
	subscribe(t, p, topic, topic)
	began := time.Now()
	produce(t, p, topic, "sync", 0, 10, "level", "1")
	produce(t, p, topic, "sync", 10, 10, "level", "99")
	produce(t, p, topic, "async", 20, 10, "level", "2")
	msgs := consumed(t, p, topic, topic, 30)
	for i := range 30 {
		m, want := msgs[fmt.Sprintf("k-%d", i)], []time.Duration{time.Second, 3 * time.Second, 2 * time.Second}[i/10]
		if m.sha != wantSHA(i, nil) || m.attempt != 0 {
			t.Errorf("message %d came as %+v", i, m)
		}
		if got := m.at.Sub(began); got < want {
			t.Errorf("message %d came after %v, before its %v were over", i, got, want)
		}
	}
	time.Sleep(2 * time.Second) // nothing comes again
	if got := len(p.got(topic, topic)); got != 30 {
		t.Errorf("%d messages came, 30 were sent", got)
	}
}

// attempts are the attempts that a consumer had with each message. A client that waits too long for the answer to what it
// sends back sends it again, as a plain message: then there are two of an attempt, which counts as one here.
func attempts(p *peer, consumer, topic string) map[string][]int {
	all := map[string][]int{}
	for _, m := range p.got(consumer, topic) {
		if !slices.Contains(all[m.keys], m.attempt) {
			all[m.keys] = append(all[m.keys], m.attempt)
		}
	}
	return all
}

// retried fails each message twice, and wants each three times, one attempt after the other.
func retried(t *testing.T, p *peer, topic, mode string) {
	subscribe(t, p, topic, topic, "fail", "2", "mode", mode)
	const count = 12
	produce(t, p, topic, "sync", 0, count)
	eventually(t, 60*time.Second, "each message comes three times", func() bool { return len(p.got(topic, topic)) >= 3*count })
	time.Sleep(2 * time.Second)
	all := attempts(p, topic, topic)
	for i := range count {
		if got := all[fmt.Sprintf("k-%d", i)]; !slices.Equal(got, []int{0, 1, 2}) {
			t.Errorf("message %d came in attempts %v, want 0, 1, 2", i, got)
		}
	}
	if mode == "orderly" { // the queue is held up meanwhile
		last := map[string]string{}
		for _, m := range p.got(topic, topic) {
			if before, ok := last[m.queue]; ok && before != m.keys && m.attempt != 0 {
				t.Errorf("queue %s: %s in attempt %d after %s", m.queue, m.keys, m.attempt, before)
			}
			last[m.queue] = m.keys
		}
	}
	p.do(t, "op", "unsubscribe", "name", topic)
}

// dead fails messages as often as it may: then they are in the dead-letter topic of the group, for consumers and for mqadmin.
// See attempts for why one may be there twice.
func dead(t *testing.T, c *cluster, p *peer, topic string) {
	subscribe(t, p, topic, topic, "fail", "1000", "attempts", "2")
	const count = 8
	produce(t, p, topic, "sync", 0, count)
	group, letters := "G-"+topic, "%DLQ%G-"+topic
	w := dial(t, c.brokers[0].addr)
	eventually(t, 60*time.Second, "the dead letters are there", func() bool {
		a, err := w.call(codeMaxOffset, map[string]string{"topic": letters, "queueId": "0"}, nil)
		n, _ := strconv.Atoi(a.ext["offset"])
		return err == nil && n >= count
	})
	for key, got := range attempts(p, topic, topic) {
		if !slices.Equal(got, []int{0, 1, 2}) {
			t.Errorf("%s came in attempts %v, want 0, 1, 2", key, got)
		}
	}
	p.do(t, "op", "unsubscribe", "name", topic)
	subscribe(t, p, "dead-"+topic, letters)
	eventually(t, 40*time.Second, "every dead letter is consumed", func() bool {
		return len(attempts(p, "dead-"+topic, letters)) >= count
	})
	for key := range attempts(p, "dead-"+topic, letters) {
		if !strings.HasPrefix(key, "k-") {
			t.Errorf("a dead letter with the key %q", key)
		}
	}
	if strings.HasPrefix(p.kind.name, "java5") {
		out := p.do(t, "op", "mqadmin", "args", "topicStatus\n-n\n"+c.namesrv.addr+"\n-t\n%DLQ%"+group).Get("output")
		if !strings.Contains(out, "broker-a") || !strings.Contains(out, fmt.Sprint(count)) {
			t.Errorf("topicStatus of the dead letters: %s", out)
		}
	}
	p.do(t, "op", "unsubscribe", "name", "dead-"+topic)
}

// Messages that wait change the broker with the store, from Java's to ours and back, killed in the middle of delivery: each
// comes when its time is over, once. Java knows only the progress that was kept before the kill; ours finds the rest in the log.
func TestExchange_Delayed(t *testing.T) {
	onlyTestJava(t)
	needJava(t)
	h := newHouse(t, &exchangeCase{name: "Delayed"})
	sent := map[string]time.Time{}
	bodies := func() (all []string) {
		w := dial(t, h.server.addr)
		recs, err := w.pull("Later", 0, 0)
		if err != nil {
			return nil
		}
		for _, r := range recs {
			all = append(all, string(r.body))
			if due := sent[string(r.body)].Add(time.Second); r.storeMs < due.UnixMilli() {
				t.Errorf("%s came %v too early", r.body, due.Sub(time.UnixMilli(r.storeMs)))
			}
		}
		return all
	}
	wanted := 0
	for i, who := range []release{java5, rocketdHere, java5, rocketdHere} {
		h.serve(t, who)
		eventually(t, 40*time.Second, "what waited in the other broker comes", func() bool { return len(bodies()) >= wanted })
		w := dial(t, h.server.addr)
		send := func(n int, level string) {
			for j := range n {
				body := fmt.Sprintf("%d-%s-%d", i, level, j)
				f := sendFields("Later", 0)
				f["properties"] = "DELAY\x01" + level + "\x02UNIQ_KEY\x01" + body + "\x02"
				sent[body] = time.Now()
				w.must(t, codeSend, f, []byte(body))
			}
			wanted += n
		}
		send(4, "1")
		eventually(t, 20*time.Second, "the first come", func() bool { return len(bodies()) >= wanted })
		switch {
		case who == java5:
			time.Sleep(12 * time.Second) // its first write of the offsets is ten seconds after the start
		case i == 1:
			time.Sleep(3 * time.Second) // Java, which comes next, knows only what is in the file
		}
		send(4, "2") // due when another broker has the store
		h.process.kill()
	}
	h.serve(t, rocketdHere)
	eventually(t, 40*time.Second, "everything has come", func() bool { return len(bodies()) >= wanted })
	time.Sleep(3 * time.Second)
	all := bodies()
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) || len(all) != wanted || len(all) != len(sent) {
		t.Errorf("%d messages came, %d were sent: %q", len(all), wanted, all)
	}
}

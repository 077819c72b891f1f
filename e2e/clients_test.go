//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scenario is one thing that every client must be able to do; needs names what the library has to offer for it.
type scenario struct {
	name  string
	needs []string
	run   func(t *testing.T, c *cluster, p *peer, topic string)
}

const queues = 4

var scenarios = []scenario{
	{"sync", nil, func(t *testing.T, c *cluster, p *peer, topic string) { exchange(t, p, topic, "sync") }},
	{"async", nil, func(t *testing.T, c *cluster, p *peer, topic string) { exchange(t, p, topic, "async") }},
	{"oneway", []string{"oneway"}, func(t *testing.T, c *cluster, p *peer, topic string) { exchange(t, p, topic, "oneway") }},
	{"batch", []string{"batch"}, func(t *testing.T, c *cluster, p *peer, topic string) { exchange(t, p, topic, "batch") }},
	{"gathered", []string{"gather"}, gathered},
	{"fastport", []string{"vip"}, func(t *testing.T, c *cluster, p *peer, topic string) { exchange(t, p, topic, "sync", "vip", "true") }},
	{"utf8", nil, func(t *testing.T, c *cluster, p *peer, topic string) {
		exchange(t, p, topic, "sync", "body", "Grüße, 世界, 🚀 \x01\x02 ", "tags", "Ünïcode", "keys", "schlüssel🔑")
	}},
	{"compressed", nil, func(t *testing.T, c *cluster, p *peer, topic string) { exchange(t, p, topic, "sync", "size", "20000") }},
	{"4MiB", nil, func(t *testing.T, c *cluster, p *peer, topic string) {
		exchange(t, p, topic, "sync", "size", strconv.Itoa(4<<20), "compress", "false", "count", "2")
	}},
	{"autocreate", []string{"autocreate"}, autocreate},
	{"tags", nil, tags},
	{"sql92", []string{"sql"}, sqlFilter},
	{"broadcasting", nil, broadcasting},
	{"orderly", []string{"orderly", "shard"}, orderly},
	{"pull", []string{"pull"}, func(t *testing.T, c *cluster, p *peer, topic string) { pull(t, c, p, topic, "pull") }},
	{"litepull", []string{"litepull"}, func(t *testing.T, c *cluster, p *peer, topic string) { pull(t, c, p, topic, "litepull") }},
	{"resume", nil, resume},
	{"request", []string{"request"}, requestReply},
	{"rebalance", nil, func(t *testing.T, c *cluster, p *peer, topic string) { rebalance(t, p, topic) }},
	{"serverbalance", []string{"serverbalance"}, serverBalance},
	{"pop", []string{"serverbalance", "pop"}, popMode},
	{"poporderly", []string{"serverbalance", "pop"}, popOrderly},
}

// TestClients drives each real client through each scenario, all of them against one NameServer and one broker.
func TestClients(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	for _, k := range peerKinds {
		t.Run(k.name, func(t *testing.T) {
			p := newPeer(t, k, c.namesrv.addr)
			k.runAll(t, scenarios, func(t *testing.T, s *scenario) {
				topic := "T-" + k.name + "-" + s.name
				if s.name != "autocreate" {
					c.createTopic(t, topic, queues)
				}
				s.run(t, c, p, topic)
			})
		})
	}
}

// runAll runs those scenarios that a client offers what is needed for.
func (k *peerKind) runAll(t *testing.T, all []scenario, run func(t *testing.T, s *scenario)) {
	for _, s := range all {
		if slices.ContainsFunc(s.needs, func(f string) bool { return !k.offers(f) }) {
			continue
		}
		t.Run(s.name, func(t *testing.T) { run(t, &s) })
	}
}

// atOnce is for what clients wait most of the time in: all of them at the same time, however few processors there are.
func atOnce(t *testing.T, kinds []*peerKind, run func(t *testing.T, k *peerKind)) {
	for _, k := range kinds {
		_ = k.setup() // one after the other; newPeer says what is missing
	}
	var all sync.WaitGroup
	for _, k := range kinds {
		all.Go(func() { t.Run(k.name, func(t *testing.T) { run(t, k) }) })
	}
	all.Wait()
}

// produce sends count messages with keys k-first, k-first+1 … and returns where they went, as the client was told.
func produce(t *testing.T, p *peer, topic, mode string, first, count int, more ...string) []string {
	t.Helper()
	a := p.do(t, append([]string{"op", "produce", "group", "P-" + topic, "topic", topic, "mode", mode, "keys", "k",
		"first", strconv.Itoa(first), "count", strconv.Itoa(count)}, more...)...)
	if a.Get("acks") == "" {
		return nil
	}
	return strings.Split(a.Get("acks"), ",")
}

func subscribe(t *testing.T, p *peer, name, topic string, more ...string) {
	t.Helper()
	p.do(t, append([]string{"op", "subscribe", "name", name, "group", "G-" + topic, "topic", topic}, more...)...)
}

// options reads what a scenario gives to produce.
func option(more []string, key, otherwise string) string {
	for i := 0; i < len(more); i += 2 {
		if more[i] == key {
			return more[i+1]
		}
	}
	return otherwise
}

// wantSHA is the hash of the body that a peer makes for message i.
func wantSHA(i int, more []string) string {
	b := []byte(option(more, "body", "") + strconv.Itoa(i))
	if size, _ := strconv.Atoi(option(more, "size", "0")); size > 0 {
		b = make([]byte, size)
		for j := range b {
			b[j] = byte((31*j + i) % 251)
		}
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// exchange sends half of the messages before there is a consumer and half after, and wants each of them once and whole,
// and every acknowledgement to name the place where the message was found.
func exchange(t *testing.T, p *peer, topic, mode string, more ...string) {
	t.Helper()
	count, _ := strconv.Atoi(option(more, "count", "40"))
	more = without(more, "count")
	acks := produce(t, p, topic, mode, 0, count/2, more...)
	subscribe(t, p, topic, topic)
	acks = append(acks, produce(t, p, topic, mode, count/2, count-count/2, more...)...)
	msgs := consumed(t, p, topic, topic, count)
	places := map[string]bool{}
	for i := range count {
		key := option(more, "keys", "k") + "-" + strconv.Itoa(i)
		m, ok := msgs[key]
		if !ok {
			t.Fatalf("message %q did not come; keys: %q", key, slices.Sorted(maps.Keys(msgs)))
		}
		if want := wantSHA(i, more); m.sha != want {
			t.Errorf("message %q has another body than the one that was sent", key)
		}
		if want := option(more, "tags", ""); m.tags != want {
			t.Errorf("message %q has tags %q, want %q", key, m.tags, want)
		}
		places[fmt.Sprintf("%s/%d", m.queue, m.offset)] = true
	}
	if len(places) != count {
		t.Errorf("%d messages lie in %d places", count, len(places))
	}
	for _, a := range acks {
		if !places[a] {
			t.Errorf("acknowledged at %s, where no message was read", a)
		}
	}
	p.do(t, "op", "unsubscribe", "name", topic)
}

func without(more []string, key string) []string {
	var out []string
	for i := 0; i < len(more); i += 2 {
		if more[i] != key {
			out = append(out, more[i], more[i+1])
		}
	}
	return out
}

// consumed waits until the consumers with that prefix were given count messages, and returns them by key. A message that
// comes twice is an error: nothing here gives a reason for it.
func consumed(t *testing.T, p *peer, prefix, topic string, count int) map[string]message {
	t.Helper()
	eventually(t, 40*time.Second, fmt.Sprintf("%d messages of %s are consumed", count, topic), func() bool {
		return len(p.got(prefix, topic)) >= count
	})
	byKey := map[string]message{}
	for _, m := range p.got(prefix, topic) {
		if _, twice := byKey[m.keys]; twice {
			t.Errorf("message %q came twice", m.keys)
		}
		byKey[m.keys] = m
	}
	return byKey
}

// gathered has the client make batches by itself, for an ordinary topic and for one of batches.
func gathered(t *testing.T, c *cluster, p *peer, topic string) {
	exchange(t, p, topic, "async", "gather", "true")
	batches := topic + "-batches"
	for _, b := range c.brokers {
		updateTopic(t, dial(t, b.addr), batches, queues, "+queue.type=BatchCQ")
	}
	exchange(t, p, batches, "async", "gather", "true")
	sum := int64(0)
	for _, b := range c.brokers {
		w := dial(t, b.addr)
		for q := range queues {
			recs, err := w.pull(batches, q, 0)
			if err != nil {
				t.Fatal(err)
			}
			sum += int64(len(recs))
		}
	}
	t.Logf("%d records", sum)
	if sum == 0 || sum >= 20 {
		t.Errorf("%d records hold what was sent: nothing was gathered", sum)
	}
}

// autocreate sends to a topic that nobody made: it comes into being with the queues that the producer asks for.
func autocreate(t *testing.T, c *cluster, p *peer, topic string) {
	acks := produce(t, p, topic, "sync", 0, 8)
	if len(acks) != 8 {
		t.Fatalf("%d of 8 sends acknowledged", len(acks))
	}
	used := map[string]bool{}
	for _, a := range acks {
		used[a[:strings.LastIndex(a, "/")]] = true
	}
	if len(used) != 4 {
		t.Errorf("8 messages went to %d queues, want 4: %v", len(used), acks)
	}
	subscribe(t, p, topic, topic)
	consumed(t, p, topic, topic, 8)
	p.do(t, "op", "unsubscribe", "name", topic)
}

// tags subscribes to two of three tags, and to a tag that nothing has before something has it.
func tags(t *testing.T, c *cluster, p *peer, topic string) {
	subscribe(t, p, topic, topic, "expr", "A || C")
	for i, tag := range []string{"A", "B", "C", "A", "B", "C"} {
		produce(t, p, topic, "sync", i*10, 10, "tags", tag)
	}
	byKey := consumed(t, p, topic, topic, 40)
	for key, m := range byKey {
		if m.tags != "A" && m.tags != "C" {
			t.Errorf("message %q with tag %q came", key, m.tags)
		}
	}
	if len(byKey) != 40 {
		t.Errorf("%d messages, want 40", len(byKey))
	}
	p.do(t, "op", "unsubscribe", "name", topic)
}

// sqlFilter chooses messages by two of their properties; the second half comes while the consumer waits.
func sqlFilter(t *testing.T, c *cluster, p *peer, topic string) {
	produce(t, p, topic, "sync", 0, 10, "tags", "A")
	produce(t, p, topic, "sync", 10, 10, "tags", "B")
	subscribe(t, p, topic, topic, "sql", "TAGS = 'B' OR (TAGS IS NOT NULL AND TAGS CONTAINS 'C' AND KEYS <> 'k-31')")
	consumed(t, p, topic, topic, 10)
	produce(t, p, topic, "sync", 20, 10, "tags", "A")
	produce(t, p, topic, "sync", 30, 10, "tags", "xCx")
	byKey := consumed(t, p, topic, topic, 19)
	for key, m := range byKey {
		if m.tags != "B" && m.tags != "xCx" || key == "k-31" {
			t.Errorf("message %q with tag %q came", key, m.tags)
		}
	}
	if len(byKey) != 19 {
		t.Errorf("%d messages, want 19", len(byKey))
	}
	p.do(t, "op", "unsubscribe", "name", topic)
}

// broadcasting gives every message to each of two consumers.
func broadcasting(t *testing.T, c *cluster, p *peer, topic string) {
	names := []string{topic + "-one", topic + "-two"}
	for _, name := range names {
		subscribe(t, p, name, topic, "model", "broadcasting")
	}
	// A broadcasting consumer begins at the end of what there is, or at the start; so the first messages only wake it.
	produce(t, p, topic, "sync", 0, 20)
	for _, name := range names {
		if got := consumed(t, p, name, topic, 20); len(got) != 20 {
			t.Errorf("%s was given %d messages, want 20", name, len(got))
		}
	}
	for _, name := range names {
		p.do(t, "op", "unsubscribe", "name", name)
	}
}

// orderly sends to three queues in turn and wants each queue in its order.
func orderly(t *testing.T, c *cluster, p *peer, topic string) {
	subscribe(t, p, topic, topic, "mode", "orderly")
	for i := range 60 {
		produce(t, p, topic, "sync", i, 1, "shard", strconv.Itoa(i%3))
	}
	if got := consumed(t, p, topic, topic, 60); len(got) != 60 {
		t.Errorf("%d messages, want 60", len(got))
	}
	last := map[string]int64{}
	shard := map[string]int{}
	for _, m := range p.got(topic, topic) {
		if before, ok := last[m.queue]; ok && m.offset != before+1 {
			t.Errorf("queue %s: offset %d came after %d", m.queue, m.offset, before)
		}
		last[m.queue] = m.offset
		i, _ := strconv.Atoi(strings.TrimPrefix(m.keys, "k-"))
		if s, ok := shard[m.queue]; ok && s != i%3 {
			t.Errorf("queue %s holds shards %d and %d", m.queue, s, i%3)
		}
		shard[m.queue] = i % 3
	}
	p.do(t, "op", "unsubscribe", "name", topic)
}

// pull reads a topic with a pull consumer and wants its offsets committed.
func pull(t *testing.T, c *cluster, p *peer, topic, op string) {
	produce(t, p, topic, "sync", 0, 100)
	a := p.do(t, "op", op, "name", topic, "group", "G-"+topic, "topic", topic, "count", "100")
	if a.Get("count") != "100" {
		t.Fatalf("%s of 100 messages pulled", a.Get("count"))
	}
	for key, m := range consumed(t, p, topic, topic, 100) {
		if i, _ := strconv.Atoi(strings.TrimPrefix(key, "k-")); m.sha != wantSHA(i, nil) {
			t.Errorf("message %q has another body than the one that was sent", key)
		}
	}
	eventually(t, 40*time.Second, "the offsets are committed", func() bool { return c.committed(t, "G-"+topic, topic, queues) == 100 })
}

// resume stops a consumer and starts another of its group, which goes on where the first one was.
func resume(t *testing.T, c *cluster, p *peer, topic string) {
	subscribe(t, p, topic+"-one", topic)
	produce(t, p, topic, "sync", 0, 20)
	consumed(t, p, topic+"-one", topic, 20)
	if p.kind.name == "node" { // commits each five seconds and, unlike the others, does not wait for it when it stops
		eventually(t, 40*time.Second, "the offsets are committed", func() bool { return c.committed(t, "G-"+topic, topic, queues) == 20 })
	}
	p.do(t, "op", "unsubscribe", "name", topic+"-one")
	eventually(t, 40*time.Second, "the offsets are committed", func() bool { return c.committed(t, "G-"+topic, topic, queues) == 20 })
	produce(t, p, topic, "sync", 20, 20)
	subscribe(t, p, topic+"-two", topic)
	got := consumed(t, p, topic+"-two", topic, 20)
	for i := 20; i < 40; i++ {
		if _, ok := got["k-"+strconv.Itoa(i)]; !ok {
			t.Errorf("message %d did not come", i)
		}
	}
	p.do(t, "op", "unsubscribe", "name", topic+"-two")
}

// rebalance lets a second consumer join and the first one leave while messages come in. Nothing may be lost; what changes
// hands may come twice, as the clients promise no more.
func rebalance(t *testing.T, p *peer, topic string, more ...string) {
	one, two := topic+"-one", topic+"-two"
	sent := 0
	send := func() { produce(t, p, topic, "sync", sent, queues); sent += queues }
	queuesOf := func(name string, from int) int {
		seen := map[string]bool{}
		for _, m := range p.got(name, topic) {
			if i, _ := strconv.Atoi(strings.TrimPrefix(m.keys, "k-")); i >= from {
				seen[m.queue] = true
			}
		}
		return len(seen)
	}
	subscribe(t, p, one, topic, more...)
	eventually(t, 60*time.Second, "the first consumer has all queues", func() bool { send(); return queuesOf(one, 0) == queues })
	joined := sent
	subscribe(t, p, two, topic, more...)
	eventually(t, 60*time.Second, "the second consumer has half of the queues", func() bool { send(); return queuesOf(two, joined) == queues/2 })
	left := sent
	p.do(t, "op", "unsubscribe", "name", one)
	eventually(t, 60*time.Second, "the second consumer has all queues", func() bool { send(); return queuesOf(two, left) == queues })
	eventually(t, 40*time.Second, "no message is lost", func() bool {
		seen := map[string]bool{}
		for _, m := range p.got(topic, topic) {
			seen[m.keys] = true
		}
		return len(seen) == sent
	})
	p.do(t, "op", "unsubscribe", "name", two)
}

// serverBalance has the broker share out the queues: halves at first, then, told so, all queues to everybody.
func serverBalance(t *testing.T, c *cluster, p *peer, topic string) {
	rebalance(t, p, topic, "rebalance", "server")
	w := dial(t, c.brokers[0].addr)
	w.must(t, 25, nil, []byte("serverLoadBalancerEnable=false\n"))
	defer w.must(t, 25, nil, []byte("serverLoadBalancerEnable=true\n"))
	one, two := topic+"-three", topic+"-four"
	subscribe(t, p, one, topic, "rebalance", "server")
	subscribe(t, p, two, topic, "rebalance", "server")
	sent := 1_000_000
	eventually(t, 60*time.Second, "both consumers have all queues", func() bool {
		produce(t, p, topic, "sync", sent, queues)
		sent += queues
		seen := map[string]bool{}
		for _, m := range append(p.got(one, topic), p.got(two, topic)...) {
			if len(m.keys) > len("k-999999") {
				seen[m.consumer+m.queue] = true
			}
		}
		return len(seen) == 2*queues
	})
	p.do(t, "op", "unsubscribe", "name", one)
	p.do(t, "op", "unsubscribe", "name", two)
}

// requestReply has a producer wait for the answer of a consumer: to a small message, a compressed one, and to one that nobody answers.
func requestReply(t *testing.T, c *cluster, p *peer, topic string) {
	subscribe(t, p, topic, topic, "reply", "true")
	consumer := topic
	ask := func(i int, more ...string) string {
		t.Helper()
		return p.do(t, append([]string{"op", "request", "group", "P-" + topic, "topic", topic, "first", strconv.Itoa(i)}, more...)...).Get("reply")
	}
	// A broker finds the producer by its heartbeats, and the Go client does not send one before its first request.
	eventually(t, 50*time.Second, "the broker knows the producer", func() bool {
		_, err := p.try("op", "request", "group", "P-"+topic, "topic", topic, "timeout", "3000")
		return err == nil
	})
	for i := range 5 {
		if got, want := ask(i, "body", "ping "), "re:ping "+strconv.Itoa(i); got != want {
			t.Errorf("reply %q, want %q", got, want)
		}
	}
	large := strings.Repeat("x", 20_000)
	if got := ask(7, "body", large); got != "re:"+large+"7" {
		t.Errorf("a reply of %d bytes", len(got))
	}
	p.do(t, "op", "unsubscribe", "name", consumer)
	if _, err := p.try("op", "request", "group", "P-"+topic, "topic", topic, "timeout", "2000"); err == nil {
		t.Error("a reply although nobody answers")
	}
	// A reply to a client that is gone is kept, and its sender told that nobody has it.
	w := dial(t, c.brokers[0].addr)
	a, err := w.call(324, map[string]string{"producerGroup": "g", "topic": "DefaultCluster_REPLY_TOPIC", "defaultTopic": "TBW102", "defaultTopicQueueNums": "4",
		"queueId": "0", "sysFlag": "0", "bornTimestamp": "1", "flag": "0", "properties": "REPLY_TO_CLIENT\x01gone\x02"}, []byte("late"))
	if err != nil || a.code != 1 || a.remark != "push reply message fail, channel of <gone> not found." || len(a.ext["msgId"]) != 32 {
		t.Errorf("%v: %+v", err, a)
	}
}

// TestLostConsumer kills a client: what it had goes to the other member of its group at once, because the broker sees the
// connection go, and not when two minutes of silence are over.
func TestLostConsumer(t *testing.T) {
	c := newCluster(t, underTest(), underTest())
	topic := "Lost"
	c.createTopic(t, topic, queues)
	stays, goes := newPeer(t, goPeer, c.namesrv.addr), newPeer(t, goPeer, c.namesrv.addr)
	subscribe(t, stays, "stays", topic)
	subscribe(t, goes, "goes", topic)
	sent := 0
	queuesOf := func(p *peer, from int) int {
		produce(t, stays, topic, "sync", sent, queues)
		sent += queues
		seen := map[string]bool{}
		for _, m := range p.got("", topic) {
			if i, _ := strconv.Atoi(strings.TrimPrefix(m.keys, "k-")); i >= from {
				seen[m.queue] = true
			}
		}
		return len(seen)
	}
	eventually(t, 30*time.Second, "both have half of the queues", func() bool {
		return queuesOf(goes, 0) == queues/2 && queuesOf(stays, max(0, sent-3*queues)) == queues/2
	})
	goes.kill()
	left := sent
	begin := time.Now()
	eventually(t, 40*time.Second, "the other has all queues", func() bool { return queuesOf(stays, left) == queues })
	t.Logf("took over after %v", time.Since(begin))
}

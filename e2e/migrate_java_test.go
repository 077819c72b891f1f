//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// moves is what one producer was told, message after message: it sends the next one when the one before was acknowledged,
// each to queue number mod queues.
type moves struct {
	mu      sync.Mutex     // guards:
	places  map[string]int // broker/queue/offset → message
	number  int
	last    time.Time
	longest time.Duration // without an acknowledgement
}

// keep sends until stop is closed. What is refused, or lost, is sent again.
func (l *moves) keep(p *peer, topic string, stop <-chan struct{}) {
	l.last = time.Now()
	for i := 0; ; i++ {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			a, err := p.try("op", "produce", "group", "movers", "topic", topic, "mode", "sync", "keys", "k", "first", strconv.Itoa(i), "count", "1",
				"shard", strconv.Itoa(i%queues))
			if err == nil {
				l.acked(a.Get("acks"), i)
				break
			}
		}
	}
}

func (l *moves) acked(place string, i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places[place] = i
	l.number++
	now := time.Now()
	l.longest = max(l.longest, now.Sub(l.last))
	l.last = now
}

func (l *moves) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number
}

// A pair of Java brokers is replaced by one of ours, step by step as docs/operations/replication.md says, while a stock
// producer and a stock consumer run: no acknowledged message is lost, and each queue comes in order.
func TestMigrateJava(t *testing.T) {
	p := newHAPair(t, java, java, "registerNameServerPeriod=10000")
	p.serve(p.slave)
	javaMaster, javaSlave := p.master, p.slave
	p.waitMembers(2)
	w := dial(t, javaMaster.addr)
	updateTopic(t, w, "Moving", queues, "")
	names := dial(t, p.namesrv.addr)
	eventually(t, 60*time.Second, "the topic has a route", func() bool {
		a, err := names.call(codeRoute, map[string]string{"topic": "Moving"}, nil)
		return err == nil && a.code == 0
	})

	consumer := newPeer(t, peerKinds[0], p.namesrv.addr)
	consumer.do(t, "op", "subscribe", "name", "moving", "group", "moving", "topic", "Moving", "mode", "orderly")
	producer := newPeer(t, peerKinds[0], p.namesrv.addr)
	l := &moves{places: map[string]int{}}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); l.keep(producer, "Moving", stop) }()
	end := sync.OnceFunc(func() { close(stop); <-stopped })
	t.Cleanup(end)
	more := func(when string) {
		t.Helper()
		from := l.count()
		eventually(t, 120*time.Second, "messages are acknowledged: "+when, func() bool { return l.count() > from+100 })
	}
	more("by Java")

	// 1. A slave of ours joins.
	keys := []string{"brokerName=broker-a", "mappedFileSizeCommitLog=" + strconv.Itoa(haFile), "brokerIP2=127.0.0.1", "registerNameServerPeriod=10000"}
	first := newBroker(t, ours, "rocketd-1", p.namesrv.addr, append(keys, "brokerId=2", "brokerRole=SLAVE")...)
	p.brokers = append(p.brokers, first)
	p.serve(first)
	p.has(first, javaMaster, "our slave")
	more("with our slave")

	// 2. The master takes no more messages; all slaves have what it has.
	w.must(t, 25, nil, []byte("brokerPermission=4\n"))
	p.master, p.slave = javaMaster, first
	p.follows(60*time.Second, "when the master takes nothing more")
	p.has(javaSlave, javaMaster, "the Java slave")
	eventually(t, 60*time.Second, "our slave has the consumer's offsets", func() bool {
		a, errA := p.committedAt(javaMaster)
		b, errB := p.committedAt(first)
		return errA == nil && errB == nil && a == b && a == sumOf(t, w, codeMaxOffset)
	})

	// 3. Our slave becomes the master.
	p.stop(javaMaster)
	p.stop(first)
	first = newBrokerOn(t, first, p.namesrv.addr, append(keys, "brokerId=0", "brokerRole=ASYNC_MASTER")...)
	p.brokers = append(p.brokers, first)
	p.serve(first)
	more("by our master")
	p.has(javaSlave, first, "the Java slave of our master")

	// 4. Another one of ours takes the place of the Java slave.
	second := newBroker(t, ours, "rocketd-2", p.namesrv.addr, append(keys, "brokerId=3", "brokerRole=SLAVE")...)
	p.brokers = append(p.brokers, second)
	p.serve(second)
	p.has(second, first, "our second slave")
	p.stop(javaSlave)
	more("without Java")

	end()
	p.master, p.slave = first, second
	p.follows(60*time.Second, "in the end")
	var got []message
	eventually(t, 60*time.Second, "all is consumed", func() bool {
		got = p.consumed(consumer)
		seen := map[string]bool{}
		for _, m := range got {
			seen[fmt.Sprintf("%s/%d", m.queue, m.offset)] = true
		}
		for place := range l.places {
			if !seen[place] {
				return false
			}
		}
		return true
	})
	l.check(t, got)
}

// check compares what was consumed with what was acknowledged.
func (l *moves) check(t *testing.T, got []message) {
	t.Helper()
	next, number := map[string]int64{}, map[string]int{}
	again := 0
	for _, m := range got {
		if m.offset < next[m.queue] {
			again++
			continue
		}
		if m.offset != next[m.queue] {
			t.Errorf("queue %s: offset %d after %d", m.queue, m.offset, next[m.queue]-1)
		}
		next[m.queue] = m.offset + 1
		i, err := strconv.Atoi(strings.TrimPrefix(m.keys, "k-"))
		if err != nil || i < number[m.queue] {
			t.Errorf("queue %s: message %s after %d", m.queue, m.keys, number[m.queue])
		}
		number[m.queue] = i
		if want, acked := l.places[fmt.Sprintf("%s/%d", m.queue, m.offset)]; acked && want != i {
			t.Errorf("%s/%d is message %d, and was acknowledged as %d", m.queue, m.offset, i, want)
		}
	}
	t.Logf("%d acknowledged, %d consumed, %d of them again, queues end at %v; %v at most without an acknowledgement", len(l.places), len(got), again,
		slices.Sorted(maps.Values(next)), l.longest.Round(time.Millisecond))
}

// newBrokerOn prepares one of ours on the store of another one, at its address.
func newBrokerOn(t *testing.T, old *server, namesrv string, extra ...string) *server {
	t.Helper()
	_, port, _ := strings.Cut(old.addr, ":")
	s := newBroker(t, ours, old.name+"-again", namesrv, append(extra, "listenPort="+port, "storePathRootDir="+old.dir+"/store", "storePathCommitLog="+old.dir+"/store/commitlog")...)
	s.addr, s.dir = old.addr, old.dir
	return s
}

// has waits until a slave has what its master had just now.
func (p *haPair) has(slave, master *server, what string) {
	p.t.Helper()
	_, want, err := positions(master.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, 120*time.Second, "it has the log: "+what, func() bool {
		_, end, err := positions(slave.addr)
		return err == nil && end >= want
	})
}

// waitMembers waits until the NameServer knows so many brokers.
func (p *haPair) waitMembers(n int) {
	p.t.Helper()
	w := dial(p.t, p.namesrv.addr)
	eventually(p.t, 60*time.Second, "all are registered", func() bool {
		a, err := w.call(codeClusterInfo, nil, nil)
		if err != nil || a.code != 0 {
			return false
		}
		known, err := clusterAddrs(a.body)
		return err == nil && len(known) == n
	})
}

// consumed is what the consumer was given, in order.
func (p *haPair) consumed(consumer *peer) []message { return consumer.got("moving", "Moving") }

// sumOf sums an offset over the queues.
func sumOf(t *testing.T, w *wire, code int) (sum int64) {
	t.Helper()
	for q := range queues {
		a := w.must(t, code, map[string]string{"topic": "Moving", "queueId": strconv.Itoa(q)}, nil)
		n, err := strconv.ParseInt(a.ext["offset"], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// committedAt sums what the group has committed at a broker.
func (p *haPair) committedAt(s *server) (sum int64, err error) {
	w, err := connect(s.addr)
	if err != nil {
		return 0, err
	}
	defer w.conn.Close()
	for q := range queues {
		a, err := w.call(codeQueryOffset, map[string]string{"consumerGroup": "moving", "topic": "Moving", "queueId": strconv.Itoa(q)}, nil)
		if err != nil || a.code != 0 {
			return 0, fmt.Errorf("code %d %w", a.code, err)
		}
		n, err := strconv.ParseInt(a.ext["offset"], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

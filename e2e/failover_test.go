//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestFailover kills a master. Every NameServer leaves it out of its routes as soon as its connection is gone, and a stock
// Java consumer reads from the slave what the master had acknowledged, from the offsets that it had committed on.
func TestFailover(t *testing.T) {
	if underTest() != ours {
		t.Skip("Java's slave did not have the offsets after four minutes")
	}
	names := []*server{newNamesrv(t, underTest(), "namesrv-a"), newNamesrv(t, underTest(), "namesrv-b")}
	c := &cluster{namesrv: names[0], brokers: names[1:]}
	t.Cleanup(c.kill)
	for _, n := range names {
		if err := n.serve(); err != nil {
			t.Fatal(err)
		}
	}
	both := names[0].addr + ";" + names[1].addr
	pair := []string{"inSyncReplicas=2", "brokerIP2=127.0.0.1"}
	master := newBroker(t, underTest(), "broker-a", both, append(pair, "brokerRole=SYNC_MASTER")...)
	slave := slaveOf(t, underTest(), master, both, pair...)
	for _, b := range []*server{master, slave} {
		if err := b.serve(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.kill)
	}
	topic := "Failover"
	m := &cluster{namesrv: names[0], brokers: []*server{master}}
	m.createTopic(t, topic, queues)
	for _, n := range names {
		w := dial(t, n.addr)
		eventually(t, 90*time.Second, "both are in the route", func() bool {
			addrs := routeAddrs(t, w, topic)
			return slices.Contains(addrs, master.addr) && slices.Contains(addrs, slave.addr)
		})
	}

	w := dial(t, master.addr)
	eventually(t, 60*time.Second, "the slave has joined", func() bool {
		_, err := w.send("First", 0, []byte("first"))
		return err == nil
	})
	consumer := newPeer(t, peerKinds[0], both)
	sent := 0
	send := func(count int) {
		t.Helper()
		for range count {
			if _, err := w.send(topic, sent%queues, fmt.Appendf(nil, "message %d", sent)); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	seen := func() (got, twice int) {
		all := map[string]int{}
		for _, m := range consumer.got("", topic) {
			if all[fmt.Sprint(m.queue, "@", m.offset)]++; all[fmt.Sprint(m.queue, "@", m.offset)] > 1 {
				twice++
			}
		}
		return len(all), twice
	}
	subscribe(t, consumer, "one", topic)
	send(200)
	eventually(t, 60*time.Second, "the consumer has what was sent", func() bool { got, _ := seen(); return got >= sent })
	s := &cluster{namesrv: names[0], brokers: []*server{slave}}
	eventually(t, time.Minute, "the slave knows the offsets", func() bool {
		return s.committed(t, "G-"+topic, topic, queues) >= int64(sent)
	})

	// The consumer sleeps while more is sent, and finds the master dead.
	if err := consumer.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	send(100)
	asking := []*wire{dial(t, names[0].addr), dial(t, names[1].addr)}
	master.kill()
	began := time.Now()
	for i, n := range names {
		eventually(t, 10*time.Second, n.name+" leaves out the master", func() bool {
			addrs := routeAddrs(t, asking[i], topic)
			return !slices.Contains(addrs, master.addr) && slices.Contains(addrs, slave.addr)
		})
		fmt.Printf("%s: %s left out the killed master after %v\n", t.Name(), n.name, time.Since(began).Round(100*time.Microsecond))
	}
	if err := consumer.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	eventually(t, 2*time.Minute, "the consumer has the rest from the slave", func() bool { got, _ := seen(); return got >= sent })
	got, twice := seen()
	if got != sent || twice > 0 {
		t.Errorf("%d of %d messages consumed, %d of them twice", got, sent, twice)
	}
	fmt.Printf("%s: the Java consumer had the rest from the slave after %v, nothing twice\n", t.Name(), time.Since(began).Round(time.Millisecond))
}

// routeAddrs are the addresses of the brokers in a topic's route, none if there is no route.
func routeAddrs(t *testing.T, w *wire, topic string) (addrs []string) {
	t.Helper()
	a, err := w.call(codeRoute, map[string]string{"topic": topic, "acceptStandardJsonOnly": "true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.code != 0 {
		return nil
	}
	var route struct {
		BrokerDatas []struct {
			BrokerAddrs map[string]string `json:"brokerAddrs"`
		} `json:"brokerDatas"`
	}
	if err := json.Unmarshal(a.body, &route); err != nil {
		t.Fatal(err)
	}
	for _, b := range route.BrokerDatas {
		for _, addr := range b.BrokerAddrs {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestMixed puts our servers and Java's into one cluster: either way round, and one broker of each behind one route.
func TestMixed(t *testing.T) {
	if underTest() == java {
		t.Skip("with Java's servers alone there is nothing to mix")
	}
	for _, c := range []struct {
		name    string
		namesrv kind
		brokers []kind
	}{
		{"JavaNamesrv", java, []kind{ours}},
		{"JavaBroker", ours, []kind{java}},
		{"BothBrokers", ours, []kind{ours, java}},
		{"BothBrokersJavaNamesrv", java, []kind{ours, java}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCluster(t, c.namesrv, c.brokers...)
			for _, k := range []*peerKind{goPeer, peerKinds[0]} {
				t.Run(k.name, func(t *testing.T) {
					p := newPeer(t, k, cl.namesrv.addr)
					topic := "Mixed-" + k.name
					cl.createTopic(t, topic, queues)
					exchange(t, p, topic, "sync")
					brokers := map[string]bool{}
					for _, m := range p.got(topic, topic) {
						brokers[m.queue[:strings.Index(m.queue, "/")]] = true
					}
					if len(brokers) != len(c.brokers) {
						t.Errorf("messages came from %v, want %d brokers", brokers, len(c.brokers))
					}
					rebalanceTopic := topic + "-rebalance"
					cl.createTopic(t, rebalanceTopic, queues/len(c.brokers))
					rebalance(t, p, rebalanceTopic)
				})
			}
			restart(t, cl)
		})
	}
}

// restart stops the first broker in order and starts it again: the NameServer forgets it at once, and takes it back.
func restart(t *testing.T, c *cluster) {
	t.Helper()
	b := c.brokers[0]
	if err := b.stop(stopLimit); err != nil && !strings.Contains(err.Error(), "143") { // a JVM ends with 128 + SIGTERM
		t.Errorf("%s: %v", b.name, err)
	}
	w := dial(t, c.namesrv.addr)
	eventually(t, 40*time.Second, "a stopped broker is forgotten", func() bool {
		known, err := clusterAddrs(w.must(t, codeClusterInfo, nil, nil).body)
		return err == nil && known[b.addr] == ""
	})
	if err := b.serve(); err != nil {
		t.Fatal(err)
	}
	c.waitRegistered(t)
}

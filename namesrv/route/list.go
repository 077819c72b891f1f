package route

import (
	"maps"
	"slices"

	"rocketd/protocol"
	"rocketd/topic"
)

// Cluster returns all broker sets and their clusters, those without topics too.
func (t *Table) Cluster() *protocol.ClusterInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c := &protocol.ClusterInfo{BrokerAddrTable: map[string]protocol.BrokerData{}, ClusterAddrTable: map[string][]string{}}
	for name, b := range t.brokers {
		c.BrokerAddrTable[name] = b.data(name)
		c.ClusterAddrTable[b.cluster] = append(c.ClusterAddrTable[b.cluster], name)
	}
	for _, names := range c.ClusterAddrTable {
		slices.Sort(names)
	}
	return c
}

// Members returns the addresses of a broker set, none if it is not known.
func (t *Table) Members(cluster, name string) *protocol.BrokerMemberGroup {
	t.mu.RLock()
	defer t.mu.RUnlock()
	g := &protocol.BrokerMemberGroup{Cluster: cluster, BrokerName: name, BrokerAddrs: map[int64]string{}}
	if b := t.brokers[name]; b != nil {
		g.BrokerAddrs = cloneAddrs(b.addrs)
	}
	return g
}

// Topics returns the names of all topics, sorted.
func (t *Table) Topics() []string {
	return t.list(func(*topicEntry) bool { return true })
}

// TopicsOf returns the names of the topics that lie on some broker of a cluster, sorted.
func (t *Table) TopicsOf(cluster string) []string {
	return t.list(func(e *topicEntry) bool {
		return slices.ContainsFunc(e.queues, func(q protocol.QueueData) bool {
			b := t.brokers[q.BrokerName]
			return b != nil && b.cluster == cluster
		})
	})
}

// TopicsWith returns the names of the topics whose system flag is accepted, sorted. The flag is that of the first
// broker; all brokers should have the same.
func (t *Table) TopicsWith(accept func(sysFlag int32) bool) []string {
	return t.list(func(e *topicEntry) bool { return accept(e.queues[0].TopicSysFlag) })
}

// list is called with what looks at the table only; the read lock is held.
func (t *Table) list(accept func(*topicEntry) bool) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := []string{}
	for name, e := range t.topics {
		if accept(e) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// System returns the names that stand for topics of the system here, those of clusters and of broker sets, and the
// address of one broker. Source: Java RouteInfoManager.getSystemTopicList.
func (t *Table) System() (names []string, addr string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	set := map[string]bool{}
	least := ""
	for name, b := range t.brokers {
		set[name], set[b.cluster] = true, true
		if least == "" || name < least {
			least, addr = name, b.addrs[b.min()]
		}
	}
	return slices.Sorted(maps.Keys(set)), addr
}

// SetWritable gives or takes the write permission of every topic on a broker set, until a registration with
// another version says otherwise. It returns how many topics the set has.
// Source: Java RouteInfoManager.operateWritePermOfBroker.
func (t *Table) SetWritable(brokerName string, writable bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.brokers[brokerName]
	if b == nil {
		return 0
	}
	for name := range b.topics {
		e := t.topics[name]
		i, _ := e.find(brokerName)
		q := e.queues[i]
		if writable {
			q.Perm = int32(topic.PermRead | topic.PermWrite)
		} else {
			q.Perm &= int32(readOnly)
		}
		t.put(name, q)
	}
	return len(b.topics)
}

// DeleteTopic forgets a topic: on every broker, or on those of one cluster if cluster is not empty.
func (t *Table) DeleteTopic(name, cluster string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.topics[name]
	if e == nil {
		return
	}
	for _, q := range slices.Clone(e.queues) {
		if b := t.brokers[q.BrokerName]; cluster == "" || b != nil && b.cluster == cluster {
			t.remove(name, e, q.BrokerName)
		}
	}
}

// AddTopic tells the queues of a topic on brokers that are registered already; the first that is not ends it.
// Source: Java RouteInfoManager.registerTopic.
func (t *Table) AddTopic(name string, queues []protocol.QueueData) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range queues {
		if t.brokers[q.BrokerName] == nil {
			return
		}
		t.put(name, q)
	}
}

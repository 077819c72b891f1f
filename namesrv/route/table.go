// Package route holds what a NameServer knows: which topics lie on which brokers, and which brokers are alive under
// which addresses. It is a state and nothing else: every change takes the time as an argument and returns what
// has to be done outside, and nothing is kept on disk, because brokers tell everything again every 30 seconds.
//
// The tables of Java's RouteInfoManager, for those who know it: topicQueueTable and topicQueueMappingInfoTable are
// Table.topics, brokerAddrTable and clusterAddrTable are Table.brokers, brokerLiveTable and filterServerTable are
// Table.live.
package route

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

// Config is what an operator may choose, and change at any time.
type Config struct {
	// ActingMaster presents the slave with the lowest id as master where the master is gone, if its broker set
	// asked for that ("supportActingMaster").
	ActingMaster bool
	// DropMissing forgets the topics of a broker that are not in its registration ("deleteTopicWithBrokerRegistration").
	DropMissing bool
}

// Table is the state. All methods may be called from any goroutine.
type Table struct {
	mu      sync.RWMutex
	cfg     Config
	topics  map[string]*topicEntry
	brokers map[string]*broker // by broker name
	live    map[address]*live
	bodies  cache  // encoded routes
	changes uint64 // grows when a cached route may have become wrong
}

// topicEntry is where one topic lies.
type topicEntry struct {
	queues   []protocol.QueueData // at most one a broker name, in the order of the names
	mappings map[string]topic.MappingInfo
}

// broker is one broker set: a master and its slaves under one name. It has at least one address.
type broker struct {
	cluster string
	zone    string
	acting  bool                // its slaves may act as master
	addrs   map[int64]string    // by broker id, 0 is the master
	topics  map[string]struct{} // those that it has queues of
}

// address is what a registration is remembered under: one process of one cluster.
type address struct{ cluster, addr string }

// live is one broker process that registers.
type live struct {
	name      string
	id        int64
	seen      time.Time
	timeout   time.Duration
	version   protocol.DataVersion // of the topics that it told
	peer      protocol.Peer
	haAddr    string
	filters   []string // addresses of filter servers; nobody of today has any
	displaced bool     // another process has taken its name and id
	rival     string   // address of a displaced one that goes on registering
}

// Broker names one broker process.
type Broker struct {
	Cluster, Name, Addr string
	ID                  int64
}

// Notice says that the lowest id of a broker set changed: each of To has to be told, by NOTIFY_MIN_BROKER_ID_CHANGE.
type Notice struct {
	Name        string
	To          []string
	MinID       int64
	MinAddr     string
	OfflineAddr string // who left; "" if somebody came
	HaAddr      string // where the one who came replicates from; "" if somebody left
}

// New returns an empty table.
func New(cfg Config) *Table {
	t := &Table{cfg: cfg, topics: map[string]*topicEntry{}, brokers: map[string]*broker{}, live: map[address]*live{}}
	t.bodies.clear()
	return t
}

// Configure replaces the configuration.
func (t *Table) Configure(cfg Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cfg = cfg
	t.changes++
	t.bodies.clear()
}

// find returns the place of a broker's queues in the entry, or where they belong.
func (e *topicEntry) find(name string) (int, bool) {
	return slices.BinarySearchFunc(e.queues, name, func(q protocol.QueueData, name string) int {
		return cmp.Compare(q.BrokerName, name)
	})
}

// put sets the queues of one broker for a topic.
func (t *Table) put(name string, q protocol.QueueData) {
	e := t.topics[name]
	if e == nil {
		e = &topicEntry{}
		t.topics[name] = e
	}
	i, found := e.find(q.BrokerName)
	switch {
	case !found:
		e.queues = slices.Insert(e.queues, i, q)
	case e.queues[i] == q:
		return
	default:
		e.queues[i] = q
	}
	if b := t.brokers[q.BrokerName]; b != nil {
		b.topics[name] = struct{}{}
	}
	t.stale(name)
}

// stale drops the encoded routes of a topic.
func (t *Table) stale(name string) {
	t.changes++
	t.bodies.drop(name)
}

// staleSet drops the encoded routes of all topics of a broker set.
func (t *Table) staleSet(b *broker) {
	for name := range b.topics {
		t.stale(name)
	}
}

// remove drops the queues of one broker for a topic, and the topic with its last queues.
func (t *Table) remove(name string, e *topicEntry, brokerName string) {
	i, found := e.find(brokerName)
	if !found {
		return
	}
	e.queues = slices.Delete(e.queues, i, i+1)
	delete(e.mappings, brokerName)
	if len(e.queues) == 0 {
		delete(t.topics, name)
	}
	if b := t.brokers[brokerName]; b != nil {
		delete(b.topics, name)
	}
	t.stale(name)
}

// min returns the lowest id of the set.
func (b *broker) min() int64 {
	first, least := true, int64(0)
	for id := range b.addrs {
		if first || id < least {
			first, least = false, id
		}
	}
	return least
}

// hasMaster tells whether somebody holds id 0, the lowest there is.
func (b *broker) hasMaster() bool { return b.min() == 0 && len(b.addrs) > 0 }

// data returns what the outside may see of the set; it shares nothing with the table.
func (b *broker) data(name string) protocol.BrokerData {
	return protocol.BrokerData{Cluster: b.cluster, BrokerName: name, BrokerAddrs: cloneAddrs(b.addrs), ZoneName: b.zone, EnableActingMaster: b.acting}
}

func cloneAddrs(addrs map[int64]string) map[int64]string {
	c := make(map[int64]string, len(addrs))
	for id, a := range addrs {
		c[id] = a
	}
	return c
}

const readOnly = ^topic.PermWrite

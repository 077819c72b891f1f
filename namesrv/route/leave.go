package route

import (
	"slices"
	"strings"
	"time"

	"rocketd/protocol"
)

// Unregister takes brokers out at once: their addresses, and the queues of sets that have none left.
// Source: Java RouteInfoManager.unRegisterBroker.
func (t *Table) Unregister(leaving ...Broker) []Notice {
	if len(leaving) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unregister(leaving)
}

func (t *Table) unregister(leaving []Broker) []Notice {
	var notices []Notice
	for _, l := range leaving {
		me := address{l.Cluster, l.Addr}
		if was := t.live[me]; was != nil && len(was.filters) > 0 {
			t.changes++
			t.bodies.clear()
		}
		delete(t.live, me)
		b := t.brokers[l.Name]
		if b == nil || b.cluster != l.Cluster {
			continue
		}
		minBefore, size := b.min(), len(b.addrs)
		for id, a := range b.addrs {
			if a == l.Addr {
				delete(b.addrs, id)
			}
		}
		switch {
		case len(b.addrs) == size:
			continue
		case len(b.addrs) == 0:
			t.drop(l.Name, b)
			continue
		case b.acting && !b.hasMaster():
			t.wipe(l.Name, b)
		}
		t.staleSet(b)
		if b.acting && b.min() != minBefore {
			notices = append(notices, b.departure(l))
		}
	}
	return notices
}

// drop takes a broker set out with all its queues.
func (t *Table) drop(name string, b *broker) {
	for topicName := range b.topics {
		t.remove(topicName, t.topics[topicName], name)
	}
	delete(t.brokers, name)
}

// wipe takes the write permission of a set's queues, when it has lost its master and goes on with an acting one.
func (t *Table) wipe(name string, b *broker) {
	for topicName := range b.topics {
		e := t.topics[topicName]
		if i, ok := e.find(name); ok {
			e.queues[i].Perm &= int32(readOnly)
		}
	}
}

// departure tells those who stay that the one with the lowest id left.
func (b *broker) departure(l Broker) Notice {
	n := Notice{Name: l.Name, MinID: b.min(), OfflineAddr: l.Addr}
	n.MinAddr = b.addrs[n.MinID]
	for _, a := range b.addrs {
		n.To = append(n.To, a)
	}
	slices.Sort(n.To)
	return n
}

// Gone is a broker that was taken out because it gave no sign of life, or hung up.
type Gone struct {
	Broker
	Peer protocol.Peer
	Seen time.Time
}

// Expire takes out every broker whose last sign of life is older than its timeout. The caller closes their
// connections.
func (t *Table) Expire(now time.Time) ([]Gone, []Notice) {
	return t.takeOut(func(l *live) bool { return now.Sub(l.seen) > l.timeout })
}

// Closed takes out the brokers that registered over a connection which is gone.
func (t *Table) Closed(p protocol.Peer) ([]Gone, []Notice) {
	return t.takeOut(func(l *live) bool { return l.peer == p })
}

func (t *Table) takeOut(which func(*live) bool) ([]Gone, []Notice) {
	if !t.any(which) {
		return nil, nil // clients come and go all the time; they need no lock for writing
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var gone []Gone
	for a, l := range t.live {
		if which(l) {
			gone = append(gone, Gone{Broker{a.cluster, l.name, a.addr, l.id}, l.peer, l.seen})
		}
	}
	slices.SortFunc(gone, func(a, b Gone) int { return strings.Compare(a.Name+"\x00"+a.Addr, b.Name+"\x00"+b.Addr) })
	leaving := make([]Broker, len(gone))
	for i, g := range gone {
		leaving[i] = g.Broker
	}
	return gone, t.unregister(leaving)
}

func (t *Table) any(which func(*live) bool) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, l := range t.live {
		if which(l) {
			return true
		}
	}
	return false
}

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
	touched := map[string]bool{}
	for _, l := range leaving {
		delete(t.live, address{l.Cluster, l.Addr})
		b := t.brokers[l.Name]
		if b == nil {
			continue
		}
		touched[l.Name] = true
		minBefore := b.min()
		for id, a := range b.addrs {
			if a == l.Addr {
				delete(b.addrs, id)
			}
		}
		if len(b.addrs) == 0 {
			delete(t.brokers, l.Name)
		} else if b.min() != minBefore {
			notices = append(notices, b.departure(l))
		}
	}
	if len(touched) > 0 {
		t.clean(touched)
		t.bodies.clear()
	}
	return notices
}

// clean takes the queues of broker sets away that are gone, and the write permission of those which have lost
// their master and go on with an acting one.
func (t *Table) clean(names map[string]bool) {
	for topicName, e := range t.topics {
		for name := range names {
			b := t.brokers[name]
			if b == nil {
				t.remove(topicName, e, name)
				continue
			}
			if i, ok := e.find(name); ok && b.acting && !b.hasMaster() {
				e.queues[i].Perm &= int32(readOnly)
			}
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

package route

import (
	"slices"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

const defaultTimeout = 120 * time.Second

// Registration is what a broker tells about itself: REGISTER_BROKER.
type Registration struct {
	Broker
	HaAddr  string
	Zone    string
	Timeout time.Duration // without a sign of life; 0 means 120 s
	// Acting is enableActingMaster; brokers before 5.0 do not send it.
	Acting protocol.Opt[bool]
	Peer   protocol.Peer
	Topics protocol.TopicConfigAndMappingSerializeWrapper
	// Filters replaces the list of filter servers, unless it is nil.
	Filters []string
}

// Registered is the answer to a registration.
type Registered struct {
	MasterAddr   string // for a slave whose master is known
	HaServerAddr string // where that master replicates from
	// Holder is not empty if the registration was ignored: the process of that address has the name and id.
	Holder string
	// Rival is not empty if another process, of that address, goes on claiming the name and id of this one.
	Rival string
	// New tells that this process was not known, or not under this name and id; Replaced is whom it took them from.
	New      bool
	Replaced string
	Notices  []Notice
}

// Register takes up a registration. It is refused with SYSTEM_ERROR if it tells one topic only and comes from a
// process that is not known: what was meant as a change of one topic must not stand for all. It is refused, too, if
// the name belongs to a broker set of another cluster, whose routes Java would overwrite.
//
// An address is one process: what was registered under it before with another name goes.
//
// Two processes that claim one name and id: the one with the higher stateVersion holds it; of equal ones, the one
// that appeared last, and the repeated registrations of the other change nothing as long as the holder lives.
// In Java the two would replace each other every 30 seconds. Source: Java RouteInfoManager.registerBroker.
func (t *Table) Register(now time.Time, r *Registration) (Registered, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var done Registered
	me := address{r.Cluster, r.Addr}
	b := t.brokers[r.Name]
	if b == nil {
		b = &broker{cluster: r.Cluster, addrs: map[int64]string{}, topics: map[string]struct{}{}}
	}
	if b.cluster != r.Cluster {
		return done, protocol.Errorf(protocol.SystemError, "broker name %s belongs to cluster %s, held by %s; give this broker another name", r.Name, b.cluster, b.addrs[b.min()])
	}
	minBefore := b.min()
	holder := b.addrs[r.ID]
	if holder != "" && holder != r.Addr {
		if t.yields(me, address{r.Cluster, holder}, r, now) {
			done.Holder = holder
			return done, nil
		}
	}
	if holder == "" && len(r.Topics.TopicConfigTable) == 1 {
		return done, protocol.Errorf(protocol.SystemError, "register broker failed")
	}
	old := t.live[me]
	if old != nil && old.name != r.Name {
		done.Notices = t.unregister([]Broker{{Cluster: r.Cluster, Name: old.name, Addr: r.Addr, ID: old.id}})
		old = nil
	}

	first := holder != r.Addr
	done.New, done.Replaced = first, holder
	if !first {
		done.Replaced = ""
		done.Rival = t.rival(r.Cluster, old)
	}
	changed := first || b.zone != r.Zone || b.acting != (r.Acting.Set && r.Acting.V)
	for id, a := range b.addrs {
		if a == r.Addr && id != r.ID {
			delete(b.addrs, id)
			changed = true
		}
	}
	b.zone, b.acting = r.Zone, r.Acting.Set && r.Acting.V
	b.addrs[r.ID] = r.Addr
	t.brokers[r.Name] = b
	if changed {
		t.staleSet(b)
	}

	prime := r.Acting.Set && r.ID != 0 && r.ID == b.min()
	if r.ID == 0 || prime {
		t.applyTopics(r, prime && b.acting, first || old == nil || !old.version.Equal(r.Topics.DataVersion))
	}
	t.live[me] = t.alive(now, r, old)

	if r.ID != 0 {
		if master := t.live[address{r.Cluster, b.addrs[0]}]; master != nil {
			done.MasterAddr, done.HaServerAddr = b.addrs[0], master.haAddr
		}
	}
	if r.ID < minBefore {
		done.Notices = append(done.Notices, b.arrival(r))
	}
	return done, nil
}

// yields tells whether the registration stands back behind the holder of its name and id, and notes who lost.
func (t *Table) yields(me, holder address, r *Registration, now time.Time) bool {
	other, mine := t.live[holder], t.live[me]
	if other == nil {
		return false
	}
	theirs, ours := other.version.StateVersion, r.Topics.DataVersion.StateVersion
	switch {
	case theirs > ours:
		delete(t.live, me)
		return true
	case theirs == ours && mine != nil && mine.displaced:
		mine.seen, other.rival = now, me.addr
		return true
	}
	other.displaced = true
	return false
}

// rival returns the address of a displaced process that still claims what the holder has, "" if there is none.
func (t *Table) rival(cluster string, holder *live) string {
	if holder == nil || holder.rival == "" {
		return ""
	}
	if l := t.live[address{cluster, holder.rival}]; l != nil && l.displaced && l.name == holder.name && l.id == holder.id {
		return holder.rival
	}
	return ""
}

// alive makes the new live entry. Filter servers that are not told stay as they were.
func (t *Table) alive(now time.Time, r *Registration, old *live) *live {
	l := &live{name: r.Name, id: r.ID, seen: now, timeout: r.Timeout, version: r.Topics.DataVersion, peer: r.Peer, haAddr: r.HaAddr, filters: r.Filters}
	if l.timeout <= 0 {
		l.timeout = defaultTimeout
	}
	var before []string
	if old != nil {
		before, l.rival = old.filters, old.rival
		if r.Filters == nil {
			l.filters = before
		}
	}
	if !slices.Equal(before, l.filters) {
		t.changes++
		t.bodies.clear()
	}
	return l
}

// applyTopics takes the topics of a master, or of the slave that stands for it. all is false if the broker told
// the same before: then only what is missing comes back, and a write permission that was wiped stays wiped.
func (t *Table) applyTopics(r *Registration, wipe, all bool) {
	told := r.Topics.TopicConfigTable
	if t.cfg.DropMissing && len(r.Topics.TopicQueueMappingInfoMap) == 0 {
		for name := range t.brokers[r.Name].topics {
			if _, keep := told[name]; !keep {
				t.remove(name, t.topics[name], r.Name)
			}
		}
	}
	for key, c := range told {
		if c == nil {
			continue // null in the JSON
		}
		name := c.Name
		if name == "" {
			name = key
		}
		if !all {
			if e := t.topics[name]; e != nil {
				if _, known := e.find(r.Name); known {
					continue
				}
			}
		}
		perm := int32(c.Perm)
		if wipe {
			perm &= int32(readOnly)
		}
		t.put(name, protocol.QueueData{BrokerName: r.Name, ReadQueueNums: c.ReadQueueNums, WriteQueueNums: c.WriteQueueNums, Perm: perm, TopicSysFlag: c.SysFlag})
	}
	if !all {
		return
	}
	for name, m := range r.Topics.TopicQueueMappingInfoMap {
		e := t.topics[name]
		if e == nil {
			continue // static queues of a topic that no broker has
		}
		if e.mappings == nil {
			e.mappings = map[string]topic.MappingInfo{}
		}
		e.mappings[m.Broker] = m
		t.stale(name)
	}
}

// arrival tells the others of the set that somebody with a lower id came; alone in the set, he is told himself.
func (b *broker) arrival(r *Registration) Notice {
	n := Notice{Name: r.Name, MinID: b.min(), HaAddr: r.HaAddr}
	n.MinAddr = b.addrs[n.MinID]
	for id, a := range b.addrs {
		if id != n.MinID || len(b.addrs) == 1 {
			n.To = append(n.To, a)
		}
	}
	slices.Sort(n.To)
	return n
}

// Heartbeat notes a sign of life. It returns false, and does nothing, for a process that is not registered.
func (t *Table) Heartbeat(now time.Time, cluster, addr string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.live[address{cluster, addr}]
	if l == nil {
		return false
	}
	l.seen = now
	return true
}

// QueryVersion tells whether a broker would tell something new, and which version of its topics is known, if any.
// It is a sign of life.
func (t *Table) QueryVersion(now time.Time, cluster, addr string, v protocol.DataVersion) (known protocol.DataVersion, ok, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.live[address{cluster, addr}]
	if l == nil {
		return protocol.DataVersion{}, false, true
	}
	l.seen = now
	return l.version, true, !l.version.Equal(v)
}

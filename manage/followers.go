package manage

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"rocketd/protocol"
	"rocketd/topic"
)

// followers remembers which hosts have taken the topics whose queues are not plain. A Java slave that gets messages of
// such a topic before its configuration makes plain queues of them, and does not start again after that; it asks for
// topics once a minute only, from another connection than the one that brings the log.
type followers struct {
	mu      sync.Mutex // guards what follows
	hosts   map[netip.Addr]*follower
	version protocol.DataVersion // of the table in which batch was found
	batch   []string             // topics with queue.type=BatchCQ, sorted
	grew    time.Time            // when the last of them was seen for the first time
}

// follower is a host from which slaves have asked for tables.
type follower struct {
	began time.Time // when it asked for the topics last, from the first of them on
	took  time.Time // began of the last time after which it went on: it has taken what it got
	java  bool      // a Java slave is there
	ours  bool      // a slave of ours is there: it asks for topics that it does not know before it makes queues
}

// maxFollowers bounds the hosts; one more takes the place of that which asked the longest ago.
const maxFollowers = 256

// Follows tells whether the slave at host can have messages of every topic without harm. An empty one that has connected
// at a time may be another one than was there before, and must have asked for the topics since.
func (s *Service) Follows(host netip.Addr, empty bool, connected time.Time) bool {
	l := &s.followers
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.look(s.cfg.Topics.All()); len(l.batch) == 0 {
		return true
	}
	f := l.hosts[host.Unmap()]
	switch {
	case f == nil: // what a slave with messages is that never asked cannot be known
		return !empty
	case f.ours && !f.java:
		return true
	}
	return !f.took.Before(l.grew) && (!empty || f.took.After(connected))
}

// look finds the topics that matter. l.mu is held.
func (l *followers) look(configs map[string]*topic.Config, version protocol.DataVersion) {
	if version == l.version {
		return
	}
	var batch []string
	for name, c := range configs {
		if c.Attributes[topic.AttrQueueType] == "BatchCQ" {
			batch = append(batch, name)
			if _, known := slices.BinarySearch(l.batch, name); !known {
				l.grew = time.Now()
			}
		}
	}
	slices.Sort(batch)
	l.version, l.batch = version, batch
}

// asked notes that a host asks for this table from its first topic on.
func (l *followers) asked(host netip.Addr, configs map[string]*topic.Config, version protocol.DataVersion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look(configs, version)
	f := l.hosts[host]
	if f == nil {
		if l.hosts == nil {
			l.hosts = make(map[netip.Addr]*follower)
		}
		if len(l.hosts) >= maxFollowers {
			l.dropSilent()
		}
		f = new(follower)
		l.hosts[host] = f
	}
	f.began = time.Now()
}

// goesOn notes that a host asks for what a slave asks for when it has taken the topics.
func (l *followers) goesOn(host netip.Addr, language protocol.Language) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.hosts[host]; f != nil {
		f.took = f.began
		f.ours = f.ours || language == protocol.LanguageGo
		f.java = f.java || language == protocol.LanguageJava
	}
}

// dropSilent forgets the host that asked the longest ago. l.mu is held.
func (l *followers) dropSilent() {
	var silent netip.Addr
	var least time.Time
	for host, f := range l.hosts {
		if !silent.IsValid() || f.began.Before(least) {
			silent, least = host, f.began
		}
	}
	delete(l.hosts, silent)
}

package manage

import (
	"net/netip"
	"slices"
	"sync"

	"rocketd/protocol"
	"rocketd/topic"
)

// followers remembers which hosts have taken the topics whose queues are not plain. A Java slave that gets messages of
// such a topic before its configuration makes plain queues of them, and does not start again after that; it asks for
// topics once a minute only.
type followers struct {
	mu      sync.Mutex // guards what follows
	hosts   map[netip.Addr]*follower
	turn    int
	version protocol.DataVersion // of the topics that batch was found in
	batch   []string             // topics with queue.type=BatchCQ, sorted
}

// follower is a host from which topics were asked.
type follower struct {
	asked, took []string // the BatchCQ topics among those that were sent, and among those that it has
	java        bool     // a Java slave is there
	learns      bool     // a slave of ours is there: it asks for topics that it does not know before it makes queues
	turn        int      // grows with each request
}

// maxFollowers bounds the hosts; who asks from one more takes the place of the one that was silent the longest.
const maxFollowers = 256

// Follows tells whether the slave at host has every topic that it could get wrong. It is to be asked before messages go
// to a slave, again whenever topics have changed, and costs little as long as they have not.
func (s *Service) Follows(host netip.Addr) bool {
	batch := s.followers.current(s.cfg.Topics.All())
	if len(batch) == 0 {
		return true
	}
	s.followers.mu.Lock()
	defer s.followers.mu.Unlock()
	f := s.followers.hosts[host.Unmap()]
	return f != nil && (f.learns && !f.java || !slices.ContainsFunc(batch, func(name string) bool {
		_, has := slices.BinarySearch(f.took, name)
		return !has
	}))
}

// current returns the BatchCQ topics of a table.
func (l *followers) current(configs map[string]*topic.Config, version protocol.DataVersion) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version != l.version {
		var batch []string
		for name, c := range configs {
			if c.Attributes[topic.AttrQueueType] == "BatchCQ" {
				batch = append(batch, name)
			}
		}
		slices.Sort(batch)
		l.version, l.batch = version, batch
	}
	return l.batch
}

// sent notes that a host got a table, or the last page of it.
func (l *followers) sent(host netip.Addr, configs map[string]*topic.Config, version protocol.DataVersion) {
	batch := l.current(configs, version)
	l.mu.Lock()
	defer l.mu.Unlock()
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
	f.asked = batch
	l.turn++
	f.turn = l.turn
}

// took notes that a host asked for what only a slave asks for, after it has taken the topics that it got.
func (l *followers) took(host netip.Addr, language protocol.Language) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.hosts[host]; f != nil {
		f.took = f.asked
		f.learns = f.learns || language == protocol.LanguageGo
		f.java = f.java || language == protocol.LanguageJava
		l.turn++
		f.turn = l.turn
	}
}

// dropSilent forgets the host that was silent the longest. l.mu is held.
func (l *followers) dropSilent() {
	var silent netip.Addr
	least := l.turn + 1
	for host, f := range l.hosts {
		if f.turn < least {
			silent, least = host, f.turn
		}
	}
	delete(l.hosts, silent)
}

package lite

import "rocketd/topic"

// looks are looks at one client of a group, or at all of them. One of a wildcard group is enough: what it finds goes to all.
func (s *Service) looks(group, client string) (looks []look) {
	s.on(func(b *board) { looks = b.looksOf(group, client) })
	if len(looks) > 1 && looks[0].queues == nil {
		looks = looks[:1]
	}
	return looks
}

// lookAt finds for clients in which of their queues something waits for their group. Source: Java
// LiteEventDispatcher.doFullDispatchForClient, doFullDispatchForWildcardGroup.
func (s *Service) lookAt(looks []look) {
	now := s.cfg.Now().UnixMilli()
	for i := range looks {
		l := &looks[i]
		queues := l.queues
		if queues == nil {
			queues = s.children(l.parent)
		}
		var found []string
		for _, name := range queues {
			if n := end(s.queue(name)); n > 0 {
				if offset, known := s.cfg.Offsets.Get([]byte(l.group), []byte(name), 0); !known || offset < n {
					found = append(found, name)
				}
			}
		}
		var wake []string
		s.on(func(b *board) { wake = b.looked(l, found, now) })
		s.wake(nil, wake)
	}
}

// children returns the queues of all lite topics of a parent.
func (s *Service) children(parent string) (queues []string) {
	for _, name := range s.cfg.Store.Topics() {
		if p, _, ok := topic.SplitLite(name); ok && p == parent {
			queues = append(queues, name)
		}
	}
	return queues
}

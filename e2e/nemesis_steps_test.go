//go:build e2e

package e2e

import (
	"os"
	"strings"
	"time"
)

// nemesisSteps is what can be done to a cluster; weight is how often.
var nemesisSteps = []struct {
	name   string
	weight int
	root   bool // needs namespaces and disks of one's own
	do     func(n *nemesis)
}{
	{"kill the master", 10, false, func(n *nemesis) { n.bounce(n.pair[n.master]) }},
	{"kill the slave", 8, false, func(n *nemesis) { n.bounce(n.pair[1-n.master]) }},
	{"kill both brokers", 4, false, func(n *nemesis) {
		n.kill(n.pair[n.master])
		n.kill(n.pair[1-n.master])
		n.wait(n.some(500))
		n.start(n.pair[n.rng.IntN(2)])
	}},
	{"kill a NameServer", 4, false, func(n *nemesis) { n.bounce(n.names[n.rng.IntN(2)]) }},
	{"stop and start the master", 3, false, func(n *nemesis) { n.restart(n.pair[n.master]) }},
	{"stop and start the slave", 3, false, func(n *nemesis) { n.restart(n.pair[1-n.master]) }},
	{"pause the master", 8, false, func(n *nemesis) { n.freeze(n.pair[n.master]) }},
	{"pause the slave", 8, false, func(n *nemesis) { n.freeze(n.pair[1-n.master]) }},
	{"pause a NameServer", 3, false, func(n *nemesis) { n.freeze(n.names[n.rng.IntN(2)]) }},
	{"pause the master, kill the slave", 4, false, func(n *nemesis) {
		n.pause(n.pair[n.master])
		n.wait(n.some(300))
		n.kill(n.pair[1-n.master])
		n.wait(n.some(300))
		n.resume(n.pair[n.master])
	}},
	{"cut the slave from the master", 10, false, func(n *nemesis) {
		m, s := n.pair[n.master], n.pair[1-n.master]
		if s.fast != nil {
			n.during(s.fast.cut())
			return
		}
		n.during(m.cut(n.t, s.ip), s.cut(n.t, m.ip))
	}},
	{"cut one way between the brokers", 6, true, func(n *nemesis) {
		i := n.rng.IntN(2)
		n.during(n.pair[i].cut(n.t, n.pair[1-i].ip))
	}},
	{"break the connections of the slave", 4, false, func(n *nemesis) {
		s := n.pair[1-n.master]
		if s.fast != nil {
			s.fast.drop()
			return
		}
		for range 5 { // the link flaps
			heal := s.cut(n.t, n.pair[n.master].ip)
			n.wait(n.some(100))
			heal()
			n.wait(n.some(100))
		}
	}},
	{"cut a broker from the NameServers", 4, false, func(n *nemesis) {
		i := n.rng.IntN(2)
		if n.proxies != nil {
			n.during(n.proxies[2*i].cut(), n.proxies[2*i+1].cut())
			return
		}
		n.during(n.pair[i].cut(n.t, n.names[0].ip), n.pair[i].cut(n.t, n.names[1].ip))
	}},
	{"cut the clients from the master", 4, true, func(n *nemesis) { n.during(n.pair[n.master].cut(n.t, n.g.here)) }},
	{"a slow link", 5, true, func(n *nemesis) { n.during(n.pair[n.rng.IntN(2)].slow(n.t)) }},
	{"a full disk of the master", 3, true, func(n *nemesis) { n.during(n.pair[n.master].fill(n.t, n.rng.Int64N(1<<20))) }},
	{"a full disk of the slave", 3, true, func(n *nemesis) { n.during(n.pair[1-n.master].fill(n.t, n.rng.Int64N(1<<20))) }},
	{"the master is killed, its slave takes over", 12, false, func(n *nemesis) {
		n.kill(n.pair[n.master])
		n.takeOver(false)
	}},
	{"the master is killed while cut off, its slave takes over", 5, true, func(n *nemesis) {
		m, s := n.pair[n.master], n.pair[1-n.master]
		heal := m.cut(n.t, s.ip)
		n.wait(n.some(1500)) // it takes messages that nobody gets, and acknowledges none
		n.kill(m)
		heal()
		n.takeOver(false)
	}},
	{"the master is paused, its slave takes over, and it goes on", 6, false, func(n *nemesis) {
		m := n.pair[n.master]
		n.pause(m)
		n.takeOver(true)
		n.resume(m) // it believes that it is the master
		n.wait(n.some(1500))
		n.kill(m)
		n.start(m)
	}},
	{"the master is cut off, its slave takes over, and it comes back", 6, true, func(n *nemesis) {
		m, s := n.pair[n.master], n.pair[1-n.master]
		there, back := m.cut(n.t, s.ip), s.cut(n.t, m.ip)
		n.wait(n.some(500))
		n.takeOver(true)
		n.wait(n.some(1000))
		there()
		back()
		n.wait(n.some(500))
		n.kill(m)
		n.start(m)
	}},
}

// step does one of the steps, and now and then waits until all works again, as it must before a slave may take over.
func (n *nemesis) step() {
	only := os.Getenv("E2E_STEP")
	total := 0
	for _, s := range nemesisSteps {
		if (!s.root || n.g.root) && strings.Contains(s.name, only) {
			total += s.weight
		}
	}
	if total == 0 {
		n.t.Fatalf("E2E_STEP=%s is in the name of no step that is possible here", only)
	}
	at := n.rng.IntN(total)
	for _, s := range nemesisSteps {
		if s.root && !n.g.root || !strings.Contains(s.name, only) {
			continue
		}
		if at -= s.weight; at >= 0 {
			continue
		}
		if strings.Contains(s.name, "takes over") {
			n.settle("before a take-over", true)
		}
		n.h.Fault("%s (%s)", s.name, n.pair[n.master].name)
		n.counts[s.name]++
		s.do(n)
		break
	}
	for _, f := range n.all() { // an operator starts what is down
		if !f.alive() {
			n.start(f)
		}
	}
	if n.rng.IntN(4) == 0 {
		n.settle("after a fault", true)
	}
	n.wait(n.some(400))
}

// some is a random time up to so many ms.
func (n *nemesis) some(ms int) time.Duration { return time.Duration(n.rng.IntN(ms)) * time.Millisecond }

// length is how long something lasts: mostly not long, now and then longer than timeouts.
func (n *nemesis) length() time.Duration {
	if n.rng.IntN(6) == 0 {
		return n.some(5000)
	}
	return n.some(800)
}

// during waits while something is wrong, and heals it.
func (n *nemesis) during(heal ...func()) {
	n.wait(n.length())
	for _, h := range heal {
		h()
	}
}

func (n *nemesis) bounce(f *fighter) {
	n.kill(f)
	n.wait(n.some(500))
	n.start(f)
}

func (n *nemesis) restart(f *fighter) {
	if err := f.process.stop(stopLimit); err != nil {
		n.t.Errorf("%s: a clean stop: %v", f.name, err)
	}
	n.wait(n.some(300))
	n.start(f)
}

func (n *nemesis) freeze(f *fighter) {
	n.pause(f)
	n.wait(n.length())
	n.resume(f)
}

// takeOver makes the slave the master. The old master is dead, or with alive does not know yet.
func (n *nemesis) takeOver(alive bool) {
	s := n.pair[1-n.master]
	if n.rng.IntN(2) == 0 {
		n.kill(s)
	} else if err := s.process.stop(stopLimit); err != nil {
		n.t.Errorf("%s: a clean stop: %v", s.name, err)
	}
	n.master = 1 - n.master
	n.start(s)
	m, err := n.ha(s)
	if err != nil {
		n.t.Fatalf("the new master does not answer: %v", err)
	}
	n.least = m.End
	if !alive {
		n.wait(n.some(700))
		n.start(n.pair[1-n.master])
	}
}

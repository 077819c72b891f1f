//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ground is where the nodes of a cluster stand, and what can go wrong between them. As root, each node has a network
// namespace with an address of its own, and a disk of its own size; otherwise all are on 127.0.0.1, with proxies between
// them that can be cut.
type ground struct {
	root   bool
	bridge string
	here   string // address of the clients
	sites  int
}

// grounds counts them: the kernel takes its time to forget a name.
var grounds int

// site is where one node stands.
type site struct {
	g    *ground
	name string
	ip   string
	ns   string // network namespace
	dir  string // its disk
	size int64  // of the disk, bytes; 0 if it has none of its own
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{root: os.Getuid() == 0, here: "127.0.0.1"}
	if g.root {
		sweep()
		pid := os.Getpid()
		grounds++
		g.bridge = fmt.Sprintf("rk%d-%d", pid, grounds)
		g.here = fmt.Sprintf("10.%d.%d.1", 64+pid%128, (pid/128+grounds)%256)
		if err := command("ip link add %s type bridge", g.bridge); err != nil {
			t.Logf("no network namespaces here, the nodes share one address: %v", err)
			g.root, g.here = false, "127.0.0.1"
			return g
		}
		t.Cleanup(func() { _ = command("ip link del %s", g.bridge) })
		try(t, "ip addr add %s/24 dev %s", g.here, g.bridge)
		try(t, "ip link set %s up", g.bridge)
	}
	return g
}

// sweep removes what test programs that were killed have left.
func sweep() {
	gone := func(name string) bool { // rkPID-...
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, "rk"), "-")
		_, err := strconv.Atoi(pid)
		_, alive := os.Stat("/proc/" + pid)
		return strings.HasPrefix(name, "rk") && err == nil && alive != nil
	}
	spaces, _ := tool("", nil, "ip", "netns", "list")
	for line := range strings.Lines(spaces) {
		if f := strings.Fields(line); len(f) > 0 && gone(f[0]) {
			_ = command("ip netns del %s", f[0])
		}
	}
	bridges, _ := tool("", nil, "ip", "-br", "link", "show", "type", "bridge")
	for line := range strings.Lines(bridges) {
		if f := strings.Fields(line); len(f) > 0 && gone(f[0]) {
			_ = command("ip link del %s", f[0])
		}
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[0], "rocketd-e2e-") && gone("rk"+f[0][len("rocketd-e2e-"):]+"-") {
			_ = command("umount -l %s", f[1])
		}
	}
}

// command runs a command line without quotes.
func command(format string, args ...any) error {
	words := strings.Fields(fmt.Sprintf(format, args...))
	_, err := tool("", nil, words[0], words[1:]...)
	return err
}

func try(t *testing.T, format string, args ...any) {
	t.Helper()
	if err := command(format, args...); err != nil {
		t.Fatal(err)
	}
}

// site makes a site for a node; with a size, it has a disk of that size where that is possible.
func (g *ground) site(t *testing.T, name string, size int64) *site {
	t.Helper()
	p := &site{g: g, name: name, ip: g.here, dir: filepath.Join(work, t.Name(), name)}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if !g.root {
		return p
	}
	g.sites++
	p.ns = fmt.Sprintf("%s-%d", g.bridge, g.sites)
	p.ip = g.here[:strings.LastIndex(g.here, ".")+1] + fmt.Sprint(g.sites+1)
	outer := fmt.Sprintf("%s.%d", g.bridge, g.sites)
	try(t, "ip netns add %s", p.ns)
	t.Cleanup(func() { _ = command("ip netns del %s", p.ns) })
	try(t, "ip link add %s type veth peer name eth0 netns %s", outer, p.ns)
	try(t, "ip link set %s master %s up", outer, g.bridge)
	try(t, "ip -n %s addr add %s/24 dev eth0", p.ns, p.ip)
	try(t, "ip -n %s link set eth0 up", p.ns)
	try(t, "ip -n %s link set lo up", p.ns)
	if size > 0 {
		try(t, "mount -t tmpfs -o size=%d rocketd-e2e-%d %s", size, os.Getpid(), p.dir)
		p.size = size
		t.Cleanup(func() { _ = command("umount -l %s", p.dir) })
	}
	return p
}

// inside is a command line that runs in the site.
func (p *site) inside(args ...string) []string {
	if p.ns == "" {
		return args
	}
	return append([]string{"ip", "netns", "exec", p.ns}, args...)
}

// cut takes the way from this site to an address, and returns what gives it back. It needs namespaces.
func (p *site) cut(t *testing.T, to string) (heal func()) {
	t.Helper()
	try(t, "ip -n %s route replace blackhole %s/32", p.ns, to)
	return func() { try(t, "ip -n %s route del blackhole %s/32", p.ns, to) }
}

// slow makes everything that leaves the site late, or where the kernel cannot do that, narrows its way.
func (p *site) slow(t *testing.T) (heal func()) {
	t.Helper()
	if err := command("tc -n %s qdisc add dev eth0 root netem delay 30ms 10ms", p.ns); err != nil {
		try(t, "tc -n %s qdisc add dev eth0 root tbf rate 2mbit burst 16kbit latency 300ms", p.ns)
	}
	return func() { try(t, "tc -n %s qdisc del dev eth0 root", p.ns) }
}

// fill fills the disk but for some bytes. It needs a disk of its own.
func (p *site) fill(t *testing.T, but int64) (heal func()) {
	t.Helper()
	name := filepath.Join(p.dir, "filler")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := int64(0); ; { // the node writes meanwhile
		var s syscall.Statfs_t
		if err := syscall.Statfs(p.dir, &s); err != nil {
			t.Fatal(err)
		}
		n := int64(s.Bavail)*s.Bsize - but
		if n <= 0 {
			break
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, at, n); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		} else if err == nil {
			at += n
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// proxy stands between a node and another one, and can hold up everything, as a network does that loses all packets.
type proxy struct {
	l      net.Listener
	target func() string

	mu   sync.Mutex // guards:
	held chan struct{}
	open map[net.Conn]bool
}

// newProxy passes on what comes to the address that target names at that time.
func newProxy(t *testing.T, target func() string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: target, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); p.drop() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) pass(c net.Conn) {
	p.wait()
	d, err := net.DialTimeout("tcp", p.target(), 2*time.Second)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.open[c], p.open[d] = true, true
	p.mu.Unlock()
	one := func(to, from net.Conn) {
		b := make([]byte, 32<<10)
		for {
			n, err := from.Read(b)
			p.wait()
			if n > 0 {
				if _, err := to.Write(b[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		_, _ = to.Close(), from.Close()
		p.mu.Lock()
		delete(p.open, to)
		delete(p.open, from)
		p.mu.Unlock()
	}
	go one(c, d)
	one(d, c)
}

// wait returns when nothing is held up.
func (p *proxy) wait() {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
}

// cut holds everything up until heal is called.
func (p *proxy) cut() (heal func()) {
	held := make(chan struct{})
	p.mu.Lock()
	p.held = held
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		p.held = nil
		p.mu.Unlock()
		close(held)
	}
}

// drop breaks all connections.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}

// hurried is a connection on which nobody waits longer than so.
type hurried struct {
	net.Conn
	limit time.Duration
}

func (h hurried) SetDeadline(t time.Time) error {
	if end := time.Now().Add(h.limit); t.After(end) {
		t = end
	}
	return h.Conn.SetDeadline(t)
}

// hurry connects for requests that may take no longer than the limit.
func hurry(addr string, limit time.Duration) (*wire, error) {
	c, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	return &wire{conn: hurried{c, limit}}, nil
}

var _ io.Closer = hurried{}

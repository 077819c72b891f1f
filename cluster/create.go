package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Layout says what a new cluster consists of.
type Layout struct {
	Masters  int // broker names: broker-a, broker-b, ...
	Slaves   int // of each master
	Namesrvs int
	Sync     bool     // masters are SYNC_MASTER: they answer when a slave has the message
	Set      []string // KEY=VALUE for every broker

	NamesrvPort, BrokerPort int // first port to try
}

// most bounds each number of a Layout: names are letters.
const most = 26

// ErrExists says that there is a cluster in a folder already.
var ErrExists = errors.New("there is a cluster already")

// decided are the keys of a broker that the layout decides, and what to use instead of setting them.
var decided = map[string]string{
	"brokerRole": "--sync makes the masters SYNC_MASTER", "brokerId": "the first of a name is the master", "brokerName": "names are given",
	"listenPort": "use --broker-port", "haListenPort": "it is the port of the broker plus 1", "namesrvAddr": "all brokers register with all NameServers",
	"storePathRootDir": "use --data", "storePathCommitLog": "use --data",
}

// Create lays a cluster out in dir, which must not hold one, and starts nothing. The error wraps ErrExists if it does.
func Create(dir string, l Layout) error {
	if err := l.check(); err != nil {
		return err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, stateName)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s", ErrExists, dir)
	}
	c := &Cluster{Sync: l.Sync, dir: dir}
	p := ports{taken: map[int]bool{}}
	for i := range l.Namesrvs {
		port, err := p.find(l.NamesrvPort, 1, 0)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, &Node{Name: "namesrv-" + letter(i), Kind: Namesrv, Port: port})
	}
	for i := range l.Masters {
		for id := range l.Slaves + 1 {
			port, err := p.find(l.BrokerPort, 10, -2, 0, 1)
			if err != nil {
				return err
			}
			name := "broker-" + letter(i)
			c.Nodes = append(c.Nodes, &Node{Name: fmt.Sprintf("%s-%d", name, id), Kind: Broker, Port: port, Broker: name, ID: int64(id)})
		}
	}
	for _, n := range c.Nodes {
		if err := c.writeConf(n, l.Set); err != nil {
			return err
		}
	}
	return c.save()
}

func (l *Layout) check() error {
	for _, n := range []struct {
		flag      string
		n, atMost int
		atLeast   int
	}{{"--masters", l.Masters, most, 1}, {"--slaves", l.Slaves, most, 0}, {"--namesrv", l.Namesrvs, most, 1}} {
		if n.n < n.atLeast || n.n > n.atMost {
			return fmt.Errorf("%s %d: it must be %d to %d", n.flag, n.n, n.atLeast, n.atMost)
		}
	}
	if l.Sync && l.Slaves == 0 {
		return errors.New("--sync: a master without a slave would wait for one with every message; give it at least one (--slaves 1)")
	}
	for _, kv := range l.Set {
		key, _, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return fmt.Errorf("--set %s: it must be KEY=VALUE", kv)
		}
		if instead := decided[key]; instead != "" {
			return fmt.Errorf("--set %s: %s cannot be set here: %s", kv, key, instead)
		}
	}
	return nil
}

func letter(i int) string { return string(rune('a' + i)) }

// writeConf writes the configuration of a node. What may change later, role and id, is given at the start instead. Keys
// of set win: they stand behind the others.
func (c *Cluster) writeConf(n *Node, set []string) error {
	dir := filepath.Join(c.dir, n.Name)
	lines := []string{
		"listenPort=" + fmt.Sprint(n.Port), "bindAddress=" + host,
		"kvConfigPath=" + filepath.Join(dir, "kvConfig.json"), "configStorePath=" + filepath.Join(dir, "namesrv.properties"),
	}
	if n.Kind == Broker {
		lines = append([]string{
			"brokerClusterName=DefaultCluster", "brokerName=" + n.Broker, "brokerIP1=" + host, "brokerIP2=" + host, "bindAddress=" + host,
			fmt.Sprintf("listenPort=%d", n.Port), fmt.Sprintf("haListenPort=%d", n.Port+1), "namesrvAddr=" + c.Namesrvs(),
			"storePathRootDir=" + filepath.Join(dir, "store"),
			// Java's files of 1 GiB, two of which are made at once, are too much for many brokers on one disk.
			"mappedFileSizeCommitLog=134217728",
		}, set...)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(c.conf(n), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

func (c *Cluster) conf(n *Node) string { return filepath.Join(c.dir, n.Name, string(n.Kind)+".conf") }

// ports remembers which ports were given away before anybody listens on them.
type ports struct{ taken map[int]bool }

// find returns the first port from first on, in steps, that is free together with those at the offsets.
func (p *ports) find(first, step int, offsets ...int) (int, error) {
	for port := first; port < 1<<16-1; port += step {
		free := func(offset int) bool { return !p.taken[port+offset] && free(port+offset) }
		if !slices.ContainsFunc(offsets, func(o int) bool { return !free(o) }) {
			for _, o := range offsets {
				p.taken[port+o] = true
			}
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port from %d on (--namesrv-port and --broker-port choose where to look)", first)
}

// free tells whether nobody listens on a port.
func free(port int) bool {
	for _, addr := range []string{host, ""} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", addr, port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

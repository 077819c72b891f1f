package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/vfs"
)

const (
	stateName = "cluster.json"
	lockName  = "cluster.lock"
)

// Load reads the cluster in dir.
func Load(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, stateName)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster in %s; make one with: rocketd cluster --data %s", dir, dir)
	}
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// check refuses what Create did not make: whoever uses a Cluster counts on one master of each name, and on folders
// that are below dir.
func (c *Cluster) check() error {
	names, ids := map[string]bool{}, map[string]bool{}
	for _, n := range c.Nodes {
		id := fmt.Sprint(n.Broker, n.ID)
		switch {
		case n.Name == "" || n.Name != filepath.Base(n.Name) || n.Name[0] == '.' || names[n.Name]:
			return fmt.Errorf("a node has the name %q", n.Name)
		case n.Port < 1 || n.Port > 65535, n.PID < 0:
			return fmt.Errorf("node %s has port %d, process %d", n.Name, n.Port, n.PID)
		case n.Kind == Namesrv:
		case n.Kind != Broker || n.Broker == "" || ids[id]:
			return fmt.Errorf("node %s has kind %q, broker name %q, id %d", n.Name, n.Kind, n.Broker, n.ID)
		}
		names[n.Name], ids[id] = true, true
	}
	for _, n := range c.Nodes {
		if n.Kind == Broker && !slices.ContainsFunc(c.Nodes, func(m *Node) bool { return m.Broker == n.Broker && m.ID == 0 }) {
			return fmt.Errorf("%s has no master", n.Broker)
		}
	}
	return nil
}

func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return durable.Write(vfs.OS, filepath.Join(c.dir, stateName), append(data, '\n'))
}

// lockWait is how long one command waits for another.
const lockWait = 30 * time.Second

// lock keeps other commands from changing the cluster in dir.
func lock(dir string) (unlock func(), err error) {
	for end := time.Now().Add(lockWait); ; time.Sleep(50 * time.Millisecond) {
		l, err := vfs.OS.Lock(filepath.Join(dir, lockName))
		if err == nil {
			return func() { _ = l.Close() }, nil
		}
		var held *vfs.LockedError
		if !errors.As(err, &held) {
			return nil, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("another command has been at work on the cluster in %s for %v: %w", dir, lockWait, err)
		}
	}
}

// change loads the cluster, lets fn change it, and writes it whatever fn says: fn has done what it has done.
func change(dir string, fn func(c *Cluster) error) error {
	c, err := Load(dir)
	if err != nil {
		return err
	}
	unlock, err := lock(c.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if c, err = Load(dir); err != nil {
		return err
	}
	err = fn(c)
	return errors.Join(err, c.save())
}

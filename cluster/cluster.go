// Package cluster runs NameServers and brokers as processes of this machine, for people who try things out and for
// tests: it chooses ports and folders, starts the program once for each node, and knows them again later.
//
//	DIR/cluster.json       which nodes there are, their ports, roles and processes
//	DIR/<node>/broker.conf the configuration of a node, written once; it may be edited
//	DIR/<node>/store       what the node keeps
//	DIR/<node>/log         what the node prints
//
// No process watches over the nodes: whoever changes something holds the lock of DIR, does it, and writes cluster.json.
// A node is known by its process id and the moment at which that process began, so that a stranger who got the same id
// later is never killed.
package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is what a node is.
type Kind string

// The kinds of nodes.
const (
	Namesrv Kind = "namesrv"
	Broker  Kind = "broker"
)

// Node is one process, running or not.
type Node struct {
	Name   string `json:"name"` // also its folder
	Kind   Kind   `json:"kind"`
	Port   int    `json:"port"`             // a broker has also the two: Port-2, Port+1
	Broker string `json:"broker,omitempty"` // brokerName
	ID     int64  `json:"id"`               // brokerId, 0 is the master

	PID   int    `json:"pid,omitempty"`   // of the last process
	Began uint64 `json:"began,omitempty"` // when that began, in ticks since the machine did
}

// Addr is where clients reach the node.
func (n *Node) Addr() string { return fmt.Sprintf("%s:%d", host, n.Port) }

// Role is what the node does: namesrv, master or slave.
func (n *Node) Role() string {
	switch {
	case n.Kind == Namesrv:
		return "namesrv"
	case n.ID == 0:
		return "master"
	}
	return "slave"
}

// host is where all nodes listen.
const host = "127.0.0.1"

// Cluster is what cluster.json holds.
type Cluster struct {
	Sync  bool    `json:"sync"` // masters are SYNC_MASTER
	Nodes []*Node `json:"nodes"`

	dir string // absolute
}

// Dir is the folder of the cluster.
func (c *Cluster) Dir() string { return c.dir }

// Namesrvs is the list of NameServers as clients want it.
func (c *Cluster) Namesrvs() string {
	var addrs []string
	for _, n := range c.Nodes {
		if n.Kind == Namesrv {
			addrs = append(addrs, n.Addr())
		}
	}
	return strings.Join(addrs, ";")
}

// ErrNoNode is wrapped by errors about names that no node has.
var ErrNoNode = errors.New("no such node")

// Find returns the nodes of these names, all if there are none.
func (c *Cluster) Find(names []string) ([]*Node, error) {
	if len(names) == 0 {
		return slices.Clone(c.Nodes), nil
	}
	var nodes []*Node
	for _, name := range names {
		i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Name == name })
		if i < 0 {
			var all []string
			for _, n := range c.Nodes {
				all = append(all, n.Name)
			}
			return nil, fmt.Errorf("%w: %s; there are %s", ErrNoNode, name, strings.Join(all, ", "))
		}
		if !slices.Contains(nodes, c.Nodes[i]) {
			nodes = append(nodes, c.Nodes[i])
		}
	}
	return nodes, nil
}

// master returns the node that is the master of a broker name; every name has one.
func (c *Cluster) master(broker string) *Node {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Broker == broker && n.ID == 0 })
	return c.Nodes[i]
}

// The orders of roles. A master stops before its slaves, so that they have all that it acknowledged and that nothing
// waits for them; the NameServers are there as long as a broker is.
var (
	startOrder = []string{"namesrv", "master", "slave"}
	stopOrder  = []string{"master", "slave", "namesrv"}
)

// stages puts nodes into an order of roles; those of one role belong together.
func stages(nodes []*Node, order []string) [][]*Node {
	var list [][]*Node
	for _, role := range order {
		var stage []*Node
		for _, n := range nodes {
			if n.Role() == role {
				stage = append(stage, n)
			}
		}
		if stage != nil {
			list = append(list, stage)
		}
	}
	return list
}

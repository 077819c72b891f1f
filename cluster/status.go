package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rocketd/protocol"
)

// Status is how the cluster is.
type Status struct {
	Dir      string       `json:"dir"`
	Namesrvs string       `json:"namesrvAddr"`
	Nodes    []NodeStatus `json:"nodes"`
}

// NodeStatus is how one node is. What it does not say, or what does not apply to it, is nil.
type NodeStatus struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	Addr   string `json:"addr"`
	Dir    string `json:"dir"`
	State  State  `json:"state"`
	PID    int    `json:"pid,omitempty"`
	Broker string `json:"brokerName,omitempty"`
	ID     *int64 `json:"brokerId,omitempty"`

	Registered []string `json:"registered,omitempty"` // NameServers that know the broker with this id and address
	Known      *int     `json:"known,omitempty"`      // of a NameServer: brokers that are registered

	MaxPhysical *int64 `json:"maxPhysical,omitempty"` // end of the log, bytes
	Lag         *int64 `json:"lag,omitempty"`         // of a slave: bytes of the master's log that it does not have
	InSync      *int   `json:"inSyncSlaves,omitempty"`
}

// askLimit bounds the wait for a node that may be paused.
const askLimit = time.Second

// Status asks every node that runs, all at once. A node that does not answer is told from its process alone.
func (k *Control) Status(ctx context.Context) (*Status, error) {
	c, err := Load(k.Dir)
	if err != nil {
		return nil, err
	}
	s := &Status{Dir: c.dir, Namesrvs: c.Namesrvs(), Nodes: make([]NodeStatus, len(c.Nodes))}
	known := make([]map[memberKey]string, len(c.Nodes))
	ha := make([]*protocol.HARuntimeInfo, len(c.Nodes))
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		if n.State() != Running {
			continue
		}
		wg.Go(func() { // an error is an answer that is missing
			if n.Kind == Namesrv {
				known[i], _ = k.members(ctx, n)
			} else {
				ha[i], _ = k.haStatus(ctx, n)
			}
		})
	}
	wg.Wait()
	ends := map[string]int64{} // of the masters' logs
	for i, n := range c.Nodes {
		if ha[i] != nil && n.ID == 0 {
			ends[n.Broker] = ha[i].MasterLogOffset
		}
	}
	for i, n := range c.Nodes {
		t := NodeStatus{Name: n.Name, Role: n.Role(), Addr: n.Addr(), Dir: n.Name, State: n.State(), Broker: n.Broker}
		if t.State != Down {
			t.PID = n.PID
		}
		if known[i] != nil {
			t.Known = new(len(known[i]))
		}
		if n.Kind == Broker {
			t.ID = &n.ID
			for j, ns := range c.Nodes {
				if known[j][memberKey{n.Broker, n.ID}] == n.Addr() {
					t.Registered = append(t.Registered, ns.Name)
				}
			}
		}
		if h := ha[i]; h != nil && n.ID == 0 {
			t.MaxPhysical, t.InSync = &h.MasterLogOffset, &h.InSyncSlaves
		} else if h != nil {
			t.MaxPhysical = &h.Client.MaxOffset
			if end, ok := ends[n.Broker]; ok {
				t.Lag = new(max(end-h.Client.MaxOffset, 0))
			}
		}
		s.Nodes[i] = t
	}
	return s, nil
}

// memberKey is who registers: a name and an id.
type memberKey struct {
	broker string
	id     int64
}

// members asks a NameServer for all brokers, and returns their addresses.
func (k *Control) members(ctx context.Context, ns *Node) (map[memberKey]string, error) {
	body, err := k.ask(ctx, ns, protocol.GetBrokerClusterInfo)
	if err != nil {
		return nil, err
	}
	var info protocol.ClusterInfo
	if err := info.Unmarshal(body); err != nil {
		return nil, err
	}
	m := map[memberKey]string{}
	for name, b := range info.BrokerAddrTable {
		for id, addr := range b.BrokerAddrs {
			m[memberKey{name, id}] = addr
		}
	}
	return m, nil
}

func (k *Control) haStatus(ctx context.Context, n *Node) (*protocol.HARuntimeInfo, error) {
	body, err := k.ask(ctx, n, protocol.GetBrokerHaStatus)
	if err != nil {
		return nil, err
	}
	h := new(protocol.HARuntimeInfo)
	return h, h.Unmarshal(body)
}

// ask sends a request without fields.
func (k *Control) ask(ctx context.Context, n *Node, code int32) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	a, err := k.Invoker.Invoke(ctx, n.Addr(), protocol.NewRequest(code, nil, nil))
	if err != nil {
		return nil, err
	}
	if a.Code != protocol.Success {
		return nil, fmt.Errorf("%s: %w", n.Name, &protocol.Error{Code: a.Code, Remark: a.Remark})
	}
	return a.Body, nil
}

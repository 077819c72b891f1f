// Package client is a small RocketMQ client: what `rocketd send`, `rocketd consume` and `rocketd tail` need, over
// rpc. It sends one message at a time, shares a topic's queues with the other members of its group as Java's clients
// do, and reads the end of a topic without a group. It is not a library for programs; those use the real clients.
package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/rpc"
)

// Config of a Client.
type Config struct {
	Namesrv []string    // addresses, host:port; the first that answers is asked
	Invoker rpc.Invoker // a remoting.Client that hands requests of brokers to Client.OnRequest
	Log     *slog.Logger
}

// Client knows its name servers and its own name. It may be used from several goroutines.
type Client struct {
	cfg     Config
	namesrv *rpc.Namesrv
	broker  *rpc.Broker
	id      string
	keys    *message.UniqKeys
	rebound chan struct{} // holds one: a group of ours has changed
}

var instances atomic.Int32

// New returns a client; it connects when it is used.
func New(cfg Config) *Client {
	n := instances.Add(1)
	ip := localIP()
	return &Client{
		cfg: cfg, namesrv: rpc.NewNamesrv(cfg.Invoker), broker: rpc.NewBroker(cfg.Invoker),
		id:      fmt.Sprintf("%s@%d#%d#%d", ip, os.Getpid(), n, time.Now().UnixNano()),
		keys:    message.NewUniqKeys(ip, n),
		rebound: make(chan struct{}, 1),
	}
}

// OnRequest takes what brokers tell their clients. All that is listened to is that a group has changed.
func (c *Client) OnRequest(call *protocol.Call) {
	if call.Code == protocol.NotifyConsumerIdsChanged {
		select {
		case c.rebound <- struct{}{}:
		default:
		}
	}
}

// ParseAddrs splits a list of name servers as RocketMQ writes it, "host:9876;host2:9876"; commas do as well.
func ParseAddrs(list string) ([]string, error) {
	var all []string
	for _, addr := range strings.FieldsFunc(list, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return nil, fmt.Errorf("name server address %q is not HOST:PORT, for example 127.0.0.1:9876", addr)
		}
		all = append(all, addr)
	}
	if len(all) == 0 {
		return nil, errors.New("no name server address; give one as HOST:PORT, for example 127.0.0.1:9876")
	}
	return all, nil
}

// localIP is an address of this host; it only makes ids unique.
func localIP() netip.Addr {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			ip, _ := netip.AddrFromSlice(n.IP.To4())
			return ip
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

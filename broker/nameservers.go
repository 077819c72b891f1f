package broker

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"rocketd/settings"
)

// nameServers knows the addresses of all NameServers, as one of these says:
//
//   - namesrvAddr, from the file, a flag, NAMESRV_ADDR or an update at run time: "host:9876;host2:9876". With
//     fetchNameSrvAddrByDnsLookup each name stands for all addresses that it resolves to, which are looked up again.
//   - with fetchNamesrvAddrByAddressServer, and no namesrvAddr, a web page: the first line that
//     http://rmqAddressServerDomain/rocketmq/rmqAddressServerSubGroup answers.
//
// What cannot be looked up leaves the list as it was. Source: Java BrokerController.initializeScheduledTasks,
// BrokerOuterAPI, DefaultTopAddressing.
type nameServers struct {
	settings *settings.Settings
	log      *slog.Logger
	lookup   func(ctx context.Context, host string) ([]string, error) // replaces that of net.DefaultResolver

	hurry  chan struct{} // holds one: look at once
	looked chan struct{} // closed when Run has looked once

	mu      sync.Mutex // guards what follows
	list    []string
	changed chan struct{} // closed when the list has become another one
	failing bool
}

// How long a look at names or at the page may take, and how often it is made after a failure.
const (
	lookTimeout = 3 * time.Second
	maxPage     = 64 << 10
)

func newNameServers(s *settings.Settings, log *slog.Logger) *nameServers {
	n := &nameServers{settings: s, log: log, lookup: net.DefaultResolver.LookupHost, hurry: make(chan struct{}, 1), looked: make(chan struct{}), changed: make(chan struct{})}
	s.OnChange("namesrvAddr", n.look)
	return n
}

// look has Run look at once. It never blocks.
func (n *nameServers) look() {
	select {
	case n.hurry <- struct{}{}:
	default:
	}
}

// all returns the addresses of now, and what is closed when there are others.
func (n *nameServers) all() ([]string, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list, n.changed
}

func (n *nameServers) set(list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(list, n.list) {
		return
	}
	n.list = list
	close(n.changed)
	n.changed = make(chan struct{})
}

// splitAddrs takes a list of addresses apart, each of them once.
func splitAddrs(list string) (all []string) {
	for _, a := range strings.FieldsFunc(list, func(c rune) bool { return c == ';' || c == ',' }) {
		if a = strings.TrimSpace(a); a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// Run keeps the list what its source says until the context ends.
func (n *nameServers) Run(ctx context.Context) error {
	for first := true; ; first = false {
		again := n.refresh(ctx)
		if first {
			close(n.looked)
		}
		timer := time.NewTimer(again)
		select {
		case <-timer.C:
		case <-n.hurry:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// refresh looks once, and says when to look again.
func (n *nameServers) refresh(ctx context.Context) (again time.Duration) {
	s := n.settings
	key := splitAddrs(s.String("namesrvAddr"))
	again = max(time.Second, s.Duration("updateNameServerAddrPeriod"))
	var err error
	switch {
	case len(key) > 0 && s.Bool("fetchNameSrvAddrByDnsLookup"):
		key, err = n.resolve(ctx, key)
	case len(key) == 0 && s.Bool("fetchNamesrvAddrByAddressServer"):
		again = max(time.Second, s.Duration("fetchNamesrvAddrInterval"))
		key, err = n.page(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if !n.failing {
			n.log.Warn("cannot look up the name servers; trying on, with those that are known", "err", err)
		}
		again = min(again, retryAfter)
	default:
		n.set(key)
	}
	n.failing = err != nil
	return again
}

// resolve replaces names by all their addresses, in order. A name that cannot be resolved is an error.
func (n *nameServers) resolve(ctx context.Context, addrs []string) (all []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			return nil, err
		}
		ips, err := n.lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		slices.Sort(ips)
		for _, ip := range ips {
			if a := net.JoinHostPort(ip, port); !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all, nil
}

// page asks the address server.
func (n *nameServers) page(ctx context.Context) ([]string, error) {
	s := n.settings
	domain := cmp.Or(s.String("rmqAddressServerDomain"), s.Property("rocketmq.namesrv.domain"), "jmenv.tbsite.net")
	if !strings.Contains(domain, ":") {
		domain += ":8080"
	}
	group := cmp.Or(s.String("rmqAddressServerSubGroup"), s.Property("rocketmq.namesrv.domain.subgroup"), "nsaddr")
	url := "http://" + domain + "/rocketmq/" + group
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxPage))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, res.Status)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	list := splitAddrs(line)
	for _, a := range list {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("%s answers %q, which is no list of addresses: %w", url, line, err)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s answers an empty page", url)
	}
	return list, nil
}

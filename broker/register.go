package broker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/settings"
	"rocketd/topic"
)

// registrar keeps every NameServer told which topics this broker serves: all of them at the start and each period,
// the changed ones at once. NameServers are spoken to in parallel; a dead one delays nobody.
type registrar struct {
	id       identity
	settings *settings.Settings
	live     *live
	topics   *meta.Topics
	namesrv  *rpc.Namesrv
	log      *slog.Logger
	changed  chan struct{} // holds one: there are names in dirty

	mu    sync.Mutex
	dirty map[string]bool
	quiet map[string]bool // NameServers whose last registration failed, and was logged
}

func newRegistrar(id identity, s *settings.Settings, l *live, n *rpc.Namesrv, log *slog.Logger) *registrar {
	return &registrar{id: id, settings: s, live: l, namesrv: n, log: log,
		changed: make(chan struct{}, 1), dirty: make(map[string]bool), quiet: make(map[string]bool)}
}

// mark notes changed topics; Run registers them at once. It never blocks.
func (r *registrar) mark(names []string) {
	r.mu.Lock()
	for _, n := range names {
		r.dirty[n] = true
	}
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// addrs returns the NameServers as configured now; the key may change at run time.
func (r *registrar) addrs() []string {
	var all []string
	for _, a := range strings.FieldsFunc(r.settings.String("namesrvAddr"), func(c rune) bool { return c == ';' || c == ',' }) {
		if a = strings.TrimSpace(a); a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// Run registers until the context ends. Source of the period: Java BrokerController.
func (r *registrar) Run(ctx context.Context) error {
	for {
		period := max(10*time.Second, min(r.settings.Duration("registerNameServerPeriod"), time.Minute))
		next := time.NewTimer(period)
		select {
		case <-next.C:
			r.registerAll(ctx)
		case <-r.changed:
			r.registerChanged(ctx)
		case <-ctx.Done():
			next.Stop()
			return nil
		}
		next.Stop()
	}
}

// registerAll sends the whole table to every NameServer and returns how many took it.
func (r *registrar) registerAll(ctx context.Context) int {
	r.mu.Lock()
	clear(r.dirty)
	r.mu.Unlock()
	configs, version := r.topics.All()
	return r.register(ctx, maps.Clone(configs), version)
}

// registerChanged sends just the changed topics. What was deleted is not mentioned: mqadmin deletes it in the
// NameServer itself, as with Java.
func (r *registrar) registerChanged(ctx context.Context) {
	r.mu.Lock()
	names := slices.Collect(maps.Keys(r.dirty))
	clear(r.dirty)
	r.mu.Unlock()
	configs, version := r.topics.All()
	some := make(map[string]*topic.Config)
	for _, n := range names {
		if c := configs[n]; c != nil {
			some[n] = c
		}
	}
	if len(some) > 0 && r.register(ctx, some, version) < len(r.addrs()) {
		r.registerAll(ctx) // a name server that just started takes nothing but the whole
	}
}

func (r *registrar) register(ctx context.Context, configs map[string]*topic.Config, version protocol.DataVersion) int {
	if p := topic.Perm(r.live.permission.Load()); !p.Readable() || !p.Writable() {
		for name, c := range configs { // the broker's permission cuts that of each topic
			masked := *c
			masked.Perm &= p
			configs[name] = &masked
		}
	}
	body, err := laxjson.Marshal(&protocol.RegisterBrokerBody{
		FilterServerList: []string{},
		TopicConfigSerializeWrapper: protocol.TopicConfigAndMappingSerializeWrapper{
			TopicConfigTable: configs, DataVersion: version,
		},
	})
	if err != nil {
		r.log.Error("cannot encode the topics for registration", "err", err)
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, r.settings.Duration("registerBrokerTimeoutMills"))
	defer cancel()
	var taken sync.Map
	var wg sync.WaitGroup
	addrs := r.addrs()
	for _, addr := range addrs {
		wg.Go(func() {
			res, err := r.namesrv.Register(ctx, addr, &protocol.RegisterBrokerRequest{
				BrokerName: r.id.name, BrokerAddr: r.id.addr.String(), ClusterName: r.id.cluster,
				HaServerAddr: r.id.haAddr.String(), BrokerID: r.id.id,
			}, body)
			r.note(addr, err)
			if err == nil {
				taken.Store(addr, true)
				r.order(res.OrderTopics)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, addr := range addrs {
		if _, ok := taken.Load(addr); ok {
			n++
		}
	}
	return n
}

// note logs when a NameServer stops or begins again to take our registrations.
func (r *registrar) note(addr string, err error) {
	r.mu.Lock()
	was := r.quiet[addr]
	r.quiet[addr] = err != nil
	r.mu.Unlock()
	switch {
	case err != nil && !was:
		r.log.Warn("cannot register with name server; trying on", "addr", addr, "err", err)
	case err == nil && was:
		r.log.Info("registered with name server again", "addr", addr)
	}
}

// order marks the topics that the NameServer's order configuration names. Source: Java
// TopicConfigManager.updateOrderTopicConfig.
func (r *registrar) order(ordered map[string]string) {
	if len(ordered) == 0 {
		return
	}
	configs, _ := r.topics.All()
	var change []*topic.Config
	for name, c := range configs {
		if _, want := ordered[name]; want != c.Order {
			next := *c
			next.Order = want
			change = append(change, &next)
		}
	}
	if len(change) == 0 {
		return
	}
	if err := r.topics.Put(change...); err != nil {
		r.log.Error("cannot store the order configuration", "err", err)
	}
}

// leave unregisters from every NameServer, for a planned stop.
func (r *registrar) leave(ctx context.Context) {
	var wg sync.WaitGroup
	for _, addr := range r.addrs() {
		wg.Go(func() {
			err := r.namesrv.Unregister(ctx, addr, &protocol.UnRegisterBrokerRequest{
				BrokerName: r.id.name, BrokerAddr: r.id.addr.String(), ClusterName: r.id.cluster, BrokerID: r.id.id,
			})
			if err != nil {
				r.log.Warn("cannot unregister from name server", "addr", addr, "err", err)
			}
		})
	}
	wg.Wait()
}

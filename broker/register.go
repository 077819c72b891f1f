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
// the changed ones at once. Each NameServer has a teller of its own, so that a dead or slow one delays nobody else.
type registrar struct {
	id       identity
	settings *settings.Settings
	live     *live
	topics   *meta.Topics
	namesrv  *rpc.Namesrv
	log      *slog.Logger

	mu      sync.Mutex
	tellers map[string]*teller // by address; kept in step with the configuration by Run
}

// teller speaks to one NameServer.
type teller struct {
	*registrar
	addr  string
	wake  chan struct{} // holds one: there are names in dirty
	tried chan struct{} // closed after the first attempt
	stop  context.CancelFunc

	mu    sync.Mutex
	dirty map[string]bool
	known bool // the NameServer took the whole table once, and everything since
}

// retryAfter is how soon a NameServer that failed is tried again.
const retryAfter = 5 * time.Second

func newRegistrar(id identity, s *settings.Settings, l *live, log *slog.Logger) *registrar {
	return &registrar{id: id, settings: s, live: l, log: log, tellers: make(map[string]*teller)}
}

// mark notes changed topics; they are registered at once. It never blocks.
func (r *registrar) mark(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tellers {
		t.mark(names)
	}
}

func (t *teller) mark(names []string) {
	t.mu.Lock()
	for _, n := range names {
		t.dirty[n] = true
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
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

// Run keeps one teller per configured NameServer until the context ends. ready is called once, when each of them was
// tried or firstRound is over, with the number of those that know us.
func (r *registrar) Run(ctx context.Context, ready func(registered int)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	look := time.NewTicker(time.Second) // the list may change at run time
	defer look.Stop()
	for first := true; ; first = false {
		r.follow(ctx, &wg)
		if first {
			ready(r.firstRound(ctx))
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow starts and stops tellers as the configuration wants.
func (r *registrar) follow(ctx context.Context, wg *sync.WaitGroup) {
	addrs := r.addrs()
	r.mu.Lock()
	defer r.mu.Unlock()
	for addr, t := range r.tellers {
		if !slices.Contains(addrs, addr) {
			t.stop()
			delete(r.tellers, addr)
		}
	}
	for _, addr := range addrs {
		if r.tellers[addr] != nil {
			continue
		}
		t := &teller{registrar: r, addr: addr, wake: make(chan struct{}, 1), tried: make(chan struct{}), dirty: make(map[string]bool)}
		life, stop := context.WithCancel(ctx)
		t.stop = stop
		r.tellers[addr] = t
		wg.Go(func() { t.run(life) })
	}
}

// firstRound waits until every NameServer was tried, but not for long.
func (r *registrar) firstRound(ctx context.Context) (registered int) {
	enough, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.tellers))
	r.mu.Unlock()
	for _, t := range all {
		select {
		case <-t.tried:
			t.mu.Lock()
			if t.known {
				registered++
			}
			t.mu.Unlock()
		case <-enough.Done():
		}
	}
	return registered
}

// run registers until the context ends. Source of the period: Java BrokerController.
func (t *teller) run(ctx context.Context) {
	err := t.whole(ctx)
	close(t.tried)
	failed := t.note(ctx, err, false)
	for {
		wait := max(10*time.Second, min(t.settings.Duration("registerNameServerPeriod"), time.Minute))
		if failed {
			wait = retryAfter
		}
		next := time.NewTimer(wait)
		select {
		case <-next.C:
			err = t.whole(ctx)
		case <-t.wake:
			err = t.changed(ctx)
		case <-ctx.Done():
			next.Stop()
			return
		}
		next.Stop()
		failed = t.note(ctx, err, failed)
	}
}

// note logs when registration begins to fail, and when it succeeds again. It returns whether err is a failure.
func (t *teller) note(ctx context.Context, err error, failed bool) bool {
	switch {
	case ctx.Err() != nil: // we are stopping
	case err != nil && !failed:
		t.log.Warn("cannot register with name server; trying on", "addr", t.addr, "err", err)
	case err == nil && failed:
		t.log.Info("registered with name server", "addr", t.addr)
	}
	return err != nil
}

// whole registers all topics.
func (t *teller) whole(ctx context.Context) error {
	t.mu.Lock()
	clear(t.dirty)
	t.mu.Unlock()
	configs, version := t.topics.All()
	return t.register(ctx, configs, version)
}

// changed registers just the changed topics. What was deleted is not mentioned: mqadmin deletes it in the NameServer
// itself, as with Java.
func (t *teller) changed(ctx context.Context) error {
	t.mu.Lock()
	names := slices.Collect(maps.Keys(t.dirty))
	clear(t.dirty)
	known := t.known
	t.mu.Unlock()
	if !known {
		return t.whole(ctx)
	}
	configs, version := t.topics.All()
	some := make(map[string]*topic.Config)
	for _, n := range names {
		if c := configs[n]; c != nil {
			some[n] = c
		}
	}
	if len(some) == 0 {
		return nil
	}
	if t.register(ctx, some, version) == nil {
		return nil
	}
	return t.whole(ctx) // a name server that just started takes nothing but the whole
}

func (t *teller) register(ctx context.Context, configs map[string]*topic.Config, version protocol.DataVersion) (err error) {
	defer func() {
		t.mu.Lock()
		t.known = err == nil
		t.mu.Unlock()
	}()
	body, err := laxjson.Marshal(&protocol.RegisterBrokerBody{
		FilterServerList: []string{},
		TopicConfigSerializeWrapper: protocol.TopicConfigAndMappingSerializeWrapper{
			TopicConfigTable: t.live.mask(configs), DataVersion: version,
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.settings.Duration("registerBrokerTimeoutMills"))
	defer cancel()
	res, err := t.namesrv.Register(ctx, t.addr, &protocol.RegisterBrokerRequest{
		BrokerName: t.id.name, BrokerAddr: t.id.addr.String(), ClusterName: t.id.cluster,
		HaServerAddr: t.id.haAddr.String(), BrokerID: t.id.id,
	}, body)
	if err != nil {
		return err
	}
	t.order(res.OrderTopics)
	return nil
}

// mask cuts the permission of each topic by the broker's, where that is not read and write.
func (l *live) mask(configs map[string]*topic.Config) map[string]*topic.Config {
	p := topic.Perm(l.permission.Load())
	if p.Readable() && p.Writable() {
		return configs
	}
	masked := make(map[string]*topic.Config, len(configs))
	for name, c := range configs {
		cut := *c
		cut.Perm &= p
		masked[name] = &cut
	}
	return masked
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

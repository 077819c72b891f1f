package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

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
	mappings *meta.Mappings
	servers  *nameServers
	namesrv  *rpc.Namesrv
	acting   bool   // enableSlaveActingMaster: signs of life each second
	watches  bool   // who else is in the set is asked each second
	heard    func() // bell: a NameServer has said where the master is, or who is in the set; nil is nobody
	log      *slog.Logger

	mu      sync.Mutex
	tellers map[string]*teller // by address; kept in step with the list of NameServers by Run
}

// retryAfter is how soon a NameServer that failed is tried again.
const retryAfter = 5 * time.Second

func newRegistrar(id identity, s *settings.Settings, l *live, log *slog.Logger) *registrar {
	acting := s.Bool("enableSlaveActingMaster")
	return &registrar{id: id, acting: acting, watches: acting || id.id != 0 || s.Bool("lockInStrictMode"), settings: s, live: l, servers: newNameServers(s, log), log: log, tellers: make(map[string]*teller)}
}

// mark notes changed topics; they are registered at once. It never blocks.
func (r *registrar) mark(names []string) {
	for _, t := range r.all() {
		t.mark(names)
	}
}

// all returns the tellers of now.
func (r *registrar) all() []*teller {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.tellers))
}

// Run keeps one teller per NameServer until the context ends. ready is called once, when each of them was tried or
// firstRound is over, with the number of those that know us.
func (r *registrar) Run(ctx context.Context, ready func(registered int)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	r.await(ctx)
	for first := true; ; first = false {
		addrs, changed := r.servers.all()
		r.follow(ctx, &wg, addrs)
		if first {
			ready(r.firstRound(ctx))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// await waits until the NameServers were looked up once, but not for long.
func (r *registrar) await(ctx context.Context) {
	enough, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	select {
	case <-r.servers.looked:
	case <-enough.Done():
	}
}

// follow starts and stops tellers as the list wants.
func (r *registrar) follow(ctx context.Context, wg *sync.WaitGroup, addrs []string) {
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
		t := &teller{registrar: r, addr: addr, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), tried: make(chan struct{}), dirty: make(map[string]bool)}
		life, stop := context.WithCancel(ctx)
		t.stop = stop
		r.tellers[addr] = t
		wg.Go(func() { t.run(life) })
		if r.watches {
			wg.Go(func() { t.beat(life) })
		}
	}
}

// firstRound waits until every NameServer was tried, but not for long.
func (r *registrar) firstRound(ctx context.Context) (registered int) {
	enough, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for _, t := range r.all() {
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

// place is where a master is: the address of its remoting port, and where it ships its log.
type place struct{ addr, ha string }

// master returns where the NameServers say that the master of this slave is. As long as one of them says that it is
// where it was, it is there; where none of them knows one, it is taken to come back.
func (r *registrar) master(was place) place {
	var found place
	for _, t := range r.all() {
		t.mu.Lock()
		p := t.master
		t.mu.Unlock()
		if p == was && p.addr != "" {
			return was
		}
		if p.addr != "" && (found.addr == "" || p.addr < found.addr) {
			found = p
		}
	}
	if found.addr == "" {
		return was
	}
	return found
}

// members returns who is in this broker's set according to any NameServer that has answered lately; ok is false if none
// has.
func (r *registrar) members(now time.Time) (members map[int64]string, ok bool) {
	members = make(map[int64]string)
	for _, t := range r.all() {
		t.mu.Lock()
		if now.Sub(t.looked) < memberLife {
			ok = true
			maps.Copy(members, t.members)
		}
		t.mu.Unlock()
	}
	return members, ok
}

// errNoServer says that there is no NameServer to ask.
var errNoServer = errors.New("no name server is configured")

// askRest is how long the other NameServers are waited for when one has answered.
const askRest = 500 * time.Millisecond

// ask asks all NameServers at once who is in this broker's set, before it registers, and puts together what those say
// that answer soon. It fails if none answers.
func (r *registrar) ask(ctx context.Context) (map[int64]string, error) {
	r.await(ctx)
	addrs, _ := r.servers.all()
	if len(addrs) == 0 {
		return nil, errNoServer
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	type answer struct {
		members map[int64]string
		err     error
	}
	answers := make(chan answer, len(addrs))
	var wg sync.WaitGroup
	for _, addr := range addrs {
		wg.Go(func() {
			m, err := r.namesrv.Members(ctx, addr, r.id.cluster, r.id.name)
			answers <- answer{m, err}
		})
	}
	defer wg.Wait()
	defer cancel()
	members := make(map[int64]string)
	var failures []error
	var enough <-chan time.Time
	for n := range addrs {
		select {
		case a := <-answers:
			if a.err != nil {
				failures = append(failures, a.err)
				break
			}
			maps.Copy(members, a.members)
			if enough == nil {
				enough = time.After(askRest)
			}
		case <-enough:
			return members, nil
		}
		if n == len(addrs)-1 && enough == nil {
			return nil, errors.Join(failures...)
		}
	}
	return members, nil
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

// order marks the topics that the NameServer's order configuration names; a slave has it from its master. Source: Java
// TopicConfigManager.updateOrderTopicConfig.
func (r *registrar) order(ordered map[string]string) {
	if len(ordered) == 0 || r.id.id != 0 {
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

// wipe takes the write permission of the set's topics away at every NameServer, so that producers go elsewhere.
func (r *registrar) wipe(ctx context.Context) {
	r.each(ctx, "take the write permission away", func(ctx context.Context, addr string) error {
		return r.namesrv.SetWritable(ctx, addr, r.id.name, false)
	})
}

// leave unregisters from every NameServer, for a planned stop.
func (r *registrar) leave(ctx context.Context) {
	r.each(ctx, "unregister", func(ctx context.Context, addr string) error {
		return r.namesrv.Unregister(ctx, addr, &protocol.UnRegisterBrokerRequest{
			BrokerName: r.id.name, BrokerAddr: r.id.addr.String(), ClusterName: r.id.cluster, BrokerID: r.id.id,
		})
	})
}

// each does something at once at every NameServer that has ever taken a registration. Another one has nothing of us, or
// will learn of it by the end of the connection.
func (r *registrar) each(ctx context.Context, what string, do func(ctx context.Context, addr string) error) {
	var wg sync.WaitGroup
	for _, t := range r.all() {
		t.mu.Lock()
		took := t.took
		t.mu.Unlock()
		if !took {
			continue
		}
		wg.Go(func() {
			if err := do(ctx, t.addr); err != nil {
				r.log.Warn("a name server did not take a farewell", "what", what, "addr", t.addr, "err", err)
			}
		})
	}
	wg.Wait()
}

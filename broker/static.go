package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/rpc"
	"rocketd/topic"
)

// openMappings opens what this broker knows of static topics.
func (b *Broker) openMappings(dir string) (err error) {
	log := b.component("topics")
	if b.mappings, err = meta.OpenMappings(meta.Config{FS: b.cfg.FS, Dir: dir, Log: log}); err != nil {
		return err
	}
	b.registrar.mappings = b.mappings
	all, _ := b.mappings.All()
	for name, m := range all {
		if m.Broker != b.id.name {
			log.Warn("a static topic has the mapping of another broker (brokerName)", "topic", name, "broker", m.Broker)
		}
	}
	return nil
}

// newElsewhere is what services ask other brokers with: for a part of a static topic, for a message that was popped there.
func (b *Broker) newElsewhere() *rpc.Elsewhere {
	f := &masters{ask: b.registrar.membersOf, now: time.Now, known: make(map[string]found)}
	return rpc.NewElsewhere(b.outgoing, f.addr, func() time.Duration { return b.cfg.Settings.Duration("forwardTimeout") })
}

// forward is offload for a call that waits for another broker: such calls have a pool of their own, so that a broker that does not
// answer hinders nothing else. That it could not be asked is answered, and no mistake of ours that is logged with each call.
func (b *Broker) forward(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error) {
	b.others.Offload(c, answered(func(ctx context.Context, c *protocol.Call) error {
		err := run(ctx, c)
		var known *protocol.Error
		if err != nil && !errors.As(err, &known) {
			err = protocol.Errorf(protocol.SystemError, "%v", err)
		}
		return err
	}))
}

// infos is what NameServers are told of the static ones among some topics.
func (r *registrar) infos(configs map[string]*topic.Config) map[string]topic.MappingInfo {
	infos := make(map[string]topic.MappingInfo)
	all, _ := r.mappings.All()
	for name, m := range all {
		if configs[name] != nil {
			infos[name] = m.Info()
		}
	}
	return infos
}

// membersOf asks the NameServers, one after the other until one knows it, where the brokers of a name are.
func (r *registrar) membersOf(ctx context.Context, name string) (members map[int64]string, err error) {
	addrs, _ := r.servers.all()
	err = errNoServer
	for _, addr := range addrs {
		one, cancel := context.WithTimeout(ctx, lookTimeout)
		members, err = r.namesrv.Members(one, addr, r.id.cluster, name)
		cancel()
		if err == nil && len(members) > 0 {
			return members, nil
		}
	}
	return nil, err
}

// masters remembers where the masters of other sets are.
type masters struct {
	ask func(ctx context.Context, name string) (map[int64]string, error)
	now func() time.Time

	mu    sync.Mutex // guards what follows
	known map[string]found
}

type found struct {
	addr string
	at   time.Time
}

// masterAge is how long a place is believed.
const masterAge = 5 * time.Second

// addr returns the address of the master of a name, or of who stands for it. While no NameServer answers, it is where it was.
func (f *masters) addr(ctx context.Context, name string) (string, error) {
	f.mu.Lock()
	was := f.known[name]
	f.mu.Unlock()
	if was.addr != "" && f.now().Sub(was.at) < masterAge {
		return was.addr, nil
	}
	members, err := f.ask(ctx, name)
	switch {
	case err != nil && was.addr == "":
		return "", fmt.Errorf("no name server says where it is: %w", err)
	case err == nil && len(members) == 0:
		return "", fmt.Errorf("no name server knows it")
	case err == nil:
		was.addr = leastOf(members)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[name] = found{was.addr, f.now()}
	return was.addr, nil
}

// leastOf returns the address of the least id.
func leastOf(members map[int64]string) (addr string) {
	least := int64(-1)
	for id, a := range members {
		if least < 0 || id < least {
			least, addr = id, a
		}
	}
	return addr
}

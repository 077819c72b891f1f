package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// teller speaks to one NameServer.
type teller struct {
	*registrar
	addr  string
	wake  chan struct{} // holds one: there are names in dirty
	hurry chan struct{} // holds one: beat is to look at once
	tried chan struct{} // closed after the first attempt
	stop  context.CancelFunc

	mu        sync.Mutex // guards what follows
	dirty     map[string]bool
	took      bool             // the NameServer took a registration once
	known     bool             // it took the whole table, and everything since
	objection string           // what it says against us: somebody else has, or wants, our name and id
	master    place            // what it said to us as a slave
	members   map[int64]string // whom it knew in the set
	looked    time.Time        // when
}

// memberLife is how long the answer of a NameServer about the set is believed.
const memberLife = 10 * time.Second

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

// look has beat look at once. It never blocks.
func (t *teller) look() {
	select {
	case t.hurry <- struct{}{}:
	default:
	}
}

// run registers until the context ends. Source of the period: Java BrokerController.
func (t *teller) run(ctx context.Context) {
	err := t.whole(ctx)
	close(t.tried)
	failed := t.note(ctx, err, false)
	for {
		wait := max(10*time.Second, min(t.settings.Duration("registerNameServerPeriod"), time.Minute))
		if failed || t.contested() {
			wait = retryAfter
		}
		next := time.NewTimer(wait)
		select {
		case <-next.C:
			err = t.due(ctx)
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

// contested tells whether somebody else has our name and id at this NameServer.
func (t *teller) contested() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.objection != ""
}

// due registers all topics; without forceRegister, only if the NameServer knows another version of them.
func (t *teller) due(ctx context.Context) error {
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	if known && !t.settings.Bool("forceRegister") {
		_, version := t.topics.All()
		if changed, err := t.alive(ctx, version); err == nil && !changed {
			return nil
		}
	}
	return t.whole(ctx)
}

// alive is a sign of life; it says whether the NameServer knows another version of the topics.
func (t *teller) alive(ctx context.Context, version protocol.DataVersion) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(time.Millisecond, t.settings.Duration("sendHeartbeatTimeoutMillis")))
	defer cancel()
	return t.namesrv.DataVersion(ctx, t.addr, &protocol.QueryDataVersionRequest{
		BrokerName: t.id.name, BrokerAddr: t.id.addr.String(), ClusterName: t.id.cluster, BrokerID: t.id.id,
	}, version)
}

// whole registers all topics.
func (t *teller) whole(ctx context.Context) error {
	t.mu.Lock()
	clear(t.dirty)
	t.mu.Unlock()
	configs, version := t.topics.All()
	if t.settings.Bool("enableSplitRegistration") {
		return t.parts(ctx, configs, version)
	}
	return t.register(ctx, configs, version)
}

// maxRegistration is the longest body of a registration that a NameServer lets through, bytes.
const maxRegistration = protocol.MaxFrame - 64<<10

// partSize is how many topics go into one of several registrations.
func (t *teller) partSize() int { return max(2, t.settings.Int("splitRegistrationSize")) }

// parts registers topics in several requests. The last one is never a single topic: a NameServer that forgot us
// meanwhile would refuse that. Source: Java BrokerController.registerBrokerAll.
func (t *teller) parts(ctx context.Context, configs map[string]*topic.Config, version protocol.DataVersion) error {
	size := t.partSize()
	names := slices.Sorted(maps.Keys(configs))
	for {
		n := min(size, len(names))
		if len(names) == n+1 {
			n++
		}
		part := make(map[string]*topic.Config, n)
		for _, name := range names[:n] {
			part[name] = configs[name]
		}
		if err := t.register(ctx, part, version); err != nil {
			return err
		}
		if names = names[n:]; len(names) == 0 {
			return nil
		}
	}
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
	register := t.register
	if t.id.id == 0 && len(t.infos(some)) == 0 && t.settings.Bool("enableSingleTopicRegister") {
		register = t.singly
	}
	if register(ctx, some, version) == nil {
		return nil
	}
	return t.whole(ctx) // a name server that just started takes nothing but the whole
}

// singly registers plain topics one by one. A NameServer with deleteTopicWithBrokerRegistration takes what is in a registration for
// all that there is. Source: Java BrokerController.registerSingleTopicAll.
func (t *teller) singly(ctx context.Context, configs map[string]*topic.Config, _ protocol.DataVersion) error {
	for name, c := range t.live.mask(configs) {
		one, cancel := context.WithTimeout(ctx, t.settings.Duration("registerBrokerTimeoutMills"))
		err := t.namesrv.RegisterTopic(one, t.addr, name, protocol.QueueData{
			BrokerName: t.id.name, Perm: int32(c.Perm), ReadQueueNums: c.ReadQueueNums, WriteQueueNums: c.WriteQueueNums, TopicSysFlag: c.SysFlag,
		})
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// register registers topics in one request; so many that no NameServer would take it, in several.
func (t *teller) register(ctx context.Context, configs map[string]*topic.Config, version protocol.DataVersion) (err error) {
	defer func() {
		t.mu.Lock()
		t.known = err == nil
		t.took = t.took || t.known
		t.mu.Unlock()
	}()
	body, err := laxjson.Marshal(&protocol.RegisterBrokerBody{
		FilterServerList: []string{},
		TopicConfigSerializeWrapper: protocol.TopicConfigAndMappingSerializeWrapper{
			TopicConfigTable: t.live.mask(configs), DataVersion: version, TopicQueueMappingInfoMap: t.infos(configs),
		},
	})
	if err != nil {
		return err
	}
	if len(body) > maxRegistration && len(configs) > t.partSize()+1 {
		return t.parts(ctx, configs, version)
	}
	ctx, cancel := context.WithTimeout(ctx, t.settings.Duration("registerBrokerTimeoutMills"))
	defer cancel()
	req := protocol.RegisterBrokerRequest{
		BrokerName: t.id.name, BrokerAddr: t.id.addr.String(), ClusterName: t.id.cluster,
		HaServerAddr: t.id.haAddr.String(), BrokerID: t.id.id, EnableActingMaster: protocol.Some(t.acting),
	}
	if t.acting {
		req.HeartbeatTimeoutMillis = protocol.Some(t.settings.Int64("brokerNotActiveTimeoutMillis"))
	}
	res, err := t.namesrv.Register(ctx, t.addr, &req, t.settings.Zone(), body)
	if err != nil {
		return err
	}
	t.object(res.Objection)
	t.order(res.OrderTopics)
	t.mu.Lock()
	t.master = place{res.MasterAddr, res.HaServerAddr}
	t.mu.Unlock()
	if t.heard != nil {
		t.heard()
	}
	return nil
}

// object takes up what the NameServer says against us.
func (t *teller) object(objection string) {
	t.mu.Lock()
	before := t.objection
	t.objection = objection
	t.mu.Unlock()
	switch {
	case objection == before:
	case objection != "":
		t.log.Error("two brokers have one name and id (brokerName, brokerId); change it for one of them", "namesrv", t.addr, "says", objection)
	default:
		t.log.Info("this broker alone has its name and id again", "namesrv", t.addr)
	}
}

// beat asks each second who is in the set, until the context ends, and with an acting master gives a sign of life. A
// NameServer that does not know us, or has another master for us than the one it told, gets the whole registration: its
// answer tells a slave where its master is. Source: Java BrokerController.sendHeartbeat, syncBrokerMemberGroup; a Java
// slave waits for the next registration to hear of a new master.
func (t *teller) beat(ctx context.Context) {
	select {
	case <-t.tried:
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(max(100*time.Millisecond, min(t.settings.Duration("brokerHeartbeatInterval"), t.settings.Duration("syncBrokerMemberGroupPeriod"))))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.hurry:
		case <-ctx.Done():
			return
		}
		if t.acting {
			t.pulse(ctx)
		}
		ask, cancel := context.WithTimeout(ctx, lookTimeout)
		members, err := t.namesrv.Members(ask, t.addr, t.id.cluster, t.id.name)
		cancel()
		if err != nil {
			continue
		}
		t.mu.Lock()
		t.members, t.looked = members, time.Now()
		news := members[t.id.id] == "" || t.id.id != 0 && members[0] != "" && members[0] != t.master.addr
		t.known = t.known && !news
		t.mu.Unlock()
		if news {
			t.mark(nil)
		}
		if t.heard != nil {
			t.heard()
		}
	}
}

// pulse is the sign of life alone: request 322, which name servers of old know, or 904.
func (t *teller) pulse(ctx context.Context) {
	var err error
	if t.settings.Bool("compatibleWithOldNameSrv") {
		_, version := t.topics.All()
		_, err = t.alive(ctx, version)
	} else {
		one, cancel := context.WithTimeout(ctx, max(time.Millisecond, t.settings.Duration("sendHeartbeatTimeoutMillis")))
		defer cancel()
		err = t.namesrv.Heartbeat(one, t.addr, &protocol.BrokerHeartbeatRequest{
			ClusterName: t.id.cluster, BrokerAddr: t.id.addr.String(), BrokerName: t.id.name, BrokerID: protocol.Some(t.id.id),
		})
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		t.log.Debug("no heartbeat to name server", "addr", t.addr, "err", err)
	}
}

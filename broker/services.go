package broker

import (
	"context"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"
	"time"

	"rocketd/clientmgr"
	"rocketd/cold"
	"rocketd/delay"
	"rocketd/dispatch"
	"rocketd/internal/rungroup"
	"rocketd/longpoll"
	"rocketd/manage"
	"rocketd/member"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/pull"
	"rocketd/put"
	"rocketd/query"
	"rocketd/rpc"
	"rocketd/send"
	"rocketd/stats"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// maxFurther is for how many further queues of a message (INNER_MULTI_DISPATCH) the room in a file is counted.
const maxFurther = 64

// system says which topics this broker makes for itself.
func (b *Broker) system() meta.System {
	s := b.cfg.Settings
	sys := meta.System{
		Cluster: b.id.cluster, Broker: b.id.name,
		AutoCreateTopic: s.Bool("autoCreateTopicEnable"),
		DefaultQueues:   int32(s.Int("defaultTopicQueueNums")),
		ClusterTopic:    s.Bool("clusterTopicEnable"),
		BrokerTopic:     s.Bool("brokerTopicEnable"),
		ReviveQueues:    int32(s.Int("reviveQueueNum")),
		TimerWheel:      s.Bool("timerWheelEnable"),
	}
	if s.Bool("traceTopicEnable") {
		sys.TraceTopic = s.String("msgTraceTopicName")
	}
	return sys
}

// ensureSystem creates the system's topics and groups that are missing.
func (b *Broker) ensureSystem() error {
	if err := b.topics.Ensure(b.system().Topics()...); err != nil {
		return err
	}
	return b.groups.Ensure(meta.SystemGroups()...)
}

// buildServices makes the services and introduces them to each other. The bells hang here.
func (b *Broker) buildServices() error {
	s := b.cfg.Settings
	b.board = stats.NewBoard(time.Now())
	b.registrar.topics, b.registrar.namesrv = b.topics, rpc.NewNamesrv(b.outgoing)
	s.OnChange("brokerPermission", func() { // it cuts the permission of every topic
		configs, _ := b.topics.All()
		b.registrar.mark(slices.Collect(maps.Keys(configs)))
	})

	b.refuges = newRefuges(b)
	b.clients = clientmgr.New(func(t *protocol.Turn, group string, peers []protocol.Peer) {
		b.member.Notify(t, group, peers)
	})
	b.put = put.New(put.Config{
		Log:          b.store,
		Elsewhere:    b.elsewhere(),
		SyncFlush:    b.syncFlush,
		FlushTimeout: s.Duration("syncFlushTimeout"),
		Replicas:     b.replicas(),
		SlaveTimeout: s.Duration("slaveTimeout"),
		MaxGroup:     b.store.FileSize() - message.BlankSize - int64(store.LateRoom(maxFurther)),
		Grew:         b.grew,
		Revealed:     b.wakeAll,
		Stored:       b.stored,
	})
	b.followCopies()
	ids := message.NewUniqKeys(b.id.addr.Addr(), int32(crc32.ChecksumIEEE([]byte(b.id.addr.String()))))
	b.send = send.New(send.Config{
		Topics: topics{b}, Groups: b.groups, Queues: b.store, Mappings: b.mappings,
		Offload:        b.offload,
		Again:          b.again,
		Resume:         b.resume,
		Locked:         b.clients.Locks.Held,
		SentBack:       func(topic, group string) { b.board.Item(stats.SendBackNums, topic, group).Add(1) },
		DelayLevels:    b.levels,
		MaxMessageSize: func() int { return int(b.live.maxMessageSize.Load()) },
		StoreHost:      func() netip.AddrPort { return b.id.addr },
		Cluster:        b.id.cluster,
		Broker:         b.id.name,
		Region:         b.id.region,
		Timers:         b.timing(),
		Recalls:        b.recalls(),
		TraceOn:        s.Bool("traceOn"),
		Writable:       b.live.writable,
		Slave:          b.isSlave,
		ActingMaster:   s.Bool("enableSlaveActingMaster"),
		RejectHalf:     func() bool { return s.Bool("rejectTransactionMessage") },
		PropCRC:        s.Bool("enabledAppendPropCRC"),
		NewID:          func() []byte { return ids.Append(nil, time.Now()) },
		Failed:         func() { b.board.PutFailed.Add(1) },
		StartAt:        s.Int64("startAcceptSendRequestTimeStamp"),
		Replies: send.Replies{
			Push: func(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error) {
				b.replies.Offload(c, answered(run))
			},
			Producer: b.clients.Producers.Find,
			Keep:     func() bool { return s.Bool("storeReplyMessageEnable") },
		},
		LightFull: b.lightFull,
	})
	b.cold = cold.New(cold.Config{Enabled: b.live.coldControl.Load, Threshold: b.live.coldGroup.Load, Global: b.live.coldGlobal.Load})
	b.delay = delay.New(delay.Config{
		Store: b.store, Levels: b.levels, Progress: b.carried.DelayOffsets,
		NewCourier: func() delay.Courier { return b.put.NewCourier() },
		Interval:   s.Duration("flushDelayOffsetInterval"),
		Log:        b.component("delay"),
	})
	b.duties.parts = append(b.duties.parts, rungroup.Part{Name: "delay", Run: b.delay.Run})
	b.transactions = b.newTransactions()
	b.broadcasts = offset.NewBroadcast(b.offsets)
	b.sets = b.newElsewhere()
	b.pull = pull.New(pull.Config{
		Topics: b.topics, Groups: groups{b}, Queues: b.store, Clients: b.clients.Consumers, Offsets: b.offsets,
		Mappings: b.mappings, Elsewhere: b.sets, Forward: b.forward,
		Offload:         b.offload,
		Again:           b.again,
		Got:             b.got,
		Missed:          func() { b.board.GetMiss.Add(1) },
		Cold:            b.cold,
		Broadcasts:      b.broadcasts,
		Broadcasting:    b.live.broadcasts.Load,
		Place:           func() pull.Place { return *b.place.Load() },
		MayWant:         b.mayWant(),
		PropertyFilter:  s.Bool("enablePropertyFilter"),
		Readable:        b.live.readable,
		LitePullEnabled: b.live.litePull.Load,
		LongPolling:     b.live.longPolling.Load,
		ShortPolling:    b.live.shortPoll,
	})
	b.room = longpoll.New[*consumequeue.Queue](longpoll.Config[pull.Waiter]{Answer: b.pull.Answer}, time.Now())
	b.pull.UseRoom(b.room)
	if err := b.openPop(); err != nil {
		return err
	}
	b.openLite()
	b.query = query.New(query.Config{Topics: b.topics, Groups: b.groups, Store: b.store, Offsets: b.offsets,
		Offload: b.offload, Mappings: b.mappings, Elsewhere: b.sets, Forward: b.forward})
	b.keys = query.NewKeys(query.KeysConfig{Index: b.index, Store: b.store, Offload: b.offload})
	b.member = member.New(member.Config{
		Topics: b.topics, Groups: groups{b}, Clients: b.clients, Offload: b.offload,
		Resume:     b.resume,
		RejectPull: b.live.rejectPull.Load, Notifies: b.live.notifyGroups.Load, PropertyFilter: s.Bool("enablePropertyFilter"), Set: others{b},
		Broker: b.id.name, Routes: newRoutes(b), Modes: meta.NewRequestModes(b.carried.RequestModes), Balance: b.balance,
	})
	var own []string
	for _, c := range b.system().Topics() {
		own = append(own, c.Name)
	}
	b.manage = manage.New(manage.Config{
		Cluster: b.id.cluster, Broker: b.id.name, Addr: b.id.addr.String(),
		Topics: b.topics, Mappings: b.mappings, Groups: b.groups, Offsets: b.offsets, Carried: b.carried, Clients: b.clients, Stats: b.board,
		Store: b.store, Settings: s, Runtime: manage.Runtime{Started: time.Now(), FS: b.cfg.FS, CommitLogDirs: newDirs(s).commitLogs(), QueueDir: newDirs(s).root, Pool: func() int { return b.table.Waiting() }, Timers: b.timerStatus, Delays: b.delay.Offsets}, SystemTopics: own, Cold: b.cold,
		Reset:    func(q *consumequeue.Queue) { b.grew(nil, q) },
		Deleting: b.lite.Deleting,
		HA:       b.haStatus,
	})
	b.others = dispatch.New(dispatch.Config{Log: b.component("requests")}, nil)
	b.replies = dispatch.New(dispatch.Config{Queue: s.Int("replyThreadPoolQueueCapacity"), Log: b.component("requests")}, nil)
	b.table = dispatch.New(dispatch.Config{
		Log:    b.component("requests"),
		Closed: b.closedPeer,
	}, b.rows())
	return nil
}

// elsewhere is where what put is given goes on a slave, whose log takes nothing but what its master has, whoever acts for the
// master; nil on a master.
func (b *Broker) elsewhere() func(context.Context, [][]byte) (int, error) {
	if b.isSlave() {
		return b.escape
	}
	return nil
}

// wakeAll lets every held request look again.
func (b *Broker) wakeAll() {
	for _, name := range b.store.Topics() {
		for _, q := range b.store.Queues(name) {
			b.room.Wake(nil, q)
		}
		b.lite.Grew(nil, name)
	}
	b.pop.RingAll()
}

// closedPeer forgets a connection everywhere.
func (b *Broker) closedPeer(t *protocol.Turn, p protocol.Peer) {
	b.room.Closed(p)
	b.popRoom.Closed(p)
	b.liteRoom.Closed(p)
	b.clients.Closed(t, p)
}

// offload hands a call of the turn to the pool; run answers it, or returns the error to answer.
func (b *Broker) offload(c *protocol.Call, run func(ctx context.Context, c *protocol.Call) error) {
	b.table.Offload(c, answered(run))
}

func answered(run func(ctx context.Context, c *protocol.Call) error) dispatch.PoolHandler {
	return func(ctx context.Context, c *protocol.Call) (*dispatch.Reply, error) {
		return dispatch.Answered, run(ctx, c)
	}
}

// resume runs the rest of a call of the pool in a turn of its peer.
func (b *Broker) resume(c *protocol.Call, run func(c *protocol.Call) error) { b.table.Resume(c, run) }

func (b *Broker) again(c *protocol.Call) { b.table.Again(c) }

func (b *Broker) stored(q *consumequeue.Queue, records, bytes int) {
	b.board.Put.Add(int64(records))
	b.board.PutBytes.Add(int64(bytes))
	b.board.Item(stats.TopicPutNums, q.Topic(), "").Add(int64(records))
	b.board.Item(stats.TopicPutSize, q.Topic(), "").Add(int64(bytes))
	b.board.Item(stats.BrokerPutNums, b.id.cluster, "").Add(int64(records))
}

func (b *Broker) got(group, name string, messages, bytes int) {
	b.board.GetFound.Add(1)
	b.board.GetMessages.Add(int64(messages))
	b.board.GetBytes.Add(int64(bytes))
	b.board.Item(stats.GroupGetNums, name, group).Add(int64(messages))
	b.board.Item(stats.GroupGetSize, name, group).Add(int64(bytes))
	b.board.Item(stats.BrokerGetNums, b.id.cluster, "").Add(int64(messages))
}

// topics is the table of topics with the switch that lets producers make new ones.
type topics struct{ b *Broker }

func (t topics) Get(name []byte) *topic.Config         { return t.b.topics.Get(name) }
func (t topics) Ensure(configs ...*topic.Config) error { return t.b.topics.Ensure(configs...) }

// Create makes a topic in the image of a template; nil where that may not be. An older start of the broker may have
// left TBW102 behind, so that its being there does not mean yes. Source: Java
// TopicConfigManager.createTopicInSendMessageMethod.
func (t topics) Create(ctx context.Context, name, template string, queues int32) (*topic.Config, error) {
	if template == topic.AutoCreateKey && !t.b.live.autoTopic.Load() {
		return nil, nil
	}
	return t.b.topics.Create(ctx, name, template, queues)
}

// groups is the table of groups with the switch that lets an unknown one be made.
type groups struct{ b *Broker }

func (g groups) Get(name []byte) *topic.GroupConfig { return g.b.groups.Get(name) }
func (g groups) Forbidden(group, topicName []byte) int32 {
	return g.b.groups.Forbidden(group, topicName)
}

// Create makes a group where the configuration or its name allows it; nil where not.
func (g groups) Create(_ context.Context, name string) (*topic.GroupConfig, error) {
	if !g.b.live.autoGroup.Load() && !topic.IsSystemGroup(name) {
		return nil, nil
	}
	if topic.CheckGroup(name) != nil {
		return nil, nil // as if it might not be made: that is what Java says
	}
	return g.b.groups.Create(name)
}

// balance says how this broker shares out queues.
func (b *Broker) balance() member.Balance {
	s := b.cfg.Settings
	return member.Balance{Enabled: s.Bool("serverLoadBalancerEnable"), Mode: protocol.RequestMode(s.String("defaultMessageRequestMode")), Share: int32(s.Int("defaultPopShareQueueNum"))}
}

// lightFull tells whether there are as many light queues as there may be. It looks through all topics.
func (b *Broker) lightFull() bool {
	s := b.cfg.Settings
	return s.Bool("enableLmqQuota") && s.Bool("enableLmq") && b.store.CountTopics(topic.LMQPrefix) >= s.Int("maxLmqConsumeQueueNum")
}

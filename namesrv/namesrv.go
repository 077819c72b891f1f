// Package namesrv is the role NameServer: brokers register with it, clients ask it where topics lie. It builds the
// route tables, the key-value configuration and the server, holds the request table, and joins them.
//
// Goroutines, all ended when Run returns: the server's I/O loops, the pool of the request table, and run's two,
// which look for brokers that fell silent and tell broker sets that their lowest id changed.
package namesrv

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"rocketd/dispatch"
	"rocketd/internal/rungroup"
	"rocketd/internal/vfs"
	"rocketd/namesrv/route"
	"rocketd/protocol"
	"rocketd/remoting"
	"rocketd/settings"
)

// Config is what a NameServer is made from.
type Config struct {
	Settings *settings.Settings // of settings.NewNamesrv
	Log      *slog.Logger
}

// Server is a NameServer. Make it with New, let it work with Run.
type Server struct {
	settings    *settings.Settings
	log         *slog.Logger
	routes      *route.Table
	kv          *kv
	table       *dispatch.Table
	server      *remoting.Server
	opts        atomic.Pointer[options]
	began       time.Time
	notices     chan route.Notice
	registering chan struct{} // holds one for each registration that is being read and entered
}

// options are the settings that requests look at; an update replaces them as a whole.
type options struct {
	orderMessages  bool          // routes carry the order configuration of their topic
	orderToBroker  bool          // the answer to a registration carries that of all topics
	allTopicList   bool          // GET_ALL_TOPIC_LIST_FROM_NAMESERVER is answered
	topicList      bool          // the other lists of topics are answered
	notifyMinID    bool          // broker sets are told when their lowest id changes
	waitForService time.Duration // so long after the start no route is answered; 0 if at once
}

// maxNotices bounds the notices that wait to be sent; more are dropped with a warning.
const maxNotices = 1024

// New opens the key-value configuration and binds the address. Run begins to serve.
func New(cfg Config) (*Server, error) {
	set := cfg.Settings
	s := &Server{settings: set, log: cfg.Log, routes: route.New(route.Config{}), began: time.Now(), notices: make(chan route.Notice, maxNotices)}
	s.registering = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)) // so that routes are answered while a thousand brokers register
	s.readOptions()
	var err error
	if s.kv, err = openKV(vfs.OS, set.String("kvConfigPath"), cfg.Log); err != nil {
		return nil, err
	}
	s.table = dispatch.New(dispatch.Config{
		Workers: max(0, set.Int("defaultThreadPoolNums")),
		Queue:   max(0, set.Int("defaultThreadPoolQueueCapacity")),
		Log:     cfg.Log,
		Closed:  func(_ *protocol.Turn, p protocol.Peer) { s.closed(p) },
	}, s.rows())
	server := remoting.ServerConfig{
		Addrs:      []string{net.JoinHostPort(set.String("bindAddress"), strconv.Itoa(set.Int("listenPort")))},
		Idle:       time.Duration(set.Int("serverChannelMaxIdleTimeSeconds")) * time.Second,
		HighWater:  set.Int("writeBufferHighWaterMark"),
		NewHandler: func() remoting.Handler { return s.table },
		Log:        cfg.Log,
	}
	if set.IsSet("serverSelectorThreads") {
		server.Loops = set.Int("serverSelectorThreads")
	}
	if limit := set.Property("com.rocketmq.remoting.frameMaxLength"); limit != "" {
		if server.MaxFrame, err = strconv.Atoi(limit); err != nil {
			return nil, fmt.Errorf("com.rocketmq.remoting.frameMaxLength: %w", err)
		}
	}
	if s.server, err = remoting.Listen(server); err != nil {
		return nil, err
	}
	set.Duration("scanNotActiveBrokerInterval") // asked by expire, later
	for _, name := range set.Unasked() {
		cfg.Log.Warn("configuration key has no effect", "key", name)
	}
	return s, nil
}

// readOptions takes the settings over that may change at run time.
func (s *Server) readOptions() {
	set := s.settings
	o := &options{
		orderMessages: set.Bool("orderMessageEnable"),
		orderToBroker: set.Bool("returnOrderTopicConfigToBroker"),
		allTopicList:  set.Bool("enableAllTopicList"),
		topicList:     set.Bool("enableTopicList"),
		notifyMinID:   set.Bool("notifyMinBrokerIdChanged"),
	}
	wait := time.Duration(set.Int("waitSecondsForService")) * time.Second
	if set.Bool("needWaitForService") {
		o.waitForService = wait
	}
	s.opts.Store(o)
	s.routes.Configure(route.Config{ActingMaster: set.Bool("supportActingMaster"), DropMissing: set.Bool("deleteTopicWithBrokerRegistration")})
}

// Addr is the address that is listened on.
func (s *Server) Addr() netip.AddrPort { return s.server.Addrs()[0] }

// Run serves until the context ends, and returns the first real error.
func (s *Server) Run(ctx context.Context) error {
	client := remoting.NewClient(remoting.ClientConfig{Log: s.log})
	defer client.Close()
	g := rungroup.New(ctx)
	g.Go(rungroup.Part{Name: "namesrv server", Run: s.server.Run})
	g.Go(rungroup.Part{Name: "namesrv pool", Run: s.table.Run})
	g.Go(rungroup.Part{Name: "namesrv expiry", Run: s.expire})
	g.Go(rungroup.Part{Name: "namesrv notices", Run: func(ctx context.Context) error { return s.tell(ctx, client) }})
	<-g.Done()
	return g.Stop()
}

// Close gives the address back of a server whose Run is never called.
func (s *Server) Close() error { return s.server.Close() }

// closed takes out the brokers of a connection at once. Source: Java BrokerHousekeepingService.
func (s *Server) closed(p protocol.Peer) {
	gone, notices := s.routes.Closed(p)
	for _, g := range gone {
		s.log.Warn("broker unregistered, its connection is gone", "broker", g.Name, "id", g.ID, "addr", g.Addr)
	}
	s.notify(notices)
}

// expire looks for brokers that fell silent without hanging up.
func (s *Server) expire(ctx context.Context) error {
	tick := time.NewTicker(max(time.Millisecond, s.settings.Duration("scanNotActiveBrokerInterval")))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			gone, notices := s.routes.Expire(now)
			for _, g := range gone {
				s.log.Warn("broker unregistered, it gave no sign of life", "broker", g.Name, "id", g.ID, "addr", g.Addr, "silent", now.Sub(g.Seen))
				if g.Peer != nil {
					g.Peer.Close()
				}
			}
			s.notify(notices)
		}
	}
}

// Package metasync keeps the tables of a slave those of its master: topics, subscription groups, consumer offsets, and
// what the broker carries for services that work on the master only.
//
// Each table is asked for at once when the master becomes known and every few seconds from then on; where the master tells
// the version of a table, it is fetched again only when that has changed. What comes is taken as it is: what the master
// deleted vanishes here, and the version is the master's. Offsets have a rule of their own, see offset.Table.Follow.
// Masters may be Java's, from 4.9 on. Source: Java SlaveSynchronize, BrokerOuterAPI; replication.md 4.
package metasync

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"rocketd/meta"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/topic"
)

// Master are the questions to a broker at an address. rpc.Broker is one.
type Master interface {
	AllTopics(ctx context.Context, addr string, req *protocol.GetAllTopicConfigRequest) (*protocol.TopicConfigAndMappingSerializeWrapper, protocol.Opt[int32], error)
	AllGroups(ctx context.Context, addr string, req *protocol.GetAllSubscriptionGroupRequest) (*protocol.SubscriptionGroupWrapper, protocol.Opt[int32], error)
	AllOffsets(ctx context.Context, addr string) (*protocol.ConsumerOffsetSerializeWrapper, error)
	DelayOffsets(ctx context.Context, addr string) ([]byte, error)
	RequestModes(ctx context.Context, addr string) ([]byte, error)
	TimerCheckpoint(ctx context.Context, addr string) ([]byte, error)
	TimerMetrics(ctx context.Context, addr string) ([]byte, error)
	TopicConfig(ctx context.Context, addr, name string) (*topic.Config, error)
	RuntimeInfo(ctx context.Context, addr string) (map[string]string, error)
}

// MaxAnswer is the length of the largest answer that the calls of a Master should let through, bytes: a broker without
// pages sends its whole table at once. It is what bounds the memory of a round.
const MaxAnswer = 64 << 20

// Config of a Service. All fields but Timers must be set.
type Config struct {
	Master Master
	Topics *meta.Topics
	// Mappings are those of static topics.
	Mappings *meta.Mappings
	Groups   *meta.Groups
	Offsets  *offset.Table
	Carried  *meta.Carried
	// Self is the address of this broker. As a master it is nobody: a broker does not follow itself.
	Self string
	// Timers asks for timed messages too: timerWheelEnable.
	Timers bool
	Log    *slog.Logger
}

// Service follows one master at a time. Its methods may be called from any goroutine, Run by one.
type Service struct {
	cfg    Config
	synced chan struct{}
	hurry  chan struct{} // holds one: something is known to have changed on the master

	mu     sync.Mutex // guards what follows
	master string
	leave  context.CancelFunc // ends what Run does with the master before
	status Status
}

// Status says how far a slave is with its master's tables.
type Status struct {
	Master string    // its address, "" without one
	Since  time.Time // all tables were the master's at that time; zero: they never were, of this master
	Err    error     // why they are not now; nil if they are
}

// New makes a service that has no master yet.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, synced: make(chan struct{}), hurry: make(chan struct{}, 1)}
}

// SetMaster gives the address of the master, host:port of its remoting port. Its tables are fetched at once. With "" none
// is followed, and all tables stay as they are.
func (s *Service) SetMaster(addr string) {
	if addr == s.cfg.Self {
		addr = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr == s.master {
		return
	}
	s.master, s.status = addr, Status{Master: addr}
	if s.leave != nil {
		s.leave()
	}
}

// Synced is closed when the topics were those of a master for the first time. Before, nothing of a master's log may be
// turned into queues: a topic's kind of queue is told by its configuration.
func (s *Service) Synced() <-chan struct{} { return s.synced }

// Status returns how far the tables are.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Hurry makes the service look at once whether topics have changed. It never blocks.
func (s *Service) Hurry() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// Run follows the master that SetMaster gives, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		life, addr := s.begin(ctx)
		if addr != "" {
			s.follow(life, addr)
		}
		<-life.Done()
	}
	return nil
}

// begin returns the master of now, and a context that ends when there is another.
func (s *Service) begin(ctx context.Context) (life context.Context, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	life, s.leave = context.WithCancel(ctx)
	return life, s.master
}

// learnTries and learnWait are how often one topic is asked for, and the pause between.
const (
	learnTries = 3
	learnWait  = time.Second
)

// Learn asks the master for a topic that came with the log before the next look at the table, and makes it known: its
// queues cannot be built before. A topic that the master does not know either is no error, nor is a master that does not
// know the question: it has one kind of queue only. It waits some seconds at most.
func (s *Service) Learn(ctx context.Context, name string) error {
	var err error
	for try := range learnTries {
		if try > 0 {
			wait(ctx, learnWait, nil)
		}
		addr := s.Status().Master
		if addr == "" {
			return errors.New("cannot ask for a topic: there is no master")
		}
		var c *topic.Config
		c, err = within(ctx, shortCall, func(ctx context.Context) (*topic.Config, error) {
			return s.cfg.Master.TopicConfig(ctx, addr, name)
		})
		if err == nil {
			if c.Name = name; !saneTopic(c) {
				return nil
			}
			s.Hurry()
			return s.cfg.Topics.Ensure(c)
		}
		if code := codeOf(err); code == protocol.TopicNotExist || code == protocol.RequestCodeNotSupported {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

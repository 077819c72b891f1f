// Package manage answers administration requests: mqadmin, dashboards, exporters. Each file is one subject. The
// handlers may block and belong on the pool; they take the call and return header, body and error of the answer.
package manage

import (
	"context"
	"slices"
	"time"

	"rocketd/clientmgr"
	"rocketd/internal/laxjson"
	"rocketd/meta"
	"rocketd/offset"
	"rocketd/protocol"
	"rocketd/stats"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// Handler is the shape of every method of Service that serves a request. What it returns beside a nil error is the
// header and the body of a success; both may be nil.
type Handler func(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error)

// Store is what administration asks of the store.
type Store interface {
	Find(topic []byte, id int32) *consumequeue.Queue
	Get(q *consumequeue.Queue, r store.Read, dst []byte) ([]byte, store.ReadResult)
	Record(physical int64, dst []byte) ([]byte, error)
	StoreTime(q *consumequeue.Queue, offset int64) int64
	OffsetByTime(q *consumequeue.Queue, ms int64, b store.Boundary) int64
	EarliestTime() int64
	MinPhysical() int64
	MaxPhysical() int64
	Flushed() int64
	Topics() []string
	DeleteTopic(topic string) error
	DeleteExpired()
	CleanExpiredQueues(keep func(topic string) bool) (removed int, err error)
}

// Settings are the broker's configuration keys, by Java's names.
type Settings interface {
	Bool(name string) bool
	Int(name string) int
	String(name string) string
	Text() string                                          // all keys as a properties file, sorted
	Update(changes map[string]string, now time.Time) error // settings.ErrBanned for a protected key
	Version() (counter int64, changed time.Time)
}

// Config of a Service. All fields but Reset and HA must be set.
type Config struct {
	Cluster string // brokerClusterName
	Broker  string // brokerName
	Addr    string // the address that the broker registers

	Topics   *meta.Topics
	Mappings *meta.Mappings
	Groups   *meta.Groups
	Offsets  *offset.Table
	Carried  *meta.Carried
	Clients  *clientmgr.Clients
	Stats    *stats.Board
	Store    Store
	Settings Settings
	Runtime  Runtime

	// Cold counts what groups read from the disk.
	Cold Cold

	// SystemTopics are the names of the topics that this broker made for itself, beside those that every broker has.
	SystemTopics []string
	// Reset, when set, is told that offsets of a queue were reset, so that a pull which waits there can learn of it.
	Reset func(q *consumequeue.Queue)
	// Deleting, when set, deletes what belongs to topics before they go. It may block.
	Deleting func(names ...string) error
	// HA, when set, tells how the log is copied.
	HA func() protocol.HARuntimeInfo
}

// Service serves administration requests, those of slaves among them.
type Service struct {
	cfg                    Config
	topicNames, groupNames order
	followers              followers
}

// New makes a service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// isSystem tells whether a topic belongs to the system, this broker's own topics included.
func (s *Service) isSystem(name string) bool {
	return topic.IsSystem(name) || slices.Contains(s.cfg.SystemTopics, name)
}

// subscribed tells whether a group takes part in a topic as far as one can know: a group of which nobody is
// connected may.
func (s *Service) subscribed(group, name string) bool {
	g := s.cfg.Clients.Consumers.Group(group)
	return g == nil || len(g.Topics()) == 0 || g.Data(name) != nil
}

func (s *Service) queue(name string, id int32) *consumequeue.Queue {
	return s.cfg.Store.Find([]byte(name), id)
}

// bounds returns the offsets of the first message of a queue and of the next one to come; 0, 0 if there is no queue.
func bounds(q *consumequeue.Queue) (first, next int64) {
	if q == nil {
		return 0, 0
	}
	return q.Min(), q.Max()
}

// body encodes a body as Java does.
func body(v any) (protocol.Fielder, []byte, error) {
	data, err := laxjson.Marshal(v)
	return nil, data, err
}

// decodeBody reads a JSON body; a bad one is answered with code.
func decodeBody(c *protocol.Call, code int32, v any) error {
	if len(c.Body) == 0 {
		return protocol.Errorf(code, "the request has no body")
	}
	if err := laxjson.Unmarshal(c.Body, v); err != nil {
		return protocol.Errorf(code, "the body cannot be read: %v", err)
	}
	return nil
}

package query

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// peer is a connection without a socket; answers are decoded as they come.
type peer struct {
	out     []byte
	answers []*protocol.Command
}

func (p *peer) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }
func (p *peer) LocalAddr() netip.AddrPort  { return netip.AddrPort{} }
func (p *peer) LockOut() []byte            { return p.out }
func (p *peer) UnlockOut(_ *protocol.Turn, out []byte) {
	c := new(protocol.Command)
	if err := c.Decode(bytes.Clone(out[4:])); err != nil {
		panic(err)
	}
	p.answers = append(p.answers, c)
	p.out = out[:0]
}
func (p *peer) Flush()                                 {}
func (p *peer) Post(func(*protocol.Turn))              { panic("nothing is posted") }
func (p *peer) Send(*protocol.Turn, *protocol.Command) {}
func (p *peer) Closed() bool                           { return false }
func (p *peer) Close()                                 {}
func (p *peer) Invoke(context.Context, *protocol.Command) (*protocol.Command, error) {
	panic("not in a turn")
}

// desk is a service over a store, the topics T and E, the group g and tables of offsets.
type desk struct {
	t     *testing.T
	svc   *Service
	store *store.Store
	cold  bool         // what is stored counts as no longer in memory
	acked atomic.Int64 // what slaves have of the log

	committed, resets map[string]int64
}

type topics struct{}

func (topics) Get(name []byte) *topic.Config {
	if n := string(name); n == "T" || n == "E" {
		return topic.NewConfig(n, 2)
	}
	return nil
}

type groups struct{}

func (groups) Get(name []byte) *topic.GroupConfig {
	if string(name) == "g" {
		return topic.NewGroupConfig("g")
	}
	return nil
}

type records struct {
	*store.Store
	desk *desk
}

func (r records) InMemory(q *consumequeue.Queue, offset int64) bool {
	return !r.desk.cold && r.Store.InMemory(q, offset)
}

type offsets struct{ *desk }

func key(group, topic []byte, queue int32) string {
	return fmt.Sprintf("%s/%s/%d", group, topic, queue)
}

func (d offsets) Commit(group, topic []byte, queue int32, offset int64) bool {
	d.committed[key(group, topic, queue)] = offset
	return true
}
func (d offsets) Get(group, topic []byte, queue int32) (int64, bool) {
	offset, ok := d.committed[key(group, topic, queue)]
	return offset, ok
}
func (d offsets) Pending(group, topic []byte, queue int32) (int64, bool) {
	offset, ok := d.resets[key(group, topic, queue)]
	return offset, ok
}

// newDesk stores messages at 1000, 2000, 2000 and 3000 ms in queue 0 of T.
func newDesk(t *testing.T) *desk {
	d := &desk{t: t, committed: map[string]int64{}, resets: map[string]int64{}}
	d.acked.Store(math.MaxInt64)
	var err error
	d.store, err = store.Open(store.Config{Dir: t.TempDir(), FileSize: 1 << 20, QueueFileSize: 2000, Log: slog.New(slog.DiscardHandler),
		Confirm: d.acked.Load})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, ms := range []int64{1000, 2000, 2000, 3000} {
		d.add("T", fmt.Sprint("m", i), nil, ms)
	}
	d.svc = New(Config{Topics: topics{}, Groups: groups{}, Store: records{d.store, d}, Offsets: offsets{d}, Offload: inline})
	return d
}

// inline is a pool without goroutines.
func inline(c *protocol.Call, run func(context.Context, *protocol.Call) error) {
	c.Turn = nil
	if err := run(context.Background(), c); err != nil {
		c.Fail(err)
	}
}

// add stores a message in queue 0 and returns where it is in the log.
func (d *desk) add(name, body string, props []byte, ms int64) int64 {
	d.t.Helper()
	var b store.Batch
	b.Add(d.store.Queue(name, 0), &message.Draft{Topic: []byte(name), Body: []byte(body), Properties: props}, 0)
	if err := d.store.Append(&b, time.UnixMilli(ms)); err != nil {
		d.t.Fatal(err)
	}
	return b.At(0).Physical
}

// call asks a handler of the turn and returns the answer as "code field=value remark", or "" if there was none.
func (d *desk) call(run func(*protocol.Call) error, oneway bool, fields ...string) string {
	d.t.Helper()
	p := new(peer)
	c := &protocol.Call{Command: protocol.Command{Opaque: 7}, Peer: p, Turn: new(protocol.Turn)}
	if oneway {
		c.SetOneway()
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		c.Set(k, v)
	}
	if err := run(c); err != nil {
		c.Fail(err)
	}
	switch {
	case len(p.answers) == 0:
		return ""
	case len(p.answers) > 1 || p.answers[0].Opaque != 7 || !p.answers[0].IsResponse():
		d.t.Errorf("answers %+v", p.answers)
	}
	s := fmt.Sprint(p.answers[0].Code)
	for _, f := range p.answers[0].Fields {
		s += fmt.Sprintf(" %s=%s", f.Key, f.Value)
	}
	return strings.TrimSpace(s + " " + p.answers[0].Remark)
}

// check asks and compares, and asks once more one-way, which nobody answers.
func (d *desk) check(run func(*protocol.Call) error, want string, fields ...string) {
	d.t.Helper()
	if got := d.call(run, false, fields...); got != want {
		d.t.Errorf("%v\n\tgot  %q\n\twant %q", fields, got, want)
	}
	if got := d.call(run, true, fields...); got != "" {
		d.t.Errorf("%v: one-way, answered %q", fields, got)
	}
}

const bootFirst = "22 Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"

// A pending reset wins, then the committed offset; without either a queue that is young or empty is read from its start, and
// else the client decides.
func TestService_Committed(t *testing.T) {
	d := newDesk(t)
	d.check(d.svc.Committed, "0 offset=0", "consumerGroup=g", "topic=T", "queueId=0")
	d.check(d.svc.Committed, "0 offset=0", "consumerGroup=g", "topic=T", "queueId=0", "setZeroIfNotFound=true")
	d.check(d.svc.Committed, "22 Not found, do not set to zero, maybe this group boot first",
		"consumerGroup=g", "topic=T", "queueId=0", "setZeroIfNotFound=false")
	d.check(d.svc.Committed, "0 offset=0", "consumerGroup=g", "topic=T", "queueId=1") // nothing was ever there
	for _, queue := range []string{"-1", "4", "2147483647"} {
		d.check(d.svc.Committed, bootFirst, "consumerGroup=g", "topic=T", "queueId="+queue)
	}
	d.check(d.svc.Committed, bootFirst, "consumerGroup=g", "topic=none", "queueId=0")
	d.cold = true
	d.check(d.svc.Committed, bootFirst, "consumerGroup=g", "topic=T", "queueId=0")
	d.committed["g/T/0"] = 3
	d.check(d.svc.Committed, "0 offset=3", "consumerGroup=g", "topic=T", "queueId=0", "setZeroIfNotFound=false")
	d.resets["g/T/0"] = 1
	d.check(d.svc.Committed, "0 offset=1", "consumerGroup=g", "topic=T", "queueId=0")
	d.check(d.svc.Committed, "1 the field <queueId> of QueryConsumerOffsetRequestHeader is missing", "consumerGroup=g", "topic=T")
}

// A commit needs a group and a topic that are there, and may go back.
func TestService_Commit(t *testing.T) {
	d := newDesk(t)
	d.check(d.svc.Commit, "0", "consumerGroup=g", "topic=T", "queueId=0", "commitOffset=9")
	d.check(d.svc.Commit, "0", "consumerGroup=g", "topic=T", "queueId=0", "commitOffset=4")
	d.check(d.svc.Commit, "26 Group none not exist!", "consumerGroup=none", "topic=none", "queueId=0", "commitOffset=5")
	d.check(d.svc.Commit, "17 Topic none not exist!", "consumerGroup=g", "topic=none", "queueId=0", "commitOffset=5")
	d.check(d.svc.Commit, "29 the field <commitOffset> of UpdateConsumerOffsetRequestHeader is missing", "consumerGroup=g", "topic=T", "queueId=0")
	d.check(d.svc.Commit, "29 the field <queueId> of UpdateConsumerOffsetRequestHeader is missing", "consumerGroup=g", "topic=T", "commitOffset=5")
	if fmt.Sprint(d.committed) != "map[g/T/0:4]" {
		t.Errorf("committed %v", d.committed)
	}
}

// The ends of a queue; those of one that is not there are 0.
func TestService_MinMax(t *testing.T) {
	d := newDesk(t)
	d.check(d.svc.Max, "0 offset=4", "topic=T", "queueId=0")
	d.check(d.svc.Min, "0 offset=0", "topic=T", "queueId=0")
	for _, queue := range []string{"1", "-1", "-2147483648", "2147483647"} {
		d.check(d.svc.Max, "0 offset=0", "topic=T", "queueId="+queue)
		d.check(d.svc.Min, "0 offset=0", "topic=T", "queueId="+queue)
	}
	d.check(d.svc.Max, "0 offset=0", "topic=none", "queueId=0")
	d.check(d.svc.Min, "1 the field <queueId> of GetMinOffsetRequestHeader is missing", "topic=T")
	if len(d.store.Queues("T")) != 1 || len(d.store.Queues("none")) != 0 {
		t.Error("a question made a queue")
	}
}

// Times are found from both sides, whatever they are.
func TestService_ByTime(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		ms           int64
		lower, upper int64
	}{{999, 0, 0}, {1000, 0, 0}, {1500, 1, 0}, {2000, 1, 2}, {2500, 3, 2}, {3000, 3, 3}, {3001, 4, 3},
		{math.MaxInt64, 4, 3}, {math.MinInt64, 0, 0}, {-1, 0, 0}} {
		ms := fmt.Sprintf("timestamp=%d", c.ms)
		d.check(d.svc.ByTime, fmt.Sprintf("0 offset=%d", c.lower), "topic=T", "queueId=0", ms)
		d.check(d.svc.ByTime, fmt.Sprintf("0 offset=%d", c.lower), "topic=T", "queueId=0", ms, "boundaryType=LOWER")
		d.check(d.svc.ByTime, fmt.Sprintf("0 offset=%d", c.upper), "topic=T", "queueId=0", ms, "boundaryType=UPPER")
	}
	d.check(d.svc.ByTime, "0 offset=0", "topic=T", "queueId=1", "timestamp=5")
	d.check(d.svc.ByTime, "0 offset=0", "topic=none", "queueId=0", "timestamp=5")
	d.check(d.svc.ByTime, "1 the field <timestamp> of SearchOffsetRequestHeader is missing", "topic=T", "queueId=0")

	d.check(d.svc.Earliest, "0 timestamp=1000", "topic=T", "queueId=0")
	d.check(d.svc.Earliest, "0 timestamp=-1", "topic=T", "queueId=1")
	d.check(d.svc.Earliest, "0 timestamp=-1", "topic=none", "queueId=0")
}

// A record is found by the place where it starts and nowhere else, and only as a message of its topic.
func TestService_ByID(t *testing.T) {
	d := newDesk(t)
	at := d.add("T", "wanted", nil, 4000)
	waits := message.AppendProperty(nil, message.PropRealTopic, []byte("E"))
	waiting := d.add("SCHEDULE_TOPIC_XXXX", "later", waits, 4000)
	multi := d.add("T", "many", message.AppendProperty(nil, message.PropInnerMultiDispatch, []byte("%LMQ%a,%LMQ%b")), 4000)
	for _, c := range []struct {
		at    int64
		topic string
		code  int32
		body  string
	}{
		{at, "T", 0, "wanted"}, {at, "", 0, "wanted"}, {at, "E", protocol.NoPermission, ""},
		{waiting, "E", 0, "later"}, {waiting, "T", protocol.NoPermission, ""},
		{multi, "%LMQ%b", 0, "many"}, {multi, "%LMQ%", protocol.NoPermission, ""},
		{at + 1, "T", protocol.SystemError, ""}, {-1, "T", protocol.SystemError, ""}, {math.MinInt64, "T", protocol.SystemError, ""},
		{d.store.MaxPhysical(), "T", protocol.SystemError, ""}, {math.MaxInt64, "T", protocol.SystemError, ""},
	} {
		call := &protocol.Call{Peer: new(peer)}
		call.Set("offset", fmt.Sprint(c.at))
		if c.topic != "" {
			call.Set("topic", c.topic)
		}
		_, raw, err := d.svc.ByID(t.Context(), call)
		if err != nil {
			if e, ok := err.(*protocol.Error); !ok || e.Code != c.code {
				t.Errorf("%d of %q: %v, want code %d", c.at, c.topic, err, c.code)
			}
			continue
		}
		if r, err := message.Decode(raw); err != nil || string(r.Body) != c.body || int(r.Size) != len(raw) {
			t.Errorf("%d of %q: %q, %v", c.at, c.topic, r.Body, err)
		}
	}
}

// The largest offset is that of readers: what slaves do not have yet, a failover takes back. committed=false is the offset
// that the next message gets.
func TestService_Max_Confirmed(t *testing.T) {
	d := newDesk(t)
	d.check(d.svc.Max, "0 offset=4", "topic=T", "queueId=0")
	d.acked.Store(0)
	d.add("T", "m4", nil, 4000)
	d.check(d.svc.Max, "0 offset=4", "topic=T", "queueId=0")
	d.check(d.svc.Max, "0 offset=5", "topic=T", "queueId=0", "committed=false")
	d.acked.Store(math.MaxInt64)
	d.check(d.svc.Max, "0 offset=5", "topic=T", "queueId=0", "committed=true")
}

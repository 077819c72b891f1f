package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/message"
	"rocketd/protocol"
	"rocketd/remoting"
	"rocketd/settings"
)

// house is a running broker on ports of its own, and a client.
type house struct {
	t      testing.TB
	broker *Broker
	addr   string
	dir    string
	client *remoting.Client
	stop   func() error
}

// open starts a broker in dir; set changes settings, "key=value".
func open(t testing.TB, dir string, set ...string) *house {
	t.Helper()
	port := freePort(t)
	m := settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "broker-t", Processors: 2}
	s := settings.NewBroker(m, slog.New(slog.DiscardHandler))
	for _, kv := range append([]string{
		"listenPort=" + strconv.Itoa(port), "storePathRootDir=" + dir, "bindAddress=127.0.0.1",
		"mappedFileSizeCommitLog=16777216", "mappedFileSizeConsumeQueue=600000",
	}, set...) {
		k, v, _ := bytes.Cut([]byte(kv), []byte("="))
		s.Set(string(k), string(v))
	}
	port = s.Int("listenPort")
	ready := make(chan Ready, 1)
	b, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler), Ready: func(r Ready) { ready <- r }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	<-ready
	h := &house{t: t, broker: b, addr: fmt.Sprintf("127.0.0.1:%d", port), dir: dir,
		client: remoting.NewClient(remoting.ClientConfig{Timeout: 10 * time.Second})}
	stopped := false
	h.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		h.client.Close()
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// nextPort is where freePort looks next: below the range from which the system takes ports for connections.
var nextPort atomic.Int32

// freePort finds a port whose neighbours at -2 and +1 are free too.
func freePort(t testing.TB) int {
	for range 200 {
		port := 25000 + (os.Getpid()*13+int(nextPort.Add(7)))%7000
		if free(port-2) && free(port) && free(port+1) {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// call sends a request with ext fields "key=value" and returns the response.
func (h *house) call(code int32, body string, fields ...string) *protocol.Command {
	h.t.Helper()
	c := &protocol.Command{Code: code, Body: []byte(body), Version: protocol.Version}
	for _, f := range fields {
		k, v, _ := bytes.Cut([]byte(f), []byte("="))
		c.Set(string(k), string(v))
	}
	r, err := h.client.Invoke(h.t.Context(), h.addr, c)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// send sends one message and returns the response.
func (h *house) send(topic, body string, more ...string) *protocol.Command {
	h.t.Helper()
	fields := append([]string{"a=pg", "b=" + topic, "c=TBW102", "d=4", "e=0", "f=0", "g=1", "h=0", "i=TAGS\x01A\x02", "j=0", "k=false", "m=false"}, more...)
	return h.call(protocol.SendMessageV2, body, fields...)
}

// pull pulls from queue 0 with the subscription in the header, holding for hold.
func (h *house) pull(topic string, from int64, hold time.Duration, tags string) *protocol.Command {
	h.t.Helper()
	return h.call(protocol.PullMessage, "", "consumerGroup=g", "topic="+topic, "queueId=0", fmt.Sprintf("queueOffset=%d", from),
		"maxMsgNums=32", "sysFlag=6", "commitOffset=0", fmt.Sprintf("suspendTimeoutMillis=%d", hold.Milliseconds()),
		"subscription="+tags, "subVersion=0", "expressionType=TAG")
}

func field(c *protocol.Command, name string) string {
	v, _ := c.Get(name)
	return string(v)
}

// bodies returns the bodies of the records in a pull's answer.
func bodies(t testing.TB, records []byte) (all []string) {
	t.Helper()
	for len(records) > 0 {
		r, err := message.Decode(records)
		if err != nil {
			t.Fatal(err)
		}
		if !r.CheckCRC() {
			t.Errorf("record at %d has a wrong checksum", r.Physical)
		}
		all = append(all, string(r.Body))
		records = records[r.Size:]
	}
	return all
}

// A message to an unknown topic creates it, gets an offset and an ID, and can be read by offset and by ID.
func TestBroker_SendAndPull(t *testing.T) {
	h := open(t, t.TempDir())
	for i := range 3 {
		r := h.send("T", fmt.Sprint("m", i))
		if r.Code != protocol.Success || field(r, "queueOffset") != strconv.Itoa(i) || field(r, "queueId") != "0" ||
			field(r, "MSG_REGION") != "DefaultRegion" || field(r, "TRACE_ON") != "true" || len(field(r, "transactionId")) != 32 {
			t.Fatalf("send %d: code %d %q %v", i, r.Code, r.Remark, r.Fields)
		}
		_, physical, err := message.ParseOffsetID(field(r, "msgId"))
		if err != nil {
			t.Fatal(err)
		}
		if v := h.call(protocol.ViewMessageById, "", fmt.Sprintf("offset=%d", physical), "topic=T"); v.Code != protocol.Success || bodies(t, v.Body)[0] != fmt.Sprint("m", i) {
			t.Errorf("by ID: code %d %q", v.Code, v.Remark)
		}
	}
	r := h.pull("T", 0, 0, "*")
	if got := bodies(t, r.Body); r.Code != protocol.Success || fmt.Sprint(got) != "[m0 m1 m2]" || r.Remark != "FOUND" ||
		field(r, "nextBeginOffset") != "3" || field(r, "minOffset") != "0" || field(r, "maxOffset") != "3" || field(r, "suggestWhichBrokerId") != "0" {
		t.Errorf("pull: code %d %q %v %v", r.Code, r.Remark, r.Fields, got)
	}
	if r := h.pull("T", 0, 0, "B || C"); r.Code != protocol.PullRetryImmediately || field(r, "nextBeginOffset") != "3" {
		t.Errorf("filtered pull: code %d %v", r.Code, r.Fields)
	}
	for offset, want := range map[int64]int32{3: protocol.PullNotFound, 9: protocol.PullOffsetMoved} {
		if r := h.pull("T", offset, 0, "*"); r.Code != want || field(r, "nextBeginOffset") != "3" {
			t.Errorf("pull from %d: code %d, want %d; %v", offset, r.Code, want, r.Fields)
		}
	}
}

// A held pull is answered by the append, with and without flush to disk, and not by what its tags refuse.
func TestBroker_HeldPull(t *testing.T) {
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(mode, func(t *testing.T) {
			h := open(t, t.TempDir(), "flushDiskType="+mode)
			h.send("T", "first")
			answered := make(chan *protocol.Command)
			go func() { answered <- h.pull("T", 1, time.Minute, "B") }()
			for h.broker.room.Len() == 0 { // each round is a turn of the broker
				h.call(protocol.GetMaxOffset, "", "topic=T", "queueId=0")
			}
			h.send("T", "refused")
			h.send("T", "wanted", "i=TAGS\x01B\x02")
			r := <-answered
			if got := bodies(t, r.Body); r.Code != protocol.Success || fmt.Sprint(got) != "[wanted]" || field(r, "nextBeginOffset") != "3" {
				t.Errorf("code %d %q %v %v", r.Code, r.Remark, r.Fields, got)
			}
			begin := time.Now()
			if r := h.pull("T", 3, 300*time.Millisecond, "*"); r.Code != protocol.PullNotFound || time.Since(begin) < 300*time.Millisecond {
				t.Errorf("expired: code %d after %v", r.Code, time.Since(begin))
			}
		})
	}
}

// A client batch becomes messages with adjoining offsets and one answer with all IDs.
func TestBroker_Batch(t *testing.T) {
	h := open(t, t.TempDir())
	var batch []byte
	for _, body := range []string{"x", "yy", "zzz"} {
		batch = append(batch, 0, 0, 0, byte(22+len(body)), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, byte(len(body)))
		batch = append(batch, body...)
		batch = append(batch, 0, 0)
	}
	fields := []string{"a=pg", "b=T", "c=TBW102", "d=4", "e=0", "f=0", "g=1", "h=0", "i=", "j=0", "k=false", "m=true"}
	r := h.call(protocol.SendBatchMessage, string(batch), fields...)
	if r.Code != protocol.Success || field(r, "queueOffset") != "0" || len(field(r, "msgId")) != 3*32+2 {
		t.Fatalf("code %d %q %v", r.Code, r.Remark, r.Fields)
	}
	if got := bodies(t, h.pull("T", 0, 0, "*").Body); fmt.Sprint(got) != "[x yy zzz]" {
		t.Errorf("got %v", got)
	}
	for name, bad := range map[string]string{"cut": string(batch[:len(batch)-3]), "empty": ""} {
		if r := h.call(protocol.SendBatchMessage, bad, fields...); r.Code != protocol.MessageIllegal {
			t.Errorf("%s batch: code %d %q", name, r.Code, r.Remark)
		}
	}
	if r := h.pull("T", 0, 0, "*"); field(r, "maxOffset") != "3" {
		t.Errorf("a refused batch left something: %v", r.Fields)
	}
}

// What Java refuses is refused with Java's code, stores nothing, and keeps the connection.
func TestBroker_Refusals(t *testing.T) {
	h := open(t, t.TempDir(), "maxMessageSize=1000")
	h.send("T", "x")
	long := string(bytes.Repeat([]byte("p"), 128))
	for _, c := range []struct {
		name string
		code int32
		r    *protocol.Command
	}{
		{"body too long", protocol.MessageIllegal, h.send("T", string(make([]byte, 1001)))},
		{"no body", protocol.MessageIllegal, h.send("T", "")},
		{"properties too long", protocol.MessageIllegal, h.send("T", "x", "i=k\x01"+string(bytes.Repeat([]byte("v"), 32767))+"\x02")},
		{"topic too long", protocol.InvalidParameter, h.send(long, "x")},
		{"illegal character", protocol.InvalidParameter, h.send("bad topic!", "x")},
		{"system topic", protocol.NoPermission, h.send("SCHEDULE_TOPIC_XXXX", "x")},
		{"queue beyond", protocol.InvalidParameter, h.send("T", "x", "e=4")},
		{"no template", protocol.TopicNotExist, h.send("U", "x", "c=NOPE")},
		{"not a number", protocol.SystemError, h.send("T", "x", "e=four")},
		{"field missing", protocol.SystemError, h.call(protocol.SendMessageV2, "x", "b=T")},
		{"retry topic of nobody", protocol.SubscriptionGroupNotExist, h.send("%RETRY%nobody", "x", "d=1")},
		{"delayed by no number", protocol.SystemError, h.send("T", "x", "i=DELAY\x01soon\x02")},
		{"prepared without the property", protocol.MessageIllegal, h.send("T", "x", "f=4")},
		{"rolled back", protocol.MessageIllegal, h.send("T", "x", "f=12")},
		{"inner batch", protocol.MessageIllegal, h.send("T", "x", "f=192")},
		{"inner batch without the flag", protocol.MessageIllegal, h.send("T", "x", "i=INNER_NUM\x012\x02")},
		{"system topic that is not there", protocol.NoPermission, h.send("TRANS_CHECK_MAX_TIME_TOPIC", "x")},
		{"pull of an unknown topic", protocol.TopicNotExist, h.pull("NOPE", 0, 0, "*")},
		{"pull of a group without a name", protocol.SubscriptionGroupNotExist, h.call(protocol.PullMessage, "", "consumerGroup=", "topic=T",
			"queueId=0", "queueOffset=0", "maxMsgNums=32", "sysFlag=4", "commitOffset=0", "suspendTimeoutMillis=0", "subVersion=0")},
		{"unknown code", protocol.RequestCodeNotSupported, h.call(12345, "")},
	} {
		if c.r.Code != c.code || c.r.Remark == "" {
			t.Errorf("%s: code %d %q, want %d", c.name, c.r.Code, c.r.Remark, c.code)
		}
	}
	if r := h.pull("T", 0, 0, "*"); field(r, "maxOffset") != "1" {
		t.Errorf("a refused message was stored: %v", r.Fields)
	}
	if r := h.call(protocol.GetTopicConfig, "", "topic=TRANS_CHECK_MAX_TIME_TOPIC"); r.Code != protocol.TopicNotExist {
		t.Errorf("a refused send created its topic: code %d %q", r.Code, r.Remark)
	}
}

// After a stop everything is there again: messages, topics, offsets, groups.
func TestBroker_Restart(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	for i := range 10 {
		h.send("T", fmt.Sprint(i))
	}
	h.pull("T", 0, 0, "*") // makes the group
	if r := h.call(protocol.UpdateConsumerOffset, "", "consumerGroup=g", "topic=T", "queueId=0", "commitOffset=7"); r.Code != protocol.Success {
		t.Fatalf("commit: %d %q", r.Code, r.Remark)
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h = open(t, dir, "autoCreateTopicEnable=false", "autoCreateSubscriptionGroup=false")
	if r := h.call(protocol.QueryConsumerOffset, "", "consumerGroup=g", "topic=T", "queueId=0"); field(r, "offset") != "7" {
		t.Errorf("committed offset: code %d %q %v", r.Code, r.Remark, r.Fields)
	}
	if got := bodies(t, h.pull("T", 0, 0, "*").Body); len(got) != 10 || got[9] != "9" {
		t.Errorf("messages: %v", got)
	}
	if r := h.send("T", "10"); field(r, "queueOffset") != "10" {
		t.Errorf("next offset: %v %q", r.Fields, r.Remark)
	}
	// TBW102 is still there from the first start; it makes no more topics.
	if r := h.send("U", "x"); r.Code != protocol.TopicNotExist {
		t.Errorf("send to an unknown topic: code %d %q", r.Code, r.Remark)
	}
	if r := h.call(protocol.UpdateBrokerConfig, "autoCreateTopicEnable=true\n"); r.Code != protocol.Success {
		t.Fatalf("update: code %d %q", r.Code, r.Remark)
	}
	if r := h.send("U", "x"); r.Code != protocol.Success {
		t.Errorf("send to an unknown topic, allowed: code %d %q", r.Code, r.Remark)
	}
}

// A stop in the middle of traffic ends, cleanly, and nothing that was acknowledged is lost, in either mode. Several
// loops append at the same time.
func TestBroker_StopUnderLoad(t *testing.T) {
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			h := open(t, dir, "flushDiskType="+mode, "serverSelectorThreads=2")
			h.send("T", "first")
			var mu sync.Mutex
			acked := map[string]string{"first": "0"}
			var wg sync.WaitGroup
			enough := make(chan struct{})
			for i := range 8 {
				c := remoting.NewClient(remoting.ClientConfig{Timeout: 10 * time.Second})
				defer c.Close()
				for j := range 4 {
					wg.Go(func() {
						for n := 0; ; n++ {
							body := fmt.Sprintf("%d-%d-%d", i, j, n)
							req := &protocol.Command{Code: protocol.SendMessageV2, Body: []byte(body), Version: protocol.Version}
							for _, f := range []string{"a=pg", "b=T", "c=TBW102", "d=4", "e=0", "f=0", "g=1", "h=0"} {
								k, v, _ := strings.Cut(f, "=")
								req.Set(k, v)
							}
							r, err := c.Invoke(t.Context(), h.addr, req)
							if err != nil || r.Code != protocol.Success {
								return // the broker is going
							}
							mu.Lock()
							acked[body] = field(r, "queueOffset")
							if len(acked) == 300 {
								close(enough)
							}
							mu.Unlock()
						}
					})
				}
			}
			<-enough
			if err := h.stop(); err != nil {
				t.Error(err)
			}
			wg.Wait()
			h = open(t, dir, "flushDiskType="+mode)
			read := map[string]string{}
			for from := int64(0); ; {
				r := h.pull("T", from, 0, "*")
				if r.Code == protocol.PullNotFound {
					break
				}
				if r.Code != protocol.Success {
					t.Fatalf("pull from %d: code %d %q", from, r.Code, r.Remark)
				}
				for _, b := range bodies(t, r.Body) {
					read[b] = strconv.FormatInt(from, 10)
					from++
				}
			}
			for body, offset := range acked {
				if read[body] != offset {
					t.Errorf("%s was acknowledged at %s and is at %q", body, offset, read[body])
				}
			}
		})
	}
}

// A second broker on the same store is refused, and the error says who holds it.
func TestBroker_StoreInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	m := settings.Machine{Home: dir, IP: "127.0.0.1", HostName: "other"}
	s := settings.NewBroker(m, slog.New(slog.DiscardHandler))
	s.Set("storePathRootDir", dir)
	s.Set("listenPort", strconv.Itoa(freePort(t)))
	_, err := New(Config{Settings: s, Log: slog.New(slog.DiscardHandler)})
	if err == nil || errors.Is(err, context.Canceled) {
		t.Fatal("a second broker opened the store")
	}
	t.Log(err)
}

// When the end of the log was cut off, no group stands behind the end of a queue: it would pass over what comes there next.
func TestBroker_CutTakesOffsetsBack(t *testing.T) {
	h := open(t, t.TempDir())
	for range 3 {
		h.send("T", "x")
	}
	offsets := h.broker.offsets
	offsets.Commit([]byte("ahead"), []byte("T"), 0, 5)
	offsets.Commit([]byte("behind"), []byte("T"), 0, 2)
	if err := h.broker.cut(h.broker.store.MaxPhysical()); err != nil {
		t.Fatal(err)
	}
	for group, want := range map[string]int64{"ahead": 3, "behind": 2} {
		if got := offsets.Queues(group, "T")[0]; got != want {
			t.Errorf("%s stands at %d, want %d", group, got, want)
		}
	}
}
